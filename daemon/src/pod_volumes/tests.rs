use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::kubeconfig::Seats;
use crate::kubeconfig::fake::{FakeApi, api};
use crate::metrics::Metrics;
use crate::objects::Registration;
use crate::runtime::Variables;

struct Node {
    root: tempfile::TempDir,
    volumes: PodVolumes,
    api: FakeApi,
    _facts: watch::Sender<Arc<Facts>>,
}

fn node() -> Node {
    let root = tempfile::tempdir().expect("a directory");
    let (client, api) = api();
    let dirs = Arc::new(PodDirs::new(root.path()).expect("made"));
    let (facts_in, facts) = watch::channel(Arc::new(Facts::default()));
    let volumes = PodVolumes::new(
        dirs,
        Objects::new(Some(Seats::new({
            let client = client.clone();
            move |_| client.clone()
        }))),
        Some(client),
        facts,
        Metrics::new().unwrap().work(),
    );
    Node { root, volumes, api, _facts: facts_in }
}

fn pod(volumes: Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "team", "uid": "u", "labels": {"a": "b"}},
        "spec": {"serviceAccountName": "builder", "containers": [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "v"}]}], "volumes": volumes},
    });
    Arc::new(serde_json::from_value(pod).expect("a pod"))
}

impl Node {
    /// With the answer of the list that the registration's first object asks for; the watch stays open.
    async fn register(&mut self, pod: &Pod, items: Value) -> (Registration, crate::kubeconfig::fake::Watch) {
        let registration = self.volumes.objects().register(pod).expect("it refers to one");
        self.api.next().await.list("10", items);
        let watch = self.api.next().await.watch();
        (registration, watch)
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.root.path().join("pods/u/volumes").join(path)).ok()
    }
}

fn map(version: &str, value: &str) -> Value {
    json!({"metadata": {"name": "m", "namespace": "team", "uid": "m", "resourceVersion": version}, "data": {"key": value}})
}

#[tokio::test]
async fn a_config_map_is_written_mounted_read_only_and_written_anew() {
    let mut node = node();
    let pod =
        pod(json!([{"name": "v", "configMap": {"name": "m"}}, {"name": "i", "image": {"reference": "x"}}]));
    let (mut registration, watch) = node.register(&pod, json!([map("9", "one")])).await;
    assert_eq!(node.volumes.mount(&pod).await, Ok(None));
    assert_eq!(node.read("kubernetes.io~configmap/v/key").as_deref(), Some("one"));
    let container = &pod.spec.as_ref().expect("a spec").containers[0];
    let mounts = node.volumes.mounts(&pod, container, &Variables::new(), false).await.expect("mounted");
    assert_eq!(mounts.len(), 1);
    assert!(
        mounts[&0].readonly && mounts[&0].host_path.ends_with("pods/u/volumes/kubernetes.io~configmap/v")
    );
    assert_eq!(mounts[&0].container_path, "/v");
    registration.changed().await;
    watch.send("MODIFIED", map("11", "two")).await;
    registration.changed().await;
    assert_eq!(node.volumes.mount(&pod).await, Ok(None));
    assert_eq!(node.read("kubernetes.io~configmap/v/key").as_deref(), Some("two"));
    node.volumes.unmount("u").await.expect("torn down");
    assert_eq!(node.read("kubernetes.io~configmap/v/key"), None);
    let gone =
        node.volumes.mounts(&pod, container, &Variables::new(), false).await.expect_err("nothing is there");
    assert_eq!(gone, "cannot find volume \"v\" to mount into container \"c\"");
}

#[tokio::test]
async fn each_volume_that_fails_has_its_line_and_the_others_are_made() {
    let mut node = node();
    let pod = pod(json!([
        {"name": "v", "configMap": {"name": "m"}},
        {"name": "w", "configMap": {"name": "m", "items": [{"key": "none", "path": "x"}]}},
        {"name": "x", "hostPath": {"path": "/nowhere/at/all", "type": "Directory"}},
        {"name": "y", "emptyDir": {"medium": "Paper"}},
        {"name": "z", "csi": {"driver": "d"}},
    ]));
    let _kept = node.register(&pod, json!([map("9", "one")])).await;
    let error = node.volumes.mount(&pod).await.expect_err("three are wrong");
    assert_eq!(error.kind, FailureKind::Refused);
    let failed = |name: &str, why: &str| format!("MountVolume.SetUp failed for volume \"{name}\" : {why}");
    let mut lines: Vec<&str> = error.message.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            failed("w", "configmap references non-existent config key: none"),
            failed("x", "hostPath type check failed: /nowhere/at/all is not a directory"),
            failed("y", "unknown storage medium \"Paper\""),
            failed("z", "not supported by this version of nodelet"),
        ]
    );
    assert_eq!(node.read("kubernetes.io~configmap/v/key").as_deref(), Some("one"));
}

#[tokio::test]
async fn what_is_missing_and_optional_is_an_empty_directory_and_else_an_error() {
    let mut node = node();
    let of = |optional: bool| pod(json!([{"name": "v", "configMap": {"name": "m", "optional": optional}}]));
    let _kept = node.register(&of(true), json!([])).await;
    assert_eq!(node.volumes.mount(&of(true)).await, Ok(None));
    let dir = node.root.path().join("pods/u/volumes/kubernetes.io~configmap/v");
    assert!(dir.join("..data").is_dir());
    let error = node.volumes.mount(&of(false)).await.expect_err("missing");
    assert_eq!(error.message, "MountVolume.SetUp failed for volume \"v\" : configmap \"m\" not found");
}

#[tokio::test]
async fn files_stay_while_the_api_server_cannot_be_asked() {
    let mut node = node();
    let pod = pod(json!([{"name": "v", "configMap": {"name": "m"}}]));
    let (registration, watch) = node.register(&pod, json!([map("9", "one")])).await;
    assert_eq!(node.volumes.mount(&pod).await, Ok(None));
    // As a new daemon finds it, under an API server that breaks each connection.
    drop((registration, watch));
    let registration = node.volumes.objects().register(&pod);
    let away = async {
        loop {
            drop(node.api.next().await);
        }
    };
    let mounted =
        tokio::select! { mounted = node.volumes.mount(&pod) => mounted, () = away => unreachable!() };
    assert_eq!(mounted, Ok(None));
    assert_eq!(node.read("kubernetes.io~configmap/v/key").as_deref(), Some("one"));
    node.volumes.unmount("u").await.expect("torn down");
    let away = async {
        loop {
            drop(node.api.next().await);
        }
    };
    let mounted =
        tokio::select! { mounted = node.volumes.mount(&pod) => mounted, () = away => unreachable!() };
    let error = mounted.expect_err("there is nothing to stay");
    assert!(
        error.kind == FailureKind::Unavailable && error.message.contains("failed to sync configmap cache"),
        "{error:?}"
    );
    drop(registration);
}

#[tokio::test]
async fn row_20_11_a_token_is_asked_for_once_bound_to_the_pod_and_told_when_it_grows_old() {
    let mut node = node();
    let source =
        json!({"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 7200}});
    let projected: k8s_openapi::api::core::v1::ProjectedVolumeSource =
        serde_json::from_value(json!({"sources": [source, {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}]}))
            .expect("a source");
    let pod = pod(json!([]));
    let server = async {
        let call = node.api.next().await;
        call.is(&Method::POST, "/api/v1/namespaces/team/serviceaccounts/builder/token");
        assert_eq!(
            call.body["spec"],
            json!({"audiences": ["vault"], "expirationSeconds": 7200,
                   "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}})
        );
        let expires = Timestamp::now() + SignedDuration::from_secs(7200);
        call.ok(&json!({"spec": {"expirationSeconds": 7200}, "status": {"token": "t0ken", "expirationTimestamp": expires.to_string()}}));
    };
    let (made, ()) = tokio::join!(node.volumes.0.projected(&pod, &projected), server);
    let (payload, refresh_after) = made.expect("made");
    let files: Vec<(&str, &[u8])> =
        payload.files().map(|(path, file)| (path, file.bytes.as_slice())).collect();
    assert_eq!(files, [("l", b"a=\"b\"".as_slice()), ("token", b"t0ken")]);
    // At four fifths of its life, less a jitter of up to ten seconds.
    let after = refresh_after.expect("it grows old").as_secs();
    assert!((5749..=5760).contains(&after), "{after}");
    let (again, _) = node.volumes.0.projected(&pod, &projected).await.expect("kept");
    assert_eq!(again, payload);
    assert!(node.api.is_idle(), "it was asked for once");
}
