//! Sessions between a client that another implementation of WebSockets speaks for, and a runtime that is driven by hand.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role as SocketRole;

use super::*;
use crate::fake::{self, Got};
use crate::spdy;

const PIPE: usize = 64 * 1024;
const IDLE: Duration = Duration::from_secs(3600);
const ALL: Options = Options { stdin: true, stdout: true, stderr: true, tty: false };
const TERMINAL: Options = Options { stdin: true, stdout: true, stderr: false, tty: true };

type Client = WebSocketStream<DuplexStream>;

struct Bench {
    client: Client,
    runtime: fake::Session<DuplexStream>,
    session: JoinHandle<SessionEnd>,
}

fn protocol(name: &str) -> Protocol {
    Protocol::choose(&[name.to_owned()]).unwrap().0
}

/// A session that has begun, with its greeting and its streams.
async fn begun(name: &str, options: Options) -> Bench {
    let mut bench = beginning(name, options).await;
    let streams =
        1 + [options.stdin, options.stdout, options.stderr, options.tty].iter().filter(|is| **is).count();
    bench.runtime.accept(streams).await.unwrap();
    bench
}

async fn beginning(name: &str, options: Options) -> Bench {
    let (client, served) = duplex(PIPE);
    let (runtime, connected) = duplex(PIPE);
    let session =
        tokio::spawn(serve(served, Runtime(Spoken::Spdy(connected)), protocol(name), options, IDLE));
    let mut client = WebSocketStream::from_raw_socket(client, SocketRole::Client, None).await;
    let greeting = client.next().await.unwrap().unwrap();
    assert!(
        matches!(greeting.into_data()[..], [1 | b'1']),
        "an empty message in the first channel that is read"
    );
    Bench { client, runtime: fake::Session::new(runtime), session }
}

impl Bench {
    async fn send(&mut self, message: &[u8]) {
        self.client.send(Message::Binary(message.to_vec().into())).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        self.client.next().await.unwrap().unwrap()
    }

    /// The next data that the runtime gets: the stream, the bytes, whether they are the last.
    async fn got(&mut self) -> (u32, Vec<u8>, bool) {
        match self.runtime.next().await.unwrap() {
            Some(Got::Data { stream, bytes, fin }) => (stream, bytes, fin),
            other => panic!("{other:?}"),
        }
    }

    async fn reply(&mut self, kind: &str, bytes: &[u8], fin: bool) {
        let stream = self.runtime.stream(kind);
        self.runtime.send(stream, bytes, fin).await.unwrap();
    }
}

fn message(bytes: &[u8]) -> Message {
    Message::Binary(bytes.to_vec().into())
}

/// The code of a closing frame.
fn code(message: &Message) -> u16 {
    match message {
        Message::Close(Some(frame)) => frame.code.into(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_channel_is_a_stream_and_the_end_of_the_process_that_of_the_session() {
    let mut bench = begun("v5.channel.k8s.io", ALL).await;
    let stdin = bench.runtime.stream("stdin");
    bench.send(b"\x00input").await;
    assert_eq!(bench.got().await, (stdin, b"input".to_vec(), false));
    bench.send(&[255, 0]).await;
    assert_eq!(bench.got().await, (stdin, Vec::new(), true), "the input has ended");
    bench.reply("stdout", b"out", false).await;
    assert_eq!(bench.next().await, message(b"\x01out"));
    bench.reply("stderr", b"err", true).await;
    assert_eq!(bench.next().await, message(b"\x02err"));
    bench.reply("stdout", b"", true).await;
    bench.reply("error", b"{}", true).await;
    assert_eq!(bench.next().await, message(b"\x03{}"));
    assert_eq!(code(&bench.next().await), 1000);
    drop(bench.client);
    assert_eq!(bench.session.await.unwrap(), SessionEnd::Done);
    assert_eq!(bench.runtime.next().await.unwrap(), None, "the runtime's connection is closed");
}

#[tokio::test]
async fn the_error_stream_is_opened_first_and_only_what_is_asked_for_after_it() {
    for (options, kinds) in [
        (ALL, &["error", "stdin", "stdout", "stderr"][..]),
        (TERMINAL, &["error", "stdin", "stdout", "resize"]),
        (Options { stdout: true, ..Options::default() }, &["error", "stdout"]),
    ] {
        let mut bench = beginning("v4.channel.k8s.io", options).await;
        let opened = bench.runtime.accept(kinds.len()).await.unwrap();
        let opened: Vec<_> = opened.iter().map(|headers| headers["streamtype"].as_str()).collect();
        assert_eq!(opened, kinds);
    }
}

#[tokio::test]
async fn nothing_is_sent_before_every_stream_is_taken_and_what_nobody_asked_for_is_left_out() {
    let mut bench =
        beginning("v4.channel.k8s.io", Options { stdin: true, stdout: true, ..Options::default() }).await;
    for unwanted in [&b"\x01a"[..], b"\x02b", b"\x03c", b"\x04d", b"\x09e", b"\xff\x00", b""] {
        bench.send(unwanted).await;
    }
    bench.send(b"\x00input").await;
    bench.runtime.accept(3).await.unwrap();
    let stdin = bench.runtime.stream("stdin");
    assert_eq!(bench.got().await, (stdin, b"input".to_vec(), false), "before v5 nothing ends a channel");
}

#[tokio::test]
async fn the_size_of_a_terminal_goes_its_own_way() {
    let mut bench = begun("v5.channel.k8s.io", TERMINAL).await;
    let (resize, size) = (bench.runtime.stream("resize"), br#"{"Width":80,"Height":24}"#);
    bench.send(&[&[4], &size[..]].concat()).await;
    assert_eq!(bench.got().await, (resize, size.to_vec(), false));
}

#[tokio::test]
async fn text_is_base64_both_ways() {
    let mut bench = begun("v5.base64.channel.k8s.io", ALL).await;
    let stdin = bench.runtime.stream("stdin");
    for text in ["0aGVsbG8=", "/0"] {
        bench.client.send(Message::text(text)).await.unwrap();
    }
    assert_eq!(bench.got().await, (stdin, b"hello".to_vec(), false));
    assert_eq!(bench.got().await, (stdin, Vec::new(), true));
    bench.reply("stdout", b"world", false).await;
    assert_eq!(bench.next().await, Message::text("1d29ybGQ="));
    bench.client.send(Message::text("0?")).await.unwrap();
    assert_eq!(code(&bench.next().await), 1002);
    drop((bench.client, bench.runtime));
    assert!(matches!(bench.session.await.unwrap(), SessionEnd::Malformed(_)));
}

#[tokio::test]
async fn much_goes_through_in_both_directions_at_once_in_pieces_of_all_sizes() {
    const MUCH: usize = 100 << 20;
    let bench = begun("v5.channel.k8s.io", ALL).await;
    let Bench { client, mut runtime, session } = bench;
    let (mut send, mut receive) = client.split();
    let sends = tokio::spawn(async move {
        let mut left = MUCH;
        for size in [1, 125, 126, 65_534, 65_535, 65_536, 300_000, 1 << 20].into_iter().cycle() {
            let size = left.min(size);
            left -= size;
            send.send(message(&vec![0; 1 + size])).await.unwrap();
            if left == 0 {
                break;
            }
        }
        send.send(message(&[255, 0])).await.unwrap();
        send
    });
    let receives = tokio::spawn(async move {
        let mut length = 0;
        while let Some(Ok(Message::Binary(bytes))) = receive.next().await {
            assert!(bytes[0] == 1 || bytes[0] == 3, "channel {}", bytes[0]);
            length += bytes.len() - 1;
        }
        length
    });
    // What comes in goes out again.
    let (stdout, error) = (runtime.stream("stdout"), runtime.stream("error"));
    let mut length = 0;
    loop {
        match runtime.next().await.unwrap().unwrap() {
            Got::Data { bytes, fin, .. } => {
                length += bytes.len();
                runtime.send(stdout, &bytes, fin).await.unwrap();
                if fin {
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(length, MUCH);
    let stderr = runtime.stream("stderr");
    runtime.send(stderr, b"", true).await.unwrap();
    runtime.send(error, b"", true).await.unwrap();
    assert_eq!(receives.await.unwrap(), MUCH);
    drop(sends.await.unwrap());
    assert_eq!(session.await.unwrap(), SessionEnd::Done);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_stops_the_runtime() {
    let mut bench = begun("v5.channel.k8s.io", ALL).await;
    let stdout = bench.runtime.stream("stdout");
    let mut sent = 0;
    // The clock moves when nothing else does.
    while timeout(Duration::from_secs(1), bench.runtime.send(stdout, &[0; 1024], false)).await.is_ok() {
        sent += 1024;
    }
    assert!(sent <= 2 * PIPE + 2 * crate::block::BLOCK, "{sent} bytes were taken");
    // It goes on where it stopped.
    let reads = tokio::spawn(async move {
        let mut length = 0;
        while length < sent {
            length += bench.next().await.into_data().len() - 1;
        }
    });
    reads.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_process_that_does_not_read_stops_the_client() {
    let mut bench = begun("v5.channel.k8s.io", ALL).await;
    let mut sent = 0;
    let piece = message(&[0; 1025]);
    while timeout(Duration::from_secs(1), bench.client.send(piece.clone())).await.is_ok() {
        sent += 1024;
    }
    assert!(sent <= 3 * PIPE + 2 * crate::block::BLOCK, "{sent} bytes were taken");
    // The other direction goes on.
    bench.reply("stdout", b"still here", false).await;
    assert_eq!(bench.next().await, message(b"\x01still here"));
}

#[tokio::test]
async fn pings_of_both_sides_are_answered() {
    let mut bench = begun("v5.channel.k8s.io", ALL).await;
    bench.client.send(Message::Ping(b"there?".to_vec().into())).await.unwrap();
    assert_eq!(bench.next().await, Message::Pong(b"there?".to_vec().into()));
    bench.runtime.write(&spdy::ping(2)).await.unwrap();
    assert_eq!(bench.runtime.next().await.unwrap(), Some(Got::Ping(2)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_ends_the_input_and_then_the_runtimes_connection() {
    // A process that ends then, one that says nothing, and one that goes on to talk.
    for (process, seconds) in [("ends", 0), ("is silent", 60), ("talks", 12)] {
        let begin = Instant::now();
        let mut bench = begun("v5.channel.k8s.io", ALL).await;
        let stdin = bench.runtime.stream("stdin");
        bench.send(b"\x00x").await;
        assert_eq!(bench.got().await, (stdin, b"x".to_vec(), false));
        drop(bench.client);
        let end = Got::Data { stream: stdin, bytes: Vec::new(), fin: true };
        assert_eq!(bench.runtime.next().await.unwrap(), Some(end));
        let stdout = bench.runtime.stream("stdout");
        match process {
            "ends" => {
                for kind in ["stdout", "stderr", "error"] {
                    let stream = bench.runtime.stream(kind);
                    bench.runtime.send(stream, b"too late", true).await.unwrap();
                }
            }
            "talks" => {
                while bench.runtime.send(stdout, b"more", false).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(4)).await;
                }
            }
            _ => {}
        }
        assert_eq!(bench.session.await.unwrap(), SessionEnd::Client);
        if process == "talks" {
            assert!((seconds..=seconds + 4).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
        } else {
            assert_eq!(bench.runtime.next().await.unwrap(), None);
            assert_eq!(begin.elapsed().as_secs(), seconds, "a process that {process}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_input_waits_for_streams_that_are_taken_late() {
    let mut bench = beginning("v5.channel.k8s.io", ALL).await;
    drop(bench.client);
    tokio::time::sleep(Duration::from_secs(5)).await;
    bench.runtime.accept(4).await.unwrap();
    let end = Got::Data { stream: bench.runtime.stream("stdin"), bytes: Vec::new(), fin: true };
    assert_eq!(bench.runtime.next().await.unwrap(), Some(end));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_input_without_a_byte_waits_until_the_process_must_be_there() {
    for (sent, ends_by, millis) in [
        (&b"\x00x"[..], "its end", 0),
        (b"\x00x", "the client's end", 0),
        (b"\x00", "its end", 1000),
        (b"\x00", "the client's end", 1000),
    ] {
        let mut bench = begun("v5.channel.k8s.io", ALL).await;
        let begin = Instant::now();
        bench.send(sent).await;
        let client = match ends_by {
            "its end" => {
                bench.send(&[255, 0]).await;
                Some(bench.client)
            }
            _ => {
                drop(bench.client);
                None
            }
        };
        let mut input = Vec::new();
        while let Some(Got::Data { bytes, fin, .. }) = bench.runtime.next().await.unwrap() {
            input.extend(bytes);
            if fin {
                break;
            }
        }
        assert_eq!((&input[..], begin.elapsed().as_millis()), (&sent[1..], millis), "{sent:?}, {ends_by}");
        drop((client, bench.runtime));
        bench.session.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_needs_no_input_ends_while_the_end_of_that_waits() {
    let mut bench = begun("v5.channel.k8s.io", ALL).await;
    let begin = Instant::now();
    bench.send(&[255, 0]).await;
    for kind in ["stdout", "stderr", "error"] {
        bench.reply(kind, b"", true).await;
    }
    assert_eq!(code(&bench.next().await), 1000);
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_client_that_closes_is_answered_at_once() {
    let mut bench = begun("v5.channel.k8s.io", ALL).await;
    bench.client.close(None).await.unwrap();
    assert_eq!(code(&bench.next().await), 1000);
    drop((bench.client, bench.runtime));
    assert_eq!(bench.session.await.unwrap(), SessionEnd::Client);
}

#[tokio::test]
async fn a_runtime_that_goes_away_is_told_to_the_client_in_its_protocol() {
    for name in ["v5.channel.k8s.io", "channel.k8s.io"] {
        let mut bench = begun(name, ALL).await;
        bench.reply("stdout", b"last", false).await;
        drop(bench.runtime);
        assert_eq!(bench.client.next().await.unwrap().unwrap(), message(b"\x01last"));
        let told = bench.client.next().await.unwrap().unwrap().into_data();
        assert_eq!(told[0], 3);
        let why = "the container runtime has closed the connection";
        if name == "v5.channel.k8s.io" {
            let status: Value = serde_json::from_slice(&told[1..]).unwrap();
            assert_eq!((&status["status"], &status["message"]), (&"Failure".into(), &why.into()));
        } else {
            assert_eq!(&told[1..], why.as_bytes());
        }
        assert_eq!(code(&bench.client.next().await.unwrap().unwrap()), 1011);
        drop(bench.client);
        assert_eq!(bench.session.await.unwrap(), SessionEnd::Runtime(why.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_runtime_has_sent_before_it_closed_is_not_lost_though_input_still_comes() {
    let mut bench = begun("v5.channel.k8s.io", ALL).await;
    // More than a pipe holds, so that the session waits for the client.
    const OUTPUT: usize = 2 * PIPE - 10_000;
    let stdout = bench.runtime.stream("stdout");
    bench.runtime.send(stdout, &[7; OUTPUT], true).await.unwrap();
    bench.reply("stderr", b"", true).await;
    bench.reply("error", b"{}", true).await;
    drop(bench.runtime);
    bench.client.send(message(b"\x00input that nobody takes")).await.unwrap();
    // The clock moves when nothing else does: the session has run into the runtime's end.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut length = 0;
    while length < OUTPUT {
        let next = timeout(Duration::from_secs(1), bench.client.next()).await.expect("it goes on");
        length += next.unwrap().unwrap().into_data().len() - 1;
    }
    assert_eq!(bench.client.next().await.unwrap().unwrap(), message(b"\x03{}"));
    assert_eq!(code(&bench.client.next().await.unwrap().unwrap()), 1000);
}

#[tokio::test]
async fn a_runtime_that_does_not_speak_spdy_ends_the_session() {
    let mut bench = begun("v5.channel.k8s.io", ALL).await;
    bench.runtime.write(&[0x80, 2, 0, 1, 0, 0, 0, 0]).await.unwrap();
    let end = loop {
        match bench.next().await {
            Message::Close(frame) => break frame.unwrap(),
            Message::Binary(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(end.code), 1011);
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_never_takes_the_streams_is_given_up() {
    let begin = Instant::now();
    let mut bench = beginning("v5.channel.k8s.io", ALL).await;
    let told = loop {
        match bench.next().await {
            Message::Binary(bytes) => break bytes,
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    };
    let status: Value = serde_json::from_slice(&told[1..]).unwrap();
    assert_eq!(status["message"], "the container runtime has not opened the streams within 30s");
    assert_eq!(begin.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends_in_time_though_it_was_sent_pings() {
    let begin = Instant::now();
    let mut bench = begun("v5.channel.k8s.io", ALL).await;
    let mut pings = 0;
    // Reading answers the pings.
    let told = loop {
        match bench.next().await {
            Message::Ping(_) => pings += 1,
            Message::Binary(bytes) => break bytes,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(begin.elapsed().as_secs(), IDLE.as_secs());
    assert!(pings >= 100, "{pings} pings");
    let status: Value = serde_json::from_slice(&told[1..]).unwrap();
    assert_eq!(status["message"], "the connection was idle for too long");
    assert_eq!(code(&bench.next().await), 1000);
    assert_eq!(bench.session.await.unwrap(), SessionEnd::Idle);
}

#[tokio::test(start_paused = true)]
async fn traffic_in_either_direction_keeps_a_session() {
    for direction in 0..3 {
        let begin = Instant::now();
        let Bench { client, mut runtime, mut session } = begun("v5.channel.k8s.io", ALL).await;
        let (mut send, mut receive) = client.split();
        let reads = tokio::spawn(async move { while let Some(Ok(_)) = receive.next().await {} });
        for _ in 0..4 {
            let quiet = IDLE - Duration::from_secs(60);
            assert!(timeout(quiet, &mut session).await.is_err(), "direction {direction}");
            match direction {
                0 => send.send(message(b"\x00a")).await.unwrap(),
                1 => send.send(Message::Ping(Vec::new().into())).await.unwrap(),
                _ => {
                    let stdout = runtime.stream("stdout");
                    runtime.send(stdout, b"a", false).await.unwrap();
                }
            }
        }
        assert_eq!(session.await.unwrap(), SessionEnd::Idle);
        let took = begin.elapsed();
        assert!(took > IDLE * 4 && took < IDLE * 5, "{took:?}");
        drop(send);
        reads.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_the_end_slowly_gets_all_of_it() {
    let mut bench = begun("v5.channel.k8s.io", ALL).await;
    bench.reply("stdout", &[7; PIPE], true).await;
    bench.reply("stderr", b"", true).await;
    bench.reply("error", b"{}", true).await;
    let mut length = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(20)).await;
        match bench.next().await {
            Message::Binary(bytes) if bytes[0] == 1 => length += bytes.len() - 1,
            Message::Binary(bytes) => assert_eq!(&bytes[..], b"\x03{}"),
            Message::Close(_) => break,
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(length, PIPE);
    drop(bench.client);
    assert_eq!(bench.session.await.unwrap(), SessionEnd::Done);
}

#[tokio::test]
async fn a_runtime_without_spdy_is_spoken_to_in_channels() {
    let (client, served) = duplex(PIPE);
    let (runtime, connected) = duplex(PIPE);
    let spoken = Runtime(Spoken::WebSocket(connected));
    let session = tokio::spawn(serve(served, spoken, protocol("v5.channel.k8s.io"), ALL, IDLE));
    let mut client = WebSocketStream::from_raw_socket(client, SocketRole::Client, None).await;
    let mut runtime = WebSocketStream::from_raw_socket(runtime, SocketRole::Server, None).await;
    client.next().await.unwrap().unwrap();
    client.send(message(b"\x00input")).await.unwrap();
    assert_eq!(runtime.next().await.unwrap().unwrap(), message(b"\x00input"));
    // There is no word for the end of the input.
    client.send(message(&[255, 0])).await.unwrap();
    client.send(message(b"\x00more")).await.unwrap();
    assert_eq!(runtime.next().await.unwrap().unwrap(), message(b"\x00more"));
    runtime.send(message(b"\x01")).await.unwrap();
    runtime.send(message(&[&[1][..], &[5; 70_000]].concat())).await.unwrap();
    let mut out = 0;
    while out < 70_000 {
        out += client.next().await.unwrap().unwrap().into_data().len() - 1;
    }
    runtime.send(message(b"\x03{}")).await.unwrap();
    runtime.close(None).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), message(b"\x03{}"));
    assert_eq!(code(&client.next().await.unwrap().unwrap()), 1000);
    drop(client);
    assert_eq!(session.await.unwrap(), SessionEnd::Done);
}

#[test]
fn the_first_protocol_of_the_client_that_is_known_is_chosen() {
    let choose = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Protocol::choose(&names).map(|(protocol, name)| (protocol.version, name))
    };
    assert_eq!(choose(&[]), Some((1, None)));
    assert_eq!(
        choose(&["v9.channel.k8s.io", "v4.channel.k8s.io", "v5.channel.k8s.io"]),
        Some((4, Some("v4.channel.k8s.io")))
    );
    assert_eq!(choose(&["v9.channel.k8s.io"]), None);
}
