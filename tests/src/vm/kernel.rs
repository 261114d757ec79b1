//! The kernel of the nodes: User Mode Linux, built from the newest sources that Debian has.
//!
//! Built once for each `kernel.config` and kept in the cache (`vm/kernel-HASH`), so is the package with the sources. sid moves on; what is in the
//! cache stays good until the configuration changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::cache::{self, CacheError, empty_dir, remove_tree};
use crate::command::{self, CommandError, command};
use crate::progress::Progress;
use crate::tools::ToolError;
use crate::tools::apt::Apt;

use super::key;
use super::requirements::{self, RequirementError};

/// What the nodes' kernel must have, as lines of a kernel's configuration.
const CONFIG: &str = include_str!("kernel.config");
/// Changed where the same configuration would be built otherwise.
const RECIPE: &str = "1";
const PREFIX: &str = "linux-source-";
/// A build on one busy processor takes half of it.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(600);

/// Why there is no kernel.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// What a build needs cannot be installed.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
    /// The sources cannot be had.
    #[error("getting the kernel's sources")]
    Sources(#[from] ToolError),
    /// Debian has none.
    #[error("no package {PREFIX}VERSION in any suite")]
    NoSources,
    /// It does not unpack or does not build.
    #[error("building the kernel in {dir}", dir = dir.display())]
    Build {
        /// Where; it is kept.
        dir: PathBuf,
        /// What was said last.
        source: CommandError,
    },
    /// The newest kernel has other options.
    #[error(
        "the kernel's configuration has not come out as tests/src/vm/kernel.config wants it: {lines}; \
         an option of another name or with other conditions in this version?"
    )]
    Config {
        /// What is wanted.
        lines: String,
    },
}

/// The kernel of this configuration, from the cache or built now.
pub(super) async fn kernel(place: &Path, progress: &Progress) -> Result<PathBuf, KernelError> {
    let dir = place.join(format!("kernel-{}", key(&[CONFIG.as_bytes(), RECIPE.as_bytes()])));
    let kernel = dir.join("linux");
    if kernel.exists() {
        return Ok(kernel);
    }
    let _lock = cache::lock(&place.join("kernel.lock"), "building a kernel", progress).await?;
    if kernel.exists() {
        return Ok(kernel);
    }
    requirements::install(&requirements::KERNEL, progress).await?;
    let package = sources(place, progress).await?;
    let name = package.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let work = place.join("kernel-build");
    empty_dir(&work)?;
    progress.step("unpacking the kernel's sources", unpack(&package, &work)).await?;
    progress.step(&format!("building the kernel, {name}"), build(&work)).await?;
    // Sources of earlier configurations may differ: what it was built from is told beside it.
    let note = work.join("built-from");
    std::fs::write(&note, format!("{name}\n")).map_err(CacheError::file("writing", &note))?;
    let finished = place.join("kernel-finished");
    empty_dir(&finished)?;
    for file in ["linux", "config", "built-from"] {
        let (from, to) = (work.join(file), finished.join(file));
        std::fs::rename(&from, &to).map_err(CacheError::file("moving", &from))?;
    }
    std::fs::rename(&finished, &dir).map_err(CacheError::file("moving into place", &dir))?;
    remove_tree(&work)?;
    Ok(kernel)
}

/// The package with the sources: the newest in the cache, or the newest there is.
async fn sources(place: &Path, progress: &Progress) -> Result<PathBuf, KernelError> {
    let dir = place.join("sources");
    if let Ok(entries) = std::fs::read_dir(&dir) {
        let mut known: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        known.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
        if let Some(newest) =
            known.into_iter().max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok())
        {
            return Ok(newest);
        }
    }
    let cache = cache::cache_dir()?;
    let _lock = cache::lock(&cache.join("tools.lock"), "fetching tools", progress).await?;
    let apt = progress.step("package lists", Apt::update(&cache)).await?;
    let name = apt.newest(PREFIX).await?.ok_or(KernelError::NoSources)?;
    let unfinished = place.join("sources-unfinished");
    empty_dir(&unfinished)?;
    let archive = progress.step(&format!("package {name}"), apt.download(&name, &unfinished)).await?;
    let file = archive.file_name().unwrap_or_default().to_owned();
    remove_tree(&dir)?;
    std::fs::rename(&unfinished, &dir).map_err(CacheError::file("moving into place", &dir))?;
    Ok(dir.join(file))
}

async fn unpack(package: &Path, work: &Path) -> Result<(), KernelError> {
    let error = |source| KernelError::Build { dir: work.to_path_buf(), source };
    let tree = work.join("package");
    let mut extract = command(Path::new("dpkg-deb"));
    command::run(extract.arg("-x").arg(package).arg(&tree), LIMIT).await.map_err(error)?;
    let mut archives = Vec::new();
    let dir = tree.join("usr/src");
    for entry in std::fs::read_dir(&dir).map_err(CacheError::file("reading", &dir))? {
        archives.push(entry.map_err(CacheError::file("reading", &dir))?.path());
    }
    archives.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".tar.")));
    let archive = archives.pop().ok_or(KernelError::NoSources)?;
    let source = work.join("source");
    std::fs::create_dir_all(&source).map_err(CacheError::file("making", &source))?;
    let mut tar = command(Path::new("tar"));
    tar.arg("-C").arg(&source).args(["--strip-components=1", "-xf"]).arg(&archive);
    command::run(&mut tar, LIMIT).await.map_err(error)?;
    Ok(remove_tree(&tree)?)
}

/// From the sources below `work` to `linux` and `config` in it.
async fn build(work: &Path) -> Result<(), KernelError> {
    let error = |source| KernelError::Build { dir: work.to_path_buf(), source };
    let source = work.join("source");
    let make = async |target: &str, jobs: usize| {
        let mut make = command(Path::new("make"));
        make.current_dir(&source).env("ARCH", "um").args(["--silent", &format!("-j{jobs}"), target]);
        // Somebody's own settings are not for this kernel.
        for name in ["MAKEFLAGS", "CROSS_COMPILE", "CFLAGS", "KCFLAGS", "LDFLAGS", "O", "KBUILD_OUTPUT"] {
            make.env_remove(name);
        }
        command::run(&mut make, BUILD_LIMIT).await.map_err(error)
    };
    make("x86_64_defconfig", 1).await?;
    let config = source.join(".config");
    let before = std::fs::read_to_string(&config).map_err(CacheError::file("reading", &config))?;
    // Of two lines for one option the last one counts.
    std::fs::write(&config, before + CONFIG).map_err(CacheError::file("writing", &config))?;
    make("olddefconfig", 1).await?;
    let after = std::fs::read_to_string(&config).map_err(CacheError::file("reading", &config))?;
    let missing = unmet(CONFIG, &after);
    if !missing.is_empty() {
        return Err(KernelError::Config { lines: missing.join(", ") });
    }
    make("vmlinux", std::thread::available_parallelism().map_or(1, usize::from)).await?;
    let mut strip = command(Path::new("strip"));
    strip.arg("-s").arg("-o").arg(work.join("linux")).arg(source.join("vmlinux"));
    command::run(&mut strip, LIMIT).await.map_err(error)?;
    let kept = work.join("config");
    std::fs::write(&kept, after).map_err(CacheError::file("writing", &kept))?;
    Ok(())
}

/// Lines that are wanted and have not come out: an option without its value, or one that is set and should not be.
fn unmet<'a>(wanted: &'a str, config: &str) -> Vec<&'a str> {
    let lines: std::collections::BTreeSet<&str> = config.lines().collect();
    let is_met = |line: &str| match line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"))
    {
        // One that does not exist is not set either.
        Some(option) => {
            !config.lines().any(|line| line.split_once('=').is_some_and(|(name, _)| name == option))
        }
        None => !line.starts_with("CONFIG_") || lines.contains(line),
    };
    wanted.lines().filter(|line| !is_met(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_did_not_come_out_is_named() {
        let wanted = "CONFIG_A=y\nCONFIG_B=\"x\"\n# CONFIG_C is not set\n# CONFIG_D is not set\nCONFIG_E=y\n";
        let config = "CONFIG_A=y\nCONFIG_B=\"y\"\nCONFIG_C=y\n# CONFIG_E is not set\n";
        assert_eq!(unmet(wanted, config), ["CONFIG_B=\"x\"", "# CONFIG_C is not set", "CONFIG_E=y"]);
        assert!(unmet(wanted, "CONFIG_E=y\nCONFIG_B=\"x\"\nCONFIG_A=y\nCONFIG_CC=y\n").is_empty());
    }

    #[test]
    fn each_option_is_wanted_once() {
        let option = |line: &str| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            line.split([' ', '=']).next().map(str::to_owned)
        };
        let mut seen = std::collections::BTreeSet::new();
        for line in CONFIG.lines().filter(|line| !line.is_empty()) {
            assert!(seen.insert(option(line)), "{line} is there twice");
        }
    }
}
