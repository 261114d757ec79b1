//! Where the parts of a cluster lie.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::containerd::Containerd;

/// The directory of one cluster.
///
/// ```text
/// DIR/
///   cluster.json        what the next run needs to know
///   report.txt          what runs where, while a supervisor in the background has it up
///   lock                held by the run that has the cluster up
///   processes/          which processes belong to it
///   apiserver/          its data: store, certificates, admin.kubeconfig
///   logs/               of apiserver and scheduler
///   node-0/             of each node:
///     kubelet.json        configuration of nodelet
///     kubelet.kubeconfig  its credentials
///     root/               its --root-dir
///     manifests/          its static pods
///     pods/ containers/   logs of the containers
///     nodelet.log
///     containerd/         configuration, content and log of its runtime
/// /run/nodelet/ID/        what ends with the machine
/// ```
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
    id: String,
}

impl Layout {
    /// `dir` is absolute.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let hash = Sha256::digest(dir.as_os_str().as_encoded_bytes());
        Self { dir: dir.to_path_buf(), id: hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect() }
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What names and sockets of this cluster contain.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn state_file(&self) -> PathBuf {
        self.dir.join("cluster.json")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.dir.join("processes")
    }

    /// Of the API server.
    #[must_use]
    pub fn apiserver(&self) -> PathBuf {
        self.dir.join("apiserver")
    }

    /// For kubectl.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.apiserver().join("admin.kubeconfig")
    }

    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{component}.log"))
    }

    /// The output of a supervisor in the background.
    #[must_use]
    pub fn supervisor_log(&self) -> PathBuf {
        self.log("supervisor")
    }

    /// What a supervisor in the background writes once everything is up.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.dir.join("report.txt")
    }

    /// Of one node.
    #[must_use]
    pub fn node(&self, index: usize) -> PathBuf {
        self.dir.join(format!("node-{index}"))
    }

    pub(crate) fn containerd(&self, index: usize) -> Containerd {
        let state = Path::new("/run/nodelet").join(&self.id).join(index.to_string());
        Containerd::new(&self.node(index).join("containerd"), &state)
    }

    pub(crate) fn directories(&self, nodes: usize) -> Vec<PathBuf> {
        let mut all = vec![self.records(), self.dir.join("logs")];
        for node in (0..nodes).map(|index| self.node(index)) {
            all.extend(["root", "manifests", "pods", "containers"].map(|name| node.join(name)));
        }
        all
    }
}
