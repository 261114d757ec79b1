use std::fs;

use super::*;

fn last(text: &[u8], count: u64) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("0.log");
    fs::write(&path, text).expect("written");
    let file = File::open(&path).expect("opened");
    let (start, missing) = start_of_last(&file, text.len() as u64, count).expect("read");
    let lines = text.split_inclusive(|b| *b == b'\n').count() as u64;
    assert_eq!(missing, count.saturating_sub(lines));
    text[start as usize..].to_vec()
}

#[test]
fn the_last_lines_are_found_and_an_unfinished_one_counts() {
    assert_eq!(last(b"a\nb\nc\n", 0), b"");
    assert_eq!(last(b"a\nb\nc\n", 1), b"c\n");
    assert_eq!(last(b"a\nb\nc\n", 3), b"a\nb\nc\n");
    assert_eq!(last(b"a\nb\nc\n", 9), b"a\nb\nc\n");
    assert_eq!(last(b"a\nb\nc", 1), b"c");
    assert_eq!(last(b"\n\n\n", 2), b"\n\n");
    assert_eq!(last(b"", 5), b"");
}

#[test]
fn lines_that_span_blocks_are_counted_once() {
    let line = [vec![b'x'; 70_000], b"\n".to_vec()].concat();
    let text = line.repeat(4);
    assert_eq!(last(&text, 2).len(), line.len() * 2);
    let short = b"ab\n".repeat(50_000);
    assert_eq!(last(&short, 30_000).len(), 90_000);
}

#[test]
fn any_text_has_as_many_last_lines_as_asked_for() {
    bolero::check!().with_type::<(Vec<u8>, u8)>().for_each(|(text, count)| {
        let all: Vec<&[u8]> = text.split_inclusive(|b| *b == b'\n').collect();
        let from = all.len().saturating_sub(usize::from(*count));
        assert_eq!(last(text, u64::from(*count)), all[from..].concat());
    });
}

#[test]
fn a_log_stands_for_a_message_with_its_last_lines_and_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("0.log");
    let line = |text: &str| format!("2026-11-23T00:00:01Z stderr F {text}\n");
    fs::write(&path, (0..200).map(|n| line(&n.to_string())).collect::<String>()).expect("written");
    let message = fallback_message(&path).expect("read");
    assert!(message.starts_with("120\n") && message.ends_with("199\n"), "{message}");
    fs::write(&path, line(&"y".repeat(5000)) + &line("end")).expect("written");
    let message = fallback_message(&path).expect("read");
    assert_eq!(message.len(), 2048);
    assert!(message.ends_with("y\nend\n"));
}
