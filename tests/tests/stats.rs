//! What a node says is in use, on this machine's containerd: without a unified hierarchy figures are the runtime's. `vm_stats` has the other case.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::node_port::NodePort;
use harness::prometheus::queries::{Needs, QUERIES};
use harness::prometheus::{Prometheus, Target};
use harness::wait::{self, Look};
use http::Method;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: busy, labels: { app: stats } }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: nodelet.dev/busybox:1
    command: [sh, -c, "dd if=/dev/zero of=/scratch/f bs=1k count=2048; dd if=/dev/zero of=/layer bs=1k count=1024; while true; do :; done"]
    readinessProbe: { exec: { command: ["true"] }, periodSeconds: 1 }
    resources: { limits: { cpu: 300m, memory: 64Mi } }
    volumeMounts: [{ name: scratch, mountPath: /scratch }]
  volumes: [{ name: scratch, emptyDir: {} }]
---
apiVersion: v1
kind: Pod
metadata: { name: idle, labels: { app: other } }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - { name: c, image: "nodelet.dev/busybox:1", command: [sleep, "100000"] }
"#;

async fn page(cluster: &Cluster, path: &str) -> String {
    let port = NodePort::of(cluster, cluster.node(0)).await.unwrap();
    let (status, body) = port.ask(Method::GET, path).await.unwrap();
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn summary(cluster: &Cluster, query: &str) -> Value {
    serde_json::from_str(&page(cluster, &format!("/stats/summary{query}")).await).unwrap()
}

fn pod<'a>(summary: &'a Value, name: &str) -> &'a Value {
    let found = summary["pods"].as_array().unwrap().iter().find(|pod| pod["podRef"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {summary:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_those_of_the_runtime_and_kubectl_shows_them() {
    scenario(ClusterOptions::for_test("stats").unwrap(), async |cluster| {
        cluster.apply(PODS).await.unwrap();
        for name in ["busy", "idle"] {
            cluster.wait_ready(name, LIMIT).await.unwrap();
        }
        figures(cluster).await;
        disks(cluster).await;
        little(cluster).await;
        top(cluster).await;
        pages(cluster).await;
    })
    .await;
}

/// A counter of the runtime's, asked for before and after, has what the page says between its two values.
async fn figures(cluster: &Cluster) {
    let of_runtime = async || {
        let all = cluster.node(0).cri().list_container_stats().await.unwrap().unwrap();
        let is_busy = |stats: &&cri_client::v1::ContainerStats| {
            let labels = stats.attributes.as_ref().map(|attributes| &attributes.labels);
            labels.is_some_and(|labels| labels["io.kubernetes.pod.name"] == "busy")
        };
        let container = all.iter().find(is_busy).unwrap().clone();
        let used = container.cpu.unwrap().usage_core_nano_seconds.unwrap().value;
        (used, container.memory.unwrap().working_set_bytes.unwrap().value)
    };
    let look = || async {
        let (before, memory) = of_runtime().await;
        let page = summary(cluster, "").await;
        let (after, _) = of_runtime().await;
        let container = &pod(&page, "busy")["containers"][0];
        let used = container["cpu"]["usageCoreNanoSeconds"].as_u64().unwrap();
        let shown = container["memory"]["workingSetBytes"].as_u64().unwrap();
        // What is shown may be a second old, and is from before the first answer then.
        let is_between = (before..=after).contains(&used);
        let is_near = shown.abs_diff(memory) < 4 << 20;
        if is_between && is_near {
            Look::There(page)
        } else {
            Look::NotYet(format!("{before} <= {used} <= {after}; {shown} and {memory} bytes"))
        }
    };
    let page = wait::until("the page to agree with the runtime", LIMIT, look).await.unwrap();
    let busy = pod(&page, "busy");
    assert_eq!(busy["podRef"]["namespace"], "default");
    let container = &busy["containers"][0];
    assert_eq!(container["name"], "c");
    assert!(container["startTime"].is_string(), "{container:#}");
    // Without cgroups of pods containerd knows nothing of sandboxes: what is not known is not there.
    assert_eq!((busy.get("network"), busy.get("process_stats")), (None, None), "{busy:#}");
    let node = &page["node"];
    assert_eq!(node["nodeName"], cluster.node(0).name());
    for figure in
        ["/cpu/usageCoreNanoSeconds", "/memory/workingSetBytes", "/fs/capacityBytes", "/rlimit/curproc"]
    {
        assert!(node.pointer(figure).and_then(Value::as_u64).unwrap() > 0, "{figure}: {node:#}");
    }
    // A second question has a rate: the first was long enough ago.
    let look = || async {
        let page = summary(cluster, "").await;
        let cores = pod(&page, "busy")["containers"][0]["cpu"]["usageNanoCores"].as_u64();
        if cores.is_some_and(|cores| cores > 0) {
            Look::There(())
        } else {
            Look::NotYet(format!("{cores:?}"))
        }
    };
    wait::until("a rate of processor time", LIMIT, look).await.unwrap();
}

/// Files of the volume and of the writable layer are counted, each where it belongs.
async fn disks(cluster: &Cluster) {
    let look = || async {
        let page = summary(cluster, "").await;
        let busy = pod(&page, "busy");
        let volume =
            busy["volume"].as_array().and_then(|all| all.iter().find(|volume| volume["name"] == "scratch"));
        let scratch = volume.and_then(|volume| volume["usedBytes"].as_u64()).unwrap_or(0);
        let layer = busy["containers"][0]["rootfs"]["usedBytes"].as_u64().unwrap_or(0);
        let logs = busy["containers"][0]["logs"]["usedBytes"].as_u64();
        let all = busy["ephemeral-storage"]["usedBytes"].as_u64().unwrap_or(0);
        let is_there = scratch >= 2 << 20 && layer >= 1 << 20 && logs.is_some() && all >= scratch + layer;
        if is_there { Look::There(()) } else { Look::NotYet(format!("{busy:#}")) }
    };
    // What was counted may be a minute old, and the runtime counts by itself every ten seconds.
    wait::until("the files to be counted", 2 * LIMIT, look).await.unwrap();
}

async fn little(cluster: &Cluster) {
    let page = summary(cluster, "?only_cpu_and_memory=true").await;
    let idle = pod(&page, "idle");
    assert!(
        idle["cpu"]["usageCoreNanoSeconds"].is_u64() && idle["memory"]["workingSetBytes"].is_u64(),
        "{idle:#}"
    );
    for absent in ["network", "volume", "ephemeral-storage", "process_stats"] {
        assert_eq!(idle.get(absent), None, "{absent}");
    }
    assert_eq!(page["node"].get("fs"), None);
}

/// The real client against the API server, which asks the node.
async fn top(cluster: &Cluster) {
    let look = || async {
        let pods = cluster.kubectl_ok(&["top", "pods", "--containers"]).await.unwrap();
        let busy: Vec<&str> = pods
            .lines()
            .find(|line| line.starts_with("busy "))
            .map(|l| l.split_whitespace().collect())
            .unwrap_or_default();
        let cores = busy.get(2).and_then(|cores| cores.strip_suffix('m')?.parse::<u32>().ok());
        let is_right = busy.get(1) == Some(&"c") && cores.is_some_and(|cores| (1..=400).contains(&cores));
        if is_right && pods.contains("idle") { Look::There(()) } else { Look::NotYet(pods) }
    };
    wait::until("kubectl top pods to show both pods", LIMIT, look).await.unwrap();
    let chosen = cluster.kubectl_ok(&["top", "pods", "-l", "app=stats", "--no-headers"]).await.unwrap();
    assert_eq!(chosen.lines().count(), 1, "{chosen}");
    let one = cluster.kubectl_ok(&["top", "pod", "idle", "--no-headers"]).await.unwrap();
    assert!(one.starts_with("idle "), "{one}");
    let nodes = cluster.kubectl_ok(&["top", "nodes", "--no-headers"]).await.unwrap();
    let columns: Vec<&str> = nodes.split_whitespace().collect();
    assert_eq!((columns.len(), columns[0]), (5, cluster.node(0).name()), "{nodes}");
    assert!(columns[2].ends_with('%') && columns[4].ends_with('%'), "{nodes}");
    let raw = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/idle";
    let idle: Value =
        serde_json::from_str(&cluster.kubectl_ok(&["get", "--raw", raw]).await.unwrap()).unwrap();
    assert_eq!(
        (&idle["kind"], &idle["metadata"]["labels"]),
        (&json!("PodMetrics"), &json!({"app": "other"}))
    );
    let absent = cluster.kubectl(&["top", "pod", "no-such-pod"]).await.unwrap();
    assert!(!absent.success() && absent.stderr.contains("not found"), "{absent:?}");
}

/// Pages that are read by nobody here are written in a form that a real Prometheus takes, and dashboards find what they ask for.
async fn pages(cluster: &Cluster) {
    let pki = cluster.layout().apiserver().join("pki");
    let target = Target {
        address: format!("{}:10250", cluster.node(0).ip()),
        certificate: Some((pki.join("kubelet-client.crt"), pki.join("kubelet-client.key"))),
    };
    let dir = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(dir.path(), &target).await.unwrap();
    let answered = |needs: &Needs| matches!(needs, Needs::Pod | Needs::Cluster);
    for (query, _) in QUERIES.iter().filter(|(_, needs)| answered(needs)) {
        let look = || async {
            match prometheus.query(query).await {
                Ok(samples) if !samples.is_empty() => Look::There(()),
                other => Look::NotYet(format!("{other:?}")),
            }
        };
        wait::until(&format!("an answer to {query}"), LIMIT, look).await.unwrap();
    }
    for path in ["/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes", "/metrics/slis"] {
        harness::prometheus::assert_upstreams(&prometheus.check(&page(cluster, path).await).await.unwrap());
    }
}
