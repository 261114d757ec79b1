use pause::image::Image;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;

/// An image of one small file, outside of the cache.
fn archive(dir: &tempfile::TempDir) -> Archive {
    let image = Image::new("test/app:1").file("f", 0o644, b"content".to_vec());
    let path = dir.path().join("app.tar");
    std::fs::write(&path, image.archive().unwrap()).unwrap();
    Archive { name: image.name().to_owned(), path }
}

/// The whole answer to one request; what came of it where the connection breaks.
async fn ask(registry: &Registry, line: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(registry.address()).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nhost: r\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn an_image_is_served_by_tag_and_by_digest_with_all_that_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start().await.unwrap();
    registry.add("team/app:1", &archive(&dir)).unwrap();
    assert!(ask(&registry, "GET /v2/", "").await.starts_with("HTTP/1.1 200"));
    let head = ask(&registry, "HEAD /v2/team/app/manifests/1", "").await;
    let digest = head.lines().find_map(|line| line.strip_prefix("docker-content-digest: ")).unwrap();
    assert!(head.contains("content-type: application/vnd.oci.image.manifest.v1+json"), "{head}");
    let manifest = ask(&registry, &format!("GET /v2/team/app/manifests/{digest}?ns=registry.test"), "").await;
    let document: serde_json::Value =
        serde_json::from_str(manifest.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let layer = document["layers"][0]["digest"].as_str().unwrap();
    let blob = format!("GET /v2/team/app/blobs/{layer}");
    let whole = ask(&registry, &blob, "").await;
    let rest = ask(&registry, &blob, "range: bytes=10-\r\n").await;
    assert!(rest.starts_with("HTTP/1.1 206"), "{rest}");
    let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&rest), body(&whole)[10..]);
    for absent in ["/v2/team/app/manifests/2", "/v2/app/manifests/1", "/v2/app", "/x"] {
        assert!(ask(&registry, &format!("GET {absent}"), "").await.starts_with("HTTP/1.1 404"), "{absent}");
    }
    assert_eq!(registry.seen("/blobs/").len(), 2);
}

#[tokio::test]
async fn it_asks_for_passwords_refuses_cuts_and_goes_away_as_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start().await.unwrap();
    for name in ["private/app:1", "open/app:1"] {
        registry.add(name, &archive(&dir)).unwrap();
    }
    registry.protect("private/", "user", "pass");
    let private = "GET /v2/private/app/manifests/1";
    let refused = ask(&registry, private, "").await;
    assert!(refused.starts_with("HTTP/1.1 401") && refused.contains("www-authenticate: Basic"), "{refused}");
    // user:no, user:pass
    assert!(
        ask(&registry, private, "authorization: Basic dXNlcjpubw==\r\n").await.starts_with("HTTP/1.1 401")
    );
    assert!(
        ask(&registry, private, "authorization: Basic dXNlcjpwYXNz\r\n").await.starts_with("HTTP/1.1 200")
    );
    let users: Vec<_> = registry.seen("/private/").into_iter().map(|seen| seen.user).collect();
    assert_eq!(users, [None, None, Some("user".to_owned())]);

    let open = "GET /v2/open/app/manifests/1";
    registry.rule("/open/", Some(1), Effect::Status(503));
    registry.rule("/open/", Some(1), Effect::Cut(5));
    assert!(ask(&registry, open, "").await.starts_with("HTTP/1.1 503"));
    assert!(ask(&registry, open, "").await.ends_with("\r\n\r\n{\"con"));
    assert!(ask(&registry, open, "").await.ends_with('}'));
    registry.down().await;
    assert!(TcpStream::connect(registry.address()).await.is_err());
    registry.up().await.unwrap();
    assert!(ask(&registry, open, "").await.starts_with("HTTP/1.1 200"));
}
