use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::kubeconfig::fake::{self, FakeApi};
use crate::sources::{CONFIG_SOURCE, is_mirror};

fn static_pod(hash: &str) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": "web-node1", "namespace": "kube-system", "uid": hash, "annotations": {CONFIG_HASH: hash, CONFIG_SOURCE: "file"}},
        "spec": {"containers": [{"name": "web", "image": "x"}]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn in_api(hash: &str, uid: &str) -> Pod {
    let pod = json!({"metadata": {"name": "web-node1", "namespace": "kube-system", "uid": uid, "annotations": {CONFIG_MIRROR: hash}}});
    serde_json::from_value(pod).unwrap()
}

struct Setup {
    mirrors: Mirrors,
    api: FakeApi,
    node: watch::Sender<Option<Arc<NodeView>>>,
    _stop: watch::Sender<bool>,
}

fn setup() -> Setup {
    let (client, api) = fake::api();
    let (node, seen) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let mirrors = Mirrors::new();
    tokio::spawn(mirrors.clone().run(client, seen, stopped));
    Setup { mirrors, api, node, _stop: stop }
}

fn node() -> Option<Arc<NodeView>> {
    Some(Arc::new(NodeView { name: "node1".into(), uid: "node-uid".into(), ..NodeView::default() }))
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

const POD: &str = "/api/v1/namespaces/kube-system/pods/web-node1";

#[tokio::test(start_paused = true)]
async fn a_mirror_is_made_as_soon_as_the_node_exists() {
    let Setup { mirrors, mut api, node: seen, _stop } = setup();
    mirrors.listed(&[]);
    mirrors.ensure(&static_pod("h1"));
    settle().await;
    assert!(api.is_idle(), "a mirror needs its owner");
    seen.send_replace(node());
    let call = api.next().await;
    call.is(&Method::POST, "/api/v1/namespaces/kube-system/pods");
    let made: Pod = serde_json::from_value(call.body.clone()).unwrap();
    assert!(is_mirror(&made));
    assert_eq!(call.body["metadata"]["annotations"][CONFIG_MIRROR], "h1");
    assert_eq!(
        call.body["metadata"]["ownerReferences"],
        json!([{"apiVersion": "v1", "kind": "Node", "name": "node1", "uid": "node-uid", "controller": true}])
    );
    assert_eq!(call.body["metadata"].get("uid"), None);
    call.ok(&serde_json::to_value(in_api("h1", "m1")).unwrap());
    settle().await;
    assert_eq!(mirrors.uid_of("kube-system", "web-node1").as_deref(), Some("m1"));
    assert!(api.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_mirror_of_another_manifest_is_replaced() {
    let Setup { mirrors, mut api, node: seen, _stop } = setup();
    seen.send_replace(node());
    mirrors.listed(&[in_api("old", "m1")]);
    mirrors.ensure(&static_pod("h1"));
    let call = api.next().await;
    call.is(&Method::DELETE, POD);
    assert_eq!(
        (&call.body["gracePeriodSeconds"], &call.body["preconditions"]["uid"]),
        (&json!(0), &json!("m1"))
    );
    call.ok(&json!({"kind": "Status", "status": "Success", "metadata": {}}));
    let call = api.next().await;
    call.is(&Method::POST, "/api/v1/namespaces/kube-system/pods");
    call.fail(409, "AlreadyExists");
    let call = api.next().await;
    call.is(&Method::GET, POD);
    call.ok(&serde_json::to_value(in_api("h1", "m2")).unwrap());
    settle().await;
    assert_eq!(mirrors.uid_of("kube-system", "web-node1").as_deref(), Some("m2"));
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_somebody_deletes_comes_back() {
    let Setup { mirrors, mut api, node: seen, _stop } = setup();
    seen.send_replace(node());
    mirrors.ensure(&static_pod("h1"));
    mirrors.listed(&[in_api("h1", "m1")]);
    settle().await;
    assert!(api.is_idle(), "it fits");
    let mut deleting = in_api("h1", "m1");
    deleting.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::now()));
    mirrors.applied(&deleting);
    let call = api.next().await;
    call.is(&Method::DELETE, POD);
    call.fail(404, "NotFound");
    api.next().await.is(&Method::POST, "/api/v1/namespaces/kube-system/pods");
}

#[tokio::test(start_paused = true)]
async fn orphans_go_only_after_all_manifests_are_known_and_the_pod_has_ended() {
    let Setup { mirrors, mut api, node: seen, _stop } = setup();
    seen.send_replace(node());
    mirrors.listed(&[in_api("h1", "m1")]);
    settle().await;
    assert!(api.is_idle(), "the manifests are not known yet");
    mirrors.ensure(&static_pod("h1"));
    mirrors.await_sources(2);
    mirrors.source_listed();
    mirrors.source_listed();
    settle().await;
    assert!(api.is_idle());
    mirrors.forget("kube-system", "web-node1", "another");
    settle().await;
    assert!(api.is_idle(), "a newer pod has the name");
    mirrors.forget("kube-system", "web-node1", "h1");
    api.next().await.is(&Method::DELETE, POD);
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_with_pauses() {
    let Setup { mirrors, mut api, node: seen, _stop } = setup();
    seen.send_replace(node());
    mirrors.listed(&[]);
    mirrors.ensure(&static_pod("h1"));
    let began = tokio::time::Instant::now();
    for _ in 0..5 {
        api.next().await.fail(500, "InternalError");
    }
    assert!(began.elapsed() > Duration::from_millis(1_000));
    let made: Value = serde_json::to_value(in_api("h1", "m1")).unwrap();
    api.next().await.ok(&made);
}
