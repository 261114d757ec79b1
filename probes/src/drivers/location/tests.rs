use super::*;

fn base() -> Location {
    Location::new(Scheme::Http, "10.0.0.2", 8080, "/a/b?q=1")
}

#[test]
fn a_path_becomes_one_that_can_be_sent() {
    let cases = [
        ("", "/"),
        ("/", "/"),
        ("healthz", "/healthz"),
        ("/a?b=c&d", "/a?b=c&d"),
        ("/a b\r\nX: y", "/a%20b%0D%0AX:%20y"),
        ("/ä{}", "/%C3%A4%7B%7D"),
        ("/a#b", "/a"),
        ("/%41%", "/%41%"),
    ];
    for (given, sent) in cases {
        let location = Location::new(Scheme::Http, "h", 1, given);
        assert_eq!(location.path, sent, "{given:?}");
    }
}

#[test]
fn the_authority_names_the_port_and_brackets_an_ipv6_address() {
    let authority = |host, port| Location::new(Scheme::Http, host, port, "/").authority();
    assert_eq!(authority("10.0.0.2", 80), "10.0.0.2:80");
    assert_eq!(authority("fd00::2", 8080), "[fd00::2]:8080");
    assert_eq!(base().url(), "http://10.0.0.2:8080/a/b?q=1");
}

#[test]
fn references_are_followed_as_the_standard_says() {
    let cases = [
        ("/x", "http://10.0.0.2:8080/x", false),
        ("x", "http://10.0.0.2:8080/a/x", false),
        ("./x/../y/", "http://10.0.0.2:8080/a/y/", false),
        ("../../../x?z", "http://10.0.0.2:8080/x?z", false),
        ("..", "http://10.0.0.2:8080/", false),
        ("?z", "http://10.0.0.2:8080/a/b?z", false),
        ("", "http://10.0.0.2:8080/a/b?q=1", false),
        ("#f", "http://10.0.0.2:8080/a/b?q=1", false),
        ("//other/x", "http://other/x", true),
        ("//[fd00::1]:81?x", "http://[fd00::1]:81/?x", true),
        ("HTTPS://10.0.0.2", "https://10.0.0.2/", true),
        ("https://user:word@10.0.0.2:8443/x#y", "https://10.0.0.2:8443/x", true),
        ("http://10.0.0.2:80/", "http://10.0.0.2:80/", true),
    ];
    for (reference, url, named) in cases {
        let (location, names) = base().follow(reference).unwrap();
        assert_eq!((location.url().as_str(), names), (url, named), "{reference:?}");
    }
    for wrong in ["ftp://x/", "http:x", "http://", "http://a:b:c/", "http://x:0/", "//[::1/", "javascript:1"]
    {
        assert!(base().follow(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn whatever_a_server_says_what_is_asked_next_is_one_request_line() {
    bolero::check!().with_type::<(String, String)>().for_each(|(path, reference): &(String, String)| {
        let mut at = Location::new(Scheme::Https, "h", 443, path);
        for _ in 0..3 {
            assert!(at.path.starts_with('/') && at.port > 0 && !at.host.is_empty());
            assert!(at.path.bytes().all(|b| (0x21..0x7f).contains(&b)), "{:?}", at.path);
            match at.follow(reference) {
                Ok((next, _)) => at = next,
                Err(_) => break,
            }
        }
    });
}
