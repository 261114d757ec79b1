use serde_json::json;

use super::*;

fn with(env: serde_json::Value) -> (Pod, Container) {
    let pod = serde_json::from_value(json!({
        "metadata": {"name": "twoc", "namespace": "fx", "uid": "u", "labels": {"tier": "front"}},
        "spec": {"nodeName": "node1", "containers": []},
    }))
    .expect("a pod");
    let container = serde_json::from_value(json!({"name": "one", "env": env})).expect("a container");
    (pod, container)
}

fn resolve(env: serde_json::Value) -> Vec<(String, String)> {
    let (pod, container) = with(env);
    let ips = ["10.88.0.20".to_owned(), "fd00::20".to_owned()];
    let addresses = Addresses { pod_ips: &ips, host_ips: &ips[..1] };
    variables(&pod, &container, addresses).expect("an environment")
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

/// Figures of kubelet-fixtures twoc/one.json.
#[test]
fn values_expand_what_was_defined_before_them() {
    let got = resolve(json!([
        {"name": "NAME1", "value": "plain"},
        {"name": "GREETING", "value": "hello-$(NAME1)"},
        {"name": "EARLY", "value": "$(LATER) $$(ESCAPED) $(open $5"},
        {"name": "LATER", "value": "x"},
        {"name": "EMPTY"},
    ]));
    assert_eq!(
        got,
        pairs(&[
            ("NAME1", "plain"),
            ("GREETING", "hello-plain"),
            ("EARLY", "$(LATER) $(ESCAPED) $(open $5"),
            ("LATER", "x"),
            ("EMPTY", ""),
        ])
    );
}

#[test]
fn fields_of_the_pod_are_given() {
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let got = resolve(json!([
        field("N", "metadata.name"),
        field("L", "metadata.labels['tier']"),
        field("M", "metadata.labels['none']"),
        field("NODE", "spec.nodeName"),
        field("IP", "status.podIP"),
        field("IPS", "status.podIPs"),
    ]));
    assert_eq!(
        got,
        pairs(&[
            ("N", "twoc"),
            ("L", "front"),
            ("M", ""),
            ("NODE", "node1"),
            ("IP", "10.88.0.20"),
            ("IPS", "10.88.0.20,fd00::20"),
        ])
    );
}

#[test]
fn a_field_that_is_not_known_is_named() {
    let (pod, container) =
        with(json!([{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.volumes"}}}]));
    let error = variables(&pod, &container, Addresses { pod_ips: &[], host_ips: &[] }).expect_err("refused");
    assert_eq!(error.to_string(), "env \"X\": fieldPath \"spec.volumes\" is not supported");
}

#[test]
fn a_later_variable_of_the_same_name_wins_and_keeps_the_first_place() {
    let got = resolve(
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)"}, {"name": "A", "value": "2"}]),
    );
    assert_eq!(got, pairs(&[("A", "2"), ("B", "1")]));
}
