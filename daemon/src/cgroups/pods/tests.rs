use std::fs;

use ::cgroups::{Capacity, Driver, Enforced, Hierarchy, Policy, Systemd};
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
    node.pods.gathered([("other".to_owned(), Demand::of([&pod("1", "16Mi")]))].into()).await.unwrap();
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
async fn row_23_2_a_reservations_cgroup_has_to_be_there_and_is_never_made() {
    let node = node("system-reserved");
    let errors = node.pods.enforce_reserved().await.unwrap_err();
    assert_eq!(errors[0].to_string(), "systemReservedCgroup: the cgroup /system does not exist");
    assert!(!node.dir.path().join("system").exists());
    cgroup(node.dir.path(), "system");
    node.pods.enforce_reserved().await.unwrap();
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
