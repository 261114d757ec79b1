//! TaintToleration: taints keep pods away that do not tolerate them; `PreferNoSchedule` only makes a node less liked.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::{Candidate, Filter, Normalize, Reason, Score, Target};

pub(super) const FILTER: Filter = Filter { name: "TaintToleration", filter, resolvable: |_, _| false };
pub(super) const SCORE: Score = Score { weight: 3, score, normalize: Normalize::Reversed };

/// A node short of memory takes pods that have asked for some, as the API's admission lets them tolerate it.
const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";

fn filter(pod: Candidate<'_>, target: Target<'_>) -> Vec<Reason> {
    let repels = |taint: &&Taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !tolerated(&pod.wish.tolerations, taint)
            && (taint.key != MEMORY_PRESSURE || pod.wish.best_effort)
    };
    match target.node.taints.iter().find(repels) {
        Some(_) => vec!["node(s) had untolerated taint(s)".into()],
        None => Vec::new(),
    }
}

fn score(pod: Candidate<'_>, target: Target<'_>) -> i64 {
    let disliked =
        |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerated(&pod.wish.tolerations, taint);
    i64::try_from(target.node.taints.iter().filter(disliked).count()).unwrap_or(i64::MAX)
}

/// Whether any of `tolerations` tolerates `taint`.
pub(super) fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
    let (effect, key) = (given(&toleration.effect), given(&toleration.key));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match given(&toleration.operator).as_str() {
        "" | "Equal" => !key.is_empty() && given(&toleration.value) == given(&taint.value),
        "Exists" => true,
        _ => false,
    }
}
