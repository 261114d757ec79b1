use super::*;

#[test]
fn row_21_14_without_the_unified_hierarchy_both_settings_have_to_do_without_it() {
    let dir = tempfile::tempdir().unwrap();
    let check = |fail_cgroup_v1, cgroups_per_qos| {
        let config = Config { fail_cgroup_v1, cgroups_per_qos, ..Config::default() };
        cgroup_version(dir.path(), &config)
    };
    assert_eq!(check(false, false).unwrap(), Hierarchy::V1);
    for (fail, per_qos) in [(true, true), (true, false), (false, true)] {
        let error = check(fail, per_qos).unwrap_err();
        let message = error.to_string();
        assert!(error.is_configuration());
        assert!(message.contains("systemd.unified_cgroup_hierarchy=1"), "{message}");
        assert!(message.contains("failCgroupV1: false, cgroupsPerQOS: false"), "{message}");
    }
}

#[test]
fn active_swap_is_refused_and_its_devices_named() {
    let dir = tempfile::tempdir().unwrap();
    let swaps = dir.path().join("swaps");
    assert!(refuse_swap(&swaps).is_ok(), "a kernel without swap has no such file");
    fs::write(&swaps, "Filename\tType\tSize\tUsed\tPriority\n").unwrap();
    assert!(refuse_swap(&swaps).is_ok());
    fs::write(
        &swaps,
        "Filename\tType\tSize\tUsed\tPriority\n/swapfile file 1 0 -2\n/dev/zram0 partition 1 0 1\n",
    )
    .unwrap();
    assert!(refuse_swap(&swaps).unwrap_err().to_string().contains("/swapfile, /dev/zram0"));
}

#[test]
fn a_tunable_that_differs_is_named_with_both_values() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("vm")).unwrap();
    fs::create_dir_all(dir.path().join("kernel/keys")).unwrap();
    for (name, value) in TUNABLES {
        fs::write(dir.path().join(name), format!("{value}\n")).unwrap();
    }
    assert!(require_tunables(dir.path()).is_ok());
    fs::write(dir.path().join("kernel/panic"), "0\n").unwrap();
    let message = require_tunables(dir.path()).unwrap_err().to_string();
    assert!(message.contains("kernel/panic is 0") && message.contains("demands 10"), "{message}");
}
