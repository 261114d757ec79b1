//! cargo's sub-commands that others have written: the machine's, or one that is built once into the cache.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use harness::cache;
use harness::progress::Progress;
use tokio::process::Command;

use crate::build;

/// `cargo-NAME` in the workspace.
pub(crate) async fn program(name: &str, progress: &Progress) -> anyhow::Result<Command> {
    if runs(build::cargo().arg(name)).await {
        let mut found = build::cargo();
        found.arg(name);
        return Ok(found);
    }
    let full = format!("cargo-{name}");
    let root = cache::cache_dir()?.join("tools").join(&full);
    let program = root.join("bin").join(&full);
    if !runs(&mut Command::new(&program)).await {
        progress.note(&format!("{full} is not there: building it once, which takes some minutes"));
        progress.loud_step(&format!("building {full}"), install(&full, root)).await?;
    }
    let mut found = Command::new(program);
    found.current_dir(build::workspace());
    Ok(found)
}

async fn runs(program: &mut Command) -> bool {
    program.arg("--version").output().await.is_ok_and(|output| output.status.success())
}

async fn install(name: &str, root: PathBuf) -> anyhow::Result<()> {
    let target = root.join("target");
    let mut install = build::cargo();
    install.args(["install", name, "--locked", "--quiet", "--root"]).arg(&root);
    // Not the workspace's: its settings and locks are not for this.
    install.env("CARGO_TARGET_DIR", &target).current_dir("/");
    let status = install.status().await.context("starting cargo install")?;
    if !status.success() {
        bail!("cargo install {name} failed");
    }
    std::fs::remove_dir_all(&target).with_context(|| format!("removing {}", target.display()))
}
