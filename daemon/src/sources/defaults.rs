//! The defaults that the API server would have filled in: static pods never pass it. behaviour.md 1.5.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EphemeralContainer, HTTPGetAction, Lifecycle, ObjectFieldSelector, Pod,
    PodSpec, Probe, ResourceRequirements, Volume,
};

/// Fills in what the manifest leaves open.
pub(super) fn apply(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    set(&mut spec.restart_policy, "Always");
    set(&mut spec.dns_policy, "ClusterFirst");
    set(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context.get_or_insert_default();
    if spec.service_account_name.is_none() {
        spec.service_account_name.clone_from(&spec.service_account);
    }
    let host_network = spec.host_network == Some(true);
    let PodSpec { containers, init_containers, ephemeral_containers, volumes, .. } = spec;
    for container in containers.iter_mut().chain(init_containers.iter_mut().flatten()) {
        apply_container(container, host_network);
    }
    for container in ephemeral_containers.iter_mut().flatten() {
        apply_ephemeral(container);
    }
    for volume in volumes.iter_mut().flatten() {
        apply_volume(volume);
    }
}

fn set(field: &mut Option<String>, default: &str) {
    if field.as_deref().is_none_or(str::is_empty) {
        *field = Some(default.to_owned());
    }
}

fn apply_container(container: &mut Container, host_network: bool) {
    pull_policy(&mut container.image_pull_policy, container.image.as_deref());
    set(&mut container.termination_message_path, "/dev/termination-log");
    set(&mut container.termination_message_policy, "File");
    for port in container.ports.iter_mut().flatten() {
        apply_port(port, host_network);
    }
    for variable in container.env.iter_mut().flatten() {
        if let Some(field) = variable.value_from.as_mut().and_then(|from| from.field_ref.as_mut()) {
            apply_field(field);
        }
    }
    let resources = container.resources.get_or_insert_default();
    apply_requests(resources);
    let probes =
        [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    for probe in probes.into_iter().flatten() {
        apply_probe(probe);
    }
    if let Some(Lifecycle { post_start, pre_stop, .. }) = &mut container.lifecycle {
        for handler in [post_start, pre_stop].into_iter().flatten() {
            if let Some(http) = &mut handler.http_get {
                apply_http(http);
            }
        }
    }
}

fn apply_ephemeral(container: &mut EphemeralContainer) {
    pull_policy(&mut container.image_pull_policy, container.image.as_deref());
    set(&mut container.termination_message_path, "/dev/termination-log");
    set(&mut container.termination_message_policy, "File");
}

/// Always for `latest` and for an image without tag and digest, otherwise IfNotPresent.
fn pull_policy(policy: &mut Option<String>, image: Option<&str>) {
    let image = image.unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or(image);
    let is_latest = !image.contains('@') && last.rsplit_once(':').is_none_or(|(_, tag)| tag == "latest");
    set(policy, if is_latest { "Always" } else { "IfNotPresent" });
}

fn apply_port(port: &mut ContainerPort, host_network: bool) {
    set(&mut port.protocol, "TCP");
    if host_network && port.host_port.is_none_or(|port| port == 0) {
        port.host_port = Some(port.container_port);
    }
}

fn apply_field(field: &mut ObjectFieldSelector) {
    set(&mut field.api_version, "v1");
}

/// A limit without a request is a request too.
fn apply_requests(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else { return };
    let requests = resources.requests.get_or_insert_default();
    for (name, amount) in limits {
        requests.entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

fn apply_probe(probe: &mut Probe) {
    for (field, default) in [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ] {
        if field.is_none_or(|value| value == 0) {
            *field = Some(default);
        }
    }
    if let Some(http) = &mut probe.http_get {
        apply_http(http);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn apply_http(http: &mut HTTPGetAction) {
    set(&mut http.path, "/");
    set(&mut http.scheme, "HTTP");
}

fn apply_volume(volume: &mut Volume) {
    const FILE_MODE: i32 = 0o644;
    if let Some(secret) = &mut volume.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(config_map) = &mut volume.config_map {
        config_map.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        for field in downward.items.iter_mut().flatten().filter_map(|item| item.field_ref.as_mut()) {
            apply_field(field);
        }
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        for source in projected.sources.iter_mut().flatten() {
            if let Some(token) = &mut source.service_account_token {
                token.expiration_seconds.get_or_insert(3600);
            }
            let items =
                source.downward_api.iter_mut().filter_map(|downward| downward.items.as_mut()).flatten();
            items.filter_map(|item| item.field_ref.as_mut()).for_each(apply_field);
        }
    }
    if let Some(host_path) = &mut volume.host_path {
        host_path.type_.get_or_insert_default();
    }
    let only_name = Volume { name: volume.name.clone(), ..Volume::default() };
    if *volume == only_name {
        volume.empty_dir = Some(k8s_openapi::api::core::v1::EmptyDirVolumeSource::default());
    }
}
