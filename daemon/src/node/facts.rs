//! What decides which pods the node takes, gathered for the node machine from all that know a part of it.
//!
//! ```text
//!  configuration, kernel, capacity ──┐
//!  the own object (view) ────────────┼──> watch::Receiver<Arc<Facts>>
//!  runtime, pressures, shutdown ─────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use lifecycle::{Facts, Pressure};
use tokio::sync::watch;
use tokio::time::timeout;

use super::writer::Settings;
use super::{NodeReceiver, NodeView, Pressures, RuntimeState, features, info, registration, view};
use crate::cause::chain;
use crate::stop::stopped;

/// What the node is registered with, and what only this machine knows: all there is until the API shows the object.
pub(crate) fn local(settings: &Settings) -> Facts {
    let config = &settings.config;
    let registered = registration::initial(settings, Default::default());
    Facts {
        name: settings.node_name.clone(),
        seen: false,
        labels: registered.metadata.labels.unwrap_or_default(),
        taints: registered.spec.and_then(|spec| spec.taints).unwrap_or_default(),
        allocatable: settings.resources.allocatable.clone(),
        pressures: BTreeSet::new(),
        supplemental_groups_policy: false,
        allowed_unsafe_sysctls: config.allowed_unsafe_sysctls.clone(),
        kernel_version: settings.machine.kernel_version.clone(),
        apparmor: info::apparmor_is_enabled(),
        pod_level_resources: config.gate("PodLevelResources"),
        declared_features: features::declared(config),
        shutting_down: false,
    }
}

/// `facts` with what the API says of the node.
pub(crate) fn with_object(facts: &Facts, node: &NodeView) -> Facts {
    let parsed = |(name, amount): (&String, &k8s_openapi::apimachinery::pkg::api::resource::Quantity)| {
        Some((name.clone(), amount.0.parse().ok()?))
    };
    let allocatable: BTreeMap<String, podspec::Quantity> =
        node.allocatable.iter().filter_map(parsed).collect();
    Facts {
        seen: true,
        labels: node.labels.clone(),
        taints: node.taints.clone(),
        // An object that nobody has written a status of says nothing about what there is.
        allocatable: if allocatable.is_empty() { facts.allocatable.clone() } else { allocatable },
        ..facts.clone()
    }
}

/// Who knows what. Without an API server there is no object.
#[derive(Debug)]
pub(crate) struct Origins {
    pub(crate) node: Option<NodeReceiver>,
    pub(crate) pressures: Option<watch::Receiver<Pressures>>,
    pub(crate) runtime: Option<watch::Receiver<RuntimeState>>,
    /// Whether the machine goes down.
    pub(crate) down: Option<watch::Receiver<bool>>,
}

impl Origins {
    /// `facts` with all that is known now. An object that was deleted is remembered: pods go on under what it said.
    fn gather(&mut self, facts: &Facts) -> Facts {
        let view = self.node.as_mut().and_then(|node| node.borrow_and_update().clone());
        let mut facts = view.map_or_else(|| facts.clone(), |view| with_object(facts, &view));
        if let Some(pressures) = &mut self.pressures {
            let Pressures { memory, disk, pid } = *pressures.borrow_and_update();
            let all = [(memory, Pressure::Memory), (disk, Pressure::Disk), (pid, Pressure::Pid)];
            facts.pressures = all.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect();
        }
        if let Some(runtime) = &mut self.runtime {
            facts.supplemental_groups_policy = runtime.borrow_and_update().supplemental_groups_policy;
        }
        if let Some(down) = &mut self.down {
            facts.shutting_down = *down.borrow_and_update();
        }
        facts
    }
}

/// Shows what is known at any time, until `stop`.
pub(crate) fn follow(
    local: Facts,
    mut origins: Origins,
    mut stop: watch::Receiver<bool>,
    tasks: &mut tokio::task::JoinSet<()>,
) -> watch::Receiver<Arc<Facts>> {
    let mut facts = origins.gather(&local);
    let (shown, receiver) = watch::channel(Arc::new(facts.clone()));
    tasks.spawn(async move {
        loop {
            tokio::select! {
                // Cancel-safe: all are levels.
                () = stopped(&mut stop) => return,
                () = changed(&mut origins.node) => {}
                () = changed(&mut origins.pressures) => {}
                () = changed(&mut origins.runtime) => {}
                () = changed(&mut origins.down) => {}
            }
            let next = origins.gather(&facts);
            if next != facts {
                facts = next;
                shown.send_replace(Arc::new(facts.clone()));
            }
        }
    });
    receiver
}

/// Waits for news; there are none any more of what has ended.
pub(super) async fn changed<T>(receiver: &mut Option<watch::Receiver<T>>) {
    if let Some(live) = receiver
        && live.changed().await.is_ok()
    {
        return;
    }
    *receiver = None;
    std::future::pending().await
}

/// Reads the own object past all caches.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) client: kube::Client,
    pub(crate) node_name: String,
    pub(crate) limit: Duration,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("node", &self.node_name).finish_non_exhaustive()
    }
}

impl Reader {
    /// The object as it is now, where it can be had.
    pub(crate) async fn read(self) -> Option<NodeView> {
        let Self { client, node_name, limit } = self;
        let error = match timeout(limit, Api::<Node>::all(client).get(&node_name)).await {
            Ok(Ok(node)) => return Some(view::slim(&node)),
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("no answer in {limit:?}"),
        };
        tracing::warn!(node = node_name, error, "the node's labels could not be read again");
        None
    }
}

#[cfg(test)]
mod tests;
