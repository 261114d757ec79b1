//! A namespace says what it waits for.

use super::*;
use crate::kinds::leases::LEASES;
use crate::kinds::pods::PODS;

fn told(namespace: &Value, kind: &str) -> (String, String, String) {
    let condition =
        items(&namespace["status"], "conditions").iter().find(|c| string(c, "type") == kind).unwrap();
    let text = |field: &str| string(condition, field).to_owned();
    (text("status"), text("message"), text("lastTransitionTime"))
}

#[test]
fn what_remains_is_counted_by_kind_and_by_finalizer() {
    let held = json!({ "metadata": { "finalizers": ["example.com/hold"] } });
    let plain = json!({ "metadata": {} });
    let contents = [(&PODS, &held), (&PODS, &plain), (&LEASES, &held)];
    let remaining = Remaining::of(contents.into_iter());
    let mut namespace =
        json!({ "status": { "phase": "Terminating", "conditions": [{ "type": "Mine", "status": "True" }] } });
    set(&mut namespace, &remaining, "2026-01-01T00:00:00Z".parse().unwrap());
    let (status, message, _) = told(&namespace, "NamespaceContentRemaining");
    assert_eq!(status, "True");
    assert_eq!(
        message,
        "Some resources are remaining: leases.coordination.k8s.io has 1 resource instances, pods. has 2 resource instances"
    );
    let (_, message, since) = told(&namespace, "NamespaceFinalizersRemaining");
    assert_eq!(
        message,
        "Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances"
    );
    assert_eq!(told(&namespace, "NamespaceDeletionContentFailure").0, "False");
    assert_eq!(items(&namespace["status"], "conditions")[0]["type"], "Mine");
    set(&mut namespace, &remaining, "2026-01-01T00:01:00Z".parse().unwrap());
    assert_eq!(told(&namespace, "NamespaceFinalizersRemaining").2, since, "it has not turned");
    assert_eq!(items(&namespace["status"], "conditions").len(), 6);
    set(&mut namespace, &Remaining::default(), "2026-01-01T00:02:00Z".parse().unwrap());
    let (status, message, since) = told(&namespace, "NamespaceContentRemaining");
    assert_eq!((status.as_str(), message.as_str()), ("False", "All content successfully removed"));
    assert_eq!(since, "2026-01-01T00:02:00Z");
}

#[test]
fn what_cannot_be_deleted_is_told_with_the_reason() {
    let failures = vec!["pods: no space left".to_owned()];
    let mut namespace = json!({});
    set(
        &mut namespace,
        &Remaining { failures, ..Remaining::default() },
        "2026-01-01T00:00:00Z".parse().unwrap(),
    );
    let (status, message, _) = told(&namespace, "NamespaceDeletionContentFailure");
    assert_eq!(status, "True");
    assert_eq!(message, "Failed to delete all resource types, 1 remaining: pods: no space left");
}
