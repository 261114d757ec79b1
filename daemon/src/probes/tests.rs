//! The prober beside servers on loopback and a runtime that does as it is told.

use std::time::Duration;

use cri_client::Timeouts;
use cri_client::fake::{Effect, FakeRuntime, Rule, Server};
use lifecycle::{Input, ProbeKind};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;
use crate::events::Rates;
use crate::kubeconfig::fake::{FakeApi, api};
use crate::pods::Letter;

const LIMIT: Duration = Duration::from_secs(20);

struct Node {
    probing: Probing,
    runtime: FakeRuntime,
    events: FakeApi,
    _stop: watch::Sender<bool>,
    _server: Server,
    _dir: tempfile::TempDir,
}

fn node() -> Node {
    let dir = tempfile::tempdir().unwrap();
    let runtime = FakeRuntime::new();
    let socket = dir.path().join("cri.sock");
    let server = runtime.serve(&socket).unwrap();
    let (client, events) = api();
    let (recorder, sender) = Recorder::new(Some(client), "node1", Rates::default());
    let (stop, stopped) = watch::channel(false);
    let (probing, prober) = Probing::new(Client::new(socket, None, Timeouts::default()), recorder);
    tokio::spawn(sender.run(stopped.clone()));
    tokio::spawn(prober.run(stopped));
    Node { probing, runtime, events, _stop: stop, _server: server, _dir: dir }
}

impl Node {
    /// The next event: reason, message, and what it is about.
    async fn event(&mut self) -> (String, String, String) {
        let call = timeout(LIMIT, self.events.next()).await.expect("an event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let body = call.body.clone();
        call.ok(&body);
        (text(&body["reason"]), text(&body["message"]), text(&body["involvedObject"]["fieldPath"]))
    }
}

/// A pod with one container; its probes are made five times a second, and each result counts.
fn pod(container: Value) -> Arc<ApiPod> {
    let periods = "c/readiness=200ms, c/liveness=200ms, c/startup=200ms";
    let pod = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "annotations": {(probes::ANNOTATION): periods}},
        "spec": {"containers": [container]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn target(id: &str, kind: ProbeKind) -> ProbeTarget {
    ProbeTarget { container: "c".to_owned(), id: id.to_owned(), kind, started_at: 0 }
}

fn wanted(pod: &Arc<ApiPod>, pod_ip: Option<&str>, targets: Vec<ProbeTarget>, mailbox: &Mailbox) -> Wanted {
    Wanted { pod: Arc::clone(pod), pod_ip: pod_ip.map(str::to_owned), targets, mailbox: mailbox.clone() }
}

async fn told(mailbox: &Mailbox) -> (String, ProbeKind, bool) {
    match timeout(LIMIT, mailbox.next()).await.expect("a verdict") {
        Letter::Input(Input::Probed { id, kind, success }) => (id, kind, success),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn verdicts_are_told_as_they_change_and_each_failure_is_an_event() {
    let mut node = node();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let probe = json!({"tcpSocket": {"port": "web"}, "failureThreshold": 1});
    let pod =
        pod(json!({"name": "c", "ports": [{"name": "web", "containerPort": port}], "readinessProbe": probe}));
    let mailbox = Mailbox::default();
    let targets = vec![target("id", ProbeKind::Readiness)];
    node.probing.probe("u", wanted(&pod, Some("127.0.0.1"), targets, &mailbox));
    assert_eq!(told(&mailbox).await, ("id".to_owned(), ProbeKind::Readiness, true));
    drop(listener);
    assert_eq!(told(&mailbox).await, ("id".to_owned(), ProbeKind::Readiness, false));
    let refused = format!("Readiness probe failed: dial tcp 127.0.0.1:{port}: connect: connection refused");
    let event = node.event().await;
    assert_eq!(event, ("Unhealthy".to_owned(), refused, "spec.containers{c}".to_owned()));
    let text = node.probing.text();
    assert!(text.contains("probe_type=\"Readiness\",result=\"failed\"} "), "{text}");
    node.probing.forget("u");
    timeout(LIMIT, async {
        while !node.probing.text().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("its series are gone");
}

#[tokio::test]
async fn a_command_that_takes_too_long_fails_and_one_that_cannot_be_run_has_no_result() {
    let mut node = node();
    let late = Effect::Fail { code: cri_client::Code::DeadlineExceeded as i32, message: "late".to_owned() };
    let rule = |times, effect| Rule { call: "ExecSync".to_owned(), subject: String::new(), times, effect };
    node.runtime.add_rule(rule(Some(3), Effect::refused("no shim")));
    node.runtime.add_rule(rule(None, late));
    let probe = json!({"exec": {"command": ["check", "$(WHAT)", "$(ELSE)"]}, "failureThreshold": 1});
    let env = json!([{"name": "WHAT", "value": "a b"}]);
    let pod = pod(json!({"name": "c", "env": env, "livenessProbe": probe}));
    let mailbox = Mailbox::default();
    node.probing.probe("u", wanted(&pod, None, vec![target("id", ProbeKind::Liveness)], &mailbox));
    // Three tries, and then an event that tells of no result.
    let (reason, message, _) = node.event().await;
    assert_eq!(reason, "Unhealthy");
    let begin = "Liveness probe errored and resulted in unknown state: ";
    assert!(message.starts_with(begin) && message.ends_with("no shim"), "{message}");
    assert_eq!(told(&mailbox).await, ("id".to_owned(), ProbeKind::Liveness, false));
    let (_, message, _) = node.event().await;
    let failed = "Liveness probe failed: command timed out: \"check a b $(ELSE)\" timed out after 1s";
    assert_eq!(message, failed);
}

#[tokio::test]
async fn commands_that_hang_keep_no_other_probe_waiting() {
    let node = node();
    let hang =
        Rule { call: "ExecSync".to_owned(), subject: String::new(), times: None, effect: Effect::Hang };
    node.runtime.add_rule(hang);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let exec = json!({"exec": {"command": ["true"]}});
    let hanging = pod(json!({"name": "c", "livenessProbe": exec}));
    let mailbox = Mailbox::default();
    let many = (0..BOUNDS.exec * 2).map(|i| target(&format!("hangs-{i}"), ProbeKind::Liveness)).collect();
    node.probing.probe("hanging", wanted(&hanging, None, many, &mailbox));
    let end = tokio::time::Instant::now() + LIMIT;
    while node.runtime.calls().iter().filter(|call| call.call == "ExecSync").count() < BOUNDS.exec {
        assert!(tokio::time::Instant::now() < end, "the commands do not begin");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fine = pod(json!({"name": "c", "readinessProbe": {"tcpSocket": {"port": port}}}));
    let targets = vec![target("fine", ProbeKind::Readiness)];
    node.probing.probe("fine", wanted(&fine, Some("127.0.0.1"), targets, &mailbox));
    assert_eq!(told(&mailbox).await, ("fine".to_owned(), ProbeKind::Readiness, true));
    let begun = node.runtime.calls().iter().filter(|call| call.call == "ExecSync").count();
    assert_eq!(begun, BOUNDS.exec, "no more commands at once than the bound");
}

#[tokio::test]
async fn a_pod_that_gets_its_address_late_is_probed_there() {
    let mut node = node();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pod = pod(json!({"name": "c", "startupProbe": {"tcpSocket": {"port": port}}}));
    let mailbox = Mailbox::default();
    let targets = vec![target("id", ProbeKind::Startup)];
    node.probing.probe("u", wanted(&pod, None, targets.clone(), &mailbox));
    let (_, message, _) = node.event().await;
    assert_eq!(message, "Startup probe errored and resulted in unknown state: the pod has no address");
    node.probing.probe("u", wanted(&pod, Some("127.0.0.1"), targets, &mailbox));
    assert_eq!(told(&mailbox).await, ("id".to_owned(), ProbeKind::Startup, true));
}
