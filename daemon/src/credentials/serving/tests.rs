use base64::Engine as _;
use k8s_openapi::api::core::v1::NodeAddress;
use serde_json::json;

use super::super::identity::tests::{certificate, usual};
use super::super::store::SERVER;
use super::*;
use crate::kubeconfig::fake::{Call, api};
use crate::node::NodeView;

fn view(ip: &str) -> Option<Arc<NodeView>> {
    let address =
        |kind: &str, address: &str| NodeAddress { type_: kind.to_owned(), address: address.to_owned() };
    let addresses = vec![address("InternalIP", ip), address("Hostname", "n1")];
    Some(Arc::new(NodeView { name: "n1".to_owned(), addresses, ..NodeView::default() }))
}

/// Signs what was posted for these names.
fn sign(call: Call, store: &Store, names: &[&str]) {
    let pem = certificate(&store.key().unwrap(), "system:node:n1", names, usual());
    let mut object = call.body.clone();
    object["status"] = json!({
        "conditions": [{ "type": "Approved", "status": "True" }],
        "certificate": base64::engine::general_purpose::STANDARD.encode(pem),
    });
    call.ok(&object);
}

#[tokio::test(start_paused = true)]
async fn a_serving_certificate_is_asked_for_once_addresses_are_known_and_again_when_they_change() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path(), SERVER);
    let (client, mut api) = api();
    let (node, receiver) = watch::channel(None);
    let (_stop, stopped) = watch::channel(false);
    let (renewed, metrics) = (Arc::new(Notify::new()), Metrics::new().unwrap());
    let (told, counted) = (Arc::clone(&renewed), metrics.clone());
    tokio::spawn(run(client, store.clone(), "n1".to_owned(), receiver, told, counted, stopped));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(api.is_idle(), "no address, no request");

    node.send_replace(view("192.0.2.1"));
    let call = api.next().await;
    assert_eq!(call.body["spec"]["signerName"], "kubernetes.io/kubelet-serving");
    sign(call, &store, &["192.0.2.1", "n1"]);
    renewed.notified().await;
    assert_eq!(store.load().unwrap().unwrap().names, ["192.0.2.1", "n1"]);

    node.send_replace(view("192.0.2.1"));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(api.is_idle(), "the same addresses are no reason");

    node.send_replace(view("192.0.2.2"));
    let call = api.next().await;
    let pending = call.body.clone();
    call.ok(&pending);
    // While nobody has approved it, the address changes again.
    node.send_replace(view("192.0.2.3"));
    loop {
        let call = api.next().await;
        if call.method == http::Method::POST {
            assert_ne!(call.body["metadata"]["name"], pending["metadata"]["name"]);
            sign(call, &store, &["192.0.2.3", "n1"]);
            break;
        }
        call.ok(&pending);
    }
    renewed.notified().await;
    assert_eq!(store.load().unwrap().unwrap().names, ["192.0.2.3", "n1"]);
    let text = metrics.text().unwrap();
    assert!(text.contains("\nkubelet_certificate_manager_server_rotation_seconds_count 1\n"), "{text}");
}
