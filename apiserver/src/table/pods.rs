//! Rows of pods: the status column tells the worst that there is to tell.

use jiff::Timestamp;
use podspec::PodSummary;
use serde_json::Value;

use super::{AGE, Column, Columns, NAME, cells};
use crate::kinds::text;
use crate::kinds::values::string;

pub(crate) const COLUMNS: Columns = Columns {
    definitions: &[
        NAME,
        Column::text("Ready", "How many of the pod's containers are ready, and how many there are."),
        Column::text("Status", "What the pod is doing, or why it does not."),
        Column::text("Restarts", "How often its containers were started again, and when that was last."),
        AGE,
        Column::wide("IP", "The pod's address."),
        Column::wide("Node", "The node that the pod is bound to."),
        Column::wide("Nominated Node", "The node that the pod may get once pods of less priority are gone."),
        Column::wide(
            "Readiness Gates",
            "How many of the conditions that the pod must meet besides its own readiness are true.",
        ),
    ],
    cells: row,
};

fn row(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = PodSummary::of(pod);
    let ip = match text(pod, "/status/podIPs/0/ip") {
        "" => cells::text_or(pod, "/status/podIP", cells::NONE),
        ip => ip,
    };
    vec![
        cells::name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        summary.restarts.told(now).into(),
        cells::age(pod, now),
        ip.into(),
        cells::text_or(pod, "/spec/nodeName", cells::NONE).into(),
        cells::text_or(pod, "/status/nominatedNodeName", cells::NONE).into(),
        readiness_gates(pod).into(),
    ]
}

fn condition_is_true(pod: &Value, kind: &str) -> bool {
    let conditions = cells::list(pod, "/status/conditions");
    conditions.iter().any(|c| string(c, "type") == kind && string(c, "status") == "True")
}

fn readiness_gates(pod: &Value) -> String {
    let gates = cells::list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return cells::NONE.to_owned();
    }
    let met = gates.iter().filter(|g| condition_is_true(pod, string(g, "conditionType"))).count();
    format!("{met}/{}", gates.len())
}
