//! Rows of pods: the status column tells the worst that there is to tell.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, Column, Columns, NAME, cells, duration};
use crate::kinds::text;
use crate::kinds::values::{is_true, items, number, string};

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
    let summary = Summary::of(pod);
    let ip = match text(pod, "/status/podIPs/0/ip") {
        "" => cells::text_or(pod, "/status/podIP", cells::NONE),
        ip => ip,
    };
    vec![
        cells::name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.clone().into(),
        summary.restarts.cell(now).into(),
        cells::age(pod, now),
        ip.into(),
        cells::text_or(pod, "/spec/nodeName", cells::NONE).into(),
        cells::text_or(pod, "/status/nominatedNodeName", cells::NONE).into(),
        readiness_gates(pod).into(),
    ]
}

#[derive(Debug, Default)]
struct Summary {
    ready: usize,
    total: usize,
    restarts: Restarts,
    reason: String,
}

/// Whether a container's state is `name`, and what it says.
fn state<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status.pointer("/state").and_then(|s| s.get(name)).filter(|s| s.is_object())
}

/// What a container that ended says of it.
fn ended(terminated: &Value) -> String {
    match string(terminated, "reason") {
        "" => match number(terminated, "signal") {
            Some(signal) if signal != 0 => format!("Signal:{signal}"),
            _ => format!("ExitCode:{}", number(terminated, "exitCode").unwrap_or(0)),
        },
        reason => reason.to_owned(),
    }
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    cells::list(pod, "/status/conditions").iter().find(|c| string(c, "type") == kind)
}

fn condition_is_true(pod: &Value, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|c| string(c, "status") == "True")
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let spec = pod.get("spec").unwrap_or(&Value::Null);
        let mut summary = Self { total: items(spec, "containers").len(), ..Self::default() };
        summary.reason = match text(pod, "/status/reason") {
            "" => text(pod, "/status/phase").to_owned(),
            reason => reason.to_owned(),
        };
        if condition(pod, "PodScheduled").is_some_and(|c| string(c, "reason") == "SchedulingGated") {
            summary.reason = "SchedulingGated".to_owned();
        }
        let (initializing, sidecar_restarts) = summary.init_containers(pod, spec);
        if !initializing || condition_is_true(pod, "Initialized") {
            summary.containers(pod, sidecar_restarts);
        }
        if !text(pod, "/metadata/deletionTimestamp").is_empty() {
            if text(pod, "/status/reason") == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Whether an init container has still to end; and what the sidecars' restarts were.
    fn init_containers(&mut self, pod: &Value, spec: &Value) -> (bool, Restarts) {
        let containers = items(spec, "initContainers");
        let sidecars: HashSet<&str> = containers
            .iter()
            .filter(|c| string(c, "restartPolicy") == "Always")
            .map(|c| string(c, "name"))
            .collect();
        self.total += sidecars.len();
        let mut sidecar_restarts = Restarts::default();
        for (index, status) in cells::list(pod, "/status/initContainerStatuses").iter().enumerate() {
            let is_sidecar = sidecars.contains(string(status, "name"));
            self.restarts.add(status);
            if is_sidecar {
                sidecar_restarts.add(status);
            }
            let terminated = state(status, "terminated");
            if terminated.is_some_and(|t| number(t, "exitCode").unwrap_or(0) == 0) {
                continue;
            }
            if is_sidecar && is_true(status, "started") {
                self.ready += usize::from(is_true(status, "ready"));
                continue;
            }
            let waiting = state(status, "waiting").map_or("", |w| string(w, "reason"));
            self.reason = match terminated {
                Some(terminated) => format!("Init:{}", ended(terminated)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
                None => format!("Init:{index}/{}", containers.len()),
            };
            return (true, sidecar_restarts);
        }
        (false, sidecar_restarts)
    }

    fn containers(&mut self, pod: &Value, sidecar_restarts: Restarts) {
        self.restarts = sidecar_restarts;
        let mut running = false;
        for status in cells::list(pod, "/status/containerStatuses").iter().rev() {
            self.restarts.add(status);
            let waiting = state(status, "waiting").map_or("", |w| string(w, "reason"));
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(terminated) = state(status, "terminated") {
                self.reason = ended(terminated);
            } else if is_true(status, "ready") && state(status, "running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        // One container has completed, and another still runs.
        if self.reason == "Completed" && running {
            self.reason = if condition_is_true(pod, "Ready") { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

/// How often containers were started again.
#[derive(Debug, Default)]
struct Restarts {
    count: i64,
    /// When the container that was started again last had ended.
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count = self.count.saturating_add(number(status, "restartCount").unwrap_or(0));
        let finished: Option<Timestamp> = text(status, "/lastState/terminated/finishedAt").parse().ok();
        self.last = self.last.max(finished);
    }

    fn cell(&self, now: Timestamp) -> String {
        match self.last {
            Some(last) if self.count != 0 => {
                format!("{} ({} ago)", self.count, duration::human(now.as_second() - last.as_second()))
            }
            _ => self.count.to_string(),
        }
    }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = cells::list(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return cells::NONE.to_owned();
    }
    let met = gates.iter().filter(|g| condition_is_true(pod, string(g, "conditionType"))).count();
    format!("{met}/{}", gates.len())
}
