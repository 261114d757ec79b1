//! Other resources for what runs: one container, or the pod as a whole (behaviour.md 27.6, 27.7).

use std::borrow::Cow;
use std::collections::BTreeMap;

use cri_client::{Cause, v1};
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use lifecycle::{Answer, Resource};
use tokio::time::Instant;

use super::{Executor, Outcome, failure, find, refused};
use crate::cause::chain;
use crate::cgroups::{Half, Limits};
use crate::runtime::{container_config, sandbox_config};

/// What the runtime is told of the pod as a whole.
pub(super) fn of_pod(allowed: &ResourceRequirements, limits: &Limits) -> v1::LinuxContainerResources {
    let list = |list: &Option<BTreeMap<String, ApiQuantity>>| -> podspec::ResourceList {
        let parsed = |(name, amount): (&String, &ApiQuantity)| Some((name.clone(), amount.0.parse().ok()?));
        list.iter().flatten().filter_map(parsed).collect()
    };
    sandbox_config::resources(&list(&allowed.requests), &list(&allowed.limits), limits.policy.cpu_period_us)
}

/// The pod with what it is allowed as a whole, where its spec asks for something else.
pub(super) fn as_allocated<'a>(pod: &'a Pod, allocated: Option<&ResourceRequirements>) -> Cow<'a, Pod> {
    let Some(allocated) = allocated else { return Cow::Borrowed(pod) };
    let mut pod = pod.clone();
    if let Some(spec) = &mut pod.spec {
        // What a spec says of the whole pod goes before what its containers need together. The overhead is in it.
        spec.resources = Some(allocated.clone());
        spec.overhead = None;
    }
    Cow::Owned(pod)
}

impl Executor {
    /// One resource at a time; memory only goes down where the container uses less (behaviour.md 27.7).
    pub(super) async fn update_resources(
        &self,
        pod: &Pod,
        id: &str,
        name: &str,
        resource: Resource,
        resources: ResourceRequirements,
    ) -> Outcome {
        let Some(mut container) = find(pod, name) else {
            return Err(refused("no such container in the pod"));
        };
        container.to_mut().resources = Some(resources);
        let all = container_config::resources(pod, &container, &self.place.limits);
        let part = match resource {
            Resource::Memory => {
                let limit = u64::try_from(all.memory_limit_in_bytes).unwrap_or(0);
                if limit > 0 {
                    let used = self.client.container_memory(id).await.map_err(failure)?.unwrap_or(0);
                    if used >= limit {
                        let message = format!(
                            "attempting to set container {name:?} memory limit ({limit}) below current usage ({used})"
                        );
                        return Err(refused(&message));
                    }
                }
                let limit = if limit == 0 { -1 } else { all.memory_limit_in_bytes };
                // The unified hierarchy has its own file for swap, and counts it apart.
                let unified = self.place.limits.hierarchy == cgroups::Hierarchy::V2;
                v1::LinuxContainerResources {
                    memory_limit_in_bytes: limit,
                    memory_swap_limit_in_bytes: if unified { 0 } else { limit },
                    unified: all.unified,
                    ..Default::default()
                }
            }
            Resource::Cpu => v1::LinuxContainerResources {
                cpu_shares: all.cpu_shares,
                cpu_period: all.cpu_period,
                cpu_quota: if all.cpu_quota == 0 { -1 } else { all.cpu_quota },
                ..Default::default()
            },
        };
        let updated = self.client.update_container_resources(id, part).await;
        updated.map(|()| Answer::Done).map_err(failure)
    }

    /// The runtime is told, where it has that call; then the pod's cgroup is changed.
    pub(super) async fn update_pod(
        &self,
        pod: &Pod,
        sandbox_id: &str,
        resource: Resource,
        allowed: &ResourceRequirements,
    ) -> Outcome {
        let overhead = v1::LinuxContainerResources::default();
        match self
            .client
            .update_pod_sandbox_resources(sandbox_id, overhead, of_pod(allowed, &self.place.limits))
            .await
        {
            Err(error) if error.cause != Cause::Unimplemented => return Err(failure(error)),
            _ => {}
        }
        let Some(cgroups) = &self.cgroups else { return Ok(Answer::Done) };
        let pod = as_allocated(pod, Some(allowed));
        let resource = match resource {
            Resource::Memory => cgroups::Resource::Memory,
            Resource::Cpu => cgroups::Resource::Cpu,
        };
        // The machine asks for one step: before the containers where the pod grows, after them where it shrinks.
        for half in [Half::Before, Half::After] {
            let began = Instant::now();
            cgroups.update(&pod, resource, half).await.map_err(|e| refused(&chain(&e)))?;
            self.did("update", began);
        }
        Ok(Answer::Done)
    }
}
