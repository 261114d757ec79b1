//! The daemon alone: beside a runtime of state alone, which answers at once.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use cri_client::fake::{Effect, FakeRuntime, Rule, Script, Server};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use harness::Cluster;
use harness::cluster::Programs;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::cost;

pub(super) const NODE: &str = "hollow";
const LIMIT: Duration = Duration::from_secs(120);
const AT_ONCE: usize = 16;
const HEARTBEAT: Duration = Duration::from_millis(1_100);

/// A node whose containers are nothing but entries in a table.
pub(crate) struct Hollow {
    client: Client,
    runtime: FakeRuntime,
    _server: Server,
    daemon: Child,
    program: Program,
    /// From the start of the daemon to Ready, of a node that was not there before.
    pub(super) first_ready: Duration,
}

/// How the daemon is started.
struct Program {
    nodelet: PathBuf,
    /// Below it: configuration, credentials, root directory, log.
    dir: PathBuf,
    ip: String,
}

impl Program {
    fn spawn(&self) -> Result<Child> {
        let log = File::options().create(true).append(true).open(self.dir.join("nodelet.log"));
        Command::new(&self.nodelet)
            .arg("--config")
            .arg(self.dir.join("config.json"))
            .arg("--kubeconfig")
            .arg(self.dir.join("kubeconfig"))
            .arg("--root-dir")
            .arg(self.dir.join("root"))
            .args(["--hostname-override", NODE, "--node-ip", &self.ip])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.context("opening the log")?)
            .kill_on_drop(true)
            .spawn()
            .context("starting the daemon")
    }
}

/// Medians.
pub(super) struct Shares {
    /// From a watcher's event of the new pod to the first call to the runtime; from the write, where the watcher was later.
    pub(super) first_call: Duration,
    /// From the write to Running, as a watcher sees it.
    pub(super) running: Duration,
    /// From the exit of a container to the status as a watcher sees it.
    pub(super) exit: Duration,
    /// From the delete to the end of the object.
    pub(super) gone: Duration,
    /// What the API server and the watch take by themselves: from a write to its event.
    pub(super) watch: Duration,
}

impl Hollow {
    /// Starts a second daemon under the cluster's API server.
    pub(crate) async fn start(cluster: &Cluster, client: &Client, programs: &Programs) -> Result<Self> {
        let dir = cluster.layout().dir().join("hollow");
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", dir.display()));
            }
            _ => {}
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let runtime = FakeRuntime::new();
        runtime.set_script(Script::default());
        let socket = dir.join("cri.sock");
        let server = runtime.serve(&socket).with_context(|| format!("serving {}", socket.display()))?;
        let config = dir.join("config.json");
        let settings = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{}", socket.display()),
            "podLogsDir": dir.join("pods"),
            "enableServer": false,
            "healthzPort": 0,
            "maxPods": 10_000,
            "failSwapOn": false,
            "failCgroupV1": false,
            "cgroupsPerQOS": false,
            "enforceNodeAllocatable": [],
            "evictionHard": { "memory.available": "100Mi" },
        });
        std::fs::write(&config, settings.to_string())
            .with_context(|| format!("writing {}", config.display()))?;
        credentials(cluster, programs, dir.join("kubeconfig")).await?;
        // Left by an earlier run of the bench.
        let nodes: Api<Node> = Api::all(client.clone());
        match nodes.delete(NODE, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => drop(other?),
        }
        let ip = cluster.node(0).ip().to_string();
        let program = Program { nodelet: programs.nodelet.clone(), dir, ip };
        let events = node_events(client).await?;
        let begun = Instant::now();
        let daemon = program.spawn()?;
        let first_ready = ready(events).await?.duration_since(begun);
        Ok(Self { client: client.clone(), runtime, _server: server, daemon, program, first_ready })
    }

    /// Kills the daemon and starts it again: how long until it has written that the node is ready, and until it has looked at each
    /// of the `pods` pods that run.
    pub(super) async fn restart(&mut self, pods: usize) -> Result<(Duration, Duration)> {
        self.daemon.kill().await.context("killing the daemon")?;
        // Heartbeats have whole seconds: a write within the second of the one before changes nothing, and nobody sees it.
        sleep(HEARTBEAT).await;
        let events = node_events(&self.client).await?;
        let before = self.runtime.calls().len();
        let begun = Instant::now();
        self.daemon = self.program.spawn()?;
        let ready = ready(events).await?.duration_since(begun);
        let end = Instant::now() + LIMIT;
        let looked_at = loop {
            let mut looked_at = BTreeMap::new();
            for (call, at) in self.runtime.calls_since(before) {
                if call.call == "PodSandboxStatus" {
                    looked_at.entry(call.subject).or_insert(at);
                }
            }
            if looked_at.len() >= pods {
                break looked_at.into_values().max().unwrap_or(begun);
            }
            ensure!(Instant::now() < end, "{} of {pods} pods were looked at", looked_at.len());
            sleep(Duration::from_millis(20)).await;
        };
        Ok((ready, looked_at.duration_since(begun)))
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.daemon.id().context("the hollow node's daemon has ended")
    }

    /// Memory, and what it uses in a minute in which nothing happens.
    pub(super) async fn idle(&self) -> Result<(cost::Memory, cost::Spent)> {
        sleep(super::SETTLE).await;
        let before = cost::used(self.pid()?)?;
        sleep(super::MINUTE).await;
        let used = cost::used(self.pid()?)?.since(&before);
        Ok((cost::memory(self.pid()?)?, used))
    }

    /// The daemon's own share of a pod's life, over `pods` pods, one at a time.
    pub(super) async fn shares(&self, pods: usize) -> Result<Shares> {
        let (mut first, mut running, mut exit, mut gone, mut watch) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for i in 0..pods {
            let name = format!("hollow-share-{i}");
            let mut events = self.events(&name).await?;
            let written = Instant::now();
            self.api().create(&PostParams::default(), &pod(&name, "")).await?;
            let seen = until(&mut events, |_| true).await?;
            running.push(until(&mut events, is_running).await?.duration_since(written));
            let called = self.runtime.first_call("RunPodSandbox", &format!("default/{name}"));
            let called = called.context("the runtime was not asked for a sandbox")?;
            first.push(called.saturating_duration_since(seen));
            watch.push(seen.duration_since(written));
            let ended = Instant::now();
            ensure!(self.runtime.exit(&name, "c", 1), "nothing of {name} runs");
            exit.push(until(&mut events, has_restarted).await?.duration_since(ended));
            let deleted = Instant::now();
            self.api().delete(&name, &DeleteParams::default()).await?;
            gone.push(end(&mut events).await?.duration_since(deleted));
        }
        Ok(Shares {
            first_call: super::median(&mut first),
            running: super::median(&mut running),
            exit: super::median(&mut exit),
            gone: super::median(&mut gone),
            watch: super::median(&mut watch),
        })
    }

    /// How long each of `pods` pods that are made at once takes to run, shortest first. Of those, `hanging` never do: the
    /// runtime does not answer for them; they are not among the times.
    pub(crate) async fn burst(&self, pods: usize, hanging: usize) -> Result<Vec<Duration>> {
        if hanging > 0 {
            let subject = "hollow-hang-".to_owned();
            self.runtime.add_rule(Rule {
                call: "RunPodSandbox".to_owned(),
                subject,
                times: None,
                effect: Effect::Hang,
            });
        }
        let params = WatchParams::default().labels("bench=hollow");
        let version = self.api().list(&ListParams::default()).await?.metadata.resource_version;
        let mut events = self.api().watch(&params, &version.unwrap_or_default()).await?.boxed();
        let begun = Instant::now();
        let client = self.api();
        let making = futures::stream::iter(0..pods)
            .map(|i| {
                let kind = if i < hanging { "hang" } else { "run" };
                let (api, pod) = (client.clone(), pod(&format!("hollow-{kind}-{i}"), "hollow"));
                async move { api.create(&PostParams::default(), &pod).await }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>();
        let watching = async {
            let mut times = Vec::new();
            let mut known = std::collections::BTreeSet::new();
            while times.len() < pods - hanging {
                let event = timeout(LIMIT, events.try_next()).await;
                let event = event.with_context(|| format!("{} of {pods} pods run", times.len()))??;
                match event {
                    Some(WatchEvent::Modified(p)) if is_running(&p) => {
                        if known.insert(p.metadata.name.unwrap_or_default()) {
                            times.push(begun.elapsed());
                        }
                    }
                    Some(WatchEvent::Error(e)) => bail!("watching pods: {e:?}"),
                    Some(_) => {}
                    None => bail!("the watch ended"),
                }
            }
            Ok(times)
        };
        let (made, times) = futures::join!(making, watching);
        made?;
        times
    }

    /// Deletes what a burst has made.
    pub(crate) async fn clear(&self) -> Result<()> {
        self.runtime.set_script(Script::default());
        let params = ListParams::default().labels("bench=hollow");
        self.api().delete_collection(&DeleteParams::default(), &params).await?;
        let end = Instant::now() + LIMIT;
        loop {
            let left = self.api().list_metadata(&params).await?.items.len();
            if left == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{left} pods are left after {LIMIT:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn api(&self) -> Api<Pod> {
        Api::default_namespaced(self.client.clone())
    }

    async fn events(&self, name: &str) -> Result<BoxStream<'static, kube::Result<WatchEvent<Pod>>>> {
        let params = WatchParams::default().fields(&format!("metadata.name={name}"));
        let version = self.api().list(&ListParams::default()).await?.metadata.resource_version;
        Ok(self.api().watch(&params, &version.unwrap_or_default()).await?.boxed())
    }
}

async fn credentials(cluster: &Cluster, programs: &Programs, output: PathBuf) -> Result<PathBuf> {
    let made = Command::new(&programs.apiserver)
        .arg("credentials")
        .arg("--data-dir")
        .arg(cluster.layout().apiserver())
        .args(["--user", &format!("system:node:{NODE}"), "--group", "system:nodes", "--server"])
        .arg(cluster.server())
        .arg("--output")
        .arg(&output)
        .status()
        .await
        .context("making credentials")?;
    ensure!(made.success(), "making credentials: {made}");
    Ok(output)
}

type NodeEvents = BoxStream<'static, kube::Result<WatchEvent<Node>>>;

/// What happens to the hollow node's object from now on.
async fn node_events(client: &Client) -> Result<NodeEvents> {
    let api: Api<Node> = Api::all(client.clone());
    let version = api.list(&ListParams::default()).await?.metadata.resource_version;
    let params = WatchParams::default().fields(&format!("metadata.name={NODE}"));
    Ok(api.watch(&params, &version.unwrap_or_default()).await?.boxed())
}

/// When the object was first written with a node that is ready.
async fn ready(mut events: NodeEvents) -> Result<Instant> {
    let found = async {
        while let Some(event) = events.try_next().await? {
            let (WatchEvent::Added(node) | WatchEvent::Modified(node)) = event else { continue };
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            if conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True") {
                return Ok(Instant::now());
            }
        }
        bail!("the watch of the hollow node ended")
    };
    timeout(LIMIT, found).await.with_context(|| format!("the hollow node is not ready after {LIMIT:?}"))?
}

type Events = BoxStream<'static, kube::Result<WatchEvent<Pod>>>;

/// When the first event came in which the pod is as `holds` says.
async fn until(events: &mut Events, holds: impl Fn(&Pod) -> bool) -> Result<Instant> {
    let found = async {
        loop {
            match events.try_next().await? {
                Some(WatchEvent::Added(p) | WatchEvent::Modified(p)) if holds(&p) => {
                    return Ok(Instant::now());
                }
                Some(WatchEvent::Error(e)) => bail!("watching a pod: {e:?}"),
                Some(_) => {}
                None => bail!("the watch of a pod ended"),
            }
        }
    };
    timeout(LIMIT, found).await.with_context(|| format!("the pod is not so after {LIMIT:?}"))?
}

async fn end(events: &mut Events) -> Result<Instant> {
    let found = async {
        while let Some(event) = events.try_next().await? {
            if matches!(event, WatchEvent::Deleted(_)) {
                return Ok(Instant::now());
            }
        }
        bail!("the watch of a pod ended")
    };
    timeout(LIMIT, found).await.with_context(|| format!("the pod is not gone after {LIMIT:?}"))?
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running")
}

/// The exit is told: as the container's state, or as its last one where it runs again already.
fn has_restarted(pod: &Pod) -> bool {
    let container = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()).and_then(|c| c.first());
    container.is_some_and(|c| {
        let ended = |state: &Option<k8s_openapi::api::core::v1::ContainerState>| {
            state.as_ref().is_some_and(|s| s.terminated.is_some())
        };
        ended(&c.state) || ended(&c.last_state)
    })
}

fn pod(name: &str, label: &str) -> Pod {
    let pod = json!({
        "metadata": { "name": name, "labels": { "bench": label } },
        "spec": { "nodeName": NODE, "containers": [{ "name": "c", "image": "img:1", "command": ["/serve"] }] },
    });
    serde_json::from_value(pod).expect("the literal is a pod")
}
