use lifecycle::Effect;

use super::{Check, must};
use crate::workload::Key;
use crate::world::World;

/// Effects of one step, calls of one pod and letters to one pod that are more than any pod of these shapes needs.
const MANY: usize = 64;

impl World {
    /// A step does a bounded amount of work (design.md 2.7).
    pub(super) fn a_step_has_a_bounded_number_of_effects(&mut self, key: Key, effects: &[Effect]) -> Check {
        must("every_queue_is_bounded", effects.len() < MANY, || {
            format!("one step of pod {key} has {} effects", effects.len())
        })
    }

    /// Calls under way, letters, and starts that the node machine has lent (design.md 2.7).
    pub(super) fn every_queue_is_bounded(&mut self) -> Check {
        let Some(daemon) = &self.daemon else { return Ok(()) };
        for (key, task) in &daemon.tasks {
            let (calls, letters) =
                (task.calls.len(), task.letters.answers.len() + task.letters.outcomes.len());
            must("every_queue_is_bounded", calls < MANY && letters < MANY, || {
                format!("pod {key} has {calls} calls under way and {letters} letters")
            })?;
        }
        let (lent, limit) = daemon.node.starts_in_flight();
        must("every_queue_is_bounded", lent <= limit.max(16), || {
            format!("{lent} starts are under way of {limit}")
        })
    }
}
