//! `package`: the two Debian packages. cargo-deb packs them as daemon/Cargo.toml says; here is made what they hold beside the
//! program: the manual page, completions and the pause image.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, bail};
use harness::progress::Progress;
use tokio::process::Command;

use crate::arguments::Profile;
use crate::{build, tool};

const VARIANTS: [(&str, Option<&str>); 2] = [("nodelet", None), ("nodelet-kubelet", Some("kubelet"))];

/// Builds both into `dir`.
pub(crate) async fn run(dir: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let progress = Progress::stderr();
    let programs =
        progress.loud_step("building the program", build::built(&["nodelet"], Profile::Release)).await?;
    let parts = programs.join("package");
    progress.loud_step("the manual page and completions", manual(&parts)).await?;
    let image = pause::image().archive().context("building the pause image")?;
    let pause = parts.join("pause.tar");
    std::fs::write(&pause, image).with_context(|| format!("writing {}", pause.display()))?;
    let target = programs.parent().context("cargo's target directory has no parent")?;
    let dir = dir.unwrap_or_else(|| target.join("debian"));
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    // The directory may be relative to where the command was given, and cargo-deb runs elsewhere.
    let dir = dir.canonicalize().with_context(|| format!("finding {}", dir.display()))?;
    let time = commit_time().await?;
    for (name, variant) in VARIANTS {
        let deb = tool::program("deb", &progress).await?;
        progress.loud_step(&format!("packing {name}"), pack(deb, variant, target, &dir, &time)).await?;
    }
    progress.note(&format!("the packages are in {}", dir.display()));
    Ok(ExitCode::SUCCESS)
}

async fn manual(parts: &Path) -> anyhow::Result<()> {
    let mut write = build::cargo();
    write.args(["run", "--quiet", "--package", "nodelet", "--example", "manual", "--"]).arg(parts);
    done(write, "writing the manual page").await
}

async fn pack(
    mut deb: Command,
    variant: Option<&str>,
    target: &Path,
    dir: &Path,
    time: &str,
) -> anyhow::Result<()> {
    // The release profile strips already, and prefers small to quick; nothing is compiled here.
    deb.args(["--package", "nodelet", "--no-build", "--no-strip", "--output"]).arg(dir);
    if let Some(variant) = variant {
        deb.args(["--variant", variant]);
    }
    // So that the same sources give the same packages.
    deb.env("SOURCE_DATE_EPOCH", time).env("CARGO_TARGET_DIR", target);
    done(deb, "packing").await
}

/// Seconds since 1970 of the commit that is checked out; zero outside a repository.
async fn commit_time() -> anyhow::Result<String> {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(build::workspace()).stderr(Stdio::null());
    let time = match git.output().await {
        Ok(output) if output.status.success() => {
            String::from_utf8(output.stdout).context("git's answer is no text")?
        }
        _ => String::new(),
    };
    let time = time.trim();
    Ok(if time.is_empty() { "0".to_owned() } else { time.to_owned() })
}

async fn done(mut command: Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().await.with_context(|| format!("{what}: starting it"))?;
    if !status.success() {
        bail!("{what} failed");
    }
    Ok(())
}
