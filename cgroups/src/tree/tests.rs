use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use super::*;
use crate::node::{Capacity, Policy};
use crate::orphans::orphans;
use crate::tiers::{Demand, tier_values};

/// Files that the kernel puts into each cgroup.
const FILES: [&str; 10] = [
    "cgroup.subtree_control",
    "cgroup.events",
    "cpu.weight",
    "cpu.max",
    "cpuset.cpus",
    "memory.min",
    "memory.low",
    "memory.max",
    "memory.current",
    "pids.max",
];
const CONTROLLERS: &str = "cpuset cpu io memory pids\n";

/// A made-up hierarchy: what the kernel would make in a directory is there before the directory is asked for.
struct MadeUp {
    dir: tempfile::TempDir,
    layout: Layout,
}

impl MadeUp {
    fn new() -> Self {
        let made =
            Self { dir: tempfile::tempdir().unwrap(), layout: Layout::new(Driver::Cgroupfs, "/").unwrap() };
        made.cgroup("");
        made
    }

    fn cgroup(&self, path: &str) {
        let directory = self.dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(&directory).unwrap();
        for file in FILES {
            fs::write(directory.join(file), "").unwrap();
        }
        fs::write(directory.join("cgroup.controllers"), CONTROLLERS).unwrap();
    }

    fn tree(&self) -> Tree {
        Tree::of(self.dir.path(), self.layout.clone(), Systemd::new()).unwrap()
    }

    fn pod(&self, tier: Tier, uid: &str) -> Cgroup {
        self.layout.pod(tier, uid).unwrap()
    }

    fn content(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join(path)).unwrap()
    }
}

fn values() -> Values {
    Values {
        cpu_shares: Some(204),
        cpu_max: Some(CpuMax { quota_us: Some(30_000), period_us: 100_000 }),
        memory_max: Some(Limit::At(4096)),
        pids_max: Some(Limit::At(500)),
        huge_pages: [(2 << 20, 0)].into(),
        ..Values::default()
    }
}

#[tokio::test]
async fn row_21_2_controllers_are_switched_on_from_the_root_down_to_the_parent() {
    let made = MadeUp::new();
    for path in ["kubepods", "kubepods/burstable", "kubepods/burstable/podu"] {
        made.cgroup(path);
    }
    // Two of them are on already.
    fs::write(made.dir.path().join("kubepods/cgroup.subtree_control"), "cpu memory\n").unwrap();
    made.tree().ensure(&made.pod(Tier::Burstable, "u"), &values()).await.unwrap();
    assert_eq!(made.content("cgroup.subtree_control"), "+cpuset +cpu +io +memory +pids");
    assert_eq!(made.content("kubepods/cgroup.subtree_control"), "+cpuset +io +pids");
    assert_eq!(made.content("kubepods/burstable/cgroup.subtree_control"), "+cpuset +cpu +io +memory +pids");
    assert_eq!(made.content("kubepods/burstable/podu/cgroup.subtree_control"), "", "that is the runtime's");
    let file = |name: &str| made.content(&format!("kubepods/burstable/podu/{name}"));
    assert_eq!((file("cpu.weight").as_str(), file("cpu.max").as_str()), ("8", "30000 100000"));
    assert_eq!(
        (file("memory.max").as_str(), file("pids.max").as_str(), file("memory.min").as_str()),
        ("4096", "500", "")
    );
}

#[tokio::test]
async fn top_and_tiers_are_set_up_as_the_node_has_it() {
    let made = MadeUp::new();
    for path in ["kubepods", "kubepods/burstable", "kubepods/besteffort"] {
        made.cgroup(path);
    }
    let capacity = Capacity { cpu_millis: 1000, memory_bytes: 1 << 30, cpus: vec![0], ..Capacity::default() };
    let values = tier_values(&Demand::default(), &capacity, &Policy::default());
    let tree = made.tree();
    for (tier, values) in [
        (Tier::Guaranteed, &values.top),
        (Tier::Burstable, &values.burstable),
        (Tier::BestEffort, &values.best_effort),
    ] {
        tree.ensure(&made.layout.tier(tier), values).await.unwrap();
    }
    assert_eq!(
        (made.content("kubepods/memory.max"), made.content("kubepods/cpuset.cpus")),
        ("1073741824".into(), "0".into())
    );
    assert_eq!(made.content("kubepods/besteffort/cpu.weight"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_does_not_come_through_is_named() {
    let made = MadeUp::new();
    for path in ["kubepods", "kubepods/podu"] {
        made.cgroup(path);
    }
    fs::write(made.dir.path().join("kubepods/podu/cgroup.controllers"), "cpu io\n").unwrap();
    let pod = made.pod(Tier::Guaranteed, "u");
    let error = made.tree().ensure(&pod, &values()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the cgroup /kubepods/podu lacks the controllers ["cpuset", "memory", "pids"], which the machine has"#
    );
    assert_eq!(made.tree().held(&pod).unwrap().unwrap().missing, ["cpuset", "memory", "pids"]);
}

#[tokio::test]
async fn a_value_that_cannot_be_written_costs_that_value_only() {
    let made = MadeUp::new();
    made.cgroup("kubepods");
    made.cgroup("kubepods/podu");
    fs::remove_file(made.dir.path().join("kubepods/podu/memory.max")).unwrap();
    let error = made.tree().set(&made.pod(Tier::Guaranteed, "u"), &values()).await.unwrap_err().to_string();
    assert!(error.contains("kubepods/podu/memory.max: No such file"), "{error}");
    // The machine has no hugetlb: nobody misses its file.
    assert!(!error.contains("hugetlb"), "{error}");
    assert_eq!(made.content("kubepods/podu/pids.max"), "500");
}

#[tokio::test]
async fn what_is_held_is_read_back() {
    let made = MadeUp::new();
    made.cgroup("kubepods/podu");
    let file = |name: &str, content: &str| {
        fs::write(made.dir.path().join("kubepods/podu").join(name), content).unwrap();
    };
    file("cpu.weight", "8\n");
    file("cpu.max", "max 100000\n");
    file("memory.max", "max\n");
    file("memory.min", "0\n");
    file("memory.low", "4096\n");
    file("memory.current", "12288\n");
    file("pids.max", "500\n");
    let held = made.tree().held(&made.pod(Tier::Guaranteed, "u")).unwrap().unwrap();
    assert_eq!(
        (held.cpu_weight, held.memory_bytes, held.pids_max),
        (Some(8), Some(12_288), Some(Limit::At(500)))
    );
    assert_eq!(held.memory_kept, Some(Kept { min_bytes: 0, low_bytes: 4096 }));
    let values = held.values();
    assert_eq!((values.cpu_shares, values.memory_max), (Some(185), Some(Limit::Max)));
    assert_eq!(made.tree().held(&made.pod(Tier::Guaranteed, "other")).unwrap(), None);
}

#[tokio::test]
async fn orphans_are_found_by_name_and_removed_with_all_below_them() {
    let made = MadeUp::new();
    for path in
        ["kubepods/podknown", "kubepods/burstable/podlost/c/inner", "kubepods/besteffort", "kubepods/x"]
    {
        fs::create_dir_all(made.dir.path().join(path)).unwrap();
    }
    fs::write(made.dir.path().join("kubepods/podknown/cgroup.events"), "populated 1\n").unwrap();
    let tree = made.tree();
    let pods = tree.pods().unwrap();
    assert_eq!(
        pods.iter().map(|p| (p.uid.as_str(), p.populated)).collect::<Vec<_>>(),
        [("known", true), ("lost", false)]
    );
    let lost = orphans(pods, &[("known".to_owned(), Tier::Guaranteed)].into());
    assert_eq!(lost.len(), 1);
    tree.remove(&lost[0].cgroup, |_| panic!("nothing is in the way")).await;
    assert!(!made.dir.path().join("kubepods/burstable/podlost").exists());
    assert!(made.dir.path().join("kubepods/podknown").exists());
}

#[tokio::test(start_paused = true)]
async fn what_is_busy_is_told_and_removed_as_soon_as_it_can_be() {
    let made = MadeUp::new();
    let inner = made.dir.path().join("kubepods/podu/c");
    fs::create_dir_all(&inner).unwrap();
    // A directory with a file in it is refused, as one with processes is.
    fs::write(inner.join("in-the-way"), "").unwrap();
    let mut told = Vec::new();
    made.tree()
        .remove(&made.pod(Tier::Guaranteed, "u"), |removal| {
            told.push(removal.stuck().unwrap().to_string());
            if told.len() == 15 {
                fs::remove_file(inner.join("in-the-way")).unwrap();
            }
        })
        .await;
    assert_eq!((told.len(), told[0].as_str()), (15, r#"the directory "c" is busy"#));
    assert!(!made.dir.path().join("kubepods/podu").exists());
}

#[tokio::test]
async fn a_kernel_without_cgroup_kill_has_its_processes_killed_one_by_one() {
    let made = MadeUp::new();
    let mut child = Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().unwrap();
    let inner = made.dir.path().join("kubepods/podu/c");
    fs::create_dir_all(&inner).unwrap();
    // What is no process of this namespace is passed over.
    fs::write(inner.join("cgroup.procs"), format!("0\n1\n-1\nx\n{}\n", child.id())).unwrap();
    let done = made.tree().carry_out(&made.pod(Tier::Guaranteed, "u"), &Step::Kill).await;
    assert_eq!(done, Outcome::Done);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
}

#[test]
fn only_the_unified_hierarchy_is_opened() {
    let made = MadeUp::new();
    let error = Tree::open(made.dir.path(), made.layout.clone()).unwrap_err().to_string();
    assert!(error.contains("is not the unified cgroup v2 hierarchy"), "{error}");
}
