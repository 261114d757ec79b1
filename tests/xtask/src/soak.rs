//! `soak`: pods come and go on a real node, and nothing may be left.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use harness::cluster::{PROGRAMS_VARIABLE, Programs};
use harness::progress::Progress;
use harness::soak::{Plan, Report, Soak};
use harness::{Cluster, ClusterOptions, cache};
use serde_json::Map;

use crate::arguments::{self, Profile};
use crate::{EXIT_FAILED, build, vm};

/// What the suite that has a virtual machine reads.
const VM_SUITE: &str = "vm_soak";
const VM_MINUTES: &str = "NODELET_SOAK_MINUTES";
const VM_SEED: &str = "NODELET_SOAK_SEED";
/// Growth that is no leak. A debug program's figures are no measure of anything.
const RELEASE_KIB: u64 = 1024;
const DEBUG_KIB: u64 = 3 * 1024;
/// Pods in a minute that no machine gets to.
const POSSIBLE: u64 = 1_000;

/// Runs it; ends with 1 where anything leaks.
pub(crate) async fn run(options: &arguments::Soak) -> Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("containers need root: run it with sudo -E env PATH=$PATH");
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = options.seed.unwrap_or(clock.as_secs() % 1_000_000);
    println!("seed {seed}");
    if options.vm {
        return in_a_machine(options, seed).await;
    }
    let progress = Progress::stderr();
    let programs = progress.loud_step("building the programs", build::programs(options.profile)).await?;
    let cluster = ClusterOptions {
        dir: cache::cache_dir()?.join("soak"),
        nodes: None,
        programs: Programs::in_dir(&programs)?,
        resume: false,
        kubelet: Map::new(),
        flags: Vec::new(),
        apiserver_flags: Vec::new(),
        images: Vec::new(),
        verbosity: 2,
        progress: progress.clone(),
    };
    let cluster = Cluster::start(cluster).await.context("starting the cluster")?;
    let report = soak(&cluster, options, seed, &progress).await;
    cluster.stop().await.context("stopping the cluster")?;
    let report = report?;
    print!("\n{report}");
    Ok(if report.leaks().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

async fn soak(
    cluster: &Cluster,
    options: &arguments::Soak,
    seed: u64,
    progress: &Progress,
) -> Result<Report> {
    let plan = Plan {
        seed,
        lanes: options.lanes,
        most: options.minutes * POSSIBLE,
        time: Duration::from_secs(options.minutes * 60),
        kill_every: (options.kill_seconds > 0).then(|| Duration::from_secs(options.kill_seconds)),
        // Longer than a connection that nobody uses is kept.
        rest: Duration::from_secs(if options.minutes < 5 { 10 } else { 100 }),
        patience: Duration::from_secs(180),
        memory_kib: if options.profile == Profile::Release { RELEASE_KIB } else { DEBUG_KIB },
    };
    let soak = Soak::of(cluster, plan, progress.clone()).await?;
    Ok(soak.run().await?)
}

/// The suite with a virtual machine, for as long as is asked for.
async fn in_a_machine(options: &arguments::Soak, seed: u64) -> Result<ExitCode> {
    // The agent lies beside them.
    let programs = build::programs(Profile::Debug).await?;
    vm::prepare(&Progress::stderr()).await?;
    let mut cargo = build::cargo();
    cargo.args(["test", "--package", "harness", "--test", VM_SUITE, "--", "--nocapture"]);
    cargo.env(PROGRAMS_VARIABLE, programs).env(VM_MINUTES, options.minutes.to_string());
    cargo.env(VM_SEED, seed.to_string());
    let status = cargo.status().await.context("starting cargo")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILED)))
}
