//! Nodes.

use std::borrow::Cow;
use std::collections::HashSet;

use k8s_openapi::api::core::v1::Node;
use serde_json::Value;

use super::field::{FieldError, Path};
use super::values::{as_object, child, entries, is_true, items, string};
use super::{ALL_VERBS, Behaviour, Body, Kind, NameRule, Part, Scope, Storage, Subresource, define, names};
use crate::table::nodes::COLUMNS;

const NODE: Body = Body { group: "", version: "v1", kind: "Node", define: define::<Node> };

pub(crate) static NODES: Kind = Kind {
    body: NODE,
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: ALL_VERBS,
    subresources: &[
        Subresource::proxy("NodeProxyOptions"),
        Subresource { name: "status", body: NODE, verbs: &["get", "patch", "update"] },
    ],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &Nodes,
    columns: COLUMNS,
};

const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

#[derive(Debug)]
struct Nodes;

impl Behaviour for Nodes {
    /// A node registers with its first status.
    fn status_at_creation(&self) -> bool {
        true
    }

    fn defaults(&self, node: &mut Value) {
        child(node, "spec");
        if let Some(status) = as_object(node).get_mut("status").map(as_object)
            && let Some(capacity) = status.get("capacity").cloned()
        {
            status.entry("allocatable").or_insert(capacity);
        }
    }

    fn validate(&self, node: &Value, errors: &mut Vec<FieldError>) {
        let spec = node.get("spec").unwrap_or(&Value::Null);
        taints(items(spec, "taints"), &Path::new("spec").child("taints"), errors);
        pod_ranges(spec, errors);
        status(node, errors);
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part, errors: &mut Vec<FieldError>) {
        self.validate(new, errors);
        for field in ["podCIDR", "providerID"] {
            let before = old.get("spec").map_or("", |s| string(s, field));
            if !before.is_empty() && new.get("spec").map_or("", |s| string(s, field)) != before {
                let detail = format!("node updates may not change {field} except from \"\" to valid");
                errors.push(FieldError::forbidden(&Path::new("spec").child(field), &detail));
            }
        }
    }

    fn field<'a>(&self, node: &'a Value, field: &str) -> Option<Cow<'a, str>> {
        let cordoned = || node.get("spec").is_some_and(|s| is_true(s, "unschedulable"));
        (field == "spec.unschedulable").then(|| cordoned().to_string().into())
    }
}

fn taints(taints: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (string(taint, "key"), string(taint, "value"), string(taint, "effect"));
        errors.extend(
            names::qualified_name(key).iter().map(|p| FieldError::invalid(&path.child("key"), key, p)),
        );
        errors.extend(
            names::label_value(value).iter().map(|p| FieldError::invalid(&path.child("value"), value, p)),
        );
        if effect.is_empty() {
            errors.push(FieldError::required(&path.child("effect"), ""));
        } else if !TAINT_EFFECTS.contains(&effect) {
            errors.push(FieldError::not_supported(&path.child("effect"), effect, TAINT_EFFECTS));
        }
        if !seen.insert((key, effect)) {
            errors.push(FieldError::duplicate(&path, taint));
        }
    }
}

fn pod_ranges(spec: &Value, errors: &mut Vec<FieldError>) {
    let path = Path::new("spec").child("podCIDRs");
    for (index, range) in items(spec, "podCIDRs").iter().filter_map(Value::as_str).enumerate() {
        let valid = range.split_once('/').is_some_and(|(address, length)| {
            let bits = match address.parse() {
                Ok(std::net::IpAddr::V4(_)) => 32,
                Ok(std::net::IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            length.parse::<u8>().is_ok_and(|l| l <= bits)
        });
        if !valid {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.push(FieldError::invalid(&path.index(index), range, detail));
        }
    }
}

fn status(node: &Value, errors: &mut Vec<FieldError>) {
    let Some(status) = node.get("status") else { return };
    let path = Path::new("status");
    for list in ["capacity", "allocatable"] {
        for (name, amount) in entries(status, list) {
            if amount.as_str().is_some_and(|q| q.starts_with('-')) {
                let detail = "must be greater than or equal to 0";
                errors.push(FieldError::invalid(&path.child(list).key(name), amount, detail));
            }
        }
    }
    let mut seen = HashSet::new();
    for (index, address) in items(status, "addresses").iter().enumerate() {
        if !seen.insert((string(address, "type"), string(address, "address"))) {
            errors.push(FieldError::duplicate(&path.child("addresses").index(index), address));
        }
    }
}
