//! What an observation means for the state that the machine keeps beside it.

use super::{Pod, retry_delay};
use crate::ContainerState;
use crate::effect::Effect;
use crate::input::{Answer, Failure};
use crate::now::Now;
use crate::observation::Observation;

impl Pod {
    pub(super) fn observed(&mut self, outcome: Result<Answer, Failure>, now: Now, out: &mut Vec<Effect>) {
        match outcome {
            Ok(Answer::Observed(mut observation)) => {
                self.cut_starts = observation.take_cut_starts();
                self.observe_failures = 0;
                self.observe_retry = None;
                self.note_exits(&observation, now);
                self.forget_ended(&observation);
                self.trim.forget_ended(&observation);
                self.observation = Some(observation);
                self.consider_end(now);
                // A state that the plan is about to leave again is still one that was seen.
                self.publish(now, out);
            }
            Ok(_) => self.stale = true,
            Err(_) => {
                self.stale = true;
                self.observe_failures += 1;
                self.observe_retry = Some(now.boot + retry_delay(self.observe_failures, 5));
            }
        }
    }

    /// Fixes the boot time of each exit when it is first seen, and ends the waiting of what has begun.
    fn note_exits(&mut self, observation: &Observation, now: Now) {
        for (name, slot) in &mut self.slots {
            let Some(newest) = observation.newest_container(name) else { continue };
            if slot.awaited.as_ref() == Some(&newest.id) {
                slot.awaited = None;
                slot.waiting = None;
            }
            if newest.state != ContainerState::Exited {
                continue;
            }
            if slot.exit.as_ref().is_none_or(|(id, _)| *id != newest.id) {
                slot.exit = Some((newest.id.clone(), now.boot_of(newest.finished_at)));
                slot.retry_at = None;
            }
        }
    }

    /// Drops stops and kills of containers that have ended or are gone.
    fn forget_ended(&mut self, observation: &Observation) {
        let lives =
            |id: &str| observation.containers.iter().any(|c| c.id == id && c.state != ContainerState::Exited);
        self.stops.retain(|id, stop| stop.op().is_some() || lives(id));
        self.kills.retain(|id, _| lives(id));
        let known = |id: &str| observation.containers.iter().any(|c| c.id == id);
        self.forced_restarts.retain(|id| known(id));
    }
}
