//! A node that runs short: the right pods go, in the right order, before the kernel kills anything, and the rest stays.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "vm_cgroups/agent.rs"]
#[allow(dead_code, unused_imports, reason = "another suite's, which uses more of it")]
mod agent;

use std::io::Write as _;

use agent::{Agent, LIMIT, Running, SLEEP};
use harness::bed;
use harness::images::BUSYBOX;
use harness::vm::scenario;
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

const MIB: u64 = 1024;
const OUT: &str = "/run/eviction";

/// The settings beside those that all suites have in common.
async fn configure(agent: &Agent<'_>, settings: &str) {
    let text = format!("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{settings}");
    agent.node.write("/etc/nodelet/config.d/50-eviction.conf", "0644", text.as_bytes()).await.unwrap();
    agent.start("").await;
}

/// A pod of one container `c`; `resources` and `more` are the container's and the spec's.
fn pod(script: &str, resources: Value, more: Value) -> Value {
    let container = json!({
        "name": "c", "image": BUSYBOX, "command": ["sh", "-c", script], "resources": resources,
    });
    let mut spec = json!({ "containers": [container] });
    merge(&mut spec, more);
    spec
}

fn merge(spec: &mut Value, more: Value) {
    for (name, value) in more.as_object().cloned().unwrap_or_default() {
        match (name.as_str(), value) {
            ("volumeMounts", mounts) => spec["containers"][0]["volumeMounts"] = mounts,
            (name, value) => spec[name] = value,
        }
    }
}

/// Mounts of an emptyDir `d` with this source at /d.
fn empty_dir(source: Value) -> Value {
    json!({
        "volumes": [{ "name": "d", "emptyDir": source }],
        "volumeMounts": [{ "name": "d", "mountPath": "/d" }],
    })
}

/// Holds so many mebibytes: a pipe that nobody reads keeps what is written to it in dd's memory.
fn holds(mebibytes: u64) -> String {
    format!("dd if=/dev/zero bs={mebibytes}M count=1 2>/dev/null | sleep 100000 & {SLEEP}")
}

/// Waits until the pod's status is told as evicted, and gives it.
async fn evicted(agent: &Agent<'_>, name: &str) -> Pod {
    let look = || async {
        match agent.pods().get(name).await {
            Ok(pod) => {
                let status = pod.status.clone().unwrap_or_default();
                if status.phase.as_deref() == Some("Failed") && status.reason.as_deref() == Some("Evicted") {
                    return Look::There(pod);
                }
                Look::NotYet(format!("{:?} {:?} {:?}", status.phase, status.reason, status.message))
            }
            Err(error) => Look::NotYet(error.to_string()),
        }
    };
    wait::until(&format!("{name} to be evicted"), LIMIT, look).await.unwrap()
}

fn message(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|s| s.message.clone()).unwrap_or_default()
}

fn is_disrupted(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let is_it = |reason: Option<&str>| reason == Some("TerminationByKubelet");
    conditions
        .iter()
        .any(|c| c.type_ == "DisruptionTarget" && c.status == "True" && is_it(c.reason.as_deref()))
}

/// Waits until a condition of the node is so.
async fn condition(agent: &Agent<'_>, kind: &str, wanted: &str) {
    let look = || async {
        let status = match agent.api_node().await {
            Ok(node) => node.status.unwrap_or_default(),
            Err(error) => return Look::NotYet(error.to_string()),
        };
        let conditions = status.conditions.unwrap_or_default();
        match conditions.iter().find(|c| c.type_ == kind) {
            Some(c) if c.status == wanted => Look::There(()),
            other => Look::NotYet(format!("{other:?}")),
        }
    };
    wait::until(&format!("{kind} to be {wanted}"), LIMIT, look).await.unwrap();
}

/// Nothing but what was evicted has ended.
async fn run_on(agent: &Agent<'_>, pods: &[(&str, Running)]) {
    for (name, before) in pods {
        assert_eq!(agent.running(name, "c").await, *before, "{name}");
        let status = agent.pods().get(name).await.unwrap().status.unwrap_or_default();
        assert_eq!(status.phase.as_deref(), Some("Running"), "{name}");
        let restarts: Vec<i32> =
            status.container_statuses.unwrap_or_default().iter().map(|c| c.restart_count).collect();
        assert_eq!(restarts, [0], "{name}");
    }
    let killed = agent.number("dmesg | grep -ci 'out of memory\\|oom-kill' || true").await;
    assert_eq!(killed, 0, "the kernel has killed something");
}

/// Kibibytes that the kernel calls available, when that has settled: several readings that differ little.
async fn available(agent: &Agent<'_>) -> u64 {
    let read = "sed -n 's/^MemAvailable: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo";
    let mut last = agent.number(read).await;
    let look = || async {
        agent.node.sh("sleep 1").await.unwrap();
        Look::There(agent.number(read).await)
    };
    loop {
        let next: u64 = wait::until("memory to be read", LIMIT, look).await.unwrap();
        if next.abs_diff(last) < 4 * MIB {
            return next;
        }
        last = next;
    }
}

/// Writes the node's uptime to a file when less than so many kibibytes are available.
async fn note_crossing(agent: &Agent<'_>, kibibytes: u64) {
    let script = format!(
        "#!/bin/bash
mkdir -p {OUT}; mkfifo {OUT}/never; exec 3<>{OUT}/never
while :; do
  while read -r name value _; do [ \"$name\" = MemAvailable: ] && break; done </proc/meminfo
  if [ \"$value\" -lt {kibibytes} ]; then read -r up _ </proc/uptime; echo $up >{OUT}/crossed; exit; fi
  read -rt 0.02 -u 3
done
"
    );
    agent.node.write("/usr/local/bin/note-crossing", "0755", script.as_bytes()).await.unwrap();
    agent.node.sh("systemd-run -q --unit note-crossing /usr/local/bin/note-crossing").await.unwrap();
}

#[tokio::test]
async fn short_of_memory_the_right_pods_go_before_the_kernel_kills_any() {
    scenario(bed!("eviction-memory"), async |bed| {
        let agent = Agent::install_with_api(bed).await;
        agent.start("").await;
        let class = json!({ "metadata": { "name": "important" }, "value": 1000 });
        let class: PriorityClass = serde_json::from_value(class).unwrap();
        Api::all(agent.client()).create(&PostParams::default(), &class).await.unwrap();
        let requests = |mebibytes: u64| json!({ "requests": { "memory": format!("{mebibytes}Mi") } });
        let exact = json!({ "limits": { "cpu": "100m", "memory": "48Mi" } });
        agent.create("guaranteed", pod(SLEEP, exact, Value::Null)).await;
        agent.create("within", pod(&holds(60), requests(150), Value::Null)).await;
        agent
            .create("important", pod(&holds(60), json!({}), json!({ "priorityClassName": "important" })))
            .await;
        agent.create("modest", pod(&holds(90), requests(5), Value::Null)).await;
        let mut stay = Vec::new();
        for name in ["guaranteed", "within", "important"] {
            stay.push((name, agent.running(name, "c").await));
        }
        agent.running("modest", "c").await;
        let steady = available(&agent).await;
        // When it is crossed the hog has much more than `modest`. Without the hog there is as much as before; it takes `modest` too to
        // have 45 MiB more than that.
        let threshold = steady - 160 * MIB;
        let settings = format!(
            "evictionHard: {{ memory.available: {threshold}Ki }}\n\
             evictionMinimumReclaim: {{ memory.available: {}Ki }}\n\
             evictionPressureTransitionPeriod: 10s\n",
            205 * MIB
        );
        configure(&agent, &settings).await;
        note_crossing(&agent, threshold).await;
        let hog = "i=0; while [ $i -lt 40 ]; do dd if=/dev/zero bs=10M count=1 2>/dev/null | sleep 100000 & \
                   i=$((i+1)); sleep 0.1; done; while true; do sleep 1; done";
        agent.create("hog", pod(hog, json!({}), Value::Null)).await;
        let first = evicted(&agent, "hog").await;
        condition(&agent, "MemoryPressure", "True").await;
        agent.create("late", pod(SLEEP, json!({}), Value::Null)).await;
        let refused = evicted(&agent, "late").await;
        assert_eq!(message(&refused), "Pod was rejected: The node had condition: [MemoryPressure]. ");
        let second = evicted(&agent, "modest").await;
        for (name, pod) in [("hog", &first), ("modest", &second)] {
            let said = message(pod);
            let begins = format!(
                "The node was low on resource: memory. Threshold quantity: {threshold}Ki, available: "
            );
            assert!(said.starts_with(&begins), "{name}: {said}");
            assert!(
                said.contains("has larger consumption of memory. By memory.available, of "),
                "{name}: {said}"
            );
            assert!(said.contains(&format!("ranked: default/{name} uses ")), "{name}: {said}");
            assert!(is_disrupted(pod), "{name}");
        }
        assert!(message(&first).contains("; default/modest uses "), "the next one is named");
        let told = agent.explain("hog").await;
        assert!(told.contains("ranked: default/hog uses "), "{told}");
        condition(&agent, "MemoryPressure", "False").await;
        agent.create("after", pod(SLEEP, json!({}), Value::Null)).await;
        agent.running("after", "c").await;
        run_on(&agent, &stay).await;
        let all = agent.pods().list(&Default::default()).await.unwrap();
        let gone = all.iter().filter(|p| p.status.as_ref().is_some_and(|s| s.reason.is_some())).count();
        assert_eq!(gone, 3, "the hog, modest and the one that was refused");
        tell_times(&agent).await;
    })
    .await;
}

/// From the crossing of the threshold until it was known which pod goes, and until the runtime was told to stop it; for people.
async fn tell_times(agent: &Agent<'_>) {
    let seconds = async |script: &str| -> f64 {
        let said = agent.node.sh(script).await.unwrap();
        said.trim().parse().unwrap_or_else(|error| panic!("{script}: {said:?}: {error}"))
    };
    // The first line of this unit that says so, in seconds since the node has booted.
    let first = |unit: &str, text: &str| {
        format!(
            "journalctl --sync; journalctl -q -o short-monotonic -u {unit}.service | grep -m1 '{text}' | \
             sed 's/^\\[ *\\([0-9.]*\\)\\].*/\\1/'"
        )
    };
    let crossed = seconds(&format!("cat {OUT}/crossed")).await;
    let decided = seconds(&first("nodelet", "The node was low on resource")).await;
    let stopped = seconds(&first("containerd", "StopContainer for")).await;
    // Past the capture of the test harness: it is to be seen of a test that passes.
    let _ = writeln!(
        std::io::stderr(),
        "memory threshold crossed until the pod was chosen: {:.0} ms; until the runtime was told to stop it: {:.0} ms",
        (decided - crossed) * 1000.0,
        (stopped - crossed) * 1000.0
    );
}

#[tokio::test]
async fn short_of_disk_inodes_or_processes_the_pod_goes_that_takes_most() {
    scenario(bed!("eviction-disk"), async |bed| {
        let agent = Agent::install_with_api(bed).await;
        // The node's file system is a small one of its own; images and layers are elsewhere.
        let small = "mkdir -p /small; mount -t tmpfs -o size=64m,nr_inodes=4000 none /small; \
                     sed -i 's|^NODELET_ARGS=|&--root-dir=/small/kubelet |' /etc/default/nodelet";
        agent.node.sh(small).await.unwrap();
        let disk = "evictionHard: { memory.available: 10Mi, nodefs.available: 20Mi, nodefs.inodesFree: '1000' }\n\
                    evictionPressureTransitionPeriod: 3s\n";
        configure(&agent, disk).await;
        agent.create("calm", pod(&fills(8), json!({}), empty_dir(json!({})))).await;
        let calm = [("calm", agent.running("calm", "c").await)];
        limits(&agent).await;
        agent.create("large", pod(&fills(48), json!({}), empty_dir(json!({})))).await;
        let large = evicted(&agent, "large").await;
        let begins = "The node was low on resource: ephemeral-storage. Threshold quantity: 20Mi, available: ";
        assert!(message(&large).starts_with(begins), "{}", message(&large));
        assert!(is_disrupted(&large));
        condition(&agent, "DiskPressure", "False").await;
        let many = format!("cd /d; i=0; while [ $i -lt 3500 ]; do : >$i; i=$((i+1)); done; {SLEEP}");
        agent.create("files", pod(&many, json!({}), empty_dir(json!({})))).await;
        let files = evicted(&agent, "files").await;
        let begins = "The node was low on resource: inodes. Threshold quantity: 1k, available: ";
        assert!(message(&files).starts_with(begins), "{}", message(&files));
        condition(&agent, "DiskPressure", "False").await;
        processes(&agent).await;
        run_on(&agent, &calm).await;
    })
    .await;
}

/// Writes so many mebibytes into the emptyDir.
fn fills(mebibytes: u64) -> String {
    format!("dd if=/dev/zero of=/d/data bs=1M count={mebibytes} 2>/dev/null; {SLEEP}")
}

/// Pods that exceed limits of their own: of an emptyDir, of all containers, of one of them.
async fn limits(agent: &Agent<'_>) {
    let limit = |amount: &str| json!({ "limits": { "ephemeral-storage": amount }, "requests": { "ephemeral-storage": "1Mi" } });
    agent.create("dir", pod(&fills(8), json!({}), empty_dir(json!({ "sizeLimit": "5Mi" })))).await;
    let layer = format!("dd if=/dev/zero of=/var/data bs=1M count=16 2>/dev/null; {SLEEP}");
    agent.create("layer", pod(&layer, limit("10Mi"), Value::Null)).await;
    let log = format!("dd if=/dev/zero bs=1M count=4 2>/dev/null | tr '\\0' x; {SLEEP}");
    let mut logs = pod(&log, limit("2Mi"), Value::Null);
    let other = json!({
        "name": "other", "image": BUSYBOX, "command": ["sh", "-c", SLEEP], "resources": limit("20Mi"),
    });
    logs["containers"].as_array_mut().unwrap().push(other);
    agent.create("logs", logs).await;
    for (name, begins) in [
        ("dir", "Usage of EmptyDir volume \"d\" exceeds the limit \"5Mi\". "),
        ("layer", "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. "),
        ("logs", "Container c exceeded its local ephemeral storage limit \"2Mi\". "),
    ] {
        let pod = evicted(agent, name).await;
        assert!(message(&pod).starts_with(begins), "{name}: {}", message(&pod));
        assert!(!is_disrupted(&pod), "{name}");
    }
}

async fn processes(agent: &Agent<'_>) {
    let used = agent.number("cut -d/ -f2 /proc/loadavg | cut -d' ' -f1").await;
    let free = agent.pids().await - used;
    let settings = format!(
        "evictionHard: {{ memory.available: 10Mi, pid.available: '{}' }}\nevictionPressureTransitionPeriod: 3s\n",
        free - 200
    );
    configure(agent, &settings).await;
    let forks = format!("i=0; while [ $i -lt 350 ]; do sleep 100000 & i=$((i+1)); done; {SLEEP}");
    agent.create("forks", pod(&forks, json!({}), Value::Null)).await;
    let pod = evicted(agent, "forks").await;
    let begins = "The node was low on resource: pids. Threshold quantity: ";
    assert!(message(&pod).starts_with(begins), "{}", message(&pod));
    condition(agent, "PIDPressure", "False").await;
}
