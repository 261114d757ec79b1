//! The conditions that a node agent owns (behaviour.md 5.5 to 5.12).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod as ApiPod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// What the conditions follow from.
pub(crate) struct Facts<'a> {
    pub(crate) pod: &'a ApiPod,
    pub(crate) phase: &'a str,
    pub(crate) sandbox_ready: bool,
    pub(crate) inits: &'a [ContainerStatus],
    pub(crate) regulars: &'a [ContainerStatus],
    pub(crate) previous: Option<&'a PodStatus>,
    pub(crate) now: Timestamp,
}

const OWNED: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

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
    let containers_ready = containers_ready(facts);
    let ready = ready(facts, &containers_ready, before);
    let sandbox = Verdict { status: facts.sandbox_ready, reason: None, message: None };
    let verdicts = [sandbox, initialized(facts), ready, containers_ready, Verdict::met()];
    let generation = facts.pod.metadata.generation;
    let mut all: Vec<PodCondition> = OWNED
        .iter()
        .zip(verdicts)
        .map(|(kind, verdict)| {
            let status = if verdict.status { "True" } else { "False" };
            let old = before.iter().find(|c| c.type_ == *kind && c.status == status);
            let since = old.and_then(|c| c.last_transition_time.clone()).unwrap_or(Time(facts.now));
            PodCondition {
                type_: (*kind).to_owned(),
                status: status.to_owned(),
                reason: verdict.reason.map(str::to_owned),
                message: verdict.message,
                last_transition_time: Some(since),
                observed_generation: generation,
                ..PodCondition::default()
            }
        })
        .collect();
    all.extend(before.iter().filter(|c| !OWNED.contains(&c.type_.as_str())).cloned());
    all
}

fn initialized(facts: &Facts<'_>) -> Verdict {
    if facts.phase == "Succeeded" {
        return Verdict { status: true, reason: Some("PodCompleted"), message: None };
    }
    let begun = facts.regulars.iter().any(|c| {
        let past = c.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
        past || c.state.as_ref().is_some_and(|s| s.running.is_some() || s.terminated.is_some())
    });
    let incomplete: Vec<&str> = facts.inits.iter().filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
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
    let unready: Vec<&str> = facts.regulars.iter().filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
    if unready.is_empty() {
        return Verdict::met();
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Verdict::not("ContainersNotReady", Some(message))
}

fn ready(facts: &Facts<'_>, containers_ready: &Verdict, before: &[PodCondition]) -> Verdict {
    if !containers_ready.status {
        return Verdict::not(
            containers_ready.reason.unwrap_or("ContainersNotReady"),
            containers_ready.message.clone(),
        );
    }
    let gates = facts.pod.spec.as_ref().and_then(|s| s.readiness_gates.as_deref()).unwrap_or_default();
    let mut unmet = Vec::new();
    for gate in gates {
        match before.iter().find(|c| c.type_ == gate.condition_type) {
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
