//! The runtime is told what a kubelet tells it; the figures are those of a recorded kubelet 1.36.

use std::path::PathBuf;

use cri_client::v1;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use cgroups::{Capacity, Hierarchy, Policy};

use super::{Parts, container_config, resources};
use crate::cgroups::Limits;
use crate::runtime::environment::{self, Addresses, Sources, Variables};
use crate::runtime::security::{ImageUser, Settings};
use crate::runtime::users;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "twoc", "namespace": "fx", "uid": "f25c9941", "labels": { "tier": "front" } },
        "spec": {
            "nodeName": "node1",
            "terminationGracePeriodSeconds": 30,
            "containers": [{
                "name": "one",
                "image": "registry.k8s.io/e2e-test-images/busybox:1.37.0-1",
                "command": ["sh", "-c", "echo $(GREETING) $(MISSING) $$(ESCAPED)", "$(POD_NAME)"],
                "args": ["arg-$(GREETING)"],
                "env": [
                    { "name": "NAME1", "value": "plain" },
                    { "name": "GREETING", "value": "hello-$(NAME1)" },
                    { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                    { "name": "POD_LABEL", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['tier']" } } },
                    { "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
                ],
                "ports": [
                    { "name": "http", "hostPort": 18080, "containerPort": 8080, "protocol": "TCP" },
                    { "name": "dns", "containerPort": 5353, "protocol": "UDP" },
                ],
                "resources": { "limits": { "memory": "32Mi" }, "requests": { "cpu": "10m", "memory": "16Mi" } },
            }],
        },
    }))
    .unwrap()
}

fn limits(hierarchy: Hierarchy) -> Limits {
    let huge_pages = [(2 << 20, 0)].into();
    let capacity = Capacity { memory_bytes: 32 << 30, huge_pages, counts_swap: true, ..Capacity::default() };
    Limits { capacity, policy: Policy::default(), hierarchy }
}

#[test]
fn on_the_unified_hierarchy_a_container_has_no_swap_and_is_killed_as_a_whole() {
    let pod = pod();
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let told = resources(&pod, container, &limits(Hierarchy::V2));
    let mut unified: Vec<(String, String)> = told.unified.into_iter().collect();
    unified.sort();
    let expected = [("memory.oom.group", "1"), ("memory.swap.max", "0")];
    assert_eq!(unified, expected.map(|(file, content)| (file.to_owned(), content.to_owned())));
    assert_eq!((told.memory_limit_in_bytes, told.memory_swap_limit_in_bytes), (33_554_432, 0));
    let pages: Vec<(&str, u64)> =
        told.hugepage_limits.iter().map(|l| (l.page_size.as_str(), l.limit)).collect();
    assert_eq!(pages, [("2MB", 0)]);
}

#[test]
fn a_container_is_described_as_a_kubelet_describes_it() {
    let pod = pod();
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let (host_ips, pod_ips) = (["192.0.2.2".to_owned()], ["10.88.0.20".to_owned()]);
    let limits = limits(Hierarchy::V1);
    let security = Settings::default();
    let sources = Sources {
        addresses: Addresses { host_ips: &host_ips, pod_ips: &pod_ips },
        services: &Default::default(),
        objects: &Default::default(),
        files: &Default::default(),
        allocatable: &Default::default(),
    };
    let variables = environment::variables(&pod, container, sources).unwrap();
    let parts = Parts {
        restart_count: 2,
        image_id: "sha256:96a6",
        image_user: &ImageUser::Id(0),
        variables: &variables,
        mounts: Default::default(),
        users: users::of_node(),
        security: &security,
        stop_signals: false,
        etc_hosts: Some(PathBuf::from("/root/pods/u/etc-hosts")),
        termination_log: Some(PathBuf::from("/root/pods/u/containers/one/abc")),
        target_id: None,
        volume_images: &Default::default(),
        limits: &limits,
    };
    let config = container_config(&pod, container, &parts).unwrap();
    assert_eq!(config.metadata.unwrap().attempt, 2);
    assert_eq!(config.log_path, "one/2.log");
    let image = config.image.unwrap();
    assert_eq!(
        (image.image.as_str(), image.user_specified_image.ends_with("busybox:1.37.0-1")),
        ("sha256:96a6", true)
    );
    assert_eq!(config.command, ["sh", "-c", "echo hello-plain $(MISSING) $(ESCAPED)", "twoc"]);
    assert_eq!(config.args, ["arg-hello-plain"]);
    let env = |key: &str| config.envs.iter().find(|e| e.key == key).map(|e| e.value.to_vec());
    assert_eq!(env("POD_LABEL").as_deref(), Some(&b"front"[..]));
    assert_eq!(env("POD_IP").as_deref(), Some(&b"10.88.0.20"[..]));
    let labels = ["container.name=one", "pod.name=twoc", "pod.namespace=fx", "pod.uid=f25c9941"];
    for label in labels {
        let (key, value) = label.split_once('=').unwrap();
        assert_eq!(config.labels[&format!("io.kubernetes.{key}")], value);
    }
    let annotation = |key: &str| config.annotations[&format!("io.kubernetes.{key}")].as_str();
    assert_eq!(annotation("container.hash"), "b1f2bd5e");
    assert_eq!(annotation("container.restartCount"), "2");
    assert_eq!(annotation("container.terminationMessagePath"), "/dev/termination-log");
    assert_eq!(annotation("pod.terminationGracePeriod"), "30");
    assert_eq!(
        annotation("container.ports"),
        r#"[{"name":"http","hostPort":18080,"containerPort":8080,"protocol":"TCP"},{"name":"dns","containerPort":5353,"protocol":"UDP"}]"#
    );
    let mounts: Vec<&str> = config.mounts.iter().map(|m| m.container_path.as_str()).collect();
    assert_eq!(mounts, ["/etc/hosts", "/dev/termination-log"]);
    let linux = config.linux.unwrap();
    let resources = linux.resources.unwrap();
    assert_eq!((resources.cpu_period, resources.cpu_shares, resources.cpu_quota), (100_000, 10, 0));
    assert_eq!(
        (resources.memory_limit_in_bytes, resources.memory_swap_limit_in_bytes),
        (33_554_432, 33_554_432)
    );
    assert_eq!(resources.oom_score_adj, 999);
    let security = linux.security_context.unwrap();
    assert_eq!((security.masked_paths.len(), security.readonly_paths.len()), (12, 5));
    assert_eq!(security.seccomp.unwrap().profile_type, 1);
    assert_eq!(security.run_as_user.unwrap().value, 0);
    let namespaces = security.namespace_options.unwrap();
    assert_eq!((namespaces.pid, namespaces.userns_options.unwrap().mode), (1, 2));
}

/// `change` makes the parts of the test differ from those of a plain container.
fn made(pod: &Pod, change: impl FnOnce(&mut Parts<'_>)) -> Result<v1::ContainerConfig, String> {
    let (limits, security, variables) = (limits(Hierarchy::V2), Settings::default(), Variables::new());
    let mut parts = Parts {
        restart_count: 0,
        image_id: "i",
        image_user: &ImageUser::Id(0),
        variables: &variables,
        mounts: Default::default(),
        users: users::of_node(),
        security: &security,
        stop_signals: false,
        etc_hosts: Some(PathBuf::from("/root/pods/u/etc-hosts")),
        termination_log: None,
        target_id: None,
        volume_images: &Default::default(),
        limits: &limits,
    };
    change(&mut parts);
    let container = &pod.spec.as_ref().unwrap().containers[0];
    container_config(pod, container, &parts).map_err(|error| error.to_string())
}

#[test]
fn row_7_10_mounts_of_a_pod_with_own_users_are_mapped_to_them() {
    let mapping = v1::IdMapping { host_id: 131_072, container_id: 0, length: 65_536 };
    let own = v1::UserNamespace { mode: 0, uids: vec![mapping], gids: vec![mapping] };
    let config = made(&pod(), |parts| parts.users = own.clone()).unwrap();
    assert!(!config.mounts.is_empty());
    for mount in config.mounts {
        assert_eq!((mount.uid_mappings, mount.gid_mappings), (vec![mapping], vec![mapping]));
    }
    let security = config.linux.unwrap().security_context.unwrap();
    assert_eq!(security.namespace_options.unwrap().userns_options, Some(own));
    let plain = made(&pod(), |_| {}).unwrap();
    assert!(plain.mounts.iter().all(|mount| mount.uid_mappings.is_empty()));
}

#[test]
fn a_stop_signal_is_passed_while_its_gate_is_on() {
    let with = |signal: &str, stop_signals: bool| {
        let mut pod = pod();
        let lifecycle = serde_json::from_value(json!({ "stopSignal": signal })).unwrap();
        pod.spec.as_mut().unwrap().containers[0].lifecycle = lifecycle;
        made(&pod, |parts| parts.stop_signals = stop_signals).unwrap().stop_signal()
    };
    assert_eq!(with("SIGUSR1", true), v1::Signal::Sigusr1);
    assert_eq!(with("SIGRTMIN+3", true), v1::Signal::Sigrtminplus3);
    assert_eq!(with("SIGRTMAX-14", true), v1::Signal::Sigrtmaxminus14);
    assert_eq!(with("SIGNONE", true), v1::Signal::RuntimeDefault);
    assert_eq!(with("SIGUSR1", false), v1::Signal::RuntimeDefault);
    assert_eq!(made(&pod(), |parts| parts.stop_signals = true).unwrap().stop_signal, 0);
}

#[test]
fn row_5_29_the_signal_that_the_runtime_tells_is_named_as_in_the_pod() {
    let told = |signal: v1::Signal| {
        let status = v1::ContainerStatus { stop_signal: signal as i32, ..Default::default() };
        super::super::observe::container(&status, String::new(), None).stop_signal
    };
    assert_eq!(told(v1::Signal::Sigusr1).as_deref(), Some("SIGUSR1"));
    assert_eq!(told(v1::Signal::Sigrtminplus3).as_deref(), Some("SIGRTMIN+3"));
    assert_eq!(told(v1::Signal::Sigrtmaxminus14).as_deref(), Some("SIGRTMAX-14"));
    assert_eq!(told(v1::Signal::RuntimeDefault), None);
}
