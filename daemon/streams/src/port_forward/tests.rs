use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role as SocketRole;

use super::*;
use crate::fake::{self, Got};
use crate::spdy;

const PIPE: usize = 64 * 1024;
const IDLE: Duration = Duration::from_secs(3600);

fn message(bytes: &[u8]) -> Message {
    Message::Binary(bytes.to_vec().into())
}

#[tokio::test]
async fn each_port_is_two_channels_and_two_streams() {
    let (client, served) = duplex(PIPE);
    let (runtime, connected) = duplex(PIPE);
    let protocol = Protocol::Channels { is_text: false };
    let session = tokio::spawn(async move {
        serve(served, Runtime(Spoken::Spdy(connected)), protocol, &[80, 0x1234], IDLE).await
    });
    let mut client = WebSocketStream::from_raw_socket(client, SocketRole::Client, None).await;
    let mut runtime = fake::Session::new(runtime);
    for greeting in [b"\x00\x50\x00", b"\x01\x50\x00", b"\x02\x34\x12", b"\x03\x34\x12"] {
        assert_eq!(client.next().await.unwrap().unwrap(), message(greeting));
    }
    let opened = runtime.accept(4).await.unwrap();
    let told: Vec<_> = opened
        .iter()
        .map(|headers| ["streamtype", "port", "requestid"].map(|name| headers[name].as_str()))
        .collect();
    let expected = [["error", "80", "0"], ["data", "80", "0"], ["error", "4660", "1"], ["data", "4660", "1"]];
    assert_eq!(told, expected);
    client.send(message(b"\x02to the second")).await.unwrap();
    let data = Got::Data { stream: 7, bytes: b"to the second".to_vec(), fin: false };
    assert_eq!(runtime.next().await.unwrap(), Some(data));
    runtime.send(3, b"from the first", true).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), message(b"\x00from the first"));
    runtime.send(5, b"refused", false).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), message(b"\x03refused"));
    // All that the runtime sends in has ended, in one way or the other.
    runtime.send(1, b"", true).await.unwrap();
    for stream in [5, 7] {
        runtime.write(&spdy::reset(stream, 5)).await.unwrap();
    }
    assert!(matches!(client.next().await.unwrap().unwrap(), Message::Close(Some(_))));
    drop(client);
    assert_eq!(session.await.unwrap(), SessionEnd::Done);
}

#[tokio::test]
async fn a_tunnel_passes_bytes_whatever_they_are() {
    let (client, served) = duplex(PIPE);
    let (mut runtime, connected) = duplex(PIPE);
    let session = tokio::spawn(async move {
        serve(served, Runtime(Spoken::Spdy(connected)), Protocol::Tunnel, &[], IDLE).await
    });
    let mut client = WebSocketStream::from_raw_socket(client, SocketRole::Client, None).await;
    client.send(message(b"up")).await.unwrap();
    let mut got = [0; 2];
    runtime.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"up");
    runtime.write_all(&[9; 40_000]).await.unwrap();
    let mut length = 0;
    while length < 40_000 {
        length += client.next().await.unwrap().unwrap().into_data().len();
    }
    drop(runtime);
    assert!(matches!(client.next().await.unwrap().unwrap(), Message::Close(Some(_))));
    drop(client);
    assert_eq!(session.await.unwrap(), SessionEnd::Done);
}

#[test]
fn the_clients_protocol_says_what_its_messages_are() {
    let choose = |name: &str| Protocol::choose(&[name.to_owned()]);
    assert_eq!(Protocol::choose(&[]), Some((Protocol::Channels { is_text: false }, None)));
    assert_eq!(choose("SPDY/3.1+portforward.k8s.io").map(|(protocol, _)| protocol), Some(Protocol::Tunnel));
    assert_eq!(
        choose("v4.base64.channel.k8s.io").map(|(protocol, _)| protocol),
        Some(Protocol::Channels { is_text: true })
    );
    assert_eq!(choose("v5.channel.k8s.io"), None);
}
