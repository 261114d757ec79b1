//! What the scheduler writes: bindings, the condition PodScheduled, events.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::Request;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::cause::chain;
use crate::core::{BindEnd, Report, ReportReason};
use crate::pod::{PodRef, SCHEDULER_NAME};
use crate::storage::Pick;

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// For the API server to bind claims to the volumes that name them.
const VOLUMES_TIMEOUT: Duration = Duration::from_secs(30);
const VOLUMES_LOOK: Duration = Duration::from_millis(50);
/// The API's bound for an event's text.
const MOST_NOTE: usize = 1024;

/// A call that did not succeed.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("the API server did not answer within {CALL_TIMEOUT:?}")]
    NoAnswer,
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("the request could not be made: {0}")]
    Request(String),
    #[error("the claim {0} was not bound within {VOLUMES_TIMEOUT:?}")]
    Unbound(String),
}

/// Writes to one API server.
#[derive(Clone)]
pub(crate) struct Writer {
    client: kube::Client,
    /// `default-scheduler-<host>`.
    instance: Arc<str>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn new(client: kube::Client, host: &str) -> Self {
        Self { client, instance: format!("{SCHEDULER_NAME}-{host}").into() }
    }

    /// Binds a pod and before it its claims; the UID keeps a pod of the same name from being meant.
    pub(crate) async fn bind(&self, pod: &PodRef, node: &str, volumes: &[Pick]) -> BindEnd {
        let ended = match self.bind_volumes(volumes).await {
            Ok(()) => self.post_binding(pod, node).await,
            // Whoever took a volume has changed it: the pod is decided upon again.
            Err(error) => {
                tracing::warn!(pod = %format_args!("{}/{}", pod.namespace, pod.name), error = chain(&error), "its volumes were not bound; tried again");
                return BindEnd::Unavailable;
            }
        };
        let Err(error) = ended else { return BindEnd::Bound };
        let end = bind_end(&error);
        let pod = format_args!("{}/{}", pod.namespace, pod.name);
        match end {
            BindEnd::Overtaken => tracing::debug!(%pod, node, error = chain(&error), "not bound"),
            _ => tracing::warn!(%pod, node, error = chain(&error), "not bound; tried again"),
        }
        end
    }

    /// Has volumes name their claims, and waits until the claims are bound.
    async fn bind_volumes(&self, volumes: &[Pick]) -> Result<(), CallError> {
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        for pick in volumes {
            let patch = Patch::Merge(claimed(pick));
            deadline(api.patch(&pick.volume, &PatchParams::default(), &patch)).await?;
        }
        let begun = Instant::now();
        for Pick { claim: (namespace, name), .. } in volumes {
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), namespace);
            loop {
                let claim = deadline(claims.get(name)).await?;
                if claim.status.and_then(|s| s.phase).as_deref() == Some("Bound") {
                    break;
                }
                if begun.elapsed() > VOLUMES_TIMEOUT {
                    return Err(CallError::Unbound(name.to_string()));
                }
                sleep(VOLUMES_LOOK).await;
            }
        }
        Ok(())
    }

    async fn post_binding(&self, pod: &PodRef, node: &str) -> Result<(), CallError> {
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(pod.name.to_string()),
                namespace: Some(pod.namespace.to_string()),
                uid: Some(pod.uid.to_string()),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let body = serde_json::to_vec(&binding).map_err(|e| CallError::Request(e.to_string()))?;
        let path = format!("/api/v1/namespaces/{}/pods", pod.namespace);
        let request = Request::new(path)
            .create_subresource("binding", &pod.name, &PostParams::default(), body)
            .map_err(|e| CallError::Request(e.to_string()))?;
        let _: Value = deadline(self.client.request(request)).await?;
        Ok(())
    }

    /// Tells that a pod has no node; `true` if the condition is as it should be. An event is lost rather than repeated.
    pub(crate) async fn report(&self, report: &Report) -> bool {
        if report.event {
            self.event(&report.pod, "Warning", "FailedScheduling", "Scheduling", &report.message).await;
        }
        if !report.condition {
            return true;
        }
        let pods: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.client.clone(), &report.pod.namespace);
        let patch = condition(report, Timestamp::now());
        let params = PatchParams::default();
        match deadline(pods.patch_status(&report.pod.name, &params, &Patch::Strategic(patch))).await {
            Ok(_) => true,
            Err(error) => {
                let pod = format_args!("{}/{}", report.pod.namespace, report.pod.name);
                tracing::warn!(%pod, error = chain(&error), "the condition PodScheduled was not written; tried again");
                false
            }
        }
    }

    /// Tells that a pod was bound.
    pub(crate) async fn scheduled(&self, pod: &PodRef, node: &str) {
        let note = format!("Successfully assigned {}/{} to {node}", pod.namespace, pod.name);
        self.event(pod, "Normal", "Scheduled", "Binding", &note).await;
    }

    async fn event(&self, pod: &PodRef, kind: &str, reason: &str, action: &str, note: &str) {
        let event = event(pod, &self.instance, [kind, reason, action, note], Timestamp::now());
        let events: Api<Event> = Api::namespaced(self.client.clone(), &pod.namespace);
        if let Err(error) = deadline(events.create(&PostParams::default(), &event)).await {
            tracing::debug!(pod = %format_args!("{}/{}", pod.namespace, pod.name), reason, error = chain(&error), "event lost");
        }
    }
}

async fn deadline<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    Ok(timeout(CALL_TIMEOUT, call).await.map_err(|_| CallError::NoAnswer)??)
}

fn bind_end(error: &CallError) -> BindEnd {
    match error {
        CallError::Api(kube::Error::Api(status)) => match status.code {
            404 | 409 => BindEnd::Overtaken,
            429 | 500.. => BindEnd::Unavailable,
            _ => BindEnd::Refused(status.message.clone()),
        },
        CallError::Request(why) => BindEnd::Refused(why.clone()),
        CallError::NoAnswer | CallError::Api(_) | CallError::Unbound(_) => BindEnd::Unavailable,
    }
}

/// The patch by which a volume names its claim, of the version that was looked at.
fn claimed(pick: &Pick) -> Value {
    json!({
        "metadata": {
            "resourceVersion": &*pick.version,
            "annotations": { "pv.kubernetes.io/bound-by-controller": "yes" },
        },
        "spec": { "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": &*pick.claim.0,
            "name": &*pick.claim.1,
            "uid": &*pick.claim_uid,
        } },
    })
}

/// The patch that sets PodScheduled to false.
fn condition(report: &Report, now: Timestamp) -> Value {
    let reason = match report.reason {
        ReportReason::Unschedulable => "Unschedulable",
        ReportReason::SchedulerError => "SchedulerError",
    };
    let mut condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": reason,
        "message": report.message,
        "lastProbeTime": null,
    });
    if report.pod.generation > 0 {
        condition["observedGeneration"] = report.pod.generation.into();
    }
    if !report.known_false {
        condition["lastTransitionTime"] = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    }
    // The UID makes it a conflict to write to another pod of the same name.
    json!({ "metadata": { "uid": &*report.pod.uid }, "status": { "conditions": [condition] } })
}

fn event(pod: &PodRef, instance: &str, [kind, reason, action, note]: [&str; 4], now: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", pod.name, now.as_nanosecond())),
            namespace: Some(pod.namespace.to_string()),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        action: Some(action.to_owned()),
        reason: Some(reason.to_owned()),
        note: Some(cut(note)),
        type_: Some(kind.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name.to_string()),
            namespace: Some(pod.namespace.to_string()),
            resource_version: Some(pod.resource_version.to_string()),
            uid: Some(pod.uid.to_string()),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(SCHEDULER_NAME.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

/// At most as long as the API takes, with an ellipsis where something is missing.
fn cut(note: &str) -> String {
    if note.len() <= MOST_NOTE {
        return note.to_owned();
    }
    const MARK: &str = " ...";
    let mut end = MOST_NOTE - MARK.len();
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &note[..end])
}

#[cfg(test)]
mod tests;
