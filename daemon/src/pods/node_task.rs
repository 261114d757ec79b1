//! The task that owns the node machine: pods ask, and find its answers in their mailboxes.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ObjectReference, Pod as ApiPod};
use lifecycle::{Facts, Node, NodeEffect, NodeInput, OpId, PullLimits, ShutdownGroup, SlotClass};
use tokio::sync::{mpsc, watch};

use super::mailbox::Mailbox;
use super::publisher::Publisher;
use crate::clock;
use crate::events::pod_reference;
use crate::health::Ping;
use crate::metrics::Metrics;
use crate::node::NodeView;
use crate::node::facts::{self, Reader};

/// Questions that are answered together, so that it does not matter which of the pods that ask at once came first.
const TOGETHER: usize = 256;

/// What the node machine is to know of the node.
#[derive(Debug)]
pub(crate) struct NodeSide {
    /// What is known at any time.
    pub(crate) facts: watch::Receiver<Arc<Facts>>,
    /// Who ends when the node goes down, and how long that may take.
    pub(crate) groups: Vec<ShutdownGroup>,
    /// Counts up when all pods have ended, or have had their time, because the node goes down.
    pub(crate) over: watch::Sender<u64>,
    /// Reads the node's object when what is known may be old; `None` without an API server.
    pub(crate) reader: Option<Reader>,
}

/// What a pod asks; the task adds who it is.
#[derive(Debug)]
pub(super) enum Question {
    Admit {
        pod: Arc<ApiPod>,
        adopt: bool,
    },
    Resize {
        pod: Arc<ApiPod>,
    },
    Ended,
    /// Its volumes are unmounted too.
    Settled,
    AskSlot {
        op: OpId,
        class: SlotClass,
    },
    ReturnSlot {
        op: OpId,
    },
}

/// What the node task is told.
#[derive(Debug)]
pub(super) enum Ask {
    /// By the supervisor: the pod has come, and an earlier daemon may have had it.
    Expect { pod: Arc<ApiPod>, mailbox: Mailbox, known: bool },
    /// By the supervisor: all pods that may have run before have come.
    Gathered,
    /// By the supervisor, for whoever wants to know whether the daemon is well.
    Ping(Ping),
    /// By a pod's task: a question, and where its answer goes.
    Pod { uid: String, mailbox: Mailbox, question: Question },
}

impl Question {
    pub(super) fn from(self, uid: &str, mailbox: &Mailbox) -> Ask {
        Ask::Pod { uid: uid.to_owned(), mailbox: mailbox.clone(), question: self }
    }
}

/// Runs until the last pod's sender is gone.
pub(super) async fn run(
    mut asks: mpsc::Receiver<Ask>,
    pulls: PullLimits,
    side: NodeSide,
    publisher: Publisher,
    metrics: Metrics,
) {
    let NodeSide { facts: mut known, groups, over, reader } = side;
    let node = Node::new(pulls, groups, Arc::clone(&known.borrow_and_update()));
    let mut task = NodeTask { node, pods: HashMap::new(), publisher, over, metrics, reader, reading: None };
    let mut asked = Vec::with_capacity(TOGETHER);
    loop {
        let wake = task.node.next_wake().map(clock::instant_of);
        let inputs = tokio::select! {
            // What is known of the node comes before those who are judged by it. Every step does what a tick does.
            biased;
            // Cancel-safe: a level.
            Ok(()) = known.changed() => vec![NodeInput::Facts(Arc::clone(&known.borrow_and_update()))],
            // Cancel-safe: the future stays in `reading` until it is done.
            read = done(&mut task.reading), if task.reading.is_some() => {
                task.reading = None;
                let fresh = read.map(|view| facts::with_object(&known.borrow(), &view));
                fresh.map(|facts| NodeInput::Facts(Arc::new(facts))).into_iter().chain([NodeInput::NodeRead]).collect()
            }
            // Cancel-safe: receiving takes nothing until it returns.
            count = asks.recv_many(&mut asked, TOGETHER) => {
                if count == 0 {
                    return;
                }
                asked.drain(..).map(|ask| task.input(ask)).collect()
            }
            () = tokio::time::sleep_until(wake.unwrap_or_else(tokio::time::Instant::now)), if wake.is_some() => {
                vec![NodeInput::Tick]
            }
        };
        for effect in task.node.step_all(inputs, clock::now()) {
            task.carry_out(effect);
        }
    }
}

/// A pod that may get an answer.
#[derive(Debug)]
struct Known {
    mailbox: Mailbox,
    /// For its events. Not the object: it would be held in the state that it was admitted in, beside the one of now.
    about: ObjectReference,
}

struct NodeTask {
    node: Node,
    pods: HashMap<String, Known>,
    publisher: Publisher,
    over: watch::Sender<u64>,
    metrics: Metrics,
    reader: Option<Reader>,
    /// The node's object, on its way.
    reading: Option<BoxFuture<'static, Option<NodeView>>>,
}

impl NodeTask {
    fn input(&mut self, ask: Ask) -> NodeInput {
        let (uid, mailbox, question) = match ask {
            Ask::Expect { pod, mailbox, known } => {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                self.pods.insert(uid.clone(), Known { mailbox, about: pod_reference(&pod) });
                return NodeInput::Expect { uid, pod, known };
            }
            Ask::Gathered => return NodeInput::Gathered,
            Ask::Ping(ping) => {
                // Whoever asked may have given up.
                let _ = ping.send(());
                return NodeInput::Tick;
            }
            Ask::Pod { uid, mailbox, question } => (uid, mailbox, question),
        };
        match question {
            Question::Admit { pod, adopt } => {
                self.pods.insert(uid.clone(), Known { mailbox, about: pod_reference(&pod) });
                NodeInput::Admit { uid, pod, adopt }
            }
            Question::Resize { pod } => {
                self.pods.insert(uid.clone(), Known { mailbox, about: pod_reference(&pod) });
                NodeInput::AskResize { uid, pod }
            }
            Question::Ended => {
                self.pods.remove(&uid);
                NodeInput::Ended { uid }
            }
            Question::Settled => NodeInput::Settled { uid },
            Question::AskSlot { op, class } => NodeInput::AskSlot { uid, op, class },
            Question::ReturnSlot { op } => NodeInput::ReturnSlot { uid, op },
        }
    }

    fn carry_out(&mut self, effect: NodeEffect) {
        let mailbox = |uid: &str| self.pods.get(uid).map(|known| &known.mailbox);
        match effect {
            NodeEffect::Admitted { uid } => {
                if let Some(mailbox) = mailbox(&uid) {
                    mailbox.admitted();
                }
            }
            NodeEffect::Refused { uid, reason, message } => {
                self.metrics.pod_refused(&reason);
                if let Some(mailbox) = mailbox(&uid) {
                    mailbox.refused(reason, message);
                }
            }
            NodeEffect::End { uid, reason, message, grace, signal } => {
                if let Some(signal) = signal {
                    self.metrics.pod_preempted(&signal);
                }
                if let Some(mailbox) = mailbox(&uid) {
                    mailbox.kill(reason, message, grace, true);
                }
            }
            NodeEffect::ShutdownOver => self.over.send_modify(|times| *times += 1),
            NodeEffect::Resized { uid, verdict } => {
                if let Some(mailbox) = mailbox(&uid) {
                    mailbox.resized(verdict);
                }
            }
            NodeEffect::Slot { uid, op } => {
                if let Some(mailbox) = mailbox(&uid) {
                    mailbox.slot(op);
                }
            }
            NodeEffect::Event { uid, event } => {
                if let Some(known) = self.pods.get(&uid) {
                    self.publisher.event_about(known.about.clone(), event);
                }
            }
            NodeEffect::RereadNode => {
                self.reading = Some(match self.reader.clone() {
                    Some(reader) => Box::pin(reader.read()),
                    None => Box::pin(std::future::ready(None)),
                });
            }
        }
    }
}

async fn done(reading: &mut Option<BoxFuture<'static, Option<NodeView>>>) -> Option<NodeView> {
    match reading {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
