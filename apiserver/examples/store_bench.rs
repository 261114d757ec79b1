//! Measures the store and the watch cache without HTTP: `store_bench [DIR] [SECONDS]`. Prints one JSON object.
//!
//! * `writes_per_second`: updates of pod-sized objects by 1 and by 16 writers, each acknowledged when it is on the disk.
//! * `fan_out`: 100 watchers of one resource while 16 writers write; deliveries per second over all watchers, and how long after
//!   its acknowledgement the last watcher had an event.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use apiserver::cache::{Cache, Limits, WatchItem, WatchQuery, WatchStart};
use apiserver::store::Embedded;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

const WATCHERS: usize = 100;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments.next().map_or(Ok(3), |s| s.parse()).context("SECONDS is a number")?;
    let path = dir.join(format!("store-bench-{}.redb", std::process::id()));
    let measured = measure(&path, Duration::from_secs(seconds)).await;
    std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    println!("{}", measured?);
    Ok(())
}

async fn measure(path: &std::path::Path, time: Duration) -> anyhow::Result<Value> {
    let cache = Cache::open(Arc::new(Embedded::open(path)?), Limits::default()).await?;
    let one = write(&cache, "one", 1, time).await?;
    let sixteen = write(&cache, "sixteen", 16, time).await?;

    let (stop, stopped) = watch::channel(false);
    let mut watchers = JoinSet::new();
    for _ in 0..WATCHERS {
        let query = WatchQuery { prefix: "pods/".to_owned(), start: WatchStart::Now, bookmark_every: None };
        let mut watcher = cache.watch(query).await?;
        let mut stopped = stopped.clone();
        watchers.spawn(async move {
            // Per event: its revision and when it was seen.
            let mut seen: Vec<(u64, Instant)> = Vec::new();
            let mut bytes = 0;
            loop {
                let batch = tokio::select! {
                    batch = watcher.next_batch() => batch?,
                    _ = stopped.wait_for(|stop| *stop) => return anyhow::Ok((seen, bytes)),
                };
                for item in batch {
                    if let WatchItem::Event(event) = item {
                        let sight = event.seen_by_all();
                        bytes += event.encoded(0, &sight, |s| Bytes::from(s.object.to_json())).len();
                        seen.push((event.revision(), Instant::now()));
                    }
                }
            }
        });
    }
    let fanned = write(&cache, "fanned", 16, time).await?;
    // The last events are under way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    stop.send_replace(true);

    let mut delivered = 0;
    let mut last_seen = std::collections::HashMap::new();
    while let Some(watcher) = watchers.join_next().await {
        let (seen, _bytes) = watcher??;
        delivered += seen.len();
        for (revision, at) in seen {
            let last = last_seen.entry(revision).or_insert(at);
            *last = (*last).max(at);
        }
    }
    let expected = fanned.acknowledged.len() * WATCHERS;
    anyhow::ensure!(delivered == expected, "{delivered} of {expected} events were delivered");
    let lags = fanned
        .acknowledged
        .iter()
        .filter_map(|(revision, at)| last_seen.get(revision).map(|seen| seen.saturating_duration_since(*at)));
    Ok(json!({
        "object_bytes": serde_json::to_vec(&pod(0))?.len(),
        "one_writer": one.report(),
        "sixteen_writers": sixteen.report(),
        "fan_out": {
            "watchers": WATCHERS,
            "writers": fanned.report(),
            "deliveries_per_second": (delivered as f64 / fanned.time.as_secs_f64()).round(),
            "last_watcher_lag_ms": percentiles(lags.collect()),
        },
    }))
}

struct Run {
    time: Duration,
    latencies: Vec<Duration>,
    acknowledged: Vec<(u64, Instant)>,
}

impl Run {
    fn report(&self) -> Value {
        json!({
            "writes_per_second": (self.latencies.len() as f64 / self.time.as_secs_f64()).round(),
            "latency_ms": percentiles(self.latencies.clone()),
        })
    }
}

/// Updates as fast as they are acknowledged, each writer its own object.
async fn write(cache: &Arc<Cache>, name: &str, writers: usize, time: Duration) -> anyhow::Result<Run> {
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let cache = cache.clone();
        let key = format!("pods/default/{name}-{writer}");
        tasks.spawn(async move {
            let (mut latencies, mut acknowledged) = (Vec::new(), Vec::new());
            let mut revision = None;
            for i in 0_u64.. {
                let begin = Instant::now();
                if begin - start >= time {
                    break;
                }
                let object = match revision {
                    None => cache.create(&key, pod(i)).await?,
                    Some(at) => cache.update(&key, pod(i), at).await?,
                };
                let end = Instant::now();
                latencies.push(end - begin);
                acknowledged.push((object.revision(), end));
                revision = Some(object.revision());
            }
            anyhow::Ok((latencies, acknowledged))
        });
    }
    let mut run = Run { time, latencies: Vec::new(), acknowledged: Vec::new() };
    while let Some(task) = tasks.join_next().await {
        let (latencies, acknowledged) = task??;
        run.latencies.extend(latencies);
        run.acknowledged.extend(acknowledged);
    }
    run.time = start.elapsed();
    Ok(run)
}

fn percentiles(mut durations: Vec<Duration>) -> Value {
    durations.sort_unstable();
    let at = |part: f64| {
        let index = (durations.len() as f64 * part) as usize;
        durations.get(index.min(durations.len().saturating_sub(1))).map_or(0.0, |d| d.as_secs_f64() * 1000.0)
    };
    json!({"p50": at(0.5), "p99": at(0.99), "max": at(1.0)})
}

/// About what a pod weighs with its status.
fn pod(i: u64) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bench", "namespace": "default", "labels": {"app": "bench"}, "generation": i},
        "spec": {"containers": [{"name": "c", "image": "nodelet.dev/busybox:1", "env": "x".repeat(1200)}]},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "message": "y".repeat(800)},
    })
}
