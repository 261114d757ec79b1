//! The end of all pods of a machine, through its container runtime, once no daemon looks after them.

use std::collections::HashMap;
use std::time::Duration;

use cri_client::{Client, v1};
use futures::StreamExt as _;

use crate::cause::chain;

/// Pods that end side by side.
const AT_ONCE: usize = 8;
const UID: &str = "io.kubernetes.pod.uid";
/// As a kubelet notes it on each container.
const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
const USUAL_GRACE: Duration = Duration::from_secs(30);

/// Stops and removes every pod, each container with its pod's grace but at most `most`. Gives how many still ran; what others have left is only
/// removed.
///
/// # Errors
/// What is left, one line each.
pub(super) async fn remove_pods(cri: &Client, most: Duration) -> Result<usize, Vec<String>> {
    let sandboxes = cri.list_pod_sandboxes(HashMap::new()).await.map_err(|error| vec![chain(&error)])?;
    let ready = v1::PodSandboxState::SandboxReady as i32;
    let count = sandboxes.iter().filter(|sandbox| sandbox.state == ready).count();
    let removals = sandboxes.iter().map(|sandbox| remove(cri, sandbox, most));
    // A future each: the closure borrows.
    let outcomes: Vec<_> = futures::stream::iter(removals).buffer_unordered(AT_ONCE).collect().await;
    let errors: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    if errors.is_empty() { Ok(count) } else { Err(errors) }
}

async fn remove(cri: &Client, sandbox: &v1::PodSandbox, most: Duration) -> Result<(), String> {
    let name = sandbox.metadata.as_ref().map(|meta| format!("{}/{}", meta.namespace, meta.name));
    let name = name.unwrap_or_else(|| sandbox.id.clone());
    let failed = |error: cri_client::CallError| format!("{name}: {}", chain(&error));
    let labels: HashMap<_, _> =
        sandbox.labels.get(UID).map(|uid| (UID.to_owned(), uid.clone())).into_iter().collect();
    let all = cri.list_containers(labels).await.map_err(failed)?;
    let own: Vec<_> = all.iter().filter(|container| container.pod_sandbox_id == sandbox.id).collect();
    let running = v1::ContainerState::ContainerRunning as i32;
    let stops = own.iter().filter(|container| container.state == running).map(|container| {
        let grace = container.annotations.get(GRACE).and_then(|text| text.parse().ok());
        let grace = grace.map_or(USUAL_GRACE, Duration::from_secs).min(most);
        cri.stop_container(&container.id, grace)
    });
    for outcome in futures::future::join_all(stops).await {
        outcome.map_err(failed)?;
    }
    cri.stop_pod_sandbox(&sandbox.id).await.map_err(failed)?;
    // With all its containers.
    cri.remove_pod_sandbox(&sandbox.id).await.map_err(failed)
}

#[cfg(test)]
pub(super) mod tests;
