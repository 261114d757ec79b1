//! Rows of nodes.

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, Column, Columns, NAME, cells};
use crate::kinds::text;
use crate::kinds::values::{is_true, string};

pub(crate) const COLUMNS: Columns = Columns {
    definitions: &[
        NAME,
        Column::text("Status", "Whether the node is ready for pods, and whether it takes new ones."),
        Column::text("Roles", "The roles that the node's labels give it."),
        AGE,
        Column::text("Version", "The version of the node agent."),
        Column::wide("Internal-IP", "The node's address within the cluster."),
        Column::wide("External-IP", "The node's address for the outside."),
        Column::wide("OS-Image", "The operating system, as its os-release names it."),
        Column::wide("Kernel-Version", "The kernel's version."),
        Column::wide("Container-Runtime", "The container runtime with its version."),
    ],
    cells: row,
};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

fn row(node: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        cells::name(node),
        status(node).into(),
        roles(node).into(),
        cells::age(node, now),
        text(node, "/status/nodeInfo/kubeletVersion").into(),
        address(node, "InternalIP").into(),
        address(node, "ExternalIP").into(),
        cells::text_or(node, "/status/nodeInfo/osImage", cells::UNKNOWN).into(),
        cells::text_or(node, "/status/nodeInfo/kernelVersion", cells::UNKNOWN).into(),
        cells::text_or(node, "/status/nodeInfo/containerRuntimeVersion", cells::UNKNOWN).into(),
    ]
}

fn status(node: &Value) -> String {
    let ready = cells::list(node, "/status/conditions").iter().find(|c| string(c, "type") == "Ready");
    let status = match ready.map(|c| string(c, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = node.get("spec").is_some_and(|s| is_true(s, "unschedulable"));
    if cordoned { format!("{status},SchedulingDisabled") } else { status.to_owned() }
}

fn roles(node: &Value) -> String {
    let labels = node.pointer("/metadata/labels").and_then(Value::as_object);
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { cells::NONE.to_owned() } else { roles.join(",") }
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let addresses = cells::list(node, "/status/addresses");
    addresses.iter().find(|a| string(a, "type") == kind).map_or(cells::NONE, |a| string(a, "address"))
}
