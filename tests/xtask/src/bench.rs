//! `bench`: the figures that SPECIFICATION.md keeps, measured with the release programs on this machine.
//!
//! Absolute times wander with the machine; what counts is what stands beside each other in one run.
//!
//! | module | measures |
//! |---|---|
//! | `cost` | memory and processor time of a process |
//! | `start` | the start and the end of a pod, beside the bare calls to the runtime |
//! | `hollow` | the daemon alone, beside a runtime that answers at once; a thousand pods; pods that hang |
//! | `logs` | rotation beside a container that writes without a pause; following a log |
//! | `probes` | whether many probes keep to their time, and what they cost |
//! | `store` | writes and watches of the API server |
//! | `streams` | exec through port 10250, beside the runtime's own URL |
//! | `volumes` | what ten config maps and ten secrets add to the start of a pod |

mod cost;
mod hollow;
mod logs;
mod probes;
mod start;
mod store;
mod streams;
mod volumes;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use cri_client::Client as Cri;
use futures::{StreamExt, TryStreamExt};
use harness::cluster::Programs;
use harness::progress::Progress;
use harness::{Cluster, ClusterOptions, cache};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Map;
use tokio::time::{Instant, sleep};

use crate::arguments::{Bench, Profile};
use crate::{EXIT_FAILED, build};

const STARTS: usize = 20;
const PODS: usize = 50;
/// Bare starts at once that are tried.
const IN_FLIGHT: [usize; 5] = [1, 2, 4, 8, 50];
const SHARES: usize = 50;
const RESTARTED: usize = 100;
const RESTARTS: usize = 5;
const HANG_OF: usize = 200;
const HANGING: usize = 20;
const MANY: usize = 1000;
const WRITERS: usize = 16;
const WATCHERS: usize = 100;
const LOG_LIMIT_BYTES: u64 = 10 << 20;
const FLOOD: Duration = Duration::from_secs(20);
const FOLLOW_BYTES: u64 = 1_000_000_000;
const LIVE_BYTES: u64 = 100_000_000;
const MINUTE: Duration = Duration::from_secs(60);
const SETTLE: Duration = Duration::from_secs(10);
const PODS_LIMIT: Duration = Duration::from_secs(180);
const AT_ONCE: usize = 16;

/// What is measured.
struct Subject<'a> {
    /// Name of the node.
    node: &'a str,
    /// Processes.
    nodelet: u32,
    apiserver: u32,
    config: Config,
    cri: &'a Cri,
}

/// Brings up a cluster of its own, measures, prints row by row, and stops it.
pub(crate) async fn run(bench: &Bench) -> Result<ExitCode> {
    if cfg!(debug_assertions) {
        return released(bench).await;
    }
    let progress = Progress::stderr();
    let programs = progress.loud_step("building the programs", build::programs(Profile::Release)).await?;
    let options = ClusterOptions {
        dir: cache::cache_dir()?.join("bench"),
        nodes: None,
        programs: Programs::in_dir(&programs)?,
        resume: false,
        kubelet: Map::new(),
        flags: Vec::new(),
        apiserver_flags: Vec::new(),
        images: Vec::new(),
        verbosity: 0,
        progress: progress.clone(),
    };
    let cluster = Cluster::start(options).await.context("starting the cluster")?;
    let measured = measure(&cluster, &programs, bench).await;
    cluster.stop().await.context("stopping the cluster")?;
    measured.map(|()| ExitCode::SUCCESS)
}

/// The same by this program built for release: the fake runtime and the watchers of the bench take part in what is measured.
async fn released(options: &Bench) -> Result<ExitCode> {
    let mut cargo = build::cargo();
    cargo.args(["run", "--quiet", "--release", "--package", "xtask", "--", "bench"]).args(&options.parts);
    cargo.args(["--minutes", &options.minutes.to_string()]);
    let status = cargo.status().await.context("starting cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILED);
    Ok(ExitCode::from(code))
}

async fn measure(cluster: &Cluster, programs: &Path, options: &Bench) -> Result<()> {
    let wanted = |part: &str| options.parts.is_empty() || options.parts.iter().any(|p| p == part);
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).context("reading the kubeconfig")?;
    let node = cluster.node(0);
    let subject = Subject {
        node: node.name(),
        nodelet: node.nodelet().pid().context("nodelet does not run")?,
        apiserver: cluster.apiserver().pid().context("the API server does not run")?,
        config: Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?,
        cri: node.cri(),
    };
    for program in ["nodelet", "apiserver", "scheduler"] {
        let path = programs.join(program);
        let bytes = std::fs::metadata(&path).with_context(|| format!("reading {}", path.display()))?.len();
        row(&format!("binary {program}"), &format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)));
    }
    if wanted("pods") {
        pods(&subject).await?;
    }
    if wanted("burst") {
        burst(&subject, node).await?;
    }
    if wanted("volumes") {
        let client = Client::try_from(subject.config.clone())?;
        let found = volumes::measure(&client, subject.node, node.dir(), STARTS).await?;
        row(&format!("pod start without volumes, median of {}", found.pods), &millis(found.plain));
        row("pod start with 10 config maps and 10 secrets", &millis(found.first));
        row("  of which another pod reads, too", &millis(found.shared));
        row("  bare directories, tmpfs, files and links", &millis(found.writes));
        let added = |with: Duration| millis(with.saturating_sub(found.plain).saturating_sub(found.writes));
        row("  above plain pod and bare writes", &format!("{}, {}", added(found.first), added(found.shared)));
    }
    if wanted("hollow") {
        hollow(cluster, &Programs::in_dir(programs)?, &subject.config).await?;
    }
    if wanted("logs") {
        logs(&subject, node).await?;
    }
    if wanted("probes") {
        probes(cluster, &Programs::in_dir(programs)?, &subject.config, options.minutes).await?;
    }
    if wanted("store") {
        store(&subject).await?;
    }
    if wanted("streams") {
        streams(&subject, cluster).await?;
    }
    Ok(())
}

/// Pods on a real runtime.
async fn pods(subject: &Subject<'_>) -> Result<()> {
    let client = Client::try_from(subject.config.clone())?;
    idle(subject, 0).await?;
    let start = start::measure(&client, subject.cri, subject.node, STARTS).await?;
    row(&format!("pod start, median of {}", start.pods), &millis(start.running));
    row("  bare sandbox + create + start", &millis(start.floor));
    row("  above the bare calls", &millis(start.running.saturating_sub(start.floor)));
    row("pod delete to gone, median", &millis(start.gone));
    row("  bare stop of container + sandbox", &millis(start.stop_floor));
    make_pods(&client, subject.node).await?;
    idle(subject, PODS).await?;
    remove_pods(&client).await
}

/// Many starts at once, beside the bare calls with fixed numbers of them in flight.
async fn burst(subject: &Subject<'_>, node: &harness::cluster::Node) -> Result<()> {
    let client = Client::try_from(subject.config.clone())?;
    let told = |times: &[Duration]| {
        let at = |place: usize| times.get(place).copied().unwrap_or_default();
        format!("{}, {}, {}", seconds(at(0)), seconds(at(times.len() / 2)), seconds(at(times.len() - 1)))
    };
    // The daemon would take bare sandboxes for orphans.
    node.stop().await?;
    for in_flight in IN_FLIGHT {
        let times = start::bare_burst(subject.cri, PODS, in_flight).await?;
        row(&format!("bare starts, {in_flight} in flight: first, half, all {PODS}"), &told(&times));
    }
    node.start().await?;
    let times = start::pods_burst(&client, subject.node, PODS).await?;
    row(&format!("pods at once: first, half, all {PODS} Running"), &told(&times));
    let begin = Instant::now();
    remove_pods(&client).await?;
    row(&format!("{PODS} pods deleted at once, all gone"), &seconds(begin.elapsed()));
    Ok(())
}

async fn store(subject: &Subject<'_>) -> Result<()> {
    let store = store::measure(&subject.config, WRITERS, WATCHERS).await?;
    row(
        &format!("apiserver: writes, {} writers", store.writers),
        &format!("{:.0} /s", store.writes_per_second),
    );
    let watched = format!("apiserver: events to {} watchers", store.watchers);
    row(&watched, &format!("{:.0} /s", store.deliveries_per_second));
    row("  write to the last watcher, median", &millis(store.last_watcher));
    row("apiserver: memory after that (PSS)", &mib(cost::memory(subject.apiserver)?.pss_kib));
    Ok(())
}

/// Rotation and following. The node has a kubelet's default of `containerLogMaxSize`.
async fn logs(subject: &Subject<'_>, node: &harness::cluster::Node) -> Result<()> {
    let Subject { node: name, nodelet, config, cri, .. } = subject;
    let bed = logs::Bed { config, cri, node: name, node_ip: node.ip().to_string(), nodelet: *nodelet };
    let flood = bed.flood(LOG_LIMIT_BYTES, FLOOD).await?;
    row("a container writes without a pause", &format!("{:.0} MB/s", flood.bytes_per_second / 1e6));
    row(
        &format!("  largest file, {} rotations", flood.rotations),
        &format!("{:.2} times the limit", flood.largest_bytes as f64 / flood.limit_bytes as f64),
    );
    row(
        "  processor, compression included",
        &format!("{:.2} s a second", flood.processor.as_secs_f64() / flood.took.as_secs_f64()),
    );
    let follow = bed.follow(FOLLOW_BYTES, LIVE_BYTES).await?;
    let per_gb =
        |time: Duration, bytes: u64| format!("{:.2} s a GB", time.as_secs_f64() * 1e9 / bytes as f64);
    row(
        &format!(
            "log followed, {:.0} MB/s: processor",
            follow.bytes as f64 / 1e6 / follow.took.as_secs_f64()
        ),
        &per_gb(follow.processor, follow.bytes),
    );
    row("  plain reading of the same bytes", &per_gb(follow.plain, follow.bytes));
    let alone = follow.live.saturating_sub(follow.rotated);
    row("  while it is written at 10 MB/s: following alone", &per_gb(alone, follow.live_bytes));
    row("  rotation and compression of as much", &per_gb(follow.rotated, follow.live_bytes));
    Ok(())
}

/// Exec, straight at the node's port.
async fn streams(subject: &Subject<'_>, cluster: &Cluster) -> Result<()> {
    let streams = streams::measure(subject, cluster).await?;
    let rate =
        |time: Duration| format!("{:.0} MB/s", streams.megabytes as f64 / time.as_secs_f64().max(1e-9));
    let best = streams.own_socket.min(streams.own_spdy);
    row(&format!("exec, {} MB out, port 10250", streams.megabytes), &rate(streams.port));
    row("  runtime's own URL, SPDY", &rate(streams.own_spdy));
    row("  runtime's own URL, WebSocket", &rate(streams.own_socket));
    row("  of the better one", &format!("{:.2}", best.as_secs_f64() / streams.port.as_secs_f64().max(1e-9)));
    row("  processor of nodelet", &format!("{:.2} s", streams.processor.as_secs_f64()));
    row(&format!("exec of true, median of {}, port 10250", streams.starts), &millis_exact(streams.start));
    row("  runtime's own call and URL, WebSocket", &millis_exact(streams.own_start));
    row("  runtime's own call and URL, SPDY", &millis_exact(streams.own_spdy_start));
    row("  above it", &millis_exact(streams.start.saturating_sub(streams.own_start)));
    row(
        &format!("memory of an idle exec session, of {}", streams.sessions),
        &format!("{:.1} KiB", streams.session_kib),
    );
    Ok(())
}

/// The daemon by itself.
async fn hollow(cluster: &Cluster, programs: &Programs, config: &Config) -> Result<()> {
    let mut node = hollow::Hollow::start(cluster, &Client::try_from(config.clone())?, programs).await?;
    row("start of the daemon to Ready, new node", &millis(node.first_ready));
    let shares = node.shares(SHARES).await?;
    row(&format!("daemon's share, median of {SHARES}, fake runtime"), "");
    row("  watch event to the first call", &millis_exact(shares.first_call));
    row("  write to Running", &millis_exact(shares.running));
    row("  exit to its status", &millis_exact(shares.exit));
    row("  delete to gone", &millis_exact(shares.gone));
    row("  (a write to its watch event alone)", &millis_exact(shares.watch));

    node.burst(RESTARTED, 0).await?;
    let (mut ready, mut looked_at) = (Vec::new(), Vec::new());
    for _ in 0..RESTARTS {
        let (written, seen) = node.restart(RESTARTED).await?;
        ready.push(written);
        looked_at.push(seen);
    }
    row(
        &format!("killed and started with {RESTARTED} pods, median of {RESTARTS}: Ready"),
        &millis(median(&mut ready)),
    );
    row("  each pod looked at", &millis(median(&mut looked_at)));
    node.clear().await?;

    let alone = node.burst(HANG_OF, 0).await?;
    node.clear().await?;
    let beside = node.burst(HANG_OF, HANGING).await?;
    node.clear().await?;
    let spread = |times: &[Duration]| {
        let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default();
        format!("{}, {}", millis(at(0.5)), millis(at(0.99)))
    };
    row(&format!("{HANG_OF} pods at once: median, p99"), &spread(&alone));
    row(&format!("  {HANGING} of them hang: the others"), &spread(&beside));

    let times = node.burst(MANY, 0).await?;
    row(
        &format!("{MANY} pods, from the first write to all Running"),
        &seconds(times.last().copied().unwrap_or_default()),
    );
    let (memory, used) = node.idle().await?;
    row("  memory (PSS)", &mib(memory.pss_kib));
    row("  processor", &format!("{:.3} s a minute", used.processor.as_secs_f64()));
    let begin = Instant::now();
    node.clear().await?;
    row("  all deleted and gone", &seconds(begin.elapsed()));
    Ok(())
}

/// Probes of the daemon alone.
async fn probes(cluster: &Cluster, programs: &Programs, config: &Config, minutes: u64) -> Result<()> {
    let node = hollow::Hollow::start(cluster, &Client::try_from(config.clone())?, programs).await?;
    let kept = probes::lateness(&node, MINUTE * u32::try_from(minutes).unwrap_or(u32::MAX)).await?;
    row(&format!("{} probes of 1 s for {minutes} min", kept.probes), &format!("{} requests", kept.requests));
    let (median, p99, most) = (millis_exact(kept.median), millis_exact(kept.p99), millis_exact(kept.most));
    row("  late: median, p99, most", &format!("{median}, {p99}, {most}"));
    row("  beats missed", &kept.missed.to_string());
    row("  restarted, not ready", &format!("{}, {}", kept.restarts, kept.not_ready));
    row("  processor", &format!("{:.3} s a minute", kept.processor.as_secs_f64()));
    node.clear().await?;
    let (with, without) = probes::cost_of_probes(&node).await?;
    row(
        "100 pods, three HTTP probes each per 10 s",
        &format!("{:.3} s a minute", with.processor.as_secs_f64()),
    );
    row("  without the probes", &format!("{:.3} s a minute", without.processor.as_secs_f64()));
    Ok(())
}

/// Memory, and processor time over a minute in which nothing happens.
async fn idle(subject: &Subject<'_>, pods: usize) -> Result<()> {
    sleep(SETTLE).await;
    let before = cost::used(subject.nodelet)?;
    sleep(MINUTE).await;
    let used = cost::used(subject.nodelet)?.since(&before);
    let memory = cost::memory(subject.nodelet)?;
    row(&format!("nodelet, {pods} pods: memory (PSS)"), &mib(memory.pss_kib));
    row("  of it not backed by a file", &mib(memory.anonymous_kib));
    row(
        &format!("nodelet, {pods} pods: processor"),
        &format!("{:.3} s a minute", used.processor.as_secs_f64()),
    );
    row("  wake-ups", &format!("{:.1} /s", used.switches as f64 / MINUTE.as_secs_f64()));
    Ok(())
}

async fn make_pods(client: &Client, node: &str) -> Result<()> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    futures::stream::iter(0..PODS)
        .map(|i| {
            let (api, pod) = (api.clone(), start::pod(&format!("bench-{i}"), node));
            async move { api.create(&PostParams::default(), &pod).await }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    count_until(&api, "status.phase=Running", PODS).await
}

async fn remove_pods(client: &Client) -> Result<()> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    api.delete_collection(&DeleteParams::default(), &bench_pods()).await?;
    count_until(&api, "", 0).await
}

fn bench_pods() -> ListParams {
    ListParams::default().labels("bench=true")
}

async fn count_until(api: &Api<Pod>, fields: &str, wanted: usize) -> Result<()> {
    let params = bench_pods().fields(fields);
    let end = Instant::now() + PODS_LIMIT;
    loop {
        let count = api.list_metadata(&params).await?.items.len();
        if count == wanted {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "{count} instead of {wanted} pods after {PODS_LIMIT:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The middle one; the lower of two. Sorts.
fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

fn row(what: &str, figure: &str) {
    println!("{what:40} {figure}");
}

fn millis(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

fn millis_exact(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}
