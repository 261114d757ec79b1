//! What a pod's task is told, kept so that telling never waits and nothing grows.
//!
//! Levels are kept as their latest value; answers to what the pod itself asked for are queued, and are at most as many
//! as it asked for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lifecycle::{Assignment, Input, OpId, ProbeKind, Recording, ResizeVerdict};
use tokio::sync::{Notify, mpsc};

use crate::runtime::News;

/// Events of the runtime that are kept one by one.
const NEWS: usize = 8;

/// What a pod's task finds in its mailbox.
#[derive(Debug)]
pub(crate) enum Letter {
    /// For the machine.
    Input(Input),
    /// Something has happened to the pod in the runtime.
    News(News),
    /// The API may have lost the pod's status: it is to be compared and sent again.
    Republish,
    /// Somebody wants to know what was recorded.
    Explain(mpsc::Sender<Recording>),
}

#[derive(Debug, Default)]
struct Letters {
    assignment: Option<Assignment>,
    removed: Option<Option<Duration>>,
    host_ips: Option<Vec<String>>,
    runtime_back: bool,
    runtime_changed: bool,
    news: VecDeque<News>,
    republish: bool,
    explain: Option<mpsc::Sender<Recording>>,
    kill: Option<Input>,
    /// Dead containers that are to go.
    trim: Option<Vec<String>>,
    resized: Option<ResizeVerdict>,
    /// At most one for each probe of each container that is probed.
    verdicts: Vec<(String, ProbeKind, bool)>,
    answers: VecDeque<Input>,
}

/// The sending and the receiving side are the same; clones share the letters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mailbox {
    letters: Arc<Mutex<Letters>>,
    arrived: Arc<Notify>,
}

impl Mailbox {
    fn post(&self, write: impl FnOnce(&mut Letters)) {
        write(&mut self.letters.lock().unwrap_or_else(PoisonError::into_inner));
        self.arrived.notify_one();
    }

    /// The source has this pod; replaces what it had before.
    pub(crate) fn assign(&self, assignment: Assignment) {
        self.post(|l| l.assignment = Some(assignment));
    }

    /// The source has the pod no more.
    pub(crate) fn remove(&self, grace: Option<Duration>) {
        self.post(|l| l.removed = Some(grace));
    }

    /// The node's addresses.
    pub(crate) fn host_ips(&self, ips: Vec<String>) {
        self.post(|l| l.host_ips = Some(ips));
    }

    /// The runtime may have something new of the pod.
    pub(crate) fn runtime_changed(&self) {
        self.post(|l| l.runtime_changed = true);
    }

    /// Something has happened to the pod in the runtime; of many things at once it is enough to know that there were some.
    pub(crate) fn news(&self, news: News) {
        self.post(|l| {
            if l.news.len() < NEWS && !l.runtime_changed {
                l.news.push_back(news);
            } else {
                l.runtime_changed = true;
            }
        });
    }

    /// The runtime answers again.
    pub(crate) fn runtime_back(&self) {
        self.post(|l| l.runtime_back = true);
    }

    /// The API may have lost the pod's status.
    pub(crate) fn republish(&self) {
        self.post(|l| l.republish = true);
    }

    /// Somebody wants to know what was recorded; of two who ask at once the second is answered.
    pub(crate) fn explain(&self, reply: mpsc::Sender<Recording>) {
        self.post(|l| l.explain = Some(reply));
    }

    /// The node machine lets the pod run.
    pub(crate) fn admitted(&self) {
        self.post(|l| l.answers.push_back(Input::Admitted));
    }

    /// The node machine does not let the pod run.
    pub(crate) fn refused(&self, reason: String, message: String) {
        self.post(|l| l.answers.push_back(Input::Refused { reason, message }));
    }

    /// The pod is to end for a reason of the node's, `grace` cutting its own grace period. The first reason counts, and the
    /// shortest grace. `disrupts`: it ends for others' sake.
    pub(crate) fn kill(&self, reason: String, message: String, grace: Option<Duration>, disrupts: bool) {
        self.post(|l| match &mut l.kill {
            Some(Input::Kill { grace: before, .. }) => {
                *before = [*before, grace].into_iter().flatten().min();
            }
            kill => *kill = Some(Input::Kill { reason, message, grace, disrupts }),
        });
    }

    /// The node wants the room of these dead containers; replaces what was said before.
    pub(crate) fn trim(&self, ids: Vec<String>) {
        self.post(|l| l.trim = Some(ids));
    }

    /// Whether the pod may have the resources of its spec; replaces what was said before.
    pub(crate) fn resized(&self, verdict: ResizeVerdict) {
        self.post(|l| l.resized = Some(verdict));
    }

    /// The verdict of a probe of the container with this id of the runtime's; replaces an earlier one of the same probe.
    pub(crate) fn probed(&self, id: &str, kind: ProbeKind, success: bool) {
        self.post(|l| match l.verdicts.iter_mut().find(|(of, k, _)| of == id && *k == kind) {
            Some((_, _, verdict)) => *verdict = success,
            None => l.verdicts.push((id.to_owned(), kind, success)),
        });
    }

    /// A start slot that the pod asked for is free.
    pub(crate) fn slot(&self, op: OpId) {
        self.post(|l| l.answers.push_back(Input::Slot { op }));
    }

    /// Takes the next letter, in an order in which the newest spec is known before anything is planned.
    fn take(&self) -> Option<Letter> {
        let mut l = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ips) = l.host_ips.take() {
            return Some(Letter::Input(Input::HostIps(ips)));
        }
        if let Some(assignment) = l.assignment.take() {
            return Some(Letter::Input(Input::Assigned(assignment)));
        }
        if let Some(grace) = l.removed.take() {
            return Some(Letter::Input(Input::Removed { grace }));
        }
        if let Some(kill) = l.kill.take() {
            return Some(Letter::Input(kill));
        }
        if std::mem::take(&mut l.runtime_back) {
            return Some(Letter::Input(Input::RuntimeBack));
        }
        if std::mem::take(&mut l.runtime_changed) {
            l.news.clear();
            return Some(Letter::Input(Input::RuntimeChanged));
        }
        if let Some(news) = l.news.pop_front() {
            return Some(Letter::News(news));
        }
        if std::mem::take(&mut l.republish) {
            return Some(Letter::Republish);
        }
        if let Some(reply) = l.explain.take() {
            return Some(Letter::Explain(reply));
        }
        if let Some(ids) = l.trim.take() {
            return Some(Letter::Input(Input::Trim { ids }));
        }
        if let Some(verdict) = l.resized.take() {
            return Some(Letter::Input(Input::Resized(verdict)));
        }
        if !l.verdicts.is_empty() {
            let (id, kind, success) = l.verdicts.remove(0);
            return Some(Letter::Input(Input::Probed { id, kind, success }));
        }
        l.answers.pop_front().map(Letter::Input)
    }

    /// Waits for the next letter. Cancel-safe: a letter is taken only when it is returned.
    pub(crate) async fn next(&self) -> Letter {
        loop {
            if let Some(letter) = self.take() {
                return letter;
            }
            self.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_posted_twice_is_read_once_and_answers_are_all_kept() {
        let mailbox = Mailbox::default();
        mailbox.runtime_changed();
        mailbox.runtime_changed();
        mailbox.slot(OpId(1));
        mailbox.slot(OpId(2));
        assert!(matches!(mailbox.next().await, Letter::Input(Input::RuntimeChanged)));
        assert!(matches!(mailbox.next().await, Letter::Input(Input::Slot { op: OpId(1) })));
        assert!(matches!(mailbox.next().await, Letter::Input(Input::Slot { op: OpId(2) })));
        assert!(mailbox.take().is_none());
    }

    #[tokio::test]
    async fn of_two_verdicts_of_one_probe_the_newer_counts() {
        let mailbox = Mailbox::default();
        mailbox.probed("a", ProbeKind::Readiness, true);
        mailbox.probed("a", ProbeKind::Liveness, false);
        mailbox.probed("a", ProbeKind::Readiness, false);
        let mut told = Vec::new();
        while let Some(letter) = mailbox.take() {
            let Letter::Input(Input::Probed { kind, success, .. }) = letter else { panic!("a verdict") };
            told.push((kind, success));
        }
        assert_eq!(told, [(ProbeKind::Readiness, false), (ProbeKind::Liveness, false)]);
    }

    #[tokio::test]
    async fn of_two_kills_the_first_reason_counts_and_the_shorter_grace() {
        let mailbox = Mailbox::default();
        let second = Duration::from_secs(1);
        mailbox.kill("Preempting".to_owned(), "room".to_owned(), None, true);
        mailbox.kill("Terminated".to_owned(), "down".to_owned(), Some(second), true);
        mailbox.kill("Terminated".to_owned(), "down".to_owned(), Some(second * 5), true);
        let Letter::Input(Input::Kill { reason, grace, .. }) = mailbox.next().await else { panic!("a kill") };
        assert_eq!((reason.as_str(), grace), ("Preempting", Some(second)));
        assert!(mailbox.take().is_none());
    }
}
