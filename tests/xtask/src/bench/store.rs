//! How fast the API server takes writes and hands them to watchers, through its HTTPS port.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, Config};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const NAMESPACE: &str = "default";
const LABEL: &str = "bench=store";
const WRITE_TIME: Duration = Duration::from_secs(5);
/// Changes that every watcher has to see.
const CHANGES: u64 = 500;
const FAN_OUT_LIMIT: Duration = Duration::from_secs(120);

/// What the API server did, with the load made by this process on the same machine.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) writers: usize,
    pub(super) writes_per_second: f64,
    pub(super) watchers: usize,
    /// Events handed to watchers per second, all watchers together.
    pub(super) deliveries_per_second: f64,
    /// From the start of a change's write to the last watcher's event: the median.
    pub(super) last_watcher: Duration,
}

pub(super) async fn measure(config: &Config, writers: usize, watchers: usize) -> Result<Store> {
    let writes_per_second = writes(config, writers).await.context("writing")?;
    let (deliveries_per_second, last_watcher) = fan_out(config, watchers).await.context("watching")?;
    let api = config_maps(config)?;
    api.delete_collection(&DeleteParams::default(), &ListParams::default().labels(LABEL)).await?;
    Ok(Store { writers, writes_per_second, watchers, deliveries_per_second, last_watcher })
}

/// A client with a connection of its own.
fn config_maps(config: &Config) -> Result<Api<ConfigMap>> {
    Ok(Api::namespaced(Client::try_from(config.clone())?, NAMESPACE))
}

fn config_map(name: &str) -> ConfigMap {
    let (key, value) = LABEL.split_once('=').expect("the label has a value");
    let map = json!({ "metadata": { "name": name, "labels": { key: value } }, "data": { "text": "x".repeat(512) } });
    serde_json::from_value(map).expect("the literal is a config map")
}

async fn writes(config: &Config, writers: usize) -> Result<f64> {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let api = config_maps(config)?;
        tasks.spawn(async move {
            let mut written = 0u32;
            while begin.elapsed() < WRITE_TIME {
                let name = format!("bench-{writer}-{written}");
                api.create(&PostParams::default(), &config_map(&name)).await?;
                written += 1;
            }
            anyhow::Ok(written)
        });
    }
    let mut sum = 0;
    while let Some(done) = tasks.join_next().await {
        sum += done??;
    }
    Ok(f64::from(sum) / begin.elapsed().as_secs_f64())
}

async fn fan_out(config: &Config, watchers: usize) -> Result<(f64, Duration)> {
    let api = config_maps(config)?;
    let name = "bench-watched";
    let made = api.create(&PostParams::default(), &config_map(name)).await?;
    let version = made.metadata.resource_version.unwrap_or_default();
    let ready = Arc::new(Barrier::new(watchers + 1));
    let seen = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..watchers {
        let (api, version) = (config_maps(config)?, version.clone());
        let (ready, seen) = (Arc::clone(&ready), Arc::clone(&seen));
        tasks.spawn(async move {
            let params = WatchParams::default().fields(&format!("metadata.name={name}"));
            let mut events = api.watch(&params, &version).await?.boxed();
            ready.wait().await;
            let mut times = Vec::new();
            while (times.len() as u64) < CHANGES {
                match events.try_next().await? {
                    Some(WatchEvent::Modified(_)) => {
                        times.push(Instant::now());
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(WatchEvent::Error(e)) => anyhow::bail!("{e:?}"),
                    Some(_) => {}
                    None => anyhow::bail!("a watch ended after {} of {CHANGES} changes", times.len()),
                }
            }
            anyhow::Ok(times)
        });
    }
    ready.wait().await;
    let begin = Instant::now();
    let mut sent = Vec::new();
    for change in 0..CHANGES {
        let patch = Patch::Merge(json!({ "data": { "change": change.to_string() } }));
        sent.push(Instant::now());
        api.patch(name, &PatchParams::default(), &patch).await?;
    }
    let mut last_seen = sent.clone();
    let collecting = async {
        while let Some(done) = tasks.join_next().await {
            for (last, time) in last_seen.iter_mut().zip(done??) {
                *last = (*last).max(time);
            }
        }
        anyhow::Ok(())
    };
    timeout(FAN_OUT_LIMIT, collecting).await.with_context(|| {
        format!("after {FAN_OUT_LIMIT:?} only {} events had come", seen.load(Ordering::Relaxed))
    })??;
    let took = begin.elapsed();
    let mut lags: Vec<Duration> = last_seen.iter().zip(&sent).map(|(last, sent)| *last - *sent).collect();
    Ok((seen.load(Ordering::Relaxed) as f64 / took.as_secs_f64(), super::median(&mut lags)))
}
