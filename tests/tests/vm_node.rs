//! What a node of the virtual machines offers: kernel, systemd and container runtime, as the suites on top of it need them.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::HashMap;
use std::time::Duration;

use cri_client::v1;
use harness::vm::{Node, scenario};
use harness::wait::{self, Look};
use harness::{bed, images};

const LIMIT: Duration = Duration::from_secs(60);
const MIB: i64 = 1024 * 1024;

#[tokio::test]
async fn a_node_has_systemd_with_unified_cgroups_and_what_else_a_node_agent_meets() {
    scenario(bed!("systemd"), async |bed| {
        let node = bed.node(1);
        assert_eq!(
            node.sh("cat /proc/1/comm; systemctl is-system-running").await.unwrap(),
            "systemd\nrunning\n"
        );
        assert_eq!(node.sh("stat -f -c %T /sys/fs/cgroup").await.unwrap(), "cgroup2fs\n");
        let controllers = node.sh("cat /sys/fs/cgroup/cgroup.controllers").await.unwrap();
        let mut controllers: Vec<&str> = controllers.split_whitespace().collect();
        controllers.sort_unstable();
        assert_eq!(controllers, ["cpu", "cpuset", "io", "memory", "misc", "pids", "rdma"]);
        assert!(node.sh("cat /proc/pressure/memory").await.unwrap().starts_with("some avg10="));
        logind(node).await;
        apparmor(node).await;
        quota(node).await;
        swap(node).await;
    })
    .await;
}

/// Somebody who delays a shutdown is known to logind, over D-Bus.
async fn logind(node: &Node) {
    let inhibit = "systemd-run -q --unit delays systemd-inhibit --what=shutdown --mode=delay --who=probe sleep infinity";
    node.sh(inhibit).await.unwrap();
    let call = "busctl call org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager ListInhibitors";
    let look = || async {
        let known = node.sh(call).await.unwrap();
        let is_there = known.contains(r#""shutdown" "probe""#) && known.contains(r#""delay""#);
        if is_there { Look::There(()) } else { Look::NotYet(known) }
    };
    wait::until("logind to know the inhibitor", LIMIT, look).await.unwrap();
    node.sh("systemctl stop delays").await.unwrap();
}

/// A profile is loaded, is seen in securityfs, and forbids.
async fn apparmor(node: &Node) {
    assert_eq!(node.sh("cat /sys/module/apparmor/parameters/enabled").await.unwrap(), "Y\n");
    let profile = "profile probe { file, deny /srv/secret r, }\n";
    node.write("/etc/apparmor.d/probe", "0644", profile.as_bytes()).await.unwrap();
    node.sh("apparmor_parser -r /etc/apparmor.d/probe; mkdir -p /srv; echo secret >/srv/secret")
        .await
        .unwrap();
    let loaded = node.sh("cat /sys/kernel/security/apparmor/profiles").await.unwrap();
    assert!(loaded.lines().any(|line| line == "probe (enforce)"), "{loaded}");
    assert_eq!(node.sh("cat /srv/secret").await.unwrap(), "secret\n");
    let confined = async |file| {
        let argv = ["systemd-run", "--quiet", "--pipe", "--property=AppArmorProfile=probe", "cat", file];
        node.output(&argv).await.unwrap()
    };
    node.write("/srv/public", "0644", b"public").await.unwrap();
    assert_eq!(confined("/srv/public").await.stdout, "public");
    let denied = confined("/srv/secret").await;
    assert!(!denied.success() && denied.stderr.contains("Permission denied"), "{denied:?}");
}

/// A directory with a project's number holds no more than the project may.
async fn quota(node: &Node) {
    node.sh("mkdir /srv/limited; chattr -p 4711 +P /srv/limited; setquota -P 4711 0 4096 0 0 /")
        .await
        .unwrap();
    node.sh("dd if=/dev/zero of=/srv/limited/small bs=1M count=3 status=none").await.unwrap();
    // Whoever may go beyond limits on resources may go beyond this one.
    let fill =
        "exec setpriv --bounding-set -sys_resource dd if=/dev/zero of=/srv/limited/large bs=1M count=3";
    let full = node.output(&["sh", "-c", fill]).await.unwrap();
    assert!(!full.success() && full.stderr.contains("quota exceeded"), "{full:?}");
    let used = node.sh("repquota -P -O csv / | grep 4711").await.unwrap();
    assert!(used.contains(",4096,"), "{used}");
}

/// There is none until it is switched on.
async fn swap(node: &Node) {
    let total = async || {
        let said = node.sh("sed -n 's/^SwapTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo").await.unwrap();
        said.trim().parse::<u64>().unwrap()
    };
    assert_eq!(total().await, 0);
    node.set_swap(true).await.unwrap();
    assert!(total().await > 500_000);
    node.set_swap(false).await.unwrap();
    assert_eq!(total().await, 0);
}

#[tokio::test]
async fn the_kernel_throttles_and_kills_by_cgroup() {
    scenario(bed!("cgroups"), async |bed| {
        let node = bed.node(1);
        // Three tenths of a processor, for three tenths of a second of work.
        let throttled = "cd /sys/fs/cgroup && mkdir slow && echo '30000 100000' >slow/cpu.max && \
                         sh -c 'echo $$ >slow/cgroup.procs; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done' && \
                         sed -n 's/^nr_throttled //p' slow/cpu.stat";
        let periods: u32 = node.sh(throttled).await.unwrap().trim().parse().unwrap();
        assert!(periods > 0, "never throttled");

        let killed = "cd /sys/fs/cgroup && mkdir small && echo 50M >small/memory.max && \
                      echo $$ >small/cgroup.procs && exec python3 -c 'x = bytearray(200 << 20)'";
        let said = node.output(&["sh", "-euc", killed]).await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&said.status), Some(9), "{said:?}");
        let events = node.sh("cat /sys/fs/cgroup/small/memory.events").await.unwrap();
        assert!(events.lines().any(|line| line == "oom_kill 1"), "{events}");
        let peak = node.sh("cat /sys/fs/cgroup/small/memory.peak").await.unwrap();
        assert!(peak.trim().parse::<i64>().unwrap() <= 50 * MIB, "{peak}");
        // The agent outlives what it started.
        node.sh("true").await.unwrap();
    })
    .await;
}

/// A pod with one container.
struct Pod {
    sandbox: String,
    container: String,
}

/// Runs a pod by bare CRI calls.
async fn run(node: &Node, name: &str, config: PodConfig, command: &[&str]) -> Pod {
    let PodConfig { handler, security, resources } = config;
    let sandbox = v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: format!("/var/log/pods/{name}"),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: "kubepods-burstable.slice".to_owned(),
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: security.clone(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let container = v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: images::BUSYBOX.to_owned(), ..Default::default() }),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        log_path: "c.log".to_owned(),
        linux: Some(v1::LinuxContainerConfig {
            resources,
            security_context: Some(v1::LinuxContainerSecurityContext {
                namespace_options: security,
                ..Default::default()
            }),
        }),
        ..Default::default()
    };
    let cri = node.cri();
    let id = cri.run_pod_sandbox(sandbox.clone(), handler.to_owned()).await.unwrap();
    let made = cri.create_container(&id, container, sandbox).await.unwrap();
    cri.start_container(&made).await.unwrap();
    Pod { sandbox: id, container: made }
}

#[derive(Default)]
struct PodConfig {
    handler: &'static str,
    security: Option<v1::NamespaceOption>,
    resources: Option<v1::LinuxContainerResources>,
}

async fn said(node: &Node, pod: &Pod, command: &[&str]) -> String {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let answer = node.cri().exec_sync(&pod.container, command, Some(LIMIT)).await.unwrap();
    String::from_utf8(answer.stdout).unwrap()
}

const SLEEP: [&str; 2] = ["sleep", "infinity"];

#[tokio::test]
async fn containerd_runs_pods_below_systemds_slices_with_either_runtime() {
    scenario(bed!("containerd"), async |bed| {
        let node = bed.node(1);
        let version = node.cri().version().await.unwrap();
        assert_eq!(version.runtime_name, "containerd");
        assert!(version.runtime_version.trim_start_matches('v').starts_with("2."), "{version:?}");
        assert_eq!(node.cri().cgroup_driver().await.unwrap(), Some(v1::CgroupDriver::Systemd));

        for handler in ["", "runc", "crun"] {
            let name = format!("plain{handler}");
            let pod = run(node, &name, PodConfig { handler, ..PodConfig::default() }, &SLEEP).await;
            assert_eq!(said(node, &pod, &["hostname"]).await, format!("{name}\n"));
            let place = node.sh(&format!("find /sys/fs/cgroup -name '*{}*'", pod.container)).await.unwrap();
            let wanted = format!("/kubepods-burstable.slice/cri-containerd-{}.scope", pod.container);
            assert!(place.trim().ends_with(&wanted), "{place}");
            node.cri().stop_pod_sandbox(&pod.sandbox).await.unwrap();
            node.cri().remove_pod_sandbox(&pod.sandbox).await.unwrap();
        }
        assert_eq!(node.cri().list_pod_sandboxes(HashMap::new()).await.unwrap().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_container_beyond_its_memory_is_killed_with_137_and_one_with_a_quota_is_throttled() {
    scenario(bed!("limits"), async |bed| {
        let node = bed.node(1);
        let resources = v1::LinuxContainerResources { memory_limit_in_bytes: 32 * MIB, ..Default::default() };
        let config = PodConfig { resources: Some(resources), ..PodConfig::default() };
        let hungry = ["sh", "-c", "x=a; while true; do x=$x$x; done"];
        let pod = run(node, "hungry", config, &hungry).await;
        let look = || async {
            let status = node.cri().container_status(&pod.container).await.unwrap();
            match status.state() {
                v1::ContainerState::ContainerExited => Look::There(status),
                state => Look::NotYet(format!("{state:?}")),
            }
        };
        let status = wait::until("the container to be killed", LIMIT, look).await.unwrap();
        // The reason is nodelet's business: containerd's is "Error" where systemd removes the scope before containerd has looked.
        assert_eq!(status.exit_code, 137);
        let log = node.sh("dmesg").await.unwrap();
        let is_told = log.lines().any(|line| line.contains("oom-kill:") && line.contains(&pod.container));
        assert!(is_told, "{log}");

        let resources =
            v1::LinuxContainerResources { cpu_period: 100_000, cpu_quota: 20_000, ..Default::default() };
        let config = PodConfig { resources: Some(resources), ..PodConfig::default() };
        let pod = run(node, "busy", config, &["sh", "-c", "while true; do :; done"]).await;
        let stat = format!(
            "cat /sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/*{}*/cpu.stat",
            pod.container
        );
        let look = || async {
            let stat = node.sh(&stat).await.unwrap();
            let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled "));
            if throttled.is_some_and(|n| n != "0") { Look::There(()) } else { Look::NotYet(stat) }
        };
        wait::until("the container to be throttled", LIMIT, look).await.unwrap();
        node.cri().stop_pod_sandbox(&pod.sandbox).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_pod_in_a_user_namespace_is_root_inside_and_nobody_outside() {
    const FIRST: u32 = 655_360;
    scenario(bed!("userns"), async |bed| {
        let node = bed.node(1);
        let map = vec![v1::IdMapping { host_id: FIRST, container_id: 0, length: 65_536 }];
        let users = v1::UserNamespace { mode: v1::NamespaceMode::Pod.into(), uids: map.clone(), gids: map };
        let security = v1::NamespaceOption { userns_options: Some(users), ..Default::default() };
        let config = PodConfig { security: Some(security), ..PodConfig::default() };
        let pod = run(node, "mapped", config, &SLEEP).await;
        let inside =
            said(node, &pod, &["sh", "-c", "id -u; stat -c %u /bin/busybox; cat /proc/self/uid_map"]).await;
        let words: Vec<&str> = inside.split_whitespace().collect();
        assert_eq!(words, ["0", "0", "0", &FIRST.to_string(), "65536"]);
        let outside = node.sh("ps -o uid= -p $(pgrep -xf 'sleep infinity')").await.unwrap();
        assert_eq!(outside.trim(), FIRST.to_string());
    })
    .await;
}
