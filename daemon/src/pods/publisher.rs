//! Sends statuses, deletions and events of pods to the API server.
//!
//! The base of each patch is what the API was last seen to have, so that nothing is sent twice and what others wrote is
//! put right. How many writes are under way at once is bounded for all pods together; each pod has at most one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, Pod as ApiPod, PodStatus};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use lifecycle::{Answer, Event, EventType, Failure, FailureKind};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::status_patch::status_patch;
use super::urgency::Urgency;
use crate::cause::chain;
use crate::clock;
use crate::events::Recorder;
use crate::metrics::Metrics;
use crate::sources::CONFIG_HASH;
use crate::sources::mirror::Mirrors;

/// Status writes and deletions under way at once, of all pods. Each needs a connection of its own: as many as are kept open, so
/// that a burst makes no new ones, whose handshakes cost more than the writes.
const WRITES_AT_ONCE: usize = 8;
/// Of those, the ones that only tell how far a start or an end has come.
const PATIENT_AT_ONCE: usize = 2;
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// What became of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// The API has it.
    Taken,
    /// The API has no such pod.
    Gone,
    /// The API could not be reached, or refused; to be tried again.
    Failed,
}

/// The right to write one status; ends with the write.
#[derive(Debug)]
pub(super) struct Turn {
    _write: OwnedSemaphorePermit,
    _patient: Option<OwnedSemaphorePermit>,
}

/// What the API has of one pod, as far as this daemon knows.
#[derive(Clone, Debug)]
struct Known {
    resource_version: u64,
    status: Arc<PodStatus>,
}

/// See the module's page.
#[derive(Clone)]
pub(crate) struct Publisher {
    client: Option<kube::Client>,
    recorder: Recorder,
    mirrors: Mirrors,
    metrics: Metrics,
    writes: Arc<Semaphore>,
    patient: Arc<Semaphore>,
    known: Arc<Mutex<HashMap<String, Known>>>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("api", &self.client.is_some()).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Without a client nothing is sent: the node stands alone.
    pub(crate) fn new(
        client: Option<kube::Client>,
        recorder: Recorder,
        mirrors: Mirrors,
        metrics: Metrics,
    ) -> Self {
        let writes = Arc::new(Semaphore::new(WRITES_AT_ONCE));
        let patient = Arc::new(Semaphore::new(PATIENT_AT_ONCE));
        Self { client, recorder, mirrors, metrics, writes, patient, known: Arc::default() }
    }

    /// Says, once, that a pod was found here that no source has.
    pub(super) fn orphan(&self, namespace: &str, name: &str, uid: &str) {
        let message = format!(
            "Pod {namespace}/{name} ({uid}) runs here and no source has it; it is stopped and removed"
        );
        self.recorder.node_event(false, "OrphanedPodRemoved", message);
    }

    /// The API has this object; older news than what a write brought is ignored.
    pub(super) fn seen(&self, pod: &ApiPod) {
        let (Some(uid), Some(status)) = (&pod.metadata.uid, &pod.status) else { return };
        let version = resource_version(pod);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(uid).is_none_or(|k| k.resource_version < version) {
            known.insert(uid.clone(), Known { resource_version: version, status: Arc::new(status.clone()) });
        }
    }

    /// The API has taken `sent` and answered with `written`. Where both say the same, as they mostly do, one of them is kept.
    fn taken(&self, written: &ApiPod, sent: &Arc<PodStatus>) {
        if written.status.as_ref() != Some(&**sent) {
            return self.seen(written);
        }
        let Some(uid) = written.metadata.uid.clone() else { return };
        let resource_version = resource_version(written);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The watch may have shown it already, or something newer.
        if known.get(&uid).is_none_or(|k| k.resource_version <= resource_version) {
            known.insert(uid, Known { resource_version, status: Arc::clone(sent) });
        }
    }

    /// Whether the API has something else than `status`, so that it must be put right (behaviour.md 6.2).
    pub(super) fn differs(&self, pod: &ApiPod, status: &PodStatus) -> bool {
        if self.client.is_none() || self.target(pod).is_none() {
            return false;
        }
        match self.known(pod) {
            Some(known) => status_patch(Some(&known), status).is_some(),
            // A mirror that was just made; of other pods nothing is sent before they were seen.
            None => crate::sources::is_static(pod),
        }
    }

    /// Nothing is left of the pod: a static pod's mirror goes with it.
    pub(super) fn ended(&self, pod: &ApiPod) {
        let part = |s: &Option<String>| s.clone().unwrap_or_default();
        let (namespace, name, uid) =
            (part(&pod.metadata.namespace), part(&pod.metadata.name), part(&pod.metadata.uid));
        if crate::sources::is_static(pod) {
            // The source knows it by what its manifest says, whatever UID it runs under.
            let hash = pod.metadata.annotations.as_ref().and_then(|a| a.get(CONFIG_HASH));
            self.mirrors.forget(&namespace, &name, hash.unwrap_or(&uid));
        }
        self.forget(&uid);
    }

    /// Forgets a pod that is gone.
    fn forget(&self, uid: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Records an event about `pod`.
    pub(super) fn event(&self, pod: &ApiPod, event: Event) {
        let warning = event.kind == EventType::Warning;
        self.recorder.pod_event(pod, event.field_path.as_deref(), warning, event.reason, event.message);
    }

    /// The status that the API was last seen to have.
    pub(super) fn known(&self, pod: &ApiPod) -> Option<Arc<PodStatus>> {
        let (.., uid) = self.target(pod)?;
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&uid).map(|k| Arc::clone(&k.status))
    }

    /// Waits for the right to write a status; `None` where the daemon is ending. Dropping the future gives the place up.
    pub(super) async fn turn(&self, urgency: Urgency) -> Option<Turn> {
        let patient = match urgency {
            Urgency::AtOnce => None,
            Urgency::Soon => Some(Arc::clone(&self.patient).acquire_owned().await.ok()?),
        };
        let write = Arc::clone(&self.writes).acquire_owned().await.ok()?;
        Some(Turn { _write: write, _patient: patient })
    }

    /// Records an event about the pod that `about` names.
    pub(super) fn event_about(&self, mut about: ObjectReference, event: Event) {
        let warning = event.kind == EventType::Warning;
        about.field_path = event.field_path;
        self.recorder.event_about(about, warning, event.reason, event.message);
    }

    /// Brings the API's status of `pod` to `status`, which has been waiting since `changed` (boot time); that of a static pod is
    /// its mirror's.
    pub(super) async fn send(
        &self,
        pod: &ApiPod,
        status: &Arc<PodStatus>,
        changed: Duration,
        _turn: Turn,
    ) -> Sent {
        let Some(client) = &self.client else { return Sent::Taken };
        let Some((namespace, name, uid)) = self.target(pod) else {
            // A static pod without a mirror yet: there is nothing to write to (behaviour.md 1.9).
            return Sent::Failed;
        };
        let base = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&uid)
            .map(|k| Arc::clone(&k.status));
        let Some(patch) = status_patch(base.as_deref(), status) else { return Sent::Taken };
        let body = json!({"metadata": {"uid": uid}, "status": patch});
        let api: Api<ApiPod> = Api::namespaced(client.clone(), &namespace);
        let params = PatchParams::default();
        let patch = Patch::Strategic(&body);
        let write = api.patch_status(&name, &params, &patch);
        match tokio::time::timeout(WRITE_TIMEOUT, write).await {
            Ok(Ok(written)) => {
                self.metrics.status_taken(clock::boot().saturating_sub(changed));
                self.taken(&written, status);
                Sent::Taken
            }
            Ok(Err(kube::Error::Api(e))) if e.code == 404 || e.code == 409 => {
                tracing::debug!(pod = %format_args!("{namespace}/{name}"), error = %e, "the API has no such pod");
                self.forget(&uid);
                // A static pod's mirror comes again, and tells when it does.
                if crate::sources::is_static(pod) { Sent::Failed } else { Sent::Gone }
            }
            Ok(Err(error)) => {
                tracing::warn!(pod = %format_args!("{namespace}/{name}"), error = chain(&error), "the pod's status was not taken; it is kept and sent again");
                Sent::Failed
            }
            Err(_) => {
                tracing::warn!(pod = %format_args!("{namespace}/{name}"), "the API server did not answer a status write in {WRITE_TIMEOUT:?}");
                Sent::Failed
            }
        }
    }

    /// Resolves when the writes that are under way or wait for their turn have come to an end.
    pub(crate) async fn flushed(self) {
        // Turns are given in the order in which they were asked for.
        drop(self.writes.acquire_many(WRITES_AT_ONCE as u32).await);
    }

    /// Deletes the object for good: grace 0, and only if it is still the same one.
    pub(super) async fn delete(&self, pod: &ApiPod) -> Result<Answer, Failure> {
        let Some(client) = &self.client else { return Ok(Answer::Done) };
        let Some((namespace, name, uid)) = self.target(pod) else { return Ok(Answer::Done) };
        let unavailable = |message: String| Failure { kind: FailureKind::Unavailable, message };
        let Ok(_slot) = self.writes.acquire().await else {
            return Err(unavailable("the daemon is ending".into()));
        };
        let api: Api<ApiPod> = Api::namespaced(client.clone(), &namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match tokio::time::timeout(WRITE_TIMEOUT, api.delete(&name, &params)).await {
            Ok(Ok(_)) => Ok(Answer::Done),
            Ok(Err(kube::Error::Api(e))) if e.code == 404 || e.code == 409 => Ok(Answer::Done),
            Ok(Err(error)) => Err(unavailable(chain(&error))),
            Err(_) => Err(unavailable(format!("no answer in {WRITE_TIMEOUT:?}"))),
        }
    }

    /// Namespace, name and UID of the API object that stands for `pod`.
    fn target(&self, pod: &ApiPod) -> Option<(String, String, String)> {
        let namespace = pod.metadata.namespace.clone()?;
        let name = pod.metadata.name.clone()?;
        let uid = if crate::sources::is_static(pod) {
            self.mirrors.uid_of(&namespace, &name)?
        } else {
            pod.metadata.uid.clone()?
        };
        Some((namespace, name, uid))
    }
}

fn resource_version(pod: &ApiPod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}
