//! `status` of the node object from what is known, and what of it is to be written. Pure. behaviour.md 32.7 to 32.21.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus, NodeSwapStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::capacity::Resources;
use super::info::Machine;
use super::pressure::Pressures;
use super::{RuntimeHandler, RuntimeState};
use crate::flags::node_version;
use crate::kubeconfig::go_architecture;

/// The runtime must have said within this time that it is ready. behaviour.md 32.15.
const RUNTIME_FRESH: Duration = Duration::from_secs(30);

/// All that the status is made of.
#[derive(Debug, Clone)]
pub(super) struct Inputs<'a> {
    pub(super) machine: &'a Machine,
    pub(super) resources: &'a Resources,
    pub(super) runtime: &'a RuntimeState,
    pub(super) addresses: &'a [NodeAddress],
    /// An external cloud provider writes the addresses: ours are only for an object that has none.
    pub(super) addresses_of_cloud: bool,
    /// What others have said of extended resources does not count any more (behaviour.md 32.1).
    pub(super) resets_extended: bool,
    pub(super) images: &'a [ContainerImage],
    pub(super) pressures: Pressures,
    pub(super) shutting_down: bool,
    pub(super) declared_features: Option<Vec<String>>,
    pub(super) port: i32,
    pub(super) now: Timestamp,
    pub(super) instant: Instant,
}

/// The status as it should be; what others own in `before` (foreign conditions, extended resources, volumes) stays.
pub(super) fn compute(inputs: &Inputs<'_>, before: &NodeStatus) -> NodeStatus {
    let runtime = inputs.runtime;
    let version = if runtime.name.is_empty() {
        before.node_info.as_ref().map(|info| info.container_runtime_version.clone()).unwrap_or_default()
    } else {
        format!("{}://{}", runtime.name, runtime.version)
    };
    let machine = inputs.machine;
    let known = before.addresses.clone().filter(|known| !known.is_empty());
    let own = (!inputs.addresses.is_empty()).then(|| inputs.addresses.to_vec());
    let amounts = |ours, before: &Option<_>| amounts(ours, before.as_ref(), inputs.resets_extended);
    NodeStatus {
        addresses: if inputs.addresses_of_cloud { known.or(own) } else { own.or(known) },
        capacity: Some(amounts(&inputs.resources.capacity, &before.capacity)),
        allocatable: Some(amounts(&inputs.resources.allocatable, &before.allocatable)),
        conditions: Some(conditions(inputs, before.conditions.as_deref().unwrap_or_default())),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: inputs.port }),
        }),
        node_info: Some(NodeSystemInfo {
            machine_id: machine.machine_id.clone(),
            system_uuid: machine.system_uuid.clone(),
            boot_id: machine.boot_id.clone(),
            kernel_version: machine.kernel_version.clone(),
            os_image: machine.os_image.clone(),
            container_runtime_version: version,
            kubelet_version: node_version(),
            kube_proxy_version: String::new(),
            operating_system: "linux".to_owned(),
            architecture: go_architecture().to_owned(),
            swap: (machine.swap_bytes > 0)
                .then(|| NodeSwapStatus { capacity: i64::try_from(machine.swap_bytes).ok() }),
        }),
        images: Some(inputs.images.to_vec()),
        // What the runtime does not say again after its restart is not taken back before it has answered.
        runtime_handlers: if runtime.name.is_empty() {
            before.runtime_handlers.clone()
        } else {
            handlers(&runtime.handlers)
        },
        features: if runtime.name.is_empty() {
            before.features.clone()
        } else {
            Some(NodeFeatures { supplemental_groups_policy: Some(runtime.supplemental_groups_policy) })
        },
        declared_features: inputs.declared_features.clone().filter(|names| !names.is_empty()),
        ..before.clone()
    }
}

fn handlers(handlers: &[RuntimeHandler]) -> Option<Vec<NodeRuntimeHandler>> {
    let shown = |handler: &RuntimeHandler| NodeRuntimeHandler {
        name: Some(handler.name.clone()),
        features: Some(NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(handler.recursive_read_only_mounts),
            user_namespaces: Some(handler.user_namespaces),
        }),
    };
    (!handlers.is_empty()).then(|| handlers.iter().map(shown).collect())
}

fn is_own_resource(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "pods" | "ephemeral-storage") || name.starts_with("hugepages-")
}

/// A resource of a device plugin, or of somebody who has counted it by hand.
fn is_extended_resource(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

/// Our amounts, and entries of extended resources that others have put there (behaviour.md 32.26): as they are, or as none.
fn amounts(
    ours: &BTreeMap<String, podspec::Quantity>,
    before: Option<&BTreeMap<String, Quantity>>,
    resets_extended: bool,
) -> BTreeMap<String, Quantity> {
    let foreign = before.into_iter().flatten().filter(|(name, _)| !is_own_resource(name));
    let kept = |(name, amount): (&String, &Quantity)| {
        let is_none = resets_extended && is_extended_resource(name);
        (name.clone(), if is_none { Quantity("0".to_owned()) } else { amount.clone() })
    };
    let mut amounts: BTreeMap<String, Quantity> = foreign.map(kept).collect();
    amounts.extend(ours.iter().map(|(name, amount)| (name.clone(), Quantity(amount.to_string()))));
    amounts
}

/// The four conditions as they are now, for whoever asks the daemon itself; `before` is what they were when they were asked for last.
pub(crate) fn own_conditions(
    (machine, resources): (&Machine, &Resources),
    runtime: &RuntimeState,
    pressures: Pressures,
    shutting_down: bool,
    before: &[NodeCondition],
) -> Vec<NodeCondition> {
    let inputs = Inputs {
        machine,
        resources,
        runtime,
        addresses: &[],
        addresses_of_cloud: false,
        resets_extended: false,
        images: &[],
        pressures,
        shutting_down,
        declared_features: None,
        port: 0,
        now: Timestamp::now(),
        instant: Instant::now(),
    };
    conditions(&inputs, before)
}

/// The four conditions of a kubelet in their order, Ready last; foreign ones come before them.
fn conditions(inputs: &Inputs<'_>, before: &[NodeCondition]) -> Vec<NodeCondition> {
    let pressure = |kind: &str, there: bool, if_there: (&str, &str), if_not: (&str, &str)| {
        let (reason, message) = if there { if_there } else { if_not };
        (kind.to_owned(), there, reason.to_owned(), message.to_owned())
    };
    let ready = match ready(inputs) {
        Ok(()) => (
            "Ready".to_owned(),
            true,
            "KubeletReady".to_owned(),
            "kubelet is posting ready status".to_owned(),
        ),
        Err(message) => ("Ready".to_owned(), false, "KubeletNotReady".to_owned(), message),
    };
    let own = [
        pressure(
            "MemoryPressure",
            inputs.pressures.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            inputs.pressures.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            inputs.pressures.pid,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ];
    let foreign = before.iter().filter(|condition| own.iter().all(|(kind, ..)| *kind != condition.type_));
    let mut conditions: Vec<NodeCondition> = foreign.cloned().collect();
    let now = Time(Timestamp::from_second(inputs.now.as_second()).unwrap_or(inputs.now));
    for (kind, status, reason, message) in own {
        let status = if status { "True" } else { "False" };
        let known = before.iter().find(|condition| condition.type_ == kind && condition.status == status);
        conditions.push(NodeCondition {
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: known
                .and_then(|known| known.last_transition_time.clone())
                .or_else(|| Some(now.clone())),
            message: Some(message),
            reason: Some(reason),
            status: status.to_owned(),
            type_: kind,
        });
    }
    conditions
}

/// Whether pods can be run, or all the reasons why not. behaviour.md 32.15.
fn ready(inputs: &Inputs<'_>) -> Result<(), String> {
    let mut reasons = Vec::new();
    let runtime = inputs.runtime;
    match &runtime.ready {
        Err(error) => reasons.push(format!("container runtime is down: {error}")),
        Ok(()) => {
            let age = runtime.last_ok.map(|at| inputs.instant.saturating_duration_since(at));
            if age.is_none_or(|age| age > RUNTIME_FRESH) {
                reasons.push(format!(
                    "container runtime is down: it has not answered for more than {RUNTIME_FRESH:?}"
                ));
            }
            if let Err(error) = &runtime.network {
                reasons.push(format!("container runtime network not ready: {error}"));
            }
        }
    }
    if inputs.shutting_down {
        reasons.push("node is shutting down".to_owned());
    }
    let missing: Vec<&str> = ["cpu", "memory", "pods", "ephemeral-storage"]
        .into_iter()
        .filter(|name| !inputs.resources.capacity.contains_key(*name))
        .collect();
    if !missing.is_empty() {
        reasons.push(format!("missing node capacity for resources: {}", missing.join(", ")));
    }
    match reasons.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        all => Err(format!("[{}]", all.join(", "))),
    }
}

/// Whether anything differs but the heartbeats.
pub(super) fn changed(before: &NodeStatus, after: &NodeStatus) -> bool {
    let quiet = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        if let Some(conditions) = &mut status.conditions {
            conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        }
        serde_json::to_value(status).unwrap_or_default()
    };
    quiet(before) != quiet(after)
}

/// The strategic merge patch that turns `before` into `after`, heartbeats included. Only own conditions are in it.
pub(super) fn patch(before: &NodeStatus, after: &NodeStatus) -> Value {
    let value = |status: &NodeStatus| serde_json::to_value(status).unwrap_or_default();
    let (before, after) = (value(before), value(after));
    let empty = Map::new();
    let (before, after) = (before.as_object().unwrap_or(&empty), after.as_object().unwrap_or(&empty));
    let mut patch = Map::new();
    for (name, wanted) in after {
        let known = before.get(name);
        if known == Some(wanted) {
            continue;
        }
        let entry = match name.as_str() {
            "conditions" => {
                let changed = wanted.as_array().into_iter().flatten();
                let known = known.and_then(Value::as_array);
                changed
                    .filter(|condition| !known.is_some_and(|known| known.contains(condition)))
                    .cloned()
                    .collect()
            }
            // A merge by type would keep a second address of a type; the list is replaced.
            "addresses" => std::iter::once(json!({"$patch": "replace"}))
                .chain(wanted.as_array().into_iter().flatten().cloned())
                .collect(),
            "capacity" | "allocatable" => {
                let mut entry = wanted.clone();
                for gone in known.and_then(Value::as_object).into_iter().flat_map(Map::keys) {
                    if wanted.get(gone).is_none() {
                        entry[gone] = Value::Null;
                    }
                }
                entry
            }
            _ => wanted.clone(),
        };
        patch.insert(name.clone(), entry);
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    json!({ "status": patch })
}

/// What was told of a node before this daemon: whether it is ready, as the object says, so that a restart is no news; pressures
/// are told anew (behaviour.md 32.15, 32.16).
pub(super) fn told_before(status: &NodeStatus) -> NodeStatus {
    let conditions = status.conditions.iter().flatten().filter(|condition| condition.type_ == "Ready");
    NodeStatus { conditions: Some(conditions.cloned().collect()), ..NodeStatus::default() }
}

/// Events that tell of conditions that have turned, by their reasons. behaviour.md 32.15, 32.16.
pub(super) fn transitions(before: &NodeStatus, after: &NodeStatus) -> Vec<&'static str> {
    let status = |of: &NodeStatus, kind: &str| {
        let conditions = of.conditions.as_deref().unwrap_or_default();
        conditions.iter().find(|condition| condition.type_ == kind).map(|condition| condition.status.clone())
    };
    [
        ("MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"),
        ("DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure"),
        ("PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID"),
        ("Ready", "NodeReady", "NodeNotReady"),
    ]
    .into_iter()
    .filter_map(|(kind, when_true, when_false)| {
        let now = status(after, kind)?;
        if status(before, kind).as_ref() == Some(&now) {
            return None;
        }
        Some(if now == "True" { when_true } else { when_false })
    })
    .collect()
}

#[cfg(test)]
mod tests;
