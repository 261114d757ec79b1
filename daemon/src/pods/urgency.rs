//! How soon a status has to be told.
//!
//! A start and an end bring several statuses within milliseconds, and each costs the API server a write to its disk and
//! everybody who watches a message. Those that only tell how far a start or an end has come wait a moment: mostly the one
//! that follows says more, and then it is the only one that is written. Everything else is told at once.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

/// How long a status that only tells of progress waits for a better one.
pub(super) const PATIENCE: Duration = Duration::from_millis(200);

/// Why a container waits that nothing has gone wrong for.
const ON_ITS_WAY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// How soon a status has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    AtOnce,
    /// After [`PATIENCE`], and when nothing is more urgent.
    Soon,
}

/// Of `new`, where the API has `known`.
pub(super) fn urgency(pod: &Pod, known: Option<&PodStatus>, new: &PodStatus) -> Urgency {
    let phase = |status: &PodStatus| status.phase.clone().unwrap_or_else(|| "Pending".to_owned());
    let same_phase = known.map_or_else(|| "Pending".to_owned(), phase) == phase(new);
    let leaving = pod.metadata.deletion_timestamp.is_some();
    if same_phase && (leaving || is_on_its_way(new)) { Urgency::Soon } else { Urgency::AtOnce }
}

/// Whether nothing of the pod has run yet and nothing has gone wrong.
fn is_on_its_way(status: &PodStatus) -> bool {
    let waits = |c: &ContainerStatus| {
        let waiting = c.state.as_ref().and_then(|s| s.waiting.as_ref());
        let reason = waiting.and_then(|w| w.reason.as_deref()).unwrap_or_default();
        c.last_state.as_ref().is_none_or(|s| s.terminated.is_none()) && ON_ITS_WAY.contains(&reason)
    };
    let lists = [&status.init_container_statuses, &status.container_statuses];
    status.phase.as_deref() == Some("Pending")
        && status.reason.is_none()
        && lists.into_iter().flatten().flatten().all(waits)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(phase: &str, state: Value) -> PodStatus {
        let container = json!({"name": "a", "restartCount": 0, "ready": false, "image": "i", "imageID": "", "state": state});
        let status = json!({"phase": phase, "containerStatuses": [container]});
        serde_json::from_value(status).expect("a status")
    }

    fn waiting(reason: &str) -> Value {
        json!({"waiting": {"reason": reason}})
    }

    fn leaving() -> Pod {
        let pod = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        serde_json::from_value(pod).expect("a pod")
    }

    #[test]
    fn a_start_that_goes_on_is_told_soon_and_its_success_at_once() {
        let creating = status("Pending", waiting("ContainerCreating"));
        assert_eq!(urgency(&Pod::default(), None, &creating), Urgency::Soon);
        let running = status("Running", json!({"running": {}}));
        assert_eq!(urgency(&Pod::default(), Some(&creating), &running), Urgency::AtOnce);
    }

    #[test]
    fn what_has_gone_wrong_is_told_at_once() {
        let creating = status("Pending", waiting("ContainerCreating"));
        for reason in ["ErrImagePull", "CreateContainerConfigError", "CrashLoopBackOff"] {
            let failed = status("Pending", waiting(reason));
            assert_eq!(urgency(&Pod::default(), Some(&creating), &failed), Urgency::AtOnce, "{reason}");
        }
        let refused = status("Failed", waiting("ContainerCreating"));
        assert_eq!(urgency(&Pod::default(), Some(&creating), &refused), Urgency::AtOnce);
    }

    #[test]
    fn a_container_that_ends_is_told_at_once_but_for_a_pod_that_is_being_deleted() {
        let running = status("Running", json!({"running": {}}));
        let ended = status("Running", json!({"terminated": {"exitCode": 0}}));
        assert_eq!(urgency(&Pod::default(), Some(&running), &ended), Urgency::AtOnce);
        assert_eq!(urgency(&leaving(), Some(&running), &ended), Urgency::Soon);
        let over = status("Succeeded", json!({"terminated": {"exitCode": 0}}));
        assert_eq!(urgency(&leaving(), Some(&running), &over), Urgency::AtOnce);
    }
}
