//! Which nodes a pod may be on (behaviour.md 2.4).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether `nodeSelector` and the required node affinity both let the pod be on the node `name` with these labels.
pub fn may_be_on_node(spec: &PodSpec, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    selected && required.is_none_or(|required| node_selector_holds(required, name, labels))
}

/// Whether one of the terms selects the node `name` with these labels.
pub fn node_selector_holds(selector: &NodeSelector, name: &str, labels: &BTreeMap<String, String>) -> bool {
    selector.node_selector_terms.iter().any(|term| term_holds(term, name, labels))
}

/// All requirements of a term hold; a term without any matches nothing.
fn term_holds(term: &NodeSelectorTerm, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|r| holds(r, labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(|r| r.key == "metadata.name" && holds(r, Some(name)))
}

fn holds(requirement: &NodeSelectorRequirement, actual: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |actual: &str| values.iter().any(|v| v == actual);
    match requirement.operator.as_str() {
        "In" => actual.is_some_and(listed),
        "NotIn" => !values.is_empty() && !actual.is_some_and(listed),
        "Exists" => actual.is_some(),
        "DoesNotExist" => actual.is_none(),
        "Gt" => compare(actual, values).is_some_and(|(actual, bound)| actual > bound),
        "Lt" => compare(actual, values).is_some_and(|(actual, bound)| actual < bound),
        _ => false,
    }
}

/// Both as whole numbers, where they are.
fn compare(actual: Option<&str>, values: &[String]) -> Option<(i64, i64)> {
    let [bound] = values else { return None };
    Some((actual?.parse().ok()?, bound.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fits(spec: Value) -> bool {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let spec: PodSpec = serde_json::from_value(spec).expect("a spec");
        let labels = [("disk", "ssd"), ("cores", "8")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        may_be_on_node(&spec, "n1", &labels)
    }

    fn terms(terms: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
    }

    #[test]
    fn each_label_of_the_selector_must_be_there() {
        assert!(fits(json!({})));
        assert!(fits(json!({"nodeSelector": {"disk": "ssd"}})));
        assert!(!fits(json!({"nodeSelector": {"disk": "hdd"}})));
        assert!(!fits(json!({"nodeSelector": {"disk": "ssd", "zone": "a"}})));
    }

    #[test]
    fn one_term_is_enough_and_all_of_its_requirements_must_hold() {
        let of = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        for (expressions, holds) in [
            (json!([of("disk", "In", &["hdd", "ssd"])]), true),
            (json!([of("disk", "NotIn", &["ssd"])]), false),
            (json!([of("zone", "NotIn", &["a"])]), true),
            (json!([of("disk", "Exists", &[])]), true),
            (json!([of("disk", "DoesNotExist", &[])]), false),
            (json!([of("cores", "Gt", &["7"])]), true),
            (json!([of("cores", "Lt", &["8"])]), false),
            (json!([of("disk", "Gt", &["7"])]), false),
            (json!([of("disk", "Exists", &[]), of("zone", "Exists", &[])]), false),
            (json!([]), false),
        ] {
            assert_eq!(fits(terms(json!([{ "matchExpressions": expressions }]))), holds, "{expressions}");
        }
        assert!(!fits(terms(json!([]))));
        let named = |name: &str| json!({"matchFields": [of("metadata.name", "In", &[name])]});
        assert!(fits(terms(json!([named("n1")]))));
        assert!(!fits(terms(json!([named("n2")]))));
        assert!(fits(terms(json!([named("n2"), {"matchExpressions": [of("disk", "Exists", &[])]}]))));
    }
}
