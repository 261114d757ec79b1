//! The task that owns the node machine: pods ask, and find its answers in their mailboxes.

use std::collections::HashMap;

use lifecycle::{Node, NodeEffect, NodeInput, OpId, PullLimits, SlotClass};
use tokio::sync::mpsc;

use super::mailbox::Mailbox;
use crate::clock;

/// What a pod asks; the task adds who it is.
#[derive(Debug)]
pub(super) enum Question {
    Admit { full_name: String, adopt: bool },
    Ended,
    AskSlot { op: OpId, class: SlotClass },
    ReturnSlot { op: OpId },
}

/// A question and where its answer goes.
#[derive(Debug)]
pub(super) struct Ask {
    uid: String,
    mailbox: Mailbox,
    question: Question,
}

impl Question {
    pub(super) fn from(self, uid: &str, mailbox: &Mailbox) -> Ask {
        Ask { uid: uid.to_owned(), mailbox: mailbox.clone(), question: self }
    }
}

/// Runs until the last pod's sender is gone.
pub(super) async fn run(mut asks: mpsc::Receiver<Ask>, pulls: PullLimits) {
    let mut node = Node::new(pulls);
    let mut mailboxes: HashMap<String, Mailbox> = HashMap::new();
    loop {
        let wake = node.next_wake().map(clock::instant_of);
        let input = tokio::select! {
            // Cancel-safe: receiving takes nothing until it returns.
            ask = asks.recv() => {
                let Some(Ask { uid, mailbox, question }) = ask else { return };
                match question {
                    Question::Admit { full_name, adopt } => {
                        mailboxes.insert(uid.clone(), mailbox);
                        NodeInput::Admit { uid, full_name, adopt }
                    }
                    Question::Ended => {
                        mailboxes.remove(&uid);
                        NodeInput::Ended { uid }
                    }
                    Question::AskSlot { op, class } => {
                        mailboxes.insert(uid.clone(), mailbox);
                        NodeInput::AskSlot { uid, op, class }
                    }
                    Question::ReturnSlot { op } => NodeInput::ReturnSlot { uid, op },
                }
            }
            () = tokio::time::sleep_until(wake.unwrap_or_else(tokio::time::Instant::now)), if wake.is_some() => NodeInput::Tick,
        };
        for effect in node.step(input, clock::now()) {
            match effect {
                NodeEffect::Admitted { uid } => {
                    if let Some(mailbox) = mailboxes.get(&uid) {
                        mailbox.admitted();
                    }
                }
                NodeEffect::Slot { uid, op } => {
                    if let Some(mailbox) = mailboxes.get(&uid) {
                        mailbox.slot(op);
                    }
                }
            }
        }
    }
}
