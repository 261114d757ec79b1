//! What the rest of the daemon may see of the pods: the object with its newest status, and what runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Pod as ApiPod, PodStatus};
use lifecycle::{ContainerState, Pod};
use tokio::sync::watch;

/// A container that runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Running {
    /// The runtime's id.
    pub(crate) id: String,
    /// The container's name in the pod's spec.
    pub(crate) container: String,
    /// Which of its runs this is; its log has that name.
    pub(crate) restart_count: u32,
}

/// A pod, and what of it runs.
#[derive(Clone, Debug)]
pub(crate) struct RunningPod {
    pub(crate) pod: Arc<ApiPod>,
    pub(crate) status: Option<Arc<PodStatus>>,
    /// Sorted.
    pub(crate) running: Vec<Running>,
    /// The id of the newest sandbox, while it is ready.
    pub(crate) sandbox: Option<String>,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<ApiPod>,
    status: Option<Arc<PodStatus>>,
    /// The containers that run, sorted; `None` until the runtime was looked at.
    running: watch::Sender<Option<Vec<Running>>>,
    /// The id of the newest sandbox, while it is ready.
    sandbox: Option<String>,
}

/// Shared by the pod tasks, which write, and the servers, which read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pods: Arc<Mutex<HashMap<String, Entry>>>,
    /// Goes on when any pod's running containers have changed.
    containers: watch::Sender<()>,
}

impl Shown {
    fn with<T>(&self, use_pods: impl FnOnce(&mut HashMap<String, Entry>) -> T) -> T {
        use_pods(&mut self.pods.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what `machine` knows now.
    pub(super) fn update(&self, uid: &str, machine: &Pod) {
        let running = machine.observation().map(|o| {
            let mut running: Vec<Running> = o
                .containers
                .iter()
                .filter(|c| c.state == ContainerState::Running)
                .map(|c| Running {
                    id: c.id.clone(),
                    container: c.name.clone(),
                    restart_count: c.restart_count,
                })
                .collect();
            running.sort_unstable();
            running
        });
        let sandbox = machine.observation().and_then(|o| {
            let newest = o.sandboxes.iter().max_by_key(|s| (s.attempt, s.created_at))?;
            newest.ready.then(|| newest.id.clone())
        });
        let changed = self.with(|pods| match pods.get_mut(uid) {
            Some(entry) => {
                entry.pod = Arc::clone(machine.spec());
                entry.status = machine.status().cloned();
                entry.sandbox = sandbox;
                entry.running.send_if_modified(|old| {
                    let changed = *old != running;
                    *old = running;
                    changed
                })
            }
            None => {
                let entry = Entry {
                    pod: Arc::clone(machine.spec()),
                    status: machine.status().cloned(),
                    running: watch::Sender::new(running),
                    sandbox,
                };
                pods.insert(uid.to_owned(), entry);
                true
            }
        });
        if changed {
            self.containers.send_replace(());
        }
    }

    /// A pod whose containers run, without a machine.
    #[cfg(test)]
    pub(crate) fn set(&self, pod: ApiPod, running: Vec<Running>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let entry = Entry {
            pod: Arc::new(pod),
            status: None,
            running: watch::Sender::new(Some(running)),
            sandbox: None,
        };
        self.with(|pods| pods.insert(uid, entry));
        self.containers.send_replace(());
    }

    /// The pod is gone from this node.
    pub(super) fn remove(&self, uid: &str) {
        self.with(|pods| pods.remove(uid));
        self.containers.send_replace(());
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
            named.max_by_key(|e| e.running.borrow().as_ref().map_or(0, Vec::len)).map(Entry::merged)
        })
    }

    /// The sandbox of a pod, if it is ready.
    pub(crate) fn sandbox(&self, uid: &str) -> Option<String> {
        self.with(|pods| pods.get(uid)?.sandbox.clone())
    }

    /// Tells which containers of a pod run, and when that changes; `None` until the runtime was looked at.
    pub(crate) fn running(&self, uid: &str) -> Option<watch::Receiver<Option<Vec<Running>>>> {
        self.with(|pods| pods.get(uid).map(|e| e.running.subscribe()))
    }

    /// Shows each container that runs, with its pod, to `see`, which must be short: the pods wait for it.
    pub(crate) fn each_running(&self, mut see: impl FnMut(&ApiPod, &Running)) {
        self.with(|pods| {
            for entry in pods.values() {
                entry.running.borrow().iter().flatten().for_each(|running| see(&entry.pod, running));
            }
        });
    }

    /// Every pod that was looked at in the runtime, and what of it runs.
    pub(crate) fn running_pods(&self) -> Vec<RunningPod> {
        self.with(|pods| {
            let seen = pods.values().filter_map(|entry| {
                Some(RunningPod {
                    pod: Arc::clone(&entry.pod),
                    status: entry.status.clone(),
                    running: entry.running.borrow().clone()?,
                    sandbox: entry.sandbox.clone(),
                })
            });
            seen.collect()
        })
    }

    /// Tells when [`Shown::each_running`] has something else to show.
    pub(crate) fn running_changed(&self) -> watch::Receiver<()> {
        self.containers.subscribe()
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
