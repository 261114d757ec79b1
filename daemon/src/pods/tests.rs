//! The supervisor beside a runtime made of state alone.

use std::fs;
use std::path::Path;

use cri_client::fake::{FakeRuntime, Script, Server};
use cri_client::{Client, Timeouts, v1};
use lifecycle::{Facts, Supported};
use tokio::time::timeout;
use volumes::PodDirs;

use super::*;
use crate::cgroups::Limits;
use crate::config::Config;
use crate::events::{Rates, Recorder};
use crate::followed::Followed;
use crate::images::{self, Images};
use crate::kubeconfig::fake::{FakeApi, api};
use crate::metrics::Metrics;
use crate::node::RuntimeState;
use crate::objects::Objects;
use crate::pod_volumes::PodVolumes;
use crate::runtime::{DnsSettings, Place, SecuritySettings, ServiceAddress, Supplies, Users, Watcher};
use crate::sources::mirror::Mirrors;

const LIMIT: Duration = Duration::from_secs(20);

struct Node {
    root: tempfile::TempDir,
    runtime: FakeRuntime,
    cri: Client,
    events: FakeApi,
    metrics: Metrics,
    updates: mpsc::Sender<Update>,
    runtime_events: mpsc::Sender<RuntimeEvent>,
    stop: watch::Sender<bool>,
    _server: Server,
    _kept: Box<dyn std::any::Any>,
}

/// A node that waits for the first word of its API source; an orphan can be made before.
fn node() -> (Node, Pods, Inputs) {
    let root = tempfile::tempdir().expect("a directory");
    let runtime = FakeRuntime::new();
    runtime.set_script(Script { write_logs: true, ..Script::default() });
    let server = runtime.serve(&root.path().join("cri.sock")).expect("serves");
    let cri = Client::new(root.path().join("cri.sock"), None, Timeouts::default());
    let (event_client, events) = api();
    let (recorder, sender) = Recorder::new(Some(event_client), "node1", Rates::default());
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(sender.run(stopped));
    let metrics = Metrics::new().expect("good names");
    let settings = images::Settings { root_dir: root.path().into(), plugin_config: None, plugin_dir: None };
    let images = Images::new(&settings, &Config::default(), cri.clone(), None, recorder.clone());
    let place = Place {
        pod_logs: root.path().join("pod-logs"),
        container_logs: root.path().join("container-logs"),
        limits: Arc::new(Limits {
            capacity: cgroups::Capacity { memory_bytes: 1 << 30, ..cgroups::Capacity::default() },
            policy: cgroups::Policy::default(),
            hierarchy: cgroups::Hierarchy::V1,
        }),
        dns: DnsSettings::default(),
        security: SecuritySettings::default(),
        stop_signals: false,
        env_files: true,
        users: Users::new(root.path(), None, 110),
    };
    for dir in [&place.pod_logs, &place.container_logs] {
        fs::create_dir(dir).expect("made");
    }
    let (host_ips_in, host_ips) = watch::channel(vec!["192.0.2.2".to_owned()]);
    let dirs = Arc::new(PodDirs::new(root.path()).expect("made"));
    let (facts, known) = watch::channel(Arc::new(Facts::default()));
    let volumes = PodVolumes::new(Arc::clone(&dirs), Objects::new(None), None, known.clone(), metrics.work());
    let (runtime_state, _) = watch::channel(RuntimeState::default());
    let nowhere = || root.path().join("kept");
    let supplies = Supplies {
        images: images.expect("usable"),
        volumes,
        services: Followed::new(None, "services", ServiceAddress::of, nowhere(), stop.subscribe()),
        classes: Followed::new(None, "runtime classes", |_| None, nowhere(), stop.subscribe()),
        facts: known.clone(),
    };
    let executor =
        Executor::new(cri.clone(), dirs, place, host_ips.clone(), recorder.clone(), runtime_state, supplies);
    let (probing, prober) = Probing::new(cri.clone(), recorder.clone());
    tokio::spawn(prober.run(stop.subscribe()));
    let parts = Parts {
        executor,
        publisher: Publisher::new(None, recorder, Mirrors::new(), metrics.clone()),
        shown: Shown::default(),
        ledger: Ledger::open(root.path(), "boot".to_owned()).expect("opened"),
        node: NodeSide { facts: known, groups: Vec::new(), over: watch::Sender::new(0), reader: None },
        metrics: metrics.clone(),
        probing,
    };
    let (updates, updates_out) = mpsc::channel(16);
    let (runtime_events, runtime_out) = mpsc::channel(16);
    let (questions_in, questions) = mpsc::channel(1);
    let (pings_in, pings) = mpsc::channel(1);
    let (trims_in, trims) = mpsc::channel(1);
    let mirrors = Mirrors::new().renewed();
    let inputs = Inputs {
        endings: mpsc::channel(1).1,
        updates: updates_out,
        runtime: runtime_out,
        host_ips,
        mirrors,
        questions,
        pings,
        trims,
        sources: vec![Source::Api],
    };
    let settings = Settings {
        max_restart_period: Duration::from_secs(300),
        runtime_name: "fake".to_owned(),
        supported: Supported::default(),
        limited_swap: false,
        dead_containers: lifecycle::DeadContainers::default(),
    };
    let pods = Pods::new(settings, PullLimits::default(), parts, &inputs);
    let kept = Box::new((host_ips_in, facts, questions_in, pings_in, trims_in));
    let node = Node {
        root,
        runtime,
        cri,
        events,
        metrics,
        updates,
        runtime_events,
        stop,
        _server: server,
        _kept: kept,
    };
    (node, pods, inputs)
}

impl Node {
    /// A pod that somebody else has started: a container `c` with these annotations.
    async fn started_by_somebody(&self, name: &str, annotations: &[(&str, &str)]) {
        let uid = format!("uid-{name}");
        let labels = [("name", name), ("namespace", "team"), ("uid", uid.as_str())];
        let mut labels: HashMap<String, String> =
            labels.map(|(key, value)| (format!("io.kubernetes.pod.{key}"), value.to_owned())).into();
        let logs = self.root.path().join(format!("pod-logs/team_{name}_{uid}"));
        fs::create_dir_all(logs.join("c")).expect("made");
        let sandbox = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.to_owned(),
                uid: uid.clone(),
                namespace: "team".to_owned(),
                attempt: 0,
            }),
            log_directory: logs.display().to_string(),
            labels: labels.clone(),
            ..Default::default()
        };
        labels.insert("io.kubernetes.container.name".to_owned(), "c".to_owned());
        let container = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: "img:1".to_owned(), ..Default::default() }),
            labels,
            annotations: annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            log_path: "c/0.log".to_owned(),
            ..Default::default()
        };
        let id = self.cri.run_pod_sandbox(sandbox.clone(), String::new()).await.expect("runs");
        let container = self.cri.create_container(&id, container, sandbox).await.expect("made");
        self.cri.start_container(&container).await.expect("started");
        fs::create_dir_all(self.root.path().join("pods").join(&uid).join("volumes")).expect("made");
    }

    async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let wait = async {
            while !done(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(LIMIT, wait).await.is_err() {
            panic!("{what}: not within {LIMIT:?}; {:#?}", self.runtime.calls());
        }
    }

    /// Of the calls that change or stop something, those about this pod, in their order.
    fn told(&self, pod: &str) -> Vec<String> {
        let ends = ["ExecSync", "StopContainer", "StopPodSandbox", "RemoveContainer", "RemovePodSandbox"];
        let calls = self.runtime.calls().into_iter();
        let about = |call: &cri_client::fake::Call| {
            ends.contains(&call.call.as_str()) && call.subject.starts_with(&format!("team/{pod}"))
        };
        calls.filter(about).map(|call| call.call).collect()
    }

    fn is_empty(&self, dir: &str) -> bool {
        let dir: &Path = &self.root.path().join(dir);
        fs::read_dir(dir).expect("listed").next().is_none()
    }
}

#[tokio::test]
async fn what_somebody_has_left_is_stopped_with_its_hook_cleared_away_and_counted_once() {
    let (mut node, pods, inputs) = node();
    node.started_by_somebody(
        "hooked",
        &[
            ("io.kubernetes.container.preStopHandler", r#"{"exec":{"command":["bye"]}}"#),
            ("io.kubernetes.pod.terminationGracePeriod", "30"),
        ],
    )
    .await;
    node.started_by_somebody("plain", &[]).await;
    node.started_by_somebody("damaged", &[("io.kubernetes.container.preStopHandler", "{not JSON")]).await;
    // Beside them, what a pod has left that is nowhere else any more.
    fs::create_dir_all(node.root.path().join("pods/uid-gone/volumes")).expect("made");
    fs::create_dir_all(node.root.path().join("pod-logs/team_gone_uid-gone/c")).expect("made");

    let running = tokio::spawn(pods.run(inputs, node.stop.subscribe()));
    let watcher = Watcher::new(node.cri.clone(), node.metrics.work(), node.runtime_events.clone());
    tokio::spawn(watcher.run(node.stop.subscribe()));
    let read_before = node.runtime_events.clone();
    let begun = Instant::now();
    node.until("the runtime is read", |n| n.runtime.calls().iter().any(|c| c.call == "ListContainers")).await;
    assert_eq!(node.told(""), Vec::<String>::new(), "no source has spoken yet");
    let spoken = Update::Listed { source: Source::Api, pods: Vec::new() };
    node.updates.send(spoken).await.expect("taken");
    node.until("all is gone", |n| {
        n.runtime.counts() == (0, 0) && n.is_empty("pods") && n.is_empty("pod-logs")
    })
    .await;
    let removed = ["StopContainer", "StopPodSandbox", "RemoveContainer", "RemovePodSandbox"];
    assert_eq!(node.told("hooked"), ["ExecSync"].into_iter().chain(removed).collect::<Vec<_>>());
    assert_eq!(node.told("plain"), removed);
    assert_eq!(node.told("damaged"), removed);

    let mut told = HashSet::new();
    for _ in 0..3 {
        let event = timeout(LIMIT, node.events.next()).await.expect("an event");
        assert_eq!(
            (event.body["reason"].as_str(), event.body["involvedObject"]["kind"].as_str()),
            (Some("OrphanedPodRemoved"), Some("Node"))
        );
        told.insert(event.body["message"].as_str().unwrap_or_default().to_owned());
        event.ok(&serde_json::json!({}));
    }
    assert_eq!(told.len(), 3, "{told:?}");
    // A reading that began while they were there is no news of them.
    let found = Found { namespace: "team".to_owned(), name: "plain".to_owned(), digest: 0, manifest: None };
    let found = HashMap::from([("uid-plain".to_owned(), found)]);
    read_before.send(RuntimeEvent::Audited { begun, found }).await.expect("taken");
    node.until("it was taken", |n| n.runtime_events.capacity() == n.runtime_events.max_capacity()).await;
    let text = node.metrics.text().expect("written");
    assert!(text.contains("kubelet_orphaned_runtime_pods_total 3\n"), "{text}");
    assert!(node.events.is_idle(), "each was told once");
    node.stop.send_replace(true);
    running.await.expect("ended");
}

#[tokio::test]
async fn what_is_left_later_of_pods_that_nobody_knows_goes_too() {
    let (node, mut pods, inputs) = node();
    pods.sweep_every = Duration::ZERO;
    for dir in ["pods", "pod-logs"] {
        fs::create_dir_all(node.root.path().join(dir)).expect("made");
    }
    let running = tokio::spawn(pods.run(inputs, node.stop.subscribe()));
    let spoken = Update::Listed { source: Source::Api, pods: Vec::new() };
    node.updates.send(spoken).await.expect("taken");
    let read = || RuntimeEvent::Audited { begun: Instant::now(), found: HashMap::new() };
    node.runtime_events.send(read()).await.expect("taken");
    node.until("it was taken", |n| n.runtime_events.capacity() == n.runtime_events.max_capacity()).await;
    fs::create_dir_all(node.root.path().join("pods/uid-late/volumes")).expect("made");
    fs::create_dir_all(node.root.path().join("pod-logs/team_late_uid-late/c")).expect("made");
    node.runtime_events.send(read()).await.expect("taken");
    node.until("all is gone", |n| n.is_empty("pods") && n.is_empty("pod-logs")).await;
    node.stop.send_replace(true);
    running.await.expect("ended");
}
