use http::Method;
use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;

use super::*;
use crate::server::tests::{ask, asked, context, text};

fn open() -> Context {
    context(None, |config| {
        config.authentication.anonymous.enabled = true;
        config.authorization.mode = "AlwaysAllow".to_owned();
    })
}

/// A connection to a server of its own.
fn served(context: Context, door: Door) -> DuplexStream {
    let (here, there) = tokio::io::duplex(1 << 16);
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    tokio::spawn(serve(there, context, door, None, permit));
    here
}

/// All that comes back until the connection ends.
async fn said(context: Context, door: Door, request: &[u8]) -> String {
    let mut stream = served(context, door);
    // The server may have gone before it was all written.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(start_paused = true)]
async fn heads_and_bodies_that_are_too_long_are_refused() {
    let long = "x".repeat(2 * HEADER_BYTES as usize);
    let head = format!("GET /healthz HTTP/1.1\r\nhost: n1\r\nx: {long}\r\n\r\n");
    assert!(said(open(), Door::ReadWrite, head.as_bytes()).await.starts_with("HTTP/1.1 431 "));
    let body = "1".repeat(BODY_BYTES + 1);
    let length = body.len();
    let request =
        format!("PUT /debug/flags/v HTTP/1.1\r\nhost: n1\r\ncontent-length: {length}\r\n\r\n{body}");
    let answer = said(open(), Door::ReadWrite, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("error reading request body"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_is_left() {
    let second = Duration::from_secs(1);
    for (request, patience) in [
        // No head, half a head, and no second one.
        ("", HEADER),
        ("GET /healthz HTTP/1.1\r\nhost: n1\r\n", HEADER),
        ("GET /healthz HTTP/1.1\r\nhost: n1\r\n\r\n", HEADER.max(IDLE)),
    ] {
        let began = Instant::now();
        said(open(), Door::ReadWrite, request.as_bytes()).await;
        let after = began.elapsed();
        assert!(after <= patience + second, "{request:?} was let be for {after:?}");
    }
    // A body that does not come.
    let began = Instant::now();
    let half = "PUT /debug/flags/v HTTP/1.1\r\nhost: n1\r\ncontent-length: 5\r\n\r\n1";
    let mut stream = served(open(), Door::ReadWrite);
    stream.write_all(half.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 408");
    assert!(began.elapsed() < 20 * second);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_of_http_2_ends_though_its_peer_lives() {
    let stream = served(open(), Door::ReadWrite);
    let (mut sender, client) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let client = tokio::spawn(client);
    let began = Instant::now();
    let request = || Request::get("https://n1/healthz").body(Full::<bytes::Bytes>::default()).unwrap();
    for _ in 0..3 {
        assert_eq!(sender.send_request(request()).await.unwrap().status(), StatusCode::OK);
        sleep(IDLE / 2).await;
    }
    client.await.unwrap().unwrap();
    let after = began.elapsed();
    assert!(after > IDLE * 3 / 2 && after < IDLE * 4, "{after:?}");
}

#[tokio::test]
async fn more_requests_than_there_are_places_are_told_so() {
    let context = open();
    let mut held = Vec::new();
    let busy = loop {
        let reply = ask(&context, Door::ReadOnly, None, asked(&Method::GET, "/pods")).await;
        if reply.status() != StatusCode::OK {
            break reply;
        }
        held.push(reply);
        assert!(held.len() < 10_000);
    };
    assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(text(busy).await, "too many requests are being answered\n");
    held.pop();
    let reply = ask(&context, Door::ReadOnly, None, asked(&Method::GET, "/pods")).await;
    assert_eq!(reply.status(), StatusCode::OK);
}

#[tokio::test]
async fn requests_are_counted_by_where_and_what_they_are() {
    let context = open();
    for (door, path) in [
        (Door::ReadWrite, "/metrics"),
        (Door::ReadWrite, "/metrics/cadvisor"),
        (Door::ReadWrite, "/made/up"),
        (Door::ReadWrite, "/exec/ns/p/c"),
        (Door::ReadOnly, "/pods/"),
        (Door::ReadOnly, "/%70ods"),
        (Door::Healthz, "/healthz"),
    ] {
        drop(ask(&context, door, None, asked(&Method::GET, path)).await);
    }
    let all = context.metrics.text().unwrap();
    let series = |path: &str, server: &str, long: bool, count: u32| {
        let labels =
            format!("{{long_running=\"{long}\",method=\"GET\",path=\"{path}\",server_type=\"{server}\"}}");
        let line = format!("kubelet_http_requests_total{labels} {count}");
        assert!(all.lines().any(|l| l == line), "{line} is not in\n{all}");
        assert!(all.contains(&format!("kubelet_http_inflight_requests{labels} 0")), "{all}");
    };
    series("metrics", "readwrite", false, 1);
    series("metrics/cadvisor", "readwrite", false, 1);
    series("other", "readwrite", false, 1);
    series("exec", "readwrite", true, 1);
    series("pods", "readonly", false, 2);
    assert!(!all.contains("path=\"healthz\""), "the healthz port is not counted");
}
