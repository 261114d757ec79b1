//! A cluster as somebody sees it who has not started it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node as ApiNode, Pod};
use kube::Api;
use kube::api::ListParams;
use nix::sys::signal::Signal;

use super::layout::Layout;
use super::record::Record;
use super::{Cluster, ClusterError, cleanup, start};
use crate::cache;
use crate::progress::Progress;
use crate::supervise::State;
use crate::wait::{self, Look};

/// How long a supervisor may take to stop everything.
const DOWN_LIMIT: Duration = Duration::from_secs(300);
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// What there is of a cluster.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its directory.
    pub dir: PathBuf,
    /// The process that has it up.
    pub supervisor: Option<u32>,
    /// For kubectl.
    pub kubeconfig: PathBuf,
    /// The client that fits.
    pub kubectl: Option<PathBuf>,
    /// What the API server tells; an error in words if it does not answer.
    pub nodes: Result<Summary, String>,
}

/// Nodes and pods in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Nodes.
    pub nodes: usize,
    /// Nodes that are Ready.
    pub ready: usize,
    /// Pods.
    pub pods: usize,
    /// Pods in phase Running.
    pub running: usize,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { nodes, ready, pods, running } = self;
        write!(f, "nodes Ready {ready}/{nodes}, pods Running {running}/{pods}")
    }
}

/// Looks at the cluster in a directory.
pub async fn status(dir: &Path) -> Status {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let layout = Layout::new(&dir);
    let record = Record::read(&layout.state_file());
    let supervisor = record.supervisor.filter(|process| process.is_alive()).map(|process| process.pid());
    let kubeconfig = layout.kubeconfig();
    let nodes = match supervisor {
        None => Err("the cluster is down".to_owned()),
        Some(_) => match start::client(&kubeconfig).await {
            Ok(client) => summary(&client).await,
            Err(why) => Err(why),
        },
    };
    Status { dir, supervisor, kubeconfig, kubectl: record.kubectl, nodes }
}

/// Stops the cluster in a directory, whoever has it up; takes apart what a killed run left. Says whether there was anything.
///
/// # Errors
/// Something of it is still there.
pub async fn down(dir: &Path, progress: &Progress) -> Result<bool, ClusterError> {
    let Ok(dir) = dir.canonicalize() else { return Ok(false) };
    let layout = Layout::new(&dir);
    if !layout.state_file().exists() {
        return Ok(false);
    }
    let before = Record::read(&layout.state_file());
    if let Some(process) = before.supervisor.filter(|process| process.pid() != std::process::id()) {
        process.signal(Signal::SIGTERM);
    }
    let look = || async {
        match cache::try_lock(&layout.lock()) {
            Ok(Some(lock)) => Look::There(lock),
            Ok(None) => Look::NotYet("it is up".to_owned()),
            Err(error) => Look::NotYet(error.to_string()),
        }
    };
    let wait = wait::until("the supervisor to stop the cluster", DOWN_LIMIT, look);
    let _lock = progress.step("stopping the cluster", wait).await?;
    let mut record = Record::read(&layout.state_file());
    cleanup::clear(&layout, &record).await?;
    cleanup::release(&layout, &mut record).await?;
    record.supervisor = None;
    record.write(&layout.state_file())?;
    // Of a supervisor that was killed.
    let _ = std::fs::remove_file(layout.report());
    Ok(before.supervisor.is_some())
}

impl Cluster {
    /// One line about the cluster as it is now.
    pub async fn line(&self) -> String {
        let ill: Vec<&str> =
            self.components().filter(|c| !matches!(c.state(), State::Running(_))).map(|c| c.name()).collect();
        let restarts: u32 = self.components().map(|c| c.restarts()).sum();
        let mut line = match summary(&self.client).await {
            Ok(summary) => summary.to_string(),
            Err(why) => format!("API server: {why}"),
        };
        if restarts > 0 {
            line.push_str(&format!(", {restarts} restarts of components"));
        }
        if !ill.is_empty() {
            line.push_str(&format!(", not running: {}", ill.join(" ")));
        }
        line
    }
}

async fn summary(client: &kube::Client) -> Result<Summary, String> {
    let (nodes, pods): (Api<ApiNode>, Api<Pod>) = (Api::all(client.clone()), Api::all(client.clone()));
    let all = ListParams::default();
    let both = async { tokio::try_join!(nodes.list(&all), pods.list(&all)) };
    let (nodes, pods) = match tokio::time::timeout(ASK_LIMIT, both).await {
        Ok(answers) => answers.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no answer in {ASK_LIMIT:?}")),
    };
    let is_ready = |node: &&ApiNode| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
    };
    let is_running = |pod: &&Pod| {
        pod.status.as_ref().and_then(|status| status.phase.as_deref()).is_some_and(|phase| phase == "Running")
    };
    Ok(Summary {
        nodes: nodes.items.len(),
        ready: nodes.items.iter().filter(is_ready).count(),
        pods: pods.items.len(),
        running: pods.items.iter().filter(is_running).count(),
    })
}
