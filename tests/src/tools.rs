//! The programs that a cluster needs beside its own.
//!
//! Each is asked for its version. What the machine has is used where it is new enough; else the copy in the cache
//! (`tools/PACKAGE-VERSION`), which is fetched once from the machine's Debian mirror and used by its full path from then on.

pub(crate) mod apt;
pub mod python;
pub(crate) mod sources;
mod version;

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::cache::{self, CacheError};
use crate::command::{self, CommandError, command};
use crate::progress::Progress;
use apt::Apt;
pub use sources::SourcesError;
pub use version::Version;

/// How long a program may take to tell its version; the machine may be busy.
const VERSION_LIMIT: Duration = Duration::from_secs(30);
/// Of the plugin interface; containerd's own.
const CNI_VERSION: &str = "1.0.0";
const CNI_PLUGINS: [&str; 4] = ["bridge", "host-local", "portmap", "loopback"];

/// Why a tool cannot be had.
#[derive(Debug, Error)]
pub enum ToolError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The machine's package sources cannot be used.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// A program of the package tools failed.
    #[error("getting packages")]
    Command(#[from] CommandError),
    /// `apt-get download` said yes and left nothing.
    #[error("{dir}: apt-get left no package there", dir = dir.display())]
    NoArchive {
        /// Where it should have been.
        dir: PathBuf,
    },
    /// No version that can be had is new enough and runs here.
    #[error("package {package}: nothing that is at least {minimum} and runs on this machine; tried: {tried}")]
    Unusable {
        /// Of Debian.
        package: &'static str,
        /// That is needed.
        minimum: Version,
        /// Versions and what was wrong with each.
        tried: String,
    },
}

/// A program, or a directory of programs, that was asked for its version.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Full path.
    pub path: PathBuf,
    /// As it said.
    pub version: Version,
}

/// All that is needed.
#[derive(Clone, Debug)]
pub struct Tools {
    /// With its shim and `ctr` beside it.
    pub containerd: Tool,
    /// The OCI runtime.
    pub runc: Tool,
    /// The directory of the network plugins; the version is that of the interface.
    pub cni: Tool,
    /// The client.
    pub kubectl: Tool,
    /// Linked statically, for the test image.
    pub busybox: Tool,
}

impl Tools {
    /// The client of containerd that knows images.
    #[must_use]
    pub fn ctr(&self) -> PathBuf {
        self.containerd.path.with_file_name("ctr")
    }
}

/// What to look for, and how to know it.
#[derive(Debug)]
struct Wanted {
    package: &'static str,
    minimum: Version,
    /// Within the package; a directory for the network plugins.
    path: &'static str,
    /// Where the machine may have it.
    system: &'static [&'static str],
    /// What has to lie beside it.
    beside: &'static [&'static str],
    ask: Ask,
}

#[derive(Debug)]
enum Ask {
    Arguments(&'static [&'static str]),
    CniPlugins,
}

const CONTAINERD: Wanted = Wanted {
    package: "containerd",
    minimum: Version::new(2, 1),
    path: "usr/bin/containerd",
    system: &["/usr/local/bin/containerd", "/usr/bin/containerd"],
    beside: &["ctr", "containerd-shim-runc-v2"],
    ask: Ask::Arguments(&["--version"]),
};
const RUNC: Wanted = Wanted {
    package: "runc",
    minimum: Version::new(1, 1),
    path: "usr/sbin/runc",
    system: &["/usr/local/sbin/runc", "/usr/sbin/runc", "/usr/bin/runc"],
    beside: &[],
    ask: Ask::Arguments(&["--version"]),
};
const CNI: Wanted = Wanted {
    package: "containernetworking-plugins",
    minimum: Version::new(1, 0),
    path: "usr/lib/cni",
    system: &["/usr/lib/cni", "/opt/cni/bin"],
    beside: &[],
    ask: Ask::CniPlugins,
};
const KUBECTL: Wanted = Wanted {
    package: "kubectl",
    minimum: Version::new(1, 36),
    path: "usr/bin/kubectl",
    system: &["/usr/local/bin/kubectl", "/usr/bin/kubectl"],
    beside: &[],
    ask: Ask::Arguments(&["version", "--client"]),
};
/// The machine's own is not asked: most are linked dynamically, and an image has no libraries. 1.35, of Debian 12, crashes in
/// `wget -T`.
const BUSYBOX: Wanted = Wanted {
    package: "busybox-static",
    minimum: Version::new(1, 36),
    path: "usr/bin/busybox",
    system: &[],
    beside: &[],
    ask: Ask::Arguments(&["--help"]),
};

/// With `promtool` beside it.
const PROMETHEUS: Wanted = Wanted {
    package: "prometheus",
    minimum: Version::new(2, 42),
    path: "usr/bin/prometheus",
    system: &["/usr/local/bin/prometheus", "/usr/bin/prometheus"],
    beside: &["promtool"],
    ask: Ask::Arguments(&["--version"]),
};

/// Finds Prometheus, which only few tests need, or fetches it.
///
/// # Errors
/// It is missing and cannot be fetched.
pub async fn prometheus(progress: &Progress) -> Result<Tool, ToolError> {
    source(progress)?.tool(&PROMETHEUS).await
}

/// Finds each tool, and fetches what is missing.
///
/// # Errors
/// Something is missing and cannot be fetched.
pub async fn find_or_install(progress: &Progress) -> Result<Tools, ToolError> {
    let mut source = source(progress)?;
    Ok(Tools {
        containerd: source.tool(&CONTAINERD).await?,
        runc: source.tool(&RUNC).await?,
        cni: source.tool(&CNI).await?,
        kubectl: source.tool(&KUBECTL).await?,
        busybox: source.tool(&BUSYBOX).await?,
    })
}

fn source(progress: &Progress) -> Result<Source<'_>, ToolError> {
    let cache = cache::cache_dir()?;
    let source = Source { trees: cache.join("tools"), cache, apt: None, progress };
    std::fs::create_dir_all(&source.trees).map_err(CacheError::file("making", &source.trees))?;
    Ok(source)
}

#[derive(Debug)]
struct Source<'a> {
    cache: PathBuf,
    trees: PathBuf,
    /// With the newest lists; only when something had to be fetched.
    apt: Option<Apt>,
    progress: &'a Progress,
}

impl Source<'_> {
    async fn tool(&mut self, wanted: &'static Wanted) -> Result<Tool, ToolError> {
        for path in wanted.system.iter().map(Path::new).filter(|path| path.exists()) {
            match ask(wanted, path).await {
                Ok(version) => return Ok(Tool { path: path.to_path_buf(), version }),
                Err(why) => {
                    self.progress.note(&format!("{} is not used: {why}", path.display()));
                }
            }
        }
        if let Some(tool) = self.pinned(wanted).await? {
            return Ok(tool);
        }
        let _lock = cache::lock(&self.cache.join("tools.lock"), "fetching tools", self.progress).await?;
        match self.pinned(wanted).await? {
            Some(tool) => Ok(tool),
            None => self.fetch(wanted).await,
        }
    }

    /// The newest copy in the cache that is fit.
    async fn pinned(&self, wanted: &Wanted) -> Result<Option<Tool>, ToolError> {
        let entries = std::fs::read_dir(&self.trees).map_err(CacheError::file("reading", &self.trees))?;
        let prefix = format!("{}-", wanted.package);
        let mut copies: Vec<(Version, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let version = name.strip_prefix(&prefix)?.replacen('_', ":", 1);
                Some((Version::of_package(&version)?, entry.path().join(wanted.path)))
            })
            .collect();
        copies.sort();
        for (_, path) in copies.into_iter().rev() {
            match ask(wanted, &path).await {
                Ok(version) => return Ok(Some(Tool { path, version })),
                Err(why) => self.progress.note(&format!("{} is not used: {why}", path.display())),
            }
        }
        Ok(None)
    }

    async fn fetch(&mut self, wanted: &'static Wanted) -> Result<Tool, ToolError> {
        if self.apt.is_none() {
            self.apt = Some(self.progress.step("package lists", Apt::update(&self.cache)).await?);
        }
        let apt = self.apt.as_ref().expect("it was just made");
        let package = wanted.package;
        let mut tried = Vec::new();
        for candidate in apt.candidates(package, wanted.minimum).await? {
            let version = &candidate.version;
            let step = format!("package {package} {version}");
            let tree = self.progress.step(&step, apt.unpack(package, version, &self.trees)).await?;
            let path = tree.join(wanted.path);
            match ask(wanted, &path).await {
                Ok(version) => return Ok(Tool { path, version }),
                Err(why) => {
                    tried.push(format!("{version}: {why}"));
                    cache::remove_tree(&tree)?;
                }
            }
        }
        let tried = if tried.is_empty() { "there is none".to_owned() } else { tried.join("; ") };
        Err(ToolError::Unusable { package, minimum: wanted.minimum, tried })
    }
}

/// Asks what lies at `path` for its version; what is unfit says why.
async fn ask(wanted: &Wanted, path: &Path) -> Result<Version, String> {
    if let Some(missing) = wanted.beside.iter().find(|name| !path.with_file_name(name).exists()) {
        return Err(format!("{missing} does not lie beside it"));
    }
    match wanted.ask {
        Ask::Arguments(arguments) => {
            let said =
                command::run(command(path).args(arguments), VERSION_LIMIT).await.map_err(|e| chain(&e))?;
            let version = Version::find(&said.stdout).ok_or("it does not tell its version")?;
            if version < wanted.minimum {
                return Err(format!("version {version} is older than {}", wanted.minimum));
            }
            Ok(version)
        }
        Ask::CniPlugins => {
            for plugin in CNI_PLUGINS {
                let mut ask = command(&path.join(plugin));
                let said = command::run(ask.env("CNI_COMMAND", "VERSION"), VERSION_LIMIT).await;
                let said = said.map_err(|e| chain(&e))?.stdout;
                let answer: serde_json::Value =
                    serde_json::from_str(&said).map_err(|e| format!("{plugin}: {e}"))?;
                let known = answer["supportedVersions"].as_array().into_iter().flatten();
                if !known.into_iter().any(|version| version == CNI_VERSION) {
                    return Err(format!("{plugin} does not know version {CNI_VERSION} of the interface"));
                }
            }
            Ok(Version::find(CNI_VERSION).expect("it is a version"))
        }
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
