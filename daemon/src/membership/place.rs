//! Which files a node has from its cluster, and where they lie, in either package.
//!
//! | | nodelet.service | kubelet.service (package nodelet-kubelet), as kubeadm writes them |
//! |---|---|---|
//! | authority | /etc/kubernetes/pki/ca.crt | the same |
//! | token, until there is a certificate | /etc/kubernetes/bootstrap-kubelet.conf | the same |
//! | credentials | /etc/kubernetes/kubelet.conf, /var/lib/kubelet/pki | the same |
//! | configuration of the cluster | /etc/nodelet/config.d/50-cluster.conf | /var/lib/kubelet/config.yaml |
//! | configuration of this node | the same file | /var/lib/kubelet/instance-config.yaml, and merged into the other |
//! | flags | /etc/nodelet/cluster.env | /var/lib/kubelet/kubeadm-flags.env |

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::credentials::{CLIENT, SERVER};

/// Which unit runs the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Nodelet,
    /// nodelet under the kubelet's name.
    Kubelet,
}

impl Service {
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Nodelet => "nodelet.service",
            Self::Kubelet => "kubelet.service",
        }
    }
}

/// A file cannot be changed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}", path = path.display())]
pub(super) struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Where a node's files lie.
#[derive(Debug, Clone)]
pub(super) struct Place {
    root: PathBuf,
    pub(super) service: Service,
}

impl Place {
    /// Below `root`, which is `/` but for tests. The package that is there decides which files unless `service` does.
    pub(super) fn new(root: &Path, service: Option<Service>) -> Self {
        let stand_in =
            fs::read_link(root.join("usr/bin/kubelet")).is_ok_and(|link| link.ends_with("nodelet"));
        let found = if stand_in { Service::Kubelet } else { Service::Nodelet };
        Self { root: root.to_owned(), service: service.unwrap_or(found) }
    }

    /// `path` is absolute.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.at("/etc/kubernetes/pki/ca.crt")
    }

    pub(super) fn bootstrap(&self) -> PathBuf {
        self.at("/etc/kubernetes/bootstrap-kubelet.conf")
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.at("/etc/kubernetes/kubelet.conf")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.at("/var/lib/kubelet")
    }

    pub(super) fn cert_dir(&self) -> PathBuf {
        self.at("/var/lib/kubelet/pki")
    }

    /// What the cluster says of the daemon's configuration.
    pub(super) fn configuration(&self) -> PathBuf {
        match self.service {
            Service::Nodelet => self.at("/etc/nodelet/config.d/50-cluster.conf"),
            Service::Kubelet => self.at("/var/lib/kubelet/config.yaml"),
        }
    }

    /// What is this node's own, where that is kept apart.
    pub(super) fn instance(&self) -> Option<PathBuf> {
        (self.service == Service::Kubelet).then(|| self.at("/var/lib/kubelet/instance-config.yaml"))
    }

    /// Flags of the daemon, as systemd reads them.
    pub(super) fn flags(&self) -> PathBuf {
        match self.service {
            Service::Nodelet => self.at("/etc/nodelet/cluster.env"),
            Service::Kubelet => self.at("/var/lib/kubelet/kubeadm-flags.env"),
        }
    }

    /// Words of the daemon's command line that name its configuration.
    pub(super) fn configuration_words(&self) -> Vec<String> {
        let (file, dir) = match self.service {
            Service::Nodelet => (self.at("/etc/nodelet/config.yaml"), Some(self.at("/etc/nodelet/config.d"))),
            Service::Kubelet => (self.configuration(), None),
        };
        let dir = dir.map(|dir| format!("--config-dir={}", dir.display()));
        std::iter::once(format!("--config={}", file.display())).chain(dir).collect()
    }

    /// All that a node has from its cluster, but for the configuration: what is there.
    pub(super) fn secrets(&self) -> Vec<PathBuf> {
        let mut all = vec![self.kubeconfig(), self.bootstrap()];
        // On a machine that has the authority's key it is a control plane's.
        if !self.authority().with_extension("key").exists() {
            all.push(self.authority());
        }
        let mut issued = Vec::new();
        for entry in fs::read_dir(self.cert_dir()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_issued = name
                .to_str()
                .is_some_and(|name| [CLIENT, SERVER].iter().any(|prefix| name.starts_with(prefix)));
            if is_issued {
                issued.push(entry.path());
            }
        }
        issued.sort();
        all.extend(issued);
        all.retain(|path| path.symlink_metadata().is_ok());
        all
    }

    /// The configuration that is the cluster's: what is there.
    pub(super) fn settings(&self) -> Vec<PathBuf> {
        let mut all = vec![self.configuration(), self.flags()];
        all.extend(self.instance());
        all.retain(|path| path.symlink_metadata().is_ok());
        all
    }
}

/// Writes a file, whole or not at all; its directory is made.
///
/// # Errors
/// It cannot be written; what was there before is.
pub(super) fn write(path: &Path, mode: u32, content: &str) -> Result<(), FileError> {
    let error = |doing| move |source| FileError { doing, path: path.to_owned(), source };
    if let Some(dir) = path.parent() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(dir).map_err(error("making the directory of"))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = || {
        // Not one that somebody else has made with other rights, nor a link of theirs.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(error("writing"))
}

/// Removes a file; says whether it was there.
///
/// # Errors
/// It is there still.
pub(super) fn remove(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(FileError { doing: "removing", path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests;
