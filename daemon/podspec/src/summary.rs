//! A pod and a duration as tables show them to people, in kubectl's words.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;

/// A pod in a line.
#[derive(Debug, Default)]
pub struct PodSummary {
    /// Containers that are ready; sidecars count.
    pub ready: usize,
    /// Containers that are there to become ready.
    pub total: usize,
    pub restarts: Restarts,
    /// What the pod is doing, or why it does not: the worst that there is to tell.
    pub reason: String,
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
    list(pod, "/status/conditions").iter().find(|c| string(c, "type") == kind)
}

fn condition_is_true(pod: &Value, kind: &str) -> bool {
    condition(pod, kind).is_some_and(|c| string(c, "status") == "True")
}

impl PodSummary {
    /// Of a pod as JSON, whatever of it is there.
    #[must_use]
    pub fn of(pod: &Value) -> Self {
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
        for (index, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
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
        for status in list(pod, "/status/containerStatuses").iter().rev() {
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restarts {
    pub count: i64,
    /// When the container that was started again last had ended.
    pub last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count = self.count.saturating_add(number(status, "restartCount").unwrap_or(0));
        let finished: Option<Timestamp> = text(status, "/lastState/terminated/finishedAt").parse().ok();
        self.last = self.last.max(finished);
    }

    /// `2 (5m ago)`.
    #[must_use]
    pub fn told(&self, now: Timestamp) -> String {
        match self.last {
            Some(last) if self.count != 0 => {
                format!("{} ({} ago)", self.count, human_duration(now.as_second() - last.as_second()))
            }
            _ => self.count.to_string(),
        }
    }
}

/// A duration in seconds, in the one or two largest units that matter: `3m20s`, `25h`, `4y37d`. Two seconds into the
/// future count as now, more is `<invalid>`.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let with_rest = |whole: i64, unit: &str, rest: i64, small: &str| {
        if rest == 0 { format!("{whole}{unit}") } else { format!("{whole}{unit}{rest}{small}") }
    };
    match seconds {
        i64::MIN..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => with_rest(s / MINUTE, "m", s % MINUTE, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => with_rest(s / HOUR, "h", s % HOUR / MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => with_rest(s / DAY, "d", s % DAY / HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => with_rest(s / YEAR, "y", s % YEAR / DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn string<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("")
}

fn number(value: &Value, field: &str) -> Option<i64> {
    value.get(field).and_then(Value::as_i64)
}

fn is_true(value: &Value, field: &str) -> bool {
    value.get(field).and_then(Value::as_bool).unwrap_or(false)
}
