use super::*;

/// Everything that comes out of `bytes`, given in pieces of `size`; data is put together to messages.
fn read(role: Role, bytes: &[u8], size: usize) -> Result<Vec<Message>, FrameError> {
    let mut decoder = Decoder::new(role);
    let mut got: Vec<Message> = Vec::new();
    for piece in bytes.chunks(size.max(1)) {
        let (mut piece, mut at) = (piece.to_vec(), 0);
        while at < piece.len() {
            let (after, event) = decoder.next(&mut piece, at)?;
            at = after;
            match event {
                None => {}
                Some(Event::Data { part, first, last }) => {
                    if first {
                        got.push(Message::Data(Vec::new(), false));
                    }
                    if let Some(Message::Data(bytes, is_whole)) =
                        got.iter_mut().rev().find(|message| matches!(message, Message::Data(..)))
                    {
                        bytes.extend_from_slice(&piece[part]);
                        *is_whole = last;
                    }
                }
                Some(Event::Ping(payload)) => got.push(Message::Ping(payload)),
                Some(Event::Pong) => got.push(Message::Pong),
                Some(Event::Close(payload)) => got.push(Message::Close(payload)),
            }
        }
    }
    Ok(got)
}

#[derive(Debug, PartialEq, Eq)]
enum Message {
    Data(Vec<u8>, bool),
    Ping(Vec<u8>),
    Pong,
    Close(Vec<u8>),
}

fn frame(opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let mut room = [0; 14];
    let length = head(&mut room, opcode, payload.len(), key);
    let mut frame = room[14 - length..].to_vec();
    frame.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut frame[length..], key);
    }
    frame
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    let hello = |bytes: &[u8]| read(Role::Client, bytes, 100);
    assert_eq!(
        hello(&[0x81, 5, b'H', b'e', b'l', b'l', b'o']),
        Ok(vec![Message::Data(b"Hello".to_vec(), true)])
    );
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(read(Role::Server, &masked, 100), Ok(vec![Message::Data(b"Hello".to_vec(), true)]));
    let cut = [0x01, 3, b'H', b'e', b'l', 0x80, 2, b'l', b'o'];
    assert_eq!(hello(&cut), Ok(vec![Message::Data(b"Hello".to_vec(), true)]));
    assert_eq!(hello(&[0x89, 2, b'h', b'i']), Ok(vec![Message::Ping(b"hi".to_vec())]));
}

#[test]
fn what_is_written_is_read_back_in_pieces_of_any_size() {
    for key in [None, Some([1, 2, 3, 250])] {
        let role = if key.is_some() { Role::Server } else { Role::Client };
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut bytes = frame(Opcode::Binary, &payload, key);
            bytes.extend(control(Opcode::Ping, b"p", key));
            bytes.extend(control(Opcode::Pong, b"", key));
            bytes.extend(close(1000, "bye", key));
            for size in [1, 3, 7, 1000, 100_000] {
                let expected = vec![
                    Message::Data(payload.clone(), true),
                    Message::Ping(b"p".to_vec()),
                    Message::Pong,
                    Message::Close([&1000_u16.to_be_bytes()[..], b"bye"].concat()),
                ];
                assert_eq!(read(role, &bytes, size), Ok(expected), "{length} bytes in pieces of {size}");
            }
        }
    }
}

#[test]
fn a_control_frame_may_stand_within_a_message() {
    let bytes = [0x02, 1, 1, 0x89, 0, 0x80, 1, 2];
    let expected = vec![Message::Data(vec![1, 2], true), Message::Ping(Vec::new())];
    assert_eq!(read(Role::Client, &bytes, 100), Ok(expected));
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    for (bytes, error) in [
        (&[0xc2, 0][..], FrameError::Reserved),
        (&[0x83, 0], FrameError::Opcode(3)),
        (&[0x8b, 0], FrameError::Opcode(11)),
        (&[0x82, 0x80, 0, 0, 0, 0], FrameError::Mask),
        (&[0x09, 0], FrameError::Control),
        (&[0x89, 126, 0, 200], FrameError::Control),
        (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], FrameError::Length),
        (&[0x80, 0], FrameError::Continuation),
        (&[0x02, 0, 0x82, 0], FrameError::Continuation),
    ] {
        assert_eq!(read(Role::Client, bytes, 100), Err(error), "{bytes:?}");
    }
    assert_eq!(read(Role::Server, &[0x82, 0], 100), Err(FrameError::Mask), "a client masks");
}

#[test]
fn a_long_reason_is_cut_between_characters() {
    let frame = close(1011, &"ä".repeat(100), None);
    assert_eq!(frame.len(), 2 + 2 + 122);
    assert!(std::str::from_utf8(&frame[4..]).is_ok());
}

#[test]
fn any_bytes_are_read_without_panic_and_alike_however_they_are_cut() {
    bolero::check!().with_type::<(Vec<u8>, u8, bool)>().for_each(|(bytes, size, is_server)| {
        let role = if *is_server { Role::Server } else { Role::Client };
        let (whole, cut) = (read(role, bytes, bytes.len()), read(role, bytes, usize::from(*size)));
        assert_eq!(whole, cut);
    });
}

#[test]
fn any_messages_that_are_written_are_read_back() {
    bolero::check!().with_type::<(Vec<Vec<u8>>, Option<[u8; 4]>, u8)>().for_each(|(payloads, key, size)| {
        let role = if key.is_some() { Role::Server } else { Role::Client };
        let bytes: Vec<u8> =
            payloads.iter().flat_map(|payload| frame(Opcode::Binary, payload, *key)).collect();
        let expected = payloads.iter().map(|payload| Message::Data(payload.clone(), true)).collect();
        assert_eq!(read(role, &bytes, usize::from(*size)), Ok(expected));
    });
}
