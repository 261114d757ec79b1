//! What a static pod must satisfy to be run: names, references between its own parts, ranges.
//!
//! The API server checks its pods itself; this is the part of its rules that a static pod could break here.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// All that is wrong, as (field, message).
pub(super) fn problems(pod: &Pod) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    let mut wrong = |field: &str, message: String| problems.push((field.to_owned(), message));
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if !is_subdomain(name) {
        wrong(
            "metadata.name",
            format!("{name:?} must be lower-case letters, digits, '-' and '.', at most 253"),
        );
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if !is_label(namespace) {
        wrong(
            "metadata.namespace",
            format!("{namespace:?} must be lower-case letters, digits and '-', at most 63"),
        );
    }
    let Some(spec) = &pod.spec else {
        wrong("spec", "is missing".to_owned());
        return problems;
    };
    if spec.containers.is_empty() {
        wrong("spec.containers", "must not be empty".to_owned());
    }
    let one_of =
        |value: &Option<String>, allowed: &[&str]| allowed.contains(&value.as_deref().unwrap_or_default());
    if !one_of(&spec.restart_policy, &["Always", "OnFailure", "Never"]) {
        wrong("spec.restartPolicy", "must be Always, OnFailure or Never".to_owned());
    }
    if !one_of(&spec.dns_policy, &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]) {
        wrong("spec.dnsPolicy", "must be ClusterFirst, ClusterFirstWithHostNet, Default or None".to_owned());
    }
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        wrong("spec.terminationGracePeriodSeconds", "must not be negative".to_owned());
    }
    if spec.active_deadline_seconds.is_some_and(|seconds| seconds < 1) {
        wrong("spec.activeDeadlineSeconds", "must be at least 1".to_owned());
    }
    if spec.ephemeral_containers.as_ref().is_some_and(|containers| !containers.is_empty()) {
        wrong("spec.ephemeralContainers", "cannot be in a static pod".to_owned());
    }
    let volumes = volumes(spec, &mut problems);
    let mut names = BTreeSet::new();
    let init =
        spec.init_containers.iter().flatten().enumerate().map(|(index, c)| ("initContainers", index, c));
    let plain = spec.containers.iter().enumerate().map(|(index, c)| ("containers", index, c));
    for (list, index, part) in init.chain(plain) {
        let field = format!("spec.{list}[{index}]");
        if !names.insert(part.name.as_str()) {
            problems.push((format!("{field}.name"), format!("{:?} is given twice", part.name)));
        }
        container(part, &field, &volumes, &mut problems);
    }
    problems
}

fn volumes<'a>(spec: &'a PodSpec, problems: &mut Vec<(String, String)>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let field = format!("spec.volumes[{index}].name");
        if !is_label(&volume.name) {
            problems.push((
                field,
                format!("{:?} must be lower-case letters, digits and '-', at most 63", volume.name),
            ));
        } else if !names.insert(volume.name.as_str()) {
            problems.push((field, format!("{:?} is given twice", volume.name)));
        }
    }
    names
}

fn container(
    container: &Container,
    field: &str,
    volumes: &BTreeSet<&str>,
    problems: &mut Vec<(String, String)>,
) {
    let mut wrong = |name: String, message: String| problems.push((format!("{field}.{name}"), message));
    if !is_label(&container.name) {
        wrong(
            "name".into(),
            format!("{:?} must be lower-case letters, digits and '-', at most 63", container.name),
        );
    }
    let image = container.image.as_deref().unwrap_or_default();
    if image.is_empty() || image.trim() != image {
        wrong("image".into(), format!("{image:?} is no image"));
    }
    if !["Always", "IfNotPresent", "Never"]
        .contains(&container.image_pull_policy.as_deref().unwrap_or_default())
    {
        wrong("imagePullPolicy".into(), "must be Always, IfNotPresent or Never".into());
    }
    for (index, port) in container.ports.iter().flatten().enumerate() {
        if !(1..=65_535).contains(&port.container_port) {
            wrong(
                format!("ports[{index}].containerPort"),
                format!("{} is not between 1 and 65535", port.container_port),
            );
        }
        if port.host_port.is_some_and(|port| !(0..=65_535).contains(&port)) {
            wrong(format!("ports[{index}].hostPort"), "is not between 1 and 65535".into());
        }
        if !["TCP", "UDP", "SCTP"].contains(&port.protocol.as_deref().unwrap_or_default()) {
            wrong(format!("ports[{index}].protocol"), "must be TCP, UDP or SCTP".into());
        }
    }
    for (index, variable) in container.env.iter().flatten().enumerate() {
        if variable.name.is_empty() || variable.name.contains('=') {
            wrong(format!("env[{index}].name"), format!("{:?} is no name of a variable", variable.name));
        }
    }
    let mut paths = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        if !volumes.contains(mount.name.as_str()) {
            wrong(format!("volumeMounts[{index}].name"), format!("no volume is named {:?}", mount.name));
        }
        if mount.mount_path.is_empty() || mount.mount_path.contains(':') {
            wrong(
                format!("volumeMounts[{index}].mountPath"),
                format!("{:?} is no path for a mount", mount.mount_path),
            );
        }
        if !paths.insert(mount.mount_path.as_str()) {
            wrong(
                format!("volumeMounts[{index}].mountPath"),
                format!("{:?} is given twice", mount.mount_path),
            );
        }
        if mount
            .sub_path
            .as_deref()
            .is_some_and(|path| path.starts_with('/') || path.split('/').any(|part| part == ".."))
        {
            wrong(format!("volumeMounts[{index}].subPath"), "must be relative and without ..".into());
        }
    }
    let resources = container.resources.iter();
    for (list, amounts) in
        resources.flat_map(|resources| [("requests", &resources.requests), ("limits", &resources.limits)])
    {
        for (resource, amount) in amounts.iter().flatten() {
            if amount.0.parse::<podspec::Quantity>().is_err() {
                wrong(format!("resources.{list}.{resource}"), format!("{:?} is no quantity", amount.0));
            }
        }
    }
}

/// DNS label: letters, digits and dashes.
fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| inner(byte) || byte == b'-')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().next_back().is_some_and(inner)
}

fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(|part| part.len() <= 253 && is_long_label(part))
}

/// As a label, but a part of a pod's name may be longer than 63.
fn is_long_label(part: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    part.bytes().all(|byte| inner(byte) || byte == b'-')
        && part.bytes().next().is_some_and(inner)
        && part.bytes().next_back().is_some_and(inner)
}
