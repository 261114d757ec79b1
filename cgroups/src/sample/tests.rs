use std::fs;
use std::path::Path;

use super::*;

/// A cgroup as Linux 6.12 has it, shortened.
fn recorded(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for (file, content) in [
        (
            "cpu.stat",
            "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 4\nnr_throttled 1\nthrottled_usec 20\n",
        ),
        ("cpu.max", "50000 100000\n"),
        ("cpu.weight", "39\n"),
        (
            "cpu.pressure",
            "some avg10=0.10 avg60=0.00 avg300=0.00 total=900\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=100\n",
        ),
        ("memory.current", "8192\n"),
        (
            "memory.stat",
            "anon 4096\nfile 2048\nkernel 1024\ninactive_file 512\nactive_file 1536\npgfault 7\npgmajfault 1\n",
        ),
        ("memory.max", "max\n"),
        ("memory.peak", "9000\n"),
        ("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n"),
        ("memory.swap.current", "0\n"),
        ("memory.swap.max", "0\n"),
        ("pids.current", "2\n"),
        ("pids.max", "100\n"),
        ("io.stat", "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
        ("cgroup.procs", "41\n42\n"),
    ] {
        fs::write(dir.join(file), content).unwrap();
    }
}

#[test]
fn a_cgroup_is_read_whole_or_its_basic_figures_alone() {
    let root = tempfile::tempdir().unwrap();
    recorded(&root.path().join("kubepods/podu"));
    let files = CgroupFiles::open(root.path()).unwrap();
    let top = files.open_cgroup("/kubepods").unwrap().unwrap();
    assert_eq!(top.children().unwrap(), ["podu"]);
    let pod = top.child("podu").unwrap().unwrap();
    let mut sampler = Sampler::default();
    let whole = sampler.sample(&pod, Part::Whole);
    assert_eq!(whole.cpu.unwrap().usage_us, 1500);
    assert_eq!(whole.cpu_max.unwrap().quota_us, Some(50_000));
    assert_eq!(whole.memory.unwrap().inactive_file, Some(512));
    assert_eq!((whole.memory_bytes, whole.memory_max), (Some(8192), Some(Limit::Max)));
    assert_eq!((whole.memory_peak_bytes, whole.cpu_weight), (Some(9000), Some(39)));
    assert_eq!(whole.memory_events.unwrap().max, 3);
    assert_eq!((whole.swap_bytes, whole.swap_max), (Some(0), Some(Limit::At(0))));
    assert_eq!((whole.tasks, whole.tasks_max, whole.processes), (Some(2), Some(Limit::At(100)), Some(2)));
    assert_eq!(whole.io.as_ref().unwrap().len(), 1);
    assert_eq!(whole.cpu_pressure.unwrap().some.total_us, 900);
    assert_eq!((whole.memory_pressure, whole.io_pressure), (None, None), "a kernel without them");
    let basic = sampler.sample(&pod, Part::Basic);
    assert_eq!(
        basic,
        Sample {
            cpu: whole.cpu,
            memory_bytes: whole.memory_bytes,
            memory: whole.memory,
            ..Sample::default()
        }
    );
    assert_eq!(sampler.process(&pod), Some(41));
    assert_eq!(sampler.process(&top), None);
}

#[test]
fn what_is_not_there_is_none_and_nothing_leads_out_of_the_hierarchy() {
    let root = tempfile::tempdir().unwrap();
    recorded(&root.path().join("outside"));
    let inside = root.path().join("mount");
    fs::create_dir_all(inside.join("a")).unwrap();
    std::os::unix::fs::symlink(root.path().join("outside"), inside.join("link")).unwrap();
    std::os::unix::fs::symlink(root.path().join("outside/cpu.weight"), inside.join("a/cpu.weight")).unwrap();
    let files = CgroupFiles::open(&inside).unwrap();
    assert!(files.open_cgroup("/none").unwrap().is_none());
    assert!(files.open_cgroup("/").unwrap().is_some());
    assert!(files.open_cgroup("/link").is_err());
    assert!(files.open_cgroup("/../outside").is_err());
    let a = files.open_cgroup("a").unwrap().unwrap();
    assert_eq!(Sampler::default().sample(&a, Part::Whole), Sample::default());
}

#[test]
fn processes_are_counted_to_the_end_of_a_file_that_is_longer_than_one_read() {
    let root = tempfile::tempdir().unwrap();
    recorded(&root.path().join("c"));
    let processes: String = (1..=20_000).map(|pid| format!("{pid}\n")).collect();
    assert!(processes.len() > 2 * BUFFER);
    fs::write(root.path().join("c/cgroup.procs"), processes).unwrap();
    let files = CgroupFiles::open(root.path()).unwrap();
    let cgroup = files.open_cgroup("c").unwrap().unwrap();
    assert_eq!(Sampler::default().sample(&cgroup, Part::Whole).processes, Some(20_000));
}
