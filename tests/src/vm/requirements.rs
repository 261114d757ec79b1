//! What the machine of the tests needs from its distribution: installed where it is missing, and nothing else is.

use std::path::Path;
use std::time::Duration;

use thiserror::Error;

use crate::command::{self, CommandError, command};
use crate::progress::Progress;

/// A busy mirror and a slow disk.
const LIMIT: Duration = Duration::from_secs(600);
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];

/// A program, or a file by its full path, and the package with it.
type Requirement = (&'static str, &'static str);

/// To build a kernel.
pub(super) const KERNEL: [Requirement; 7] = [
    ("gcc", "gcc"),
    ("/usr/include/stdio.h", "libc6-dev"),
    ("make", "make"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("xz", "xz-utils"),
];
/// To build a disk.
pub(super) const IMAGE: [Requirement; 3] =
    [("debootstrap", "debootstrap"), ("mke2fs", "e2fsprogs"), ("strip", "binutils")];
/// To run a machine.
pub(super) const RUN: [Requirement; 5] = [
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("taskset", "util-linux"),
    ("mkswap", "util-linux"),
];

/// Something is missing and cannot be installed.
#[derive(Debug, Error)]
#[error("installing {packages}, which building and running virtual machines needs")]
pub struct RequirementError {
    packages: String,
    source: CommandError,
}

/// Installs what is missing.
pub(super) async fn install(
    requirements: &[Requirement],
    progress: &Progress,
) -> Result<(), RequirementError> {
    let missing = missing(requirements, |wanted| {
        if wanted.starts_with('/') {
            return Path::new(wanted).exists();
        }
        DIRECTORIES.iter().any(|dir| Path::new(dir).join(wanted).exists())
    });
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let install = async {
        let mut update = command(Path::new("apt-get"));
        // A source of others that cannot be reached is no reason to give up.
        let _ = command::run(update.arg("update"), LIMIT).await;
        let mut install = command(Path::new("apt-get"));
        install.args(["install", "--yes", "--no-install-recommends"]).args(&missing);
        install.env("DEBIAN_FRONTEND", "noninteractive");
        command::run(&mut install, LIMIT).await
    };
    let done = progress.step(&format!("installing {packages}"), install).await;
    done.map(drop).map_err(|source| RequirementError { packages, source })
}

/// Packages, each once.
fn missing(requirements: &[Requirement], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for (wanted, package) in requirements {
        if !is_there(wanted) && !packages.contains(package) {
            packages.push(*package);
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed_and_each_package_once() {
        let there = |wanted: &str| wanted == "ip";
        assert_eq!(missing(&RUN, there), ["util-linux"]);
        assert!(missing(&RUN, |_| true).is_empty());
    }
}
