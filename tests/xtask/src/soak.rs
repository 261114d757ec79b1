//! `soak`: pods come and go on a real node, and nothing may be left.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use harness::cluster::{PROGRAMS_VARIABLE, Programs};
use harness::progress::Progress;
use harness::soak::{Plan, Report, Soak};
use harness::{Cluster, ClusterOptions, cache};
use serde_json::Map;

use tokio::time::sleep;

use crate::arguments::{self, Profile};
use crate::bench::{Hollow, cost};
use crate::{EXIT_FAILED, build, vm};

/// What the suite that has a virtual machine reads.
const VM_SUITE: &str = "vm_soak";
const VM_MINUTES: &str = "NODELET_SOAK_MINUTES";
const VM_SEED: &str = "NODELET_SOAK_SEED";
/// Growth that is no leak. A debug program's figures are no measure of anything.
const RELEASE_KIB: u64 = 1024;
const DEBUG_KIB: u64 = 6 * 1024;
/// Pods in a minute that no machine gets to.
const POSSIBLE: u64 = 1_000;
/// Hollow pods.
const AT_ONCE: usize = 100;
/// How long the daemon is left alone before its memory is read: until the API server has taken the last event, and what was free then is
/// given back.
const SETTLE: Duration = Duration::from_secs(75);

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
        is_known_to_nodes: true,
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
    if options.hollow {
        let programs = Programs::in_dir(&programs)?;
        let grown = hollow(&cluster, &programs, options.pods, &progress).await;
        cluster.stop().await.context("stopping the cluster")?;
        return verdict(grown?, options);
    }
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
        memory_kib: memory_kib(options),
    };
    let soak = Soak::of(cluster, plan, progress.clone()).await?;
    Ok(soak.run().await?)
}

/// Growth of the memory that no file backs, in KiB, over `pods` pods.
async fn hollow(cluster: &Cluster, programs: &Programs, pods: usize, progress: &Progress) -> Result<u64> {
    let node = Hollow::start(cluster, cluster.client(), programs).await?;
    let memory = async |after: usize| {
        sleep(SETTLE).await;
        let memory = cost::memory(node.pid()?)?;
        println!(
            "{after:6} pods: memory (PSS) {} KiB, {} of them not backed by a file",
            memory.pss_kib, memory.anonymous_kib
        );
        Ok::<_, anyhow::Error>(memory.anonymous_kib)
    };
    let come_and_go = async |pods: usize| {
        for _ in 0..pods.div_ceil(AT_ONCE) {
            node.burst(AT_ONCE, 0).await?;
            node.clear().await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    memory(0).await?;
    progress.loud_step("warming up", come_and_go(pods / 10)).await?;
    let before = memory(pods / 10).await?;
    let mut after = before;
    for part in 1..=5 {
        progress.loud_step("pods come and go", come_and_go(pods / 5)).await?;
        after = memory(pods / 10 + part * pods / 5).await?;
    }
    Ok(after.saturating_sub(before))
}

fn verdict(grown: u64, options: &arguments::Soak) -> Result<ExitCode> {
    let allowed = memory_kib(options);
    println!("{} pods made and deleted: {grown} KiB more, {allowed} allowed", options.pods);
    Ok(if grown <= allowed { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

fn memory_kib(options: &arguments::Soak) -> u64 {
    if options.profile == Profile::Release { RELEASE_KIB } else { DEBUG_KIB }
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
