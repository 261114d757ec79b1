//! Nodes in virtual machines: build what they boot from, look into one, or run a test on them.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, bail};
use harness::progress::Progress;
use harness::vm::{Bed, BedOptions, Ground, Node};
use tokio::process::Command;

use crate::arguments::{Profile, Vm, VmAction};
use crate::{EXIT_FAILED, build, package};

/// What starts a suite with virtual machines; the rest of its name says what it is about.
const SUITES: &str = "vm";
const WITH_PACKAGES: &str = "vm_join";

/// Which program is the crate `cgroups`' own test, for the suite that runs it in a node.
const CGROUPS_TEST: &str = "NODELET_CGROUPS_TEST";

/// What the suites with virtual machines are told beside the programs.
pub(crate) async fn environment() -> anyhow::Result<[(&'static str, PathBuf); 1]> {
    let test = build::cgroups_test().await.context("building the test of cgroups for the nodes")?;
    Ok([(CGROUPS_TEST, test)])
}

/// Carries out `cargo xtask vm ...`.
pub(crate) async fn run(options: Vm) -> anyhow::Result<ExitCode> {
    if !nix::unistd::geteuid().is_root() {
        bail!("virtual machines and their network need root: run it with sudo -E env PATH=$PATH");
    }
    match &options.action {
        VmAction::Build => {
            let ground = prepare(&Progress::stderr()).await?;
            println!("kernel {}\nimage  {}", ground.kernel.display(), ground.image.display());
            Ok(ExitCode::SUCCESS)
        }
        VmAction::Run { test } => test_named(test).await,
        VmAction::Shell { command } => shell(&options, command).await,
    }
}

/// What nodes boot from, with the agent built now.
pub(crate) async fn prepare(progress: &Progress) -> anyhow::Result<Ground> {
    let agent = progress.loud_step("building the agent", agent()).await?;
    Ground::prepare(&agent, progress).await.context("preparing virtual machines")
}

/// Whether a suite starts virtual machines.
pub(crate) fn is_suite(name: &str) -> bool {
    name.strip_prefix(SUITES).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// Whether a suite installs the packages.
pub(crate) fn needs_packages(suite: &str) -> bool {
    suite == WITH_PACKAGES
}

/// How many tests with machines run at the same time: each machine takes one processor whole.
pub(crate) fn threads() -> u32 {
    const MOST: usize = 4;
    std::thread::available_parallelism().map_or(1, |processors| processors.get().min(MOST) as u32)
}

async fn agent() -> anyhow::Result<PathBuf> {
    build::binary("vm-agent", "vm-agent").await
}

/// Runs the tests whose names hold `test`; their results are left where the tests say.
async fn test_named(test: &str) -> anyhow::Result<ExitCode> {
    let programs = build::programs(Profile::Debug).await?;
    prepare(&Progress::stderr()).await?;
    // One of the tests may be of these.
    package::for_tests(&Progress::stderr()).await?;
    let mut cargo = build::cargo();
    cargo.args(["test", "--package", "harness", "--no-fail-fast", "--test", &format!("{SUITES}*")]);
    cargo.args(["--", "--nocapture", "--test-threads", &threads().to_string(), test]);
    cargo.env(harness::cluster::PROGRAMS_VARIABLE, programs).envs(environment().await?);
    let status = cargo.status().await.context("starting cargo")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILED)))
}

/// Boots nodes with the programs, and opens a shell in the first, or runs a command there.
async fn shell(options: &Vm, command: &[String]) -> anyhow::Result<ExitCode> {
    let progress = Progress::stderr();
    let programs = progress.loud_step("building the programs", build::programs(options.profile)).await?;
    let agent = progress.loud_step("building the agent", agent()).await?;
    let results = programs.ancestors().nth(1).unwrap_or(&programs).join("tmp/vm");
    let bed = BedOptions::new("shell", &agent, &results).nodes(options.nodes).progress(progress.clone());
    let bed = Bed::start(&bed).await.context("starting the nodes")?;
    for node in bed.nodes() {
        for package in &options.packages {
            node.install_deb(package).await.with_context(|| format!("installing {}", package.display()))?;
        }
        if options.packages.is_empty() {
            node.install_programs(&[&programs.join("nodelet")]).await.context("installing nodelet")?;
        }
        progress.note(&format!("{} is {}", node.name(), node.ip()));
    }
    let node = bed.node(1);
    let code = if command.is_empty() { interactive(node).await } else { through(node, command).await };
    bed.keep_results().await;
    progress.note(&format!("journals are in {}", bed.results().display()));
    code
}

/// Runs a command with the input and the outputs of this process.
async fn through(node: &Node, command: &[String]) -> anyhow::Result<ExitCode> {
    let argv: Vec<&str> = command.iter().map(String::as_str).collect();
    let (input, output, errors) = (tokio::io::stdin(), tokio::io::stdout(), tokio::io::stderr());
    let status = node.agent().stream(&argv, input, output, errors).await?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILED)))
}

/// A shell on a terminal in the node; this terminal passes each key on as it is until the shell ends.
async fn interactive(node: &Node) -> anyhow::Result<ExitCode> {
    let size = stty(&["size"]).await.unwrap_or_else(|_| "24 80".to_owned());
    let (rows, columns) = size.trim().split_once(' ').unwrap_or(("24", "80"));
    let before = stty(&["-g"]).await.context("a shell needs a terminal; give a command instead")?;
    eprintln!("A shell in the node; its end switches the nodes off.");
    stty(&["raw", "-echo"]).await?;
    let shell = format!("stty rows {rows} columns {columns}; exec bash -l");
    let argv = ["script", "--quiet", "--return", "--command", &shell, "/dev/null"].map(str::to_owned);
    let code = through(node, &argv).await;
    stty(&[before.trim()]).await?;
    code
}

/// Asks or sets the terminal of this process.
async fn stty(arguments: &[&str]) -> anyhow::Result<String> {
    let mut stty = Command::new("stty");
    stty.args(arguments).stdin(Stdio::inherit());
    let done = stty.output().await.context("starting stty")?;
    if !done.status.success() {
        bail!("stty: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_with_machines_are_told_by_their_names() {
        assert!(is_suite("vm") && is_suite("vm_cgroups"));
        assert!(!is_suite("volumes") && !is_suite("vmstat"));
    }
}
