//! A node that goes down in order, or stays up after all: nodelet under systemd and a real logind, with an API server beside it.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use harness::bed;
use harness::cluster::Programs;
use harness::vm::{Bed, Node, scenario};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Node as NodeObject, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(120);
const UNIT: &str = include_str!("../../daemon/package/nodelet.service");
const SLICE: &str = include_str!("../../daemon/package/nodelet.slice");
const CONFIGURATION: &str = "
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: systemd
";
const KUBECONFIG: &str = "/etc/kubernetes/kubelet.conf";
const LOGIN: &str = "org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager";
const DOWN: &str = "node is shutting down";

/// Ends a second after it was told to, with work undone.
const ENDS: &str = "trap 'sleep 1; exit 3' TERM; while true; do sleep 0.2; done";
/// The same, with all done.
const FINISHES: &str = "trap 'sleep 1; exit 0' TERM; while true; do sleep 0.2; done";
/// Hears nothing.
const DEAF: &str = "trap '' TERM; while true; do sleep 0.2; done";

/// A node with nodelet, and its API server, which runs on this machine.
struct World<'a> {
    node: &'a Node,
    client: Client,
    _server: Child,
    _dir: tempfile::TempDir,
}

impl<'a> World<'a> {
    /// With these lines of configuration.
    async fn start(bed: &'a Bed, lines: &str) -> Self {
        let node = bed.node(1);
        let programs = Programs::from_environment().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let host = bed.network().addresses().host();
        let port = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
        let data = dir.path().join("data");
        let server = Command::new(&programs.apiserver)
            .arg("--data-dir")
            .arg(&data)
            .args(["--bind-address", &host.to_string(), "--secure-port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(bed.results().join("apiserver.log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let client = wait::until("the API server", LIMIT, || connect(&data)).await.unwrap();
        let kubeconfig = dir.path().join("node.kubeconfig");
        let made = Command::new(&programs.apiserver)
            .args(["credentials", "--data-dir"])
            .arg(&data)
            .args(["--user", &format!("system:node:{}", node.name()), "--group", "system:nodes"])
            .args(["--server", &format!("https://{host}:{port}"), "--output"])
            .arg(&kubeconfig)
            .status();
        assert!(made.await.unwrap().success());
        node.install_programs(&[&programs.nodelet]).await.unwrap();
        let flags = format!("NODELET_ARGS=\"--kubeconfig={KUBECONFIG} --node-ip={}\"\n", node.ip());
        for (path, content) in [
            ("/etc/systemd/system/nodelet.service", UNIT.as_bytes()),
            ("/etc/systemd/system/nodelet.slice", SLICE.as_bytes()),
            ("/etc/nodelet/config.yaml", format!("{CONFIGURATION}{lines}").as_bytes()),
            ("/etc/default/nodelet", flags.as_bytes()),
            (KUBECONFIG, &std::fs::read(&kubeconfig).unwrap()),
        ] {
            node.write(path, "0600", content).await.unwrap();
        }
        let start =
            "mkdir -p /etc/nodelet/config.d; systemctl daemon-reload; systemctl enable --now nodelet.service";
        node.sh(start).await.unwrap();
        let world = Self { node, client, _server: server, _dir: dir };
        world.ready(true).await;
        let look = || async {
            let known = node.sh(&format!("busctl call {LOGIN} ListInhibitors")).await.unwrap();
            if holds_lock(&known) { Look::There(()) } else { Look::NotYet(known) }
        };
        wait::until("logind to know nodelet's lock", LIMIT, look).await.unwrap();
        world
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    /// Waits until the node is ready, or until it is not.
    async fn ready(&self, wanted: bool) {
        let api: Api<NodeObject> = Api::all(self.client.clone());
        let look = || async {
            match api.get_opt(self.node.name()).await.unwrap().map(|node| readiness(&node)) {
                Some((ready, _)) if ready == wanted => Look::There(()),
                other => Look::NotYet(format!("{other:?}")),
            }
        };
        wait::until(&format!("the node's Ready to be {wanted}"), LIMIT, look).await.unwrap();
    }

    /// Makes a pod with one container on the node; `more` is merged into its spec.
    async fn make(&self, name: &str, script: &str, more: Value) {
        let mut pod = json!({
            "metadata": { "name": name },
            "spec": {
                "nodeName": self.node.name(),
                "terminationGracePeriodSeconds": 300,
                "containers": [{ "name": "c", "image": "nodelet.dev/busybox:1", "command": ["sh", "-c", script] }],
            },
        });
        for (field, value) in more.as_object().unwrap() {
            pod["spec"][field] = value.clone();
        }
        self.pods().create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    /// Waits for a pod to be as it should.
    async fn pod(&self, name: &str, what: &str, holds: impl Fn(&Pod) -> bool) -> Pod {
        let look = || async {
            match self.pods().get(name).await {
                Ok(pod) if holds(&pod) => Look::There(pod),
                Ok(pod) => Look::NotYet(serde_json::to_string(&pod.status).unwrap()),
                Err(error) => Look::NotYet(error.to_string()),
            }
        };
        wait::until(&format!("{name} {what}"), LIMIT, look).await.unwrap()
    }

    async fn runs(&self, name: &str) -> Pod {
        let pod = self.pod(name, "to run", |pod| phase(pod) == "Running").await;
        assert!(container(&pod).container_id.is_some());
        pod
    }

    /// The words of the node's Ready from now on, each once.
    async fn words(&self) -> Arc<Mutex<Vec<(bool, String)>>> {
        let api: Api<NodeObject> = Api::all(self.client.clone());
        let version = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.node.name()));
        let mut events = api.watch(&params, &version).await.unwrap().boxed();
        let said = Arc::new(Mutex::new(Vec::new()));
        let shared = said.clone();
        tokio::spawn(async move {
            while let Ok(Some(event)) = events.try_next().await {
                let WatchEvent::Modified(node) = event else { continue };
                let mut said = shared.lock().unwrap();
                if said.last() != Some(&readiness(&node)) {
                    said.push(readiness(&node));
                }
            }
        });
        said
    }

    async fn boot_id(&self) -> String {
        self.node.sh("cat /proc/sys/kernel/random/boot_id").await.unwrap()
    }

    /// Waits for an event about the node.
    async fn event(&self, reason: &str, message: &str) {
        let api: Api<Event> = Api::default_namespaced(self.client.clone());
        let look = || async {
            let all = api.list(&ListParams::default()).await.unwrap().items;
            let told: Vec<_> = all
                .iter()
                .filter(|event| event.involved_object.kind.as_deref() == Some("Node"))
                .map(|event| {
                    (event.reason.clone().unwrap_or_default(), event.message.clone().unwrap_or_default())
                })
                .collect();
            let is_there = told.iter().any(|(r, m)| r == reason && m.contains(message));
            if is_there { Look::There(()) } else { Look::NotYet(format!("{told:?}")) }
        };
        wait::until(&format!("the node's event {reason}"), LIMIT, look).await.unwrap();
    }
}

async fn connect(data: &std::path::Path) -> Look<Client> {
    let client = async {
        let kubeconfig = Kubeconfig::read_from(data.join("admin.kubeconfig")).map_err(|e| e.to_string())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
        let client = Client::try_from(config.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
        let ready = http::Request::get("/readyz").body(Vec::new()).unwrap();
        client.request_text(ready).await.map_err(|e| e.to_string())?;
        Ok::<_, String>(client)
    };
    match client.await {
        Ok(client) => Look::There(client),
        Err(error) => Look::NotYet(error),
    }
}

fn holds_lock(inhibitors: &str) -> bool {
    inhibitors.matches(r#""shutdown" "nodelet""#).count() == 1
}

fn readiness(node: &NodeObject) -> (bool, String) {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().find(|c| c.type_ == "Ready");
    ready.map_or_else(Default::default, |c| (c.status == "True", c.message.clone().unwrap_or_default()))
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

fn container(pod: &Pod) -> &ContainerStatus {
    &pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0]
}

/// Exit code, and when, in seconds.
fn end(pod: &Pod) -> (i32, i64) {
    let ended = container(pod).state.as_ref().unwrap().terminated.as_ref().unwrap();
    (ended.exit_code, ended.finished_at.as_ref().unwrap().0.as_second())
}

fn is_disrupted(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|c| {
        (c.type_.as_str(), c.status.as_str(), c.reason.as_deref())
            == ("DisruptionTarget", "True", Some("TerminationByKubelet"))
    })
}

fn is_terminated_by_shutdown(pod: &Pod) -> bool {
    let status = pod.status.as_ref().unwrap();
    is_disrupted(pod)
        && phase(pod) == "Failed"
        && status.reason.as_deref() == Some("Terminated")
        && status.message.as_deref() == Some("Pod was terminated in response to imminent node shutdown.")
}

#[tokio::test]
async fn pods_of_a_node_that_goes_down_end_by_priority_and_say_how() {
    scenario(bed!("shutdown-priorities"), async |bed| {
        let lines = "
shutdownGracePeriodByPodPriority:
- { priority: 2000000000, shutdownGracePeriodSeconds: 10 }
- { priority: 0, shutdownGracePeriodSeconds: 6 }
- { priority: 1000, shutdownGracePeriodSeconds: 10 }
";
        let world = World::start(bed, lines).await;
        let class = json!({ "metadata": { "name": "mid" }, "value": 1000 });
        let classes: Api<PriorityClass> = Api::all(world.client.clone());
        classes.create(&PostParams::default(), &serde_json::from_value(class).unwrap()).await.unwrap();
        world.make("done", "exit 0", json!({ "restartPolicy": "Never" })).await;
        world.make("deaf", DEAF, json!({})).await;
        world.make("low", ENDS, json!({})).await;
        world.make("mid", ENDS, json!({ "priorityClassName": "mid" })).await;
        world.make("vital", ENDS, json!({ "priorityClassName": "system-node-critical" })).await;
        world.make("clean", FINISHES, json!({})).await;
        let names = ["deaf", "low", "mid", "vital"];
        for name in names.into_iter().chain(["clean"]) {
            world.runs(name).await;
        }
        world.pod("done", "to have succeeded", |pod| phase(pod) == "Succeeded").await;
        let words = world.words().await;

        world.node.power_off().await.unwrap();
        assert_eq!(words.lock().unwrap().first(), Some(&(false, DOWN.to_owned())));
        // All was told before the machine was off.
        let mut ends = Vec::new();
        for name in names {
            let pod = world.pods().get(name).await.unwrap();
            assert!(is_terminated_by_shutdown(&pod), "{:?}", pod.status);
            ends.push(end(&pod));
        }
        let done = world.pods().get("done").await.unwrap();
        assert!(phase(&done) == "Succeeded" && !is_disrupted(&done));
        // Whoever was told to end, and had done all when it did, has not failed.
        let clean = world.pods().get("clean").await.unwrap();
        assert!(phase(&clean) == "Succeeded" && is_disrupted(&clean), "{:?}", clean.status);
        let [deaf, low, mid, vital] = ends[..] else { panic!("{ends:?}") };
        // Whoever hears nothing is killed when its group's time is over, whatever its own grace.
        assert_eq!([deaf.0, low.0, mid.0, vital.0], [137, 3, 3, 3]);
        assert!(deaf.1 >= low.1 + 3 && deaf.1 <= low.1 + 10, "{ends:?}");
        // Each takes a second from the signal on, and got it when the group before had ended.
        assert!(mid.1 > deaf.1 && vital.1 > mid.1, "{ends:?}");

        world.node.boot().await.unwrap();
        world.ready(true).await;
        world.event("Rebooted", "has been rebooted").await;
        world.event("Shutdown", "detected shutdown event").await;
        world.make("new", ENDS, json!({})).await;
        world.runs("new").await;
        // What has ended stays so.
        for name in names {
            assert!(is_terminated_by_shutdown(&world.pods().get(name).await.unwrap()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_that_comes_to_nothing_leaves_whom_it_had_not_reached() {
    scenario(bed!("shutdown-cancelled"), async |bed| {
        let lines = "shutdownGracePeriod: 60s\nshutdownGracePeriodCriticalPods: 10s\n";
        let world = World::start(bed, lines).await;
        let hook = json!([{
            "name": "c",
            "image": "nodelet.dev/busybox:1",
            "command": ["sh", "-c", ENDS],
            "lifecycle": { "preStop": { "exec": { "command": ["sh", "-c", "sleep 40"] } } },
        }]);
        world.make("slow", "", json!({ "containers": hook })).await;
        world.make("vital", ENDS, json!({ "priorityClassName": "system-node-critical" })).await;
        world.runs("slow").await;
        let before = world.runs("vital").await;
        let booted = world.boot_id().await;
        // logind goes on without the pods after a while, and finds that it cannot.
        let patience = "mkdir -p /etc/systemd/logind.conf.d; \
                        printf '[Login]\\nInhibitDelayMaxSec=15\\n' >/etc/systemd/logind.conf.d/zz.conf; \
                        systemctl kill --signal=HUP systemd-logind.service";
        world.node.sh(patience).await.unwrap();
        let look = || async {
            let get = "busctl get-property org.freedesktop.login1 /org/freedesktop/login1 \
                       org.freedesktop.login1.Manager InhibitDelayMaxUSec";
            let said = world.node.sh(get).await.unwrap();
            if said == "t 15000000\n" { Look::There(()) } else { Look::NotYet(said) }
        };
        wait::until("logind to have read that", LIMIT, look).await.unwrap();
        let words = world.words().await;
        let down = format!(
            "busctl call {LOGIN} Reboot b false; ln -s /dev/null /run/systemd/system/reboot.target; systemctl daemon-reload"
        );
        world.node.sh(&down).await.unwrap();
        world.ready(false).await;
        world.make("refused", ENDS, json!({})).await;
        let refused = world.pod("refused", "to be refused", |pod| phase(pod) == "Failed").await;
        assert_eq!(refused.status.unwrap().reason.as_deref(), Some("NodeShutdown"));

        world.ready(true).await;
        assert_eq!(*words.lock().unwrap(), [(false, DOWN.to_owned()), (true, "kubelet is posting ready status".to_owned())]);
        assert_eq!(world.boot_id().await, booted);
        world.event("Shutdown", "detected shutdown cancellation").await;
        world.make("later", ENDS, json!({})).await;
        world.runs("later").await;
        // What was told to end does so.
        world.pod("slow", "to have ended", is_terminated_by_shutdown).await;
        let after = world.runs("vital").await;
        assert_eq!(container(&after).container_id, container(&before).container_id);
        let known = world.node.sh(&format!("busctl call {LOGIN} ListInhibitors")).await.unwrap();
        assert!(holds_lock(&known), "{known}");
    })
    .await;
}
