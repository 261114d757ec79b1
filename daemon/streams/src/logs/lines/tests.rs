use super::*;

fn owned(piece: Piece<'_>) -> (char, Vec<u8>) {
    match piece {
        Piece::Line(t) => ('l', t.to_vec()),
        Piece::Head(t) => ('h', t.to_vec()),
        Piece::Middle(t) => ('m', t.to_vec()),
        Piece::Rest(t) => ('r', t.to_vec()),
    }
}

fn pieces(blocks: &[&[u8]]) -> Vec<(char, Vec<u8>)> {
    let mut lines = Lines::default();
    let mut pieces = Vec::new();
    let mut take = |piece: Piece<'_>| {
        pieces.push(owned(piece));
        ControlFlow::Continue(())
    };
    for block in blocks {
        lines.feed(block, &mut take);
    }
    lines.finish(&mut take);
    pieces
}

#[test]
fn lines_are_the_same_wherever_blocks_end() {
    let text = b"one\n\ntwo\nthree";
    let expected: Vec<_> = ["one\n", "\n", "two\n", "three"].map(|l| ('l', l.as_bytes().to_vec())).into();
    for at in 0..text.len() {
        let (a, b) = text.split_at(at);
        assert_eq!(pieces(&[a, b]), expected, "split at {at}");
    }
}

#[test]
fn an_endless_line_is_handed_on_in_pieces() {
    let block = vec![b'x'; 100 * 1024];
    let got = pieces(&[&block, &block, &block, &block, b"end\nnext\n"]);
    let kinds: String = got.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, "hmrl");
    let length: usize = got.iter().map(|(_, text)| text.len()).sum();
    assert_eq!(length, 400 * 1024 + "end\nnext\n".len());
}

#[test]
fn any_text_in_any_blocks_comes_out_whole() {
    bolero::check!().with_type::<Vec<Vec<u8>>>().for_each(|blocks| {
        let views: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
        let got: Vec<u8> = pieces(&views).into_iter().flat_map(|(_, text)| text).collect();
        assert_eq!(got, blocks.concat());
    });
}
