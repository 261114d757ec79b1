//! What a node gives back by itself: images that nobody uses, dead containers, logs and directories of pods that are gone.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::images::{self, Archive, BUSYBOX};
use harness::wait::{self, Look};
use pause::image::Image;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(120);
const UNUSED: usize = 12;

fn name(n: usize) -> String {
    format!("nodelet.dev/small-{n:02}:1")
}

/// An image with one small file.
fn small(n: usize) -> Archive {
    images::keep(&Image::new(&name(n)).file("etc/number", 0o644, n.to_string().into_bytes())).unwrap()
}

fn pod(name: &str, policy: &str, image: &str, script: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  restartPolicy: {policy}
  terminationGracePeriodSeconds: 1
  containers:
  - {{ name: c, image: "{image}", imagePullPolicy: Never, command: [sh, -c, "{script}"] }}
"#
    )
}

/// How many containers the runtime has of each pod.
async fn containers(cluster: &Cluster) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for container in cluster.node(0).cri().list_containers(HashMap::new()).await.unwrap() {
        *counts.entry(container.labels["io.kubernetes.pod.name"].clone()).or_default() += 1;
    }
    counts
}

async fn succeeded(cluster: &Cluster, pod: &str) {
    let phase = |pod: &k8s_openapi::api::core::v1::Pod| {
        pod.status.as_ref().and_then(|s| s.phase.clone()).is_some_and(|phase| phase == "Succeeded")
    };
    cluster.wait_for_pod(pod, "to have succeeded", LIMIT, phase).await.unwrap();
}

/// Has the daemon of the node begin anew, with a disk of which a hundredth may be in use: it never is less full, so all goes that may.
async fn collect(cluster: &Cluster) {
    let node = cluster.node(0);
    node.stop().await.unwrap();
    let path = node.dir().join("kubelet.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["imageGCHighThresholdPercent"] = json!(1);
    config["imageGCLowThresholdPercent"] = json!(0);
    std::fs::write(&path, config.to_string()).unwrap();
    node.start().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_images_dead_containers_and_dangling_links_go_and_what_is_used_stays() {
    let options = ClusterOptions::for_test("garbage")
        .unwrap()
        .flag("--maximum-dead-containers-per-container", Path::new("0"))
        .flag("--maximum-dead-containers", Path::new("0"));
    scenario(options, async |cluster| {
        let node = cluster.node(0);
        let used = "nodelet.dev/garbage-used:1";
        let mut archives: Vec<Archive> = (0..UNUSED).map(small).collect();
        archives.push(images::variant(cluster.tools(), used).await.unwrap());
        node.runtime().import(cluster.tools(), &archives).await.unwrap();
        let dangling = node.dir().join("containers").join(format!("gone_default_c-{}.log", "0".repeat(64)));
        std::os::unix::fs::symlink(node.dir().join("pods/gone/c/0.log"), &dangling).unwrap();
        let manifests = [
            pod("runs", "Always", BUSYBOX, "exec sleep 1000"),
            // It is over, and what it has run is kept only as long as nobody wants the room.
            pod("done", "Never", BUSYBOX, "exit 0"),
            pod("crashes", "Always", used, "sleep 0.2; exit 1"),
        ];
        cluster.apply(&manifests.concat()).await.unwrap();
        cluster.wait_ready("runs", LIMIT).await.unwrap();
        succeeded(cluster, "done").await;
        let look = || async {
            let count = containers(cluster).await.get("crashes").copied().unwrap_or(0);
            if count > 0 { Look::There(()) } else { Look::NotYet(format!("{count} containers")) }
        };
        wait::until("the first run of the pod that crashes", LIMIT, look).await.unwrap();
        collect(cluster).await;

        let look = || async {
            let images = node.cri().list_images().await.unwrap();
            let tags: Vec<String> = images.into_iter().flat_map(|image| image.repo_tags).collect();
            let left = tags.iter().filter(|tag| tag.contains("/small-")).count();
            if left == 0 { Look::There(tags) } else { Look::NotYet(format!("{tags:?}")) }
        };
        let left = wait::until("the unused images to be gone", LIMIT, look).await.unwrap();
        for kept in [BUSYBOX, used, pause::image().name()] {
            assert!(left.iter().any(|tag| tag == kept), "{kept} is not among {left:?}");
        }
        // It is told why there is not more room.
        let query = "jsonpath={range .items[*]}{.reason} {.message}{'\\n'}{end}";
        let look = || async {
            let events = cluster.kubectl_ok(&["get", "events", "-A", "-o", query]).await.unwrap();
            let told = events.lines().find(|line| line.starts_with("FreeDiskSpaceFailed")).map(str::to_owned);
            told.map_or_else(|| Look::NotYet(events.clone()), Look::There)
        };
        let told = wait::until("the event", LIMIT, look).await.unwrap();
        assert!(told.contains("Insufficient free disk space on the node's image filesystem"), "{told}");
        assert!(told.contains(" in use ("), "{told}");
        let path = format!("/api/v1/nodes/{}/proxy/metrics", node.name());
        let metrics = cluster.kubectl_ok(&["get", "--raw", &path]).await.unwrap();
        let counted = format!("kubelet_image_garbage_collected_total{{reason=\"space\"}} {UNUSED}");
        assert!(metrics.contains(&counted), "{metrics}");

        // No dead container stays but the newest of a pod that goes on.
        let look = || async {
            let counts = containers(cluster).await;
            let seen = ["done", "runs", "crashes"].map(|pod| counts.get(pod).copied().unwrap_or(0));
            if seen == [0, 1, 1] { Look::There(()) } else { Look::NotYet(format!("{counts:?}")) }
        };
        wait::until("the dead containers to be gone", LIMIT, look).await.unwrap();
        succeeded(cluster, "done").await;
        let look = || async {
            let is_gone = std::fs::symlink_metadata(&dangling).is_err();
            if is_gone { Look::There(()) } else { Look::NotYet("it is there".to_owned()) }
        };
        wait::until("the link to be gone", LIMIT, look).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_of_a_pod_that_has_no_container_yet_stays() {
    scenario(ClusterOptions::for_test("garbage-start").unwrap(), async |cluster| {
        // The pod waits for a config map: nothing but its spec needs the image.
        let waits = r#"
---
apiVersion: v1
kind: Pod
metadata: { name: waits }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: "nodelet.dev/busybox:1"
    imagePullPolicy: Never
    command: [sleep, "1000"]
    envFrom: [{ configMapRef: { name: late } }]
"#;
        cluster.apply(waits).await.unwrap();
        collect(cluster).await;
        let look = || async {
            let log = std::fs::read_to_string(cluster.node(0).nodelet().log()).unwrap();
            let told = log.contains("image garbage collection failed");
            if told { Look::There(()) } else { Look::NotYet("no round has been".to_owned()) }
        };
        wait::until("a round over the images", LIMIT, look).await.unwrap();
        let late = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}}"#;
        cluster.apply(late).await.unwrap();
        cluster.wait_ready("waits", LIMIT).await.unwrap();
    })
    .await;
}
