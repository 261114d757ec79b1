//! The simulator, built fast and with its assertions.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::process::Command;

use crate::{EXIT_FAILED, build};

/// Seeds that each run of all tests tries.
pub(crate) const TESTED_SEEDS: u32 = 10_000;

/// Runs of twelve hours of churn, beside them.
pub(crate) const TESTED_DAYS: u32 = 1;

/// What it is told of these.
pub(crate) fn days() -> Vec<String> {
    ["--hours", "12", "--seeds", &TESTED_DAYS.to_string()].map(str::to_owned).to_vec()
}

/// The simulator's command line; `arguments` are its own.
pub(crate) fn command(arguments: &[String]) -> Command {
    let mut cargo = build::cargo();
    cargo.args(["run", "--quiet", "--profile", "sim", "--package", "sim", "--"]).args(arguments);
    cargo
}

/// Runs it.
pub(crate) async fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let status = command(arguments).status().await.context("starting the simulator")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_FAILED);
    Ok(ExitCode::from(code))
}
