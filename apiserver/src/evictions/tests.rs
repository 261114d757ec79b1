use serde_json::{Value, json};

use super::*;

fn budget(status: Value) -> Value {
    json!({ "metadata": { "name": "web", "generation": 2 }, "status": status })
}

fn refusal(status: Value) -> ApiError {
    may_disrupt(&budget(status)).unwrap_err()
}

#[test]
fn a_budget_that_was_not_counted_since_its_change_says_when_to_come_again() {
    let refusal = refusal(json!({ "observedGeneration": 1, "disruptionsAllowed": 5 }));
    assert_eq!((refusal.code, refusal.retry_after()), (429, Some(10)));
    let cause = &refusal.details.unwrap()["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    assert_eq!(cause["message"], "The disruption budget web is still being processed by the server.");
    assert_eq!(may_disrupt(&budget(json!({ "observedGeneration": 2, "disruptionsAllowed": 1 }))), Ok(()));
}

#[test]
fn a_budget_that_allows_nothing_says_what_it_lacks_and_not_when_to_come_again() {
    let used = refusal(json!({ "observedGeneration": 2, "desiredHealthy": 3, "currentHealthy": 2 }));
    assert_eq!((used.code, used.retry_after()), (429, None));
    assert_eq!(
        used.details.unwrap()["causes"][0]["message"],
        "The disruption budget web needs 3 healthy pods and has 2 currently"
    );
    let condition = json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no controllers",
    });
    let failed = refusal(json!({ "observedGeneration": 2, "conditions": [condition] }));
    assert_eq!(
        failed.details.unwrap()["causes"][0]["message"],
        "The disruption budget web does not allow evicting pods currently because it failed sync: no controllers"
    );
}

#[test]
fn a_budget_whose_status_cannot_be_is_forbidden() {
    let negative = refusal(json!({ "observedGeneration": 2, "disruptionsAllowed": -1 }));
    assert_eq!(
        (negative.code, negative.message.as_str()),
        (403, "poddisruptionbudget.policy \"web\" is forbidden: pdb disruptions allowed is negative")
    );
    let many: serde_json::Map<_, _> = (0..=UNCONFIRMED_LIMIT).map(|i| (i.to_string(), json!(""))).collect();
    let many = refusal(json!({ "observedGeneration": 2, "disruptionsAllowed": 1, "disruptedPods": many }));
    assert_eq!(many.code, 403);
}
