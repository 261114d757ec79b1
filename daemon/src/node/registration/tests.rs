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
