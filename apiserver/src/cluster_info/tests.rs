//! The config map is signed with the tokens that there are.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{jws, kubeconfig, resign};

fn tokens(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(id, secret)| ((*id).to_owned(), (*secret).to_owned())).collect()
}

#[test]
fn signatures_follow_the_tokens_and_the_content() {
    let mut map = json!({ "kubeconfig": "content", "jws-kubeconfig-gone00": "old", "other": "stays" });
    let data = map.as_object_mut().unwrap();
    let both = tokens(&[("abcdef", "0123456789abcdef"), ("ghijkl", "0123456789abcdef")]);
    assert!(resign(data, &both));
    assert!(!resign(data, &both), "nothing is left to do");
    let keys: Vec<&str> = data.keys().map(String::as_str).collect();
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert!(data.contains_key("other") && !data.contains_key("jws-kubeconfig-gone00"));
    assert!(jws::verify(
        "abcdef",
        "0123456789abcdef",
        "content",
        data["jws-kubeconfig-abcdef"].as_str().unwrap()
    ));
    data.insert("kubeconfig".to_owned(), "changed".into());
    assert!(resign(data, &both), "a changed content is signed anew");
    data.remove("kubeconfig");
    assert!(resign(data, &both));
    assert_eq!(Value::Object(data.clone()), json!({ "other": "stays" }), "without content nothing is signed");
}

#[test]
fn the_kubeconfig_is_read_by_clients() {
    let text = kubeconfig("https://[fd00::1]:6443", "-----BEGIN CERTIFICATE-----\n");
    let read: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(read["kind"], "Config");
    assert_eq!(read["clusters"][0]["cluster"]["server"], "https://[fd00::1]:6443");
    let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    assert_eq!(
        config.clusters[0].cluster.as_ref().unwrap().server.as_deref(),
        Some("https://[fd00::1]:6443")
    );
}
