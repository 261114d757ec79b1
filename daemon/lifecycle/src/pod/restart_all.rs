//! A container whose exit makes the whole pod begin anew (behaviour.md 11.18).
//!
//! The exit that asked for it stays in the runtime until everything else is gone: whoever looks at it, also after a restart of
//! the daemon, goes on from there. Sandbox, addresses, volumes and logs stay.

use k8s_openapi::api::core::v1::Pod as ApiPod;

use super::Pod;
use super::stop::Order;
use crate::container::{self, AfterExit, ContainerKind, Work};
use crate::effect::Effect;
use crate::now::Now;
use crate::observation::{Container, ContainerState, Observation};

/// Whether an exit has asked for a restart of all containers.
pub(crate) fn is_asked_for(pod: &ApiPod, observation: &Observation) -> bool {
    let sandbox = observation.newest_sandbox().map(|s| s.id.as_str());
    container::specs(pod).any(|(_, spec)| {
        let newest = observation.newest_container(&spec.name);
        newest.is_some_and(|c| Some(c.sandbox_id.as_str()) == sandbox && asks(pod, c))
    })
}

fn asks(pod: &ApiPod, c: &Container) -> bool {
    c.state == ContainerState::Exited
        && container::spec_named(pod, &c.name)
            .is_some_and(|(kind, spec)| container::after_exit(pod, kind, &spec, c) == AfterExit::RestartAll)
}

impl Pod {
    /// Clears the pod for a new beginning, step by step; tells whether that is under way.
    pub(super) fn plan_restart_of_all(
        &mut self,
        observation: &Observation,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> bool {
        if !is_asked_for(&self.pod, observation) {
            return false;
        }
        self.give_up_waiting(out);
        let pod = std::sync::Arc::clone(&self.pod);
        let lasting = |c: &Container| {
            container::spec_named(&pod, &c.name).is_none_or(|(kind, _)| kind != ContainerKind::Ephemeral)
        };
        // No hooks and no grace but the least that the runtime is given.
        let at_once = |c: &Container| {
            lasting(c).then(|| Order { hooks: false, in_turn: false, ..Order::usual(c, now.boot) })
        };
        if self.stop_containers(observation, at_once, now, out) || self.is_making() || self.removing.is_some()
        {
            return true;
        }
        let kind = |c: &Container| container::spec_named(&pod, &c.name).map(|(kind, _)| kind);
        let newest = |c: &Container| observation.newest_container(&c.name).is_some_and(|n| n.id == c.id);
        // Older runs first, so that none of them is taken for the newest; then regular ones before inits, and those that
        // asked for it last.
        let rank = |c: &Container| {
            (newest(c), newest(c) && asks(&pod, c), kind(c) != Some(ContainerKind::Regular), c.restart_count)
        };
        if let Some(c) = observation.containers.iter().filter(|c| lasting(c)).min_by_key(|c| rank(c)) {
            self.remove(c.id.clone(), c.name.clone(), c.restart_count, true, out);
        }
        true
    }

    /// Gives up starts that have not reached the runtime.
    pub(super) fn give_up_waiting(&mut self, out: &mut Vec<Effect>) {
        for slot in self.slots.values_mut() {
            match slot.work {
                Work::InspectingImage(op) | Work::PostStart(op, _) => out.push(Effect::Cancel { op }),
                Work::PullingImage { op, .. } => {
                    out.extend([Effect::Cancel { op }, Effect::ReturnSlot { op }])
                }
                Work::WaitingForSlot(op) | Work::WaitingToPull(op, _) => out.push(Effect::ReturnSlot { op }),
                Work::Creating(_) | Work::Starting(..) | Work::Idle => continue,
            }
            slot.work = Work::Idle;
        }
    }
}
