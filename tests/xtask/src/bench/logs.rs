//! Logs: whether rotation keeps up with a container that writes as fast as the runtime takes it, and what following a log costs.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cri_client::Client as Cri;
use futures::AsyncReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Client, Config};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::cost;

const IMAGE: &str = "nodelet.dev/busybox:1";
const LIMIT: Duration = Duration::from_secs(120);
/// Sizes are looked at so often; a rotated file stays as it is for longer than that.
const LOOK: Duration = Duration::from_millis(10);
const BLOCK_BYTES: usize = 1 << 20;
/// A line as most programs write it.
const LINE: &str = "2026-11-26T01:11:05.123456789Z stdout F 2026-11-26 01:11:05 INFO request served method=GET path=/api/v1/things status=200 took=12ms\n";
/// `TIME stdout F `, which a reader does not get.
const PREFIX_BYTES: usize = "2026-11-26T01:11:05.123456789Z stdout F ".len();
/// Of the container that is followed while it writes.
const LIVE_BYTES_PER_SECOND: u64 = 10_000_000;

/// A container that writes without a pause.
pub(super) struct Flood {
    /// As the runtime writes them, in the log.
    pub(super) bytes_per_second: f64,
    pub(super) limit_bytes: u64,
    /// Of all files that there were.
    pub(super) largest_bytes: u64,
    pub(super) rotations: usize,
    /// Of the daemon, compression included.
    pub(super) processor: Duration,
    pub(super) took: Duration,
}

/// Following a log.
pub(super) struct Follow {
    /// In the file.
    pub(super) bytes: u64,
    /// Of the daemon.
    pub(super) processor: Duration,
    pub(super) took: Duration,
    /// Of reading the same file block by block.
    pub(super) plain: Duration,
    /// Of the daemon for as many bytes that were written while they were followed, rotation and compression included.
    pub(super) live_bytes: u64,
    pub(super) live: Duration,
    /// Of the daemon for the rotation and the compression of as many, followed by nobody.
    pub(super) rotated: Duration,
}

/// What is measured with.
pub(super) struct Bed<'a> {
    pub(super) config: &'a Config,
    pub(super) cri: &'a Cri,
    pub(super) node: &'a str,
    pub(super) node_ip: String,
    pub(super) nodelet: u32,
}

impl Bed<'_> {
    /// `limit_bytes` is `containerLogMaxSize`.
    pub(super) async fn flood(&self, limit_bytes: u64, lasts: Duration) -> Result<Flood> {
        // Long lines, which cost the runtime the least.
        let script = "yes \"$(head -c 8000 /dev/zero | tr '\\0' x)\"";
        let dir = self.pod("bench-flood", script).await?;
        let before = cost::processor(self.nodelet)?;
        let begun = Instant::now();
        let mut sizes: BTreeMap<u64, u64> = BTreeMap::new();
        while begun.elapsed() < lasts {
            for entry in fs::read_dir(&dir).with_context(|| format!("listing {}", dir.display()))? {
                let entry = entry?;
                let is_plain =
                    entry.file_name().to_str().is_some_and(|n| !n.ends_with(".gz") && !n.ends_with(".tmp"));
                // It may be compressed or removed by now.
                if let (true, Ok(metadata)) = (is_plain, entry.metadata()) {
                    let size = sizes.entry(metadata.ino()).or_default();
                    // An inode may be used again.
                    *size = (*size).max(metadata.len());
                }
            }
            sleep(LOOK).await;
        }
        let took = begun.elapsed();
        let processor = cost::processor(self.nodelet)?.saturating_sub(before);
        self.remove("bench-flood").await?;
        let written: u64 = sizes.values().sum();
        Ok(Flood {
            bytes_per_second: written as f64 / took.as_secs_f64(),
            limit_bytes,
            largest_bytes: sizes.values().copied().max().unwrap_or_default(),
            rotations: sizes.len().saturating_sub(1),
            processor,
            took,
        })
    }

    pub(super) async fn follow(&self, bytes: u64, live_bytes: u64) -> Result<Follow> {
        // A container that has ended: nobody rotates its log. Following it reads to the end.
        let ended = self.pod("bench-ended", "true").await?.join("0.log");
        let lines = LINE.repeat(BLOCK_BYTES / LINE.len());
        let mut file = open(&ended)?;
        let mut written = fs::metadata(&ended)?.len();
        while written < bytes {
            file.write_all(lines.as_bytes()).with_context(|| format!("writing {}", ended.display()))?;
            written += lines.len() as u64;
        }
        drop(file);
        let expected = written / LINE.len() as u64 * (LINE.len() - PREFIX_BYTES) as u64;
        // Everything from the page cache, for both.
        read(&ended)?;
        let own = cost::processor(std::process::id())?;
        read(&ended)?;
        let plain = cost::processor(std::process::id())?.saturating_sub(own);
        let (before, begun) = (cost::processor(self.nodelet)?, Instant::now());
        let got = self.get("bench-ended", |_| Ok(false)).await?;
        let (processor, took) = (cost::processor(self.nodelet)?.saturating_sub(before), begun.elapsed());
        ensure!(got >= expected, "{got} of {expected} bytes came");
        self.remove("bench-ended").await?;

        let live = self.live(&lines, live_bytes, true).await?;
        let rotated = self.live(&lines, live_bytes, false).await?;
        Ok(Follow { bytes: written, processor, took, plain, live_bytes, live, rotated })
    }

    /// Lines come in small writes, at a steady rate. What the daemon needs until it has passed them on, if they are followed, and has
    /// compressed what it will.
    async fn live(&self, lines: &str, bytes: u64, followed: bool) -> Result<Duration> {
        let log = self.pod("bench-live", "sleep 100000").await?.join("0.log");
        let before = cost::processor(self.nodelet)?;
        let payload = bytes / LINE.len() as u64 * (LINE.len() - PREFIX_BYTES) as u64;
        let target = log.clone();
        let writing = async {
            let begun = Instant::now();
            let mut written = 0;
            while written < bytes {
                // The log is another file after each rotation.
                let mut file = open(&target)?;
                let due = (begun.elapsed().as_secs_f64() * LIVE_BYTES_PER_SECOND as f64) as u64;
                while written < due.min(bytes) {
                    file.write_all(&lines.as_bytes()[..LINE.len()])?;
                    written += LINE.len() as u64;
                }
                drop(file);
                sleep(Duration::from_millis(1)).await;
            }
            anyhow::Ok(())
        };
        let reading = async {
            if followed { self.get("bench-live", |got| Ok(got >= payload)).await.map(|_| ()) } else { Ok(()) }
        };
        let (wrote, got) = futures::join!(writing, timeout(LIMIT, reading));
        wrote?;
        got.context("the log did not come to its end in time")??;
        self.compressed(&log).await?;
        let used = cost::processor(self.nodelet)?.saturating_sub(before);
        self.remove("bench-live").await?;
        Ok(used)
    }

    /// Waits until of the rotated files of a log only the newest is not compressed.
    async fn compressed(&self, log: &Path) -> Result<()> {
        let dir = log.parent().context("a log without a directory")?;
        let end = Instant::now() + LIMIT;
        loop {
            let names = fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
            let names = names.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            // The current file and the newest rotated one.
            if names.filter(|name| !name.ends_with(".gz")).count() <= 2 {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{} has files that are not compressed", dir.display());
            sleep(LOOK).await;
        }
    }

    /// Follows the log of a pod at the node itself, until its end or until so many bytes are enough.
    async fn get(&self, pod: &str, enough: impl Fn(u64) -> Result<bool>) -> Result<u64> {
        let mut config = self.config.clone();
        config.cluster_url = format!("https://{}:10250", self.node_ip).parse()?;
        config.accept_invalid_certs = true;
        config.read_timeout = None;
        let path = format!("/containerLogs/default/{pod}/c?follow=true");
        let request = http::Request::get(path).body(Vec::new())?;
        let body = Client::try_from(config)?.request_stream(request).await?;
        let mut body = std::pin::pin!(body);
        let (mut block, mut got) = (vec![0; BLOCK_BYTES], 0);
        loop {
            let read = body.read(&mut block).await?;
            got += read as u64;
            if read == 0 || enough(got)? {
                return Ok(got);
            }
        }
    }

    /// Starts a pod and waits for its container; the directory of its logs.
    async fn pod(&self, name: &str, script: &str) -> Result<PathBuf> {
        let api: Api<Pod> = Api::default_namespaced(Client::try_from(self.config.clone())?);
        let pod = json!({
            "metadata": { "name": name },
            "spec": {
                "nodeName": self.node,
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "containers": [{ "name": "c", "image": IMAGE, "command": ["sh", "-c", script] }],
            },
        });
        api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        let end = Instant::now() + LIMIT;
        loop {
            let pod = api.get(name).await?;
            let phase = pod.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
            let id = pod.status.and_then(|s| s.container_statuses?.into_iter().next()?.container_id);
            if let (true, Some(id)) = (matches!(phase.as_str(), "Running" | "Succeeded"), id) {
                // A container that ends at once is looked at when it has.
                if script != "true" || phase == "Succeeded" {
                    let id = id.rsplit('/').next().unwrap_or_default();
                    let log = self.cri.container_status(id).await?.log_path;
                    return Ok(Path::new(&log).parent().context("a log without a directory")?.to_owned());
                }
            }
            ensure!(Instant::now() < end, "pod {name} is {phase:?} after {LIMIT:?}");
            sleep(LOOK).await;
        }
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let api: Api<Pod> = Api::default_namespaced(Client::try_from(self.config.clone())?);
        api.delete(name, &DeleteParams::default()).await?;
        let end = Instant::now() + LIMIT;
        while api.get_opt(name).await?.is_some() {
            ensure!(Instant::now() < end, "pod {name} is not gone after {LIMIT:?}");
            sleep(LOOK).await;
        }
        Ok(())
    }
}

fn open(log: &Path) -> Result<File> {
    let file = OpenOptions::new().append(true).create(true).open(log);
    file.with_context(|| format!("opening {}", log.display()))
}

fn read(log: &Path) -> Result<()> {
    let mut file = File::open(log).with_context(|| format!("opening {}", log.display()))?;
    let mut block = vec![0; 64 * 1024];
    while file.read(&mut block)? > 0 {}
    Ok(())
}
