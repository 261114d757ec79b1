//! What the rest of the daemon may see of the pods: the object with its newest status, and what runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod as ApiPod, PodStatus};
use lifecycle::{ContainerState, Pod};
use tokio::sync::watch;

use crate::clock;

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
    /// How far it has come to its end.
    end: End,
}

/// A pod whose grace lasts longer than this yet may be put out like one whose end has not begun.
const LONG_GRACE: Duration = Duration::from_secs(5);

/// How far a pod has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Not begun.
    Before,
    /// It has begun; boot time at which its grace is over.
    Begun(Duration),
    /// Nothing runs any more and its volumes are unmounted.
    Over,
}

impl End {
    fn of(machine: &Pod) -> Self {
        match machine.ends_at() {
            _ if machine.is_settled() && !machine.holds_room() => Self::Over,
            Some(at) => Self::Begun(at),
            None if machine.is_ending() => Self::Begun(Duration::ZERO),
            None => Self::Before,
        }
    }
}

/// A pod whose end has not begun, or is far off.
#[derive(Clone, Debug)]
pub(crate) struct Evictable {
    pub(crate) pod: Arc<ApiPod>,
    /// Whether any of its containers runs.
    pub(crate) runs: bool,
}

/// Shared by the pod tasks, which write, and the servers, which read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pods: Arc<Mutex<HashMap<String, Entry>>>,
    /// Goes on when any pod's running containers have changed, and when one has come nearer to its end.
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
        let end = End::of(machine);
        let changed = self.with(|pods| match pods.get_mut(uid) {
            Some(entry) => {
                let nearer = std::mem::replace(&mut entry.end, end) != end;
                entry.pod = Arc::clone(machine.spec());
                entry.status = machine.status().cloned();
                entry.sandbox = sandbox;
                entry.running.send_if_modified(|old| {
                    let changed = *old != running;
                    *old = running;
                    changed
                }) || nearer
            }
            None => {
                let entry = Entry {
                    pod: Arc::clone(machine.spec()),
                    status: machine.status().cloned(),
                    running: watch::Sender::new(running),
                    sandbox,
                    end,
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
            end: End::Before,
        };
        self.with(|pods| pods.insert(uid, entry));
        self.containers.send_replace(());
    }

    /// Such a pod is ending; its grace is over at this boot time.
    #[cfg(test)]
    fn set_ending(&self, uid: &str, at: Duration) {
        self.with(|pods| pods.get_mut(uid).map(|entry| entry.end = End::Begun(at)));
    }

    /// Nothing of such a pod will run any more.
    #[cfg(test)]
    pub(crate) fn set_over(&self, uid: &str) {
        self.with(|pods| pods.get_mut(uid).map(|entry| entry.end = End::Over));
    }

    /// The pod is gone from this node.
    pub(crate) fn remove(&self, uid: &str) {
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

    /// The pods whose end has not begun, and those that take a long time for it.
    pub(crate) fn evictable(&self) -> Vec<Evictable> {
        let soon = clock::boot() + LONG_GRACE;
        self.with(|pods| {
            let before = pods.values().filter(|entry| match entry.end {
                End::Before => true,
                End::Begun(at) => at > soon,
                End::Over => false,
            });
            let evictable = |entry: &Entry| Evictable {
                pod: Arc::clone(&entry.pod),
                runs: entry.running.borrow().as_ref().is_some_and(|running| !running.is_empty()),
            };
            before.map(evictable).collect()
        })
    }

    /// Whether nothing of the pod runs any more and its volumes are unmounted; or there is no such pod.
    pub(crate) fn is_over(&self, uid: &str) -> bool {
        self.with(|pods| pods.get(uid).is_none_or(|entry| entry.end == End::Over))
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

    /// Shows each pod to `see`, which must be short, and whether nothing of it will run any more.
    pub(crate) fn each_pod(&self, mut see: impl FnMut(&ApiPod, bool)) {
        self.with(|pods| pods.values().for_each(|entry| see(&entry.pod, entry.end == End::Over)));
    }

    /// The pod that has, or had last, the container with this id of the runtime's, and that container's name; a pod of this UID
    /// without its dashes and underscores where nothing is known of such a container yet.
    pub(crate) fn of_container(
        &self,
        id: &str,
        plain_uid: Option<&str>,
    ) -> Option<(Arc<ApiPod>, Option<String>)> {
        self.with(|pods| {
            let named =
                pods.values().find_map(|e| e.container_name(id).map(|name| (Arc::clone(&e.pod), Some(name))));
            named.or_else(|| {
                let plain = |uid: &str| uid.replace(['-', '_'], "");
                let (_, entry) = pods.iter().find(|(uid, _)| Some(plain(uid).as_str()) == plain_uid)?;
                Some((Arc::clone(&entry.pod), None))
            })
        })
    }

    /// Tells when [`Shown::each_running`] has something else to show.
    pub(crate) fn running_changed(&self) -> watch::Receiver<()> {
        self.containers.subscribe()
    }
}

impl Entry {
    fn container_name(&self, id: &str) -> Option<String> {
        let running = self.running.borrow();
        if let Some(found) = running.iter().flatten().find(|r| r.id == id) {
            return Some(found.container.clone());
        }
        let status = self.status.as_deref()?;
        let lists = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        let is_it = |of: &Option<String>| of.as_deref().is_some_and(|of| of.ends_with(id) && !id.is_empty());
        let found = lists.into_iter().flatten().flatten().find(|c| {
            let last = c.last_state.as_ref().and_then(|s| s.terminated.as_ref());
            is_it(&c.container_id) || last.is_some_and(|t| is_it(&t.container_id))
        });
        found.map(|c| c.name.clone())
    }

    fn merged(&self) -> ApiPod {
        let mut pod = ApiPod::clone(&self.pod);
        if let Some(status) = &self.status {
            pod.status = Some(PodStatus::clone(status));
        }
        pod
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    #[test]
    fn a_pod_that_takes_long_to_end_may_be_put_out_like_one_that_is_not_ending() {
        let shown = Shown::default();
        for uid in ["runs", "soon", "late", "over"] {
            let metadata = ObjectMeta { uid: Some(uid.to_owned()), ..ObjectMeta::default() };
            shown.set(ApiPod { metadata, ..ApiPod::default() }, Vec::new());
        }
        shown.set_ending("soon", clock::boot() + Duration::from_secs(1));
        shown.set_ending("late", clock::boot() + Duration::from_secs(600));
        shown.set_over("over");
        let mut found: Vec<_> =
            shown.evictable().into_iter().filter_map(|e| e.pod.metadata.uid.clone()).collect();
        found.sort_unstable();
        assert_eq!(found, ["late", "runs"]);
    }
}
