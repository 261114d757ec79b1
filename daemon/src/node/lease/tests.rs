use http::Method;
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::kubeconfig::fake;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

#[tokio::test(start_paused = true)]
async fn the_lease_is_made_renewed_each_quarter_and_found_again_after_a_conflict() {
    let (client, mut api) = fake::api();
    let (node, seen) = watch::channel(None);
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(run(client, "node1".into(), 40, Duration::from_secs(10), seen, stopped));

    let call = api.next().await;
    call.is(&Method::GET, &format!("{PATH}/node1"));
    call.fail(404, "NotFound");
    let call = api.next().await;
    call.is(&Method::POST, PATH);
    assert_eq!(
        (&call.body["spec"]["holderIdentity"], &call.body["spec"]["leaseDurationSeconds"]),
        (&json!("node1"), &json!(40))
    );
    let micros = call.body["spec"]["renewTime"].as_str().unwrap();
    assert!(micros.ends_with('Z') && micros.len() == "2026-11-23T00:00:00.000000Z".len(), "{micros}");
    assert_eq!(call.body["metadata"].get("ownerReferences"), None);
    let mut made = call.body.clone();
    made["metadata"]["resourceVersion"] = json!("5");
    call.ok(&made);

    node.send_replace(Some(Arc::new(NodeView {
        name: "node1".into(),
        uid: "u".into(),
        ..NodeView::default()
    })));
    let began = Instant::now();
    let call = api.next().await;
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(10) && waited < Duration::from_millis(10_500), "{waited:?}");
    call.is(&Method::PUT, &format!("{PATH}/node1"));
    assert_eq!(call.body["metadata"]["resourceVersion"], "5");
    assert_eq!(
        call.body["metadata"]["ownerReferences"],
        json!([{"apiVersion": "v1", "kind": "Node", "name": "node1", "uid": "u"}])
    );
    call.fail(409, "Conflict");
    let call = api.next().await;
    call.is(&Method::GET, &format!("{PATH}/node1"));
    call.ok(&made);
    api.next().await.is(&Method::PUT, &format!("{PATH}/node1"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_is_given_up_and_asked_again() {
    let (client, mut api) = fake::api();
    let (_node, seen) = watch::channel(None);
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(run(client, "node1".into(), 40, Duration::from_secs(10), seen, stopped));
    let hanging = api.next().await;
    let began = Instant::now();
    let call = api.next().await;
    assert!(began.elapsed() >= Duration::from_secs(10));
    call.is(&Method::GET, &format!("{PATH}/node1"));
    drop(hanging);
}
