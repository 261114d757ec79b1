//! The phase of a pod, from what its containers did (behaviour.md 5.1 to 5.3).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod as ApiPod};

use crate::container::{self, ContainerKind};
use crate::observation::{ContainerState, Observation};

/// Whether every container has ended and none may start again.
pub(crate) fn is_over(pod: &ApiPod, observation: &Observation, forced: &BTreeSet<String>) -> bool {
    let mut any = false;
    for (kind, spec) in container::specs(pod) {
        let newest = observation.newest_container(&spec.name);
        match (kind, newest) {
            (ContainerKind::Init, Some(c)) if c.state == ContainerState::Exited => {
                if c.exit_code != 0 && !container::restarts(pod, kind, c.exit_code) {
                    return true;
                }
            }
            (ContainerKind::Init, _) => {}
            (ContainerKind::Regular, Some(c)) if c.state == ContainerState::Exited => {
                any = true;
                if forced.contains(&c.id) || container::restarts(pod, kind, c.exit_code) {
                    return false;
                }
            }
            (ContainerKind::Regular, _) => return false,
        }
    }
    any
}

/// The phase that the statuses of a pod's containers amount to; `ending` where none of them is started any more.
pub(crate) fn phase(
    pod: &ApiPod,
    inits: &[ContainerStatus],
    regulars: &[ContainerStatus],
    ending: bool,
) -> &'static str {
    let never = container::restart_policy(pod) == "Never";
    let mut inits_pending = false;
    let mut inits_failed = false;
    for status in inits {
        let state = status.state.as_ref();
        let ended = state.and_then(|s| s.terminated.as_ref());
        let ended_before = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
        let waiting = state.is_none_or(|s| s.running.is_none() && s.terminated.is_none());
        match (ended, ended_before) {
            (Some(t), _) if t.exit_code == 0 => {}
            (Some(_), _) => inits_failed = true,
            (None, Some(t)) if waiting && t.exit_code != 0 => inits_failed = true,
            (None, _) => inits_pending = true,
        }
    }
    let spec_inits = pod.spec.as_ref().and_then(|s| s.init_containers.as_ref()).map_or(0, Vec::len);
    inits_pending |= inits.len() < spec_inits;

    let mut counts = Counts::default();
    for status in regulars {
        counts.add(status);
    }
    let begun = counts.running + counts.stopped > 0;
    if inits_failed && (never || ending) && !begun {
        return "Failed";
    }
    if (inits_pending || inits_failed) && !begun {
        return "Pending";
    }
    if counts.waiting > 0 {
        return "Pending";
    }
    if counts.running > 0 {
        return "Running";
    }
    if counts.stopped == 0 {
        return "Pending";
    }
    let succeeded = counts.stopped == counts.succeeded;
    match container::restart_policy(pod) {
        _ if ending => terminal(succeeded),
        "Always" => "Running",
        "OnFailure" if !succeeded => "Running",
        _ => terminal(succeeded),
    }
}

fn terminal(succeeded: bool) -> &'static str {
    if succeeded { "Succeeded" } else { "Failed" }
}

#[derive(Default)]
struct Counts {
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

impl Counts {
    fn add(&mut self, status: &ContainerStatus) {
        let state = status.state.as_ref();
        let ended = state.and_then(|s| s.terminated.as_ref());
        let ended_before = status.last_state.as_ref().and_then(|s| s.terminated.as_ref());
        if state.is_some_and(|s| s.running.is_some()) {
            self.running += 1;
        } else if let Some(t) = ended.or(ended_before) {
            // Waiting with a history counts as stopped (behaviour.md 5.2).
            self.stopped += 1;
            self.succeeded += usize::from(t.exit_code == 0);
        } else {
            self.waiting += 1;
        }
    }
}
