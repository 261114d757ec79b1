//! The daemon's task that owns the node machine: pods ask, and find its answers in their mailboxes.

use std::sync::Arc;

use lifecycle::{Facts, Input, Node, NodeEffect, NodeInput, PullLimits, ResizeVerdict};
use podspec::Quantity;

use crate::going_down;
use crate::invariants::{Broken, Check, must};
use crate::random::Random;
use crate::workload::{Key, key_of, uid};
use crate::world::{Happening, World};

/// A node of the size that the seed gives it: most have room for everything.
pub(crate) fn facts(seed: u64) -> Arc<Facts> {
    let mut mood = Random::new(seed, &[50]);
    let plenty = Quantity::from_units(1 << 40);
    let cpu = if mood.percent(25) { Quantity::from_milli(500) } else { plenty };
    let sizes = [("cpu", cpu), ("memory", plenty), ("ephemeral-storage", plenty), ("pods", plenty)];
    let allocatable = sizes.map(|(name, size)| (name.to_owned(), size)).into();
    Arc::new(Facts { seen: true, pod_level_resources: true, allocatable, ..Facts::default() })
}

/// The node machine of a new daemon.
pub(crate) fn node(seed: u64, facts: &Arc<Facts>) -> Node {
    let limits = if Random::new(seed, &[52]).percent(30) {
        PullLimits { parallel: 1, per_second: 1.0, burst: 1 }
    } else {
        PullLimits::default()
    };
    Node::new(limits, going_down::groups(), Arc::clone(facts))
}

impl World {
    /// Gives the node machine one input.
    pub(crate) fn ask_node(&mut self, input: NodeInput) {
        let now = self.now();
        let Some(daemon) = &mut self.daemon else { return };
        let adopts = matches!(input, NodeInput::Admit { adopt: true, .. });
        for effect in daemon.node.step(input, now) {
            if let Err(broken) = self.check_node_effect(&effect, adopts) {
                self.broken.get_or_insert(broken);
            }
            self.node_effect(effect);
        }
    }

    fn check_node_effect(&mut self, effect: &NodeEffect, adopts: bool) -> Check {
        match effect {
            NodeEffect::Admitted { uid } => {
                let fine = adopts || self.going_down.is_none();
                must("nobody_new_is_let_in_on_the_way_down", fine, || format!("{uid} is admitted"))
            }
            NodeEffect::End { uid, reason, .. } if reason == "Preempting" => {
                self.only_a_critical_pod_puts_out_others(key_of(uid))
            }
            NodeEffect::End { uid, .. } => self.groups_end_by_rising_priority(key_of(uid)),
            NodeEffect::ShutdownOver => self.the_way_down_is_over(),
            _ => Ok(()),
        }
    }

    /// Somebody of more importance must be waiting for what the victim has (behaviour.md 3.1, 3.2).
    fn only_a_critical_pod_puts_out_others(&self, victim: Key) -> Check {
        let object = |key: Key| &self.workload.pods[key].object;
        let priority = |key: Key| object(key).spec.as_ref().and_then(|s| s.priority);
        let may = |key: Key| {
            key != victim
                && podspec::is_critical(object(key))
                && (!podspec::is_critical(object(victim))
                    || matches!((priority(key), priority(victim)), (Some(a), Some(b)) if a > b))
        };
        let keys = self.daemon.iter().flat_map(|d| d.tasks.keys().copied());
        let runs = |key: &Key| self.runtime.pods.get(key).is_some_and(|p| p.running().count() > 0);
        let any = keys.filter(|key| may(*key)).any(|key| !runs(&key));
        let name = "only_a_critical_pod_puts_out_others";
        if any { Ok(()) } else { Err(Broken::new(name, format!("pod {victim} is put out"))) }
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
            NodeEffect::End { uid, reason, message, grace, .. } => {
                self.post(key_of(&uid), |letters| letters.kill(reason, message, grace));
            }
            NodeEffect::ShutdownOver => {}
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
