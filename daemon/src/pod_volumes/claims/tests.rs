use http::Method;
use serde_json::json;

use super::*;
use crate::kubeconfig::fake::{FakeApi, api};

fn node() -> Facts {
    let labels = [("kubernetes.io/hostname".to_owned(), "n1".to_owned())].into();
    Facts { name: "n1".to_owned(), labels, ..Facts::default() }
}

fn claim() -> Value {
    json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "c", "uid": "cu"},
           "spec": {"volumeName": "pv", "volumeMode": "Filesystem"}, "status": {"phase": "Bound"}})
}

fn volume() -> Value {
    let term =
        json!({"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}]});
    json!({"kind": "PersistentVolume", "metadata": {"name": "pv"},
           "spec": {"claimRef": {"uid": "cu"}, "capacity": {"storage": "1Gi"}, "local": {"path": "/disk"},
                    "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}})
}

async fn serve(api: &mut FakeApi, claim: &Value, volume: &Value) {
    let call = api.next().await;
    call.is(&Method::GET, "/api/v1/namespaces/team/persistentvolumeclaims/c");
    call.ok(claim);
    let call = api.next().await;
    call.is(&Method::GET, "/api/v1/persistentvolumes/pv");
    call.ok(volume);
}

async fn bound(claim: Value, volume: Value) -> Result<Bound, String> {
    let (client, mut api) = api();
    let claims = Claims::new(Some(client));
    let node = node();
    tokio::select! {
        biased;
        bound = claims.bound("team", "c", &node) => bound.map_err(|error| error.to_string()),
        () = async { serve(&mut api, &claim, &volume).await; std::future::pending().await } => unreachable!(),
    }
}

#[tokio::test]
async fn row_20_21_a_claim_that_is_bound_gives_its_volume() {
    let found = bound(claim(), volume()).await.expect("bound");
    assert_eq!(found, Bound { volume: "pv".to_owned(), lies: Lies::Local { path: "/disk".to_owned() } });
    let mut host = volume();
    host["spec"]["local"] = Value::Null;
    host["spec"]["hostPath"] = json!({"path": "/x", "type": "Directory"});
    host["spec"]["nodeAffinity"] = Value::Null;
    let found = bound(claim(), host).await.expect("bound");
    assert_eq!(found.lies, Lies::HostPath { path: "/x".to_owned(), kind: "Directory".to_owned() });
}

#[tokio::test]
async fn row_20_21_what_is_wrong_is_told_in_a_kubelets_words() {
    let with = |mut object: Value, path: &str, value: Value| {
        *object.pointer_mut(path).expect("there") = value;
        object
    };
    let mut leaving = claim();
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let elsewhere = "/spec/nodeAffinity/required/nodeSelectorTerms/0/matchExpressions/0/values";
    let mut nfs = with(volume(), "/spec/local", Value::Null);
    nfs["spec"]["nfs"] = json!({"server": "s", "path": "/"});
    for (claim, volume, told) in [
        (leaving, volume(), "PVC is being deleted"),
        (with(claim(), "/status/phase", json!("Pending")), volume(), "PVC is not bound"),
        (with(claim(), "/spec/volumeName", json!("")), volume(), "PVC has empty pvc.Spec.VolumeName"),
        (
            with(claim(), "/spec/volumeMode", json!("Block")),
            volume(),
            "block volumes are not supported by this version of nodelet",
        ),
        (
            claim(),
            with(volume(), "/spec/claimRef", Value::Null),
            "found PV object \"pv\" but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to a claim",
        ),
        (
            claim(),
            with(volume(), "/spec/claimRef/uid", json!("other")),
            "found PV object \"pv\" but its pv.Spec.ClaimRef.UID \"other\" does not point to claim.UID \"cu\"",
        ),
        (claim(), with(volume(), elsewhere, json!(["n2"])), "PV pv may not be used on this node"),
        (claim(), nfs, "PV pv is of a kind that is not supported by this version of nodelet: nfs"),
    ] {
        assert_eq!(bound(claim, volume).await.expect_err(told), told);
    }
}

#[tokio::test]
async fn a_claim_that_is_missing_is_told_as_the_api_server_says_it() {
    let (client, mut api) = api();
    let claims = Claims::new(Some(client));
    let server = async { api.next().await.fail(404, "persistentvolumeclaims \"c\" not found") };
    let node = node();
    let (found, ()) = tokio::join!(claims.bound("team", "c", &node), server);
    let error = found.expect_err("missing").to_string();
    assert_eq!(error, "failed to fetch PVC from API server: persistentvolumeclaims \"c\" not found");
    assert!(Claims::new(None).bound("team", "c", &node).await.is_err());
    assert_eq!(escaped("a/../b?x"), "a%2F..%2Fb%3Fx");
}
