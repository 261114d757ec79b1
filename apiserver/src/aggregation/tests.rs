//! A role that is made of others has the rules of those that its selectors select.

use std::sync::Arc;

use serde_json::{Value, json};

use super::aggregated;

fn role(name: &str, labels: Value, verb: &str) -> Arc<Value> {
    Arc::new(json!({ "metadata": { "name": name, "labels": labels }, "rules": [{ "verbs": [verb] }] }))
}

fn verbs(selectors: Value) -> Vec<String> {
    let whole = Arc::new(json!({
        "metadata": { "name": "whole", "labels": { "to": "whole" } },
        "aggregationRule": { "clusterRoleSelectors": selectors },
        "rules": [{ "verbs": ["own"] }],
    }));
    let roles = [
        role("a", json!({ "to": "whole" }), "get"),
        role("b", json!({ "to": "whole", "more": "x" }), "list"),
        role("c", json!({ "to": "other" }), "watch"),
        role("d", json!({ "to": "whole" }), "get"),
        whole.clone(),
    ];
    let rules = aggregated(&whole, &roles).unwrap();
    rules.iter().map(|rule| rule["verbs"][0].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_selected_rule_is_there_once_and_the_own_ones_are_replaced() {
    assert_eq!(verbs(json!([{ "matchLabels": { "to": "whole" } }])), ["get", "list"]);
    assert_eq!(
        verbs(json!([{ "matchLabels": { "to": "other" } }, { "matchLabels": { "more": "x" } }])),
        ["list", "watch"]
    );
    assert_eq!(verbs(json!([{}])), ["get", "list", "watch"]);
    let expression = |operator: &str, values: Value| {
        verbs(json!([{ "matchExpressions": [{ "key": "to", "operator": operator, "values": values }] }]))
    };
    assert_eq!(expression("In", json!(["other", "x"])), ["watch"]);
    assert_eq!(expression("NotIn", json!(["whole"])), ["watch"]);
    assert_eq!(expression("Exists", json!([])), ["get", "list", "watch"]);
    assert!(expression("DoesNotExist", json!([])).is_empty() && expression("Odd", json!([])).is_empty());
    assert_eq!(aggregated(&json!({ "rules": [] }), &[]), None);
}
