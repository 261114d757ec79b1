use std::fs;

use ::cgroups::{Capacity, Driver, Enforced, Hierarchy, Policy, Reserved, Systemd};
use serde_json::json;

use super::*;

/// A made-up hierarchy: what the kernel would put into a directory is there before.
struct Node {
    dir: tempfile::TempDir,
    pods: PodCgroups,
}

fn cgroup(dir: &Path, path: &str) {
    let directory = dir.join(path);
    fs::create_dir_all(&directory).unwrap();
    for file in [
        "cgroup.subtree_control",
        "cpu.weight",
        "cpu.max",
        "memory.max",
        "memory.min",
        "memory.low",
        "memory.current",
        "pids.max",
    ] {
        fs::write(directory.join(file), "").unwrap();
    }
    fs::write(directory.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
}

fn node(enforced: &str) -> Node {
    let dir = tempfile::tempdir().unwrap();
    for path in ["", "kubepods", "kubepods/burstable", "kubepods/besteffort", "kubepods/burstable/podu"] {
        cgroup(dir.path(), path);
    }
    let reserved = Reserved { cpu_millis: Some(100), memory_bytes: Some(1 << 20), pids: None };
    let policy = Policy {
        enforced: Enforced::parse(["pods", enforced]),
        system_reserved: reserved,
        pod_pids_limit: 500,
        ..Policy::default()
    };
    let capacity = Capacity { cpu_millis: 1000, memory_bytes: 1 << 30, ..Capacity::default() };
    let limits = Arc::new(Limits { capacity, policy, hierarchy: Hierarchy::V2 });
    let config = Config { system_reserved_cgroup: "/system".to_owned(), ..Config::default() };
    let layout = Layout::new(Driver::Cgroupfs, "").unwrap();
    let tree = Tree::of(dir.path(), layout, Systemd::new()).unwrap();
    Node { pods: PodCgroups::with(tree, &config, limits).unwrap(), dir }
}

impl Node {
    fn content(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).unwrap()
    }

    /// As the kernel keeps it: the value that was written last, alone in the file.
    fn holds(&self, path: &str, content: &str) {
        fs::write(self.dir.path().join(path), content).unwrap();
    }
}

fn pod(cpu: &str, memory: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"containers": [{"name": "a", "resources": {
            "requests": {"cpu": cpu}, "limits": {"cpu": cpu, "memory": memory},
        }}, {"name": "b", "resources": {"limits": {"cpu": "100m", "memory": "1Mi"}, "requests": {"cpu": "0"}}}]},
    }))
    .unwrap()
}

#[tokio::test]
async fn a_pods_cgroup_is_made_and_its_tier_weighs_more() {
    let node = node("none");
    node.pods.refresh(false).await.unwrap();
    assert_eq!(node.content("kubepods/burstable/cpu.weight"), "1");
    assert_eq!(
        (node.content("kubepods/memory.max"), node.content("kubepods/cpu.weight")),
        ("1072693248".into(), "36".into())
    );
    node.pods.ensure(&pod("1", "16Mi")).await.unwrap();
    assert_eq!(node.pods.path(&pod("1", "16Mi")).unwrap(), "/kubepods/burstable/podu");
    assert_eq!(node.content("kubepods/burstable/cpu.weight"), "39");
    let file = |name: &str| node.content(&format!("kubepods/burstable/podu/{name}"));
    assert_eq!((file("cpu.weight"), file("cpu.max")), ("39".into(), "110000 100000".into()));
    assert_eq!((file("memory.max"), file("pids.max")), ("17825792".into(), "500".into()));
}

#[tokio::test]
async fn tiers_are_written_when_they_change_and_again_when_asked_for() {
    let node = node("none");
    node.pods.ensure(&pod("1", "16Mi")).await.unwrap();
    node.holds("kubepods/burstable/cpu.weight", "somebody else's");
    node.pods.ensure(&pod("1", "16Mi")).await.unwrap();
    assert_eq!(node.content("kubepods/burstable/cpu.weight"), "somebody else's");
    node.holds("kubepods/burstable/cpu.weight", "");
    node.pods.refresh(true).await.unwrap();
    assert_eq!(node.content("kubepods/burstable/cpu.weight"), "39");
}

#[tokio::test]
async fn pods_that_run_on_keep_their_tiers_weight_until_they_are_known() {
    let node = node("none");
    let weight = "kubepods/burstable/cpu.weight";
    node.holds(weight, "24\n");
    node.pods.refresh(true).await.unwrap();
    assert_eq!(node.content(weight), "24\n");
    // One that comes meanwhile needs more than that.
    node.pods.ensure(&pod("1", "16Mi")).await.unwrap();
    assert_eq!(node.content(weight).trim(), "39");
    let mut other = pod("1", "16Mi");
    other.metadata.uid = Some("other".to_owned());
    let told = node.pods.adopt(vec![Adopted { pod: other, is_resizing: false }]).await;
    assert!(told.is_empty(), "{told:?}");
    assert!(!node.dir.path().join("kubepods/burstable/podother").exists(), "what is gone stays so");
    assert_eq!(node.content(weight).trim(), "79");
    node.holds(weight, "");
    node.pods.remove("other").await.unwrap();
    assert_eq!(node.content(weight), "39");
}

#[tokio::test]
async fn row_27_6_a_resize_is_carried_to_the_pod_in_two_halves() {
    let node = node("none");
    node.pods.ensure(&pod("1", "16Mi")).await.unwrap();
    for file in ["cpu.weight", "cpu.max", "memory.max"] {
        node.holds(&format!("kubepods/burstable/podu/{file}"), "");
    }
    node.holds("kubepods/burstable/podu/cpu.weight", "39\n");
    node.holds("kubepods/burstable/podu/cpu.max", "110000 100000\n");
    node.holds("kubepods/burstable/podu/memory.max", "17825792\n");
    node.holds("kubepods/burstable/podu/memory.current", "4096\n");
    let file = |name: &str| node.content(&format!("kubepods/burstable/podu/{name}")).trim().to_owned();
    let less = pod("1", "8Mi");
    node.pods.update(&less, Resource::Memory, Half::Before).await.unwrap();
    assert_eq!(file("memory.max"), "17825792");
    node.holds("kubepods/burstable/podu/memory.current", "9437184\n");
    let error = node.pods.update(&less, Resource::Memory, Half::After).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "attempting to set pod memory limit (9437184) below current usage (9437184)"
    );
    node.holds("kubepods/burstable/podu/memory.current", "4096\n");
    node.holds("kubepods/burstable/podu/memory.max", "17825792");
    node.pods.update(&less, Resource::Memory, Half::After).await.unwrap();
    assert!(file("memory.max").starts_with("9437184"), "{}", file("memory.max"));
    assert_eq!(file("cpu.max"), "110000 100000");
}

#[tokio::test]
async fn a_limit_below_what_is_in_use_does_not_kill_an_adopted_pod() {
    let node = node("none");
    node.holds("kubepods/burstable/podu/memory.current", "99999999\n");
    node.pods.ensure(&pod("1", "16Mi")).await.unwrap();
    assert_eq!(node.content("kubepods/burstable/podu/memory.max"), "");
    assert_eq!(node.content("kubepods/burstable/podu/pids.max"), "500");
}

#[tokio::test]
async fn the_cgroup_of_a_pod_that_runs_on_holds_what_a_new_one_would() {
    let node = node("none");
    let held = [
        ("cpu.weight", "1", "39"),
        ("cpu.max", "5000 100000", "110000 100000"),
        ("memory.max", "max", "17825792"),
        ("memory.min", "4096", "0"),
        ("memory.low", "0", "0"),
        ("pids.max", "max", "500"),
    ];
    let path = |file: &str| format!("kubepods/burstable/podu/{file}");
    for (file, content, _) in held {
        node.holds(&path(file), content);
    }
    let adopted = |is_resizing| vec![Adopted { pod: pod("1", "16Mi"), is_resizing }];
    assert!(node.pods.adopt(adopted(true)).await.is_empty());
    assert_eq!(node.content(&path("pids.max")), "max");
    assert!(node.pods.adopt(adopted(false)).await.is_empty());
    for (file, _, wanted) in held {
        let content = node.content(&path(file));
        assert!(content.starts_with(wanted), "{file}: {content:?}");
        node.holds(&path(file), &format!("{wanted}\n"));
    }
    let written = || fs::metadata(node.dir.path().join(path("pids.max"))).unwrap().modified().unwrap();
    let before = written();
    assert!(node.pods.adopt(adopted(false)).await.is_empty());
    assert_eq!(written(), before, "what is right is left alone");
    node.holds(&path("memory.max"), "max\n");
    node.holds(&path("memory.current"), "99999999\n");
    assert!(node.pods.adopt(adopted(false)).await.is_empty());
    assert_eq!(node.content(&path("memory.max")), "max\n", "not below what is in use");
}

#[tokio::test]
async fn row_23_2_a_reservations_cgroup_has_to_be_there_and_is_never_made() {
    let node = node("system-reserved");
    let told = node.pods.enforce_reserved().await;
    assert_eq!(
        (told[0].is_enforced, told[0].message.as_str()),
        (
            false,
            "Failed to enforce System Reserved Cgroup Limits on \"/system\": \
             systemReservedCgroup: the cgroup /system does not exist"
        )
    );
    assert!(!node.dir.path().join("system").exists());
    cgroup(node.dir.path(), "system");
    let told = node.pods.enforce_reserved().await;
    assert_eq!(told[0].message, "Updated limits on system reserved cgroup /system");
    assert!(told[0].is_enforced && told.len() == 1);
    assert_eq!(
        (node.content("system/cpu.weight"), node.content("system/memory.max")),
        ("4".into(), "1048576".into())
    );
}

#[tokio::test]
async fn a_pod_that_is_removed_is_gone_and_weighs_nothing() {
    let node = node("none");
    node.pods.ensure(&pod("1", "16Mi")).await.unwrap();
    fs::remove_dir_all(node.dir.path().join("kubepods/burstable/podu")).unwrap();
    // The kernel's files go with their directory; these are directories only.
    fs::create_dir_all(node.dir.path().join("kubepods/burstable/podu/c")).unwrap();
    fs::create_dir_all(node.dir.path().join("kubepods/podother")).unwrap();
    node.holds("kubepods/burstable/cpu.weight", "");
    node.pods.remove("u").await.unwrap();
    assert!(!node.dir.path().join("kubepods/burstable/podu").exists());
    assert_eq!(node.content("kubepods/burstable/cpu.weight"), "1");
    assert!(node.dir.path().join("kubepods/podother").exists());
    let known = [("other".to_owned(), Tier::Guaranteed)].into();
    assert!(node.pods.remove_orphans(&known).await.unwrap().is_empty());
    assert_eq!(node.pods.remove_orphans(&BTreeMap::new()).await.unwrap(), ["other".to_owned()].into());
    assert!(!node.dir.path().join("kubepods/podother").exists());
    node.pods.remove("nobody").await.unwrap();
}

/// The test nodes have neither huge pages nor NUMA, so that /proc, /sys and the hierarchy are made up here.
#[tokio::test]
async fn row_21_7_huge_pages_of_a_made_up_sys_reach_top_tiers_pods_and_containers() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1 kB\nInactive(file): 1 kB\n");
    write("proc/sys/kernel/osrelease", "6.12\n");
    write("proc/sys/kernel/pid_max", "32768\n");
    write("sys/devices/system/cpu/online", "0-3\n");
    // Two NUMA nodes: nobody is bound to one of them.
    for (node, cpus) in [(0, "0-1"), (1, "2-3")] {
        write(&format!("sys/devices/system/node/node{node}/cpulist"), cpus);
        let pages = format!("sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages");
        write(&pages, "32\n");
    }
    write("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "64\n");
    write("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n");
    let mount = root.path().join("sys/fs/cgroup");
    let levels = ["", "kubepods", "kubepods/burstable", "kubepods/besteffort", "kubepods/podu"];
    for path in levels {
        cgroup(&mount, path);
        for file in ["hugetlb.2MB.max", "hugetlb.1GB.max", "cpuset.cpus", "cpuset.mems"] {
            fs::write(mount.join(path).join(file), "").unwrap();
        }
        fs::write(mount.join(path).join("cgroup.controllers"), "cpuset cpu memory hugetlb pids\n").unwrap();
    }

    let machine = crate::node::info::Machine::read_below(root.path()).unwrap();
    let config = Config::default();
    let limits = Arc::new(Limits::below(root.path(), &config, &machine, Hierarchy::V2));
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"containers": [
            {"name": "a", "resources": {"limits": {"cpu": "1", "memory": "16Mi", "hugepages-2Mi": "8Mi"}}},
            {"name": "b", "resources": {"limits": {"cpu": "1", "memory": "16Mi", "hugepages-2Mi": "4Mi"}}},
        ]},
    }))
    .unwrap();
    let told = limits.container(&pod, &pod.spec.as_ref().unwrap().containers[0]).huge_pages;
    assert_eq!(told, [("2MB".to_owned(), 8 << 20), ("1GB".to_owned(), 0)]);

    let layout = Layout::new(Driver::Cgroupfs, "").unwrap();
    let tree = Tree::of(&mount, layout, Systemd::new()).unwrap();
    let pods = PodCgroups::with(tree, &config, limits).unwrap();
    pods.ensure(&pod).await.unwrap();
    let held = |path: &str| {
        ["hugetlb.2MB.max", "hugetlb.1GB.max"]
            .map(|file| fs::read_to_string(mount.join(path).join(file)).unwrap())
    };
    assert_eq!(held("kubepods"), ["134217728", "0"]);
    assert_eq!(held("kubepods/burstable"), ["4611686018427387904", "4611686018427387904"]);
    assert_eq!(held("kubepods/podu"), ["12582912", "0"]);
    let cpuset = |file: &str| fs::read_to_string(mount.join("kubepods").join(file)).unwrap();
    assert_eq!((cpuset("cpuset.cpus").as_str(), cpuset("cpuset.mems").as_str()), ("0-3", ""));
}
