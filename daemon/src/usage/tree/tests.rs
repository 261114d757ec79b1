use std::fs;

use ::cgroups::{Driver, Layout, Systemd};
use serde_json::json;

use super::super::figures::{ContainerUsage, SandboxUsage};
use super::*;

/// A hierarchy as a runtime that uses systemd leaves it, in plain files.
struct World {
    dir: tempfile::TempDir,
    tree: Tree,
}

const POD: &str = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podu_1.slice";

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("cgroup");
    fs::create_dir_all(&mount).unwrap();
    fs::write(mount.join("cgroup.controllers"), "cpu memory pids io\n").unwrap();
    for (path, micros, bytes) in [
        ("kubepods.slice".to_owned(), 9000, 900),
        ("kubepods.slice/kubepods-burstable.slice".to_owned(), 8000, 800),
        (POD.to_owned(), 7000, 700),
        (format!("{POD}/cri-containerd-sand.scope"), 1000, 100),
        (format!("{POD}/cri-containerd-cont.scope"), 6000, 600),
        (format!("{POD}/crio-conmon-cont.scope"), 5, 5),
        (format!("{POD}/cri-containerd-gone.scope"), 5, 5),
        ("system.slice/nodelet.service".to_owned(), 300, 30),
    ] {
        let path = mount.join(path);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("cpu.stat"), format!("usage_usec {micros}\nuser_usec 0\nsystem_usec 0\n"))
            .unwrap();
        fs::write(path.join("memory.current"), format!("{bytes}\n")).unwrap();
        fs::write(path.join("memory.stat"), "anon 10\ninactive_file 50\n").unwrap();
        fs::write(path.join("memory.max"), "1000\n").unwrap();
        fs::write(path.join("pids.current"), "3\n").unwrap();
        fs::write(path.join("cgroup.procs"), "41\n42\n").unwrap();
    }
    let net = dir.path().join("proc/41/net");
    fs::create_dir_all(&net).unwrap();
    fs::write(net.join("dev"), "h\nh\n eth0: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n").unwrap();
    let layout = Layout::new(Driver::Systemd, "").unwrap();
    let tree = Tree::of(&mount, layout, Systemd::new()).unwrap();
    World { dir, tree }
}

fn usage() -> PodUsage {
    let container = |name: &str, id: &str| ContainerUsage {
        name: name.into(),
        id: id.into(),
        ..ContainerUsage::default()
    };
    PodUsage {
        uid: "u-1".into(),
        sandbox: Some(SandboxUsage { id: "sand".into(), ..SandboxUsage::default() }),
        containers: vec![container("c", "cont"), container("d", "none")],
        ..PodUsage::default()
    }
}

fn pod(host_network: bool) -> Pod {
    let requests = json!({"resources": {"requests": {"cpu": "1m"}}, "name": "c"});
    let spec = json!({"hostNetwork": host_network, "containers": [requests]});
    serde_json::from_value(json!({"metadata": {"uid": "u-1"}, "spec": spec})).unwrap()
}

fn read(world: &World, pod: &Pod) -> PodUsage {
    let mut rates = Rates::default();
    let proc = world.dir.path().join("proc");
    let mut reader =
        Reader { tree: &world.tree, proc: &proc, rates: &mut rates, sampler: Sampler::default() };
    let mut pods = vec![usage()];
    reader.pods(&mut pods, &HashMap::from([("u-1", pod)]));
    pods.remove(0)
}

#[test]
fn a_pod_its_sandbox_and_its_containers_are_found_by_their_ids() {
    let usage = read(&world(), &pod(false));
    let memory = |group: &Group| group.memory.and_then(|memory| memory.working_set);
    assert_eq!(memory(&usage.group), Some(650));
    assert_eq!(usage.group.memory.unwrap().available, Some(350));
    assert_eq!(memory(&usage.containers[0].group), Some(550));
    assert_eq!(
        usage.containers[0].group.cgroup.as_deref(),
        Some(&*format!("/{POD}/cri-containerd-cont.scope"))
    );
    assert_eq!(usage.containers[1].group, Group::default(), "it has no cgroup");
    let sandbox = &usage.sandbox.as_ref().unwrap().group;
    assert_eq!(sandbox.cpu.unwrap().usage_core_nanos, Some(1_000_000));
    assert_eq!(sandbox.processes, None);
    let processes = usage.group.processes.unwrap();
    assert_eq!((processes.tasks, processes.processes), (Some(3), Some(3)), "two of c's and the sandbox's");
    let network = usage.network.unwrap();
    assert_eq!((network.default.as_deref(), network.interfaces[0].rx_bytes), (Some("eth0"), Some(5)));
}

#[test]
fn a_pod_in_the_nodes_network_has_none_of_its_own() {
    assert_eq!(read(&world(), &pod(true)).network, None);
}

#[test]
fn tiers_and_the_nodes_own_parts_are_read() {
    let world = world();
    let mut rates = Rates::default();
    let mut reader = Reader {
        tree: &world.tree,
        proc: Path::new("/nowhere"),
        rates: &mut rates,
        sampler: Sampler::default(),
    };
    let tiers = reader.tiers();
    let paths: Vec<_> = tiers.iter().map(|tier| tier.cgroup.as_deref().unwrap()).collect();
    assert_eq!(paths, ["/kubepods.slice", "/kubepods.slice/kubepods-burstable.slice"]);
    let own = reader.system("kubelet", Some("/system.slice/nodelet.service".into())).unwrap();
    assert_eq!(own.group.memory.unwrap().usage, Some(30));
    assert_eq!(reader.system("runtime", Some("/".into())), None, "the root is nobody's own");
    assert_eq!(reader.system("runtime", Some("/../x".into())), None);
    assert_eq!(own_cgroup(Path::new("/nowhere"), "/a", Some(1)).as_deref(), Some("/a"));
}

#[test]
fn cgroups_of_containers_are_told_from_others() {
    for (name, is) in [
        ("abc", true),
        ("cri-containerd-abc.scope", true),
        ("crio-abc.scope", true),
        ("crio-conmon-abc.scope", false),
        ("cri-containerd-xabc.scope", false),
        ("abc.scope", false),
        ("xabc", false),
    ] {
        assert_eq!(is_of(name, "abc"), is, "{name}");
    }
}
