use super::*;
use crate::node::capacity;

/// The recorded node's status; heartbeats and images cut.
fn expected() -> Value {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": "2026-11-23T00:06:14Z", "lastTransitionTime": "2026-11-23T00:06:14Z"})
    };
    json!({
        "addresses": [{"address": "192.0.2.2", "type": "InternalIP"}, {"address": "node1", "type": "Hostname"}],
        "allocatable": {"cpu": "2", "ephemeral-storage": "243497856212", "memory": "24581684Ki", "pods": "110"},
        "capacity": {"cpu": "2", "ephemeral-storage": "264212084Ki", "memory": "24684084Ki", "pods": "110"},
        "conditions": [
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "features": {"supplementalGroupsPolicy": true},
        "images": [],
        "nodeInfo": {
            "architecture": go_architecture(), "bootID": "b", "containerRuntimeVersion": "containerd://2.4.0", "kernelVersion": "6.18",
            "kubeProxyVersion": "", "kubeletVersion": concat!("v1.36.2+nodelet.", env!("CARGO_PKG_VERSION")), "machineID": "m", "operatingSystem": "linux",
            "osImage": "Debian GNU/Linux 12 (bookworm)", "systemUUID": "s",
        },
        "runtimeHandlers": [{"features": {"recursiveReadOnlyMounts": true, "userNamespaces": true}, "name": "runc"}],
    })
}

struct World {
    machine: Machine,
    resources: Resources,
    runtime: RuntimeState,
    addresses: Vec<NodeAddress>,
    pressures: Pressures,
    shutting_down: bool,
    of_cloud: bool,
    resets_extended: bool,
    now: Timestamp,
    instant: Instant,
}

impl World {
    fn new() -> Self {
        let machine = Machine {
            machine_id: "m".into(),
            system_uuid: "s".into(),
            boot_id: "b".into(),
            kernel_version: "6.18".into(),
            os_image: "Debian GNU/Linux 12 (bookworm)".into(),
            cpus: 2,
            memory_bytes: 24_684_084 * 1024,
            ..Machine::default()
        };
        let instant = Instant::now();
        Self {
            resources: capacity::resources(
                &machine,
                264_212_084 * 1024,
                &crate::config::Config::default(),
                false,
            )
            .unwrap(),
            machine,
            runtime: RuntimeState {
                name: "containerd".into(),
                version: "2.4.0".into(),
                ready: Ok(()),
                network: Ok(()),
                handlers: vec![RuntimeHandler {
                    name: "runc".into(),
                    recursive_read_only_mounts: true,
                    user_namespaces: true,
                }],
                supplemental_groups_policy: true,
                last_ok: Some(instant),
                ..RuntimeState::default()
            },
            addresses: [("InternalIP", "192.0.2.2"), ("Hostname", "node1")]
                .map(|(kind, address)| NodeAddress { type_: kind.into(), address: address.into() })
                .into(),
            pressures: Pressures::default(),
            shutting_down: false,
            of_cloud: false,
            resets_extended: false,
            now: "2026-11-23T00:06:14.7Z".parse().unwrap(),
            instant,
        }
    }

    fn status(&self, before: &NodeStatus) -> NodeStatus {
        let inputs = Inputs {
            declared_features: None,
            machine: &self.machine,
            resources: &self.resources,
            runtime: &self.runtime,
            addresses: &self.addresses,
            addresses_of_cloud: self.of_cloud,
            resets_extended: self.resets_extended,
            images: &[],
            pressures: self.pressures,
            shutting_down: self.shutting_down,
            port: 10250,
            now: self.now,
            instant: self.instant,
        };
        compute(&inputs, before)
    }
}

fn condition<'a>(status: &'a NodeStatus, kind: &str) -> &'a NodeCondition {
    status.conditions.as_ref().unwrap().iter().find(|condition| condition.type_ == kind).unwrap()
}

#[test]
fn the_status_has_the_shape_that_a_kubelet_gives_it() {
    assert_eq!(serde_json::to_value(World::new().status(&NodeStatus::default())).unwrap(), expected());
}

#[test]
fn a_later_heartbeat_changes_no_transition_and_is_no_change() {
    let mut world = World::new();
    let before = world.status(&NodeStatus::default());
    world.now = "2026-11-23T01:00:00Z".parse().unwrap();
    let after = world.status(&before);
    assert_eq!(
        condition(&after, "Ready").last_transition_time,
        condition(&before, "Ready").last_transition_time
    );
    assert!(!changed(&before, &after));
    assert_eq!(transitions(&before, &after), Vec::<&str>::new());
    let patch = patch(&before, &after);
    assert_eq!(patch["status"].as_object().unwrap().keys().collect::<Vec<_>>(), ["conditions"]);
    assert_eq!(patch["status"]["conditions"].as_array().unwrap().len(), 4);
}

#[test]
fn a_node_that_goes_down_says_so_and_several_reasons_are_a_list() {
    let mut world = World { shutting_down: true, ..World::new() };
    let message =
        |world: &World| condition(&world.status(&NodeStatus::default()), "Ready").message.clone().unwrap();
    assert_eq!(message(&world), "node is shutting down");
    world.runtime.network = Err("NetworkReady=false reason:Gone message:[all]".to_owned());
    let network = "container runtime network not ready: NetworkReady=false reason:Gone message:[all]";
    assert_eq!(message(&world), format!("[{network}, node is shutting down]"));
    world.shutting_down = false;
    assert_eq!(message(&world), network);
}

#[test]
fn swap_is_told_where_there_is_any() {
    let mut world = World::new();
    let swap = |world: &World| world.status(&NodeStatus::default()).node_info.unwrap().swap;
    assert_eq!(swap(&world), None);
    world.machine.swap_bytes = 1 << 30;
    assert_eq!(swap(&world), Some(NodeSwapStatus { capacity: Some(1 << 30) }));
}

#[test]
fn a_node_is_not_ready_for_each_reason_that_there_is() {
    let reason = |change: fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        let status = world.status(&NodeStatus::default());
        let ready = condition(&status, "Ready").clone();
        assert_eq!((ready.status.as_str(), ready.reason.as_deref()), ("False", Some("KubeletNotReady")));
        ready.message.unwrap()
    };
    assert!(
        reason(|world| world.runtime.network = Err("cni plugin not initialized".into()))
            .starts_with("container runtime network not ready: cni")
    );
    assert!(reason(|world| world.runtime.ready = Err("no answer".into())).contains("no answer"));
    assert!(
        reason(|world| world.instant += Duration::from_secs(31)).contains("not answered for more than 30s")
    );
    assert!(
        reason(|world| world.resources.capacity.retain(|name, _| name != "memory"))
            .contains("missing node capacity for resources: memory")
    );
    assert!(reason(|world| world.runtime = RuntimeState::default()).contains("not answered yet"));
}

#[test]
fn turned_conditions_are_told_and_written() {
    let mut world = World::new();
    let before = world.status(&NodeStatus::default());
    assert_eq!(
        transitions(&NodeStatus::default(), &before),
        ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID", "NodeReady"]
    );
    world.pressures.disk = true;
    world.runtime.network = Err("x".into());
    world.now = "2026-11-23T02:00:00Z".parse().unwrap();
    let after = world.status(&before);
    assert!(changed(&before, &after));
    assert_eq!(transitions(&before, &after), ["NodeHasDiskPressure", "NodeNotReady"]);
    let disk = condition(&after, "DiskPressure");
    assert_eq!((disk.status.as_str(), disk.reason.as_deref()), ("True", Some("KubeletHasDiskPressure")));
    assert_eq!(disk.last_transition_time.as_ref().unwrap().0, world.now);
}

#[test]
fn what_others_have_written_stays() {
    let world = World::new();
    let mut before = world.status(&NodeStatus::default());
    before.conditions.as_mut().unwrap().insert(
        0,
        NodeCondition {
            type_: "NetworkUnavailable".into(),
            status: "False".into(),
            ..NodeCondition::default()
        },
    );
    before.capacity.as_mut().unwrap().insert("example.com/dongle".into(), Quantity("4".into()));
    before.capacity.as_mut().unwrap().insert("hugepages-64Ki".into(), Quantity("0".into()));
    let after = world.status(&before);
    assert_eq!(after.conditions.as_ref().unwrap().len(), 5);
    assert_eq!(after.capacity.as_ref().unwrap()["example.com/dongle"].0, "4");
    let patch = patch(&before, &after);
    assert_eq!(
        patch["status"]["capacity"]["hugepages-64Ki"],
        Value::Null,
        "a page size that the kernel has no more goes"
    );
    assert!(patch["status"].get("conditions").is_none());
}

#[test]
fn changed_addresses_replace_the_list() {
    let mut world = World::new();
    let before = world.status(&NodeStatus::default());
    world.addresses.remove(0);
    let after = world.status(&before);
    assert_eq!(
        patch(&before, &after),
        json!({"status": {"addresses": [{"$patch": "replace"}, {"type": "Hostname", "address": "node1"}]}})
    );
    world.addresses.clear();
    assert_eq!(world.status(&before).addresses, before.addresses, "unknown addresses take none away");
}

#[test]
fn row_32_6_addresses_of_a_cloud_stay_and_ours_are_only_the_first() {
    let mut world = World::new();
    world.of_cloud = true;
    let first = world.status(&NodeStatus::default());
    assert_eq!(first.addresses.as_ref(), Some(&world.addresses));
    let mut of_cloud = first;
    let external = NodeAddress { type_: "ExternalIP".into(), address: "198.51.100.7".into() };
    of_cloud.addresses.as_mut().unwrap().insert(0, external);
    let after = world.status(&of_cloud);
    assert_eq!(after.addresses, of_cloud.addresses);
    assert!(!changed(&of_cloud, &after));
    world.of_cloud = false;
    assert_eq!(world.status(&of_cloud).addresses.as_ref(), Some(&world.addresses));
}

#[test]
fn row_32_1_extended_resources_of_an_earlier_agent_are_set_to_none() {
    let mut world = World::new();
    let mut before = world.status(&NodeStatus::default());
    for name in ["example.com/dongle", "attachable-volumes-csi-x", "node.kubernetes.io/odd"] {
        before.capacity.as_mut().unwrap().insert(name.into(), Quantity("4".into()));
        before.allocatable.as_mut().unwrap().insert(name.into(), Quantity("4".into()));
    }
    world.resets_extended = true;
    let after = world.status(&before);
    let patch = patch(&before, &after);
    for field in ["capacity", "allocatable"] {
        assert_eq!(patch["status"][field]["example.com/dongle"], "0");
        assert_eq!(patch["status"][field]["attachable-volumes-csi-x"], "4");
        assert_eq!(patch["status"][field]["node.kubernetes.io/odd"], "4");
    }
}

#[test]
fn row_32_15_a_restart_is_no_news_of_readiness() {
    let mut world = World::new();
    let before = world.status(&NodeStatus::default());
    let told = told_before(&before);
    let pressures = ["NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"];
    assert_eq!(transitions(&told, &before), pressures);
    world.runtime.network = Err("x".into());
    let after = world.status(&before);
    assert_eq!(transitions(&told, &after), [&pressures[..], &["NodeNotReady"]].concat());
}

#[test]
fn row_32_14_the_four_conditions_come_in_a_kubelets_order_ready_last() {
    let world = World::new();
    let mut before = world.status(&NodeStatus::default());
    before.conditions.as_mut().unwrap().reverse();
    let kinds = |status: &NodeStatus| -> Vec<String> {
        status.conditions.iter().flatten().map(|condition| condition.type_.clone()).collect()
    };
    assert_eq!(kinds(&world.status(&before)), ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"]);
}

#[test]
fn row_32_17_volumes_that_another_agent_has_in_use_stay() {
    let world = World::new();
    let mut before = world.status(&NodeStatus::default());
    before.volumes_in_use = Some(vec!["kubernetes.io/csi/driver^1".to_owned()]);
    before.volumes_attached = Some(vec![k8s_openapi::api::core::v1::AttachedVolume {
        name: "kubernetes.io/csi/driver^1".to_owned(),
        device_path: String::new(),
    }]);
    let changed = World { shutting_down: true, ..World::new() };
    let after = changed.status(&before);
    assert_eq!(after.volumes_in_use, before.volumes_in_use);
    assert_eq!(after.volumes_attached, before.volumes_attached);
    let patch = patch(&before, &after);
    assert_eq!(patch["status"].as_object().unwrap().keys().collect::<Vec<_>>(), ["conditions"]);
}

#[test]
fn a_runtime_that_has_not_answered_takes_nothing_back() {
    let mut world = World::new();
    let before = world.status(&NodeStatus::default());
    world.runtime = RuntimeState::default();
    let after = world.status(&before);
    assert_eq!(after.node_info, before.node_info);
    assert_eq!(after.runtime_handlers, before.runtime_handlers);
}

#[test]
fn images_are_shown_largest_first_with_digests_before_tags() {
    let image = |size: u64, tags: &[&str], digests: &[&str]| cri_client::v1::Image {
        size,
        repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        repo_digests: digests.iter().map(|digest| (*digest).to_owned()).collect(),
        ..Default::default()
    };
    let images = [
        image(5, &["b:1"], &[]),
        image(9, &["a:1", "a:2", "a:3", "a:4", "a:5"], &["a@sha256:0"]),
        image(7, &["c:1"], &[]),
    ];
    let shown = crate::node::images::shown(&images, 2);
    assert_eq!(shown.iter().map(|image| image.size_bytes).collect::<Vec<_>>(), [Some(9), Some(7)]);
    assert_eq!(shown[0].names.as_ref().unwrap(), &["a@sha256:0", "a:1", "a:2", "a:3", "a:4"]);
    assert_eq!(crate::node::images::shown(&images, -1).len(), 3);
}
