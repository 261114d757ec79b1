//! Security contexts, of pods and of containers.

use std::collections::HashSet;

use serde_json::Value;

use super::{Errors, one_of, required};
use crate::kinds::field::{FieldError, Path};
use crate::kinds::values::{is_true, items, number, string};

/// User and group ids that the kernel takes, as upstream bounds them.
const ID_LIMIT: i64 = i32::MAX as i64;
const PROFILE_TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
/// Longest name of a sysctl, in bytes.
const SYSCTL_LIMIT: usize = 253;

pub(super) fn pod(spec: &Value, path: &Path, errors: &mut Errors) {
    let Some(context) = spec.get("securityContext") else { return };
    let host_users = spec.get("hostUsers") != Some(&Value::Bool(false));
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if !host_users && is_true(spec, field) {
            errors.push(FieldError::forbidden(&path.child(field), "when `hostUsers` is false"));
        }
    }
    let path = path.child("securityContext");
    ids(context, &["runAsUser", "runAsGroup", "fsGroup"], &path, errors);
    for (index, group) in items(context, "supplementalGroups").iter().enumerate() {
        id(group.as_i64(), &path.child("supplementalGroups").index(index), errors);
    }
    profiles(context, &path, errors);
    sysctls(context, &path.child("sysctls"), errors);
    let optional: [(&str, &[&str]); 3] = [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        ("seLinuxChangePolicy", &["MountOption", "Recursive"]),
    ];
    for (field, supported) in optional {
        let value = string(context, field);
        if !value.is_empty() {
            one_of(value, supported, &path.child(field), errors);
        }
    }
}

pub(super) fn container(container: &Value, path: &Path, errors: &mut Errors) {
    let Some(context) = container.get("securityContext") else { return };
    ids(context, &["runAsUser", "runAsGroup"], path, errors);
    profiles(context, path, errors);
    let mount = string(context, "procMount");
    if !mount.is_empty() {
        one_of(mount, &["Default", "Unmasked"], &path.child("procMount"), errors);
    }
    if context.get("allowPrivilegeEscalation") == Some(&Value::Bool(false)) {
        if is_true(context, "privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(path, context, detail));
        }
        let added = context.get("capabilities").map_or(&[][..], |c| items(c, "add"));
        if added.iter().filter_map(Value::as_str).any(|c| matches!(c, "CAP_SYS_ADMIN" | "SYS_ADMIN")) {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(path, context, detail));
        }
    }
}

fn ids(context: &Value, fields: &[&str], path: &Path, errors: &mut Errors) {
    for field in fields {
        id(number(context, field), &path.child(field), errors);
    }
}

fn id(id: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(id) = id.filter(|id| !(0..=ID_LIMIT).contains(id)) {
        let detail = format!("must be between 0 and {ID_LIMIT}, inclusive");
        errors.push(FieldError::invalid(path, id, &detail));
    }
}

fn profiles(context: &Value, path: &Path, errors: &mut Errors) {
    for field in ["seccompProfile", "appArmorProfile"] {
        let Some(profile) = context.get(field) else { continue };
        let path = path.child(field);
        let kind = string(profile, "type");
        one_of(kind, PROFILE_TYPES, &path.child("type"), errors);
        let file = string(profile, "localhostProfile");
        if kind == "Localhost" {
            let file = required(profile, "localhostProfile", &path, errors);
            if field == "seccompProfile" {
                super::local_path(file, &path.child("localhostProfile"), errors);
            }
        } else if !file.is_empty() {
            let detail = "can only be set when seccomp type is Localhost";
            errors.push(FieldError::invalid(&path.child("localhostProfile"), file, detail));
        }
    }
}

fn sysctls(context: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, sysctl) in items(context, "sysctls").iter().enumerate() {
        let path = path.index(index);
        let name = required(sysctl, "name", &path, errors);
        if !name.is_empty() && !is_sysctl(name) {
            let detail = format!(
                "must have at most {SYSCTL_LIMIT} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.push(FieldError::invalid(&path.child("name"), name, &detail));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= SYSCTL_LIMIT && name.split(['.', '/']).all(|part| {
        let bytes = part.as_bytes();
        matches!((bytes.first(), bytes.last()), (Some(&a), Some(&z)) if alphanumeric(a) && alphanumeric(z))
            && bytes.iter().all(|&c| alphanumeric(c) || matches!(c, b'-' | b'_'))
    })
}
