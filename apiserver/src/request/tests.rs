//! Paths and methods mean what upstream's do.

use http::Method;

use super::{PathError, ResourcePath, Target, Verb};

fn path(
    group: &str,
    version: &str,
    namespace: Option<&str>,
    resource: &str,
    name: Option<&str>,
    sub: Option<&str>,
) -> Target {
    let text = |s: Option<&str>| s.map(str::to_owned);
    Target::Resource(ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace: text(namespace),
        resource: resource.to_owned(),
        name: text(name),
        subresource: text(sub),
        rest: String::new(),
    })
}

#[test]
fn a_path_names_a_resource_in_or_outside_of_a_namespace() {
    let cases = [
        ("/api/v1/nodes", path("", "v1", None, "nodes", None, None)),
        ("/api/v1/nodes/n/status", path("", "v1", None, "nodes", Some("n"), Some("status"))),
        ("/api/v1/pods/", path("", "v1", None, "pods", None, None)),
        ("/api/v1/namespaces/a/pods/p/log", path("", "v1", Some("a"), "pods", Some("p"), Some("log"))),
        ("/api/v1/namespaces/a", path("", "v1", None, "namespaces", Some("a"), None)),
        ("/api/v1/namespaces/a/finalize", path("", "v1", None, "namespaces", Some("a"), Some("finalize"))),
        (
            "/apis/coordination.k8s.io/v1/namespaces/a/leases/l",
            path("coordination.k8s.io", "v1", Some("a"), "leases", Some("l"), None),
        ),
        ("/api/v1/nodes/a%2Fb", path("", "v1", None, "nodes", Some("a/b"), None)),
        ("/apis/apps/v1", Target::Other),
        ("/healthz", Target::Other),
        ("/", Target::Other),
    ];
    for (text, expected) in cases {
        assert_eq!(Target::parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn a_path_with_holes_or_too_many_parts_is_refused() {
    for text in [
        "/api/v1/namespaces//pods",
        "/api/v1/nodes/n/a/b",
        "/api/v1/namespaces/a/pods/p/log/x",
        "/api/v1/nodes/%ff",
    ] {
        assert_eq!(Target::parse(text), Err(PathError), "{text}");
    }
}

#[test]
fn what_follows_a_proxy_is_kept_as_it_was_sent() {
    let cases = [
        ("/api/v1/nodes/n/proxy", "n", ""),
        ("/api/v1/nodes/n/proxy/", "n", "/"),
        ("/api/v1/nodes/https:n:10250/proxy//a%2Fb/../c/", "https:n:10250", "//a%2Fb/../c/"),
        ("/api/v1/namespaces/a/services/web:80/proxy/proxy/x", "web:80", "/proxy/x"),
    ];
    for (text, name, rest) in cases {
        let Ok(Target::Resource(path)) = Target::parse(text) else { panic!("{text}") };
        assert_eq!(
            (path.name.as_deref(), path.subresource.as_deref(), path.rest.as_str()),
            (Some(name), Some("proxy"), rest),
            "{text}"
        );
    }
    // A pod of this name is none.
    let Ok(Target::Resource(path)) = Target::parse("/api/v1/namespaces/a/pods/proxy/log") else { panic!() };
    assert_eq!((path.subresource.as_deref(), path.rest.as_str()), (Some("log"), ""));
}

#[test]
fn a_method_is_a_verb_by_whether_a_name_is_given_and_a_watch_asked_for() {
    assert_eq!(Verb::of(&Method::GET, true, false), Some(Verb::Get));
    assert_eq!(Verb::of(&Method::GET, false, false), Some(Verb::List));
    assert_eq!(Verb::of(&Method::GET, true, true), Some(Verb::Watch));
    assert_eq!(Verb::of(&Method::DELETE, false, false), Some(Verb::DeleteCollection));
    assert_eq!(Verb::of(&Method::OPTIONS, false, false), None);
}

#[test]
fn no_path_makes_the_parser_panic() {
    bolero::check!().with_type::<String>().for_each(|text: &String| drop(Target::parse(text)));
}
