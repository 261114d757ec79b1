//! Which of a container's runs a log is asked of. Pure: the pod's status in, the run or the kubelet's refusal out.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use crate::server::container::bare_id;

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// As the status has it: `containerd://ID`.
    pub(super) full_id: String,
    /// Which run it is, as far as the status tells.
    pub(super) restart_count: Option<i32>,
}

impl Run {
    /// The id without the runtime's name.
    pub(super) fn id(&self) -> &str {
        bare_id(&self.full_id)
    }
}

/// The run whose log is meant.
///
/// # Errors
/// Why there is no log, in the kubelet's words.
pub(super) fn run(pod: &str, status: &PodStatus, container: &str, previous: bool) -> Result<Run, String> {
    let of =
        |list: &Option<Vec<ContainerStatus>>| list.iter().flatten().find(|s| s.name == container).cloned();
    let found = of(&status.container_statuses)
        .or_else(|| of(&status.init_container_statuses))
        .or_else(|| of(&status.ephemeral_container_statuses));
    let Some(found) = found else {
        return Err(format!("container {container:?} in pod {pod:?} is not available"));
    };
    let newest = found.container_id.clone();
    let run = |id: Option<String>| {
        let full_id = id.filter(|id| !bare_id(id).is_empty())?;
        // Any run but the newest that the status has is the one before.
        let is_newest = newest.as_ref().is_none_or(|newest| *newest == full_id);
        let count = if is_newest { Some(found.restart_count) } else { found.restart_count.checked_sub(1) };
        Some(Run { full_id, restart_count: count.filter(|count| *count >= 0) })
    };
    let state = found.state.unwrap_or_default();
    let last = found.last_state.and_then(|s| s.terminated);
    if previous {
        return last
            .and_then(|last| run(last.container_id))
            .ok_or_else(|| format!("previous terminated container {container:?} in pod {pod:?} not found"));
    }
    let waiting = |why: &str| format!("container {container:?} in pod {pod:?} is waiting to start: {why}");
    if state.running.is_some() {
        return run(newest.clone()).ok_or_else(|| waiting("no id yet"));
    }
    let ended = state.terminated.is_some() || last.is_some();
    if ended {
        return state
            .terminated
            .and_then(|now| run(now.container_id))
            // The next run did not come to be: the run before it is what there is.
            .or_else(|| last.and_then(|last| run(last.container_id)))
            .ok_or_else(|| format!("container {container:?} in pod {pod:?} is terminated"));
    }
    let reason = state.waiting.and_then(|w| w.reason);
    Err(match reason.as_deref() {
        Some("ErrImagePull") => waiting("image can't be pulled"),
        Some("ImagePullBackOff") => waiting("trying and failing to pull image"),
        Some(reason) => waiting(reason),
        None => format!("container {container:?} in pod {pod:?} is waiting to start - no logs yet"),
    })
}
