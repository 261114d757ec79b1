//! `pods/resize`: processor and memory of a pod and its containers while they run (behaviour.md 27).

use k8s_openapi::api::core::v1::Pod;
use podspec::{Quantity, pod_requests, qos_class};
use serde_json::{Map, Value};

use super::update::{is_mirror, same};
use super::{typed, validation};
use crate::kinds::field::{FieldError, Path, quote};
use crate::kinds::nodes::NODES;
use crate::kinds::values::{child, entries, items, string};
use crate::kinds::{AdmissionError, Cluster, text};

/// What can be resized.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
const AMOUNTS: [&str; 2] = ["requests", "limits"];
const LISTS: [&str; 2] = ["containers", "initContainers"];
/// What a container of the new spec may bring along; of these the policy must not differ, which validation says.
const TAKEN: [&str; 2] = ["resources", "resizePolicy"];

fn spec(pod: &Value) -> &Value {
    pod.get("spec").unwrap_or(&Value::Null)
}

/// Of the new spec only resources count. Containers that are not those of the old spec, in their order, stay for validation to
/// refuse.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let wanted = spec(new).clone();
    let mut fields = spec(old).as_object().cloned().unwrap_or_default();
    take(&mut fields, &wanted, "resources");
    for list in LISTS {
        let same_names = items(&wanted, list)
            .iter()
            .map(|c| string(c, "name"))
            .eq(items(spec(old), list).iter().map(|c| string(c, "name")));
        if !same_names {
            take(&mut fields, &wanted, list);
            continue;
        }
        let containers = fields.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, wanted) in containers.zip(items(&wanted, list)) {
            if let Some(container) = container.as_object_mut() {
                TAKEN.iter().for_each(|field| take(container, wanted, field));
            }
        }
    }
    *child(new, "spec") = fields;
}

/// Makes a field what it is in `from`.
fn take(fields: &mut Map<String, Value>, from: &Value, field: &str) {
    match from.get(field) {
        Some(value) => fields.insert(field.to_owned(), value.clone()),
        None => fields.remove(field),
    };
}

pub(super) fn validate(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    validation::pod(new, errors);
    let windows = text(old, "/spec/os/name") == "windows";
    if is_mirror(old) || windows {
        let whose = if windows { "windows" } else { "static" };
        let detail = format!("{whose} pods cannot be resized");
        *errors = vec![FieldError::forbidden(&Path::unnamed(), &detail)];
        return;
    }
    let path = Path::new("spec");
    if qos_class(&typed(old)) != qos_class(&Pod { status: None, ..typed(new) }) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&path, text(new, "/status/qosClass"), detail));
    }
    if !node_resizes(old) {
        errors.push(FieldError::forbidden(&path, "Pod running on node without support for resize"));
    }
    pod_level(spec(new), spec(old), &path, errors);
    let claimed = old.pointer("/status/nodeAllocatableResourceClaimStatuses").and_then(Value::as_array);
    if claimed.is_some_and(|statuses| !statuses.is_empty()) {
        let detail = "pods with node allocatable resource claims cannot be resized";
        errors.push(FieldError::forbidden(&path, detail));
    }
    if containers_match(spec(new), spec(old), &path, errors) {
        containers(spec(new), spec(old), &path, errors);
    }
}

/// A node that reports what its containers have can change it. A pod without a running container does not tell.
fn node_resizes(pod: &Value) -> bool {
    let statuses = items(pod.get("status").unwrap_or(&Value::Null), "containerStatuses");
    let running = statuses.iter().find(|s| s.pointer("/state/running").is_some());
    running.is_none_or(|status| status.get("resources").is_some())
}

fn pod_level(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let none = Value::Null;
    let (wanted, present) = (new.get("resources"), old.get("resources"));
    if !wanted.is_some_and(has_amounts) && !present.is_some_and(has_amounts) {
        return;
    }
    if wanted.is_none() {
        let detail = "pod-level resources cannot be removed";
        errors.push(FieldError::forbidden(&path.child("resources"), detail));
        return;
    }
    let (wanted, present) = (wanted.unwrap_or(&none), present.unwrap_or(&none));
    removed(wanted, present, "pod-level resource", &path.child("resources"), errors);
    if !same(&masked(wanted, present), &masked(present, present)) {
        errors.push(FieldError::forbidden(path, "only cpu and memory resources are mutable at pod-level"));
    }
}

fn has_amounts(resources: &Value) -> bool {
    AMOUNTS.iter().any(|list| entries(resources, list).next().is_some())
}

/// Whether both specs have the same containers in the same order.
fn containers_match(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) -> bool {
    let before = errors.len();
    for list in LISTS {
        let (wanted, present) = (items(new, list), items(old, list));
        let path = path.child(list);
        if wanted.len() != present.len() {
            let detail = format!("{list} may not be added or removed on resize");
            errors.push(FieldError::forbidden(&path, &detail));
            continue;
        }
        for (index, (wanted, present)) in wanted.iter().zip(present).enumerate() {
            if string(wanted, "name") != string(present, "name") {
                let detail = format!("{list} may not be renamed or reordered on resize");
                errors.push(FieldError::forbidden(&path.index(index).child("name"), &detail));
            }
        }
    }
    errors.len() == before
}

/// The specs have the same containers in the same order.
fn containers(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let none = Value::Null;
    let pairs = |list| items(new, list).iter().zip(items(old, list)).enumerate();
    for list in ["initContainers", "containers"] {
        for (index, (wanted, present)) in pairs(list) {
            let resources = |container: &Value| container.get("resources").cloned().unwrap_or_default();
            let path = path.child(list).index(index).child("resources");
            removed(&resources(wanted), &resources(present), "resource", &path, errors);
        }
    }
    let only_resized = |wanted: &Value, present: &Value| {
        let resources = present.get("resources").unwrap_or(&none);
        same(&with_masked(wanted, resources), &with_masked(present, resources))
    };
    for (_, (wanted, present)) in pairs("containers") {
        if !only_resized(wanted, present) {
            errors.push(FieldError::forbidden(path, "only cpu and memory resources are mutable"));
        }
    }
    for (index, (wanted, present)) in pairs("initContainers") {
        let path = path.child("initContainers").index(index);
        if !only_resized(wanted, present) {
            let detail = "only cpu and memory resources for init or sidecar containers are mutable";
            errors.push(FieldError::forbidden(&path, detail));
        }
        let sidecar = string(present, "restartPolicy") == "Always";
        let restarts = |c: &Value| {
            items(c, "resizePolicy").iter().any(|p| string(p, "restartPolicy") == "RestartContainer")
        };
        if !sidecar && restarts(wanted) && !same(wanted, present) {
            let detail =
                "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            errors.push(FieldError::forbidden(&path, detail));
        }
    }
}

/// Amounts change, but do not go. `what` is what messages call them; `path` is that of the resources.
fn removed(new: &Value, old: &Value, what: &str, path: &Path, errors: &mut Vec<FieldError>) {
    for list in AMOUNTS {
        if entries(old, list).any(|(name, _)| new.get(list).and_then(|l| l.get(name)).is_none()) {
            let detail = format!("{what} {list} cannot be removed");
            errors.push(FieldError::forbidden(&path.child(list), &detail));
        }
    }
}

fn with_masked(container: &Value, present: &Value) -> Value {
    let mut container = container.clone();
    let resources = masked(container.get("resources").unwrap_or(&Value::Null), present);
    if let Some(fields) = container.as_object_mut() {
        fields.insert("resources".to_owned(), resources);
    }
    container
}

/// Resources with the processor and memory of others, and without empty lists.
fn masked(resources: &Value, present: &Value) -> Value {
    let mut resources = resources.as_object().cloned().unwrap_or_default();
    for list in AMOUNTS {
        let mut amounts = resources.remove(list).and_then(|l| l.as_object().cloned()).unwrap_or_default();
        amounts.retain(|name, _| !RESIZABLE.contains(&name.as_str()));
        let kept = entries(present, list).filter(|(name, _)| RESIZABLE.contains(&name.as_str()));
        amounts.extend(kept.map(|(name, amount)| (name.clone(), amount.clone())));
        if !amounts.is_empty() {
            resources.insert(list.to_owned(), amounts.into());
        }
    }
    Value::Object(resources)
}

/// What the node does not have at all is refused here, not by the node (behaviour.md 27.4).
pub(super) fn permit(new: &Value, old: &Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
    let generation = |pod: &Value| pod.pointer("/metadata/generation").cloned();
    let name = text(new, "/spec/nodeName");
    if name.is_empty() || generation(new) == generation(old) {
        return Ok(());
    }
    let refused = |why: String| Err(AdmissionError::Forbidden(why));
    let Some(node) = cluster.get(&NODES, "", name) else {
        return refused(format!("node {} not found", quote(name)));
    };
    let requests = pod_requests(&typed(new));
    let allocatable = |resource: &str| {
        let amount = node.pointer("/status/allocatable").and_then(|a| a.get(resource)?.as_str());
        amount.and_then(|a| a.parse::<Quantity>().ok()).unwrap_or(Quantity::ZERO)
    };
    type Count = fn(&Quantity) -> i64;
    let counts: [(&str, Count); 2] = [("cpu", Quantity::milli_value), ("memory", Quantity::value)];
    let lacking: Vec<String> = counts
        .into_iter()
        .filter_map(|(resource, count)| {
            let requested = requests.get(resource).map_or(0, count);
            let allocatable = count(&allocatable(resource));
            (requested > allocatable)
                .then(|| format!("{resource}, requested: {requested}, allocatable: {allocatable}"))
        })
        .collect();
    if !lacking.is_empty() {
        return refused(format!("Node didn't have enough allocatable resources: {}", lacking.join("; ")));
    }
    match node.pointer("/metadata/labels/kubernetes.io~1os").and_then(Value::as_str) {
        Some("linux") => Ok(()),
        os => refused(format!(
            "pod resize is only supported on linux nodes, node {} is {}",
            quote(name),
            quote(os.unwrap_or(""))
        )),
    }
}
