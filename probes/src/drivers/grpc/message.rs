//! The two messages of `grpc.health.v1.Health/Check`, each behind gRPC's prefix of five bytes.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// Whether it is compressed, and its length.
const PREFIX: usize = 5;

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// The question for the health of `service`.
pub(super) fn request(service: &str) -> Bytes {
    let message = HealthCheckRequest { service: service.to_owned() };
    framed(&message)
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

/// The health in the one message of an answer.
pub(super) fn response(body: &[u8]) -> Result<i32, &'static str> {
    let Some((prefix, message)) = body.split_at_checked(PREFIX) else {
        return Err(if body.is_empty() { "received no message" } else { "received a broken message" });
    };
    let [compressed, length @ ..] = prefix else { return Err("received a broken message") };
    if *compressed != 0 {
        return Err("received a compressed message that nobody has asked for");
    }
    let length = length.iter().fold(0_usize, |all, byte| all << 8 | usize::from(*byte));
    if length != message.len() {
        return Err("received a broken message");
    }
    HealthCheckResponse::decode(message).map(|r| r.status).map_err(|_| "received a message that is no health")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_the_service_behind_its_prefix() {
        assert_eq!(request("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(request("ab").as_ref(), [0, 0, 0, 0, 4, 10, 2, b'a', b'b']);
    }

    #[test]
    fn an_answer_is_one_whole_message() {
        let answer = |status| framed(&HealthCheckResponse { status });
        for status in [0, 1, 2, 3, -1, i32::MAX] {
            assert_eq!(response(&answer(status)), Ok(status));
        }
        let whole = answer(1);
        for length in 0..whole.len() {
            assert!(response(&whole[..length]).is_err(), "of {length} bytes");
        }
        let two = [whole.as_ref(), whole.as_ref()].concat();
        let compressed = [1, 0, 0, 0, 0];
        let wrong_type = [0, 0, 0, 0, 2, 10, 0];
        for wrong in [two.as_slice(), &compressed, &wrong_type] {
            assert!(response(wrong).is_err(), "{wrong:?}");
        }
        // What a later version may say besides is passed over.
        assert_eq!(response(&[0, 0, 0, 0, 4, 8, 1, 16, 9]), Ok(1));
    }

    #[test]
    fn no_answer_is_too_wrong_to_be_read() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if response(bytes).is_ok() {
                assert_eq!(bytes.first(), Some(&0));
            }
        });
    }
}
