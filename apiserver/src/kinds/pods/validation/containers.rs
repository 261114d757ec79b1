//! Containers of all kinds: names, images, ports, variables, mounts. What only ephemeral ones have is in `ephemeral.rs`.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{
    Errors, ephemeral, handlers, invalid_all, local_path, one_of, required, resources, restarts, security,
    sources,
};
use crate::kinds::field::{FieldError, Path};
use crate::kinds::names;
use crate::kinds::values::{is_true, items, number, string};

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["FallbackToLogsOnError", "File"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
const RECURSIVE_READ_ONLY: &[&str] = &["Disabled", "Enabled", "IfPossible"];

/// The volumes of a pod, by name.
pub(super) type Volumes<'a> = HashMap<&'a str, &'a Value>;

/// What the rules for a container look at outside of it.
pub(super) struct PodWide<'a> {
    pub(super) volumes: &'a Volumes<'a>,
    /// The pod's restart policy.
    pub(super) restart_policy: &'a str,
    /// How long the pod may take to end.
    pub(super) grace_seconds: Option<i64>,
}

pub(super) fn all(spec: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let wide = PodWide {
        volumes,
        restart_policy: string(spec, "restartPolicy"),
        grace_seconds: number(spec, "terminationGracePeriodSeconds"),
    };
    if items(spec, "containers").is_empty() {
        errors.push(FieldError::required(&path.child("containers"), ""));
    }
    let mut names = HashSet::new();
    let mut host_ports = HashSet::new();
    for (index, container) in items(spec, "containers").iter().enumerate() {
        let path = path.child("containers").index(index);
        any(container, &wide, &path, errors);
        own_name(container, &mut names, &path, errors);
        handlers::all(container, wide.grace_seconds, &path, errors);
        restarts::container(container, &path, errors);
        unique_host_ports(container, &mut host_ports, &path, errors);
        if is_true(spec, "hostNetwork") {
            same_ports_outside(container, &path, errors);
        }
    }
    for (index, container) in items(spec, "initContainers").iter().enumerate() {
        let path = path.child("initContainers").index(index);
        any(container, &wide, &path, errors);
        own_name(container, &mut names, &path, errors);
        init(container, &wide, &path, errors);
        restarts::container(container, &path, errors);
        // One runs after the other.
        unique_host_ports(container, &mut HashSet::new(), &path, errors);
    }
    ephemeral::all(spec, &wide, &names, path, errors);
}

fn own_name<'a>(container: &'a Value, names: &mut HashSet<&'a str>, path: &Path, errors: &mut Errors) {
    let name = string(container, "name");
    if !name.is_empty() && !names.insert(name) {
        errors.push(FieldError::duplicate(&path.child("name"), name));
    }
}

/// What holds for init containers: only those that run on, as sidecars, can be probed and told to end.
fn init(container: &Value, wide: &PodWide<'_>, path: &Path, errors: &mut Errors) {
    if string(container, "restartPolicy") == "Always" {
        handlers::all(container, wide.grace_seconds, path, errors);
        return;
    }
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if container.get(field).is_some() {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(FieldError::forbidden(&path.child(field), detail));
        }
    }
    for (index, policy) in items(container, "resizePolicy").iter().enumerate() {
        if string(policy, "restartPolicy") == "RestartContainer" {
            let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
            let path = path.child("resizePolicy").index(index).child("restartPolicy");
            errors.push(FieldError::invalid(&path, "RestartContainer", detail));
        }
    }
}

/// What holds for containers of all kinds.
pub(super) fn any(container: &Value, wide: &PodWide<'_>, path: &Path, errors: &mut Errors) {
    let name = required(container, "name", path, errors);
    if !name.is_empty() {
        invalid_all(&names::label(name), name, &path.child("name"), errors);
    }
    let image = required(container, "image", path, errors);
    if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(&path.child("image"), image, detail));
    }
    if !image.is_empty() {
        one_of(string(container, "imagePullPolicy"), PULL_POLICIES, &path.child("imagePullPolicy"), errors);
    }
    let policy = string(container, "terminationMessagePolicy");
    one_of(policy, MESSAGE_POLICIES, &path.child("terminationMessagePolicy"), errors);
    ports(container, &path.child("ports"), errors);
    sources::variables(container, path, errors);
    mounts(container, wide.volumes, &path.child("volumeMounts"), errors);
    devices(container, wide.volumes, &path.child("volumeDevices"), errors);
    resources::container(container, wide.restart_policy, path, errors);
    security::container(container, &path.child("securityContext"), errors);
}

fn ports(container: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, port) in items(container, "ports").iter().enumerate() {
        let path = path.index(index);
        let (name, host_ip) = (string(port, "name"), string(port, "hostIP"));
        if !name.is_empty() {
            let problems = names::port_name(name);
            invalid_all(&problems, name, &path.child("name"), errors);
            if problems.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
        let (inner, outer) =
            (number(port, "containerPort").unwrap_or(0), number(port, "hostPort").unwrap_or(0));
        if inner == 0 {
            errors.push(FieldError::required(&path.child("containerPort"), ""));
        } else if let Some(problem) = names::port_number(inner) {
            errors.push(FieldError::invalid(&path.child("containerPort"), inner, problem));
        }
        if outer != 0
            && let Some(problem) = names::port_number(outer)
        {
            errors.push(FieldError::invalid(&path.child("hostPort"), outer, problem));
        }
        one_of(string(port, "protocol"), PROTOCOLS, &path.child("protocol"), errors);
        if !host_ip.is_empty() {
            super::address(host_ip, &path.child("hostIP"), errors);
        }
    }
}

fn unique_host_ports<'a>(
    container: &'a Value,
    taken: &mut HashSet<(&'a str, &'a str, i64)>,
    path: &Path,
    errors: &mut Errors,
) {
    for (index, port) in items(container, "ports").iter().enumerate() {
        let (protocol, host_ip) = (string(port, "protocol"), string(port, "hostIP"));
        let Some(outer) = number(port, "hostPort").filter(|p| *p != 0) else { continue };
        if !taken.insert((protocol, host_ip, outer)) {
            let path = path.child("ports").index(index).child("hostPort");
            errors.push(FieldError::duplicate(&path, &format!("{protocol}/{host_ip}/{outer}")));
        }
    }
}

/// In the host's network nothing stands between the ports.
fn same_ports_outside(container: &Value, path: &Path, errors: &mut Errors) {
    for (index, port) in items(container, "ports").iter().enumerate() {
        let (inner, outer) =
            (number(port, "containerPort").unwrap_or(0), number(port, "hostPort").unwrap_or(0));
        if outer != inner {
            let detail = "must match `containerPort` when `hostNetwork` is true";
            let path = path.child("ports").index(index).child("hostPort");
            errors.push(FieldError::invalid(&path, outer, detail));
        }
    }
}

fn mounts(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    let privileged = container.get("securityContext").is_some_and(|s| is_true(s, "privileged"));
    for (index, mount) in items(container, "volumeMounts").iter().enumerate() {
        let path = path.index(index);
        let name = required(mount, "name", &path, errors);
        if !name.is_empty() && !volumes.contains_key(name) {
            errors.push(FieldError::not_found(&path.child("name"), name));
        }
        let place = required(mount, "mountPath", &path, errors);
        if !place.is_empty() && !seen.insert(place) {
            errors.push(FieldError::invalid(&path.child("mountPath"), place, "must be unique"));
        }
        let (sub_path, expression) = (string(mount, "subPath"), string(mount, "subPathExpr"));
        local_path(sub_path, &path.child("subPath"), errors);
        local_path(expression, &path.child("subPathExpr"), errors);
        if !sub_path.is_empty() && !expression.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid(&path.child("subPathExpr"), expression, detail));
        }
        propagation(mount, privileged, &path, errors);
    }
}

fn propagation(mount: &Value, privileged: bool, path: &Path, errors: &mut Errors) {
    let propagation = string(mount, "mountPropagation");
    if !propagation.is_empty() {
        one_of(propagation, PROPAGATIONS, &path.child("mountPropagation"), errors);
    }
    if propagation == "Bidirectional" && !privileged {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(&path.child("mountPropagation"), detail));
    }
    let recursive = string(mount, "recursiveReadOnly");
    let path = path.child("recursiveReadOnly");
    if recursive.is_empty() {
        return;
    }
    one_of(recursive, RECURSIVE_READ_ONLY, &path, errors);
    if recursive != "Disabled" && !is_true(mount, "readOnly") {
        errors.push(FieldError::forbidden(&path, "may only be specified when readOnly is true"));
    }
    if recursive != "Disabled" && !matches!(propagation, "" | "None") {
        let detail = "may only be specified when mountPropagation is None or not specified";
        errors.push(FieldError::forbidden(&path, detail));
    }
}

fn devices(container: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, device) in items(container, "volumeDevices").iter().enumerate() {
        let path = path.index(index);
        let name = required(device, "name", &path, errors);
        match volumes.get(name) {
            None if !name.is_empty() => errors.push(FieldError::not_found(&path.child("name"), name)),
            Some(volume)
                if volume.get("persistentVolumeClaim").is_none() && volume.get("ephemeral").is_none() =>
            {
                let detail =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(&path.child("name"), name, detail));
            }
            _ => {}
        }
        let place = required(device, "devicePath", &path, errors);
        if !place.is_empty() && !seen.insert(place) {
            errors.push(FieldError::invalid(&path.child("devicePath"), place, "must be unique"));
        }
        super::no_back_steps(place, &path.child("devicePath"), errors);
    }
}
