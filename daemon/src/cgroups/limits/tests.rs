use super::*;
use crate::config::GoDuration;

fn amounts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned())).collect()
}

#[test]
fn settings_are_understood() {
    let config = Config {
        cpu_cfs_quota_period: GoDuration::from_millis(10),
        pod_pids_limit: 500,
        memory_reservation_policy: "TieredReservation".to_owned(),
        feature_gates: [("MemoryQoS".to_owned(), true), ("QOSReserved".to_owned(), true)].into(),
        qos_reserved: amounts(&[("memory", "50%")]),
        system_reserved: amounts(&[("cpu", "100m"), ("memory", "1Gi"), ("pid", "1000")]),
        kube_reserved: amounts(&[("cpu", "1")]),
        single_process_oom_kill: Some(true),
        ..Config::default()
    };
    let policy = policy(&config);
    assert_eq!((policy.cpu_period_us, policy.pod_pids_limit), (Some(10_000), 500));
    let qos = MemoryQos { throttling_factor: 0.9, reservation: Reservation::Tiered };
    assert_eq!((policy.memory_qos, policy.qos_reserved_memory_percent), (Some(qos), Some(50)));
    let system = Reserved { cpu_millis: Some(100), memory_bytes: Some(1 << 30), pids: Some(1000) };
    assert_eq!((policy.system_reserved, policy.kube_reserved.cpu_millis), (system, Some(1000)));
    assert!(policy.single_process_oom_kill && policy.enforced.pods && policy.all_cpus);
}

#[test]
fn row_23_4_reserved_processors_take_the_place_of_both_reservations() {
    let config = Config {
        system_reserved: amounts(&[("cpu", "100m")]),
        kube_reserved: amounts(&[("cpu", "1"), ("memory", "1Gi")]),
        reserved_system_cpus: "0-1".to_owned(),
        ..Config::default()
    };
    let policy = policy(&config);
    assert_eq!((policy.system_reserved.cpu_millis, policy.kube_reserved.cpu_millis), (Some(2000), None));
    assert_eq!(policy.kube_reserved.memory_bytes, Some(1 << 30));
}

#[test]
fn a_default_configuration_has_a_kubelets_defaults() {
    assert_eq!(policy(&Config::default()), Policy::default());
    let off = Config { cpu_cfs_quota: false, ..Config::default() };
    assert_eq!(policy(&off).cpu_period_us, None);
}

#[test]
fn the_machine_is_read_and_what_it_does_not_tell_is_not_limited() {
    let root = tempfile::tempdir().unwrap();
    let machine = Machine { cpus: 2, memory_bytes: 1 << 30, ..Machine::default() };
    let limits = Limits::below(root.path(), &Config::default(), &machine, Hierarchy::V2);
    assert_eq!(
        (limits.capacity.cpu_millis, limits.capacity.pids, limits.capacity.counts_swap),
        (2000, None, false)
    );
    for (path, text) in [
        ("proc/sys/kernel/pid_max", "4194304\n"),
        ("proc/sys/kernel/threads-max", "12071\n"),
        ("sys/devices/system/cpu/online", "0-1\n"),
        ("sys/fs/cgroup/init.scope/memory.swap.max", "max\n"),
    ] {
        fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
        fs::write(root.path().join(path), text).unwrap();
    }
    let limits = Limits::below(root.path(), &Config::default(), &machine, Hierarchy::V2);
    assert_eq!((limits.capacity.pids, limits.capacity.cpus.as_slice()), (Some(12_071), &[0, 1][..]));
    assert!(limits.capacity.counts_swap);
    assert!(!Limits::below(root.path(), &Config::default(), &machine, Hierarchy::V1).capacity.counts_swap);
}
