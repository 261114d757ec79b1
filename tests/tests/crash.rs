//! The daemon is killed at random points, over and over, beside a runtime made of state alone: nothing is restarted, doubled, leaked or lost.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cri_client::fake::{Effect, FakeRuntime, Life, Rule, Script};
use cri_client::{Client, Timeouts, v1};
use harness::cluster::Programs;
use harness::wait::{self, Look};
use serde_json::json;
use tokio::process::{Child, Command};

/// How often the daemon is killed, where `NODELET_KILLS` does not say otherwise.
const KILLS: u32 = 200;
const LONGEST_LIFE_MILLIS: u64 = 150;
const LIMIT: Duration = Duration::from_secs(60);
/// Pods that are there from the first to the last moment.
const STEADY: usize = 10;

struct Bed {
    dir: tempfile::TempDir,
    runtime: FakeRuntime,
    cri: Client,
    nodelet: PathBuf,
    seed: u64,
}

impl Bed {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = FakeRuntime::new();
        let init = Life { millis: Some(5), ..Life::default() };
        let lives = BTreeMap::from([("init".to_owned(), init)]);
        runtime.set_script(Script { write_logs: true, lives, ..Script::default() });
        let cri = Client::new(dir.path().join("cri.sock"), None, Timeouts::default());
        let nodelet = Programs::from_environment().unwrap().nodelet;
        let bed = Self { dir, runtime, cri, nodelet, seed };
        std::fs::create_dir(bed.path("manifests")).unwrap();
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{}", bed.path("cri.sock").display()),
            "staticPodPath": bed.path("manifests"),
            "podLogsDir": bed.path("pods"),
            "enableServer": false,
            "healthzPort": 0,
            "maxPods": 1000,
            "failSwapOn": false,
            "failCgroupV1": false,
            "cgroupsPerQOS": false,
            "enforceNodeAllocatable": [],
        });
        std::fs::write(bed.path("config.json"), config.to_string()).unwrap();
        bed
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn daemon(&self) -> Child {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.path("nodelet.log")).unwrap();
        Command::new(&self.nodelet)
            .arg("--config")
            .arg(self.path("config.json"))
            .arg("--root-dir")
            .arg(self.path("root"))
            .args(["--hostname-override", "node"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// xorshift: the same seed gives the same run of manifests and kills.
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    /// A manifest is there from one moment to the next, as a careful operator writes it.
    fn write(&self, name: &str, word: u64) {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": "default" },
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "initContainers": [
                    { "name": "init", "image": "img:1" },
                    { "name": "side", "image": "img:1", "restartPolicy": "Always" },
                ],
                "containers": [{ "name": "c", "image": "img:1", "command": ["/serve", word.to_string()] }],
            },
        });
        let new = self.path("new.json");
        std::fs::write(&new, manifest.to_string()).unwrap();
        std::fs::rename(new, self.manifest(name)).unwrap();
    }

    fn manifest(&self, name: &str) -> PathBuf {
        self.path("manifests").join(format!("{name}.json"))
    }

    /// Names of the pods that have running containers, with how many.
    async fn running(&self) -> BTreeMap<String, usize> {
        let mut running = BTreeMap::new();
        for container in self.cri.list_containers([].into()).await.unwrap() {
            if container.state == v1::ContainerState::ContainerRunning as i32 {
                *running.entry(container.labels["io.kubernetes.pod.name"].clone()).or_default() += 1;
            }
        }
        running
    }

    async fn settles(&self, wanted: &BTreeSet<String>) {
        let look = || async {
            let running = self.running().await;
            let (sandboxes, _) = self.runtime.counts();
            let fits =
                running.keys().eq(wanted) && running.values().all(|n| *n == 2) && sandboxes == wanted.len();
            if fits { Look::There(()) } else { Look::NotYet(format!("{running:?}, {sandboxes} sandboxes")) }
        };
        if let Err(error) = wait::until("the pods to be those of the manifests", LIMIT, look).await {
            panic!("{error}\n{}", tail(&self.path("nodelet.log")));
        }
    }

    /// Every container of the pod was started once, and no more.
    fn started_once(&self, pod: &str) {
        let calls = self.runtime.calls();
        for container in ["init", "side", "c"] {
            let subject = format!("default/{pod}-node/{container}");
            let starts = calls.iter().filter(|c| c.call == "StartContainer" && c.subject == subject).count();
            assert_eq!(starts, 1, "starts of {subject}\n{}", tail(&self.path("nodelet.log")));
        }
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_at_random_points_restarts_doubles_leaks_and_loses_nothing() {
    let mut bed = Bed::new(0x5eed);
    let _server = bed.runtime.serve(&bed.path("cri.sock")).unwrap();
    let mut wanted = BTreeSet::new();
    for i in 0..STEADY {
        bed.write(&format!("steady-{i}"), 0);
        wanted.insert(format!("steady-{i}-node"));
    }
    let kills = std::env::var("NODELET_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    for kill in 0..kills {
        let mut daemon = bed.daemon();
        // Pods come, change and go while the daemon lives and while it does not.
        let name = format!("moving-{}", bed.random(6));
        if bed.random(3) == 0 {
            std::fs::remove_file(bed.manifest(&name)).ok();
            wanted.remove(&format!("{name}-node"));
        } else {
            bed.write(&name, u64::from(kill));
            wanted.insert(format!("{name}-node"));
        }
        // The moment of the kill; nothing is expected of the pause.
        let life = bed.random(LONGEST_LIFE_MILLIS);
        tokio::time::sleep(Duration::from_millis(life)).await;
        daemon.kill().await.unwrap();
    }
    let _daemon = bed.daemon();
    let begun = tokio::time::Instant::now();
    bed.settles(&wanted).await;
    println!("{kills} kills; the pods are those of the manifests {:?} after the last start", begun.elapsed());
    assert_eq!(bed.runtime.violations(), Vec::<String>::new());
    for i in 0..STEADY {
        bed.started_once(&format!("steady-{i}"));
    }
    // What pods left that came and went between two kills is found and removed, too.
    let look = || async {
        let count = |dir: &str| std::fs::read_dir(bed.path(dir)).unwrap().count();
        let left = (count("root/pods"), count("pods"), count("containers"));
        // A link for each of the three containers.
        let wanted = (wanted.len(), wanted.len(), 3 * wanted.len());
        if left == wanted { Look::There(()) } else { Look::NotYet(format!("{left:?} instead of {wanted:?}")) }
    };
    wait::until("directories, logs and links to be those of the pods", LIMIT, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_dies_over_and_over_costs_nothing_but_time() {
    let bed = Bed::new(1);
    let mut wanted = BTreeSet::new();
    let _daemon = bed.daemon();
    for i in 0..20 {
        let server = bed.runtime.serve(&bed.path("cri.sock")).unwrap();
        bed.write(&format!("pod-{i}"), 0);
        wanted.insert(format!("pod-{i}-node"));
        tokio::time::sleep(Duration::from_millis(20 * i)).await;
        drop(server);
    }
    let _server = bed.runtime.serve(&bed.path("cri.sock")).unwrap();
    bed.settles(&wanted).await;
    assert_eq!(bed.runtime.violations(), Vec::<String>::new());
    for i in 0..20 {
        bed.started_once(&format!("pod-{i}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_hang_for_some_pods_hold_up_no_other_and_not_their_own_end() {
    let bed = Bed::new(2);
    for (call, subject) in
        [("RunPodSandbox", "default/no-sandbox"), ("CreateContainer", "default/no-container")]
    {
        let (call, subject) = (call.to_owned(), subject.to_owned());
        bed.runtime.add_rule(Rule { call, subject, times: None, effect: Effect::Hang });
    }
    let _server = bed.runtime.serve(&bed.path("cri.sock")).unwrap();
    let _daemon = bed.daemon();
    let mut wanted = BTreeSet::new();
    for i in 0..200 {
        match i % 20 {
            0 => bed.write(&format!("no-sandbox-{i}"), 0),
            1 => bed.write(&format!("no-container-{i}"), 0),
            _ => {
                bed.write(&format!("pod-{i}"), 0);
                wanted.insert(format!("pod-{i}-node"));
            }
        }
    }
    let look = || async {
        let mut running = bed.running().await;
        // A sidecar runs beside a container that hangs.
        running.retain(|_, count| *count == 2);
        if running.keys().eq(&wanted) {
            Look::There(())
        } else {
            Look::NotYet(format!("{} run", running.len()))
        }
    };
    if let Err(error) = wait::until("the others to run", LIMIT, look).await {
        panic!("{error}\n{}", tail(&bed.path("nodelet.log")));
    }
    for i in 0..200 {
        for kind in ["no-sandbox", "no-container"] {
            std::fs::remove_file(bed.manifest(&format!("{kind}-{i}"))).ok();
        }
    }
    bed.settles(&wanted).await;
    let look = || async {
        let left = std::fs::read_dir(bed.path("root/pods")).unwrap().count();
        if left == wanted.len() { Look::There(()) } else { Look::NotYet(format!("{left} directories")) }
    };
    wait::until("nothing to be left of those that hung", LIMIT, look).await.unwrap();
}

/// A pod of a manifest as a kubelet starts it, under a UID that only a kubelet computes; the container's id.
async fn started_by_a_kubelet(bed: &Bed, name: &str) -> String {
    let uid = format!("5f3b2d0e-{name}");
    let labels = |more: &[(&str, &str)]| {
        let mut labels = HashMap::from([
            ("io.kubernetes.pod.name".to_owned(), format!("{name}-node")),
            ("io.kubernetes.pod.namespace".to_owned(), "default".to_owned()),
            ("io.kubernetes.pod.uid".to_owned(), uid.clone()),
        ]);
        labels.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        labels
    };
    let sandbox = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: format!("{name}-node"),
            uid: uid.clone(),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        log_directory: bed.path("pods").join(format!("default_{name}-node_{uid}")).display().to_string(),
        labels: labels(&[]),
        annotations: HashMap::from([
            ("kubernetes.io/config.source".to_owned(), "file".to_owned()),
            ("kubernetes.io/config.hash".to_owned(), uid.clone()),
        ]),
        ..Default::default()
    };
    let spec = serde_json::from_value(json!({ "name": "c", "image": "img:1" })).unwrap();
    let hash = podspec::container_hash(&spec);
    let container = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: "img:1".to_owned(), ..Default::default() }),
        labels: labels(&[("io.kubernetes.container.name", "c")]),
        annotations: HashMap::from([
            ("io.kubernetes.container.hash".to_owned(), hash),
            ("io.kubernetes.container.restartCount".to_owned(), "0".to_owned()),
        ]),
        log_path: "c/0.log".to_owned(),
        ..Default::default()
    };
    let id = bed.cri.run_pod_sandbox(sandbox.clone(), String::new()).await.unwrap();
    let container = bed.cri.create_container(&id, container, sandbox).await.unwrap();
    bed.cri.start_container(&container).await.unwrap();
    container
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_pod_that_a_kubelet_has_started_goes_on_until_its_manifest_changes() {
    let bed = Bed::new(3);
    let _server = bed.runtime.serve(&bed.path("cri.sock")).unwrap();
    let same = started_by_a_kubelet(&bed, "same").await;
    let plain = |image: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": "same", "namespace": "default" },
            "spec": { "terminationGracePeriodSeconds": 1, "containers": [{ "name": "c", "image": image }] },
        })
    };
    std::fs::write(bed.manifest("same"), plain("img:1").to_string()).unwrap();
    let mut daemon = bed.daemon();
    // It has been taken up once its hosts file could be looked for and another pod runs.
    bed.write("other", 0);
    let look = || async {
        let running = bed.running().await;
        if running.len() == 2 { Look::There(()) } else { Look::NotYet(format!("{running:?}")) }
    };
    wait::until("another pod to run beside", LIMIT, look).await.unwrap();
    daemon.kill().await.unwrap();
    let _daemon = bed.daemon();
    bed.write("third", 0);
    let look = || async {
        let running = bed.running().await;
        if running.len() == 3 { Look::There(()) } else { Look::NotYet(format!("{running:?}")) }
    };
    wait::until("a third one after a restart", LIMIT, look).await.unwrap();
    let status = bed.cri.container_status(&same).await.unwrap();
    assert_eq!(
        status.state,
        v1::ContainerState::ContainerRunning as i32,
        "{}",
        tail(&bed.path("nodelet.log"))
    );

    std::fs::write(bed.path("new.json"), plain("img:2").to_string()).unwrap();
    std::fs::rename(bed.path("new.json"), bed.manifest("same")).unwrap();
    let look = || async {
        let containers = bed.cri.list_containers([].into()).await.unwrap();
        let of_it: Vec<_> = containers
            .iter()
            .filter(|c| c.labels["io.kubernetes.pod.name"] == "same-node")
            .map(|c| (c.id.clone(), c.state))
            .collect();
        match &of_it[..] {
            [(id, 1)] if *id != same => Look::There(()),
            other => Look::NotYet(format!("{other:?}")),
        }
    };
    wait::until("the changed manifest to run instead", LIMIT, look).await.unwrap();
    assert_eq!(bed.runtime.violations(), Vec::<String>::new());
}
