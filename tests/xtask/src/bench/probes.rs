//! Many probes of one node: whether they keep to their time, what they cost, and that they harm nobody.
//!
//! The node is a hollow one. All probes ask one server in this process, which notes when each of them came; a thread of its own
//! answers, so that what else the bench does is not in the figures.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::cost;
use super::hollow::{Hollow, NODE};

/// Each with a liveness and a readiness probe.
const PODS: usize = 250;
const PERIOD: Duration = Duration::from_secs(1);
/// One that comes so little before its beat belongs to it.
const EARLY: Duration = Duration::from_millis(5);
/// Each with three probes.
const PODS_OF_COST: usize = 100;
const AT_ONCE: usize = 16;
/// Of a request's head, which is read until its end.
const MAX_HEAD: usize = 4096;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";

/// How well probes keep to their time.
pub(super) struct Lateness {
    pub(super) probes: usize,
    pub(super) requests: usize,
    /// Behind the beat of the probe itself.
    pub(super) median: Duration,
    pub(super) p99: Duration,
    pub(super) most: Duration,
    /// Beats at which nobody came.
    pub(super) missed: usize,
    /// Containers that were restarted, and pods that are not ready, though the server always said yes.
    pub(super) restarts: usize,
    pub(super) not_ready: usize,
    pub(super) processor: Duration,
}

/// Probes of a second each, for `length`.
pub(super) async fn lateness(node: &Hollow, length: Duration) -> Result<Lateness> {
    let server = Server::start().await?;
    let pods = (0..PODS).map(|i| {
        let probe = |kind: &str| server.probe(&format!("/{i}/{kind}"), 1);
        pod(&i.to_string(), json!([container("a", &[("liveness", probe("l")), ("readiness", probe("r"))])]))
    });
    run(node, pods.collect()).await?;
    sleep(super::SETTLE).await;
    server.forget();
    let (before, begun) = (cost::used(node.pid()?)?, Instant::now());
    sleep(length).await;
    let spent = cost::used(node.pid()?)?.since(&before).processor;
    let processor = spent.mul_f64(60.0 / begun.elapsed().as_secs_f64());
    let came = server.forget();
    let (restarts, not_ready) = harmed(node).await?;
    let mut late: Vec<Duration> = Vec::new();
    let mut missed = 0;
    for times in came.values() {
        let (behind, gaps) = behind(times);
        late.extend(behind);
        missed += gaps;
    }
    late.sort_unstable();
    let at = |part: f64| late.get((late.len() as f64 * part) as usize).copied().unwrap_or_default();
    Ok(Lateness {
        probes: came.len(),
        requests: late.len(),
        median: at(0.5),
        p99: at(0.99),
        most: late.last().copied().unwrap_or_default(),
        missed,
        restarts,
        not_ready,
        processor,
    })
}

/// What a minute costs the daemon with three probes of each pod every ten seconds, and without them.
pub(super) async fn cost_of_probes(node: &Hollow) -> Result<(cost::Spent, cost::Spent)> {
    let server = Server::start().await?;
    let pods = |probed: bool| -> Vec<Pod> {
        let probe = |i: usize, kind: &str| server.probe(&format!("/{i}/{kind}"), 10);
        let made = (0..PODS_OF_COST).map(|i| {
            let (first, second) = if probed {
                let first = vec![("liveness", probe(i, "l")), ("readiness", probe(i, "r"))];
                (first, vec![("readiness", probe(i, "s"))])
            } else {
                (Vec::new(), Vec::new())
            };
            pod(&i.to_string(), json!([container("a", &first), container("b", &second)]))
        });
        made.collect()
    };
    run(node, pods(false)).await?;
    let (_, without) = node.idle().await?;
    node.clear().await?;
    run(node, pods(true)).await?;
    server.forget();
    let (_, with) = node.idle().await?;
    let came = server.forget();
    ensure!(came.len() == PODS_OF_COST * 3, "{} of {} probes came", came.len(), PODS_OF_COST * 3);
    ensure!(harmed(node).await? == (0, 0), "pods were harmed by probes that all succeed");
    node.clear().await?;
    Ok((with, without))
}

/// How far behind its beat each came, and how many beats nobody came at. The beat is that of the earliest of the first ten: a stall of
/// the machine makes those after it late, not those before it early.
fn behind(times: &[Instant]) -> (Vec<Duration>, usize) {
    let Some(start) = times.first() else { return (Vec::new(), 0) };
    let period = PERIOD.as_nanos() as i128;
    let since = |time: &Instant| time.duration_since(*start).as_nanos() as i128;
    let phase = |nanos: i128| (nanos + period / 2).rem_euclid(period) - period / 2;
    let beat = times.iter().take(10).map(|time| phase(since(time))).min().unwrap_or(0);
    let slack = EARLY.as_nanos() as i128;
    let mut last = -1;
    let mut missed = 0;
    let mut behind = Vec::with_capacity(times.len());
    for time in times {
        let after = since(time) - beat;
        let number = (after + slack).div_euclid(period);
        missed += usize::try_from(number - last - 1).unwrap_or(0);
        last = number;
        behind.push(Duration::from_nanos(u64::try_from(after - number * period).unwrap_or(0)));
    }
    (behind, missed)
}

/// Containers that were restarted, and pods that are not ready.
async fn harmed(node: &Hollow) -> Result<(usize, usize)> {
    let pods = node.api().list(&ListParams::default().labels("bench=hollow")).await?.items;
    let statuses =
        || pods.iter().filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref()).flatten();
    let restarts = statuses().filter(|status| status.restart_count > 0).count();
    Ok((restarts, statuses().filter(|status| !status.ready).count()))
}

async fn run(node: &Hollow, pods: Vec<Pod>) -> Result<()> {
    let (api, count) = (node.api(), pods.len());
    let params = PostParams::default();
    let mut making =
        futures::stream::iter(&pods).map(|pod| api.create(&params, pod)).buffer_unordered(AT_ONCE);
    while let Some(made) = making.next().await {
        made?;
    }
    let end = Instant::now() + super::PODS_LIMIT;
    loop {
        let pods = api.list(&ListParams::default().labels("bench=hollow")).await?.items;
        let is_ready = |pod: &&Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
            conditions.unwrap_or_default().iter().any(|c| c.type_ == "Ready" && c.status == "True")
        };
        let ready = pods.iter().filter(is_ready).count();
        if ready == count {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{ready} of {count} pods are ready");
        sleep(Duration::from_millis(100)).await;
    }
}

fn container(name: &str, probes: &[(&str, Value)]) -> Value {
    let mut container = json!({ "name": name, "image": "img:1", "command": ["/serve"] });
    for (kind, probe) in probes {
        container[format!("{kind}Probe")] = probe.clone();
    }
    container
}

fn pod(name: &str, containers: Value) -> Pod {
    let pod = json!({
        "metadata": { "name": format!("probed-{name}"), "labels": { "bench": "hollow" } },
        "spec": { "nodeName": NODE, "terminationGracePeriodSeconds": 1, "containers": containers },
    });
    serde_json::from_value(pod).expect("the literal is a pod")
}

type Came = Arc<Mutex<HashMap<String, Vec<Instant>>>>;

/// Says yes to everything.
struct Server {
    port: u16,
    came: Came,
    /// Ends the thread when it is dropped.
    _until: tokio::sync::oneshot::Sender<()>,
}

impl Server {
    async fn start() -> Result<Self> {
        let came = Came::default();
        let (until, end) = tokio::sync::oneshot::channel();
        let (tell, told) = tokio::sync::oneshot::channel();
        let seen = Arc::clone(&came);
        std::thread::Builder::new().name("probed".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                // Whoever has asked for it waits.
                let _ = tell.send(listener.local_addr()?.port());
                let serving = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(answer(stream, Arc::clone(&seen), Instant::now()));
                    }
                };
                tokio::select! {
                    () = serving => {}
                    _ = end => {}
                }
                Ok::<_, std::io::Error>(())
            })
        })?;
        Ok(Self { port: told.await.context("the server does not begin")?, came, _until: until })
    }

    fn probe(&self, path: &str, period: u32) -> Value {
        let get = json!({ "host": "127.0.0.1", "port": self.port, "path": path });
        json!({ "httpGet": get, "periodSeconds": period })
    }

    /// When each probe came, by its path, since this was asked last.
    fn forget(&self) -> HashMap<String, Vec<Instant>> {
        std::mem::take(&mut *self.came.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn answer(mut stream: TcpStream, came: Came, at: Instant) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MAX_HEAD || !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
            return;
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    came.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_default().push(at);
    // The daemon does not read what it has seen enough of.
    let _ = stream.write_all(ANSWER).await;
}
