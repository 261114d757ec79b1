//! The daemon's task that owns the node machine: pods ask, and find its answers in their mailboxes.

use std::sync::Arc;

use lifecycle::{Facts, Input, Node, NodeEffect, NodeInput, PullLimits, ResizeVerdict};
use podspec::Quantity;

use crate::random::Random;
use crate::workload::{Key, key_of, uid};
use crate::world::{Happening, World};

/// The node machine of a new daemon, on a node of the size that the seed gives it: most have room for everything.
pub(crate) fn node(seed: u64) -> Node {
    let mut mood = Random::new(seed, &[50]);
    let plenty = Quantity::from_units(1 << 40);
    let cpu = if mood.percent(25) { Quantity::from_milli(500) } else { plenty };
    let sizes = [("cpu", cpu), ("memory", plenty), ("ephemeral-storage", plenty), ("pods", plenty)];
    let allocatable = sizes.map(|(name, size)| (name.to_owned(), size)).into();
    let limits = if mood.percent(30) {
        PullLimits { parallel: 1, per_second: 1.0, burst: 1 }
    } else {
        PullLimits::default()
    };
    Node::new(limits, Arc::new(Facts { seen: true, allocatable, ..Facts::default() }))
}

impl World {
    /// Gives the node machine one input.
    pub(crate) fn ask_node(&mut self, input: NodeInput) {
        let now = self.now();
        let Some(daemon) = &mut self.daemon else { return };
        for effect in daemon.node.step(input, now) {
            self.node_effect(effect);
        }
    }

    fn node_effect(&mut self, effect: NodeEffect) {
        match effect {
            NodeEffect::Admitted { uid } => {
                self.post(key_of(&uid), |letters| letters.answers.push_back(Input::Admitted));
            }
            NodeEffect::Refused { uid, reason, message } => {
                let refusal = Input::Refused { reason, message };
                self.post(key_of(&uid), |letters| letters.answers.push_back(refusal));
            }
            NodeEffect::Preempt { uid, reason, message, .. } => {
                let kill = Input::Kill { reason, message, grace: None };
                self.post(key_of(&uid), |letters| letters.kill = Some(kill));
            }
            NodeEffect::Resized { uid, verdict } => {
                self.post(key_of(&uid), |letters| letters.resized = Some(verdict));
            }
            NodeEffect::Slot { uid, op } => {
                self.post(key_of(&uid), |letters| letters.answers.push_back(Input::Slot { op }));
            }
            NodeEffect::RereadNode => self.ask_node(NodeInput::NodeRead),
            NodeEffect::Event { .. } => {}
        }
    }

    /// Half of the seeds let the node machine decide about resizes; the others decide at random, so that every verdict is
    /// seen on every way.
    pub(crate) fn ask_resize(&mut self, key: Key) {
        if Random::new(self.scenario.seed, &[51]).percent(50) {
            let Some(task) = self.daemon.as_ref().and_then(|d| d.tasks.get(&key)) else { return };
            let pod = Arc::clone(task.machine.spec());
            self.ask_node(NodeInput::AskResize { uid: uid(key), pod });
            return;
        }
        let life = self.life;
        let delay = self.random.millis(1, 50);
        self.after(delay, Happening::ResizeTold { life, key, tries: 0 });
    }

    /// A verdict at random, but in the end one that lasts.
    pub(crate) fn tell_resize(&mut self, key: Key, tries: u32) {
        let task = self.daemon.as_ref().and_then(|d| d.tasks.get(&key));
        let generation = task.and_then(|t| t.machine.spec().metadata.generation).unwrap_or(0);
        let path = [30, key as u64, generation.unsigned_abs(), u64::from(tries)];
        let mut random = Random::new(self.scenario.seed, &path);
        let verdict = match random.below(10) {
            6..8 if tries < 3 => {
                let life = self.life;
                let later = random.millis(1_000, 30_000);
                self.after(later, Happening::ResizeTold { life, key, tries: tries + 1 });
                ResizeVerdict::Deferred { message: "Node didn't have enough resource: cpu".to_owned() }
            }
            0..8 => ResizeVerdict::Allowed,
            _ => ResizeVerdict::Infeasible { message: "Node didn't have enough capacity".to_owned() },
        };
        self.post(key, |letters| letters.resized = Some(verdict));
    }
}
