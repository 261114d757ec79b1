use super::*;

fn path_of(path: &str) -> Option<&'static str> {
    find(path).filter(|found| !found.lacks_slash).map(|found| found.endpoint.path)
}

#[test]
fn a_path_finds_its_endpoint_and_what_it_names() {
    let found = find("/exec/default/web/1-2/c").unwrap();
    assert_eq!(
        (found.endpoint.target, found.value("uid"), found.value("container")),
        (Target::Exec, "1-2", "c")
    );
    let found = find("/exec/default/we%62/c/").unwrap();
    assert_eq!((found.value("namespace"), found.value("pod"), found.value("uid")), ("default", "web", ""));
    let found = find("/logs/pods/a%20b/0.log").unwrap();
    assert_eq!((found.endpoint.target, found.value("path")), (Target::Logs, "pods/a b/0.log"));
    assert_eq!(find("/logs/").unwrap().value("path"), "");
    assert_eq!(find("/logs/pods/").unwrap().value("path"), "pods/");
    assert_eq!(find("/portForward/ns/p").unwrap().endpoint.target, Target::PortForward);
}

#[test]
fn what_fits_nothing_is_not_found() {
    for path in [
        "/",
        "",
        "*",
        "/nothing",
        "/healthz/",
        "/healthz/a/b",
        "/exec",
        "/exec/a",
        "/exec/a/b",
        "/exec/a//c",
        "/exec/a/b/c/d/e",
        "/metricsx",
        "/PODS",
        "/logs%2Fx",
        "/configz/x",
        "/%ff/x",
        "/debug",
        "/debug/flags",
        "//pods",
    ] {
        assert_eq!(path_of(path), None, "{path}");
    }
}

#[test]
fn a_missing_slash_at_the_end_is_told_apart() {
    for (path, lacks) in [
        ("/logs", true),
        ("/runningpods", true),
        ("/debug/pprof", true),
        ("/pods", false),
        ("/runningpods/", false),
    ] {
        assert_eq!(find(path).unwrap().lacks_slash, lacks, "{path}");
    }
}

#[test]
fn every_endpoint_finds_itself() {
    for endpoint in ENDPOINTS {
        let path =
            endpoint.path.replace("{path*}", "x/y").replace("{profile*}", "heap").replace(['{', '}'], "");
        let found = find(&path).unwrap();
        assert!(std::ptr::eq(found.endpoint, endpoint), "{path} finds {}", found.endpoint.path);
        assert!(!endpoint.methods.is_empty() && !endpoint.subresources.is_empty(), "{path}");
    }
}

#[test]
fn whatever_the_path_is_there_is_an_answer() {
    bolero::check!().for_each(|input: &[u8]| {
        let path = String::from_utf8_lossy(input);
        if let Some(found) = find(&path) {
            assert!(found.endpoint.path.starts_with('/'));
        }
        is_announced(&path);
    });
}
