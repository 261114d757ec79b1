//! NodeAffinity: `nodeSelector` and required node affinity must match, preferred affinity makes a node more liked.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

use super::{Candidate, Filter, Normalize, Reason, Score, Target};
use crate::node::NodeInfo;

pub(super) const FILTER: Filter = Filter { name: "NodeAffinity", filter, resolvable: |_, _| false };
pub(super) const SCORE: Score = Score { weight: 2, score, normalize: Normalize::ToHighest };

fn filter(pod: Candidate<'_>, target: Target<'_>) -> Vec<Reason> {
    let node = target.node;
    let selected = pod.wish.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value));
    let required = pod.wish.required.as_ref();
    if selected && required.is_none_or(|r| r.node_selector_terms.iter().any(|term| matches_term(term, node)))
    {
        return Vec::new();
    }
    vec!["node(s) didn't match Pod's node affinity/selector".into()]
}

fn score(pod: Candidate<'_>, target: Target<'_>) -> i64 {
    let liked = pod.wish.preferred.iter().filter(|p| matches_term(&p.preference, target.node));
    liked.map(|p| i64::from(p.weight)).sum()
}

/// All requirements of a term hold; a term without any matches nothing.
pub(crate) fn matches_term(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    labels.iter().all(|r| holds(r, node.labels.get(&r.key).map(String::as_str)))
        && fields.iter().all(|r| r.key == "metadata.name" && holds(r, Some(&node.name)))
}

fn holds(requirement: &NodeSelectorRequirement, actual: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |actual: &str| values.iter().any(|v| v == actual);
    match requirement.operator.as_str() {
        "In" => actual.is_some_and(listed),
        "NotIn" => !actual.is_some_and(listed),
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
