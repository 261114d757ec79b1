use super::*;
use crate::block::HEADROOM;

/// Decodes one message that comes in pieces of `size`.
fn decode(text: &[u8], size: usize) -> Result<Vec<u8>, Malformed> {
    let (mut decoder, mut got) = (FromText::default(), Vec::new());
    let pieces: Vec<&[u8]> = if text.is_empty() { vec![&[]] } else { text.chunks(size.max(1)).collect() };
    for (index, piece) in pieces.iter().enumerate() {
        let mut memory = [&[0; HEADROOM][..], piece].concat();
        let part = HEADROOM..memory.len();
        let decoded = decoder.decode(&mut memory, part, index + 1 == pieces.len())?;
        got.extend_from_slice(&memory[decoded]);
    }
    Ok(got)
}

#[test]
fn text_is_decoded_in_pieces_of_any_size() {
    bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, size)| {
        let text = STANDARD.encode(bytes);
        assert_eq!(decode(text.as_bytes(), usize::from(*size)).as_ref(), Ok(bytes));
    });
}

#[test]
fn padding_may_be_missing_and_lines_broken_but_nothing_else_is_let_through() {
    assert_eq!(decode(b"Zm9v\r\nYg", 3), Ok(b"foob".to_vec()));
    for wrong in [&b"Zm9vY"[..], b"Zg==Zg==", b"Zm9v!", b"Zm 9v"] {
        assert_eq!(decode(wrong, 100), Err(Malformed::Base64), "{wrong:?}");
    }
}

#[test]
fn any_bytes_are_decoded_without_panic() {
    bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, size)| {
        let _ = decode(bytes, usize::from(*size));
    });
}

#[test]
fn a_message_has_the_digit_of_its_channel_first() {
    assert_eq!(ToText::default().frame(1, b"hi"), b"\x81\x051aGk=");
    assert_eq!(ToText::default().frame(3, b""), b"\x81\x013");
}
