//! Exec, attach and port-forward straight at a node's port 10250, with a real containerd behind it.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::node_port::{NodePort, Outcome, PortError, Socket};
use harness::wait::{self, Look};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use streams::spdy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

const LIMIT: Duration = Duration::from_secs(120);
const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: box }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - { name: c, image: "nodelet.dev/busybox:1", command: [nc, -ll, -p, "8080", -e, cat] }
  - { name: echo, image: "nodelet.dev/busybox:1", stdin: true, command: [sh, -c, "while read line; do echo got $line; done"] }
  - { name: shell, image: "nodelet.dev/busybox:1", stdin: true, tty: true, command: [sh] }
---
apiVersion: v1
kind: Pod
metadata: { name: ended }
spec:
  restartPolicy: Never
  containers:
  - { name: c, image: "nodelet.dev/busybox:1", command: ["true"] }
"#;

async fn within<T>(what: &str, work: impl Future<Output = Result<T, PortError>>) -> T {
    match timeout(LIMIT, work).await {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => panic!("{what}: {error}"),
        Err(_) => panic!("{what}: not done in {LIMIT:?}"),
    }
}

fn path(verb: &str, container: &str, query: &str) -> String {
    format!("/{verb}/default/box/{container}?{query}")
}

/// The path of a command that a shell runs.
fn shell(command: &str, streams: &str) -> String {
    let command: String = form_urlencode(command);
    path("exec", "c", &format!("command=sh&command=-c&command={command}&{streams}"))
}

fn form_urlencode(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

async fn run(port: &NodePort, protocol: &'static str, command: &str, streams: &str) -> Outcome {
    within(command, async { port.socket(&shell(command, streams), protocol).await?.finish().await }).await
}

fn exit_code(status: &str) -> Value {
    let status: Value = serde_json::from_str(status).unwrap_or_else(|error| panic!("{error}: {status:?}"));
    match status["status"].as_str().unwrap() {
        "Success" => json!(0),
        _ => {
            assert_eq!(status["reason"], "NonZeroExitCode", "{status}");
            status["details"]["causes"][0]["message"].clone()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_runs_commands_and_passes_their_streams_on() {
    scenario(ClusterOptions::for_test("streams").unwrap(), async |cluster| {
        let port = &ready(cluster).await;

        // Outputs apart, and how it ended.
        for protocol in [V5, V4] {
            let outcome = run(port, protocol, "echo out; echo err >&2; exit 7", "output=1&error=1").await;
            assert_eq!(
                (&outcome.stdout[..], &outcome.stderr[..]),
                (&b"out\n"[..], &b"err\n"[..]),
                "{protocol}"
            );
            assert_eq!((exit_code(&outcome.status), outcome.code), (json!("7"), Some(1000)), "{protocol}");
        }
        assert_eq!(exit_code(&run(port, V5, "true", "output=1").await.status), 0);
        let old = run(port, "channel.k8s.io", "echo out; exit 7", "output=1").await;
        assert_eq!(old.stdout, b"out\n");
        assert!(old.status.contains("exit code 7"), "in words before v4: {:?}", old.status);
        text(port).await;
        input(port).await;
        terminal(port).await;
        attach(port).await;
        legacy_ports(port).await;
        tunnel(port).await;
        spdy_client(port).await;
        refusals(port).await;
        let ran = within("run", port.ask(Method::POST, &path("run", "c", "cmd=echo%20a%20b"))).await;
        assert_eq!(ran, (StatusCode::OK, "a b\n".to_owned()));
        let failed = within("run", port.ask(Method::POST, &path("run", "c", "cmd=ls%20/none"))).await;
        assert_eq!(failed.0, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(failed.1.starts_with("command 'ls /none' exited with 1: "), "{}", failed.1);
        let (_, metrics) = within("metrics", port.ask(Method::GET, "/metrics")).await;
        for kind in ["exec", "attach", "portforward"] {
            let series = format!("kubelet_websocket_streaming_requests_total{{subresource=\"{kind}\"}} ");
            assert!(
                metrics.lines().any(|line| line.starts_with(&series)),
                "{kind} is not counted: {metrics}"
            );
        }
        runtime_dies(cluster, port).await;
    })
    .await;
}

async fn ready(cluster: &Cluster) -> NodePort {
    cluster.apply(PODS).await.unwrap();
    cluster.wait_ready("box", LIMIT).await.unwrap();
    let succeeded = |pod: &k8s_openapi::api::core::v1::Pod| {
        pod.status.as_ref().unwrap().phase.as_deref() == Some("Succeeded")
    };
    cluster.wait_for_pod("ended", "Succeeded", LIMIT, succeeded).await.unwrap();
    NodePort::of(cluster, cluster.node(0)).await.unwrap()
}

/// Messages of base64.
async fn text(port: &NodePort) {
    let got = within("base64", async {
        let mut socket = port.socket(&shell("cat", "input=1&output=1"), "v5.base64.channel.k8s.io").await?;
        // "hello\n", then the end of the input.
        socket.send_raw(Message::text("0aGVsbG8K")).await?;
        socket.send_raw(Message::text("/0")).await?;
        let mut got = String::new();
        while let Some(message) = socket.next_raw().await? {
            if let Message::Text(text) = message {
                got.push_str(&text);
            }
        }
        Ok(got)
    });
    let got = got.await;
    assert!(got.starts_with("11aGVsbG8K3"), "an empty greeting, the line, the status: {got:?}");
}

/// A big input whose end is told comes out as it went in.
async fn input(port: &NodePort) {
    let mut bytes = vec![0_u8; 24 << 20];
    for (word, at) in bytes.chunks_exact_mut(8).zip(0_u64..) {
        word.copy_from_slice(&at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let socket = within(
        "sha256sum",
        port.socket(&shell("tee /dev/stderr | sha256sum", "input=1&output=1&error=1"), V5),
    )
    .await;
    let (mut send, mut receive) = socket.split();
    let sending = async {
        for (piece, size) in bytes.chunks(100_000).zip([1, 126, 65_535, 65_536, 100_000].into_iter().cycle())
        {
            for part in piece.chunks(size.max(1000)) {
                send.send(Message::Binary([&[0], part].concat().into())).await.unwrap();
            }
        }
        send.send(Message::Binary(vec![255, 0].into())).await.unwrap();
    };
    let receiving = async {
        let (mut copy, mut out, mut status) = (Sha256::new(), Vec::new(), Vec::new());
        while let Some(Ok(message)) = receive.next().await {
            let Message::Binary(bytes) = message else { continue };
            match bytes[0] {
                1 => out.extend_from_slice(&bytes[1..]),
                2 => copy.update(&bytes[1..]),
                3 => status.extend_from_slice(&bytes[1..]),
                other => panic!("channel {other}"),
            }
        }
        let copy: String = copy.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (copy, String::from_utf8(out).unwrap(), String::from_utf8(status).unwrap())
    };
    let ((), (copy, out, status)) = timeout(LIMIT, async { tokio::join!(sending, receiving) }).await.unwrap();
    assert_eq!(exit_code(&status), 0);
    assert_eq!(out.split_whitespace().next().unwrap(), sum, "what the process has got");
    assert_eq!(copy, sum, "what came back");
}

/// A terminal: one output, and a size that changes.
async fn terminal(port: &NodePort) {
    let query = "command=sh&input=1&output=1&error=1&tty=1";
    within("a terminal", async {
        let mut socket = port.socket(&path("exec", "c", query), V5).await?;
        for (width, height) in [(132, 43), (80, 24)] {
            socket.send(4, json!({ "Width": width, "Height": height }).to_string().as_bytes()).await?;
            // The size may come after the command: they are different streams.
            let wanted = format!("{height} {width}\r\n");
            let ask = format!(
                "while [ \"$(stty size)\" != '{height} {width}' ]; do sleep 0.1; done; stty size >&2\n"
            );
            socket.send(0, ask.as_bytes()).await?;
            socket.until(1, &wanted).await?;
        }
        socket.send(0, b"exit 3\n").await?;
        let outcome = socket.finish().await?;
        assert_eq!((exit_code(&outcome.status), outcome.stderr.len()), (json!("3"), 0));
        Ok(())
    })
    .await;
}

async fn attach(port: &NodePort) {
    within("attach", async {
        let mut socket = port.socket(&path("attach", "echo", "input=1&output=1&error=1"), V5).await?;
        socket.send(0, b"this\n").await?;
        assert_eq!(socket.until(1, "got this\n").await?, "got this\n");
        // The container has a terminal, whatever is asked for.
        let mut socket = port.socket(&path("attach", "shell", "input=1&output=1&error=1"), V4).await?;
        socket.send(0, b"tty\n").await?;
        socket.until(1, "/dev/pts/0\r\n").await?;
        Ok(())
    })
    .await;
}

/// Channels for ports.
async fn legacy_ports(port: &NodePort) {
    within("ports in channels", async {
        let mut socket = port.socket("/portForward/default/box?port=8080&port=1", V4).await?;
        let mut begun = Vec::new();
        let mut refused = Vec::new();
        socket.send(0, b"ping").await?;
        let mut echoed = Vec::new();
        while echoed != b"ping"
            || begun.len() < 4
            || !String::from_utf8_lossy(&refused).contains("connection refused")
        {
            let (channel, bytes) = socket.next().await?;
            if !begun.iter().any(|(known, _)| *known == channel) {
                begun.push((channel, bytes.to_vec()));
            } else if channel == 0 {
                echoed.extend_from_slice(&bytes);
            } else if channel == 3 {
                refused.extend_from_slice(&bytes);
            }
        }
        begun.sort();
        let number = |port: u16| port.to_le_bytes().to_vec();
        assert_eq!(begun, [(0, number(8080)), (1, number(8080)), (2, number(1)), (3, number(1))]);
        Ok(())
    })
    .await;
}

/// The frames that open the two streams of a forwarded connection.
fn pair(port: &str) -> Vec<u8> {
    let (mut frames, mut blocks) = (Vec::new(), spdy::headers::Writer::default());
    for (number, kind) in [(1, "error"), (3, "data")] {
        let headers = [("streamtype", kind), ("port", port), ("requestid", "0")];
        spdy::syn_stream(&mut frames, number, false, &blocks.block(&headers));
    }
    frames
}

/// Counts the replies in `bytes`, and collects what comes in stream 3.
fn collect(decoder: &mut spdy::Decoder, bytes: &[u8], replies: &mut usize, data: &mut Vec<u8>) {
    let mut at = 0;
    while at < bytes.len() {
        let (after, event) = decoder.next(bytes, at).unwrap();
        at = after;
        match event {
            Some(spdy::Event::SynReply { .. }) => *replies += 1,
            Some(spdy::Event::Data { stream: 3, part, .. }) => data.extend_from_slice(&bytes[part]),
            _ => {}
        }
    }
}

/// A SPDY connection within a WebSocket.
async fn tunnel(port: &NodePort) {
    within("a tunnel", async {
        let mut socket = port.socket("/portForward/default/box", "SPDY/3.1+portforward.k8s.io").await?;
        socket.send_raw(Message::Binary(pair("8080").into())).await?;
        let (mut decoder, mut replies, mut data) = (spdy::Decoder::new(), 0, Vec::new());
        let mut has_sent = false;
        while data != b"through" {
            if let Some(Message::Binary(bytes)) = socket.next_raw().await? {
                collect(&mut decoder, &bytes, &mut replies, &mut data);
            }
            if replies == 2 && !has_sent {
                has_sent = true;
                let frame = [&spdy::data_head(3, 7, false)[..], b"through"].concat();
                socket.send_raw(Message::Binary(frame.into())).await?;
            }
        }
        Ok(())
    })
    .await;
}

/// A client that speaks SPDY itself.
async fn spdy_client(port: &NodePort) {
    let mut headers = HeaderMap::new();
    headers.append("x-stream-protocol-version", "v9.k8s.io".parse().unwrap());
    headers.append("x-stream-protocol-version", "portforward.k8s.io".parse().unwrap());
    let path = "/portForward/default/box";
    let (answer, mut connection) =
        within("SPDY", port.upgrade(Method::POST, path, "SPDY/3.1", headers)).await;
    assert_eq!(answer["x-stream-protocol-version"], "portforward.k8s.io");
    connection.write_all(&pair("8080")).await.unwrap();
    let (mut decoder, mut replies, mut data) = (spdy::Decoder::new(), 0, Vec::new());
    let mut bytes = [0; 4096];
    let mut has_sent = false;
    while data != b"direct" {
        let length = timeout(LIMIT, connection.read(&mut bytes)).await.unwrap().unwrap();
        assert!(length > 0, "closed after {replies} replies and {data:?}");
        collect(&mut decoder, &bytes[..length], &mut replies, &mut data);
        if replies == 2 && !has_sent {
            has_sent = true;
            connection.write_all(&[&spdy::data_head(3, 6, false)[..], b"direct"].concat()).await.unwrap();
        }
    }
}

async fn refusals(port: &NodePort) {
    let refused = async |path: &str, protocol| match port.socket(path, protocol).await {
        Err(PortError::Answered { status, body }) => (status.as_u16(), body.trim_end().to_owned()),
        other => panic!("{path}: {other:?}"),
    };
    let no_streams = "you must specify at least 1 of stdin, stdout, stderr";
    for (path, status, text) in [
        ("/exec/default/box/c?command=ls", 400, no_streams),
        ("/attach/default/box/c?tty=1", 400, no_streams),
        ("/exec/default/none/c?command=ls&output=1", 404, "pod does not exist"),
        ("/attach/default/none/c?output=1", 404, "pod does not exist"),
        ("/portForward/default/none?port=1", 404, "pod does not exist"),
        ("/exec/default/box/none?command=ls&output=1", 500, "container not found (\"none\")"),
        ("/exec/default/ended/c?command=ls&output=1", 500, "container not found (\"c\")"),
        ("/attach/default/box/none?output=1", 500, "container none not found in pod box_default"),
        ("/portForward/default/box/other-uid?port=1", 404, "pod not found"),
        ("/portForward/default/box", 400, "query parameter \"port\" is required"),
        (
            "/portForward/default/box?port=x",
            400,
            "unable to parse \"x\" as a port: invalid digit found in string",
        ),
    ] {
        assert_eq!(refused(path, V4).await, (status, text.to_owned()), "{path}");
    }
    let unknown = refused("/exec/default/box/c?command=ls&output=1", "v9.channel.k8s.io").await;
    assert_eq!(unknown.0, 403);
    assert!(
        unknown.1.contains("requested protocol(s) are not supported: [\"v9.channel.k8s.io\"]"),
        "{}",
        unknown.1
    );
    let plain = port.ask(Method::POST, "/exec/default/box/c?command=ls&output=1").await.unwrap();
    assert_eq!(plain, (StatusCode::INTERNAL_SERVER_ERROR, "Upgrade request required\n".to_owned()));
    let gone = port.ask(Method::POST, "/run/default/none/c?cmd=ls").await.unwrap();
    assert_eq!(gone, (StatusCode::NOT_FOUND, "pod does not exist".to_owned()));
    // A command that is not there begins a session, and that says so.
    let outcome = within("no such command", async {
        port.socket("/exec/default/box/c?command=/none&output=1", V5).await?.finish().await
    });
    let status: Value = serde_json::from_str(&outcome.await.status).unwrap();
    assert_eq!(status["status"], "Failure", "{status}");
}

/// A session whose runtime goes away is told so.
async fn runtime_dies(cluster: &Cluster, port: &NodePort) {
    let mut socket = within("cat", port.socket(&shell("cat", "input=1&output=1"), V5)).await;
    within("cat", async {
        socket.send(0, b"alive\n").await?;
        socket.until(1, "alive\n").await
    })
    .await;
    cluster.node(0).containerd().crash().await.unwrap();
    let outcome = within("the end of the session", socket.finish()).await;
    let status: Value = serde_json::from_str(&outcome.status).unwrap();
    assert_eq!((&status["reason"], outcome.code), (&json!("InternalError"), Some(1011)), "{status}");
}

/// Sessions of the test below, and how many of them at once.
const SESSIONS: usize = 1000;
const AT_ONCE: usize = 8;

fn count(pid: u32, what: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_that_are_broken_leave_nothing_behind() {
    scenario(ClusterOptions::for_test("streams-broken").unwrap(), async |cluster| {
        let port = &ready(cluster).await;
        let pid = cluster.node(0).nodelet().pid().unwrap();
        let processes = async || {
            let outcome = run(port, V5, "ls -d /proc/[0-9]* | wc -l", "output=1").await;
            String::from_utf8(outcome.stdout).unwrap().trim().parse::<usize>().unwrap()
        };
        let begin = (processes().await, count(pid, "fd"), count(pid, "task"));
        futures::stream::iter(0..SESSIONS)
            .for_each_concurrent(AT_ONCE, async |index| {
                let socket =
                    within("a session", port.socket(&path("exec", "c", "command=cat&input=1&output=1"), V5))
                        .await;
                break_one(socket, index).await;
            })
            .await;
        let look = || async {
            let now = (processes().await, count(pid, "fd"), count(pid, "task"));
            // The pool's threads and the connections to the API server come and go.
            if now.0 == begin.0 && now.1 <= begin.1 + 4 && now.2 <= begin.2 + 2 {
                Look::There(())
            } else {
                Look::NotYet(format!("processes, descriptors, threads {now:?}, before {begin:?}"))
            }
        };
        wait::until("what the sessions had to be gone", LIMIT, look).await.unwrap();
    })
    .await;
}

/// Ends a session in one of the ways in which sessions end.
async fn break_one(mut socket: Socket, index: usize) {
    within("a session", async {
        match index % 4 {
            // At once.
            0 => {}
            // In the middle.
            1 => {
                socket.send(0, b"x\n").await?;
                socket.until(1, "x\n").await?;
            }
            // With a word.
            2 => socket.send_raw(Message::Close(None)).await?,
            // By the end of the process.
            _ => {
                socket.end(0).await?;
                assert_eq!(exit_code(&socket.finish().await?.status), 0);
            }
        }
        Ok(())
    })
    .await;
}
