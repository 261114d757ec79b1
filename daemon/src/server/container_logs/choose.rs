//! Which of a container's runs a log is asked of. Pure: the pod's status in, the container's id or the kubelet's refusal out.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodStatus};

/// The id without the runtime's name.
///
/// # Errors
/// Why there is no log, in the kubelet's words.
pub(super) fn container_id(
    pod: &str,
    status: &PodStatus,
    container: &str,
    previous: bool,
) -> Result<String, String> {
    let of =
        |list: &Option<Vec<ContainerStatus>>| list.iter().flatten().find(|s| s.name == container).cloned();
    let found = of(&status.container_statuses)
        .or_else(|| of(&status.init_container_statuses))
        .or_else(|| of(&status.ephemeral_container_statuses));
    let Some(found) = found else {
        return Err(format!("container {container:?} in pod {pod:?} is not available"));
    };
    let state = found.state.unwrap_or_default();
    let last = found.last_state.and_then(|s| s.terminated);
    if previous {
        return last
            .and_then(id_of)
            .ok_or_else(|| format!("previous terminated container {container:?} in pod {pod:?} not found"));
    }
    let waiting = |why: &str| format!("container {container:?} in pod {pod:?} is waiting to start: {why}");
    if state.running.is_some() {
        return found.container_id.as_deref().and_then(bare).ok_or_else(|| waiting("no id yet"));
    }
    let ended = state.terminated.is_some() || last.is_some();
    if ended {
        return state
            .terminated
            .and_then(id_of)
            // The next run did not come to be: the run before it is what there is.
            .or_else(|| last.and_then(id_of))
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

fn id_of(terminated: ContainerStateTerminated) -> Option<String> {
    terminated.container_id.as_deref().and_then(bare)
}

/// `containerd://ID` to `ID`.
fn bare(id: &str) -> Option<String> {
    let bare = id.split_once("://").map_or(id, |(_, bare)| bare);
    (!bare.is_empty()).then(|| bare.to_owned())
}
