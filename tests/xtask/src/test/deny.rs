//! cargo-deny: the machine's, or one that is built once into the cache.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use harness::cache;
use harness::progress::Progress;
use tokio::process::Command;

use crate::build;

/// cargo-deny in the workspace.
pub(super) async fn program(progress: &Progress) -> anyhow::Result<Command> {
    if runs(build::cargo().arg("deny")).await {
        let mut deny = build::cargo();
        deny.arg("deny");
        return Ok(deny);
    }
    let root = cache::cache_dir()?.join("tools/cargo-deny");
    let program = root.join("bin/cargo-deny");
    if !runs(&mut Command::new(&program)).await {
        progress.note("cargo-deny is not there: building it once, which takes some minutes");
        progress.loud_step("building cargo-deny", install(root)).await?;
    }
    let mut deny = Command::new(program);
    deny.current_dir(build::workspace());
    Ok(deny)
}

async fn runs(program: &mut Command) -> bool {
    program.arg("--version").output().await.is_ok_and(|output| output.status.success())
}

async fn install(root: PathBuf) -> anyhow::Result<()> {
    let target = root.join("target");
    let mut install = build::cargo();
    install.args(["install", "cargo-deny", "--locked", "--quiet", "--root"]).arg(&root);
    // Not the workspace's: its settings and locks are not for this.
    install.env("CARGO_TARGET_DIR", &target).current_dir("/");
    let status = install.status().await.context("starting cargo install")?;
    if !status.success() {
        bail!("cargo install cargo-deny failed");
    }
    std::fs::remove_dir_all(&target).with_context(|| format!("removing {}", target.display()))
}
