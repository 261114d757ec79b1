use super::*;
use crate::node::writer::tests::settings;

#[test]
fn a_new_node_has_its_labels_taints_and_annotation() {
    let mut settings = settings();
    settings.node_labels = vec![("tier".into(), "edge".into())];
    settings.external_cloud_provider = true;
    let node = serde_json::to_value(initial(&settings, NodeStatus::default())).unwrap();
    assert_eq!(
        node["metadata"],
        json!({
            "name": "node1",
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
            "labels": {
                "beta.kubernetes.io/arch": go_architecture(), "beta.kubernetes.io/os": "linux", "kubernetes.io/arch": go_architecture(),
                "kubernetes.io/hostname": "node1", "kubernetes.io/os": "linux", "tier": "edge",
            },
        })
    );
    assert_eq!(
        node["spec"]["taints"],
        json!([{"key": "node.cloudprovider.kubernetes.io/uninitialized", "value": "true", "effect": "NoSchedule"}])
    );
}

#[test]
fn row_32_6_an_external_cloud_is_told_the_given_address_and_no_longer_when_there_is_none() {
    let mut settings = settings();
    let annotation = |node: &Node| {
        node.metadata.annotations.as_ref().and_then(|all| all.get(PROVIDED_IP_ANNOTATION)).cloned()
    };
    settings.node_ips = vec!["192.0.2.9".parse().unwrap(), "2001:db8::2".parse().unwrap()];
    assert_eq!(annotation(&initial(&settings, NodeStatus::default())), None);
    settings.external_cloud_provider = true;
    let told = initial(&settings, NodeStatus::default());
    assert_eq!(annotation(&told).as_deref(), Some("192.0.2.9,2001:db8::2"));
    settings.node_ips = vec!["::".parse().unwrap()];
    let silent = initial(&settings, NodeStatus::default());
    assert_eq!(annotation(&silent), None);
    assert_eq!(
        correction(&silent, &told).unwrap(),
        json!({"metadata": {"annotations": {PROVIDED_IP_ANNOTATION: null}}})
    );
    assert_eq!(
        correction(&told, &silent).unwrap(),
        json!({"metadata": {"annotations": {PROVIDED_IP_ANNOTATION: "192.0.2.9,2001:db8::2"}}})
    );
}

#[test]
fn row_32_3_taints_and_provider_are_those_of_the_first_registration() {
    let mut settings = settings();
    let plain = initial(&settings, NodeStatus::default());
    let mut changed = (*settings.config).clone();
    changed.register_with_taints = vec![crate::config::NodeTaint {
        key: "a".into(),
        value: "b".into(),
        effect: "NoExecute".into(),
        time_added: None,
    }];
    changed.provider_id = "cloud://1".into();
    settings.config = std::sync::Arc::new(changed);
    let tainted = initial(&settings, NodeStatus::default());
    let spec = serde_json::to_value(&tainted.spec).unwrap();
    assert_eq!(
        spec,
        json!({"providerID": "cloud://1", "taints": [{"key": "a", "value": "b", "effect": "NoExecute"}]})
    );
    assert_eq!(correction(&tainted, &plain), None, "an object that is there keeps its own");
}

#[test]
fn of_an_existing_node_only_what_belongs_to_a_kubelet_is_put_right() {
    let mut settings = settings();
    settings.node_labels =
        vec![("tier".into(), "edge".into()), ("topology.kubernetes.io/zone".into(), "a".into())];
    let wanted = initial(&settings, NodeStatus::default());
    assert_eq!(correction(&wanted, &wanted), None);
    let mut found = wanted.clone();
    let labels = found.metadata.labels.as_mut().unwrap();
    labels.remove("tier");
    labels.insert("kubernetes.io/os".into(), "plan9".into());
    labels.insert("topology.kubernetes.io/zone".into(), "b".into());
    labels.insert("foreign".into(), "x".into());
    found.metadata.annotations = None;
    assert_eq!(
        correction(&wanted, &found).unwrap(),
        json!({"metadata": {
            "labels": {"kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "a"},
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        }})
    );
}
