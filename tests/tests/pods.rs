//! Pods with a real containerd: how they start, run, end and go.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

const LIMIT: Duration = Duration::from_secs(60);

fn statuses(pod: &Pod) -> &[ContainerStatus] {
    pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default()
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

fn state(pod: &Pod) -> ContainerState {
    statuses(pod).first().and_then(|s| s.state.clone()).unwrap_or_default()
}

fn waits_for(pod: &Pod, reason: &str) -> bool {
    state(pod).waiting.is_some_and(|w| w.reason.as_deref() == Some(reason))
}

/// Messages of the events about a pod, once one of them has `reason`.
async fn events(cluster: &Cluster, pod: &str, reason: &str) -> String {
    let look = || async {
        let of_pod = format!("--for=pod/{pod}");
        let shown = cluster.kubectl_ok(&["events", &of_pod]).await.unwrap();
        if shown.contains(reason) { Look::There(shown) } else { Look::NotYet(shown) }
    };
    wait::until(&format!("an event {reason} of pod {pod}"), LIMIT, look).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_run_in_the_pod_network_and_in_the_hosts() {
    let options = ClusterOptions::for_test("pods-network").unwrap();
    scenario(options, async |cluster| {
        cluster
            .apply(
                r#"
apiVersion: v1
kind: Pod
metadata: { name: pair }
spec:
  containers:
  - name: server
    image: nodelet.dev/busybox:1
    command: [sh, -c, "mkdir -p /www && echo from-the-server > /www/index.html && exec httpd -f -p 8080 -h /www"]
  - name: client
    image: nodelet.dev/busybox:1
    command: [sh, -c, "until wget -q -O - http://127.0.0.1:8080/; do sleep 0.1; done; exec sleep 1000"]
---
apiVersion: v1
kind: Pod
metadata: { name: host }
spec:
  hostNetwork: true
  containers:
  - name: c
    image: nodelet.dev/busybox:1
    command: [sleep, "1000"]
"#,
            )
            .await
            .unwrap();
        let pair = cluster.wait_ready("pair", LIMIT).await.unwrap();
        let host = cluster.wait_ready("host", LIMIT).await.unwrap();
        let ip = |pod: &Pod| pod.status.as_ref().unwrap().pod_ip.clone().unwrap();
        let node_ip = cluster.node(0).ip().to_string();
        assert_ne!(ip(&pair), node_ip);
        assert_eq!(ip(&host), node_ip);
        assert_eq!(host.status.unwrap().host_ip.unwrap(), node_ip);
        let look = || async {
            let logs = cluster.kubectl_ok(&["logs", "pair", "-c", "client"]).await.unwrap();
            if logs.contains("from-the-server") { Look::There(()) } else { Look::NotYet(logs) }
        };
        wait::until("the client to hear the server", LIMIT, look).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_restarted_as_their_policy_says_and_their_ends_are_told() {
    let options = ClusterOptions::for_test("pods-restart").unwrap();
    scenario(options, async |cluster| {
        let pod = |name: &str, policy: &str, script: &str| {
            format!(
                r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  restartPolicy: {policy}
  initContainers:
  - {{ name: first, image: "nodelet.dev/busybox:1", command: [sh, -c, "echo first"] }}
  - {{ name: second, image: "nodelet.dev/busybox:1", command: [sh, -c, "echo second"] }}
  containers:
  - {{ name: c, image: "nodelet.dev/busybox:1", command: [sh, -c, "{script}"] }}
"#
            )
        };
        let manifests = [
            pod("always", "Always", "exit 3"),
            pod("done", "Never", "exit 0"),
            pod("failed", "Never", "exit 7"),
            pod("retried", "OnFailure", "exit 1"),
            pod("messenger", "Never", "echo from-the-file > /dev/termination-log; exit 1"),
            pod("logger", "Never", "echo from-the-log; exit 1")
                .replace("name: c, image", "name: c, terminationMessagePolicy: FallbackToLogsOnError, image"),
        ];
        cluster.apply(&manifests.concat()).await.unwrap();

        let done =
            cluster.wait_for_pod("done", "Succeeded", LIMIT, |p| phase(p) == "Succeeded").await.unwrap();
        let ended = state(&done).terminated.unwrap();
        assert_eq!((ended.exit_code, ended.reason.as_deref()), (0, Some("Completed")));
        let inits = done.status.unwrap().init_container_statuses.unwrap();
        let times: Vec<_> = inits.iter().map(|s| s.state.clone().unwrap().terminated.unwrap()).collect();
        assert!(
            times[0].finished_at <= times[1].started_at,
            "the second init started before the first had ended"
        );

        let failed = cluster.wait_for_pod("failed", "Failed", LIMIT, |p| phase(p) == "Failed").await.unwrap();
        let ended = state(&failed).terminated.unwrap();
        assert_eq!((ended.exit_code, ended.reason.as_deref()), (7, Some("Error")));

        for (name, message) in [("messenger", "from-the-file\n"), ("logger", "from-the-log\n")] {
            let failed = cluster.wait_for_pod(name, "Failed", LIMIT, |p| phase(p) == "Failed").await.unwrap();
            assert_eq!(state(&failed).terminated.unwrap().message.as_deref(), Some(message), "{name}");
        }

        for name in ["always", "retried"] {
            let backs_off = |p: &Pod| waits_for(p, "CrashLoopBackOff") && statuses(p)[0].restart_count >= 1;
            let pod = cluster.wait_for_pod(name, "in back-off", LIMIT, backs_off).await.unwrap();
            assert_eq!(phase(&pod), "Running");
            let last = statuses(&pod)[0].last_state.clone().unwrap().terminated.unwrap();
            assert_eq!(last.exit_code, if name == "always" { 3 } else { 1 });
        }
        let told = events(cluster, "always", "BackOff").await;
        assert!(told.contains("Back-off restarting failed container c in pod always_default("), "{told}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_started_says_why() {
    let options = ClusterOptions::for_test("pods-refused").unwrap();
    scenario(options, async |cluster| {
        cluster
            .apply(
                r#"
apiVersion: v1
kind: Pod
metadata: { name: no-image }
spec:
  containers:
  - { name: c, image: "nodelet.invalid/absent:1" }
---
apiVersion: v1
kind: Pod
metadata: { name: never-pulled }
spec:
  containers:
  - { name: c, image: "nodelet.invalid/absent:1", imagePullPolicy: Never }
---
apiVersion: v1
kind: Pod
metadata: { name: no-program }
spec:
  containers:
  - { name: c, image: "nodelet.dev/busybox:1", command: [/absent] }
---
apiVersion: v1
kind: Pod
metadata: { name: volume }
spec:
  volumes: [{ name: v, nfs: { server: nfs.invalid, path: /v } }]
  containers:
  - { name: c, image: "nodelet.dev/busybox:1", command: [sleep, "1000"], volumeMounts: [{ name: v, mountPath: /v }] }
---
apiVersion: v1
kind: Pod
metadata: { name: too-big }
spec:
  containers:
  - { name: c, image: "nodelet.dev/busybox:1", resources: { requests: { cpu: "1000" } } }
"#,
            )
            .await
            .unwrap();
        let backs_off = |p: &Pod| waits_for(p, "ImagePullBackOff");
        cluster.wait_for_pod("no-image", "in back-off of its pull", LIMIT, backs_off).await.unwrap();
        let told = events(cluster, "no-image", "BackOff").await;
        assert!(told.contains("Failed to pull image \"nodelet.invalid/absent:1\": "), "{told}");

        let never = |p: &Pod| waits_for(p, "ErrImageNeverPull");
        cluster.wait_for_pod("never-pulled", "refused", LIMIT, never).await.unwrap();

        let failed = |p: &Pod| {
            let last = statuses(p).first().and_then(|s| s.last_state.clone()).and_then(|s| s.terminated);
            last.or(state(p).terminated).is_some_and(|t| t.exit_code == 128 && t.reason.as_deref() == Some("StartError"))
        };
        cluster.wait_for_pod("no-program", "failed at its start", LIMIT, failed).await.unwrap();
        let told = events(cluster, "no-program", "Failed").await;
        assert!(told.contains("/absent"), "{told}");

        let refused = |p: &Pod| waits_for(p, "CreateContainerConfigError");
        let volume = cluster.wait_for_pod("volume", "refused", LIMIT, refused).await.unwrap();
        let why = state(&volume).waiting.unwrap().message.unwrap();
        assert!(why.contains("spec.volumes[0].nfs"), "{why}");
        let told = events(cluster, "volume", "Failed").await;
        assert!(told.contains("spec.volumes[0]"), "{told}");

        let told = events(cluster, "too-big", "FailedScheduling").await;
        assert!(told.contains("0/1 nodes are available: 1 Insufficient cpu."), "{told}");
        let big = cluster.wait_for_pod("too-big", "Pending", LIMIT, |p| phase(p) == "Pending").await.unwrap();
        let conditions = big.status.unwrap().conditions.unwrap();
        let scheduled = conditions.iter().find(|c| c.type_ == "PodScheduled").unwrap();
        assert_eq!((scheduled.status.as_str(), scheduled.reason.as_deref()), ("False", Some("Unschedulable")));
        // A pod that never started anything is deleted all the same.
        let deleted = ["delete", "pod", "no-image", "never-pulled", "volume", "too-big", "--timeout=30s"];
        cluster.kubectl_ok(&deleted).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_pod_gets_its_grace_and_leaves_nothing_behind() {
    let options = ClusterOptions::for_test("pods-delete").unwrap();
    scenario(options, async |cluster| {
        let pod = |name: &str, script: &str| {
            format!(
                r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  terminationGracePeriodSeconds: 600
  containers:
  - {{ name: c, image: "nodelet.dev/busybox:1", command: [sh, -c, "{script}"] }}
"#
            )
        };
        let polite = pod("polite", "trap 'echo goodbye; exit 0' TERM; echo ready; sleep 1000 & wait");
        let stubborn = pod("stubborn", "trap '' TERM; echo ready; while true; do sleep 1; done");
        let forced = pod("forced", "trap '' TERM; while true; do sleep 1; done");
        cluster.apply(&[polite, stubborn, forced].concat()).await.unwrap();
        let mut follow = cluster.kubectl_command();
        for name in ["polite", "stubborn", "forced"] {
            cluster.wait_ready(name, LIMIT).await.unwrap();
        }
        let look = || async {
            let logs = cluster.kubectl_ok(&["logs", "polite"]).await.unwrap();
            if logs.contains("ready") { Look::There(()) } else { Look::NotYet(logs) }
        };
        wait::until("the trap to be set", LIMIT, look).await.unwrap();
        let followed = tokio::spawn(async move { follow.args(["logs", "-f", "polite"]).output().await });
        // The program ends by itself on SIGTERM: ten minutes of grace are not waited for.
        cluster.kubectl_ok(&["delete", "pod", "polite", "--timeout=60s"]).await.unwrap();
        let said = String::from_utf8(followed.await.unwrap().unwrap().stdout).unwrap();
        assert!(said.ends_with("goodbye\n"), "the last words were not in the log: {said:?}");

        // A second delete with less grace overtakes the first.
        cluster.kubectl_ok(&["delete", "pod", "stubborn", "--wait=false"]).await.unwrap();
        let deleting = |p: &Pod| p.metadata.deletion_timestamp.is_some();
        let pod = cluster.wait_for_pod("stubborn", "deleted with grace", LIMIT, deleting).await.unwrap();
        assert_eq!(pod.metadata.deletion_grace_period_seconds, Some(600));
        cluster
            .kubectl_ok(&["delete", "pod", "stubborn", "--grace-period=1", "--timeout=60s"])
            .await
            .unwrap();

        cluster.kubectl_ok(&["delete", "pod", "forced", "--force", "--grace-period=0"]).await.unwrap();
        let look = || async {
            let sandboxes = cluster.node(0).cri().list_pod_sandboxes([].into()).await.unwrap();
            let dirs =
                |dir: &str| std::fs::read_dir(cluster.node(0).dir().join(dir)).map_or(0, Iterator::count);
            let left = (sandboxes.len(), dirs("pods"), dirs("containers"), dirs("root/pods"));
            if left == (0, 0, 0, 0) {
                Look::There(())
            } else {
                Look::NotYet(format!("{left:?} sandboxes, logs, links, directories"))
            }
        };
        wait::until("nothing to be left of the pods", LIMIT, look).await.unwrap();
    })
    .await;
}
