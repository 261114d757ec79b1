//! The node machine: what needs more than one pod.
//!
//! One UID at a time owns a pod's full name; a second one waits, first come, first served, until the first has ended
//! (behaviour.md 1.12). Starts are given to the runtime a few at a time; how many follows from what it gives back.

mod limiter;
mod pulls;

use std::collections::{BTreeMap, VecDeque};

use crate::effect::{OpId, SlotClass};
use crate::now::Now;
use limiter::Limiter;
pub use pulls::PullLimits;
use pulls::Pulls;

/// What the node machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeInput {
    /// A pod asks whether it may run.
    Admit {
        /// Its UID.
        uid: String,
        /// `namespace/name`.
        full_name: String,
        /// Whether it runs already.
        adopt: bool,
    },
    /// Nothing of the pod runs any more, or it is gone: its name is free.
    Ended {
        /// Its UID.
        uid: String,
    },
    /// A pod asks for a start slot.
    AskSlot {
        /// Its UID.
        uid: String,
        /// The work that needs it.
        op: OpId,
        /// Its queue.
        class: SlotClass,
    },
    /// A slot is not needed any more, granted or not.
    ReturnSlot {
        /// The pod's UID.
        uid: String,
        /// The work that had it.
        op: OpId,
    },
    /// A slot that was lent may be overdue.
    Tick,
}

/// What the node machine answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeEffect {
    /// The pod may run.
    Admitted {
        /// Its UID.
        uid: String,
    },
    /// The pod may use a start slot.
    Slot {
        /// Its UID.
        uid: String,
        /// The work that asked.
        op: OpId,
    },
}

/// What needs more than one pod; see the module's page.
#[derive(Debug)]
pub struct Node {
    names: BTreeMap<String, String>,
    waiting: BTreeMap<String, VecDeque<String>>,
    containers: VecDeque<(String, OpId)>,
    sandboxes: VecDeque<(String, OpId)>,
    limiter: Limiter,
    pulls: Pulls,
}

impl Node {
    /// A node without pods.
    pub fn new(pulls: PullLimits) -> Self {
        Self {
            names: BTreeMap::new(),
            waiting: BTreeMap::new(),
            containers: VecDeque::new(),
            sandboxes: VecDeque::new(),
            limiter: Limiter::default(),
            pulls: Pulls::new(pulls),
        }
    }

    /// Takes one input at `now` and tells what the pods are to be told.
    pub fn step(&mut self, input: NodeInput, now: Now) -> Vec<NodeEffect> {
        let mut out = Vec::new();
        match input {
            NodeInput::Admit { uid, full_name, adopt } => self.admit(uid, full_name, adopt, &mut out),
            NodeInput::Ended { uid } => self.ended(&uid, &mut out),
            NodeInput::AskSlot { uid, op, class } => match class {
                SlotClass::Container => self.containers.push_back((uid, op)),
                SlotClass::Sandbox => self.sandboxes.push_back((uid, op)),
                SlotClass::Pull => self.pulls.ask((uid, op)),
            },
            NodeInput::ReturnSlot { uid, op } => {
                let key = (uid, op);
                self.containers.retain(|k| *k != key);
                self.sandboxes.retain(|k| *k != key);
                self.limiter.returned(&key, now.boot);
                self.pulls.returned(&key);
            }
            NodeInput::Tick => {}
        }
        self.limiter.reclaim(now.boot);
        self.grant(now, &mut out);
        out
    }

    /// The boot time at which [`NodeInput::Tick`] is due: a lent slot may then be overdue while others wait for it.
    pub fn next_wake(&self) -> Option<std::time::Duration> {
        let starts = !self.containers.is_empty() || !self.sandboxes.is_empty();
        let overdue = self.limiter.next_overdue().filter(|_| starts);
        [overdue, self.pulls.next_wake()].into_iter().flatten().min()
    }

    /// Starts that are given to the runtime now, and how many may be.
    pub fn starts_in_flight(&self) -> (usize, usize) {
        (self.limiter.in_flight(), self.limiter.limit())
    }

    fn admit(&mut self, uid: String, full_name: String, adopt: bool, out: &mut Vec<NodeEffect>) {
        match self.names.get(&full_name) {
            Some(owner) if *owner != uid && !adopt => {
                let queue = self.waiting.entry(full_name).or_default();
                if !queue.contains(&uid) {
                    queue.push_back(uid);
                }
            }
            Some(owner) if *owner != uid => {}
            _ => {
                self.names.insert(full_name, uid.clone());
                out.push(NodeEffect::Admitted { uid });
            }
        }
    }

    fn ended(&mut self, uid: &str, out: &mut Vec<NodeEffect>) {
        for queue in self.waiting.values_mut() {
            queue.retain(|u| u != uid);
        }
        self.containers.retain(|(u, _)| u != uid);
        self.sandboxes.retain(|(u, _)| u != uid);
        self.limiter.forget(uid);
        self.pulls.forget(uid);
        let owned: Vec<String> =
            self.names.iter().filter(|(_, o)| *o == uid).map(|(n, _)| n.clone()).collect();
        for name in owned {
            match self.waiting.get_mut(&name).and_then(VecDeque::pop_front) {
                Some(next) => {
                    self.names.insert(name, next.clone());
                    out.push(NodeEffect::Admitted { uid: next });
                }
                None => {
                    self.names.remove(&name);
                }
            }
        }
        self.waiting.retain(|_, queue| !queue.is_empty());
    }

    fn grant(&mut self, now: Now, out: &mut Vec<NodeEffect>) {
        let pulls = self.pulls.grant(now.boot).into_iter();
        out.extend(pulls.map(|(uid, op)| NodeEffect::Slot { uid, op }));
        while self.limiter.has_room() {
            // Containers first: one pod is finished before the next is begun.
            let Some(key) = self.containers.pop_front().or_else(|| self.sandboxes.pop_front()) else {
                return;
            };
            self.limiter.lend(key.clone(), now.boot);
            out.push(NodeEffect::Slot { uid: key.0, op: key.1 });
        }
    }
}

#[cfg(test)]
mod tests;
