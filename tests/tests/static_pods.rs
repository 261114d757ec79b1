//! Pods from the manifest directory, and the mirrors that stand for them.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

const LIMIT: Duration = Duration::from_secs(60);

fn manifest(word: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: web, namespace: default }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{ name: c, image: "nodelet.dev/busybox:1", command: [sh, -c, "echo {word}; exec sleep 1000"] }}
"#
    )
}

async fn log_says(cluster: &Cluster, pod: &str, word: &str) {
    let look = || async {
        let logs = cluster.kubectl(&["logs", pod]).await.unwrap();
        if logs.stdout.contains(word) { Look::There(()) } else { Look::NotYet(logs.stdout + &logs.stderr) }
    };
    wait::until(&format!("the log of {pod} to say {word}"), LIMIT, look).await.unwrap();
}

async fn running_sandboxes(cluster: &Cluster) -> usize {
    let all = cluster.node(0).cri().list_pod_sandboxes([].into()).await.unwrap();
    all.iter().filter(|s| s.state == 0).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_a_pod_with_a_mirror_until_it_is_removed() {
    scenario(ClusterOptions::for_test("static-pods").unwrap(), async |cluster| {
        let node = cluster.node(0);
        let name = format!("web-{}", node.name());
        let path = node.manifests().join("web.yaml");
        std::fs::write(&path, manifest("one")).unwrap();
        let mirror = cluster.wait_ready(&name, LIMIT).await.unwrap();
        let annotations = mirror.metadata.annotations.clone().unwrap();
        assert_eq!(annotations["kubernetes.io/config.source"], "file");
        assert_eq!(annotations["kubernetes.io/config.mirror"], annotations["kubernetes.io/config.hash"]);
        assert_eq!(mirror.metadata.owner_references.unwrap()[0].kind, "Node");
        log_says(cluster, &name, "one").await;

        // Deleting the mirror does not touch the pod; it gets another.
        let id = mirror.status.unwrap().container_statuses.unwrap()[0].container_id.clone();
        cluster.kubectl_ok(&["delete", "pod", &name, "--wait=false"]).await.unwrap();
        let renewed = |p: &Pod| {
            let statuses = p.status.as_ref().and_then(|s| s.container_statuses.as_ref());
            p.metadata.uid != mirror.metadata.uid && statuses.is_some_and(|c| c[0].container_id == id)
        };
        cluster.wait_for_pod(&name, "a new mirror of the same container", LIMIT, renewed).await.unwrap();

        // A change replaces the pod.
        std::fs::write(&path, manifest("two")).unwrap();
        log_says(cluster, &name, "two").await;
        let look = || async {
            let running = running_sandboxes(cluster).await;
            if running == 1 { Look::There(()) } else { Look::NotYet(format!("{running} sandboxes")) }
        };
        wait::until("the old pod to be gone", LIMIT, look).await.unwrap();

        // A manifest that cannot be read is told, and the pod that it was goes on.
        std::fs::write(&path, "kind: Pod\nspec: [").unwrap();
        let look = || async {
            let log = std::fs::read_to_string(node.nodelet().log()).unwrap();
            let told = log
                .lines()
                .rfind(|line| line.contains("web.yaml") && line.contains("ERROR"))
                .map(str::to_owned);
            told.map_or(Look::NotYet("no such line".to_owned()), Look::There)
        };
        wait::until("the error to be logged with its file", LIMIT, look).await.unwrap();

        std::fs::remove_file(&path).unwrap();
        cluster.wait_gone(&name, LIMIT).await.unwrap();
        let look = || async {
            let running = running_sandboxes(cluster).await;
            if running == 0 { Look::There(()) } else { Look::NotYet(format!("{running} sandboxes")) }
        };
        wait::until("the pod to be gone", LIMIT, look).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_runs_while_the_api_server_is_away_and_is_shown_when_it_is_back() {
    scenario(ClusterOptions::for_test("static-pods-alone").unwrap(), async |cluster| {
        let node = cluster.node(0);
        cluster.apiserver().stop(Duration::from_secs(10)).await.unwrap();
        node.restart().await.unwrap();
        std::fs::write(node.manifests().join("web.yaml"), manifest("alone")).unwrap();
        let look = || async {
            let containers = node.cri().list_containers([].into()).await.unwrap();
            let running = containers.iter().filter(|c| c.state == 1).count();
            if running == 1 { Look::There(()) } else { Look::NotYet(format!("{running} running containers")) }
        };
        wait::until("the container to run", LIMIT, look).await.unwrap();
        cluster.apiserver().resume().await.unwrap();
        let name = format!("web-{}", node.name());
        let mirror = cluster.wait_ready(&name, LIMIT).await.unwrap();
        assert_eq!(mirror.status.unwrap().container_statuses.unwrap()[0].restart_count, 0);
        let pods: Api<Pod> = Api::default_namespaced(cluster.client().clone());
        assert_eq!(pods.list(&Default::default()).await.unwrap().items.len(), 1);
    })
    .await;
}
