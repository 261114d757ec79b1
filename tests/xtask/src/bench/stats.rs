//! What a scrape of `/metrics/cadvisor` costs the daemon.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::build;

/// Of one scrape, in processor time.
pub(super) struct Scrape {
    /// To read the cgroups' files.
    pub(super) read: Duration,
    /// To write the page.
    pub(super) write: Duration,
    pub(super) bytes: u64,
}

/// The mean of 50 scrapes of a node with so many pods, whose cgroups are plain files.
pub(super) async fn measure(pods: usize) -> Result<Scrape> {
    let mut cargo = build::cargo();
    cargo.args(["run", "--quiet", "--release", "--package", "nodelet", "--example", "scrape_bench", "--"]);
    let output = cargo.arg(pods.to_string()).output().await.context("starting cargo")?;
    ensure!(output.status.success(), "scrape_bench: {}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).context("reading what scrape_bench says")?;
    let time = |name: &str| Duration::from_secs_f64(said[name].as_f64().unwrap_or_default() / 1000.0);
    Ok(Scrape { read: time("read"), write: time("write"), bytes: said["bytes"].as_u64().unwrap_or_default() })
}
