//! cargo, and where it put the programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::process::Command;

use crate::arguments::Profile;

const PROGRAMS: [&str; 3] = ["nodelet", "apiserver", "scheduler"];

/// cargo in the workspace.
pub(crate) fn cargo() -> Command {
    // Set by `cargo run`.
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).stdin(Stdio::null()).kill_on_drop(true);
    cargo
}

/// The root of the sources.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/xtask lies in it")
}

/// One line of `--message-format=json`.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// Builds the programs; cargo shows its progress itself. Gives the directory that has them all.
pub(crate) async fn programs(profile: Profile) -> anyhow::Result<PathBuf> {
    built(&PROGRAMS, profile).await
}

/// Builds those of the programs that are named.
pub(crate) async fn built(wanted: &[&str], profile: Profile) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.arg("build").args(wanted.iter().flat_map(|program| ["--package", program]));
    if profile == Profile::Release {
        // See `layout`.
        build.arg("--release").env("NODELET_LAYOUT", "1");
    }
    let built = executable(build, wanted).await?;
    Ok(built.parent().context("a program lies in no directory")?.to_path_buf())
}

/// Builds one program of a package and gives its path.
pub(crate) async fn binary(package: &str, name: &str) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--package", package, "--bin", name]);
    executable(build, &[name]).await
}

/// Builds the test of the crate `cgroups` that writes to a real hierarchy, for a node to run, and gives its path.
pub(crate) async fn cgroups_test() -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["test", "--package", "cgroups", "--features", "drivers", "--test", "real", "--no-run"]);
    let is_it = |name: &str| name.starts_with("real-");
    executable_that(build, is_it).await
}

/// Runs a build; gives the path of one of the programs that it made.
async fn executable(build: Command, names: &[&str]) -> anyhow::Result<PathBuf> {
    executable_that(build, |name| names.contains(&name)).await
}

async fn executable_that(mut build: Command, is_it: impl Fn(&str) -> bool) -> anyhow::Result<PathBuf> {
    build.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let done =
        build.spawn().context("starting cargo")?.wait_with_output().await.context("waiting for cargo")?;
    if !done.status.success() {
        bail!("cargo build failed");
    }
    let said = String::from_utf8_lossy(&done.stdout);
    said.lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable)
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(&is_it))
        .context("cargo did not say where the programs are")
}
