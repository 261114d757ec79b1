use serde_json::{Value, json};

use super::super::figures::SandboxUsage;
use super::*;

fn time() -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_700).unwrap()
}

const TIME: &str = "2023-11-14T22:13:20Z";

fn group() -> Group {
    let stall = Stall { total_micros: 9, avg10: 1.5, avg60: 0.0, avg300: 0.0 };
    let psi = Some(Psi { some: stall, full: Some(stall) });
    Group {
        cpu: Some(Cpu {
            time: time(),
            usage_core_nanos: Some(5),
            usage_nano_cores: Some(6),
            psi,
            ..Cpu::default()
        }),
        memory: Some(Memory { usage: Some(7), working_set: Some(8), psi: None, ..Memory::at(time()) }),
        swap: Some(Swap { time: time(), usage: Some(1), available: None, limit: None }),
        io: Some(Io { time: time(), devices: None, psi }),
        processes: Some(Processes { time: time(), tasks: Some(4), processes: Some(3), limit: None }),
        ..Group::default()
    }
}

fn pods() -> Vec<PodUsage> {
    let fs = Fs { time: time(), used: Some(10), capacity: Some(20), ..Fs::default() };
    let interface = |name: &str| Interface { name: name.into(), rx_bytes: Some(1), ..Interface::default() };
    let volume = |name: &str, kind| VolumeUsage { name: name.into(), kind, fs };
    vec![PodUsage {
        ended_logs: std::collections::BTreeMap::new(),
        uid: "u".into(),
        namespace: "ns".into(),
        name: "p".into(),
        start_time: Some(time()),
        group: group(),
        network: Some(Network {
            time: time(),
            default: Some("eth0".into()),
            interfaces: vec![interface("eth0"), interface("net1")],
        }),
        ephemeral_storage: Some(fs),
        containers: vec![ContainerUsage {
            name: "c".into(),
            start_time: Some(time()),
            group: group(),
            rootfs: Some(fs),
            logs: Some(fs),
            ..ContainerUsage::default()
        }],
        sandbox: Some(SandboxUsage::default()),
        volumes: vec![volume("data", VolumeKind::Claim("claim".into())), volume("tmp", VolumeKind::Local)],
    }]
}

fn node() -> NodeUsage {
    NodeUsage {
        start_time: Some(time()),
        group: group(),
        fs: Some(Fs { time: time(), ..Fs::default() }),
        image_fs: Some(Fs { time: time(), used: Some(3), ..Fs::default() }),
        tasks: Some(Processes { time: time(), tasks: Some(100), processes: None, limit: Some(1000) }),
        system: vec![SystemUsage { name: "pods", start_time: None, group: group() }],
        ..NodeUsage::default()
    }
}

fn page(extent: Extent) -> Value {
    serde_json::to_value(of("n1", &node(), &pods(), extent)).unwrap()
}

#[test]
fn row_44_2_the_page_has_a_kubelets_keys() {
    let page = page(Extent::Whole);
    let psi = json!({"full": {"total": 9, "avg10": 1.5, "avg60": 0.0, "avg300": 0.0},
                     "some": {"total": 9, "avg10": 1.5, "avg60": 0.0, "avg300": 0.0}});
    let fs = json!({"time": TIME, "usedBytes": 10, "capacityBytes": 20});
    let pod = &page["pods"][0];
    assert_eq!(pod["podRef"], json!({"name": "p", "namespace": "ns", "uid": "u"}));
    assert_eq!(pod["cpu"], json!({"time": TIME, "usageNanoCores": 6, "usageCoreNanoSeconds": 5, "psi": psi}));
    assert_eq!(pod["memory"], json!({"time": TIME, "usageBytes": 7, "workingSetBytes": 8}));
    assert_eq!(pod["swap"], json!({"time": TIME, "swapUsageBytes": 1}));
    assert_eq!(pod["io"], json!({"time": TIME, "psi": psi}));
    assert_eq!((&pod["ephemeral-storage"], &pod["process_stats"]), (&fs, &json!({"process_count": 3})));
    let eth0 = json!({"name": "eth0", "rxBytes": 1});
    let network = json!({"time": TIME, "name": "eth0", "rxBytes": 1, "interfaces": [eth0, {"name": "net1", "rxBytes": 1}]});
    assert_eq!(pod["network"], network);
    let claim = &pod["volume"][0];
    assert_eq!(
        (&claim["name"], &claim["pvcRef"]),
        (&json!("data"), &json!({"name": "claim", "namespace": "ns"}))
    );
    assert_eq!(pod["volume"][1].get("pvcRef"), None);
    let container = &pod["containers"][0];
    assert_eq!((&container["rootfs"], &container["logs"], &container["startTime"]), (&fs, &fs, &json!(TIME)));
    let node = &page["node"];
    assert_eq!((&node["nodeName"], &node["startTime"]), (&json!("n1"), &json!(TIME)));
    assert_eq!(node["rlimit"], json!({"time": TIME, "maxpid": 1000, "curproc": 100}));
    assert_eq!(node["runtime"], json!({"imageFs": {"time": TIME, "usedBytes": 3}}));
    assert_eq!(node["systemContainers"][0]["name"], "pods");
    assert_eq!(node.get("network"), None, "it is not known");
}

#[test]
fn row_35_11_only_processor_and_memory_are_told_where_no_more_is_asked_for() {
    let page = page(Extent::CpuAndMemory);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&page["node"]), ["cpu", "memory", "nodeName", "startTime", "systemContainers"]);
    assert_eq!(keys(&page["pods"][0]), ["containers", "cpu", "memory", "podRef", "startTime"]);
    assert_eq!(keys(&page["pods"][0]["containers"][0]), ["cpu", "memory", "name", "startTime"]);
}
