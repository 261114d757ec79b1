use super::*;

fn parsed(query: &str) -> NodeLogQuery {
    parse(query).unwrap().unwrap()
}

#[test]
fn a_query_is_read_as_a_kubelet_reads_it() {
    assert_eq!(parse(""), Ok(None));
    assert_eq!(parse("pretty=1"), Ok(None));
    assert_eq!(parse("tailLines=&boot="), Ok(None));
    let all = "query=kubelet&query=containerd&query=%20&sinceTime=2026-01-02T03:04:05Z\
        &untilTime=2026-01-02T04:04:05%2B01:00&tailLines=7&tailLines=8&boot=-1&pattern=a%2Bb";
    let options = Options {
        since: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        until: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        tail_lines: Some(7),
        boot: Some(-1),
        pattern: "a+b".to_owned(),
    };
    let services = vec!["kubelet".to_owned(), "containerd".to_owned()];
    assert_eq!(parsed(all), NodeLogQuery { services, files: Vec::new(), options });
    assert_eq!(parsed("query=/syslog").files, ["/syslog"]);
    assert_eq!(parsed("query=a%5Cb").files, ["a\\b"]);
}

#[test]
fn what_cannot_be_read_is_told_by_its_field() {
    for (query, error) in [
        ("query=", r#"query: Invalid value: []string{""}: query cannot be empty"#),
        ("query=%20%20&query=", r#"query: Invalid value: []string{"  ", ""}: query cannot be empty"#),
        ("sinceTime=now", r#"sinceTime: Invalid value: "now": invalid time format"#),
        ("boot=x", r#"boot: Invalid value: "x": strconv.Atoi: parsing "x": invalid syntax"#),
        (
            "tailLines=99999999999999999999",
            r#"tailLines: Invalid value: "99999999999999999999": strconv.Atoi: parsing "99999999999999999999": value out of range"#,
        ),
        (
            "untilTime=1&boot=x",
            r#"[untilTime: Invalid value: "1": invalid time format, boot: Invalid value: "x": strconv.Atoi: parsing "x": invalid syntax]"#,
        ),
    ] {
        assert_eq!(parse(query), Err(error.to_owned()), "{query}");
    }
}

#[test]
fn what_cannot_be_answered_is_told_by_its_field() {
    let stat = |file: &str| {
        if file == "/there" { Ok(()) } else { Err(format!("stat {file}: no such file or directory")) }
    };
    let long = "x".repeat(257);
    let long_query = format!("query={long}");
    let long_error = format!("query: Invalid value: {long:?}: length must be less than 100");
    for (query, error) in [
        ("tailLines=1", "query: Required value: cannot be empty with options"),
        ("query=a.b", r#"query: Invalid value: "a.b": input contains unsupported characters"#),
        (long_query.as_str(), long_error.as_str()),
        ("query=a&query=b&query=c&query=d&query=e", "query: Too many: 5: must have at most 4 items"),
        ("query=a&query=/b", r#"query: Invalid value: "[/b], [a]": cannot specify a file and service"#),
        (
            "query=/a&query=/b",
            r#"query: Invalid value: []string{"/a", "/b"}: cannot specify more than one file"#,
        ),
        (
            "query=/there&boot=0",
            r#"query: Invalid value: []string{"/there"}: cannot specify file with options"#,
        ),
        ("query=/gone", r#"query: Invalid value: []string{"/gone"}: stat /gone: no such file or directory"#),
        (
            "query=a&sinceTime=2026-01-02T00:00:00Z&untilTime=2026-01-01T00:00:00Z",
            "untilTime: Invalid value: 2026-01-01 00:00:00 +0000 UTC: must be after `sinceTime`",
        ),
        ("query=a&boot=1", "boot: Invalid value: 1: must be less than 1"),
        (
            "query=a&tailLines=100001",
            "tailLines: Invalid value: 100001: must be between 0 and 100000, inclusive",
        ),
        ("query=a&tailLines=-1", "tailLines: Invalid value: -1: must be between 0 and 100000, inclusive"),
        (
            "query=a&boot=1&tailLines=-1",
            "[boot: Invalid value: 1: must be less than 1, tailLines: Invalid value: -1: must be between 0 and 100000, inclusive]",
        ),
    ] {
        assert_eq!(parsed(query).validate(stat), Err(error.to_owned()), "{query}");
    }
    for query in ["query=/there", "query=a&boot=0&tailLines=0", "query=foo@bar_1-2"] {
        assert_eq!(parsed(query).validate(stat), Ok(()), "{query}");
    }
}

#[test]
fn whatever_is_asked_there_is_an_answer() {
    bolero::check!().for_each(|input: &[u8]| {
        if let Ok(Some(query)) = parse(&String::from_utf8_lossy(input)) {
            let _ = query.validate(|_| Ok(()));
        }
    });
}
