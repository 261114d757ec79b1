//! The parts of pods that change while they run, with the real kubectl: ephemeral containers and resizes.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::images::BUSYBOX;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

const LIMIT: Duration = Duration::from_secs(90);

/// A pod with two containers, of which the first has requests and limits.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: web }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: BOX
    command: [sleep, "100000"]
    resources: { requests: { cpu: 50m, memory: 32Mi }, limits: { cpu: 500m, memory: 64Mi } }
  - { name: beside, image: BOX, command: [sleep, "100000"] }
"#;

async fn start(cluster: &Cluster) {
    cluster.apply(&POD.replace("BOX", BUSYBOX)).await.unwrap();
    cluster.wait_ready("web", LIMIT).await.unwrap();
}

async fn ok(cluster: &Cluster, words: &[&str]) -> String {
    match cluster.kubectl_ok(words).await {
        Ok(said) => said,
        Err(error) => panic!("kubectl {}: {error}", words.join(" ")),
    }
}

/// What kubectl says to a change that is refused.
async fn refused(cluster: &Cluster, words: &[&str]) -> String {
    let output = cluster.kubectl_with(words, "").await.unwrap();
    assert!(!output.status.success(), "kubectl {} was not refused: {}", words.join(" "), output.stdout);
    output.stderr
}

fn ephemeral<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    pod.status.as_ref()?.ephemeral_container_statuses.as_ref()?.iter().find(|s| s.name == name)
}

fn runs(pod: &Pod, name: &str) -> bool {
    ephemeral(pod, name).and_then(|s| s.state.as_ref()?.running.as_ref()).is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_debug_adds_a_container_that_runs_beside_the_others() {
    scenario(ClusterOptions::for_test("subresources-debug").unwrap(), async |cluster| {
        start(cluster).await;
        let image = format!("--image={BUSYBOX}");
        // Into the namespace of a container's processes.
        let debug = ["debug", "web", &image, "--target=c", "--container=d1", "--profile=general", "--"];
        ok(cluster, &[&debug[..], &["sh", "-c", "echo hello from $(hostname); exec sleep 100000"]].concat())
            .await;
        let pod = cluster
            .wait_for_pod("web", "its ephemeral container to run", LIMIT, |pod| runs(pod, "d1"))
            .await
            .unwrap();
        let spec = pod.spec.as_ref().unwrap();
        let added = &spec.ephemeral_containers.as_ref().unwrap()[0];
        assert_eq!((added.name.as_str(), added.target_container_name.as_deref()), ("d1", Some("c")));
        assert_eq!(added.termination_message_policy.as_deref(), Some("File"));
        assert_eq!(pod.metadata.generation, Some(2));
        assert_eq!(ok(cluster, &["logs", "web", "-c", "d1"]).await, "hello from web\n");
        // Another one, whose end nobody mends.
        ok(cluster, &["debug", "web", &image, "--container=d2", "--", "sh", "-c", "exit 3"]).await;
        let ended = |pod: &Pod| {
            let state = ephemeral(pod, "d2").and_then(|s| s.state.clone()?.terminated);
            state.is_some_and(|t| t.exit_code == 3) && runs(pod, "d1")
        };
        let pod =
            cluster.wait_for_pod("web", "its second ephemeral container to end", LIMIT, ended).await.unwrap();
        assert_eq!(pod.metadata.generation, Some(3));
        let regular = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap();
        assert!(regular.iter().all(|s| s.restart_count == 0), "{regular:?}");
        // A pod that has them can still be changed otherwise.
        ok(cluster, &["label", "pod", "web", "a=b"]).await;
        let said =
            refused(cluster, &["debug", "web", &image, "--target=none", "--container=d3", "--", "true"])
                .await;
        assert!(
            said.contains("spec.ephemeralContainers[2].targetContainerName: Not found: \"none\""),
            "{said}"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_resizes_a_pod_by_patch_and_edit() {
    scenario(ClusterOptions::for_test("subresources-resize").unwrap(), async |cluster| {
        start(cluster).await;
        let patch = |resources: &str| {
            format!(r#"{{"spec":{{"containers":[{{"name":"c","resources":{resources}}}]}}}}"#)
        };
        let resize = ["patch", "pod", "web", "--subresource", "resize", "-p"];
        let larger = patch(r#"{"requests":{"cpu":"100m"},"limits":{"cpu":"700m"}}"#);
        let said = ok(cluster, &[&resize[..], &[&larger]].concat()).await;
        assert_eq!(said, "pod/web patched\n");
        let wanted =
            ["get", "pod", "web", "-o", "jsonpath={.metadata.generation} {.spec.containers[0].resources}"];
        assert_eq!(
            ok(cluster, &wanted).await,
            r#"2 {"limits":{"cpu":"700m","memory":"64Mi"},"requests":{"cpu":"100m","memory":"32Mi"}}"#
        );
        let mut edit = cluster.kubectl_command();
        edit.args(["edit", "pod", "web", "--subresource", "resize"]);
        edit.env("KUBE_EDITOR", "sed -i s/700m/800m/").kill_on_drop(true);
        let edited = tokio::time::timeout(LIMIT, edit.output()).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&edited.stdout), "pod/web edited\n");
        assert_eq!(
            ok(cluster, &wanted).await,
            r#"3 {"limits":{"cpu":"800m","memory":"64Mi"},"requests":{"cpu":"100m","memory":"32Mi"}}"#
        );
        // What no node of this size can give is refused at once.
        let huge = patch(r#"{"requests":{"cpu":"100k"},"limits":{"cpu":"100k"}}"#);
        let said = refused(cluster, &[&resize[..], &[&huge]].concat()).await;
        assert!(
            said.contains(
                "Node didn't have enough allocatable resources: cpu, requested: 100000000, allocatable: "
            ),
            "{said}"
        );
        let gone = patch(r#"{"limits":{"memory":null}}"#);
        let said = refused(cluster, &[&resize[..], &[&gone]].concat()).await;
        assert!(
            said.contains(
                "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"
            ),
            "{said}"
        );
        // Not by a change of the pod itself.
        let said = refused(cluster, &["patch", "pod", "web", "-p", &larger]).await;
        assert!(said.contains("pod updates may not change fields other than"), "{said}");
        // Nothing of this starts a container again.
        let pod = cluster.wait_ready("web", LIMIT).await.unwrap();
        let statuses = pod.status.unwrap().container_statuses.unwrap();
        assert!(statuses.iter().all(|s| s.restart_count == 0), "{statuses:?}");
    })
    .await;
}
