//! The steps of `nodelet leave`.
//!
//! ```text
//! pods evicted ── daemon stopped, disabled ── with --pods: what runs still is ended ── Node object deleted ── credentials removed
//!   refused, unless forced                                                             told what to do
//! ```
//!
//! Each step looks at what is there, so that the command may be given again, and does nothing on a machine that is in no cluster. The
//! credentials go last: until then a second attempt can do all that the first one could.

use std::path::PathBuf;
use std::time::Duration;

use http::Method;

use super::Tell;
use super::call::{CallError, call};
use super::drain::{DrainError, drain};
use super::place::{FileError, Place, remove};
use super::runtime::remove_pods;
use super::unit::{UnitError, Units};
use crate::kubeconfig::{self, KubeconfigError, LineError};

const NODE_USER: &str = "system:node:";

/// What is to be done.
#[derive(Debug)]
pub(super) struct Options {
    /// To drain with; the node's own where there is none.
    pub(super) kubeconfig: Option<PathBuf>,
    /// Where it is not the one in the node's certificate.
    pub(super) node_name: Option<String>,
    /// The host's.
    pub(super) host_name: String,
    /// Of the drain, and the most that a pod has to end with `pods`.
    pub(super) timeout: Duration,
    /// Pods that nobody would make again go too, and what cannot be drained is left behind.
    pub(super) force: bool,
    /// The pods that run still are ended: static ones, those of DaemonSets, and all where nothing was drained.
    pub(super) pods: Option<cri_client::Client>,
}

/// Why this machine is a node still, in part or as before.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaveError {
    #[error("{source}; --force leaves without that")]
    Drain { source: DrainError },
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    #[error("kubeconfig {path}", path = path.display())]
    Client { path: PathBuf, source: LineError },
    #[error(transparent)]
    Unit(#[from] UnitError),
    #[error("pods are left: {}", .0.join("; "))]
    Pods(Vec<String>),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("removing the directories of pods: {0}")]
    Directories(String),
}

/// Takes this machine out of its cluster; each step is told in a line.
///
/// # Errors
/// See [`LeaveError`]; the same command may be given again.
pub(super) async fn leave(
    options: &Options,
    place: &Place,
    units: &impl Units,
    tell: Tell<'_>,
) -> Result<(), LeaveError> {
    let is_node = !place.secrets().is_empty() || !place.settings().is_empty();
    if !is_node && options.pods.is_none() {
        tell("this machine is in no cluster");
        return Ok(());
    }
    let api = if is_node { api(options, place, tell).await? } else { None };
    let mut has_object = false;
    if let Some((client, node)) = &api {
        match drain(client, node, options.timeout, options.force, tell).await {
            Ok(found) => has_object = found,
            Err(error) if options.force => {
                has_object = !matches!(error, DrainError::Api(_));
                tell(&format!("{node} is not drained: {error}"));
            }
            Err(source) => return Err(LeaveError::Drain { source }),
        }
    }
    let unit = place.service.unit();
    if units.state(unit).await?.loaded {
        tell(&format!("stopping {unit}"));
        for action in ["stop", "disable"] {
            units.act(action, unit).await?;
        }
    }
    if let Some(cri) = &options.pods {
        end_pods(options, place, cri, units, tell).await?;
    }
    if let Some((client, node)) = &api
        && has_object
    {
        delete_object(client, node, tell).await;
    }
    for path in place.settings().into_iter().chain(place.secrets()) {
        remove(&path)?;
        tell(&format!("removed {}", path.display()));
    }
    if options.pods.is_none() {
        tell("pods that ran here run on, and nobody looks after them: nodelet leave --pods ends them");
    }
    Ok(())
}

/// What to call, and the node's name. Without credentials that can be used there is nothing to call.
async fn api(
    options: &Options,
    place: &Place,
    tell: Tell<'_>,
) -> Result<Option<(kube::Client, String)>, LeaveError> {
    let own = match place.kubeconfig() {
        path if path.exists() => kubeconfig::read(&path).await.map(Some),
        _ => Ok(None),
    };
    let of_certificate =
        own.as_ref().ok().and_then(Option::as_ref).and_then(|access| {
            Some(access.identity.as_ref()?.common_name.strip_prefix(NODE_USER)?.to_owned())
        });
    let node = options.node_name.clone().or(of_certificate).unwrap_or_else(|| options.host_name.clone());
    let (path, access) = match (&options.kubeconfig, own) {
        (Some(path), _) => (path.clone(), kubeconfig::read(path).await?),
        (None, Ok(Some(access))) => (place.kubeconfig(), access),
        (None, Ok(None)) => {
            tell("there are no credentials for the API server: nothing is drained");
            return Ok(None);
        }
        (None, Err(error)) if options.force => {
            tell(&format!("nothing is drained: {error}"));
            return Ok(None);
        }
        (None, Err(error)) => return Err(error.into()),
    };
    let client = access.client().map_err(|source| LeaveError::Client { path, source })?;
    Ok(Some((client, node)))
}

async fn end_pods(
    options: &Options,
    place: &Place,
    cri: &cri_client::Client,
    units: &impl Units,
    tell: Tell<'_>,
) -> Result<(), LeaveError> {
    let count = remove_pods(cri, options.timeout).await.map_err(LeaveError::Pods)?;
    tell(&format!("pods stopped and removed: {count}"));
    // Their cgroups, where systemd keeps them; there may be none.
    if units.state("kubepods.slice").await?.active == "active" {
        units.act("stop", "kubepods.slice").await?;
    }
    let state = place.state();
    if state.is_dir() {
        let failed = |error: String| LeaveError::Directories(error);
        let dirs = volumes::PodDirs::new(&state).map_err(|error| failed(error.to_string()))?;
        for uid in dirs.uids().map_err(|error| failed(error.to_string()))? {
            dirs.remove(&uid).map_err(|error| failed(error.to_string()))?;
        }
        // What a daemon would start again after a reboot.
        crate::ledger::forget(&state).map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

/// A node may not delete its object as a rule: then somebody else has to.
async fn delete_object(client: &kube::Client, node: &str, tell: Tell<'_>) {
    match call(client, Method::DELETE, &format!("/api/v1/nodes/{node}"), None).await {
        Ok(_) => tell(&format!("the node {node} is removed from the cluster")),
        Err(CallError::Refused { code: 404, .. }) => {}
        Err(error) => {
            tell(&format!(
                "the node {node} is in the cluster's list still ({error}): kubectl delete node {node}"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
