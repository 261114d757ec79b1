//! Messages, pings and ends.

use streams::websocket::{Opcode, control};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::send;
use crate::answer::whole;

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

#[tokio::test(start_paused = true)]
async fn a_log_is_messages_of_bytes_or_of_text_and_then_the_end() {
    for (encoding, expected) in [
        (Opcode::Binary, &b"\x82\x00\x82\x03a\xffb\x88\x02\x03\xe8"[..]),
        (Opcode::Text, b"\x81\x00\x81\x04Yf9i\x88\x02\x03\xe8"),
    ] {
        let (mut client, server) = duplex(1024);
        let sending = tokio::spawn(send(server, whole(&b"a\xffb"[..]), encoding));
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, expected);
        drop(client);
        sending.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_client_is_answered_while_nothing_is_logged_and_may_leave() {
    use http_body_util::{BodyExt as _, StreamBody};
    let silent = || StreamBody::new(futures::stream::pending()).boxed_unsync();
    let (mut client, server) = duplex(1024);
    let sending = tokio::spawn(send(server, silent(), Opcode::Binary));
    client.write_all(&control(Opcode::Ping, b"ab", KEY)).await.unwrap();
    client.write_all(&control(Opcode::Close, &[3, 232], KEY)).await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"\x82\x00\x8a\x02ab\x88\x02\x03\xe8");
    sending.await.unwrap().unwrap();
    // A peer that speaks something else is left.
    let (mut client, server) = duplex(1024);
    let sending = tokio::spawn(send(server, silent(), Opcode::Binary));
    client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    sending.await.unwrap().unwrap();
}
