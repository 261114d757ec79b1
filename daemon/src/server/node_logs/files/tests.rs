use std::fs;
use std::path::PathBuf;

use http::header::{HeaderName, LOCATION};
use http_body_util::BodyExt as _;

use super::*;

/// 2023-11-14 22:13:20 UTC.
const TIME: Duration = Duration::from_secs(1_700_000_000);
const STAMP: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

struct World {
    root: PathBuf,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("log");
        fs::create_dir_all(root.join("pods/a<b>:c")).unwrap();
        fs::create_dir_all(root.join("page")).unwrap();
        fs::write(root.join("page/index.html"), "<p>").unwrap();
        fs::write(root.join("syslog"), "0123456789").unwrap();
        fs::write(root.join("wtmp"), [0, 1, 2]).unwrap();
        fs::write(root.join("old.1"), [0x1f, 0x8b, 8, 0]).unwrap();
        fs::write(root.join("empty.json"), "").unwrap();
        let file = File::options().write(true).open(root.join("syslog")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + TIME + Duration::from_millis(5)).unwrap();
        Self { root, _dir: dir }
    }

    async fn ask(&self, path: &str, headers: &[(HeaderName, &str)]) -> (u16, HeaderMap, String) {
        let pairs = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        let headers: HeaderMap = pairs.collect();
        let reply = answer(&Tree::new(&self.root), path, None, &headers).await;
        let (head, body) = reply.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status.as_u16(), head.headers, String::from_utf8_lossy(&body).into_owned())
    }
}

#[tokio::test]
async fn a_file_is_sent_with_its_type_and_its_time() {
    let world = World::new();
    let (status, headers, text) = world.ask("syslog", &[]).await;
    assert_eq!((status, text.as_str()), (200, "0123456789"));
    assert_eq!(headers[LAST_MODIFIED], STAMP);
    assert_eq!(headers[ACCEPT_RANGES], "bytes");
    assert_eq!(headers[CONTENT_LENGTH], "10");
    for (path, kind) in [
        ("syslog", "text/plain; charset=utf-8"),
        ("wtmp", "application/octet-stream"),
        ("old.1", "application/x-gzip"),
        ("empty.json", "application/json"),
        ("page/", "text/html; charset=utf-8"),
    ] {
        assert_eq!(world.ask(path, &[]).await.1[CONTENT_TYPE], kind, "{path}");
    }
}

#[tokio::test]
async fn a_part_of_a_file_is_sent_and_too_much_refused() {
    let world = World::new();
    let (status, headers, text) = world.ask("syslog", &[(RANGE, "bytes=-3")]).await;
    assert_eq!((status, text.as_str()), (206, "789"));
    assert_eq!(
        (&headers[CONTENT_RANGE], &headers[CONTENT_LENGTH]),
        (&"bytes 7-9/10".parse().unwrap(), &"3".parse().unwrap())
    );
    let (status, headers, text) = world.ask("syslog", &[(RANGE, "bytes=10-")]).await;
    assert_eq!((status, text.as_str()), (416, "invalid range: failed to overlap\n"));
    assert_eq!(headers[CONTENT_RANGE], "bytes */10");
    for (same, status) in [(STAMP, 206), ("Tue, 14 Nov 2023 22:13:21 GMT", 200), ("\"tag\"", 200)] {
        assert_eq!(world.ask("syslog", &[(RANGE, "bytes=1-2"), (IF_RANGE, same)]).await.0, status, "{same}");
    }
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let world = World::new();
    let later = "Tue, 14 Nov 2023 22:13:21 GMT";
    let earlier = "Tue, 14 Nov 2023 22:13:19 GMT";
    for (headers, expected) in [
        (vec![(IF_MODIFIED_SINCE, STAMP)], 304),
        (vec![(IF_MODIFIED_SINCE, later)], 304),
        (vec![(IF_MODIFIED_SINCE, earlier)], 200),
        (vec![(IF_MODIFIED_SINCE, "yesterday")], 200),
        (vec![(IF_NONE_MATCH, "*")], 304),
        (vec![(IF_NONE_MATCH, "\"tag\""), (IF_MODIFIED_SINCE, STAMP)], 200),
        (vec![(IF_UNMODIFIED_SINCE, earlier)], 412),
        (vec![(IF_UNMODIFIED_SINCE, STAMP)], 200),
        (vec![(IF_MATCH, "\"tag\"")], 412),
        (vec![(IF_MATCH, "*")], 200),
    ] {
        let (status, answered, text) = world.ask("syslog", &headers).await;
        assert_eq!(status, expected, "{headers:?}");
        assert_eq!(answered[LAST_MODIFIED], STAMP);
        assert!(status == 200 || (text.is_empty() && !answered.contains_key(CONTENT_TYPE)), "{headers:?}");
    }
    let (_, headers, _) = world.ask("pods/", &[]).await;
    let stamp = headers[LAST_MODIFIED].to_str().unwrap();
    assert_eq!(world.ask("pods/", &[(IF_MODIFIED_SINCE, stamp)]).await.0, 304);
}

#[tokio::test]
async fn a_directory_is_a_page_of_links() {
    let world = World::new();
    let (status, _, page) = world.ask("", &[]).await;
    let start = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n";
    let names = ["empty.json", "old.1", "page/", "pods/", "syslog", "wtmp"];
    let links: String = names.map(|name| format!("<a href=\"{name}\">{name}</a>\n")).concat();
    assert_eq!((status, page), (200, format!("{start}{links}</pre>\n")));
    let (_, _, page) = world.ask("pods/", &[]).await;
    assert!(page.contains("<a href=\"./a%3Cb%3E:c/\">a&lt;b&gt;:c/</a>\n"), "{page}");
    assert_eq!(world.ask("page/", &[]).await.2, "<p>", "a page of its own comes first");
}

#[tokio::test]
async fn paths_are_put_right() {
    let world = World::new();
    for (path, to) in [
        ("pods", "pods/"),
        ("pods/a<b>:c", "./a%3Cb%3E:c/"),
        ("syslog/", "../syslog"),
        ("page/index.html", "./"),
        ("index.html", "./"),
    ] {
        let (status, headers, _) = world.ask(path, &[]).await;
        assert_eq!((status, headers[LOCATION].to_str().unwrap()), (301, to), "{path}");
    }
    let reply = answer(&Tree::new(&world.root), "pods", Some("a=b"), &HeaderMap::new()).await;
    assert_eq!(reply.headers()[LOCATION], "pods/?a=b");
}

#[tokio::test]
async fn what_is_not_there_or_outside_is_not_sent() {
    let world = World::new();
    std::os::unix::fs::symlink("/etc", world.root.join("etc")).unwrap();
    for (path, expected) in [
        ("none", (404, "404 page not found\n")),
        ("syslog/none", (404, "404 page not found\n")),
        ("etc/passwd", (403, "403 Forbidden\n")),
        ("etc", (403, "403 Forbidden\n")),
    ] {
        let (status, _, text) = world.ask(path, &[]).await;
        assert_eq!((status, text.as_str()), expected, "{path}");
    }
    assert_eq!(world.ask("../../../usr/bin/env", &[]).await.0, 404, "above the directory there is nothing");
}

#[tokio::test]
async fn a_directory_of_many_files_has_a_page_that_ends() {
    let world = World::new();
    let many = world.root.join("many");
    fs::create_dir(&many).unwrap();
    for i in 0..=ENTRIES {
        fs::hard_link(world.root.join("syslog"), many.join(i.to_string()))
            .or_else(|_| fs::write(many.join(i.to_string()), ""))
            .unwrap();
    }
    let (status, _, page) = world.ask("many/", &[]).await;
    assert_eq!((status, page.matches("<a href").count()), (200, ENTRIES));
    assert!(page.ends_with("and more than 10000 in all\n</pre>\n"));
}
