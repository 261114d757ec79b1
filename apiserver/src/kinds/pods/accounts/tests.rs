//! What pods get from accounts, and what mirror pods may not ask for.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::*;
use crate::kinds::Kind;

/// Three accounts; the plugin may be off.
struct Accounts {
    on: bool,
}

impl Cluster for Accounts {
    fn get(&self, kind: &Kind, _namespace: &str, name: &str) -> Option<Arc<Value>> {
        assert_eq!(kind.plural, "serviceaccounts");
        let account = match name {
            "default" => json!({}),
            "quiet" => json!({ "automountServiceAccountToken": false }),
            "puller" => json!({ "imagePullSecrets": [{ "name": "registry" }] }),
            _ => return None,
        };
        Some(Arc::new(account))
    }

    fn list(&self, _kind: &Kind) -> Vec<Arc<Value>> {
        Vec::new()
    }

    fn service_range(&self) -> (Ipv4Addr, u8) {
        ([10, 96, 0, 0].into(), 16)
    }

    fn admits(&self, plugin: &str) -> bool {
        assert_eq!(plugin, "ServiceAccount");
        self.on
    }
}

fn admitted(spec: Value) -> Result<Value, String> {
    let mut pod = json!({ "metadata": { "name": "p", "namespace": "x" }, "spec": spec });
    admit(&mut pod, &Accounts { on: true }).map_err(|e| e.to_string())?;
    Ok(pod["spec"].clone())
}

fn containers() -> Value {
    json!([{ "name": "c" }])
}

#[test]
fn a_pod_gets_the_default_account_with_token_certificate_and_namespace() {
    let spec = admitted(json!({ "containers": containers(), "initContainers": [{ "name": "i" }] })).unwrap();
    assert_eq!(
        (&spec["serviceAccountName"], &spec["serviceAccount"]),
        (&json!("default"), &json!("default"))
    );
    let volume = &spec["volumes"][0];
    let name = volume["name"].as_str().unwrap();
    assert!(name.starts_with("kube-api-access-") && name.len() == "kube-api-access-".len() + 5, "{name}");
    let mount = json!({ "name": name, "readOnly": true, "mountPath": MOUNT_PATH });
    assert_eq!(spec["containers"][0]["volumeMounts"], json!([mount]));
    assert_eq!(spec["initContainers"][0]["volumeMounts"], json!([mount]));
    let sources = &volume["projected"]["sources"];
    assert_eq!(sources[0]["serviceAccountToken"], json!({ "expirationSeconds": 3607, "path": "token" }));
    assert_eq!(sources[1]["configMap"]["name"], "kube-root-ca.crt");
    assert_eq!(sources[2]["downwardAPI"]["items"][0]["path"], "namespace");
    assert_eq!(volume["projected"]["defaultMode"], 420);
}

#[test]
fn the_token_stays_away_where_pod_or_account_say_so() {
    let without = json!({ "containers": containers(), "automountServiceAccountToken": false });
    assert_eq!(admitted(without).unwrap().get("volumes"), None);
    let quiet = |more: Value| {
        let mut spec = json!({ "containers": containers(), "serviceAccountName": "quiet" });
        spec["automountServiceAccountToken"] = more;
        admitted(spec).unwrap()
    };
    assert_eq!(quiet(Value::Null).get("volumes"), None);
    assert!(quiet(true.into())["volumes"].is_array(), "the pod has the last word");
}

#[test]
fn a_container_that_has_something_there_keeps_it() {
    let own = json!([{ "name": "v", "mountPath": MOUNT_PATH }]);
    let spec = admitted(json!({ "containers": [{ "name": "c", "volumeMounts": own }] })).unwrap();
    assert_eq!(spec["containers"][0]["volumeMounts"], own);
    assert_eq!(spec.get("volumes"), None);
    // A pod that was copied from another brings the volume along.
    let volumes = json!([{ "name": "kube-api-access-abcde", "projected": {} }]);
    let spec = admitted(json!({ "containers": containers(), "volumes": volumes })).unwrap();
    assert_eq!(spec["volumes"], volumes);
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-abcde");
}

#[test]
fn pull_secrets_are_the_accounts_unless_the_pod_has_its_own() {
    let with = |more: Value| {
        let mut spec = json!({ "containers": containers(), "serviceAccountName": "puller" });
        spec["imagePullSecrets"] = more;
        admitted(spec).unwrap()["imagePullSecrets"].clone()
    };
    assert_eq!(with(Value::Null), json!([{ "name": "registry" }]));
    assert_eq!(with(json!([{ "name": "own" }])), json!([{ "name": "own" }]));
}

#[test]
fn an_account_that_is_missing_is_told() {
    let refused =
        admitted(json!({ "containers": containers(), "serviceAccountName": "nobody" })).unwrap_err();
    assert_eq!(refused, "error looking up service account x/nobody: serviceaccount \"nobody\" not found");
    let mut pod = json!({ "spec": { "containers": containers() } });
    assert!(admit(&mut pod, &Accounts { on: false }).is_ok());
    let names =
        json!({ "containers": containers(), "serviceAccountName": "default", "serviceAccount": "default" });
    assert_eq!(pod["spec"], names, "switched off, only the name is filled in");
}

#[test]
fn a_mirror_pod_has_nothing_of_the_api() {
    let mirrored = |spec: Value| {
        let annotations = json!({ "kubernetes.io/config.mirror": "h" });
        let mut pod = json!({ "metadata": { "annotations": annotations }, "spec": spec });
        let before = pod.clone();
        let told = admit(&mut pod, &Accounts { on: true }).map_err(|e| e.to_string());
        assert_eq!(pod, before);
        told
    };
    assert_eq!(mirrored(json!({ "containers": containers() })), Ok(()));
    for (spec, why) in [
        (json!({ "serviceAccountName": "default" }), "reference service accounts"),
        (json!({ "volumes": [{ "name": "v", "secret": {} }] }), "reference secrets"),
        (json!({ "containers": [{ "envFrom": [{ "secretRef": {} }] }] }), "reference secrets"),
        (
            json!({ "volumes": [{ "projected": { "sources": [{ "serviceAccountToken": {} }] } }] }),
            "use ServiceAccountToken volume projections",
        ),
    ] {
        assert_eq!(mirrored(spec), Err(format!("a mirror pod may not {why}")));
    }
}
