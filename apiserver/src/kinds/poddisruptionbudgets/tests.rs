use serde_json::{Value, json};

use super::PODDISRUPTIONBUDGETS;
use crate::kinds::Part;

fn complaints(spec: Value) -> Vec<String> {
    let budget = json!({ "metadata": { "name": "b", "namespace": "default" }, "spec": spec });
    PODDISRUPTIONBUDGETS.validate_create(&budget).iter().map(ToString::to_string).collect()
}

#[test]
fn a_budget_has_one_bound_a_number_or_a_percentage() {
    for spec in [
        json!({}),
        json!({ "minAvailable": 0 }),
        json!({ "maxUnavailable": "100%", "selector": {} }),
        json!({ "minAvailable": 2, "unhealthyPodEvictionPolicy": "AlwaysAllow" }),
    ] {
        assert_eq!(complaints(spec.clone()), Vec::<String>::new(), "{spec}");
    }
    let percent = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
    for (spec, complaint) in [
        (
            json!({ "minAvailable": 1, "maxUnavailable": 1 }),
            "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set".to_owned(),
        ),
        (
            json!({ "minAvailable": -1 }),
            "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0".to_owned(),
        ),
        (
            json!({ "maxUnavailable": "1.5%" }),
            format!("spec.maxUnavailable: Invalid value: \"1.5%\": {percent}"),
        ),
        (json!({ "minAvailable": "%" }), format!("spec.minAvailable: Invalid value: \"%\": {percent}")),
        (
            json!({ "minAvailable": "101%" }),
            "spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%".to_owned(),
        ),
        (
            json!({ "unhealthyPodEvictionPolicy": "Never" }),
            "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"".to_owned(),
        ),
        (
            json!({ "selector": { "matchExpressions": [{ "key": "a", "operator": "In" }] } }),
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'".to_owned(),
        ),
    ] {
        assert_eq!(complaints(spec), [complaint]);
    }
}

#[test]
fn a_status_counts_no_fewer_than_none() {
    let budget = |allowed: i64| json!({ "metadata": { "name": "b", "namespace": "default" }, "status": { "disruptionsAllowed": allowed } });
    let errors = PODDISRUPTIONBUDGETS.validate_update(&budget(-1), &budget(0), Part::Status);
    assert_eq!(
        errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0"]
    );
    assert!(PODDISRUPTIONBUDGETS.validate_update(&budget(1), &budget(0), Part::Status).is_empty());
}
