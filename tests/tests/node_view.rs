//! What the commands show of a node that knows of no API server.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use harness::cluster::{ClusterOptions, Node, Programs, scenario};
use harness::terminal::Terminal;
use harness::wait::{self, Look};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(90);
/// Well below the time after which a question to a daemon that hangs is given up.
const SOON: Duration = Duration::from_secs(30);

/// One that writes and stays, and one that ends over and over.
const PODS: [(&str, &str); 2] = [
    (
        "web",
        r#"
apiVersion: v1
kind: Pod
metadata: { name: web, namespace: default }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: "nodelet.dev/busybox:1"
    command: [sh, -c, "echo first; echo second; while ! [ -e /go ]; do sleep 0.1; done; echo third; exec sleep 1000"]
    readinessProbe: { exec: { command: ["true"] }, periodSeconds: 1, timeoutSeconds: 60 }
  - { name: beside, image: "nodelet.dev/busybox:1", command: [sh, -c, "echo beside; exec sleep 1000"] }
"#,
    ),
    (
        "crash",
        r#"
apiVersion: v1
kind: Pod
metadata: { name: crash, namespace: default }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: "nodelet.dev/busybox:1", command: [sh, -c, "echo last words; exit 3"] }
"#,
    ),
];

/// A command, with what it asks for before everything else.
fn nodelet(node: &Node, arguments: &[&str]) -> Command {
    let mut command = Command::new(Programs::from_environment().unwrap().nodelet);
    let (name, rest) = arguments.split_first().unwrap();
    command.arg(name).arg("--root-dir").arg(root(node)).args(rest).kill_on_drop(true).stdin(Stdio::null());
    command
}

fn root(node: &Node) -> std::path::PathBuf {
    node.dir().join("root")
}

/// Exit code, standard output and standard error.
async fn run(node: &Node, arguments: &[&str]) -> (Option<i32>, String, String) {
    let out = timeout(LIMIT, nodelet(node, arguments).output()).await.expect("it ends").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

/// Standard output of one that succeeds.
async fn shown(node: &Node, arguments: &[&str]) -> String {
    let (code, stdout, stderr) = run(node, arguments).await;
    assert_eq!(code, Some(0), "{arguments:?}: {stdout}{stderr}");
    stdout
}

/// Waits until a command's output is as it should be.
async fn until(node: &Node, arguments: &[&str], what: &str, is_so: impl Fn(&str) -> bool) -> String {
    let look = || async {
        let (_, stdout, stderr) = run(node, arguments).await;
        if is_so(&stdout) { Look::There(stdout) } else { Look::NotYet(stdout + &stderr) }
    };
    wait::until(what, LIMIT, look).await.unwrap()
}

fn has_row(table: &str, words: &[&str]) -> bool {
    table.lines().any(|line| {
        let row: Vec<&str> = line.split_whitespace().collect();
        words.iter().all(|word| row.contains(word))
    })
}

async fn start_pods(node: &Node) {
    for (name, manifest) in PODS {
        std::fs::write(node.manifests().join(format!("{name}.yaml")), manifest).unwrap();
    }
    let (web, crash) = (format!("web-{}", node.name()), format!("crash-{}", node.name()));
    until(node, &["pods"], "both pods in the table", |table| {
        has_row(table, &["default", &web, "2/2", "Running", "file"])
            && has_row(table, &["default", &crash, "0/1", "CrashLoopBackOff", "file"])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_logs_and_commands_are_had_without_an_api_server() {
    scenario(ClusterOptions::for_test("node-view").unwrap().alone(), async |cluster| {
        let node = cluster.node(0);
        start_pods(node).await;
        let (web, crash) = (format!("default/web-{}", node.name()), format!("default/crash-{}", node.name()));

        let json: Value = serde_json::from_str(&shown(node, &["pods", "-o", "json"]).await).unwrap();
        assert_eq!(json["items"].as_array().unwrap().len(), 2);
        assert!(shown(node, &["pods", "-o", "yaml"]).await.contains("name: web-"));
        assert_eq!(shown(node, &["pods", "-n", "other"]).await, "");

        // Logs.
        // A container may run before its first words are in its log.
        until(node, &["logs", &web], "the log", |log| log == "first\nsecond\n").await;
        until(node, &["logs", &web, "-c", "beside"], "the other log", |log| log == "beside\n").await;
        assert_eq!(shown(node, &["logs", &web, "--tail", "1"]).await, "second\n");
        let stamped = shown(node, &["logs", &web, "--timestamps", "--since", "1h"]).await;
        assert!(stamped.lines().all(|line| line.starts_with("20") && line.contains('T')), "{stamped}");
        assert_eq!(
            until(node, &["logs", &crash, "--previous"], "the log of the run before", |log| log
                == "last words\n")
            .await,
            "last words\n"
        );
        let (code, _, stderr) = run(node, &["logs", "default/nope"]).await;
        assert_eq!((code, stderr.contains("this node has no pod default/nope")), (Some(1), true), "{stderr}");
        let mut following = nodelet(node, &["logs", "-f", &web]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
        for expected in ["first", "second"] {
            assert_eq!(timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap(), expected);
        }
        shown(node, &["exec", &web, "--", "touch", "/go"]).await;
        assert_eq!(timeout(LIMIT, lines.next_line()).await.unwrap().unwrap().unwrap(), "third");
        following.kill().await.unwrap();

        // Commands.
        let words = ["exec", &web, "--", "sh", "-c", "echo out; echo err >&2; exit 7"];
        assert_eq!(run(node, &words).await, (Some(7), "out\n".to_owned(), "err\n".to_owned()));
        let (code, _, stderr) = run(node, &["exec", &web, "--", "/no/such/program"]).await;
        assert!(code.is_some_and(|code| code != 0) && stderr.contains("no such file"), "{code:?} {stderr}");
        let mut cat = nodelet(node, &["exec", "-i", &web, "-c", "beside", "--", "wc", "-c"]);
        let mut cat = cat.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = cat.stdin.take().unwrap();
        stdin.write_all(&vec![b'x'; 1_000_000]).await.unwrap();
        drop(stdin);
        let counted = timeout(LIMIT, cat.wait_with_output()).await.expect("it ends").unwrap();
        assert_eq!(String::from_utf8(counted.stdout).unwrap().trim(), "1000000");
        a_terminal_is_passed_on(node, &web).await;
    })
    .await;
}

/// It has the size of the one here, also after that has changed, and leaves the one here as it was.
async fn a_terminal_is_passed_on(node: &Node, pod: &str) {
    let program = Programs::from_environment().unwrap().nodelet;
    let (program, root) = (program.display(), root(node));
    // Whatever the shell says after it is said on the terminal that the command has left.
    let script = format!(
        "{program} exec --root-dir {} -it {pod} -- sh; echo \"code:$?\"; stty -a; exit 4",
        root.display()
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]);
    let mut terminal = Terminal::start(&shell, 31, 97).unwrap();
    size_is(&mut terminal, "31 97").await;
    terminal.resize(44, 123).await.unwrap();
    size_is(&mut terminal, "44 123").await;
    terminal.send("tty; exit 5\n").unwrap();
    terminal.expect("/dev/pts/", LIMIT).await.unwrap();
    terminal.expect("code:5", LIMIT).await.unwrap();
    // Lines are waited for and shown again: a minus before these words would say that they are not.
    for mode in [" icanon", " echo "] {
        terminal.expect(mode, LIMIT).await.unwrap();
    }
    assert_eq!(terminal.end(LIMIT).await.unwrap().code(), Some(4));
}

async fn size_is(terminal: &mut Terminal, size: &str) {
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_shown_on_a_page_and_live_and_its_machine_is_checked() {
    scenario(ClusterOptions::for_test("node-page").unwrap().alone(), async |cluster| {
        let node = cluster.node(0);
        start_pods(node).await;
        let web = format!("default/web-{}", node.name());

        // The page.
        let page = shown(node, &["status"]).await;
        for part in [
            &format!("Node         {}\n", node.name()) as &str,
            "Health       ok\n",
            "Runtime      containerd ",
            ": ready, network ready, answered ",
            "API server   none: this node runs its static pods alone\n",
            "KubeletReady",
            "2 here, ",
            "CERTIFICATE",
        ] {
            assert!(page.contains(part), "{part:?} is not in:\n{page}");
        }
        let json: Value = serde_json::from_str(&shown(node, &["status", "-o", "json"]).await).unwrap();
        assert_eq!(json["node"]["name"], node.name());
        let process = node.nodelet().pid().unwrap();
        assert_eq!(json["daemon"]["process"], process);
        let ready = json["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
        assert_eq!(ready["status"], "True");

        // Once, as a table.
        let table = shown(node, &["top", "--once", "--sort", "restarts"]).await;
        let first = table.lines().nth(1).unwrap();
        assert!(first.contains("default/crash-"), "what was restarted most stands first:\n{table}");
        // What its probe has shown stands last.
        let is_ready =
            |line: &str| line.starts_with("  main ") && line.contains(" Running ") && line.contains(" ready");
        assert!(table.lines().any(is_ready), "{table}");
        assert!(!shown(node, &["top", "--filter", "crash"]).await.contains("web"), "and without a terminal");

        live(node, &web).await;
        a_machine_is_checked(node).await;
    })
    .await;
}

/// It fills its screen, follows keys and sizes, and gives the terminal back.
async fn live(node: &Node, web: &str) {
    let mut terminal = Terminal::start(&nodelet(node, &["top", "--interval", "300ms"]), 24, 100).unwrap();
    terminal.expect("\x1b[?1049h", LIMIT).await.unwrap();
    terminal.expect("POD, CONTAINER", LIMIT).await.unwrap();
    terminal.expect(web, LIMIT).await.unwrap();
    terminal.send("r").unwrap();
    terminal.expect("by restarts", LIMIT).await.unwrap();
    terminal.send("/web\r").unwrap();
    terminal.expect("by restarts with \"web\"", LIMIT).await.unwrap();
    terminal.resize(3, 8).await.unwrap();
    // The last line, as far as it goes.
    terminal.expect("by resta\x1b[K\x1b[J", LIMIT).await.unwrap();
    terminal.send("q").unwrap();
    terminal.expect("\x1b[?1049l", LIMIT).await.unwrap();
    assert_eq!(terminal.end(LIMIT).await.unwrap().code(), Some(0));

    // Also while the daemon hangs.
    let mut terminal = Terminal::start(&nodelet(node, &["top", "--interval", "200ms"]), 24, 100).unwrap();
    terminal.expect(web, LIMIT).await.unwrap();
    assert!(node.nodelet().signal(Signal::SIGSTOP));
    // By then it has asked.
    tokio::time::sleep(Duration::from_secs(1)).await;
    terminal.send("r").unwrap();
    let followed = terminal.expect("by restarts", SOON).await;
    terminal.send("q").unwrap();
    let ended = terminal.end(SOON).await;
    assert!(node.nodelet().signal(Signal::SIGCONT));
    followed.unwrap();
    assert_eq!(ended.unwrap().code(), Some(0));
}

async fn a_machine_is_checked(node: &Node) {
    let found = |text: &str, check: &str| -> Value {
        let findings: Vec<Value> = serde_json::from_str(text).unwrap();
        findings.into_iter().find(|finding| finding["check"] == check).unwrap_or_default()
    };
    // This machine may have faults of its own: the exit code tells whether something fails.
    let (code, text, stderr) = run(node, &["doctor", "-o", "json"]).await;
    let fails = text.contains("\"verdict\": \"fail\"");
    assert_eq!(code, Some(i32::from(fails)), "{text}{stderr}");
    let process = node.nodelet().pid().unwrap();
    let daemon = found(&text, "daemon");
    assert_eq!(daemon["found"], format!("the daemon runs as process {process}"));
    assert_eq!(
        found(&text, "runtime")["verdict"],
        "ok",
        "its command line says where the runtime is:\n{text}"
    );
    assert_eq!(found(&text, "port")["found"], "10250 is the daemon's", "{text}");
    assert_eq!(found(&text, "pod network")["verdict"], "ok", "{text}");

    // Without a daemon, and with a configuration that it would not start with.
    node.stop().await.unwrap();
    let wrong = node.dir().join("wrong.yaml");
    std::fs::write(
        &wrong,
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: many\n",
    )
    .unwrap();
    let config = path(&node.dir().join("kubelet.json"));
    let (_, text, _) = run(node, &["doctor", "-o", "json", "--config", &config]).await;
    assert_eq!(found(&text, "daemon")["found"], "the daemon does not run");
    assert_eq!(found(&text, "port")["found"], "10250 is free", "{text}");
    assert_eq!(found(&text, "runtime")["verdict"], "ok", "{text}");
    let (code, text, _) = run(node, &["doctor", "--config", &path(&wrong)]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("wrong.yaml:3"), "{text}");
    let (code, _, stderr) = run(node, &["status"]).await;
    assert_eq!((code, stderr.contains("is it running with this --root-dir")), (Some(1), true), "{stderr}");
    node.start().await.unwrap();
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
