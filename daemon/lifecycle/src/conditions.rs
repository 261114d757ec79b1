//! The conditions that a node agent owns (behaviour.md 5.5 to 5.12).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod as ApiPod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::container::{self, ContainerKind};
use crate::pod::Resize;

/// What the conditions follow from.
pub(crate) struct Facts<'a> {
    pub(crate) pod: &'a ApiPod,
    pub(crate) phase: &'a str,
    pub(crate) sandbox_ready: bool,
    pub(crate) inits: &'a [ContainerStatus],
    pub(crate) regulars: &'a [ContainerStatus],
    /// Whether all containers are being restarted by a rule.
    pub(crate) restarting_all: bool,
    pub(crate) resize: &'a Resize,
    /// Why the node has ended the pod, where it has and nothing runs any more.
    pub(crate) disrupted: Option<&'a str>,
    pub(crate) previous: Option<&'a PodStatus>,
    pub(crate) now: Timestamp,
}

const LASTING: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Conditions that are there only while they are true.
const PASSING: [&str; 3] = ["PodResizePending", "PodResizeInProgress", "AllContainersRestarting"];

struct Verdict {
    status: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn met() -> Self {
        Self { status: true, reason: None, message: None }
    }

    fn not(reason: &'static str, message: Option<String>) -> Self {
        Self { status: false, reason: Some(reason), message }
    }
}

/// The pod's conditions: ours in the kubelet's order, then those of others as they are.
pub(crate) fn conditions(facts: &Facts<'_>) -> Vec<PodCondition> {
    let before = facts.previous.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    // What others wrote stands in the newest object, not in what was published last.
    let theirs = facts.pod.status.as_ref().map_or(before, |s| s.conditions.as_deref().unwrap_or_default());
    let containers_ready = containers_ready(facts);
    let ready = ready(facts, &containers_ready, theirs);
    let sandbox = Verdict { status: facts.sandbox_ready, reason: None, message: None };
    let verdicts = [sandbox, initialized(facts), ready, containers_ready, Verdict::met()];
    let mut all: Vec<PodCondition> =
        LASTING.iter().zip(verdicts).map(|(kind, verdict)| condition(facts, before, kind, verdict)).collect();
    let passing = PASSING.iter().zip(passing(facts));
    all.extend(passing.filter_map(|(kind, verdict)| Some(condition(facts, before, kind, verdict?))));
    if let Some(message) = facts.disrupted {
        let verdict =
            Verdict { status: true, reason: Some("TerminationByKubelet"), message: Some(message.to_owned()) };
        all.push(condition(facts, before, DISRUPTION, verdict));
    }
    let ours = |kind: &str| {
        LASTING.contains(&kind)
            || PASSING.contains(&kind)
            || (kind == DISRUPTION && facts.disrupted.is_some())
    };
    all.extend(theirs.iter().filter(|c| !ours(&c.type_)).cloned());
    all
}

/// Shared with whoever else ends pods.
const DISRUPTION: &str = "DisruptionTarget";

fn condition(facts: &Facts<'_>, before: &[PodCondition], kind: &str, verdict: Verdict) -> PodCondition {
    let status = if verdict.status { "True" } else { "False" };
    let old = before.iter().find(|c| c.type_ == kind && c.status == status);
    let since = old.and_then(|c| c.last_transition_time.clone()).unwrap_or(Time(facts.now));
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_transition_time: Some(since),
        observed_generation: facts.pod.metadata.generation,
        ..PodCondition::default()
    }
}

/// In the order of [`PASSING`].
fn passing(facts: &Facts<'_>) -> [Option<Verdict>; 3] {
    let pending = facts.resize.pending.as_ref().map(|pending| Verdict {
        status: true,
        reason: Some(if pending.deferred { "Deferred" } else { "Infeasible" }),
        message: Some(pending.message.clone()),
    });
    let in_progress = facts.resize.in_progress().then(|| Verdict {
        status: true,
        reason: facts.resize.error.as_ref().map(|_| "Error"),
        message: facts.resize.error.clone(),
    });
    let restarting = facts.restarting_all.then(Verdict::met);
    [pending, in_progress, restarting]
}

fn initialized(facts: &Facts<'_>) -> Verdict {
    if facts.phase == "Succeeded" {
        return Verdict { status: true, reason: Some("PodCompleted"), message: None };
    }
    let begun = facts.regulars.iter().any(|c| {
        let past = c.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
        past || c.state.as_ref().is_some_and(|s| s.running.is_some() || s.terminated.is_some())
    });
    let incomplete: Vec<&str> = container::specs(facts.pod)
        .filter_map(|(kind, spec)| {
            let status = facts.inits.iter().find(|c| c.name == spec.name)?;
            let complete = match kind {
                ContainerKind::Sidecar => status.started == Some(true),
                _ => status.ready,
            };
            (!complete).then_some(status.name.as_str())
        })
        .collect();
    if begun || incomplete.is_empty() {
        return Verdict::met();
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Verdict::not("ContainersNotInitialized", Some(message))
}

fn containers_ready(facts: &Facts<'_>) -> Verdict {
    match facts.phase {
        "Succeeded" => return Verdict::not("PodCompleted", None),
        "Failed" => return Verdict::not("PodFailed", None),
        _ => {}
    }
    // Sidecars count, in the order of the spec.
    let unready: Vec<String> = container::specs(facts.pod)
        .filter_map(|(kind, spec)| {
            let list = match kind {
                ContainerKind::Sidecar => facts.inits,
                ContainerKind::Regular => facts.regulars,
                ContainerKind::Init | ContainerKind::Ephemeral => return None,
            };
            let ready = list.iter().find(|c| c.name == spec.name).is_some_and(|c| c.ready);
            (!ready).then(|| spec.name.clone())
        })
        .collect();
    if unready.is_empty() {
        return Verdict::met();
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Verdict::not("ContainersNotReady", Some(message))
}

fn ready(facts: &Facts<'_>, containers_ready: &Verdict, theirs: &[PodCondition]) -> Verdict {
    if !containers_ready.status {
        return Verdict::not(
            containers_ready.reason.unwrap_or("ContainersNotReady"),
            containers_ready.message.clone(),
        );
    }
    let gates = facts.pod.spec.as_ref().and_then(|s| s.readiness_gates.as_deref()).unwrap_or_default();
    let mut unmet = Vec::new();
    for gate in gates {
        match theirs.iter().find(|c| c.type_ == gate.condition_type) {
            None => unmet.push(format!(
                "corresponding condition of pod readiness gate \"{}\" does not exist.",
                gate.condition_type
            )),
            Some(c) if c.status != "True" => {
                unmet.push(format!(
                    "the status of pod readiness gate \"{}\" is not \"True\", but {}",
                    gate.condition_type, c.status
                ));
            }
            Some(_) => {}
        }
    }
    if unmet.is_empty() {
        Verdict::met()
    } else {
        Verdict::not("ReadinessGatesNotReady", Some(unmet.join(", ")))
    }
}
