//! Other resources for what runs, read back from the kernel.

use harness::bed;
use harness::images::BUSYBOX;
use harness::vm::scenario;
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::agent::{Agent, LIMIT, MIB, Running, row, scope, slice, use_runc};

async fn resize(agent: &Agent<'_>, pod: &str, spec: Value) {
    let patch = json!({ "spec": spec });
    let patch = Patch::Strategic(&patch);
    agent.pods().patch_subresource("resize", pod, &PatchParams::default(), &patch).await.unwrap();
}

/// Waits until a pod has no resize, or one that is told so.
async fn until(agent: &Agent<'_>, pod: &str, what: &str, holds: impl Fn(&[String]) -> bool) -> Pod {
    let look = || async {
        let pod = agent.pods().get(pod).await.unwrap();
        let conditions = pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        let resizes = conditions.into_iter().filter(|c| c.type_.starts_with("PodResize"));
        let told: Vec<String> = resizes
            .map(|c| {
                format!("{} {} {}", c.type_, c.reason.unwrap_or_default(), c.message.unwrap_or_default())
            })
            .collect();
        if holds(&told) { Look::There(pod) } else { Look::NotYet(format!("{told:?}")) }
    };
    wait::until(what, LIMIT, look).await.unwrap()
}

/// A container whose memory may be swapped gets no other memory while it runs.
pub(crate) async fn is_infeasible(agent: &Agent<'_>, pod: &str, container: &str) {
    let resources = json!({ "requests": { "memory": "80Mi" }, "limits": { "memory": "128Mi" } });
    resize(agent, pod, json!({ "containers": [{ "name": container, "resources": resources }] })).await;
    let refused = "PodResizePending Infeasible In-place resize of containers with swap is not supported.";
    until(agent, pod, "the resize to be refused", |told| told.iter().any(|told| told == refused)).await;
}

fn amounts(requests: [&str; 2], limits: [&str; 2]) -> Value {
    let list = |[cpu, memory]: [&str; 2]| json!({ "cpu": cpu, "memory": memory });
    json!({ "requests": list(requests), "limits": list(limits) })
}

fn container(name: &str, resources: Value, script: &str) -> Value {
    json!({ "name": name, "image": BUSYBOX, "command": ["sh", "-c", script], "resources": resources })
}

/// `cpu.weight` of the pod, and `cpu.max` and `memory.max` of the pod and of containers.
fn rows(pod: &str, weight: &str, values: &[(&str, u64, u64)]) -> Vec<(String, &'static str, String)> {
    let mut rows = vec![row(pod, "cpu.weight", weight)];
    for (path, quota, mib) in values {
        rows.push(row(path, "cpu.max", format!("{quota} 100000")));
        rows.push(row(path, "memory.max", mib * MIB));
    }
    rows
}

#[tokio::test]
async fn a_resize_reaches_containers_and_pod_in_order_and_never_goes_below_what_is_in_use() {
    scenario(bed!("cgroups-resize"), async |bed| {
        use_runc(bed.node(1), true).await;
        let agent = Agent::install_with_api(bed).await;
        agent.start("").await;
        up_and_down(&agent).await;
        below_what_is_in_use(&agent).await;
        the_pod_as_a_whole(&agent).await;
    })
    .await;
}

const SLEEP: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";

async fn up_and_down(agent: &Agent<'_>) {
    let first = amounts(["100m", "32Mi"], ["200m", "64Mi"]);
    let containers = [container("a", first.clone(), SLEEP), container("b", first, SLEEP)];
    agent.create("both", json!({ "containers": containers })).await;
    let (a, b) = (agent.running("both", "a").await, agent.running("both", "b").await);
    let pod = slice("burstable", &a.uid);
    let (in_a, in_b) = (scope("burstable", &a), scope("burstable", &b));
    let tier = "/kubepods.slice/kubepods-burstable.slice";
    let begun = rows(&pod, "8", &[(&pod, 40_000, 128), (&in_a, 20_000, 64), (&in_b, 20_000, 64)]);
    agent.holds("what it begins with", &begun).await;

    let more = amounts(["300m", "64Mi"], ["400m", "96Mi"]);
    resize(agent, "both", json!({ "containers": [{ "name": "a", "resources": more }] })).await;
    let mut wanted = rows(&pod, "16", &[(&pod, 60_000, 160), (&in_a, 40_000, 96), (&in_b, 20_000, 64)]);
    wanted.extend([row(&in_a, "cpu.weight", "12|40"), row(tier, "cpu.weight", "16")]);
    agent.holds("more", &wanted).await;
    until(agent, "both", "the resize to be over", <[String]>::is_empty).await;

    let less = amounts(["50m", "16Mi"], ["100m", "32Mi"]);
    resize(agent, "both", json!({ "containers": [{ "name": "a", "resources": less }] })).await;
    let mut wanted = rows(&pod, "6", &[(&pod, 30_000, 96), (&in_a, 10_000, 32), (&in_b, 20_000, 64)]);
    wanted.extend([row(&in_a, "cpu.weight", "2|10"), row(tier, "cpu.weight", "6")]);
    agent.holds("less", &wanted).await;
    let over = until(agent, "both", "the resize to be over", <[String]>::is_empty).await;
    let statuses = over.status.unwrap().container_statuses.unwrap();
    assert!(statuses.iter().all(|status| status.restart_count == 0), "{statuses:?}");
    assert_eq!((agent.running("both", "a").await, agent.running("both", "b").await), (a, b));

    // Memory before processor time; the pod before its containers where it grows, and after them where it shrinks.
    let story = agent.explain("both").await;
    let order: Vec<(bool, bool)> = story
        .lines()
        .filter(|line| line.contains("other Memory") || line.contains("other Cpu"))
        .map(|line| (line.contains("Memory"), line.contains("give the pod")))
        .collect();
    let wanted = [(true, true), (true, false), (false, true), (false, false)];
    let then = [(true, false), (true, true), (false, false), (false, true)];
    assert_eq!(order, [wanted, then].concat(), "{story}");

    agent.node.sh("systemctl daemon-reload").await.unwrap();
    let pod_alone = rows(&pod, "6", &[(&pod, 30_000, 96)]);
    assert_eq!(agent.differences(&pod_alone).await, [""; 0], "systemd knows it too");
}

async fn below_what_is_in_use(agent: &Agent<'_>) {
    let fill = format!("dd if=/dev/zero of=/dev/shm/full bs=1M count=40; {SLEEP}");
    let resources = amounts(["50m", "64Mi"], ["100m", "96Mi"]);
    agent.create("full", json!({ "containers": [container("c", resources, &fill)] })).await;
    let full = agent.running("full", "c").await;
    let (pod, own) = (slice("burstable", &full.uid), scope("burstable", &full));
    let look = || async {
        let used: u64 = agent.held(&[row(&own, "memory.current", "")]).await[0].parse().unwrap();
        if used > 40 * MIB { Look::There(()) } else { Look::NotYet(used.to_string()) }
    };
    wait::until("40 MiB to be in use", LIMIT, look).await.unwrap();
    let memory = |mib: u64| [row(&pod, "memory.max", mib * MIB), row(&own, "memory.max", mib * MIB)];
    agent.holds("96 MiB", &memory(96)).await;

    let less = amounts(["50m", "16Mi"], ["100m", "32Mi"]);
    resize(agent, "full", json!({ "containers": [{ "name": "c", "resources": less }] })).await;
    let refusal = "attempting to set container \"c\" memory limit (33554432) below current usage";
    let is_refused = |told: &[String]| {
        told.iter().any(|t| t.starts_with("PodResizeInProgress Error") && t.contains(refusal))
    };
    until(agent, "full", "the resize to be refused", is_refused).await;
    // The container was to be first, so that nothing has changed.
    assert_eq!(agent.differences(&memory(96)).await, [""; 0]);
    assert_eq!(agent.running("full", "c").await, full);

    // What fits is taken without waiting for the next try.
    let fits = amounts(["50m", "16Mi"], ["100m", "72Mi"]);
    resize(agent, "full", json!({ "containers": [{ "name": "c", "resources": fits }] })).await;
    agent.holds("72 MiB", &memory(72)).await;
    until(agent, "full", "the resize to be over", <[String]>::is_empty).await;
    assert_eq!(agent.running("full", "c").await, full);
    let events = agent.node.sh(&format!("cat /sys/fs/cgroup{own}/memory.events")).await.unwrap();
    assert!(events.contains("oom_kill 0\n"), "{events}");
}

async fn the_pod_as_a_whole(agent: &Agent<'_>) {
    let first = amounts(["200m", "64Mi"], ["300m", "96Mi"]);
    let own = amounts(["50m", "16Mi"], ["100m", "32Mi"]);
    let containers = [container("free", json!({}), SLEEP), container("own", own, SLEEP)];
    agent.create("whole", json!({ "resources": first, "containers": containers })).await;
    let free: Running = agent.running("whole", "free").await;
    let limited = agent.running("whole", "own").await;
    let pod = slice("burstable", &free.uid);
    let (in_free, in_own) = (scope("burstable", &free), scope("burstable", &limited));
    let begun = rows(&pod, "8", &[(&pod, 30_000, 96), (&in_free, 30_000, 96), (&in_own, 10_000, 32)]);
    agent.holds("what the pod begins with", &begun).await;
    for (requests, limits, weight, quota, mib) in [
        (["400m", "96Mi"], ["600m", "160Mi"], "16", 60_000, 160),
        (["100m", "48Mi"], ["200m", "64Mi"], "4", 20_000, 64),
    ] {
        resize(agent, "whole", json!({ "resources": amounts(requests, limits) })).await;
        // A container without a limit of its own follows the pod's.
        let wanted = rows(&pod, weight, &[(&pod, quota, mib), (&in_free, quota, mib), (&in_own, 10_000, 32)]);
        agent.holds("the pod's new limits", &wanted).await;
        until(agent, "whole", "the resize to be over", <[String]>::is_empty).await;
    }
    assert_eq!((agent.running("whole", "free").await, agent.running("whole", "own").await), (free, limited));
}
