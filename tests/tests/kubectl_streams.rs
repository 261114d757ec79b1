//! What flows between people and their containers, with the real kubectl and the Python client: exec, cp, attach, debug, port-forward.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::images::BUSYBOX;
use harness::progress::Progress;
use harness::terminal::Terminal;
use harness::tools::python;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(90);
/// Of what moves much: the machine may be slow, and the programs are not built for speed.
const LONG: Duration = Duration::from_secs(300);
/// Bytes that go through `cat` and back.
const PIPED: usize = 100_000_000;
/// Connections through one port-forward at the same time.
const CONNECTIONS: usize = 50;
/// Bytes that each gets, if [`FORWARDED_VARIABLE`] does not say otherwise.
const FORWARDED: usize = 1_000_000;
/// `20000000` moves a gigabyte through each port-forward.
const FORWARDED_VARIABLE: &str = "NODELET_FORWARDED_BYTES";

/// A server of files and one that says what it hears, a program that answers lines, one that runs beside, and one that logs.
const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: web }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: BOX
    command: [sh, -c, "mkdir /www && httpd -p 9000 -h /www && exec nc -ll -p 9001 -e cat"]
---
apiVersion: v1
kind: Pod
metadata: { name: answers }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: BOX
    stdin: true
    command: [sh, -c, "while read line; do echo \"got $line\"; done; sleep 100000"]
  - { name: beside, image: BOX, command: [sleep, "100000"] }
---
apiVersion: v1
kind: Pod
metadata: { name: count }
spec:
  restartPolicy: Never
  containers:
  - { name: c, image: BOX, command: [sh, -c, "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done"] }
"#;

/// The protocols that kubectl speaks, and how it is told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    WebSocket,
    Spdy,
}

const BOTH: [Protocol; 2] = [Protocol::WebSocket, Protocol::Spdy];

/// A kubectl that speaks this protocol.
fn kubectl(cluster: &Cluster, protocol: Protocol, words: &[&str]) -> Command {
    let mut kubectl = cluster.kubectl_command();
    let websocket = if protocol == Protocol::WebSocket { "true" } else { "false" };
    for variable in ["KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS"] {
        kubectl.env(variable, websocket);
    }
    kubectl.args(words);
    kubectl
}

/// What a kubectl said, and its exit code.
async fn say(cluster: &Cluster, protocol: Protocol, words: &[&str]) -> (String, String, i32) {
    let output = timeout(LONG, kubectl(cluster, protocol, words).output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

async fn start(cluster: &Cluster) {
    cluster.apply(&PODS.replace("BOX", BUSYBOX)).await.unwrap();
    for name in ["web", "answers"] {
        cluster.wait_ready(name, LIMIT).await.unwrap();
    }
}

/// Bytes that differ from place to place, and from one `seed` to the next.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_in_containers_whatever_the_protocol() {
    scenario(ClusterOptions::for_test("streams-commands").unwrap(), async |cluster| {
        start(cluster).await;
        for protocol in BOTH {
            let begun = tokio::time::Instant::now();
            let step = |what: &str| eprintln!("{protocol:?} {what}: {:?} after the start", begun.elapsed());
            output_and_exit_codes_come_back(cluster, protocol).await;
            step("output");
            what_cannot_be_run_says_why(cluster, protocol).await;
            step("refusals");
            much_goes_through_cat_unchanged(cluster, protocol).await;
            step("cat");
            a_tree_is_copied_there_and_back(cluster, protocol).await;
            step("cp");
            a_running_process_is_attached_to(cluster, protocol).await;
            step("attach");
            a_shell_at_a_terminal_hears_of_its_size(cluster, protocol).await;
            step("terminal");
            a_debugging_container_is_talked_to(cluster, protocol).await;
            step("debug");
        }
    })
    .await;
}

async fn output_and_exit_codes_come_back(cluster: &Cluster, protocol: Protocol) {
    let script = "echo out; echo err >&2; exit 7";
    let (out, err, code) =
        say(cluster, protocol, &["exec", "web", "-c", "c", "--", "sh", "-c", script]).await;
    assert_eq!((out.as_str(), code), ("out\n", 7), "{err}");
    assert!(err.contains("err\n") && err.contains("command terminated with exit code 7"), "{err}");
    let (out, err, code) = say(cluster, protocol, &["exec", "web", "-c", "c", "--", "true"]).await;
    assert_eq!((out.as_str(), err.as_str(), code), ("", "", 0));
    let words = ["exec", "answers", "-c", "beside", "--", "printf", "%s|", "a b", "$HOME", "ü\"'\\&?"];
    let (out, err, code) = say(cluster, protocol, &words).await;
    assert_eq!((out.as_str(), code), ("a b|$HOME|ü\"'\\&?|", 0), "{err}");
}

async fn what_cannot_be_run_says_why(cluster: &Cluster, protocol: Protocol) {
    for (words, expected) in [
        (&["exec", "web", "-c", "none", "--", "true"][..], "container none is not valid for pod web"),
        (&["exec", "none", "--", "true"], "pods \"none\" not found"),
        (&["exec", "web", "-c", "c", "--", "no-such-program"], "no-such-program"),
    ] {
        let (_, err, code) = say(cluster, protocol, words).await;
        assert!(code != 0 && err.contains(expected), "{words:?}: {code}: {err}");
    }
}

async fn much_goes_through_cat_unchanged(cluster: &Cluster, protocol: Protocol) {
    let mut cat = kubectl(cluster, protocol, &["exec", "-i", "web", "-c", "c", "--", "cat"]);
    cat.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut cat = cat.spawn().unwrap();
    let (mut into, mut from) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
    let write = async {
        let mut hash = Sha256::new();
        let block = noise(1_000_000, 1);
        for _ in 0..PIPED / block.len() {
            into.write_all(&block).await.unwrap();
            hash.update(&block);
        }
        // cat ends with its input.
        drop(into);
        hash.finalize()
    };
    let read = async {
        let (mut hash, mut count, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
        loop {
            match from.read(&mut buffer).await.unwrap() {
                0 => return (hash.finalize(), count),
                read => {
                    hash.update(&buffer[..read]);
                    count += read;
                }
            }
        }
    };
    let (sent, (received, count)) =
        timeout(LONG, async { tokio::join!(write, read) }).await.expect("cat to end");
    assert_eq!(count, PIPED);
    assert!(sent == received, "what came back is not what was sent");
    assert!(timeout(LIMIT, cat.wait()).await.unwrap().unwrap().success());
}

/// Paths below a directory with their contents; `None` is a directory.
fn tree(dir: &Path) -> Vec<(String, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_path_buf()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                found.push((name, None));
                left.push(path);
            } else {
                found.push((name, Some(std::fs::read(&path).unwrap())));
            }
        }
    }
    found.sort();
    found
}

async fn a_tree_is_copied_there_and_back(cluster: &Cluster, protocol: Protocol) {
    let dir = tempfile::tempdir().unwrap();
    let (here, back) = (dir.path().join("here"), dir.path().join("back"));
    std::fs::create_dir_all(here.join("a/b c/empty")).unwrap();
    std::fs::write(here.join("a/nothing"), "").unwrap();
    std::fs::write(here.join("a/b c/text"), "text\n").unwrap();
    std::fs::write(here.join("noise"), noise(3_000_000, 2)).unwrap();
    let there = format!("web:/tmp/{protocol:?}");
    let (_, err, code) = say(cluster, protocol, &["cp", here.to_str().unwrap(), &there]).await;
    assert_eq!(code, 0, "{err}");
    let (_, err, code) = say(cluster, protocol, &["cp", &there, back.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{err}");
    assert!(tree(&here) == tree(&back), "{:?}", tree(&back).iter().map(|(n, _)| n).collect::<Vec<_>>());
}

async fn a_running_process_is_attached_to(cluster: &Cluster, protocol: Protocol) {
    let mut attach = kubectl(cluster, protocol, &["attach", "-i", "answers", "-c", "c"]);
    attach.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut attach = attach.spawn().unwrap();
    let mut stdin = attach.stdin.take().unwrap();
    let mut lines = BufReader::new(attach.stdout.take().unwrap()).lines();
    let word = format!("{protocol:?}");
    stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
    loop {
        let line = timeout(LIMIT, lines.next_line()).await.expect("an answer").unwrap().unwrap();
        if line == format!("got {word}") {
            break;
        }
    }
    attach.kill().await.unwrap();
}

async fn a_shell_at_a_terminal_hears_of_its_size(cluster: &Cluster, protocol: Protocol) {
    let shell = kubectl(cluster, protocol, &["exec", "-it", "web", "-c", "c", "--", "sh"]);
    let mut terminal = Terminal::start(&shell, 31, 97).unwrap();
    let size_is = async |terminal: &mut Terminal, size: &str| {
        // The size is told beside the input: a shell may be quicker than it.
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            terminal.send("echo \"<$(stty size)>\"\n").unwrap();
            // Not the echo of what was typed.
            terminal.expect("\n<", LIMIT).await.unwrap();
            let said = terminal.expect(">", LIMIT).await.unwrap();
            if said == size {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "{said:?} instead of {size:?}");
        }
    };
    size_is(&mut terminal, "31 97").await;
    terminal.resize(44, 123).await.unwrap();
    size_is(&mut terminal, "44 123").await;
    terminal.send("echo $((6*7)); tty; exit 3\n").unwrap();
    terminal.expect("\n42\r\n", LIMIT).await.unwrap();
    terminal.expect("/dev/pts/", LIMIT).await.unwrap();
    assert_eq!(terminal.end(LIMIT).await.unwrap().code(), Some(3));
}

async fn a_debugging_container_is_talked_to(cluster: &Cluster, protocol: Protocol) {
    let name = format!("debug-{}", format!("{protocol:?}").to_lowercase());
    let image = format!("--image={BUSYBOX}");
    let words =
        ["debug", "-it", "web", &image, "--profile=general", "--target=c", "--container", &name, "--", "sh"];
    let debug = kubectl(cluster, protocol, &words);
    let mut terminal = Terminal::start(&debug, 24, 80).unwrap();
    // kubectl waits until the container runs, and says that Enter may be needed.
    terminal.expect("try pressing enter", LIMIT).await.unwrap();
    terminal.send("echo $((6*7))-there; ps; exit\n").unwrap();
    terminal.expect("\n42-there\r\n", LIMIT).await.unwrap();
    // It sees the processes of the container that it looks at.
    terminal.expect("httpd", LIMIT).await.unwrap();
    terminal.end(LIMIT).await.unwrap();
}

/// A port-forward that runs, and the ports here of the server of files and of the echo.
async fn forwarded(cluster: &Cluster, protocol: Protocol) -> (Child, u16, u16) {
    let mut forward = kubectl(cluster, protocol, &["port-forward", "pod/web", ":9000", ":9001"]);
    let mut forward = forward.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(forward.stdout.take().unwrap()).lines();
    let (mut files, mut echo) = (None, None);
    while files.is_none() || echo.is_none() {
        let line = timeout(LIMIT, lines.next_line()).await.expect("a line").unwrap().unwrap();
        let Some(rest) = line.strip_prefix("Forwarding from 127.0.0.1:") else { continue };
        let (here, there) = rest.split_once(" -> ").unwrap();
        *(if there == "9000" { &mut files } else { &mut echo }) = Some(here.parse().unwrap());
    }
    // kubectl tells each connection; somebody has to read it.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (forward, files.unwrap(), echo.unwrap())
}

/// Gets the file through a connection of its own.
async fn fetched(port: u16, expected: std::sync::Arc<Vec<u8>>) {
    let fetch = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"GET /data HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = Vec::with_capacity(expected.len() + 1024);
        stream.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(LONG, fetch).await.expect("the file");
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| &answer[at + 4..]);
    let body = body.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(&answer)));
    assert!(body == *expected, "{} of {} bytes came", body.len(), expected.len());
}

/// Sends so many bytes, and expects them back.
async fn echoed(port: u16, length: usize, seed: u64) {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut from, mut into) = stream.into_split();
    let sent = noise(length, seed);
    let write = async {
        into.write_all(&sent).await.unwrap();
        into.shutdown().await.unwrap();
    };
    let read = async {
        let mut received = Vec::with_capacity(length);
        from.read_to_end(&mut received).await.unwrap();
        received
    };
    let ((), received) = timeout(LONG, async { tokio::join!(write, read) }).await.expect("an echo");
    assert!(received == sent, "{} of {length} bytes came back", received.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded_and_other_clients_are_served() {
    scenario(ClusterOptions::for_test("streams-ports").unwrap(), async |cluster| {
        start(cluster).await;
        let length = std::env::var(FORWARDED_VARIABLE).ok().and_then(|v| v.parse().ok());
        let length = length.unwrap_or(FORWARDED);
        let data = std::sync::Arc::new(noise(length, 3));
        let mut write = cluster.kubectl_command();
        // Not cat in place of the shell: containerd ends the input of a process whose standard output has been closed.
        write.args(["exec", "-i", "web", "--", "sh", "-c", "cat > /www/data; true"]).stdin(Stdio::piped());
        let mut write = write.spawn().unwrap();
        let mut stdin = write.stdin.take().unwrap();
        timeout(LONG, stdin.write_all(&data)).await.unwrap().unwrap();
        drop(stdin);
        assert!(timeout(LIMIT, write.wait()).await.unwrap().unwrap().success());
        for protocol in BOTH {
            let (mut forward, files, echo) = forwarded(cluster, protocol).await;
            let begun = tokio::time::Instant::now();
            let mut connections = JoinSet::new();
            for _ in 0..CONNECTIONS {
                connections.spawn(fetched(files, data.clone()));
            }
            while let Some(done) = connections.join_next().await {
                done.unwrap();
            }
            let moved = CONNECTIONS * length / 1_000_000;
            eprintln!("{protocol:?}: {moved} MB in {:?}", begun.elapsed());
            // It goes on with further connections, in both directions.
            for number in 0..3 {
                echoed(echo, 3_000_000, number).await;
            }
            forward.kill().await.unwrap();
        }
        let refused = say(cluster, Protocol::WebSocket, &["port-forward", "pod/none", ":9000"]).await;
        assert!(refused.2 != 0 && refused.1.contains("pods \"none\" not found"), "{refused:?}");
        what_is_served_is_reached_through_the_api_server(cluster).await;
        the_python_client_runs_commands_and_follows_logs(cluster).await;
    })
    .await;
}

async fn what_is_served_is_reached_through_the_api_server(cluster: &Cluster) {
    let node = cluster.node(0).name().to_owned();
    let healthz = format!("/api/v1/nodes/{node}/proxy/healthz");
    assert_eq!(cluster.kubectl_ok(&["get", "--raw", &healthz]).await.unwrap(), "ok");
}

const PYTHON: &str = r#"
import sys
from kubernetes import client, config
from kubernetes.stream import stream, portforward
config.load_kube_config(sys.argv[1])
core = client.CoreV1Api()
execute = core.connect_get_namespaced_pod_exec
said = stream(execute, "web", "default", command=["sh", "-c", "echo out; echo err >&2"],
              stderr=True, stdin=False, stdout=True, tty=False)
assert sorted(said.split()) == ["err", "out"], said
shell = stream(execute, "web", "default", command=["sh"], stderr=True, stdin=True, stdout=True, tty=False,
               _preload_content=False)
shell.write_stdin("echo answer $((6*7))\n")
line = shell.readline_stdout(timeout=60)
assert line == "answer 42", line
shell.write_stdin("exit 5\n")
shell.run_forever(timeout=60)
assert shell.returncode == 5, shell.returncode
shell.close()
lines = [l.decode().strip() for l in core.read_namespaced_pod_log(
    "count", "default", follow=True, _preload_content=False)]
assert lines == ["line %d" % i for i in range(1, 6)], lines
forward = portforward(core.connect_get_namespaced_pod_portforward, "web", "default", ports="9001")
connection = forward.socket(9001)
connection.settimeout(60)
connection.sendall(b"hello")
heard = b""
while len(heard) < 5:
    heard += connection.recv(5 - len(heard))
assert heard == b"hello", heard
assert forward.error(9001) is None, forward.error(9001)
connection.close()
print("done")
"#;

async fn the_python_client_runs_commands_and_follows_logs(cluster: &Cluster) {
    let python = match python::client(&Progress::test()).await.unwrap() {
        Ok(python) => python,
        Err(why) => {
            eprintln!("the Python client is not tried: this machine cannot have it: {why}");
            return;
        }
    };
    let mut script = python.script(PYTHON);
    script.arg(cluster.kubeconfig());
    let output = timeout(LONG, script.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.ends_with("done\n"), "{}: {said}{err}", python.version);
}
