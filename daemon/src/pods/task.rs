//! One pod's task: the machine, the calls that are under way for it, and its status writer.
//!
//! The machine lives here and nowhere else. Calls run side by side inside this task, so that one that hangs delays only
//! its own pod, and dropping one cancels it. Statuses are written one at a time; a newer one replaces an older one that
//! was not sent yet.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{Pod as ApiPod, PodStatus};
use lifecycle::{Answer, Assignment, Call, Effect, Failure, Input, OpId, Pod, Recording, Settings};
use tokio::sync::mpsc;

use super::mailbox::{Letter, Mailbox};
use super::node_task::{Ask, Question};
use super::publisher::{Publisher, Sent};
use super::view::Shown;
use crate::clock;
use crate::ledger::Ledger;
use crate::runtime::Executor;

/// What all pod tasks share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) executor: Executor,
    pub(super) publisher: Publisher,
    pub(super) node: mpsc::Sender<Ask>,
    pub(super) shown: Shown,
    pub(super) ledger: Ledger,
}

type Answered = (OpId, Result<Answer, Failure>);

/// A status on its way to the API.
#[derive(Debug)]
struct Outgoing {
    version: u64,
    status: Arc<PodStatus>,
    failures: u32,
    /// Boot time of the oldest change in it.
    changed: Duration,
}

pub(super) struct PodTask {
    shared: Shared,
    mailbox: Mailbox,
    machine: Pod,
    recording: Recording,
    uid: String,
    calls: FuturesUnordered<Abortable<BoxFuture<'static, Answered>>>,
    handles: Vec<(OpId, AbortHandle)>,
    /// Whether the runtime was read before this pod was known and had nothing of it: the first look is free.
    unknown_to_runtime: bool,
    pending: Option<Outgoing>,
    sending: Option<BoxFuture<'static, (Outgoing, Sent)>>,
    /// Boot time before which nothing is sent, after a failure.
    send_after: Option<Duration>,
    /// Whether the node was told that nothing runs, and that the volumes are unmounted.
    freed: bool,
    settled: bool,
}

impl PodTask {
    pub(super) fn new(
        shared: Shared,
        mailbox: Mailbox,
        assignment: Assignment,
        host_ips: Vec<String>,
        unknown_to_runtime: bool,
    ) -> Self {
        let uid = assignment.pod.metadata.uid.clone().unwrap_or_default();
        let machine = Pod::new(Arc::clone(&shared.settings), assignment, host_ips);
        Self {
            shared,
            mailbox,
            recording: Recording::new(&machine),
            machine,
            uid,
            calls: FuturesUnordered::new(),
            handles: Vec::new(),
            unknown_to_runtime,
            pending: None,
            sending: None,
            send_after: None,
            freed: false,
            settled: false,
        }
    }

    /// Runs until nothing is left of the pod; tells its UID.
    pub(super) async fn run(mut self) -> String {
        while !self.machine.is_finished() {
            let input = self.next_input().await;
            self.take(input).await;
        }
        self.shared.shown.remove(&self.uid);
        self.shared.publisher.ended(self.machine.spec());
        self.free().await;
        self.settle().await;
        self.uid
    }

    async fn next_input(&mut self) -> Input {
        self.begin_sending();
        let wake = [self.machine.next_wake(), self.pending.as_ref().and(self.send_after)];
        let wake = wake.into_iter().flatten().min();
        let deadline = wake.map(clock::instant_of);
        tokio::select! {
            // Letters first: a stop overtakes the answers of work that it makes needless. Cancel-safe: see Mailbox::next.
            biased;
            letter = self.mailbox.next() => match letter {
                Letter::Input(input) => input,
                Letter::Explain(reply) => {
                    // Whoever asked may have gone.
                    let _ = reply.try_send(self.recording.clone());
                    Input::Tick
                }
                Letter::Republish => {
                    self.send_after = None;
                    self.put_right();
                    Input::Tick
                }
            },
            // Cancel-safe: an answer leaves the set only when it is returned here.
            Some(answered) = self.calls.next(), if !self.calls.is_empty() => match answered {
                Ok((op, outcome)) => {
                    self.handles.retain(|(o, _)| *o != op);
                    Input::Answered { op, outcome }
                }
                Err(_aborted) => Input::Tick,
            },
            // Cancel-safe: the future stays in `sending` until it is done.
            (outgoing, sent) = sent(&mut self.sending), if self.sending.is_some() => {
                self.sending = None;
                self.after_sending(outgoing, sent)
            }
            () = sleep_until(deadline), if deadline.is_some() => Input::Tick,
        }
    }

    async fn take(&mut self, input: Input) {
        let assigned = matches!(&input, Input::Assigned(_));
        if let Input::Assigned(assignment) = &input {
            self.shared.publisher.seen(&assignment.pod);
        }
        let now = clock::now();
        let effects = self.machine.step(input.clone(), now);
        self.recording.note(&self.machine, input, now, &effects);
        for effect in effects {
            self.carry_out(effect).await;
        }
        if assigned {
            self.put_right();
        }
        self.shared.shown.update(&self.uid, &self.machine);
        if self.machine.is_terminated() {
            self.free().await;
        }
        if self.machine.is_settled() {
            self.settle().await;
        }
    }

    /// Sends the status again where somebody else wrote another one.
    fn put_right(&mut self) {
        if self.pending.is_some() || self.sending.is_some() {
            return;
        }
        let Some(status) = self.machine.status() else { return };
        if self.shared.publisher.differs(self.machine.spec(), status) {
            let version = self.machine.version();
            self.pending =
                Some(Outgoing { version, status: Arc::clone(status), failures: 0, changed: clock::boot() });
        }
    }

    async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Admit { adopt } => {
                let pod = Arc::clone(self.machine.spec());
                self.ask_node(Question::Admit { pod, adopt }).await;
            }
            Effect::AskSlot { op, class } => self.ask_node(Question::AskSlot { op, class }).await,
            Effect::ReturnSlot { op } => self.ask_node(Question::ReturnSlot { op }).await,
            Effect::Call { op, call } => self.begin(op, call),
            Effect::Cancel { op } => {
                if let Some(at) = self.handles.iter().position(|(o, _)| *o == op) {
                    self.handles.swap_remove(at).1.abort();
                }
            }
            Effect::Publish { version, status } => {
                self.shared.ledger.told(&self.uid, &status);
                let changed = self.pending.take().map_or_else(clock::boot, |older| older.changed);
                self.pending = Some(Outgoing { version, status, failures: 0, changed });
                self.send_after = None;
            }
            // Nothing is probed yet: pods with probes are not let this far.
            Effect::Probe(_) => {}
            Effect::AskResize => {
                let pod = Arc::clone(self.machine.spec());
                self.ask_node(Question::Resize { pod }).await;
            }
            Effect::Keep(kept) => self.shared.ledger.keep(&self.uid, kept),
            Effect::Event(event) => self.shared.publisher.event(self.machine.spec(), event),
            Effect::Finished => {}
        }
    }

    fn begin(&mut self, op: OpId, call: Call) {
        let pod = Arc::clone(self.machine.spec());
        let free_look = call == Call::Observe && std::mem::take(&mut self.unknown_to_runtime);
        let future: BoxFuture<'static, Answered> = match call {
            Call::Observe if free_look => {
                Box::pin(std::future::ready((op, Ok(Answer::Observed(lifecycle::Observation::default())))))
            }
            Call::DeleteObject => {
                let publisher = self.shared.publisher.clone();
                Box::pin(async move { (op, publisher.delete(&pod).await) })
            }
            call => {
                let executor = self.shared.executor.clone();
                Box::pin(async move { (op, executor.carry_out(&pod, call).await) })
            }
        };
        let (handle, registration) = AbortHandle::new_pair();
        self.handles.push((op, handle));
        self.calls.push(Abortable::new(future, registration));
    }

    fn begin_sending(&mut self) {
        if self.sending.is_some() || self.send_after.is_some_and(|at| at > clock::boot()) {
            return;
        }
        let Some(outgoing) = self.pending.take() else { return };
        let publisher = self.shared.publisher.clone();
        let pod: Arc<ApiPod> = Arc::clone(self.machine.spec());
        self.sending = Some(Box::pin(async move {
            let sent = publisher.send(&pod, &outgoing.status, outgoing.changed).await;
            (outgoing, sent)
        }));
    }

    fn after_sending(&mut self, mut outgoing: Outgoing, sent: Sent) -> Input {
        match sent {
            Sent::Taken => Input::Published { version: outgoing.version, gone: false },
            Sent::Gone => Input::Published { version: outgoing.version, gone: true },
            Sent::Failed => {
                outgoing.failures += 1;
                let delay = Duration::from_millis(200).saturating_mul(1 << outgoing.failures.min(5));
                self.send_after = Some(clock::boot() + delay);
                // A newer status may be waiting: it is the one that is sent.
                let changed = outgoing.changed;
                self.pending.get_or_insert(outgoing).changed = changed;
                Input::Tick
            }
        }
    }

    /// Gives the pod's name back to the node, once.
    async fn free(&mut self) {
        if !std::mem::replace(&mut self.freed, true) {
            self.ask_node(Question::Ended).await;
        }
    }

    /// Tells the node that nothing of the pod has to be waited for, once.
    async fn settle(&mut self) {
        if !std::mem::replace(&mut self.settled, true) {
            self.ask_node(Question::Settled).await;
        }
    }

    fn ask_node(&self, question: Question) -> impl Future<Output = ()> + Send + use<> {
        let node = self.shared.node.clone();
        let ask = question.from(&self.uid, &self.mailbox);
        // The node task lives as long as the daemon; without it the daemon is ending.
        async move { drop(node.send(ask).await) }
    }
}

async fn sent(sending: &mut Option<BoxFuture<'static, (Outgoing, Sent)>>) -> (Outgoing, Sent) {
    match sending {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
