use http::header::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::fake::Runtime;

const PIPE: usize = 64 * 1024;

#[tokio::test]
async fn an_upgraded_connection_passes_bytes_both_ways_and_ends_with_the_client() {
    let mut runtime = Runtime::start().await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static("v4.channel.k8s.io"));
    let (answer, server) =
        connect(Method::POST, &runtime.url("/exec/token"), "SPDY/3.1", &headers).await.unwrap();
    assert_eq!(answer.headers()[STREAM_PROTOCOL], "v4.channel.k8s.io");
    let (_, mut session) = runtime.next().await.unwrap();
    let (client, relayed) = duplex(PIPE);
    let relaying = tokio::spawn(relay(relayed, server, Duration::ZERO));
    let mut client = crate::fake::Session::new(client);
    client.write(&crate::spdy::ping(1)).await.unwrap();
    assert_eq!(session.next().await.unwrap(), Some(crate::fake::Got::Ping(1)));
    session.write(&crate::spdy::ping(2)).await.unwrap();
    assert_eq!(client.next().await.unwrap(), Some(crate::fake::Got::Ping(2)));
    drop(client);
    assert_eq!(relaying.await.unwrap(), Ended::Client);
    assert_eq!(session.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_refusal_says_what_the_server_said() {
    let runtime = Runtime::start().await.unwrap();
    let refused = connect(Method::GET, &runtime.url("/"), "h3", &HeaderMap::new()).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Refused { status: StatusCode::FORBIDDEN, .. }), "{refused:?}");
    for url in ["https://127.0.0.1:1/", "/exec/token"] {
        let refused = connect(Method::GET, &url.parse().unwrap(), "SPDY/3.1", &HeaderMap::new()).await;
        assert!(matches!(refused, Err(ConnectError::Url(_))), "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
    let begin = Instant::now();
    let error = connect(Method::GET, &url, "SPDY/3.1", &HeaderMap::new()).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
    assert_eq!(begin.elapsed(), HANDSHAKE);
}

#[tokio::test]
async fn what_a_server_has_sent_before_it_closed_arrives_though_the_client_still_sends() {
    let (mut client, relayed) = duplex(PIPE);
    let (mut server, connected) = duplex(PIPE);
    let relaying = tokio::spawn(relay(relayed, connected, Duration::ZERO));
    server.write_all(&[1; 1000]).await.unwrap();
    drop(server);
    client.write_all(&[2; 1000]).await.unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, [1; 1000]);
    drop(client);
    assert_eq!(relaying.await.unwrap(), Ended::Server);
}

#[tokio::test(start_paused = true)]
async fn a_relay_ends_when_nothing_moves_and_a_slow_side_is_not_outrun() {
    let (mut client, relayed) = duplex(PIPE);
    let (mut server, connected) = duplex(PIPE);
    let begin = Instant::now();
    let mut relaying = tokio::spawn(relay(relayed, connected, Duration::from_secs(100)));
    let mut sent = 0;
    while timeout(Duration::from_secs(1), server.write_all(&[0; 1024])).await.is_ok() {
        sent += 1024;
    }
    assert!(sent <= 2 * PIPE + 2 * crate::block::BLOCK, "{sent} bytes were taken");
    let mut bytes = vec![0; 4 * PIPE];
    let mut read = client.read(&mut bytes).await.unwrap();
    assert!(timeout(Duration::from_secs(90), &mut relaying).await.is_err());
    read += client.read(&mut bytes).await.unwrap();
    assert!(read > 0);
    assert_eq!(relaying.await.unwrap(), Ended::Idle);
    assert!(begin.elapsed() > Duration::from_secs(150), "{:?}", begin.elapsed());
}

#[test]
fn an_upgrade_is_asked_for_in_two_headers() {
    let headers = |connection, upgrade| {
        HeaderMap::from_iter([
            (CONNECTION, HeaderValue::from_static(connection)),
            (UPGRADE, HeaderValue::from_static(upgrade)),
        ])
    };
    assert!(asks_for(&headers("keep-alive, upgrade", "spdy/3.1"), "SPDY/3.1"));
    assert!(!asks_for(&headers("keep-alive", "SPDY/3.1"), "SPDY/3.1"));
    assert!(!asks_for(&headers("Upgrade", "websocket"), "SPDY/3.1"));
}
