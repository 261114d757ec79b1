//! The pods that figures are of: who they are, and which of their containers run.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::figures::{ContainerUsage, PodUsage, SandboxUsage};
use crate::pods::RunningPod;

/// Pods without figures yet: every pod that has something running.
pub(super) fn pods(running: &[RunningPod]) -> Vec<PodUsage> {
    let mut pods: Vec<PodUsage> =
        running.iter().filter(|pod| pod.sandbox.is_some() || !pod.running.is_empty()).map(pod).collect();
    pods.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
    pods
}

fn pod(known: &RunningPod) -> PodUsage {
    let meta = &known.pod.metadata;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let start_time = known.status.as_ref().and_then(|status| status.start_time.clone());
    let containers = known.running.iter().map(|running| {
        let status = status(known, &running.container, &running.id);
        ContainerUsage {
            name: running.container.clone(),
            id: running.id.clone(),
            image: status
                .map(|status| status.image.clone())
                .filter(|image| !image.is_empty())
                .or_else(|| image(&known.pod, &running.container))
                .unwrap_or_default(),
            start_time: status
                .and_then(|status| status.state.as_ref()?.running.as_ref()?.started_at.clone())
                .map(|Time(time)| time),
            ..ContainerUsage::default()
        }
    });
    PodUsage {
        uid: text(&meta.uid),
        namespace: text(&meta.namespace),
        name: text(&meta.name),
        start_time: start_time.map(|Time(time)| time),
        containers: containers.collect(),
        sandbox: known.sandbox.clone().map(|id| SandboxUsage { id, ..SandboxUsage::default() }),
        ..PodUsage::default()
    }
}

/// The status of this run of a container; ids in it begin with the runtime's name.
fn status<'a>(known: &'a RunningPod, container: &str, id: &str) -> Option<&'a ContainerStatus> {
    let status = known.status.as_ref()?;
    let lists =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| {
        status.name == container
            && status.container_id.as_ref().is_some_and(|full| full.rsplit('/').next() == Some(id))
    })
}

fn image(pod: &Pod, container: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let plain = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let plain = plain.map(|c| (&c.name, &c.image));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| (&c.name, &c.image));
    plain.chain(ephemeral).find(|(name, _)| *name == container)?.1.clone()
}

/// Whether the pod is in the node's own network, so that the interfaces are not its own.
pub(super) fn is_on_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}
