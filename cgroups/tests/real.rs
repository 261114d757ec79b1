//! What the kernel and systemd make of the values: for a machine with the unified hierarchy and root, such as the test
//! bed's. Elsewhere each test says that it is skipped. Everything is below a cgroup of its own.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "pods/table.rs"]
#[expect(dead_code, reason = "containers are the runtime's; their values are tested without a kernel")]
mod table;

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use cgroups::{
    Cgroup, Demand, Driver, Layout, Limit, Mount, Outcome, Resource, Step, Systemd, Tier, Tree, Values,
    mount_at, number, orphans, pod_resize, pod_tier, pod_values, tier_values,
};
use cgroups_rs::MaxValue;
use table::{Row, capacity, further, policy, recorded};

const MOUNT: &str = "/sys/fs/cgroup";

/// A tree in the driver's hands below a root of its own; none where the machine cannot have one.
fn tree(driver: Driver, root: &str) -> Option<Tree> {
    let skip = |why: &str| println!("skipped: {why}");
    if mount_at(Path::new(MOUNT)).ok() != Some(Mount::Unified) {
        skip("/sys/fs/cgroup is not the unified hierarchy");
        return None;
    }
    if std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) != 0) {
        skip("this needs root");
        return None;
    }
    if driver == Driver::Systemd && !Path::new("/run/systemd/system").exists() {
        skip("systemd does not run here");
        return None;
    }
    let layout = Layout::new(driver, root).unwrap();
    Some(Tree::of(Path::new(MOUNT), layout, Systemd::new()).unwrap())
}

fn file(tree: &Tree, cgroup: &Cgroup, name: &str) -> String {
    let content = tree.files().read(&cgroup.path(), name).unwrap_or_else(|error| panic!("{error}"));
    String::from_utf8(content).unwrap().trim().to_owned()
}

fn rows() -> impl Iterator<Item = Row> {
    recorded().into_iter().chain(further())
}

async fn set_up_tiers(tree: &Tree) {
    let rows: Vec<Row> = recorded();
    let demand = Demand::of(rows.iter().map(|row| &row.pod));
    let values = tier_values(&demand, &capacity(), &policy());
    for (tier, values) in [
        (Tier::Guaranteed, &values.top),
        (Tier::Burstable, &values.burstable),
        (Tier::BestEffort, &values.best_effort),
    ] {
        tree.ensure(&tree.layout().tier(tier), values).await.unwrap();
    }
}

/// Removes the test's root too.
async fn clean_up(tree: &Tree) {
    let top = tree.layout().top();
    tree.remove(top, |removal| println!("waiting: {:?}", removal.stuck())).await;
    tree.remove(&top.parent().unwrap(), |_| {}).await;
}

fn check(tree: &Tree, row: &Row) {
    let pod = tree.layout().pod(row.tier, row.pod.metadata.uid.as_deref().unwrap()).unwrap();
    let held = ["cpu.weight", "cpu.max", "memory.max", "pids.max"].map(|name| file(tree, &pod, name));
    let files = row.files;
    let wanted = [files.cpu_weight, files.cpu_max, files.memory_max, files.pids_max];
    assert_eq!(held, wanted, "{}", row.name);
    assert_eq!(read_by_others(&pod), wanted, "{}", row.name);
}

/// The same as somebody else's library finds and understands it.
fn read_by_others(cgroup: &Cgroup) -> [String; 4] {
    use cgroups_rs::cpu::CpuController;
    use cgroups_rs::memory::MemController;
    use cgroups_rs::pid::PidController;
    let path = cgroup.path();
    let theirs = cgroups_rs::Cgroup::load(cgroups_rs::hierarchies::auto(), path.trim_start_matches('/'));
    let cpu: &CpuController = theirs.controller_of().unwrap();
    let memory: &MemController = theirs.controller_of().unwrap();
    let pids: &PidController = theirs.controller_of().unwrap();
    let max = |value: Option<MaxValue>| match value {
        Some(MaxValue::Value(value)) => value.to_string(),
        Some(MaxValue::Max) => "max".to_owned(),
        None => "not there".to_owned(),
    };
    let quota = match cpu.cfs_quota().unwrap() {
        // It has one number for all quotas that are none.
        i64::MAX | -1 => "max".to_owned(),
        quota => quota.to_string(),
    };
    [
        cpu.shares().unwrap().to_string(),
        format!("{quota} {}", cpu.cfs_period().unwrap()),
        max(memory.get_mem().unwrap().max),
        max(Some(pids.get_pid_max().unwrap())),
    ]
}

async fn the_kernel_holds_the_table(driver: Driver, root: &str) {
    let Some(tree) = tree(driver, root) else { return };
    set_up_tiers(&tree).await;
    let top = tree.layout().top().clone();
    // The figures of the recorded node: see kubelet-fixtures/cgroup-v2.
    assert_eq!(file(&tree, &top, "cpu.weight"), "36");
    assert_eq!(file(&tree, &top, "memory.max"), "1437863936");
    assert_eq!(file(&tree, &top, "pids.max"), "12071");
    assert_eq!(file(&tree, &top, "cpuset.cpus"), "0");
    assert_eq!(file(&tree, &tree.layout().tier(Tier::Burstable), "cpu.weight"), "22");
    assert_eq!(file(&tree, &tree.layout().tier(Tier::BestEffort), "cpu.weight"), "1");
    for row in rows() {
        let pod = tree.layout().pod(pod_tier(&row.pod), row.pod.metadata.uid.as_deref().unwrap()).unwrap();
        tree.ensure(&pod, &pod_values(&row.pod, &capacity(), &policy(), false)).await.unwrap();
        check(&tree, &row);
        let held = tree.held(&pod).unwrap().expect("it is there");
        assert_eq!(held.cpu_weight.map(|w| w.to_string()).as_deref(), Some(row.files.cpu_weight));
    }
    if driver == Driver::Systemd {
        // systemd writes what it believes.
        let reloaded = Command::new("systemctl").arg("daemon-reload").status().unwrap();
        assert!(reloaded.success());
        for row in rows() {
            check(&tree, &row);
        }
        assert_eq!(file(&tree, &top, "cpuset.cpus"), "0");
        // It has taken cpuset away where it knows no use for it; who wants the pod gets it back.
        let row = &recorded()[0];
        let pod = tree.layout().pod(row.tier, row.pod.metadata.uid.as_deref().unwrap()).unwrap();
        let missing = tree.held(&pod).unwrap().unwrap().missing;
        assert!(missing.is_empty() || missing == ["cpuset"], "{missing:?}");
        tree.ensure(&pod, &pod_values(&row.pod, &capacity(), &policy(), false)).await.unwrap();
    }
    assert_eq!(tree.pods().unwrap().len(), rows().count());
    clean_up(&tree).await;
    assert!(!tree.files().exists(&top.path()).unwrap());
}

#[tokio::test]
async fn the_kernel_holds_the_table_of_pods_with_cgroupfs() {
    the_kernel_holds_the_table(Driver::Cgroupfs, "/nodelettable").await;
}

#[tokio::test]
async fn the_kernel_holds_the_table_of_pods_with_systemd() {
    the_kernel_holds_the_table(Driver::Systemd, "/nodelettable").await;
}

async fn a_pod_with_processes_is_removed(driver: Driver, root: &str) {
    let Some(tree) = tree(driver, root) else { return };
    set_up_tiers(&tree).await;
    let pod = tree.layout().pod(Tier::BestEffort, "with-processes").unwrap();
    tree.ensure(&pod, &Values::reduced()).await.unwrap();
    // As a runtime does: a cgroup for the container, with one of its own below it.
    for inner in ["container", "container/inner"] {
        tree.files().make(&format!("{}/{inner}", pod.path())).unwrap();
    }
    let mut children: Vec<_> = ["container", "container/inner"]
        .into_iter()
        .map(|inner| {
            let child = Command::new("sleep").arg("10000").stdout(Stdio::null()).spawn().unwrap();
            let path = format!("{}/{inner}", pod.path());
            tree.files().write(&path, "cgroup.procs", &child.id().to_string()).unwrap();
            child
        })
        .collect();
    assert!(matches!(tree.carry_out(&pod, &Step::Look).await, Outcome::Here { populated: true, .. }));
    assert_eq!(
        tree.carry_out(&pod, &Step::RemoveDirectory("container/inner".to_owned())).await,
        Outcome::Busy
    );
    let lost = orphans(tree.pods().unwrap(), &[].into());
    assert_eq!(lost.iter().map(|pod| pod.uid.as_str()).collect::<Vec<_>>(), ["with-processes"]);
    tree.remove(&lost[0].cgroup, |removal| println!("waiting: {:?}", removal.stuck())).await;
    assert!(!tree.files().exists(&pod.path()).unwrap());
    for child in &mut children {
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
    clean_up(&tree).await;
}

#[tokio::test]
async fn a_pod_with_processes_is_killed_and_removed_with_cgroupfs() {
    a_pod_with_processes_is_removed(Driver::Cgroupfs, "/nodeletremoval").await;
}

#[tokio::test]
async fn a_pod_with_processes_is_killed_and_removed_with_systemd() {
    a_pod_with_processes_is_removed(Driver::Systemd, "/nodeletremoval").await;
}

async fn a_resize_reaches_the_pod(driver: Driver, root: &str) {
    let Some(tree) = tree(driver, root) else { return };
    set_up_tiers(&tree).await;
    let row = |name: &str| recorded().into_iter().find(|row| row.name == name).unwrap().pod;
    let values = |name: &str| pod_values(&row(name), &capacity(), &policy(), false);
    let pod = tree.layout().pod(Tier::Guaranteed, "resized").unwrap();
    tree.ensure(&pod, &values("guaranteed-two")).await.unwrap();
    let wanted = values("guaranteed");
    let held = tree.held(&pod).unwrap().unwrap().values();
    let resize = pod_resize(&held, &wanted, Resource::Memory);
    assert_eq!((resize.before.memory_max, resize.after.is_empty()), (Some(Limit::At(64 << 20)), true));
    tree.set(&pod, &resize.before).await.unwrap();
    assert_eq!(file(&tree, &pod, "memory.max"), "67108864");
    assert_eq!(file(&tree, &pod, "cpu.max"), "15000 100000");
    let current = tree.files().read(&pod.path(), "memory.current").unwrap();
    assert_eq!(number(&current), Some(0));
    clean_up(&tree).await;
}

#[tokio::test]
async fn a_resize_reaches_the_pod_with_cgroupfs() {
    a_resize_reaches_the_pod(Driver::Cgroupfs, "/nodeletresize").await;
}

#[tokio::test]
async fn a_resize_reaches_the_pod_with_systemd() {
    a_resize_reaches_the_pod(Driver::Systemd, "/nodeletresize").await;
}
