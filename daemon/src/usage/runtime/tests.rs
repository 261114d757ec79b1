use super::super::figures::{ContainerUsage, SandboxUsage};
use super::*;

fn number(value: u64) -> Option<v1::UInt64Value> {
    Some(v1::UInt64Value { value })
}

fn attributes(id: &str) -> Option<v1::ContainerAttributes> {
    Some(v1::ContainerAttributes { id: id.into(), ..Default::default() })
}

fn cpu(nanos: u64, at: i64) -> Option<v1::CpuUsage> {
    Some(v1::CpuUsage { timestamp: at, usage_core_nano_seconds: number(nanos), ..Default::default() })
}

fn stats(nanos: u64, at: i64) -> v1::PodSandboxStats {
    let interface = |name: &str| v1::NetworkInterfaceUsage {
        name: name.into(),
        rx_bytes: number(1),
        tx_bytes: number(2),
        ..Default::default()
    };
    let memory = v1::MemoryUsage { timestamp: at, working_set_bytes: number(4096), ..Default::default() };
    let container = v1::ContainerStats {
        attributes: attributes("c1"),
        cpu: cpu(nanos, at),
        memory: Some(memory),
        ..Default::default()
    };
    v1::PodSandboxStats {
        attributes: Some(v1::PodSandboxAttributes { id: "s1".into(), ..Default::default() }),
        linux: Some(v1::LinuxPodSandboxStats {
            cpu: cpu(nanos + 1, at),
            memory: Some(memory),
            network: Some(v1::NetworkUsage {
                timestamp: at,
                default_interface: Some(interface("eth0")),
                interfaces: vec![interface("eth0"), interface("net1")],
            }),
            process: Some(v1::ProcessUsage { timestamp: at, process_count: number(2) }),
            containers: vec![container],
            ..Default::default()
        }),
    }
}

#[test]
fn a_pod_uses_what_its_containers_use_where_the_runtime_knows_no_sandboxes() {
    let container = |id: &str, nanos: u64| v1::ContainerStats {
        attributes: attributes(id),
        cpu: cpu(nanos, 5),
        memory: Some(v1::MemoryUsage { timestamp: 5, working_set_bytes: number(4096), ..Default::default() }),
        ..Default::default()
    };
    let mut pods = world();
    let second = ContainerUsage { id: "c2".into(), ..ContainerUsage::default() };
    pods[0].containers.push(second);
    let mut known = pods.clone();
    let mut rates = Rates::default();
    containers(&mut known, &[container("c1", 7), container("c2", 8)], &mut rates);
    assert_eq!(known[0].group.cpu.as_ref().unwrap().usage_core_nanos, Some(15));
    assert_eq!(known[0].group.memory.as_ref().unwrap().working_set, Some(8192));
    assert_eq!(known[0].group.memory.as_ref().unwrap().rss, None);
    assert_eq!(known[1].group.cpu, None, "a pod of which nothing is known");
    containers(&mut pods, &[container("c1", 7)], &mut rates);
    assert_eq!(pods[0].group.cpu, None, "half of it is not known");
    assert_eq!(pods[0].containers[0].group.cpu.as_ref().unwrap().usage_core_nanos, Some(7));
}

fn world() -> Vec<PodUsage> {
    let container = ContainerUsage { id: "c1".into(), ..ContainerUsage::default() };
    let pod = PodUsage {
        sandbox: Some(SandboxUsage { id: "s1".into(), ..SandboxUsage::default() }),
        containers: vec![container],
        ..PodUsage::default()
    };
    let other = PodUsage {
        sandbox: Some(SandboxUsage { id: "s2".into(), ..SandboxUsage::default() }),
        ..PodUsage::default()
    };
    vec![pod, other]
}

#[test]
fn what_the_runtime_says_is_taken_over_and_what_it_does_not_say_is_unknown() {
    let mut rates = Rates::default();
    let second = 1_000_000_000;
    let mut all = world();
    pods(&mut all, &[stats(second, second as i64 * 1000)], &mut rates);
    let pod = &all[0];
    assert_eq!(pod.group.cpu.unwrap().usage_core_nanos, Some(second + 1));
    let memory = pod.containers[0].group.memory.unwrap();
    assert_eq!((memory.working_set, memory.usage, memory.available), (Some(4096), None, None));
    assert_eq!(memory.time.as_second(), 1000);
    assert_eq!(pod.containers[0].group.cpu.unwrap().usage_nano_cores, None, "the first reading");
    let network = pod.network.as_ref().unwrap();
    let names: Vec<_> = network.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    assert_eq!((names, network.default.as_deref()), (vec!["eth0", "net1"], Some("eth0")));
    assert_eq!(network.interfaces[0].rx_errors, None);
    let processes = pod.group.processes.unwrap();
    assert_eq!((processes.processes, processes.tasks), (Some(2), None));
    assert_eq!(all[1].group, Group::default(), "a sandbox of which it says nothing");
    let mut all = world();
    pods(&mut all, &[stats(2 * second, second as i64 * 1002)], &mut rates);
    assert_eq!(all[0].containers[0].group.cpu.unwrap().usage_nano_cores, Some(second / 2));
}

#[test]
fn writable_layers_are_told_by_the_containers_id() {
    let layer = v1::FilesystemUsage {
        timestamp: 5_000_000_000,
        fs_id: Some(v1::FilesystemIdentifier { mountpoint: "/snapshots".into() }),
        used_bytes: number(100),
        inodes_used: None,
    };
    let with = |layer| v1::ContainerStats {
        attributes: attributes("c"),
        writable_layer: layer,
        ..Default::default()
    };
    let found = layers(&[with(Some(layer.clone()))]);
    let wanted = Layer {
        time: Timestamp::from_second(5).unwrap(),
        place: "/snapshots".into(),
        bytes: Some(100),
        inodes: None,
    };
    assert_eq!(found, HashMap::from([("c".to_owned(), wanted)]));
    assert!(layers(&[with(None)]).is_empty());
    let (place, fs) = file_system(&layer).unwrap();
    assert_eq!((place.as_str(), fs.used, fs.inodes_used), ("/snapshots", Some(100), None));
}
