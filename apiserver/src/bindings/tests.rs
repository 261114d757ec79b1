//! A pod is bound once, to the node that the binding names.

use serde_json::json;

use super::{assign, set_scheduled};
use crate::kinds::pods::PODS;

fn binding(node: &str) -> serde_json::Value {
    json!({ "metadata": { "name": "p", "annotations": { "a": "b" } }, "target": { "kind": "Node", "name": node } })
}

#[test]
fn a_binding_sets_the_node_and_a_second_one_is_refused() {
    let mut pod = json!({ "metadata": { "name": "p" }, "spec": {} });
    assign(&PODS, &mut pod, &binding("n")).unwrap();
    assert_eq!(pod["spec"]["nodeName"], "n");
    let refused = assign(&PODS, &mut pod, &binding("m")).unwrap_err();
    assert_eq!(refused.code, 409);
    assert_eq!(pod["spec"]["nodeName"], "n");
}

#[test]
fn a_bound_pod_is_scheduled() {
    let mut pod = json!({ "metadata": { "name": "p" }, "status": { "conditions": [{ "type": "PodScheduled", "status": "False" }] } });
    set_scheduled(&mut pod);
    assert_eq!(pod["status"]["conditions"][0]["status"], "True");
    assert_eq!(pod["status"]["conditions"].as_array().unwrap().len(), 1);
}
