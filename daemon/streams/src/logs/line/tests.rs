use super::*;

fn read(line: &str) -> (Stream, bool, String) {
    let line = parse(line.as_bytes()).expect(line);
    (line.stream, line.partial, String::from_utf8_lossy(&line.text).into_owned())
}

#[test]
fn lines_that_a_runtime_wrote_are_read() {
    let recorded = "2026-11-23T00:06:32.448545588Z stderr F twoc: line 0: MISSING: not found\n";
    assert_eq!(read(recorded), (Stream::Stderr, false, "twoc: line 0: MISSING: not found\n".into()));
    assert_eq!(read("2026-11-23T00:06:32Z stdout F \n"), (Stream::Stdout, false, "\n".into()));
    assert_eq!(read("2026-11-23T00:06:32Z stdout F:x:y  two \n"), (Stream::Stdout, false, " two \n".into()));
}

#[test]
fn a_part_has_no_newline_so_that_parts_join() {
    assert_eq!(read("2026-11-23T00:06:32Z stdout P first \n"), (Stream::Stdout, true, "first ".into()));
    assert_eq!(read("2026-11-23T00:06:32Z stdout P:x first\n"), (Stream::Stdout, true, "first".into()));
}

#[test]
fn lines_of_docker_are_read() {
    let line = r#"{"log":"a \"b\"\n","stream":"stderr","time":"2026-11-23T00:06:32.5Z"}"#;
    assert_eq!(read(line), (Stream::Stderr, false, "a \"b\"\n".into()));
    let line = r#"{"log":"part","stream":"stdout","attrs":{"k":"v"},"time":"2026-11-23T00:06:32.5Z"}"#;
    assert_eq!(read(line), (Stream::Stdout, true, "part".into()));
}

#[test]
fn what_a_malformed_line_lacks_is_told() {
    for (line, expected) in [
        ("", Malformed::Time),
        ("\n", Malformed::Time),
        ("no time here\n", Malformed::Time),
        ("2026-11-23T00:06:32Z", Malformed::Time),
        ("2026-11-23T00:06:32Z stdout", Malformed::Stream),
        ("2026-11-23T00:06:32Z stdin F x\n", Malformed::Stream),
        ("2026-11-23T00:06:32Z stdout F", Malformed::Tag),
        ("{\"log\":", Malformed::Json),
        ("{\"log\":\"x\",\"stream\":\"stdout\",\"time\":\"noon\"}", Malformed::Time),
    ] {
        assert_eq!(parse(line.as_bytes()), Err(expected), "{line:?}");
    }
}

#[test]
fn no_line_whatever_makes_the_parser_panic_or_invent_text() {
    bolero::check!().for_each(|line: &[u8]| {
        if let Ok(read) = parse(line)
            && line.first() != Some(&b'{')
        {
            assert!(read.text.len() < line.len());
        }
    });
}
