//! Images that a real containerd pulls from a registry that asks for passwords, is slow, breaks off or is away.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::images::{self, BUSYBOX};
use harness::registry::{Effect, Registry};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);
const HOST: &str = "registry.nodelet.test";

/// A registry with these repositories, each with an image of its own under tag 1, from which the cluster's node pulls.
async fn registry(cluster: &Cluster, repositories: &[&str]) -> Registry {
    let registry = Registry::start().await.unwrap();
    for repository in repositories {
        let archive = images::variant(cluster.tools(), &format!("{HOST}/{repository}:1")).await.unwrap();
        registry.add(&format!("{repository}:1"), &archive).unwrap();
    }
    cluster.node(0).runtime().mirror(HOST, registry.address()).unwrap();
    registry
}

/// A pod that sleeps, of `repository:1`, with what else its spec says.
fn pod(name: &str, repository: &str, policy: &str, spec: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  terminationGracePeriodSeconds: 1
  {spec}
  containers:
  - {{ name: c, image: "{HOST}/{repository}:1", imagePullPolicy: {policy}, command: [sleep, "1000"] }}
"#
    )
}

fn secret(name: &str, user: &str, password: &str) -> String {
    let document = json!({"auths": {HOST: {"username": user, "password": password}}});
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": document.to_string()},
    });
    format!("\n---\n{secret}\n")
}

fn waits_for(pod: &Pod, reason: &str) -> bool {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    let state: Option<ContainerState> = statuses.first().and_then(|s| s.state.clone());
    state.and_then(|s| s.waiting).is_some_and(|w| w.reason.as_deref() == Some(reason))
}

async fn wait_for_reason(cluster: &Cluster, pod: &str, reason: &str) {
    cluster.wait_for_pod(pod, reason, LIMIT, |pod| waits_for(pod, reason)).await.unwrap();
}

/// The events of a pod, once one of them says `text`.
async fn told(cluster: &Cluster, pod: &str, text: &str) -> String {
    let look = || async {
        let shown = cluster.kubectl_ok(&["events", &format!("--for=pod/{pod}")]).await.unwrap();
        if shown.contains(text) { Look::There(shown) } else { Look::NotYet(shown) }
    };
    wait::until(&format!("an event of pod {pod} that says {text:?}"), LIMIT, look).await.unwrap()
}

/// A pod that sees the files of `repository:1` below /data, once it has shown one of them.
fn volume_pod(name: &str, repository: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {{ name: data, image: {{ reference: "{HOST}/{repository}:1", pullPolicy: IfNotPresent }} }}
  containers:
  - name: c
    image: {BUSYBOX}
    command: [sh, -c, "cat /data/etc/variant; touch /data/x || echo read-only; exec sleep 1000"]
    volumeMounts: [{{ name: data, mountPath: /data }}]
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_a_volume_that_cannot_be_written() {
    scenario(ClusterOptions::for_test("images-volume").unwrap(), async |cluster| {
        let registry = registry(cluster, &["open/files"]).await;
        let manifests = [volume_pod("volume", "open/files"), volume_pod("absent", "open/absent")];
        cluster.apply(&manifests.concat()).await.unwrap();
        cluster.wait_ready("volume", LIMIT).await.unwrap();
        let look = || async {
            let log = cluster.kubectl_ok(&["logs", "volume"]).await.unwrap();
            if log.contains("read-only\n") { Look::There(log) } else { Look::NotYet(log) }
        };
        let log = wait::until("the pod to have looked at the volume", LIMIT, look).await.unwrap();
        assert!(log.contains(&format!("{HOST}/open/files:1\n")), "{log}");
        assert!(!registry.seen("/open/files/blobs/").is_empty());
        wait_for_reason(cluster, "absent", "ImagePullBackOff").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_pulled_as_the_policy_says_side_by_side_and_again_after_failures() {
    let options =
        ClusterOptions::for_test("images-pull").unwrap().kubelet("serializeImagePulls", json!(false));
    scenario(options, async |cluster| {
        let registry = registry(
            cluster,
            &["open/one", "open/two", "open/three", "open/resumed", "open/cut", "open/error", "open/late"],
        )
        .await;
        registry.rule("/open/one/manifests/", Some(1), Effect::Delay(Duration::from_secs(2)));
        registry.rule("/open/two/manifests/", Some(1), Effect::Delay(Duration::from_secs(2)));
        registry.rule("/open/error/", None, Effect::Status(500));
        let manifests = [
            pod("one", "open/one", "IfNotPresent", ""),
            pod("two", "open/two", "IfNotPresent", ""),
            pod("absent", "open/absent", "IfNotPresent", ""),
            pod("never", "open/three", "Never", ""),
        ];
        cluster.apply(&manifests.concat()).await.unwrap();
        for name in ["one", "two"] {
            cluster.wait_ready(name, LIMIT).await.unwrap();
        }
        let together = registry.seen("/manifests/").iter().any(|seen| seen.others > 0);
        assert!(together, "one pull waited for the other: {:?}", registry.seen("/manifests/"));
        let events = told(cluster, "one", "Successfully pulled image").await;
        assert!(events.contains(&format!("Pulling image \"{HOST}/open/one:1\"")), "{events}");
        wait_for_reason(cluster, "never", "ErrImageNeverPull").await;
        assert!(registry.seen("/open/three/").is_empty(), "Never means never");
        wait_for_reason(cluster, "absent", "ImagePullBackOff").await;
        let events = told(cluster, "absent", "Failed to pull image").await;
        assert!(events.contains("not found"), "{events}");

        // Present is enough for one policy; the other asks the registry each time.
        let asked = registry.seen("/open/one/").len();
        cluster.apply(&pod("again", "open/one", "IfNotPresent", "")).await.unwrap();
        cluster.wait_ready("again", LIMIT).await.unwrap();
        assert_eq!(registry.seen("/open/one/").len(), asked);
        let events = told(cluster, "again", "already present on machine").await;
        assert!(!events.contains("Pulling"), "{events}");
        cluster.apply(&pod("always", "open/one", "Always", "")).await.unwrap();
        cluster.wait_ready("always", LIMIT).await.unwrap();
        assert!(registry.seen("/open/one/").len() > asked);

        // A registry that breaks off and goes on is asked for the rest; the pull succeeds.
        registry.rule("/open/resumed/blobs/", Some(1), Effect::Cut(1000));
        cluster.apply(&pod("resumed", "open/resumed", "IfNotPresent", "")).await.unwrap();
        cluster.wait_ready("resumed", LIMIT).await.unwrap();

        // A registry that breaks off, answers with errors, and is away: the pods come up when it is well again.
        registry.rule("/open/cut/blobs/", None, Effect::Cut(0));
        cluster
            .apply(
                &[pod("cut", "open/cut", "IfNotPresent", ""), pod("error", "open/error", "IfNotPresent", "")]
                    .concat(),
            )
            .await
            .unwrap();
        for name in ["cut", "error"] {
            told(cluster, name, "Failed to pull image").await;
        }
        assert!(!registry.seen("/open/cut/blobs/").is_empty());
        registry.behave();
        registry.down().await;
        cluster.apply(&pod("late", "open/late", "IfNotPresent", "")).await.unwrap();
        wait_for_reason(cluster, "late", "ImagePullBackOff").await;
        let events = told(cluster, "late", "Failed to pull image").await;
        assert!(events.contains("connection refused"), "{events}");
        registry.up().await.unwrap();
        for name in ["cut", "error", "late"] {
            cluster.wait_ready(name, LIMIT).await.unwrap();
        }
    })
    .await;
}

/// A credential provider plugin for `private/plugin`, and its configuration.
fn plugin() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let response = json!({
        "kind": "CredentialProviderResponse",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "cacheKeyType": "Image",
        "auth": {HOST: {"username": "user", "password": "right"}},
    });
    let program = dir.path().join("plugin");
    std::fs::write(&program, format!("#!/bin/sh\ncat <<END\n{response}\nEND\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = json!({
        "kind": "CredentialProviderConfig",
        "apiVersion": "kubelet.config.k8s.io/v1",
        "providers": [{
            "name": "plugin",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "matchImages": ["*.nodelet.test/private/plugin"],
            "defaultCacheDuration": "1m",
        }],
    });
    std::fs::write(dir.path().join("config.yaml"), config.to_string()).unwrap();
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_behind_a_password_is_for_pods_with_the_secret_alone() {
    let plugin = plugin();
    let options = ClusterOptions::for_test("images-secrets")
        .unwrap()
        .flag("--image-credential-provider-config", &plugin.path().join("config.yaml"))
        .flag("--image-credential-provider-bin-dir", plugin.path());
    scenario(options, async |cluster| {
        let registry = registry(cluster, &["private/app", "private/node", "private/plugin"]).await;
        registry.protect("private/", "user", "right");
        let named = |secret: &str| format!("imagePullSecrets: [{{ name: {secret} }}]");
        let manifests = [
            secret("good", "user", "right"),
            secret("bad", "user", "wrong"),
            pod("good", "private/app", "IfNotPresent", &named("good")),
            pod("bad", "private/app", "IfNotPresent", &named("bad")),
            pod("both", "private/app", "IfNotPresent", "imagePullSecrets: [{ name: bad }, { name: good }]"),
            pod("absent", "private/app", "IfNotPresent", &named("absent")),
            pod("plugin", "private/plugin", "IfNotPresent", ""),
        ];
        cluster.apply(&manifests.concat()).await.unwrap();
        for name in ["good", "both", "plugin"] {
            cluster.wait_ready(name, LIMIT).await.unwrap();
        }
        for (name, why) in [("bad", "401 Unauthorized"), ("absent", "no basic auth credentials")] {
            wait_for_reason(cluster, name, "ImagePullBackOff").await;
            let events = told(cluster, name, "Failed to pull image").await;
            assert!(events.contains(why), "{events}");
        }
        let missing = "Unable to retrieve some image pull secrets (absent); attempting to pull the image may not succeed.";
        let events = told(cluster, "absent", missing).await;
        assert!(events.contains("FailedToRetrieveImagePullSecret"), "{events}");

        // It is on the node now, and no business of others; also for a daemon that starts anew.
        cluster.node(0).kill().await.unwrap();
        let manifests = [
            secret("copy", "user", "right"),
            pod("without", "private/app", "IfNotPresent", ""),
            pod("never-without", "private/app", "Never", ""),
            pod("never-with", "private/app", "Never", &named("good")),
            pod("never-copy", "private/app", "Never", &named("copy")),
        ];
        cluster.apply(&manifests.concat()).await.unwrap();
        for name in ["never-with", "never-copy"] {
            cluster.wait_ready(name, LIMIT).await.unwrap();
        }
        wait_for_reason(cluster, "never-without", "ErrImageNeverPull").await;
        let events = told(cluster, "never-without", "is not present with pull policy of Never").await;
        assert!(!events.contains("already present"), "{events}");
        wait_for_reason(cluster, "without", "ImagePullBackOff").await;

        // A secret that is put right and credentials that the node gets count at the next attempt.
        let config = json!({"auths": {format!("{HOST}/private/node"): {"username": "user", "password": "right"}}});
        std::fs::write(cluster.node(0).dir().join("root/config.json"), config.to_string()).unwrap();
        let manifests = [secret("bad", "user", "right"), pod("node", "private/node", "IfNotPresent", "")];
        cluster.apply(&manifests.concat()).await.unwrap();
        for name in ["bad", "node"] {
            cluster.wait_ready(name, LIMIT).await.unwrap();
        }
        // What the node's own credentials brought is for all of its pods.
        cluster.apply(&pod("node-never", "private/node", "Never", "")).await.unwrap();
        cluster.wait_ready("node-never", LIMIT).await.unwrap();

        let log = std::fs::read_to_string(cluster.node(0).dir().join("nodelet.log")).unwrap();
        for password in ["right", "wrong"] {
            assert!(!log.contains(&format!("\"{password}\"")), "a password is in the log");
        }
    })
    .await;
}
