//! How long a pod takes to start, beside the bare calls to the runtime.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cri_client::{Client as Cri, v1};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::median;

const IMAGE: &str = "nodelet.dev/busybox:1";
const NAMESPACE: &str = "default";
/// A pod's own.
const GRACE: Duration = Duration::from_secs(30);
const POD_LIMIT: Duration = Duration::from_secs(60);
/// Tries of one measurement of bare calls: the node agent stops a sandbox that is not its own when its audit falls into the run.
const TRIES: usize = 3;

/// Both medians over the same number of pods, taken in turns.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) pods: usize,
    pub(super) running: Duration,
    pub(super) floor: Duration,
    pub(super) gone: Duration,
    /// The bare calls that end a pod.
    pub(super) stop_floor: Duration,
}

pub(super) async fn measure(client: &Client, cri: &Cri, node: &str, pods: usize) -> Result<Start> {
    let (mut running, mut floor, mut gone, mut stop) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for i in 0..pods {
        let (up, down) =
            one_pod(client, &format!("bench-start-{i}"), &pod(&format!("bench-start-{i}"), node)).await?;
        running.push(up);
        gone.push(down);
        let (up, down) = bare(cri, i).await?;
        floor.push(up);
        stop.push(down);
    }
    Ok(Start {
        pods,
        running: median(&mut running),
        floor: median(&mut floor),
        gone: median(&mut gone),
        stop_floor: median(&mut stop),
    })
}

/// From the write to the watch event that says Running, and from the delete to the one that says it is gone.
pub(super) async fn one_pod(client: &Client, name: &str, pod: &Pod) -> Result<(Duration, Duration)> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let version = api.list(&Default::default()).await?.metadata.resource_version.unwrap_or_default();
    let mut events = api.watch(&params, &version).await?.boxed();
    let begin = Instant::now();
    api.create(&PostParams::default(), pod).await?;
    let up = timeout(POD_LIMIT, async {
        loop {
            match events.try_next().await? {
                Some(WatchEvent::Added(p) | WatchEvent::Modified(p)) if is_running(&p) => {
                    return Ok(begin.elapsed());
                }
                Some(WatchEvent::Error(e)) => bail!("watching pod {name}: {e:?}"),
                Some(_) => {}
                None => bail!("the watch of pod {name} ended"),
            }
        }
    });
    let up = up.await.with_context(|| format!("pod {name} is not Running after {POD_LIMIT:?}"))??;
    let begin = Instant::now();
    api.delete(name, &DeleteParams::default()).await?;
    let down = timeout(POD_LIMIT, async {
        loop {
            match events.try_next().await? {
                Some(WatchEvent::Deleted(_)) => return Ok(begin.elapsed()),
                Some(WatchEvent::Error(e)) => bail!("watching pod {name}: {e:?}"),
                Some(_) => {}
                None => bail!("the watch of pod {name} ended"),
            }
        }
    });
    let down = down.await.with_context(|| format!("pod {name} is not gone after {POD_LIMIT:?}"))??;
    Ok((up, down))
}

fn is_running(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    status.and_then(|s| s.phase.as_deref()) == Some("Running")
        && status.and_then(|s| s.container_statuses.as_ref()).is_some_and(|c| c.iter().all(|c| c.ready))
}

/// A pod that ends at once when it is told to.
pub(super) fn pod(name: &str, node: &str) -> Pod {
    let pod = json!({
        "metadata": { "name": name, "labels": { "bench": "true" } },
        "spec": {
            "nodeName": node,
            "containers": [{ "name": "c", "image": IMAGE, "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"] }],
        },
    });
    serde_json::from_value(pod).expect("the literal is a pod")
}

/// When each of so many pods that are made at once was Running, as a watcher sees it; the first one first.
pub(super) async fn pods_burst(client: &Client, node: &str, pods: usize) -> Result<Vec<Duration>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let params = WatchParams::default().labels("bench=true");
    let version = api.list(&Default::default()).await?.metadata.resource_version.unwrap_or_default();
    let mut events = api.watch(&params, &version).await?.boxed();
    let begun = Instant::now();
    let making = futures::stream::iter(0..pods)
        .map(|i| {
            let (api, pod) = (api.clone(), pod(&format!("burst-{i}"), node));
            async move { api.create(&PostParams::default(), &pod).await }
        })
        .buffer_unordered(pods)
        .try_collect::<Vec<_>>();
    let watching = async {
        let (mut times, mut known) = (Vec::new(), std::collections::BTreeSet::new());
        while times.len() < pods {
            let event = timeout(POD_LIMIT, events.try_next()).await;
            match event.with_context(|| format!("{} of {pods} pods run", times.len()))?? {
                Some(WatchEvent::Modified(p)) if is_running(&p) => {
                    if known.insert(p.metadata.name.unwrap_or_default()) {
                        times.push(begun.elapsed());
                    }
                }
                Some(WatchEvent::Error(e)) => bail!("watching pods: {e:?}"),
                Some(_) => {}
                None => bail!("the watch of the pods ended"),
            }
        }
        Ok(times)
    };
    let (made, times) = futures::join!(making, watching);
    made?;
    times
}

/// When each of so many bare starts was done, with `in_flight` of them at once; the first one first.
pub(super) async fn bare_burst(cri: &Cri, starts: usize, in_flight: usize) -> Result<Vec<Duration>> {
    let begun = Instant::now();
    let done: Vec<_> = futures::stream::iter(0..starts)
        .map(|i| async move {
            let name = format!("burst-{in_flight}-{i}");
            let made = bare_up(cri, &name).await?;
            Ok::<_, anyhow::Error>((begun.elapsed(), made))
        })
        .buffer_unordered(in_flight)
        .collect()
        .await;
    let mut times = Vec::new();
    let mut first_error = None;
    let mut removing = Vec::new();
    for result in done {
        match result {
            Ok((at, made)) => {
                times.push(at);
                removing.push(bare_down(cri, made));
            }
            Err(error) => drop(first_error.get_or_insert(error)),
        }
    }
    let removed: Vec<_> = futures::stream::iter(removing).buffer_unordered(4).collect().await;
    removed.into_iter().collect::<Result<Vec<_>>>()?;
    times.sort_unstable();
    first_error.map_or(Ok(times), Err)
}

/// The calls that nobody can do without: sandbox, create, start; and those of the end: stop both.
async fn bare(cri: &Cri, run: usize) -> Result<(Duration, Duration)> {
    let mut last = None;
    for attempt in 0..TRIES {
        match bare_once(cri, &format!("bare-{run}-{attempt}")).await {
            Ok(took) => return Ok(took),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no try"))).context("the bare calls to the runtime")
}

async fn bare_once(cri: &Cri, name: &str) -> Result<(Duration, Duration)> {
    let begin = Instant::now();
    let made = bare_up(cri, name).await?;
    let up = begin.elapsed();
    let begin = Instant::now();
    let stopped = async {
        cri.stop_container(&made.container, GRACE).await?;
        cri.stop_pod_sandbox(&made.sandbox).await
    };
    let stopped = stopped.await;
    let down = begin.elapsed();
    bare_down(cri, made).await?;
    stopped?;
    Ok((up, down))
}

/// A sandbox with a running container, made without a node agent.
struct Bare {
    sandbox: String,
    container: String,
    logs: std::path::PathBuf,
}

async fn bare_up(cri: &Cri, name: &str) -> Result<Bare> {
    let logs = std::env::temp_dir().join(format!("nodelet-bench-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
    let sandbox = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: NAMESPACE.to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: logs.to_string_lossy().into_owned(),
        linux: Some(v1::LinuxPodSandboxConfig::default()),
        ..Default::default()
    };
    let container = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: IMAGE.to_owned(), ..Default::default() }),
        command: ["sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait"].map(str::to_owned).to_vec(),
        log_path: "0.log".to_owned(),
        labels: HashMap::new(),
        linux: Some(v1::LinuxContainerConfig::default()),
        ..Default::default()
    };
    let id = cri.run_pod_sandbox(sandbox.clone(), String::new()).await?;
    let mut made = Bare { sandbox: id, container: String::new(), logs };
    let started = async {
        made.container = cri.create_container(&made.sandbox, container, sandbox).await?;
        cri.start_container(&made.container).await
    };
    match started.await {
        Ok(()) => Ok(made),
        Err(error) => {
            bare_down(cri, made).await?;
            Err(error.into())
        }
    }
}

async fn bare_down(cri: &Cri, made: Bare) -> Result<()> {
    cri.stop_pod_sandbox(&made.sandbox).await?;
    cri.remove_pod_sandbox(&made.sandbox).await?;
    std::fs::remove_dir_all(&made.logs).with_context(|| format!("removing {}", made.logs.display()))
}
