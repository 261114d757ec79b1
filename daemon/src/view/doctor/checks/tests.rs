use jiff::SignedDuration;

use super::*;
use crate::config::Config;
use crate::view::doctor::facts::{Answer, Cgroups, Clock, Configuration, Directory, Host, RootDir, Runtime};

/// A machine on which nothing is wrong, and the daemon does not run.
fn sound() -> Facts {
    let now = jiff::Timestamp::constant(1_800_000_000, 0);
    let space = Space { available: 80 << 30, capacity: 100 << 30, inodes_free: 900, inodes: 1000 };
    Facts {
        now,
        daemon: None,
        is_root: true,
        configuration: Configuration {
            from: "/etc/nodelet/config.yaml".to_owned(),
            config: Config { cgroup_driver: "systemd".to_owned(), ..Config::default() },
            ..Configuration::default()
        },
        kernel: "6.12.43+deb13-amd64".to_owned(),
        cgroups: Cgroups {
            is_unified: Some(Ok(())),
            controllers: ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"].map(str::to_owned).to_vec(),
        },
        pressure: true,
        overlay: true,
        seccomp: true,
        sysctls: vec![
            (MAX_INSTANCES, Some(8192)),
            (MAX_WATCHES, Some(1 << 20)),
            (PID_MAX, Some(1 << 22)),
            (USER_NAMESPACES, Some(1 << 16)),
            (BRIDGE, Some(1)),
            (FORWARD, Some(1)),
        ],
        threads: Some(200),
        swap: vec![],
        clock: Clock { is_synchronized: Some(true), service: Some("chronyd".to_owned()) },
        disks: vec![Disk { name: "nodefs", path: "/var/lib/kubelet".into(), space: Ok(space) }],
        ports: vec![Port { number: 10_250, setting: "port", taken: None }],
        host: Host {
            node_name: Some(Ok("n1".to_owned())),
            addresses: Some(Ok(vec!["10.0.0.1".to_owned()])),
            has_time_zone: true,
        },
        root_dir: RootDir {
            path: "/var/lib/kubelet".into(),
            found: Some(Ok(Directory { mode: 0o40_755, is_directory: true, ..Directory::default() })),
        },
        certificates: vec![Certificate {
            name: "client".to_owned(),
            path: "/etc/kubernetes/kubelet.conf".into(),
            until: Some(now + SignedDuration::from_hours(24 * 300)),
            problem: None,
        }],
        runtime: Runtime {
            endpoint: "unix:///run/containerd/containerd.sock".to_owned(),
            answer: Some(Ok(Answer {
                name: "containerd".to_owned(),
                version: "v2.1.4".to_owned(),
                cgroup_driver: Some("systemd".to_owned()),
                ..Answer::default()
            })),
            network_configurations: Some(1),
        },
        api_server: Some(("https://10.0.0.9:6443".to_owned(), Ok(()))),
    }
}

#[test]
fn a_sound_machine_has_nothing_to_be_done() {
    for finding in all(&sound()) {
        assert_eq!((finding.verdict, finding.advice.as_str()), (Verdict::Ok, ""), "{finding:?}");
    }
}

/// What is wrong with a machine, the check that finds it, how bad it is, and words of what was found or is to be done.
type Case = (fn(&mut Facts), &'static str, Verdict, &'static str);

fn disk(facts: &mut Facts) -> &mut Space {
    facts.disks[0].space.as_mut().unwrap()
}

fn told(facts: &mut Facts) -> &mut Answer {
    facts.runtime.answer.as_mut().unwrap().as_mut().unwrap()
}

fn set_sysctl(facts: &mut Facts, path: &str, value: Option<u64>) {
    facts.sysctls.iter_mut().find(|(known, _)| *known == path).unwrap().1 = value;
}

fn taken(facts: &mut Facts, process: Option<u32>) {
    facts.ports[0].taken = Some(Owner { process, name: "kubelet".to_owned() });
}

const CASES: &[Case] = &[
    (|f| f.is_root = false, "daemon", Verdict::Warn, "run it as root"),
    (|f| f.daemon = Some(7), "daemon", Verdict::Ok, "process 7"),
    (
        |f| f.configuration.error = Some("c.yaml:3: maxPods: no number".to_owned()),
        "configuration",
        Verdict::Fail,
        "c.yaml:3",
    ),
    (
        |f| f.configuration.warnings.push("a gate is gone".to_owned()),
        "configuration",
        Verdict::Warn,
        "a gate is gone",
    ),
    (|f| f.kernel = "5.4.0-generic".to_owned(), "kernel", Verdict::Fail, "install Linux 5.6"),
    (|f| f.kernel = "5.6.0".to_owned(), "kernel", Verdict::Warn, "hostUsers"),
    (|f| f.kernel = "6.1.0-18-amd64".to_owned(), "kernel", Verdict::Warn, "Linux 6.3"),
    (|f| f.kernel = "custom".to_owned(), "kernel", Verdict::Warn, "cannot be understood"),
    (
        |f| f.cgroups.is_unified = Some(Err("tmpfs".to_owned())),
        "cgroups",
        Verdict::Fail,
        "systemd.unified_cgroup_hierarchy=1",
    ),
    (
        |f| {
            f.cgroups.is_unified = Some(Err("tmpfs".to_owned()));
            f.configuration.config.fail_cgroup_v1 = false;
            f.configuration.config.cgroups_per_qos = false;
        },
        "cgroups",
        Verdict::Warn,
        "does without",
    ),
    (
        |f| f.cgroups.controllers.retain(|name| name != "memory"),
        "cgroups",
        Verdict::Fail,
        "without the controllers memory",
    ),
    (
        |f| f.cgroups.controllers.retain(|name| name != "io"),
        "cgroups",
        Verdict::Warn,
        "without the controllers io",
    ),
    (|f| f.pressure = false, "pressure", Verdict::Warn, "psi=1"),
    (|f| f.overlay = false, "overlayfs", Verdict::Warn, "modprobe overlay"),
    (|f| f.seccomp = false, "seccomp", Verdict::Warn, "CONFIG_SECCOMP"),
    (
        |f| {
            f.seccomp = false;
            f.configuration.config.seccomp_default = true;
        },
        "seccomp",
        Verdict::Fail,
        "seccompDefault",
    ),
    (
        |f| set_sysctl(f, USER_NAMESPACES, Some(0)),
        "user namespaces",
        Verdict::Warn,
        "sysctl -w user.max_user_namespaces",
    ),
    (|f| set_sysctl(f, USER_NAMESPACES, None), "user namespaces", Verdict::Warn, "has none"),
    (
        |f| set_sysctl(f, MAX_INSTANCES, Some(128)),
        "inotify",
        Verdict::Warn,
        "sysctl -w fs.inotify.max_user_instances=512",
    ),
    (|f| set_sysctl(f, PID_MAX, Some(32_768)), "processes", Verdict::Warn, "sysctl -w kernel.pid_max=65536"),
    (|f| f.threads = Some(4_000_000), "processes", Verdict::Fail, "raise the limit"),
    (|f| set_sysctl(f, FORWARD, Some(0)), "forwarding", Verdict::Warn, "sysctl -w net.ipv4.ip_forward=1"),
    (|f| set_sysctl(f, BRIDGE, Some(0)), "bridges", Verdict::Warn, "net.bridge.bridge-nf-call-iptables=1"),
    (|f| set_sysctl(f, BRIDGE, None), "bridges", Verdict::Warn, "modprobe br_netfilter"),
    (
        |f| {
            f.swap.push("/dev/sda2".to_owned());
            f.configuration.config.fail_swap_on = true;
        },
        "swap",
        Verdict::Fail,
        "swapoff",
    ),
    (
        |f| {
            f.swap.push("/dev/sda2".to_owned());
            f.configuration.config.fail_swap_on = false;
        },
        "swap",
        Verdict::Ok,
        "NoSwap",
    ),
    (|f| f.clock.is_synchronized = Some(false), "clock", Verdict::Warn, "log of chronyd"),
    (|f| f.clock = Clock::default(), "clock", Verdict::Warn, "systemd-timesyncd or chrony"),
    (|f| f.clock.is_synchronized = None, "clock", Verdict::Ok, "is not known"),
    (|f| f.host.has_time_zone = false, "time zone", Verdict::Warn, "timedatectl"),
    (
        |f| f.host.node_name = Some(Err("a_b is none".to_owned())),
        "host name",
        Verdict::Fail,
        "--hostname-override",
    ),
    (|f| f.host.addresses = Some(Err("unknown".to_owned())), "host name", Verdict::Warn, "/etc/hosts"),
    (|f| f.root_dir.found = None, "root directory", Verdict::Ok, "will be made"),
    (
        |f| {
            f.root_dir.found =
                Some(Ok(Directory { mode: 0o40_777, is_directory: true, ..Directory::default() }))
        },
        "root directory",
        Verdict::Fail,
        "chmod go-w",
    ),
    (
        |f| f.root_dir.found = Some(Ok(Directory { owner: 5, is_directory: true, ..Directory::default() })),
        "root directory",
        Verdict::Fail,
        "chown root",
    ),
    (
        |f| {
            f.root_dir.found =
                Some(Ok(Directory { read_only: true, is_directory: true, ..Directory::default() }))
        },
        "root directory",
        Verdict::Fail,
        "remount,rw",
    ),
    (
        |f| {
            f.root_dir.found =
                Some(Ok(Directory { no_exec: true, is_directory: true, ..Directory::default() }))
        },
        "root directory",
        Verdict::Warn,
        "noexec",
    ),
    (|f| disk(f).available = 9 << 30, "disk of the node", Verdict::Fail, "pods are evicted"),
    (|f| disk(f).available = 19 << 30, "disk of the node", Verdict::Warn, "near to where"),
    (|f| disk(f).inodes_free = 49, "disk of the node", Verdict::Fail, "5% of the inodes"),
    (|f| disk(f).inodes = 0, "disk of the node", Verdict::Ok, "(80%)"),
    (|f| taken(f, Some(9)), "port", Verdict::Fail, "process 9 (kubelet) listens on 10250"),
    (|f| taken(f, None), "port", Verdict::Fail, "somebody listens"),
    (
        |f| {
            taken(f, Some(7));
            f.daemon = Some(7);
        },
        "port",
        Verdict::Ok,
        "is the daemon's",
    ),
    (|f| f.daemon = Some(7), "port", Verdict::Warn, "nobody listens on 10250"),
    (
        |f| f.runtime.answer = Some(Err("refused".to_owned())),
        "runtime",
        Verdict::Fail,
        "systemctl start containerd",
    ),
    (|f| f.runtime.answer = None, "runtime", Verdict::Fail, "is no socket"),
    (|f| told(f).not_ready = Some("no".to_owned()), "runtime", Verdict::Fail, "log of containerd"),
    (|f| told(f).version = "1.7.24".to_owned(), "runtime", Verdict::Warn, "containerd 2"),
    (
        |f| told(f).cgroup_driver = Some("cgroupfs".to_owned()),
        "cgroup driver",
        Verdict::Ok,
        "the runtime's counts",
    ),
    (|f| told(f).cgroup_driver = None, "cgroup driver", Verdict::Warn, "SystemdCgroup"),
    (
        |f| {
            told(f).network_not_ready = Some("NetworkPluginNotReady: cni plugin not initialized".to_owned());
            f.runtime.network_configurations = Some(0);
        },
        "pod network",
        Verdict::Fail,
        "install a network plugin",
    ),
    (|f| told(f).network_not_ready = Some("broken".to_owned()), "pod network", Verdict::Fail, "/opt/cni/bin"),
    (
        |f| f.certificates[0].until = Some(f.now - SignedDuration::from_hours(2)),
        "client certificate",
        Verdict::Fail,
        "ended 120m ago",
    ),
    (
        |f| {
            f.certificates[0].until = Some(f.now + SignedDuration::from_hours(24));
            f.configuration.config.rotate_certificates = false;
        },
        "client certificate",
        Verdict::Warn,
        "rotateCertificates",
    ),
    (|f| f.certificates[0].until = None, "client certificate", Verdict::Ok, "not there yet"),
    (
        |f| {
            f.certificates[0].until = None;
            f.certificates[0].problem = Some("no PEM".to_owned());
            f.daemon = Some(7);
        },
        "client certificate",
        Verdict::Warn,
        "no PEM",
    ),
    (
        |f| f.api_server = Some(("https://a".to_owned(), Err("refused".to_owned()))),
        "API server",
        Verdict::Warn,
        "https://a: refused",
    ),
];

#[test]
fn each_thing_that_is_wrong_is_found_with_what_to_do_and_nothing_else_is() {
    let before = all(&sound());
    for (number, (harm, check, verdict, words)) in CASES.iter().enumerate() {
        let mut facts = sound();
        harm(&mut facts);
        let found = all(&facts);
        let finding = found.iter().find(|finding| finding.check == *check).unwrap();
        let text = format!("{} -> {}", finding.found, finding.advice);
        assert_eq!(finding.verdict, *verdict, "case {number}: {text}");
        assert!(text.contains(words), "case {number}: {words:?} is not in {text}");
        let others =
            found.iter().filter(|finding| finding.check != *check && finding.verdict == Verdict::Fail);
        assert_eq!(others.count(), 0, "case {number}: something else fails too: {found:?}");
        assert_eq!(found.len(), before.len());
    }
}

#[test]
fn a_version_is_two_numbers() {
    assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
    assert_eq!(version("v6"), None);
    assert_eq!(version(""), None);
}
