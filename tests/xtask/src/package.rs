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

/// Beside the packages, for tests of an upgrade: of the same program, and newer than any.
const NEWER: &str = "99.0.0-1";
/// Where tests look for packages, below the directory with the programs.
const FOR_TESTS: &str = "debian";

/// Builds both into `dir`.
pub(crate) async fn run(dir: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let progress = Progress::stderr();
    let packing = Packing::prepare(Profile::Release, &progress).await?;
    let dir = dir.unwrap_or_else(|| packing.target.join("debian"));
    let dir = made(&dir)?;
    for (name, variant) in VARIANTS {
        progress.loud_step(&format!("packing {name}"), packing.pack(variant, None, &dir)).await?;
    }
    progress.note(&format!("the packages are in {}", dir.display()));
    Ok(ExitCode::SUCCESS)
}

/// Builds both from the programs that tests use, and one that is newer.
pub(crate) async fn for_tests(progress: &Progress) -> anyhow::Result<()> {
    let packing = Packing::prepare(Profile::Debug, progress).await?;
    let dir = packing.programs.join(FOR_TESTS);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    let dir = made(&dir)?;
    for (name, variant) in VARIANTS {
        progress.loud_step(&format!("packing {name}"), packing.pack(variant, None, &dir)).await?;
    }
    progress.loud_step("packing a newer nodelet", packing.pack(None, Some(NEWER), &dir)).await
}

/// The directory may be relative to where the command was given, and cargo-deb runs elsewhere.
fn made(dir: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    dir.canonicalize().with_context(|| format!("finding {}", dir.display()))
}

/// Everything that packages hold, built.
struct Packing {
    profile: Profile,
    programs: PathBuf,
    /// cargo's target directory, as cargo-deb sees it.
    target: PathBuf,
    /// Seconds since 1970 that files are of.
    time: String,
    progress: Progress,
}

impl Packing {
    async fn prepare(profile: Profile, progress: &Progress) -> anyhow::Result<Self> {
        let program = async {
            match profile {
                Profile::Release => build::built(&["nodelet"], profile).await,
                // As the suites have built it: alone it would be another one.
                Profile::Debug => build::programs(profile).await,
            }
        };
        let programs = progress.loud_step("building the program", program).await?;
        let parts = programs.join("package");
        // What tests install may have an older manual.
        if profile == Profile::Release || !parts.join("nodelet.8").exists() {
            progress.loud_step("the manual page and completions", manual(&parts)).await?;
        }
        let image = pause::image().archive().context("building the pause image")?;
        let pause = parts.join("pause.tar");
        std::fs::write(&pause, image).with_context(|| format!("writing {}", pause.display()))?;
        let target = match profile {
            Profile::Release => {
                programs.parent().context("cargo's target directory has no parent")?.to_path_buf()
            }
            Profile::Debug => released(&programs, &parts).await?,
        };
        let time = commit_time().await?;
        Ok(Self { profile, programs, target, time, progress: progress.clone() })
    }

    async fn pack(&self, variant: Option<&str>, version: Option<&str>, dir: &Path) -> anyhow::Result<()> {
        let mut deb = tool::program("deb", &self.progress).await?;
        // What is there is stripped, and prefers small to quick; nothing is compiled here.
        deb.args(["--package", "nodelet", "--no-build", "--no-strip", "--output"]).arg(dir);
        if self.profile == Profile::Debug {
            deb.args(["--fast", "--compress-type", "gz", "--compress-system"]);
        }
        for (flag, value) in [("--variant", variant), ("--deb-version", version)] {
            if let Some(value) = value {
                deb.args([flag, value]);
            }
        }
        // So that the same sources give the same packages.
        deb.env("SOURCE_DATE_EPOCH", &self.time).env("CARGO_TARGET_DIR", &self.target);
        done(deb, "packing").await
    }
}

/// A target directory whose release is the debug program without its symbols: cargo-deb packs no other, and they are most of it.
async fn released(programs: &Path, parts: &Path) -> anyhow::Result<PathBuf> {
    let target = programs.join("released");
    let release = made(&target.join("release"))?;
    let mut strip = Command::new("strip");
    strip.arg("--strip-all").arg("-o").arg(release.join("nodelet")).arg(programs.join("nodelet"));
    done(strip, "stripping the program").await?;
    let link = release.join("package");
    if link.symlink_metadata().is_err() {
        std::os::unix::fs::symlink(parts, &link).with_context(|| format!("making {}", link.display()))?;
    }
    Ok(target)
}

async fn manual(parts: &Path) -> anyhow::Result<()> {
    let mut write = build::cargo();
    write.args(["run", "--quiet", "--package", "nodelet", "--example", "manual", "--"]).arg(parts);
    done(write, "writing the manual page").await
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
