//! What a namespace that goes away says about how far it has come. Pure; types, reasons and words are upstream's.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::api::timestamp;
use crate::kinds::Kind;
use crate::kinds::values::{child, items, string};

/// What is still in a namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Remaining {
    /// How many objects there are, by `resource.group`.
    kinds: BTreeMap<String, usize>,
    /// How many objects wait for each finalizer.
    finalizers: BTreeMap<String, usize>,
    /// What could not be deleted, and why.
    pub(super) failures: Vec<String>,
}

impl Remaining {
    pub(super) fn of<'a>(contents: impl Iterator<Item = (&'a Kind, &'a Value)>) -> Self {
        let mut remaining = Self::default();
        for (kind, object) in contents {
            // Of the core group nothing stands behind the dot.
            let resource = format!("{}.{}", kind.plural, kind.body.group);
            *remaining.kinds.entry(resource).or_default() += 1;
            let finalizers = items(object.get("metadata").unwrap_or(&Value::Null), "finalizers");
            for finalizer in finalizers.iter().filter_map(Value::as_str) {
                *remaining.finalizers.entry(finalizer.to_owned()).or_default() += 1;
            }
        }
        remaining
    }
}

/// Type, whether it holds, reason and message of each condition.
fn wanted(remaining: &Remaining) -> [(&'static str, bool, &'static str, String); 5] {
    let listed = |counts: &BTreeMap<String, usize>, words: fn(&str, usize) -> String| {
        counts.iter().map(|(name, count)| words(name, *count)).collect::<Vec<_>>().join(", ")
    };
    let said = |text: &str| text.to_owned();
    let content = if remaining.failures.is_empty() {
        let message = "All content successfully deleted, may be waiting on finalization";
        ("NamespaceDeletionContentFailure", false, "ContentDeleted", said(message))
    } else {
        let (count, all) = (remaining.failures.len(), remaining.failures.join(", "));
        let message = format!("Failed to delete all resource types, {count} remaining: {all}");
        ("NamespaceDeletionContentFailure", true, "ContentDeletionFailed", message)
    };
    let left = if remaining.kinds.is_empty() {
        ("NamespaceContentRemaining", false, "ContentRemoved", said("All content successfully removed"))
    } else {
        let all = listed(&remaining.kinds, |name, count| format!("{name} has {count} resource instances"));
        let message = format!("Some resources are remaining: {all}");
        ("NamespaceContentRemaining", true, "SomeResourcesRemain", message)
    };
    let finalizers = if remaining.finalizers.is_empty() {
        let message = "All content-preserving finalizers finished";
        ("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers", said(message))
    } else {
        let all =
            listed(&remaining.finalizers, |name, count| format!("{name} in {count} resource instances"));
        let message = format!("Some content in the namespace has finalizers remaining: {all}");
        ("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", message)
    };
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            said("All resources successfully discovered"),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            said("All legacy kube types successfully parsed"),
        ),
        content,
        left,
        finalizers,
    ]
}

/// Says in a namespace what remains of it.
pub(super) fn set(namespace: &mut Value, remaining: &Remaining, now: Timestamp) {
    let before = items(namespace.get("status").unwrap_or(&Value::Null), "conditions").to_vec();
    let mut after: Vec<Value> = Vec::new();
    for (kind, holds, reason, message) in wanted(remaining) {
        let status = if holds { "True" } else { "False" };
        let same = |c: &&Value| string(c, "type") == kind && string(c, "status") == status;
        let since = before.iter().find(same).and_then(|c| c.get("lastTransitionTime").cloned());
        after.push(json!({
            "type": kind,
            "status": status,
            "lastTransitionTime": since.unwrap_or_else(|| timestamp(now).into()),
            "reason": reason,
            "message": message,
        }));
    }
    let ours = |kind: &str| after.iter().any(|c| string(c, "type") == kind);
    let others = before.iter().filter(|c| !ours(string(c, "type"))).cloned().collect::<Vec<_>>();
    let all: Vec<Value> = others.into_iter().chain(after).collect();
    child(namespace, "status").insert("conditions".to_owned(), all.into());
}

#[cfg(test)]
mod tests;
