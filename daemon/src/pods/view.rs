//! What the rest of the daemon may see of the pods: the object with its newest status, and what runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Pod as ApiPod, PodStatus};
use lifecycle::{ContainerState, Pod};
use tokio::sync::watch;

#[derive(Debug)]
struct Entry {
    pod: Arc<ApiPod>,
    status: Option<Arc<PodStatus>>,
    /// Ids of the containers that run, sorted.
    running: watch::Sender<Vec<String>>,
    /// The id of the newest sandbox, while it is ready.
    sandbox: Option<String>,
}

/// Shared by the pod tasks, which write, and the servers, which read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pods: Arc<Mutex<HashMap<String, Entry>>>,
}

impl Shown {
    fn with<T>(&self, use_pods: impl FnOnce(&mut HashMap<String, Entry>) -> T) -> T {
        use_pods(&mut self.pods.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what `machine` knows now.
    pub(super) fn update(&self, uid: &str, machine: &Pod) {
        let mut running: Vec<String> = machine
            .observation()
            .map(|o| {
                o.containers
                    .iter()
                    .filter(|c| c.state == ContainerState::Running)
                    .map(|c| c.id.clone())
                    .collect()
            })
            .unwrap_or_default();
        running.sort_unstable();
        let sandbox = machine.observation().and_then(|o| {
            let newest = o.sandboxes.iter().max_by_key(|s| (s.attempt, s.created_at))?;
            newest.ready.then(|| newest.id.clone())
        });
        self.with(|pods| match pods.get_mut(uid) {
            Some(entry) => {
                entry.pod = Arc::clone(machine.spec());
                entry.status = machine.status().cloned();
                entry.sandbox = sandbox;
                entry.running.send_if_modified(|old| {
                    let changed = *old != running;
                    *old = running;
                    changed
                });
            }
            None => {
                let entry = Entry {
                    pod: Arc::clone(machine.spec()),
                    status: machine.status().cloned(),
                    running: watch::Sender::new(running),
                    sandbox,
                };
                pods.insert(uid.to_owned(), entry);
            }
        });
    }

    /// The pod is gone from this node.
    pub(super) fn remove(&self, uid: &str) {
        self.with(|pods| pods.remove(uid));
    }

    /// Every pod with its newest status.
    pub(crate) fn pods(&self) -> Vec<ApiPod> {
        self.with(|pods| pods.values().map(Entry::merged).collect())
    }

    /// The pod of this name with its newest status; of several the one that still runs.
    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<ApiPod> {
        self.with(|pods| {
            let named = pods.values().filter(|e| {
                e.pod.metadata.namespace.as_deref() == Some(namespace)
                    && e.pod.metadata.name.as_deref() == Some(name)
            });
            named.max_by_key(|e| e.running.borrow().len()).map(Entry::merged)
        })
    }

    /// The sandbox of a pod, if it is ready.
    pub(crate) fn sandbox(&self, uid: &str) -> Option<String> {
        self.with(|pods| pods.get(uid)?.sandbox.clone())
    }

    /// Tells which containers of a pod run, and when that changes.
    pub(crate) fn running(&self, uid: &str) -> Option<watch::Receiver<Vec<String>>> {
        self.with(|pods| pods.get(uid).map(|e| e.running.subscribe()))
    }
}

impl Entry {
    fn merged(&self) -> ApiPod {
        let mut pod = ApiPod::clone(&self.pod);
        if let Some(status) = &self.status {
            pod.status = Some(PodStatus::clone(status));
        }
        pod
    }
}
