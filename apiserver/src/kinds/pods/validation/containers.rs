//! Containers of all kinds: names, images, ports, variables, mounts.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{Errors, handlers, invalid_all, local_path, one_of, required, resources, security, sources};
use crate::kinds::field::{FieldError, Path};
use crate::kinds::names;
use crate::kinds::values::{is_true, items, number, string};

const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["FallbackToLogsOnError", "File"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PROPAGATIONS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
const RECURSIVE_READ_ONLY: &[&str] = &["Disabled", "Enabled", "IfPossible"];
const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];

/// The volumes of a pod, by name.
pub(super) type Volumes<'a> = HashMap<&'a str, &'a Value>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Init,
    Regular,
}

pub(super) fn all(spec: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
    let regular = items(spec, "containers");
    if regular.is_empty() {
        errors.push(FieldError::required(&path.child("containers"), ""));
    }
    let host_network = is_true(spec, "hostNetwork");
    let mut names = HashSet::new();
    let mut host_ports = HashSet::new();
    for (list, place) in [("containers", Place::Regular), ("initContainers", Place::Init)] {
        for (index, container) in items(spec, list).iter().enumerate() {
            let path = path.child(list).index(index);
            let name = string(container, "name");
            if !name.is_empty() && !names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
            one(container, place, volumes, &path, errors);
            ports(container, host_network, &mut host_ports, &path.child("ports"), errors);
        }
    }
    if !items(spec, "ephemeralContainers").is_empty() {
        errors.push(FieldError::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
}

fn one(container: &Value, place: Place, volumes: &Volumes<'_>, path: &Path, errors: &mut Errors) {
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
    let restart_policy = string(container, "restartPolicy");
    if !restart_policy.is_empty() {
        one_of(restart_policy, RESTART_POLICIES, &path.child("restartPolicy"), errors);
    }
    if place == Place::Init && restart_policy != "Always" {
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.get(field).is_some() {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.push(FieldError::forbidden(&path.child(field), detail));
            }
        }
    } else {
        handlers::all(container, path, errors);
    }
    sources::variables(container, path, errors);
    mounts(container, volumes, &path.child("volumeMounts"), errors);
    devices(container, volumes, &path.child("volumeDevices"), errors);
    resources::container(container, path, errors);
    security::container(container, &path.child("securityContext"), errors);
}

fn ports<'a>(
    container: &'a Value,
    host_network: bool,
    host_ports: &mut HashSet<(&'a str, &'a str, i64)>,
    path: &Path,
    errors: &mut Errors,
) {
    let mut seen = HashSet::new();
    for (index, port) in items(container, "ports").iter().enumerate() {
        let path = path.index(index);
        let (name, protocol, host_ip) =
            (string(port, "name"), string(port, "protocol"), string(port, "hostIP"));
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
        one_of(protocol, PROTOCOLS, &path.child("protocol"), errors);
        if !host_ip.is_empty() {
            super::address(host_ip, &path.child("hostIP"), errors);
        }
        if outer == 0 {
            continue;
        }
        if let Some(problem) = names::port_number(outer) {
            errors.push(FieldError::invalid(&path.child("hostPort"), outer, problem));
        }
        if host_network && outer != inner {
            let detail = "must match `hostPort` when `hostNetwork` is true";
            errors.push(FieldError::invalid(&path.child("containerPort"), inner, detail));
        }
        if !host_ports.insert((protocol, host_ip, outer)) {
            let shown = format!("{protocol}/{host_ip}/{outer}");
            errors.push(FieldError::duplicate(&path.child("hostPort"), &shown));
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
