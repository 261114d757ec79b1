//! The task, beside a runtime made of state alone: it opens a log again by writing a line to it.

use std::fs::{self, OpenOptions};
use std::io::Write;

use cri_client::fake::{Effect, FakeRuntime, Rule, Server};
use cri_client::{Timeouts, v1};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::*;
use crate::pods::Running;

const PATIENCE: Duration = Duration::from_secs(60);

struct Bed {
    dir: tempfile::TempDir,
    runtime: FakeRuntime,
    shown: Shown,
    pod: Pod,
    id: String,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    _server: Server,
}

fn policy(limit_bytes: u64, files: usize) -> Policy {
    Policy { limit_bytes, files, workers: 1, interval: Duration::from_secs(10) }
}

impl Bed {
    async fn new(policy: Policy, before: impl FnOnce(&std::path::Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = FakeRuntime::new();
        let server = runtime.serve(&dir.path().join("cri.sock")).unwrap();
        let cri = Client::new(dir.path().join("cri.sock"), None, Timeouts::default());
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "ns", "uid": "u" },
            "spec": { "containers": [{ "name": "c" }] }
        }))
        .unwrap();
        let logs = dir.path().join("ns_p_u");
        fs::create_dir_all(logs.join("c")).unwrap();
        before(&logs.join("c"));
        let sandbox = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: "p".into(),
                uid: "u".into(),
                namespace: "ns".into(),
                attempt: 0,
            }),
            log_directory: logs.display().to_string(),
            ..Default::default()
        };
        let sandbox_id = cri.run_pod_sandbox(sandbox.clone(), String::new()).await.unwrap();
        let config = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "c".into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: "i".into(), ..Default::default() }),
            log_path: "c/0.log".into(),
            ..Default::default()
        };
        let id = cri.create_container(&sandbox_id, config, sandbox).await.unwrap();
        cri.start_container(&id).await.unwrap();
        let shown = Shown::default();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(policy, cri, shown.clone(), dir.path().to_owned(), stopped));
        Self { dir, runtime, shown, pod, id, stop, task, _server: server }
    }

    fn begins_to_run(&self) {
        let running = Running { id: self.id.clone(), container: "c".into(), restart_count: 0 };
        self.shown.set(self.pod.clone(), vec![running]);
    }

    fn write(&self, text: &str) {
        let log = self.dir.path().join("ns_p_u/c/0.log");
        let mut file = OpenOptions::new().append(true).create(true).open(log).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("ns_p_u/c")).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    fn reopened(&self) -> usize {
        self.runtime.calls().iter().filter(|c| c.call == "ReopenContainerLog").count()
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < end, "not {what}: {:?}", self.files());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_log_that_grows_after_a_long_silence_is_rotated_and_what_was_rotated_is_compressed() {
    let bed = Bed::new(policy(100, 3), |_| {}).await;
    bed.write("quiet\n");
    bed.begins_to_run();
    // Time to find that it does not grow. After that only a watch can tell of what comes: no look is due for a minute.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(bed.files(), ["0.log"]);
    for round in 1..=4 {
        bed.write(&"x".repeat(150));
        bed.until("reopened", |bed| bed.reopened() == round).await;
        bed.until("settled", |bed| bed.files().len() == (round + 1).min(3)).await;
    }
    let compressed = |bed: &Bed| bed.files().iter().filter(|name| name.ends_with(".gz")).count() == 1;
    bed.until("compressed", compressed).await;
    bed.end().await;
}

#[tokio::test]
async fn a_container_that_does_not_run_keeps_its_log() {
    let bed = Bed::new(policy(100, 3), |_| {}).await;
    bed.begins_to_run();
    bed.write(&"x".repeat(150));
    bed.until("rotated", |bed| bed.reopened() == 1).await;
    bed.until("settled", |bed| bed.files().len() == 2).await;
    // Another one runs in its place, whose log is full from the beginning; the runtime does not know it, so it is asked over and over.
    let other = Running { id: "other".into(), container: "c".into(), restart_count: 1 };
    fs::write(bed.dir.path().join("ns_p_u/c/1.log"), "x".repeat(150)).unwrap();
    bed.shown.set(bed.pod.clone(), vec![other]);
    bed.until("asked for the other", |bed| bed.reopened() == 2).await;
    bed.write(&"x".repeat(150));
    bed.until("asked again", |bed| bed.reopened() == 3).await;
    let own = bed.files().into_iter().filter(|name| name.starts_with("0.log")).count();
    assert_eq!(own, 2, "{:?}", bed.files());
    bed.end().await;
}

#[tokio::test]
async fn what_a_killed_daemon_has_left_is_finished_at_the_start() {
    let bed = Bed::new(policy(1000, 5), |dir| {
        for name in ["0.log.20261126-000001", "0.log.20261126-000001.tmp", "0.log.20261126-000002"] {
            fs::write(dir.join(name), "2026-11-23T00:00:01Z stdout F a\n").unwrap();
        }
    })
    .await;
    bed.begins_to_run();
    bed.until("opened again", |bed| bed.reopened() == 1).await;
    let whole = ["0.log", "0.log.20261126-000001.gz", "0.log.20261126-000002"];
    bed.until("cleared up", |bed| bed.files() == whole).await;
    bed.end().await;
}

#[tokio::test]
async fn a_runtime_that_refuses_is_asked_again_and_loses_nothing_meanwhile() {
    let bed = Bed::new(policy(100, 3), |_| {}).await;
    bed.runtime.add_rule(Rule::next("ReopenContainerLog", 1, Effect::refused("not now")));
    bed.write(&"x".repeat(150));
    bed.begins_to_run();
    bed.until("asked", |bed| bed.reopened() == 1).await;
    bed.until("given back", |bed| bed.files() == ["0.log"]).await;
    bed.until("asked again", |bed| bed.reopened() == 2).await;
    bed.until("rotated", |bed| bed.files().len() == 2).await;
    bed.end().await;
}

#[test]
fn a_negative_size_turns_rotation_off() {
    let of = |size: &str| {
        let config = Config { container_log_max_size: size.to_owned(), ..Config::default() };
        Policy::of(&config).map(|policy| policy.limit_bytes)
    };
    assert_eq!(of("10Mi"), Some(10 << 20));
    assert_eq!(of("-1"), None);
    assert_eq!(of("0"), Some(1));
}
