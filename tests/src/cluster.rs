//! A whole cluster on this machine, in a directory.
//!
//! ```text
//! Cluster ─┬─ apiserver          127.0.0.1
//!          ├─ scheduler          127.0.0.1
//!          └─ Node 0, 1, ...     an address each on the cluster's bridge
//!               ├─ containerd
//!               └─ nodelet
//! ```
//!
//! [`Cluster::start`] brings it up with what the directory holds from an earlier run, and first takes apart what a killed run
//! left. [`Cluster::stop`] ends it in order: daemons, scheduler, pods, runtimes, API server. [`scenario`] does both around a
//! test. What survives a stop is the directory: the API server's objects, images, logs, ports.

mod cleanup;
mod kubelet;
mod layout;
mod node;
mod programs;
mod record;
mod sample;
mod start;
mod status;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::time::Instant;

use crate::cache::{self, CacheError, Lock};
use crate::command::{self, CommandError, Output, command};
use crate::containerd::ContainerdError;
use crate::images::{Archive, ImageError};
use crate::machine::MachineError;
use crate::network::NetworkError;
use crate::progress::Progress;
use crate::supervise::{Component, SuperviseError};
use crate::tools::{ToolError, Tools, chain};
use crate::wait::{self, Look, WaitError};
pub use layout::Layout;
pub use node::Node;
pub use programs::{PROGRAMS_VARIABLE, Programs};
use record::Record;
pub use sample::NAME as SAMPLE;
pub use status::{Status, down, status};

const GRACE: Duration = Duration::from_secs(10);
/// How many runs of one test there can be at the same time.
const RUNS: usize = 8;
/// Of one kubectl; waits of a test's own are shorter.
const KUBECTL_LIMIT: Duration = Duration::from_secs(180);

/// Why a cluster is not up, or not down.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// A tool is missing.
    #[error(transparent)]
    Tools(#[from] ToolError),
    /// An image cannot be built.
    #[error(transparent)]
    Images(#[from] ImageError),
    /// A runtime does not work.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    /// There is no network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A setting of the kernel cannot be changed.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A file of the cluster cannot be used.
    #[error(transparent)]
    File(#[from] CacheError),
    /// A program cannot be kept running.
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Something did not come about.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The project's programs were not built.
    #[error("{path} is not there; build the programs first (cargo build)", path = path.display())]
    NoProgram {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Another process has this cluster up.
    #[error("the cluster in {dir} is up already{who}", dir = dir.display())]
    Up {
        /// Its directory.
        dir: PathBuf,
        /// By which process.
        who: String,
    },
    /// The directory cannot hold a cluster.
    #[error("{dir}: {why}", dir = dir.display())]
    Directory {
        /// As given.
        dir: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// More nodes than there are addresses for, or fewer than hold pods already.
    #[error("{wanted} nodes: this cluster can have {least} to {most}")]
    Nodes {
        /// As given.
        wanted: usize,
        /// What it has had.
        least: usize,
        /// That there may be.
        most: usize,
    },
    /// The API server's kubeconfig cannot be used.
    #[error("using {path}: {why}", path = path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The API server refuses.
    #[error("{doing}")]
    Api {
        /// What was being done.
        doing: &'static str,
        /// What it answered.
        source: Box<kube::Error>,
    },
    /// A component did not get ready.
    #[error("starting {name}; its log is {log}", log = log.display())]
    NotReady {
        /// Of the component.
        name: String,
        /// Where it says why.
        log: PathBuf,
        /// What was seen.
        source: WaitError,
    },
    /// Something of the cluster is still there.
    #[error("taking the cluster apart: {}", errors.join("; "))]
    Leftovers {
        /// One for each thing.
        errors: Vec<String>,
    },
}

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Its directory.
    pub dir: PathBuf,
    /// How many nodes; without a number as many as the directory has had, at least one.
    pub nodes: Option<usize>,
    /// The project's own.
    pub programs: Programs,
    /// Whether what an earlier run left in the directory is used.
    pub resume: bool,
    /// Fields of the `KubeletConfiguration` of each node that are to be different.
    pub kubelet: Map<String, Value>,
    /// Flags of each node's daemon beside those that it always gets.
    pub flags: Vec<OsString>,
    /// Flags of the API server beside those that it always gets.
    pub apiserver_flags: Vec<OsString>,
    /// Images beside pause and busybox.
    pub images: Vec<Archive>,
    /// Whether the nodes know of the API server; without it they run their static pods alone.
    pub is_known_to_nodes: bool,
    /// Verbosity of the components' logs.
    pub verbosity: u8,
    /// Who is told.
    pub progress: Progress,
}

impl ClusterOptions {
    /// One node, for a test of this name: an empty cluster in a directory of its own in the cache, which is kept after the
    /// test for its logs. A second run at the same time has another directory.
    ///
    /// # Errors
    /// The programs are not built, or there is no cache.
    pub fn for_test(name: &str) -> Result<Self, ClusterError> {
        Ok(Self {
            dir: unused(&cache::cache_dir()?.join("test"), name)?,
            nodes: None,
            programs: Programs::from_environment()?,
            resume: false,
            kubelet: Map::new(),
            flags: Vec::new(),
            apiserver_flags: Vec::new(),
            images: Vec::new(),
            is_known_to_nodes: true,
            verbosity: 2,
            progress: Progress::test(),
        })
    }

    /// With this many nodes.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = Some(nodes);
        self
    }

    /// With this field in the configuration of each node.
    #[must_use]
    pub fn kubelet(mut self, field: &str, value: Value) -> Self {
        self.kubelet.insert(field.to_owned(), value);
        self
    }

    /// With this flag on the command line of each node's daemon.
    #[must_use]
    pub fn flag(mut self, flag: &str, value: &Path) -> Self {
        self.flags.extend([flag.into(), value.into()]);
        self
    }

    /// With this flag on the command line of the API server.
    #[must_use]
    pub fn apiserver_flag(mut self, flag: &str) -> Self {
        self.apiserver_flags.push(flag.into());
        self
    }

    /// With nodes that know of no API server.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.is_known_to_nodes = false;
        self
    }

    /// With a further image.
    #[must_use]
    pub fn image(mut self, image: Archive) -> Self {
        self.images.push(image);
        self
    }
}

/// A cluster that is up. Dropping it stops nothing: use [`Cluster::stop`].
pub struct Cluster {
    layout: Layout,
    record: Record,
    /// When its start began.
    begun: Instant,
    tools: Tools,
    progress: Progress,
    apiserver: Component,
    apiserver_port: u16,
    scheduler: Component,
    nodes: Vec<Node>,
    client: kube::Client,
    _lock: Lock,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client has nothing to show.
        f.debug_struct("Cluster")
            .field("layout", &self.layout)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// Starts a cluster, runs `test` with it and stops it, also when the test panics.
///
/// # Panics
/// When the cluster cannot be started or stopped, and when the test does.
pub async fn scenario(options: ClusterOptions, test: impl AsyncFnOnce(&Cluster)) {
    let dir = options.dir.clone();
    let cluster = match Cluster::start(options).await {
        Ok(cluster) => cluster,
        Err(error) => panic!("starting the cluster in {}: {}", dir.display(), chain(&error)),
    };
    let outcome = std::panic::AssertUnwindSafe(test(&cluster)).catch_unwind().await;
    let stopped = cluster.stop().await;
    if let Err(panic) = outcome {
        eprintln!("the cluster's files and logs are in {}", dir.display());
        std::panic::resume_unwind(panic);
    }
    if let Err(error) = stopped {
        panic!("stopping the cluster in {}: {}", dir.display(), chain(&error));
    }
}

impl Cluster {
    /// Where its parts lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The programs that it uses.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// For kubectl and other clients, as the cluster's administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// `https://127.0.0.1:6443`, say.
    #[must_use]
    pub fn server(&self) -> String {
        format!("https://127.0.0.1:{}", self.apiserver_port)
    }

    /// A client with the administrator's credentials.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// The API server's process.
    #[must_use]
    pub fn apiserver(&self) -> &Component {
        &self.apiserver
    }

    /// The scheduler's process.
    #[must_use]
    pub fn scheduler(&self) -> &Component {
        &self.scheduler
    }

    /// A node by its number.
    ///
    /// # Panics
    /// There is none of this number.
    #[must_use]
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// All of them.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every process that is kept running.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        let nodes = self.nodes.iter().flat_map(|node| [&node.containerd, &node.nodelet]);
        [&self.apiserver, &self.scheduler].into_iter().chain(nodes)
    }

    /// Runs kubectl; how it ended is part of the answer.
    ///
    /// # Errors
    /// It cannot be run, or does not end.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Output, CommandError> {
        command::output(self.kubectl_command().args(arguments), KUBECTL_LIMIT).await
    }

    /// Runs kubectl, which is to succeed; gives its standard output.
    ///
    /// # Errors
    /// It fails, with what it said.
    pub async fn kubectl_ok(&self, arguments: &[&str]) -> Result<String, CommandError> {
        Ok(command::run(self.kubectl_command().args(arguments), KUBECTL_LIMIT).await?.stdout)
    }

    /// Runs kubectl with a text as its standard input (`apply -f -`).
    ///
    /// # Errors
    /// It cannot be run, or does not end.
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<Output, CommandError> {
        command::output_with(self.kubectl_command().args(arguments), input, KUBECTL_LIMIT).await
    }

    /// A kubectl for this cluster that the caller runs.
    #[must_use]
    pub fn kubectl_command(&self) -> tokio::process::Command {
        let mut kubectl = command(&self.tools.kubectl.path);
        kubectl.arg("--kubeconfig").arg(self.kubeconfig());
        // kubectl keeps what it discovers; two clusters may follow each other on one port.
        kubectl.arg("--cache-dir").arg(self.layout.dir().join("kubectl-cache"));
        kubectl
    }

    /// Makes objects from manifests (YAML or JSON).
    ///
    /// # Errors
    /// kubectl refuses, with what it said.
    pub async fn apply(&self, manifests: &str) -> Result<(), CommandError> {
        let mut kubectl = self.kubectl_command();
        command::run_with(kubectl.args(["apply", "-f", "-"]), manifests, KUBECTL_LIMIT).await.map(drop)
    }

    /// Waits until a pod of namespace `default` is as `wanted` says. An absent pod is never so.
    ///
    /// # Errors
    /// It does not become so; the error has its last status.
    pub async fn wait_for_pod(
        &self,
        name: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&Pod) -> bool,
    ) -> Result<Pod, WaitError> {
        let pods: Api<Pod> = Api::default_namespaced(self.client.clone());
        let look = || async {
            match pods.get(name).await {
                Ok(pod) if wanted(&pod) => Look::There(pod),
                Ok(pod) => Look::NotYet(serde_json::to_string(&pod.status).unwrap_or_default()),
                Err(error) => Look::NotYet(error.to_string()),
            }
        };
        wait::until(&format!("pod {name} to be {what}"), limit, look).await
    }

    /// Waits until a pod is Running and ready.
    ///
    /// # Errors
    /// It does not get there.
    pub async fn wait_ready(&self, name: &str, limit: Duration) -> Result<Pod, WaitError> {
        let is_ready = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
        };
        self.wait_for_pod(name, "ready", limit, is_ready).await
    }

    /// Waits until there is no such pod.
    ///
    /// # Errors
    /// It stays.
    pub async fn wait_gone(&self, name: &str, limit: Duration) -> Result<(), WaitError> {
        let pods: Api<Pod> = Api::default_namespaced(self.client.clone());
        let look = || async {
            match pods.get_opt(name).await {
                Ok(None) => Look::There(()),
                Ok(Some(pod)) => Look::NotYet(serde_json::to_string(&pod.status).unwrap_or_default()),
                Err(error) => Look::NotYet(error.to_string()),
            }
        };
        wait::until(&format!("pod {name} to be gone"), limit, look).await
    }

    /// Ends everything in order. Goes on after an error, and tells all of them.
    ///
    /// # Errors
    /// Something could not be ended.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        let mut errors = Vec::new();
        let progress = self.progress.clone();
        let daemons = async {
            let stops = self.nodes.iter().map(|node| node.stop());
            futures::future::join_all(stops).await.into_iter().collect::<Result<(), _>>()
        };
        keep(&mut errors, progress.step("stopping the nodes' daemons", daemons).await);
        keep(&mut errors, progress.step("stopping scheduler", self.scheduler.stop(GRACE)).await);
        let pods = async {
            let removals = self.nodes.iter().map(|node| node.runtime.remove_pods());
            futures::future::join_all(removals).await.into_iter().collect::<Result<(), _>>()
        };
        let limited = async {
            match tokio::time::timeout(KUBECTL_LIMIT, pods).await {
                Ok(outcome) => outcome.map_err(|error| chain(&error)),
                Err(_) => Err(format!("pods were not removed in {KUBECTL_LIMIT:?}")),
            }
        };
        if let Err(error) = progress.step("removing pods", limited).await {
            // Their processes are ended below all the same.
            progress.note(&error);
        }
        for node in &self.nodes {
            keep(&mut errors, node.containerd.stop(GRACE).await);
        }
        keep(&mut errors, progress.step("stopping apiserver", self.apiserver.stop(GRACE)).await);
        keep(&mut errors, cleanup::clear(&self.layout, &self.record).await);
        keep(&mut errors, cleanup::release(&self.layout, &mut self.record).await);
        self.record.supervisor = None;
        keep(&mut errors, self.record.write(&self.layout.state_file()));
        if errors.is_empty() { Ok(()) } else { Err(ClusterError::Leftovers { errors }) }
    }
}

fn keep<E: std::error::Error>(errors: &mut Vec<String>, outcome: Result<(), E>) {
    if let Err(error) = outcome {
        errors.push(chain(&error));
    }
}

/// The first directory of this name, or of this name and a number, in which no cluster is up.
fn unused(parent: &Path, name: &str) -> Result<PathBuf, ClusterError> {
    for number in 0..RUNS {
        let dir = parent.join(if number == 0 { name.to_owned() } else { format!("{name}-{number}") });
        std::fs::create_dir_all(&dir).map_err(CacheError::file("making", &dir))?;
        if cache::try_lock(&Layout::new(&dir).lock())?.is_some() {
            return Ok(dir);
        }
    }
    Err(ClusterError::Up { dir: parent.join(name), who: format!(", and {RUNS} more beside it") })
}

/// A directory that a cluster can be in, absolute and made.
///
/// # Errors
/// It cannot be made, or its name cannot be written into the components' configuration.
pub fn directory(dir: &Path) -> Result<PathBuf, ClusterError> {
    std::fs::create_dir_all(dir).map_err(CacheError::file("making", dir))?;
    let dir = dir.canonicalize().map_err(CacheError::file("resolving", dir))?;
    let plain = dir.to_str().is_some_and(|text| text.is_ascii() && !text.contains(['\'', '"', '\\']));
    let has_controls = dir.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control);
    if !plain || has_controls {
        // It ends up in containerd's configuration and in podLogsDir, which take no others.
        return Err(ClusterError::Directory {
            dir,
            why: "a cluster's directory has plain ASCII characters only",
        });
    }
    Ok(dir)
}
