//! `/runningpods/`: the pods that the runtime runs, as far as it knows them (behaviour.md 35.4).

use std::collections::{BTreeMap, HashMap};

use cri_client::v1::{self, ContainerState, PodSandboxState};
use http::StatusCode;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Context;
use super::reply::{self, Reply};
use crate::cause::chain;

pub(super) async fn answer(context: &Context) -> Reply {
    let all = HashMap::new;
    let listed = tokio::try_join!(context.cri.list_pod_sandboxes(all()), context.cri.list_containers(all()));
    match listed {
        Ok((sandboxes, containers)) => {
            reply::json(&List::<Pod> { items: running(&sandboxes, &containers), ..List::default() })
        }
        Err(error) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, chain(&error)),
    }
}

/// A pod is there when its sandbox is ready or one of its containers runs, and shows those that run. Ordered by name.
fn running(sandboxes: &[v1::PodSandbox], containers: &[v1::Container]) -> Vec<Pod> {
    let identity = |sandbox: &v1::PodSandbox| {
        let known = sandbox.metadata.clone().unwrap_or_default();
        (known.namespace, known.name, known.uid)
    };
    let of_sandbox: HashMap<&str, _> =
        sandboxes.iter().map(|sandbox| (sandbox.id.as_str(), identity(sandbox))).collect();
    let mut pods: BTreeMap<_, Vec<Container>> = sandboxes
        .iter()
        .filter(|sandbox| sandbox.state == PodSandboxState::SandboxReady as i32)
        .map(|sandbox| (identity(sandbox), Vec::new()))
        .collect();
    for container in containers.iter().filter(|c| c.state == ContainerState::ContainerRunning as i32) {
        let Some(pod) = of_sandbox.get(container.pod_sandbox_id.as_str()) else { continue };
        pods.entry(pod.clone()).or_default().push(Container {
            name: container.metadata.clone().unwrap_or_default().name,
            image: Some(container.image.clone().unwrap_or_default().image),
            ..Container::default()
        });
    }
    let pods = pods.into_iter().map(|((namespace, name, uid), mut containers)| {
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Pod {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace),
                uid: Some(uid),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec { containers, ..PodSpec::default() }),
            status: Some(PodStatus::default()),
        }
    });
    pods.collect()
}

#[cfg(test)]
mod tests;
