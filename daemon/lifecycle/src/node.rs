//! The node machine: what needs more than one pod.
//!
//! One UID at a time owns a pod's full name; a second one waits, first come, first served, until the first has ended
//! (behaviour.md 1.12). A pod is let in when it passes the checks of `checks`, beside what the others have; for a
//! critical one others are put out. Starts are given to the runtime a few at a time; how many follows from what it
//! gives back.
//!
//! | module | owns |
//! |---|---|
//! | `admission` | who has asked, who counts, what those that wait are waiting for |
//! | `checks` | the order of the checks; each check has a file of its own |
//! | `preemption` | whom a critical pod puts out |
//! | `resizes` | who waits for other resources |
//! | `shutdown` | who ends when the node goes down, and in which order |
//! | `names` | which UID a name belongs to |
//! | `limiter`, `pulls` | starts and pulls in flight |

mod admission;
mod apparmor;
mod checks;
mod claim;
mod facts;
mod features;
mod fit;
mod limiter;
mod names;
mod os;
mod preemption;
mod pressure;
mod pulls;
mod refusal;
mod resizes;
mod shutdown;
mod sysctls;
#[cfg(test)]
mod testing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as ApiPod;

use crate::effect::{Event, OpId, SlotClass};
use crate::input::ResizeVerdict;
use crate::now::Now;
use admission::Admission;
pub use facts::{Facts, Pressure};
use limiter::Limiter;
pub use pulls::PullLimits;
use pulls::Pulls;
use shutdown::Shutdown;
pub use shutdown::ShutdownGroup;

/// What the node machine is told.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeInput {
    /// The node has become another.
    Facts(Arc<Facts>),
    /// The answer to [`NodeEffect::RereadNode`]: what could be read came as [`NodeInput::Facts`] before.
    NodeRead,
    /// A pod has come that has not asked yet. Where an earlier daemon had it, or its status says that it was admitted, it
    /// counts from now on.
    Expect {
        /// Its UID.
        uid: String,
        /// As the source has it.
        pod: Arc<ApiPod>,
        /// Whether an earlier daemon had it.
        known: bool,
    },
    /// All pods that may have run before have come; told once or more. Before it nobody is ended because the node goes down,
    /// as nobody knows yet in which order.
    Gathered,
    /// A pod asks whether it may run.
    Admit {
        /// Its UID.
        uid: String,
        /// As the source has it.
        pod: Arc<ApiPod>,
        /// Whether it runs already: such a pod is not judged, it only counts.
        adopt: bool,
    },
    /// A pod that runs asks for the resources of its spec.
    AskResize {
        /// Its UID.
        uid: String,
        /// As the source has it.
        pod: Arc<ApiPod>,
    },
    /// Nothing of the pod runs any more, or it is gone: its name is free, and so is what it had of the node.
    Ended {
        /// Its UID.
        uid: String,
    },
    /// Nothing of the pod runs any more, its volumes are unmounted and its cgroup is gone; comes after [`NodeInput::Ended`].
    Settled {
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
    /// A slot that was lent may be overdue, or a pod that was put out has had its time, or those that end with the node.
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
    /// The pod may not run here.
    Refused {
        /// Its UID.
        uid: String,
        /// For its status and its event.
        reason: String,
        /// For people.
        message: String,
    },
    /// The pod is to end: a critical one needs its room, or the node goes down.
    End {
        /// Its UID.
        uid: String,
        /// For its status.
        reason: String,
        /// For people.
        message: String,
        /// Cuts its own grace period.
        grace: Option<Duration>,
        /// The resource that was short for a critical pod, the first of them where there were more (behaviour.md 3.1).
        signal: Option<String>,
    },
    /// The node may go down: all pods have ended, or have had their time. Told once each time that it is to go down.
    ShutdownOver,
    /// What is answered to [`NodeInput::AskResize`], and again whenever that changes.
    Resized {
        /// The pod's UID.
        uid: String,
        /// The answer.
        verdict: ResizeVerdict,
    },
    /// Something to be told about a pod.
    Event {
        /// The pod's UID.
        uid: String,
        /// What.
        event: Event,
    },
    /// Read the node's object again, as what is known of it may be old; answered with [`NodeInput::NodeRead`].
    RereadNode,
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
    admission: Admission,
    containers: VecDeque<(String, OpId)>,
    sandboxes: VecDeque<(String, OpId)>,
    limiter: Limiter,
    pulls: Pulls,
    shutdown: Shutdown,
}

impl Node {
    /// A node without pods. `groups` say who ends when, and how long that may take, when it goes down; without any it
    /// goes down at once.
    pub fn new(pulls: PullLimits, groups: Vec<ShutdownGroup>, facts: Arc<Facts>) -> Self {
        Self {
            admission: Admission::new(facts),
            shutdown: Shutdown::new(groups),
            containers: VecDeque::new(),
            sandboxes: VecDeque::new(),
            limiter: Limiter::default(),
            pulls: Pulls::new(pulls),
        }
    }

    /// Takes one input at `now` and tells what the pods are to be told.
    pub fn step(&mut self, input: NodeInput, now: Now) -> Vec<NodeEffect> {
        self.step_all(vec![input], now)
    }

    /// Takes what has come together. New pods are judged after everything else, the oldest first, so that it does not
    /// matter whose question came through first.
    pub fn step_all(&mut self, inputs: Vec<NodeInput>, now: Now) -> Vec<NodeEffect> {
        let mut out = Vec::new();
        let mut new: Vec<(String, Arc<ApiPod>)> = Vec::new();
        for input in inputs {
            match input {
                NodeInput::Admit { uid, pod, adopt: false } => new.push((uid, pod)),
                NodeInput::Ended { uid } => {
                    new.retain(|(asks, _)| *asks != uid);
                    self.ended(&uid, now, &mut out);
                }
                other => self.take(other, now, &mut out),
            }
        }
        new.sort_by_key(|(_, pod)| admission::created(pod));
        for (uid, pod) in new {
            self.admission.ask(uid, pod, now.boot, &mut out);
        }
        self.admission.tick(now.boot, &mut out);
        let (down, claims) = (self.admission.is_going_down(), self.admission.claims());
        self.shutdown.step(down, claims, now.boot, &mut out);
        self.limiter.reclaim(now.boot);
        self.grant(now, &mut out);
        out
    }

    fn take(&mut self, input: NodeInput, now: Now, out: &mut Vec<NodeEffect>) {
        match input {
            NodeInput::Facts(facts) => self.admission.changed(facts, now.boot, out),
            NodeInput::NodeRead => self.admission.read(now.boot, out),
            NodeInput::Expect { uid, pod, known } => self.admission.expect(uid, &pod, known),
            NodeInput::Admit { uid, pod, adopt: true } => self.admission.adopt(uid, &pod, out),
            NodeInput::Admit { uid, pod, adopt: false } => self.admission.ask(uid, pod, now.boot, out),
            NodeInput::AskResize { uid, pod } => self.admission.ask_resize(uid, pod, out),
            NodeInput::Ended { uid } => self.ended(&uid, now, out),
            NodeInput::Gathered => self.shutdown.gathered(),
            NodeInput::Settled { uid } => self.shutdown.settled(&uid),
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
    }

    /// The boot time at which [`NodeInput::Tick`] is due: a lent slot may then be overdue while others wait for it, or a
    /// pod that was put out may have had its time, or those that end with the node.
    pub fn next_wake(&self) -> Option<Duration> {
        let starts = !self.containers.is_empty() || !self.sandboxes.is_empty();
        let overdue = self.limiter.next_overdue().filter(|_| starts);
        let parts = [overdue, self.pulls.next_wake(), self.admission.next_wake(), self.shutdown.next_wake()];
        parts.into_iter().flatten().min()
    }

    /// Starts that are given to the runtime now, and how many may be.
    pub fn starts_in_flight(&self) -> (usize, usize) {
        (self.limiter.in_flight(), self.limiter.limit())
    }

    fn ended(&mut self, uid: &str, now: Now, out: &mut Vec<NodeEffect>) {
        self.containers.retain(|(u, _)| u != uid);
        self.sandboxes.retain(|(u, _)| u != uid);
        self.limiter.forget(uid);
        self.pulls.forget(uid);
        self.admission.ended(uid, now.boot, out);
    }

    fn grant(&mut self, now: Now, out: &mut Vec<NodeEffect>) {
        let pulls = self.pulls.grant(now.boot).into_iter();
        out.extend(pulls.map(|(uid, op)| NodeEffect::Slot { uid, op }));
        while self.limiter.has_room() {
            // Containers first: one pod is finished before the next is begun.
            let container = self.containers.pop_front().map(|key| (key, SlotClass::Container));
            let next = container.or_else(|| Some((self.sandboxes.pop_front()?, SlotClass::Sandbox)));
            let Some((key, class)) = next else { return };
            self.limiter.lend(key.clone(), class, now.boot);
            out.push(NodeEffect::Slot { uid: key.0, op: key.1 });
        }
    }
}

#[cfg(test)]
mod tests;
