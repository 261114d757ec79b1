//! Which pods a node takes, with a real containerd: pods that nobody has scheduled come to it by their node's name.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// A pod for the cluster's node that sleeps; `more` is put into its spec, `container` into its container.
fn bound(cluster: &Cluster, name: &str, more: Value, container: Value) -> Value {
    let mut only = json!({"name": "c", "image": "nodelet.dev/busybox:1", "command": ["sleep", "1000"]});
    let mut spec = json!({"nodeName": cluster.node(0).name(), "terminationGracePeriodSeconds": 1});
    for (object, more) in [(&mut only, container), (&mut spec, more)] {
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    spec["containers"] = json!([only]);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

fn asks_for(cpu: &str) -> Value {
    json!({"resources": {"requests": {"cpu": cpu}}})
}

async fn apply(cluster: &Cluster, pods: &[Value]) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
    cluster.apply(&list.to_string()).await.unwrap();
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// The pod has failed with this reason and message, its event says the same, and nothing of it was ever started.
async fn is_refused(cluster: &Cluster, name: &str, reason: &str, message: &str) {
    let failed = |p: &Pod| phase(p) == "Failed";
    let status = cluster.wait_for_pod(name, "refused", LIMIT, failed).await.unwrap().status.unwrap();
    assert_eq!(status.reason.as_deref(), Some(reason), "{name}");
    assert_eq!(status.message, Some(format!("Pod was rejected: {message}")), "{name}");
    assert!(status.container_statuses.is_none_or(|s| s.iter().all(|s| s.container_id.is_none())), "{name}");
    is_told(cluster, name, reason, message).await;
}

async fn is_told(cluster: &Cluster, name: &str, reason: &str, message: &str) {
    let look = || async {
        let shown = cluster.kubectl_ok(&["events", &format!("--for=pod/{name}")]).await.unwrap();
        let told = |line: &str| {
            line.contains("Warning") && line.contains(&format!(" {reason} ")) && line.ends_with(message)
        };
        if shown.lines().any(|line| told(line.trim_end())) { Look::There(()) } else { Look::NotYet(shown) }
    };
    wait::until(&format!("an event {reason} of pod {name}"), LIMIT, look).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_the_kubelets_words() {
    let options = ClusterOptions::for_test("admission-refused").unwrap();
    scenario(options, async |cluster| {
        let port = json!({"ports": [{"containerPort": 80, "hostPort": 18080}]});
        let mut first = port.clone();
        first["resources"] = asks_for("100m")["resources"].clone();
        apply(cluster, &[bound(cluster, "first", json!({}), first)]).await;
        cluster.wait_ready("first", LIMIT).await.unwrap();

        let sysctls = json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}});
        apply(
            cluster,
            &[
                bound(cluster, "too-big", json!({}), asks_for("100")),
                bound(cluster, "elsewhere", json!({"nodeSelector": {"disk": "none"}}), json!({})),
                bound(cluster, "same-port", json!({}), port),
                bound(cluster, "sysctl", sysctls, json!({})),
            ],
        )
        .await;
        let node = Api::<Node>::all(cluster.client().clone()).get(cluster.node(0).name()).await.unwrap();
        let cpu = node.status.unwrap().allocatable.unwrap()["cpu"].0.clone();
        let millis =
            cpu.parse::<u32>().map_or_else(|_| cpu.trim_end_matches('m').to_owned(), |n| format!("{n}000"));
        let short = format!(
            "Node didn't have enough resource: cpu, requested: 100000, used: 100, capacity: {millis}"
        );
        is_refused(cluster, "too-big", "OutOfcpu", &short).await;
        let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        is_refused(cluster, "elsewhere", "NodeAffinity", message).await;
        let message =
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        is_refused(cluster, "same-port", "NodePorts", message).await;
        let message = "forbidden sysctl: \"kernel.msgmax\" not allowlisted";
        is_refused(cluster, "sysctl", "SysctlForbidden", message).await;

        // A label counts from the moment on at which the API has it.
        let name = cluster.node(0).name();
        cluster.kubectl_ok(&["label", "node", name, "disk=fast"]).await.unwrap();
        let selective = json!({"nodeSelector": {"disk": "fast"}});
        apply(cluster, &[bound(cluster, "labelled", selective, json!({}))]).await;
        cluster.wait_ready("labelled", LIMIT).await.unwrap();

        // What has gone gives its port back.
        cluster.kubectl_ok(&["delete", "pod", "first", "same-port", "--timeout=60s"]).await.unwrap();
        let port = json!({"ports": [{"containerPort": 80, "hostPort": 18080}]});
        apply(cluster, &[bound(cluster, "same-port", json!({}), port)]).await;
        cluster.wait_ready("same-port", LIMIT).await.unwrap();

        cluster.kubectl_ok(&["taint", "node", name, "maintenance=now:NoExecute"]).await.unwrap();
        let tainted = async || {
            let view = Api::<Node>::all(cluster.client().clone()).get(name).await.unwrap();
            view.spec.and_then(|spec| spec.taints).is_some_and(|taints| !taints.is_empty())
        };
        assert!(tainted().await);
        // The node hears of it by its watch, like any other pod of this kind; the API server deletes such a pod at once, and the
        // event stays.
        let tolerations = json!({"tolerations": [{"key": "maintenance", "operator": "Exists"}]});
        let message = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
        let mut tries = 0;
        let look = || {
            tries += 1;
            let pod = format!("kept-out-{tries}");
            async move {
                apply(cluster, &[bound(cluster, &pod, json!({}), json!({}))]).await;
                cluster.wait_gone(&pod, LIMIT).await.unwrap();
                let told = cluster.kubectl_ok(&["events"]).await.unwrap();
                let refused =
                    |line: &str| line.contains(" TaintToleration ") && line.trim_end().ends_with(message);
                if told.lines().any(refused) { Look::There(()) } else { Look::NotYet(told) }
            }
        };
        wait::until("the node to know its taint", LIMIT, look).await.unwrap();
        apply(cluster, &[bound(cluster, "tolerant", tolerations, json!({}))]).await;
        cluster.wait_ready("tolerant", LIMIT).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_pod_takes_the_place_of_one_that_was_promised_nothing() {
    let options = ClusterOptions::for_test("admission-preemption").unwrap().kubelet("maxPods", json!(2));
    scenario(options, async |cluster| {
        let promised = bound(cluster, "promised", json!({}), asks_for("10m"));
        apply(cluster, &[promised, bound(cluster, "best-effort", json!({}), json!({}))]).await;
        for name in ["promised", "best-effort"] {
            cluster.wait_ready(name, LIMIT).await.unwrap();
        }
        apply(cluster, &[bound(cluster, "third", json!({}), json!({}))]).await;
        let short = "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2";
        is_refused(cluster, "third", "OutOfpods", short).await;

        let critical = json!({"priorityClassName": "system-node-critical"});
        apply(cluster, &[bound(cluster, "critical", critical, json!({}))]).await;
        cluster.wait_ready("critical", LIMIT).await.unwrap();
        let failed = |p: &Pod| phase(p) == "Failed";
        let victim = cluster.wait_for_pod("best-effort", "put out", LIMIT, failed).await.unwrap();
        let status = victim.status.unwrap();
        let message = "Preempted in order to admit critical pod";
        assert_eq!(
            (status.reason.as_deref(), status.message.as_deref()),
            (Some("Preempting"), Some(message))
        );
        let disrupted =
            status.conditions.unwrap().into_iter().find(|c| c.type_ == "DisruptionTarget").unwrap();
        assert_eq!(
            (disrupted.status.as_str(), disrupted.reason.as_deref()),
            ("True", Some("TerminationByKubelet"))
        );
        is_told(cluster, "best-effort", "Preempting", message).await;
        let promised = cluster.wait_ready("promised", LIMIT).await.unwrap();
        assert_eq!(promised.status.unwrap().container_statuses.unwrap()[0].restart_count, 0);

        // A restart of the daemon judges nobody again, and what runs still counts.
        cluster.node(0).restart().await.unwrap();
        apply(cluster, &[bound(cluster, "fourth", json!({}), json!({}))]).await;
        is_refused(cluster, "fourth", "OutOfpods", short).await;
        for name in ["promised", "critical"] {
            cluster.wait_ready(name, LIMIT).await.unwrap();
        }
    })
    .await;
}
