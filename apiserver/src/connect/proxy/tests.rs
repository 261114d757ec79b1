//! Paths stay below the backend's root, and redirects below the proxy's path.

use super::{resolved, rewritten};

#[test]
fn a_path_has_no_way_up_and_keeps_its_escapes() {
    for (rest, expected) in [
        ("", ""),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//a///b", "/a/b"),
        ("/../../a", "/a"),
        ("/a/../b/./c", "/b/c"),
        ("/a/%2e%2E/b", "/b"),
        ("/a%2Fb", "/a%2Fb"),
        ("/..", ""),
    ] {
        assert_eq!(resolved(rest), expected, "{rest}");
    }
}

#[test]
fn a_redirect_leads_back_through_the_proxy_unless_it_leads_elsewhere() {
    let hosts = ["10.0.0.1:80".to_owned(), "localhost:8001".to_owned()];
    let prefix = "/api/v1/namespaces/a/services/b/proxy";
    for (location, expected) in [
        ("/login?a=b#c", Some("/api/v1/namespaces/a/services/b/proxy/login?a=b#c")),
        ("/", Some("/api/v1/namespaces/a/services/b/proxy/")),
        ("http://10.0.0.1:80/x", Some("/api/v1/namespaces/a/services/b/proxy/x")),
        ("https://localhost:8001/x/", Some("/api/v1/namespaces/a/services/b/proxy/x/")),
        ("/api/v1/namespaces/a/services/b/proxy/x", Some("/api/v1/namespaces/a/services/b/proxy/x")),
        ("https://elsewhere.example/x", None),
        ("//elsewhere.example/x", None),
        ("login", None),
        ("", None),
    ] {
        let rewritten = rewritten(location, prefix, &hosts);
        assert_eq!(rewritten.as_ref().map(|r| r.to_str().unwrap()), expected, "{location}");
    }
}

#[test]
fn no_path_and_no_location_make_them_panic_or_lead_out() {
    let hosts = ["10.0.0.1:80".to_owned(), "localhost:8001".to_owned()];
    bolero::check!().with_type::<String>().for_each(|text: &String| {
        let path = resolved(text);
        assert!(path.is_empty() || path.starts_with('/'));
        assert!(path.split('/').all(|part| part != ".."));
        let rewritten = rewritten(text, "/p", &hosts);
        assert!(rewritten.is_none_or(|r| r.as_bytes().starts_with(b"/p")));
    });
}
