//! Mirror pods: the API objects that stand for static pods. behaviour.md 1.7 to 1.11.
//!
//! Two sets and one task: what should be mirrored (told by the file source and the pods' supervisor), what the API server has
//! (told by the watch), and the task that makes the second equal the first. It acts on differences only, so a lost call costs
//! time; an object that it made and the watch has not shown yet is remembered from the call's answer.
//!
//! A mirror is deleted with grace 0 and its UID as precondition: when its hash differs, when somebody deletes it (the
//! static pod goes on, and gets a new mirror), and when nothing wants it. The last only after every source of static pods has listed once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::{CONFIG_HASH, CONFIG_MIRROR, annotation};
use crate::cause::chain;
use crate::node::NodeView;

const CALL_TIMEOUT: Duration = Duration::from_secs(15);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(10);

/// Namespace and name.
type FullName = (String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Image {
    uid: String,
    hash: String,
    deleting: bool,
}

#[derive(Debug, Default)]
struct State {
    wanted: BTreeMap<FullName, Arc<Pod>>,
    in_api: BTreeMap<FullName, Image>,
    /// Until then nothing is taken for an orphan.
    awaited: Option<usize>,
    /// Until then it is not known what exists.
    api_listed: bool,
}

/// One call that brings the API closer to what is wanted.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Create(Arc<Pod>),
    Delete(FullName, String),
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    /// Counts up when the API has a mirror that it did not have before.
    renewed: watch::Sender<u64>,
}

/// Handle on the mirrors; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Mirrors(Arc<Shared>);

impl Mirrors {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// UID of the mirror of the static pod with this full name; `None` when the API has none, or one that is going.
    #[must_use]
    pub fn uid_of(&self, namespace: &str, name: &str) -> Option<String> {
        self.with(|state| {
            state
                .in_api
                .get(&(namespace.to_owned(), name.to_owned()))
                .filter(|image| !image.deleting)
                .map(|image| image.uid.clone())
        })
    }

    /// The static pod is to have a mirror. Called by the file source for each pod that it has.
    pub fn ensure(&self, pod: &Arc<Pod>) {
        let full_name = full_name(pod);
        self.change(|state| {
            state.wanted.insert(full_name, Arc::clone(pod));
        });
    }

    /// The static pod has ended and its last status is written: the mirror goes. Called by whoever runs the pod.
    /// Nothing happens when a newer static pod (`uid` differs) has taken the name meanwhile.
    pub fn forget(&self, namespace: &str, name: &str, uid: &str) {
        let full_name = (namespace.to_owned(), name.to_owned());
        self.change(|state| {
            if state.wanted.get(&full_name).is_some_and(|pod| pod.metadata.uid.as_deref() == Some(uid)) {
                state.wanted.remove(&full_name);
            }
        });
    }

    /// So many sources of static pods are to list their pods before a mirror is taken for one that nobody wants.
    pub fn await_sources(&self, count: usize) {
        self.change(|state| state.awaited = Some(count));
    }

    /// A source of static pods has listed all its pods for the first time.
    pub fn source_listed(&self) {
        self.change(|state| state.awaited = state.awaited.map(|count| count.saturating_sub(1)));
    }

    /// Tells when a mirror was made: it has no status yet.
    pub(crate) fn renewed(&self) -> watch::Receiver<u64> {
        self.0.renewed.subscribe()
    }

    pub(super) fn listed(&self, images: &[Pod]) {
        let mut renewed = false;
        self.change(|state| {
            let before = std::mem::take(&mut state.in_api);
            state.in_api = images.iter().map(|pod| (full_name(pod), image(pod))).collect();
            state.api_listed = true;
            renewed =
                state.in_api.iter().any(|(name, image)| before.get(name).map(|b| &b.uid) != Some(&image.uid));
        });
        self.tell_renewed(renewed);
    }

    pub(super) fn applied(&self, pod: &Pod) {
        let mut renewed = false;
        self.change(|state| {
            let image = image(pod);
            let uid = image.uid.clone();
            let before = state.in_api.insert(full_name(pod), image);
            renewed = before.is_none_or(|before| before.uid != uid);
        });
        self.tell_renewed(renewed);
    }

    fn tell_renewed(&self, renewed: bool) {
        if renewed {
            self.0.renewed.send_modify(|count| *count += 1);
        }
    }

    pub(super) fn deleted(&self, pod: &Pod) {
        let full_name = full_name(pod);
        self.change(|state| {
            if state.in_api.get(&full_name).is_some_and(|image| Some(&image.uid) == pod.metadata.uid.as_ref())
            {
                state.in_api.remove(&full_name);
            }
        });
    }

    /// Makes the API's mirrors equal what is wanted, until `stop`. Mirrors are owned by the node, so nothing is made before
    /// `node` shows it.
    pub async fn run(
        self,
        client: kube::Client,
        mut node: watch::Receiver<Option<Arc<NodeView>>>,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        let mut node_is_there = true;
        loop {
            let changed = self.0.changed.notified();
            let view = node.borrow_and_update().clone();
            let steps = self.with(|state| steps(state, view.as_deref()));
            let mut failed = false;
            for step in steps {
                let acted = tokio::select! {
                    // Cancel-safe enough: a call that was cut off is found again by the next start's list.
                    _ = stop.wait_for(|stop| *stop) => return,
                    acted = self.act(&client, step, view.as_deref()) => acted,
                };
                if let Err(error) = acted {
                    tracing::warn!(
                        error = chain(&error),
                        "a mirror pod could not be brought up to date; tried again"
                    );
                    failed = true;
                }
            }
            if !failed {
                backoff.reset();
            }
            tokio::select! {
                // Cancel-safe: a level.
                _ = stop.wait_for(|stop| *stop) => return,
                // Cancel-safe: a permit is kept; it was asked for before the state was read.
                () = changed, if !failed => {}
                // Cancel-safe: a level.
                result = node.changed(), if !failed && node_is_there => node_is_there = result.is_ok(),
                // Cancel-safe: only a time.
                () = sleep(backoff.delay()), if failed => {}
            }
        }
    }

    async fn act(
        &self,
        client: &kube::Client,
        step: Step,
        node: Option<&NodeView>,
    ) -> Result<(), MirrorError> {
        match step {
            Step::Create(pod) => {
                let Some(node) = node else { return Ok(()) };
                let (namespace, name) = full_name(&pod);
                let failed = |cause: String| MirrorError {
                    action: "creating",
                    namespace: namespace.clone(),
                    name: name.clone(),
                    cause,
                };
                let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
                let mirror = mirror_of(&pod, node);
                let answer = timeout(CALL_TIMEOUT, api.create(&PostParams::default(), &mirror)).await;
                let made = match answer.map_err(|_| failed("no answer in time".to_owned()))? {
                    // Made earlier, and the watch has not told: whether it fits shows when it is looked at.
                    Err(kube::Error::Api(status)) if status.is_already_exists() => {
                        let found = timeout(CALL_TIMEOUT, api.get(&name)).await;
                        found
                            .map_err(|_| failed("no answer in time".to_owned()))?
                            .map_err(|error| failed(chain(&error)))?
                    }
                    answer => answer.map_err(|error| failed(chain(&error)))?,
                };
                if annotation(&made, CONFIG_MIRROR).is_none() {
                    return Err(failed("a pod of this name exists and is no mirror".to_owned()));
                }
                self.applied(&made);
            }
            Step::Delete((namespace, name), uid) => {
                let failed = |cause: String| MirrorError {
                    action: "deleting",
                    namespace: namespace.clone(),
                    name: name.clone(),
                    cause,
                };
                let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
                let params = DeleteParams {
                    grace_period_seconds: Some(0),
                    preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
                    ..DeleteParams::default()
                };
                match timeout(CALL_TIMEOUT, api.delete(&name, &params))
                    .await
                    .map_err(|_| failed("no answer in time".to_owned()))?
                {
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {}
                    Err(error) => return Err(failed(chain(&error))),
                }
                self.change(|state| {
                    if state
                        .in_api
                        .get(&(namespace.clone(), name.clone()))
                        .is_some_and(|image| image.uid == uid)
                    {
                        state.in_api.remove(&(namespace, name));
                    }
                });
            }
        }
        Ok(())
    }

    fn with<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.notify_one();
    }
}

/// What is to be done now. Deletions come first: a name must be free before it is used again.
fn steps(state: &State, node: Option<&NodeView>) -> Vec<Step> {
    if !state.api_listed {
        return Vec::new();
    }
    let mut deletions = BTreeSet::new();
    let mut creations = Vec::new();
    for (full_name, pod) in &state.wanted {
        let hash = annotation(pod, CONFIG_HASH).unwrap_or_default();
        match state.in_api.get(full_name) {
            Some(image) if !image.deleting && image.hash == hash => {}
            Some(image) => {
                deletions.insert((full_name.clone(), image.uid.clone()));
            }
            None if node.is_some_and(|node| !node.deleting) => creations.push(Step::Create(Arc::clone(pod))),
            None => {}
        }
    }
    if state.awaited == Some(0) {
        let orphans = state.in_api.iter().filter(|(full_name, _)| !state.wanted.contains_key(*full_name));
        deletions.extend(orphans.map(|(full_name, image)| (full_name.clone(), image.uid.clone())));
    }
    deletions.into_iter().map(|(full_name, uid)| Step::Delete(full_name, uid)).chain(creations).collect()
}

fn mirror_of(pod: &Pod, node: &NodeView) -> Pod {
    let mut mirror = pod.clone();
    let hash = annotation(pod, CONFIG_HASH).unwrap_or_default().to_owned();
    let metadata = &mut mirror.metadata;
    metadata.uid = None;
    metadata.resource_version = None;
    metadata.annotations.get_or_insert_default().insert(CONFIG_MIRROR.to_owned(), hash);
    metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.name.clone(),
        uid: node.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    mirror
}

fn full_name(pod: &Pod) -> FullName {
    (pod.metadata.namespace.clone().unwrap_or_default(), pod.metadata.name.clone().unwrap_or_default())
}

fn image(pod: &Pod) -> Image {
    Image {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        hash: annotation(pod, CONFIG_MIRROR).unwrap_or_default().to_owned(),
        deleting: pod.metadata.deletion_timestamp.is_some(),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{action} mirror pod {namespace}/{name}: {cause}")]
struct MirrorError {
    action: &'static str,
    namespace: String,
    name: String,
    cause: String,
}

#[cfg(test)]
mod tests;
