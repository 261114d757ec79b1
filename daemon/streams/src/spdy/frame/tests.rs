use super::*;

#[derive(Debug, PartialEq, Eq)]
enum Got {
    Data(u32, Vec<u8>, bool),
    Block(Vec<u8>, bool),
    Other(Event),
}

/// Everything that comes out of `bytes`, given in pieces of `size`; parts of one frame are put together.
fn read(bytes: &[u8], size: usize) -> Result<Vec<Got>, FrameError> {
    let mut decoder = Decoder::new();
    let mut got: Vec<Got> = Vec::new();
    let mut goes_on = false;
    for piece in bytes.chunks(size.max(1)) {
        let mut at = 0;
        while at < piece.len() {
            let (after, event) = decoder.next(piece, at)?;
            at = after;
            let Some(event) = event else { continue };
            let within = matches!(decoder.state, State::Data { .. } | State::Block { .. });
            match (event, got.last_mut()) {
                (Event::Data { part, fin, .. }, Some(Got::Data(_, bytes, is_last))) if goes_on => {
                    bytes.extend_from_slice(&piece[part]);
                    *is_last = fin;
                }
                (Event::Data { stream, part, fin }, _) => {
                    got.push(Got::Data(stream, piece[part].to_vec(), fin))
                }
                (Event::Block { part, last }, Some(Got::Block(bytes, is_last))) if goes_on => {
                    bytes.extend_from_slice(&piece[part]);
                    *is_last = last;
                }
                (Event::Block { part, last }, _) => got.push(Got::Block(piece[part].to_vec(), last)),
                (event, _) => {
                    got.push(Got::Other(event));
                    goes_on = false;
                    continue;
                }
            }
            goes_on = within;
        }
    }
    // An empty rest is given out with the next bytes, if there are any.
    got.retain(|got| !matches!(got, Got::Block(bytes, _) if bytes.is_empty()));
    Ok(got)
}

fn data(stream: u32, bytes: &[u8], fin: bool) -> Vec<u8> {
    [&data_head(stream, bytes.len(), fin)[..], bytes].concat()
}

#[test]
fn what_is_written_is_read_back_in_pieces_of_any_size() {
    let mut bytes = Vec::new();
    syn_stream(&mut bytes, 1, false, b"block");
    syn_reply(&mut bytes, 1, true, b"reply");
    bytes.extend(data(1, &[7; 70_000], false));
    bytes.extend(data(3, b"", true));
    bytes.extend(ping(2));
    bytes.extend(reset(1, 5));
    // SETTINGS, WINDOW_UPDATE, a kind that nobody knows, GOAWAY.
    bytes.extend([0x80, 3, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0]);
    bytes.extend([0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 1]);
    bytes.extend([0x80, 3, 0, 99, 0, 0, 0, 3, 1, 2, 3]);
    bytes.extend([0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    for size in [1, 2, 7, 8, 9, 1000, 100_000] {
        let expected = vec![
            Got::Other(Event::SynStream { stream: 1, fin: false }),
            Got::Block(b"block".to_vec(), true),
            Got::Other(Event::SynReply { stream: 1, fin: true }),
            Got::Block(b"reply".to_vec(), true),
            Got::Data(1, vec![7; 70_000], false),
            Got::Data(3, Vec::new(), true),
            Got::Other(Event::Ping(2)),
            Got::Other(Event::Reset { stream: 1, status: 5 }),
            Got::Other(Event::GoAway),
        ];
        assert_eq!(read(&bytes, size), Ok(expected), "in pieces of {size}");
    }
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    for (bytes, error) in [
        (&[0x80, 2, 0, 1, 0, 0, 0, 0][..], FrameError::Version(2)),
        (&[0x80, 3, 0, 1, 0, 0, 0, 9], FrameError::Short(1)),
        (&[0x80, 3, 0, 3, 0, 0, 0, 4], FrameError::Short(3)),
        (&[0, 0, 0, 0, 0, 0, 0, 0], FrameError::Stream),
        (&[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1], FrameError::Stream),
    ] {
        assert_eq!(read(bytes, 100), Err(error), "{bytes:?}");
    }
}

#[test]
fn any_bytes_are_read_without_panic_and_alike_however_they_are_cut() {
    bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(bytes, size)| {
        assert_eq!(read(bytes, bytes.len()), read(bytes, usize::from(*size)));
    });
}

#[test]
fn any_data_that_is_written_is_read_back() {
    bolero::check!().with_type::<(Vec<(Vec<u8>, bool)>, u8)>().for_each(|(frames, size)| {
        let bytes: Vec<u8> = frames.iter().flat_map(|(bytes, fin)| data(5, bytes, *fin)).collect();
        let expected = frames.iter().map(|(bytes, fin)| Got::Data(5, bytes.clone(), *fin)).collect();
        assert_eq!(read(&bytes, usize::from(*size)), Ok(expected));
    });
}
