//! nodelet as the agent of a node with systemd and unified cgroups: pods from manifests, no API server.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use cri_client::v1;
use harness::bed;
use harness::cluster::Programs;
use harness::vm::{Bed, Node, scenario};
use harness::wait::{self, Look};

const LIMIT: Duration = Duration::from_secs(90);
const UNIT: &str = include_str!("../../daemon/package/nodelet.service");
const SLICE: &str = include_str!("../../daemon/package/nodelet.slice");
const MANIFESTS: &str = "/etc/kubernetes/manifests";
const TOP: &str = "/sys/fs/cgroup/kubepods.slice";
const MIB: u64 = 1024 * 1024;
const RUNNING: i32 = v1::ContainerState::ContainerRunning as i32;

const CONFIGURATION: &str = "
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: /etc/kubernetes/manifests
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupsPerQOS: true
cgroupDriver: systemd
enforceNodeAllocatable: [pods, kube-reserved]
kubeReserved: { cpu: 100m, memory: 256Mi, pid: '1000' }
kubeReservedCgroup: /nodelet.slice
podPidsLimit: 100
";

const SLEEP: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";
/// Name, resources.
const GUARANTEED: (&str, &str) = ("guaranteed", "limits: { cpu: 300m, memory: 64Mi }");
const BURSTABLE: (&str, &str) = ("burstable", "requests: { cpu: 200m, memory: 128Mi }");
const BEST_EFFORT: (&str, &str) = ("besteffort", "");

/// A node with nodelet, and what is known of it.
struct Agent<'a> {
    node: &'a Node,
}

/// A container as the runtime lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Running {
    id: String,
    uid: String,
    attempt: u32,
}

impl<'a> Agent<'a> {
    /// Puts nodelet into the first node and starts it under systemd.
    async fn install(bed: &'a Bed, configuration: &str) -> Self {
        let node = bed.node(1);
        let programs = Programs::from_environment().unwrap();
        node.install_programs(&[&programs.nodelet]).await.unwrap();
        for (path, content) in [
            ("/etc/systemd/system/nodelet.service", UNIT),
            ("/etc/systemd/system/nodelet.slice", SLICE),
            ("/etc/nodelet/config.yaml", configuration),
        ] {
            node.write(path, "0644", content.as_bytes()).await.unwrap();
        }
        let start = format!(
            "mkdir -p {MANIFESTS} /etc/nodelet/config.d; systemctl daemon-reload; systemctl enable --now nodelet.service"
        );
        node.sh(&start).await.unwrap();
        Self { node }
    }

    /// Puts a manifest of a pod with one container.
    async fn put(&self, (name, resources): (&str, &str), script: &str) {
        let script = serde_json::to_string(script).unwrap();
        let manifest = format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, namespace: default }}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: c
    image: "nodelet.dev/busybox:1"
    command: [sh, -c, {script}]
    resources: {{ {resources} }}
"#
        );
        let path = format!("{MANIFESTS}/{name}.yaml");
        self.node.write(&path, "0644", manifest.as_bytes()).await.unwrap();
    }

    async fn take(&self, name: &str) {
        self.node.run(&["rm", &format!("{MANIFESTS}/{name}.yaml")]).await.unwrap();
    }

    /// All containers of a pod, the newest last; none while the runtime is not reached, as after a power cut.
    async fn containers(&self, name: &str) -> Vec<v1::Container> {
        let labels =
            HashMap::from([("io.kubernetes.pod.name".to_owned(), format!("{name}-{}", self.node.name()))]);
        let mut all = self.node.cri().list_containers(labels).await.unwrap_or_default();
        all.sort_by_key(|container| container.created_at);
        all
    }

    /// Waits for the pod's container to run.
    async fn running(&self, name: &str) -> Running {
        let look = || async {
            let all = self.containers(name).await;
            match all.last() {
                Some(container) if container.state == RUNNING => Look::There(Running {
                    id: container.id.clone(),
                    uid: container.labels["io.kubernetes.pod.uid"].clone(),
                    attempt: container.metadata.as_ref().unwrap().attempt,
                }),
                _ => Look::NotYet(format!("{all:?}")),
            }
        };
        wait::until(&format!("the container of {name} to run"), LIMIT, look).await.unwrap()
    }

    async fn explain(&self, name: &str) -> String {
        let pod = format!("default/{name}-{}", self.node.name());
        let said = self.node.output(&["nodelet", "explain", &pod]).await.unwrap();
        said.stdout + &said.stderr
    }

    /// A property of the unit.
    async fn unit(&self, property: &str) -> String {
        let argv = ["systemctl", "show", "--value", "--property", property, "nodelet.service"];
        self.node.run(&argv).await.unwrap().stdout.trim().to_owned()
    }

    /// Waits until a directory is there, or is not.
    async fn directory(&self, path: &str, there: bool) {
        let look = || async {
            let is_there = self.node.output(&["test", "-d", path]).await.unwrap().success();
            if is_there == there {
                return Look::There(());
            }
            Look::NotYet(self.node.output(&["systemd-cgls", "--no-pager"]).await.unwrap().stdout)
        };
        wait::until(&format!("{path} to be there: {there}"), LIMIT, look).await.unwrap();
    }

    /// The files of a cgroup.
    async fn cgroup(&self, path: &str) -> BTreeMap<String, String> {
        let script = format!(
            "cd {path}; for f in cpu.weight cpu.max memory.max memory.swap.max memory.oom.group pids.max; do echo $f=$(cat $f); done"
        );
        let said = self.node.sh(&script).await.unwrap();
        said.lines()
            .filter_map(|line| line.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    /// A number of the node.
    async fn number(&self, script: &str) -> u64 {
        let said = self.node.sh(script).await.unwrap();
        said.trim().parse().unwrap_or_else(|error| panic!("{script}: {said}: {error}"))
    }
}

/// Where the cgroup of a pod is.
fn slice(tier: &str, uid: &str) -> String {
    let uid = uid.replace('-', "_");
    match tier {
        "" => format!("{TOP}/kubepods-pod{uid}.slice"),
        tier => format!("{TOP}/kubepods-{tier}.slice/kubepods-{tier}-pod{uid}.slice"),
    }
}

fn scope(tier: &str, container: &Running) -> String {
    format!("{}/cri-containerd-{}.scope", slice(tier, &container.uid), container.id)
}

#[tokio::test]
async fn nodelet_under_systemd_holds_pods_in_cgroups_of_their_own() {
    scenario(bed!("pods"), async |bed| {
        use_runc(bed.node(1)).await;
        let agent = Agent::install(bed, CONFIGURATION).await;
        assert_eq!(agent.unit("ActiveState").await, "active");
        for pod in [GUARANTEED, BURSTABLE, BEST_EFFORT] {
            agent.put(pod, SLEEP).await;
        }
        let guaranteed = agent.running("guaranteed").await;
        let burstable = agent.running("burstable").await;
        let best_effort = agent.running("besteffort").await;
        assert_eq!(agent.unit("NRestarts").await, "0");
        assert_eq!(agent.unit("ActiveState").await, "active");
        values(&agent, &guaranteed, &burstable, &best_effort).await;
        agent.node.sh("systemctl daemon-reload").await.unwrap();
        values(&agent, &guaranteed, &burstable, &best_effort).await;
    })
    .await;
}

/// crun 1.21 passes over the files of the unified hierarchy, `memory.oom.group` say, where systemd makes the cgroup.
async fn use_runc(node: &Node) {
    let runc = "sed -i \"s/default_runtime_name = .*/default_runtime_name = 'runc'/\" /etc/containerd/config.toml; \
                systemctl restart containerd";
    node.sh(runc).await.unwrap();
}

/// What the kernel holds is what a kubelet would have written.
async fn values(agent: &Agent<'_>, guaranteed: &Running, burstable: &Running, best_effort: &Running) {
    let memory = agent.number("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo").await * 1024;
    let pids =
        agent.number("cat /proc/sys/kernel/pid_max /proc/sys/kernel/threads-max | sort -n | head -n 1").await;
    let (allocatable, pids) = ((memory - 256 * MIB).to_string(), (pids - 1000).to_string());
    let unlimited = "max 100000";
    // Several weights: the runtime decides by which curve it converts shares.
    let expected: [(String, &[&str], &str, &str, &str); 10] = [
        ("/sys/fs/cgroup/nodelet.slice".to_owned(), &["4"], unlimited, "268435456", "1000"),
        (TOP.to_owned(), &["36"], unlimited, &allocatable, &pids),
        (format!("{TOP}/kubepods-burstable.slice"), &["8"], unlimited, "max", "max"),
        (format!("{TOP}/kubepods-besteffort.slice"), &["1"], unlimited, "max", "max"),
        (slice("", &guaranteed.uid), &["12"], "30000 100000", "67108864", "100"),
        (slice("burstable", &burstable.uid), &["8"], unlimited, "max", "100"),
        (slice("besteffort", &best_effort.uid), &["1"], unlimited, "max", "100"),
        (scope("", guaranteed), &["12", "40"], "30000 100000", "67108864", ""),
        (scope("burstable", burstable), &["8", "29"], unlimited, "max", ""),
        (scope("besteffort", best_effort), &["1"], unlimited, "max", ""),
    ];
    let mut wrong = Vec::new();
    for (path, weights, cpu, memory, pids) in &expected {
        let held = agent.cgroup(path).await;
        let is_container = path.ends_with(".scope");
        let right = weights.contains(&&*held["cpu.weight"])
            && held["cpu.max"] == *cpu
            && held["memory.max"] == *memory
            && (is_container || held["pids.max"] == *pids)
            && (held["memory.swap.max"] == "0") == is_container
            && (held["memory.oom.group"] == "1") == is_container;
        if !right {
            wrong.push(format!("{path}: {held:?}, not {weights:?} {cpu} {memory} {pids}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let share = 1000 - (1000 * 128 * MIB / memory);
    let scores = [
        (scope("", guaranteed), "-997".to_owned()),
        (scope("burstable", burstable), share.to_string()),
        (scope("besteffort", best_effort), "1000".to_owned()),
    ];
    for (path, score) in scores {
        let script = format!("cat /proc/$(head -n 1 {path}/cgroup.procs)/oom_score_adj");
        assert_eq!(agent.node.sh(&script).await.unwrap().trim(), score, "{path}");
    }
    let own =
        agent.node.sh("cat /proc/$(systemctl show --value -p MainPID nodelet)/oom_score_adj").await.unwrap();
    assert_eq!(own.trim(), "-999");
}

#[tokio::test]
async fn cgroups_outlive_a_killed_daemon_and_go_with_their_pods() {
    scenario(bed!("pods-crash"), async |bed| {
        let agent = Agent::install(bed, CONFIGURATION).await;
        for pod in [GUARANTEED, BURSTABLE, BEST_EFFORT] {
            agent.put(pod, SLEEP).await;
        }
        let guaranteed = agent.running("guaranteed").await;
        let burstable = agent.running("burstable").await;
        let best_effort = agent.running("besteffort").await;

        // One that goes while nobody looks, and one that goes in front of everybody.
        let before = agent.unit("MainPID").await;
        agent.node.sh("systemctl kill --kill-whom=main -s KILL nodelet.service").await.unwrap();
        let look = || async {
            let (state, pid) = (agent.unit("ActiveState").await, agent.unit("MainPID").await);
            let is_new = state == "active" && pid != before && pid != "0";
            if is_new { Look::There(()) } else { Look::NotYet(format!("{state} {pid}")) }
        };
        wait::until("systemd to start nodelet again", LIMIT, look).await.unwrap();
        assert_eq!(agent.unit("NRestarts").await, "1");
        // What it does next shows that it has taken over.
        agent.take("besteffort").await;
        agent.directory(&slice("besteffort", &best_effort.uid), false).await;
        assert_eq!(agent.running("guaranteed").await, guaranteed);
        assert_eq!(agent.running("burstable").await, burstable);
        assert_eq!(agent.containers("guaranteed").await.len() + agent.containers("burstable").await.len(), 2);
        let held = agent.cgroup(&slice("", &guaranteed.uid)).await;
        assert_eq!((&*held["cpu.max"], &*held["memory.max"]), ("30000 100000", "67108864"));
        let held = agent.cgroup(&format!("{TOP}/kubepods-burstable.slice")).await;
        assert_eq!(held["cpu.weight"], "8");

        // What somebody has left: a bare directory, a slice of systemd's with a process.
        agent.node.sh("systemctl stop nodelet.service").await.unwrap();
        assert_eq!(
            (agent.unit("ActiveState").await, agent.unit("Result").await),
            ("inactive".into(), "success".into())
        );
        assert_eq!(agent.running("guaranteed").await, guaranteed);
        let bare = slice("besteffort", "11111111-2222-3333-4444-555555555555");
        let busy = slice("", "66666666-7777-8888-9999-000000000000");
        let unit = busy.rsplit('/').next().unwrap();
        agent.node.run(&["mkdir", &bare]).await.unwrap();
        agent.node.run(&["systemd-run", "-q", "--slice", unit, "sleep", "infinity"]).await.unwrap();
        agent.directory(&busy, true).await;
        agent.node.sh("systemctl start nodelet.service").await.unwrap();
        agent.directory(&bare, false).await;
        agent.directory(&busy, false).await;
        assert_eq!(agent.running("guaranteed").await, guaranteed);

        // The tier follows its pods.
        agent.take("burstable").await;
        agent.directory(&slice("burstable", &burstable.uid), false).await;
        let look = || async {
            let held = agent.cgroup(&format!("{TOP}/kubepods-burstable.slice")).await;
            if held["cpu.weight"] == "1" { Look::There(()) } else { Look::NotYet(format!("{held:?}")) }
        };
        wait::until("the tier to have the least weight", LIMIT, look).await.unwrap();
        agent.take("guaranteed").await;
        agent.directory(&slice("", &guaranteed.uid), false).await;
        let look = || async {
            let left = agent.node.cri().list_pod_sandboxes(HashMap::new()).await.unwrap();
            if left.is_empty() { Look::There(()) } else { Look::NotYet(format!("{left:?}")) }
        };
        wait::until("all sandboxes to be gone", LIMIT, look).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn pods_get_no_more_memory_processes_or_processor_time_than_their_limits() {
    scenario(bed!("pods-limits"), async |bed| {
        use_runc(bed.node(1)).await;
        let agent = Agent::install(bed, CONFIGURATION).await;
        // A child is too large, and all of the container is killed.
        let hungry = "sh -c 'x=a; while true; do x=$x$x; done'; exec sleep 1000";
        agent.put(("hungry", "limits: { memory: 32Mi }"), hungry).await;
        let look = || async {
            let all = agent.containers("hungry").await;
            let attempts: Vec<_> =
                all.iter().map(|c| (c.metadata.as_ref().unwrap().attempt, c.state)).collect();
            match all.iter().rfind(|c| c.metadata.as_ref().unwrap().attempt > 0) {
                Some(_) => Look::There(all.first().unwrap().id.clone()),
                None => Look::NotYet(format!("{attempts:?}")),
            }
        };
        let first = wait::until("a second container", LIMIT, look).await.unwrap();
        let status = agent.node.cri().container_status(&first).await.unwrap();
        assert_eq!(status.exit_code, 137);
        // Whatever the runtime's reason is: it may miss the kill.
        let story = agent.explain("hungry").await;
        assert!(story.contains("exited 137 (OOMKilled)"), "{story}");
        agent.take("hungry").await;

        agent.put(("many", ""), "(while true; do sleep 1000 & done); exec sleep 1000").await;
        let many = agent.running("many").await;
        let slice = slice("besteffort", &many.uid);
        let look = || async {
            let events = agent.node.sh(&format!("cat {slice}/pids.events {slice}/pids.peak")).await.unwrap();
            let is_held = !events.contains("max 0\n") && events.ends_with("\n100\n");
            if is_held { Look::There(()) } else { Look::NotYet(events) }
        };
        wait::until("the pod to have as many processes as it may", LIMIT, look).await.unwrap();
        agent.take("many").await;

        agent.put(("busy", "limits: { cpu: 200m }"), "while true; do :; done").await;
        let busy = agent.running("busy").await;
        let scope = scope("burstable", &busy);
        // Processor time in a span of real time, both in microseconds; the span is made of whole periods.
        let measure = format!(
            "cd {scope}; u() {{ sed -n 's/^usage_usec //p' cpu.stat; }}; a=$(u); s=$(date +%s%N); sleep 10; \
             b=$(u); e=$(date +%s%N); echo $(( (b - a) * 1000000 / (e - s) )); \
             cat cpu.stat ../cpu.stat | sed -n 's/^nr_throttled //p'"
        );
        let said = agent.node.sh(&measure).await.unwrap();
        let numbers: Vec<u64> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
        println!("thousandths of a processor, periods throttled: {numbers:?}");
        // The pod and its only container have the same quota: it may be the one or the other that is held back.
        assert!((180..=220).contains(&numbers[0]) && numbers[1] + numbers[2] > 0, "{said}");

        // Somebody's SIGKILL is no want of memory, though the kernel's log, which is read for it, tells of some.
        agent.node.sh(&format!("kill -9 $(cat {scope}/cgroup.procs)")).await.unwrap();
        let look = || async {
            let story = agent.explain("busy").await;
            if story.contains("exited 137") { Look::There(story) } else { Look::NotYet(story) }
        };
        let story = wait::until("the end of the container to be seen", LIMIT, look).await.unwrap();
        assert!(!story.contains("OOMKilled"), "{story}");
        // It is open twice: followed for events, and read for the status of `hungry` and `busy`.
        let log = "readlink /proc/$(systemctl show -p MainPID --value nodelet)/fd/* | grep -c kmsg";
        assert_eq!(agent.node.sh(log).await.unwrap().trim(), "2");
    })
    .await;
}

#[tokio::test]
async fn pods_come_up_again_after_a_reboot_and_after_a_power_cut() {
    scenario(bed!("pods-reboot"), async |bed| {
        let agent = Agent::install(bed, CONFIGURATION).await;
        for pod in [GUARANTEED, BEST_EFFORT] {
            agent.put(pod, SLEEP).await;
        }
        let before = [agent.running("guaranteed").await, agent.running("besteffort").await];
        agent.node.reboot().await.unwrap();
        let after = again(&agent, &before).await;
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(after.attempt, before.attempt + 1);
        }
        agent.node.cut_power().await.unwrap();
        agent.node.boot().await.unwrap();
        // The runtime may have lost that its containers were started.
        again(&agent, &after).await;
    })
    .await;
}

/// The same pods, in containers of their own.
async fn again(agent: &Agent<'_>, before: &[Running; 2]) -> [Running; 2] {
    assert_eq!(agent.unit("ActiveState").await, "active");
    let after = [agent.running("guaranteed").await, agent.running("besteffort").await];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.uid, before.uid);
        assert!(after.id != before.id && after.attempt >= before.attempt, "{before:?} {after:?}");
    }
    let held = agent.cgroup(&slice("", &after[0].uid)).await;
    assert_eq!((&*held["cpu.max"], &*held["memory.max"]), ("30000 100000", "67108864"));
    after
}

#[tokio::test]
async fn a_machine_that_is_switched_off_waits_for_its_pods() {
    scenario(bed!("pods-shutdown"), async |bed| {
        let graceful = "shutdownGracePeriod: 30s\nshutdownGracePeriodCriticalPods: 5s\n";
        let agent = Agent::install(bed, &format!("{CONFIGURATION}{graceful}")).await;
        // systemd would send a signal too, but it knows no hooks.
        let manifest = |name: &str, priority: &str| {
            format!(
                r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, namespace: default }}
spec:
  {priority}
  terminationGracePeriodSeconds: 20
  containers:
  - name: c
    image: "nodelet.dev/busybox:1"
    command: [sh, -c, "trap 'sleep 1; echo trapped; exit 0' TERM; echo begun; while true; do sleep 1; done"]
    lifecycle: {{ preStop: {{ exec: {{ command: [sh, -c, "sleep 1; echo hooked >/proc/1/fd/1"] }} }} }}
"#
            )
        };
        let pods = [("slow", ""), ("vital", "priority: 2000001000")];
        let mut before = Vec::new();
        for (name, priority) in pods {
            let path = format!("{MANIFESTS}/{name}.yaml");
            agent.node.write(&path, "0644", manifest(name, priority).as_bytes()).await.unwrap();
            before.push(agent.running(name).await);
        }
        let inhibitors = "busctl call org.freedesktop.login1 /org/freedesktop/login1 \
                          org.freedesktop.login1.Manager ListInhibitors";
        let look = || async {
            let known = agent.node.sh(inhibitors).await.unwrap();
            let is_there = known.contains(r#""shutdown" "nodelet""#) && known.contains(r#""delay""#);
            if is_there { Look::There(()) } else { Look::NotYet(known) }
        };
        wait::until("logind to know nodelet's lock", LIMIT, look).await.unwrap();

        agent.node.reboot().await.unwrap();
        let mut times = Vec::new();
        for ((name, _), before) in pods.iter().zip(&before) {
            let log = format!("/var/log/pods/default_{name}-{}_{}/c/0.log", agent.node.name(), before.uid);
            let said = agent.node.sh(&format!("cat {log}")).await.unwrap();
            let lines = said.lines().map(|line| line.split_once(" stdout F ").unwrap());
            let (at, words): (Vec<String>, Vec<&str>) = lines.map(|(at, word)| (at.to_owned(), word)).unzip();
            assert_eq!(words, ["begun", "hooked", "trapped"], "{said}");
            times.push(at);
            assert!(agent.running(name).await.attempt > before.attempt);
        }
        // Critical pods begin to end when the others have.
        assert!(times[1][1] > times[0][2], "{times:?}");
    })
    .await;
}

#[tokio::test]
async fn pods_have_users_and_profiles_of_their_own() {
    scenario(bed!("pods-rights"), async |bed| {
        let agent = Agent::install(bed, CONFIGURATION).await;
        let node = agent.node;
        let profile =
            "profile guarded flags=(attach_disconnected) { file, capability, signal, deny /etc/passwd r, }\n";
        node.write("/etc/apparmor.d/guarded", "0644", profile.as_bytes()).await.unwrap();
        node.sh("apparmor_parser -r /etc/apparmor.d/guarded").await.unwrap();
        let mut pods = Vec::new();
        for name in ["users-one", "users-two"] {
            let script =
                "id -u; cat /proc/self/uid_map; touch /dev/termination-log && echo written; exec sleep 1000";
            pods.push((name, manifest(name, "hostUsers: false", "", script)));
        }
        let own = "securityContext: { appArmorProfile: { type: Localhost, localhostProfile: guarded } }";
        let script =
            "cat /proc/self/attr/current; cat /etc/passwd >/dev/null 2>&1 || echo denied; exec sleep 1000";
        pods.push(("guarded", manifest("guarded", "hostPID: false", own, script)));
        for (name, manifest) in &pods {
            node.write(&format!("{MANIFESTS}/{name}.yaml"), "0644", manifest.as_bytes()).await.unwrap();
        }
        let said = async |name: &str, last: &str| {
            let running = agent.running(name).await;
            let log = format!("/var/log/pods/default_{name}-{}_{}/c/0.log", node.name(), running.uid);
            let look = || async {
                let said = node.sh(&format!("cat {log}")).await.unwrap();
                let words: Vec<String> =
                    said.lines().filter_map(|line| Some(line.split_once(" F ")?.1.to_owned())).collect();
                if words.iter().any(|line| line == last) { Look::There(words) } else { Look::NotYet(said) }
            };
            (running.uid, wait::until(&format!("{name} to say {last}"), LIMIT, look).await.unwrap())
        };
        let mut firsts = Vec::new();
        for name in ["users-one", "users-two"] {
            let (uid, lines) = said(name, "written").await;
            assert_eq!(lines[0], "0", "root inside");
            let map: Vec<u32> = lines[1].split_whitespace().map(|word| word.parse().unwrap()).collect();
            assert_eq!((map[0], map[1] % 65_536, map[2]), (0, 0, 65_536), "{lines:?}");
            assert!(map[1] >= 65_536);
            let kept = node.sh(&format!("cat /var/lib/kubelet/pods/{uid}/userns")).await.unwrap();
            assert!(kept.contains(&format!("\"hostId\":{}", map[1])), "{kept}");
            firsts.push(map[1]);
        }
        assert_ne!(firsts[0], firsts[1]);
        let owners = "for p in $(pgrep -xf 'sleep 1000'); do stat -c %u /proc/$p; done | sort -n";
        let owners = node.sh(owners).await.unwrap();
        for first in &firsts {
            assert!(owners.lines().any(|uid| uid == first.to_string()), "{first} in {owners}");
        }
        let (_, lines) = said("guarded", "denied").await;
        assert_eq!(lines[0], "guarded (enforce)");

        // What a pod has had is its own after the daemon's end, and nobody else's.
        node.sh("systemctl restart nodelet.service").await.unwrap();
        let script = "cat /proc/self/uid_map; echo written; exec sleep 1000";
        let third = manifest("users-three", "hostUsers: false", "", script);
        node.write(&format!("{MANIFESTS}/users-three.yaml"), "0644", third.as_bytes()).await.unwrap();
        let (_, lines) = said("users-three", "written").await;
        let first: u32 = lines[0].split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(!firsts.contains(&first), "{first} is in {firsts:?}");
    })
    .await;
}

/// A pod of one container; `field` is one of its spec, `own` one of its container.
fn manifest(name: &str, field: &str, own: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, namespace: default }}
spec:
  terminationGracePeriodSeconds: 1
  {field}
  containers:
  - name: c
    image: "nodelet.dev/busybox:1"
    command: [sh, -c, {script}]
    {own}
"#
    )
}
