//! Debian in a directory: what the nodes' image begins with.
//!
//! Made once for each list of packages and kept in the cache (`vm/base-HASH`), with the packages themselves (`vm/debs`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::process::Command;

use crate::cache::{CacheError, remove_tree};
use crate::command::{self, CommandError, command};
use crate::progress::Progress;
use crate::tools::ToolError;
use crate::tools::apt::codename;
use crate::tools::sources::{Mirror, SourcesError};

use super::requirements::{self, RequirementError};
use super::{forget_old, key};

/// The release of the nodes, whatever this machine's is.
const SUITE: &str = "trixie";
/// What is in it beside the smallest system. The container runtime comes from elsewhere: this release's is too old.
const PACKAGES: [&str; 25] = [
    "apparmor",
    "busybox-static",
    "ca-certificates",
    "conntrack",
    "containernetworking-plugins",
    "crun",
    "curl",
    "dbus",
    "dbus-broker",
    "e2fsprogs",
    "iproute2",
    "iptables",
    "iputils-ping",
    "kmod",
    "mount",
    "nftables",
    "procps",
    "python3-minimal",
    "quota",
    "runc",
    "socat",
    "systemd",
    "systemd-sysv",
    "udev",
    "util-linux",
];
const LIMIT: Duration = Duration::from_secs(1800);

/// Why there is no such directory.
#[derive(Debug, Error)]
pub enum BaseError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// debootstrap cannot be installed.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// There is no mirror.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// This machine's release is not known.
    #[error(transparent)]
    Release(#[from] ToolError),
    /// debootstrap failed.
    #[error("making a system of Debian {SUITE}")]
    Debootstrap(#[from] CommandError),
}

/// The key of the directory.
pub(super) fn base_key() -> String {
    key(&[SUITE.as_bytes(), PACKAGES.join(",").as_bytes()])
}

/// The directory, from the cache or made now; by one caller at a time. It is not to be changed.
pub(super) async fn base(place: &Path, progress: &Progress) -> Result<PathBuf, BaseError> {
    let dir = place.join(format!("base-{}", base_key()));
    if dir.exists() {
        return Ok(dir);
    }
    requirements::install(&requirements::IMAGE, progress).await?;
    let mirror = Mirror::of_machine(Path::new("/etc/apt"), &codename()?)?;
    let work = place.join("base-unfinished");
    remove_tree(&work)?;
    let packages = place.join("debs");
    std::fs::create_dir_all(&packages).map_err(CacheError::file("making", &packages))?;
    let mut debootstrap = debootstrap(&mirror, &packages, &work);
    if let Some(proxy) = proxy().await {
        debootstrap.env("http_proxy", &proxy).env("https_proxy", &proxy);
    }
    let name = format!("debootstrap of {SUITE}");
    progress.step(&name, command::run(&mut debootstrap, LIMIT)).await?;
    std::fs::rename(&work, &dir).map_err(CacheError::file("moving into place", &dir))?;
    forget_old(place, "base-")?;
    Ok(dir)
}

fn debootstrap(mirror: &Mirror, packages: &Path, into: &Path) -> Command {
    let mut debootstrap = command(Path::new("debootstrap"));
    debootstrap.args(["--variant=minbase", &format!("--include={}", PACKAGES.join(","))]);
    debootstrap.arg(format!("--cache-dir={}", packages.display()));
    // A key within the sources file is not a path, and Debian's own keys are installed everywhere.
    if let Some(keyring) = mirror.option("Signed-By").filter(|key| key.starts_with('/')) {
        debootstrap.arg(format!("--keyring={keyring}"));
    }
    if mirror.option("Trusted").is_some_and(|trusted| trusted == "yes") {
        debootstrap.arg("--no-check-gpg");
    }
    debootstrap.arg(SUITE).arg(into).arg(mirror.uri()).env("LC_ALL", "C.UTF-8");
    debootstrap
}

/// The proxy that apt uses; debootstrap does not read apt's settings.
async fn proxy() -> Option<String> {
    let mut config = command(Path::new("apt-config"));
    let said = command::run(config.args(["shell", "PROXY", "Acquire::http::Proxy"]), LIMIT).await.ok()?;
    let value = said.stdout.trim().strip_prefix("PROXY='")?.strip_suffix('\'')?.to_owned();
    (!value.is_empty() && value != "DIRECT").then_some(value)
}
