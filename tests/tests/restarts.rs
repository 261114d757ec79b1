//! Everything that can die does, while pods run: nothing is restarted, doubled, leaked or lost.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;

const LIMIT: Duration = Duration::from_secs(120);
const PODS: usize = 60;

fn sleepers(range: std::ops::Range<usize>) -> String {
    let mut manifests = String::new();
    for i in range {
        write!(
            manifests,
            r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: p{i}, labels: {{ app: sleeper }} }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{ name: c, image: "nodelet.dev/busybox:1", command: [sleep, "100000"] }}
"#
        )
        .unwrap();
    }
    manifests
}

/// Waits until all of them are ready; their containers' ids, by pod.
async fn ready(cluster: &Cluster, count: usize) -> BTreeMap<String, String> {
    let pods: Api<Pod> = Api::default_namespaced(cluster.client().clone());
    let params = ListParams::default().labels("app=sleeper");
    let look = || async {
        let Ok(list) = pods.list(&params).await else { return Look::NotYet("no answer".to_owned()) };
        let mut ids = BTreeMap::new();
        for pod in list.items {
            let statuses = pod.status.and_then(|s| s.container_statuses).unwrap_or_default();
            if let Some(id) = statuses.first().filter(|s| s.ready).and_then(|s| s.container_id.clone()) {
                assert_eq!(statuses[0].restart_count, 0, "{:?} was restarted", pod.metadata.name);
                ids.insert(pod.metadata.name.unwrap(), id);
            }
        }
        if ids.len() == count { Look::There(ids) } else { Look::NotYet(format!("{} ready", ids.len())) }
    };
    wait::until(&format!("{count} pods to be ready"), LIMIT, look).await.unwrap()
}

/// What the runtime has is what the API shows: a sandbox and a container for each pod, and nothing else.
async fn nothing_else_runs(cluster: &Cluster, ids: &BTreeMap<String, String>) {
    let cri = cluster.node(0).cri();
    let containers = cri.list_containers([].into()).await.unwrap();
    let mut running: Vec<String> =
        containers.iter().filter(|c| c.state == 1).map(|c| format!("containerd://{}", c.id)).collect();
    running.sort_unstable();
    let mut shown: Vec<String> = ids.values().cloned().collect();
    shown.sort_unstable();
    assert_eq!(running, shown);
    let sandboxes = cri.list_pod_sandboxes([].into()).await.unwrap();
    assert_eq!(sandboxes.iter().filter(|s| s.state == 0).count(), ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_while_pods_start_restarts_and_doubles_nothing() {
    scenario(ClusterOptions::for_test("restarts-daemon").unwrap(), async |cluster| {
        cluster.apply(&sleepers(0..PODS)).await.unwrap();
        // Killed at different moments of the starts; the waits make the moments, nothing is expected of them.
        for pause in [300, 900, 1700] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            cluster.node(0).kill().await.unwrap();
        }
        let ids = ready(cluster, PODS).await;
        nothing_else_runs(cluster, &ids).await;

        // SIGTERM leaves all running, and a new start takes them over as they are.
        cluster.node(0).stop().await.unwrap();
        nothing_else_runs(cluster, &ids).await;
        cluster.node(0).start().await.unwrap();
        cluster.apply(&sleepers(PODS..PODS + 1)).await.unwrap();
        let mut after = ready(cluster, PODS + 1).await;
        after.remove(&format!("p{PODS}"));
        assert_eq!(after, ids, "containers were replaced by a restart of the daemon");

        cluster.kubectl_ok(&["delete", "pods", "--all", "--wait=false"]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
        cluster.node(0).kill().await.unwrap();
        let look = || async {
            let left = cluster.node(0).cri().list_pod_sandboxes([].into()).await.unwrap().len();
            let shown = cluster.kubectl_ok(&["get", "pods", "-o", "name"]).await.unwrap().lines().count();
            if left + shown == 0 {
                Look::There(())
            } else {
                Look::NotYet(format!("{left} sandboxes, {shown} pods"))
            }
        };
        wait::until("all pods to be gone", LIMIT, look).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_is_killed_and_comes_back_costs_nothing_but_time() {
    scenario(ClusterOptions::for_test("restarts-runtime").unwrap(), async |cluster| {
        cluster.apply(&sleepers(0..5)).await.unwrap();
        let ids = ready(cluster, 5).await;
        cluster.node(0).containerd().crash().await.unwrap();
        cluster.apply(&sleepers(5..8)).await.unwrap();
        let mut after = ready(cluster, 8).await;
        nothing_else_runs(cluster, &after).await;
        for name in ["p5", "p6", "p7"] {
            after.remove(name);
        }
        assert_eq!(after, ids);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_killed_and_comes_back_has_lost_nothing() {
    scenario(ClusterOptions::for_test("restarts-apiserver").unwrap(), async |cluster| {
        cluster.apply(&sleepers(0..5)).await.unwrap();
        let ids = ready(cluster, 5).await;
        cluster.apiserver().crash().await.unwrap();
        let after = ready(cluster, 5).await;
        assert_eq!(after, ids);
        // Daemon and scheduler have found it again.
        cluster.apply(&sleepers(5..7)).await.unwrap();
        let after = ready(cluster, 7).await;
        nothing_else_runs(cluster, &after).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_a_runtime_says_so_and_goes_on_when_there_is_one() {
    scenario(ClusterOptions::for_test("restarts-no-runtime").unwrap(), async |cluster| {
        let node = cluster.node(0);
        node.stop().await.unwrap();
        node.containerd().stop(Duration::from_secs(10)).await.unwrap();
        node.start().await.unwrap();
        let nodes: Api<Node> = Api::all(cluster.client().clone());
        let ready = async |wanted: &str| {
            let look = || async {
                let Ok(node) = nodes.get(node.name()).await else {
                    return Look::NotYet("no answer".to_owned());
                };
                let conditions = node.status.and_then(|s| s.conditions).unwrap_or_default();
                match conditions.into_iter().find(|c| c.type_ == "Ready") {
                    Some(c) if c.status == wanted => Look::There(c.message.unwrap_or_default()),
                    other => Look::NotYet(format!("{other:?}")),
                }
            };
            wait::until(&format!("the node to be Ready={wanted}"), LIMIT, look).await.unwrap()
        };
        let why = ready("False").await;
        assert!(why.contains("runtime"), "{why}");
        cluster.apply(&sleepers(0..1)).await.unwrap();
        node.containerd().resume().await.unwrap();
        ready("True").await;
        let ids = self::ready(cluster, 1).await;
        nothing_else_runs(cluster, &ids).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reboot_without_an_api_server_the_pods_come_up_again() {
    scenario(ClusterOptions::for_test("restarts-reboot").unwrap(), async |cluster| {
        cluster.apply(&sleepers(0..3)).await.unwrap();
        ready(cluster, 3).await;
        let node = cluster.node(0);
        node.stop().await.unwrap();
        cluster.apiserver().stop(Duration::from_secs(10)).await.unwrap();
        // What a reboot leaves: nothing runs.
        node.runtime().remove_pods().await.unwrap();
        node.start().await.unwrap();
        let running = || async {
            let containers = node.cri().list_containers([].into()).await.unwrap_or_default();
            let running = containers.iter().filter(|c| c.state == 1).count();
            if running == 3 { Look::There(()) } else { Look::NotYet(format!("{running} run")) }
        };
        wait::until("three containers to run", LIMIT, running).await.unwrap();
        cluster.apiserver().resume().await.unwrap();
        let pods: Api<Pod> = Api::default_namespaced(cluster.client().clone());
        let told = || async {
            let Ok(list) = pods.list(&ListParams::default()).await else {
                return Look::NotYet("no answer".to_owned());
            };
            let restarted = |pod: &&Pod| {
                let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
                statuses.is_some_and(|s| s[0].ready && s[0].restart_count == 1)
            };
            let count = list.items.iter().filter(restarted).count();
            if count == 3 {
                Look::There(())
            } else {
                Look::NotYet(format!("{count} are ready, restarted once"))
            }
        };
        wait::until("the API server to know of it", LIMIT, told).await.unwrap();
    })
    .await;
}
