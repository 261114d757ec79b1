//! Which taints a pod bears (behaviour.md 2.7).

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Whether any of `tolerations` tolerates `taint`.
pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| tolerates(toleration, taint))
}

/// What a toleration leaves out matches anything.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().unwrap_or_default();
    let fits = |wanted: &Option<String>, actual: &str| {
        wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == actual)
    };
    if !fits(&toleration.effect, &taint.effect) || !fits(&toleration.key, &taint.key) {
        return false;
    }
    match given(&toleration.operator).as_str() {
        "" | "Equal" => given(&toleration.value) == given(&taint.value),
        "Exists" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str) -> Taint {
        Taint { key: key.into(), value: Some(value.into()), effect: "NoExecute".into(), ..Taint::default() }
    }

    fn bears(toleration: serde_json::Value, taint: &Taint) -> bool {
        let toleration = serde_json::from_value(toleration).expect("a toleration");
        tolerated(&[toleration], taint)
    }

    #[test]
    fn key_value_and_effect_must_match_where_they_are_given() {
        let maintenance = taint("maintenance", "soon");
        for (toleration, bearable) in [
            (serde_json::json!({"operator": "Exists"}), true),
            (serde_json::json!({"key": "maintenance", "operator": "Exists"}), true),
            (serde_json::json!({"key": "maintenance", "value": "soon"}), true),
            (serde_json::json!({"key": "maintenance", "value": "soon", "effect": "NoExecute"}), true),
            (serde_json::json!({"key": "maintenance", "value": "soon", "effect": "NoSchedule"}), false),
            (serde_json::json!({"key": "maintenance", "value": "late"}), false),
            (serde_json::json!({"key": "maintenance"}), false),
            (serde_json::json!({"key": "other", "operator": "Exists"}), false),
            (serde_json::json!({"key": "maintenance", "operator": "Near"}), false),
        ] {
            assert_eq!(bears(toleration.clone(), &maintenance), bearable, "{toleration}");
        }
    }
}
