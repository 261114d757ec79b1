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
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod as ApiPod, PodStatus};
use lifecycle::{
    Answer, Assignment, Call, Effect, Failure, Input, OpId, Pod, ProbeTarget, Recording, Settings,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::mailbox::{Letter, Mailbox};
use super::node_task::{Ask, Question};
use super::publisher::{Publisher, Sent, Turn};
use super::urgency::{PATIENCE, Urgency, urgency};
use super::view::Shown;
use crate::clock;
use crate::followed::Known;
use crate::ledger::Ledger;
use crate::metrics::{Step, Work};
use crate::objects::Registration;
use crate::probes::{Probing, Wanted};
use crate::runtime::{Executor, News};

/// Events that wait for a look.
const MAX_NEWS: usize = 8;

/// What all pod tasks share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) settings: Arc<Settings>,
    pub(super) executor: Executor,
    pub(super) publisher: Publisher,
    pub(super) node: mpsc::Sender<Ask>,
    pub(super) shown: Shown,
    pub(super) ledger: Ledger,
    pub(super) probing: Probing,
    pub(super) work: Work,
}

/// What is to be probed, as the machine said last, and what the prober was told.
#[derive(Debug, Default)]
struct Probes {
    targets: Vec<ProbeTarget>,
    /// The address that the prober knows.
    pod_ip: Option<String>,
    changed: bool,
}

impl Probes {
    fn replace(&mut self, targets: Vec<ProbeTarget>) {
        self.targets = targets;
        self.changed = true;
    }

    /// What the prober does not know yet.
    fn news(&mut self, pod_ip: Option<&str>) -> Option<Vec<ProbeTarget>> {
        let moved = !self.targets.is_empty() && self.pod_ip.as_deref() != pod_ip;
        if !std::mem::take(&mut self.changed) && !moved {
            return None;
        }
        self.pod_ip = pod_ip.map(str::to_owned);
        Some(self.targets.clone())
    }
}

type Answered = (OpId, Result<Answer, Failure>);

/// A status on its way to the API.
#[derive(Debug)]
struct Outgoing {
    version: u64,
    status: Arc<PodStatus>,
    urgency: Urgency,
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
    /// The status that is sent next. It is replaced by a newer one until its turn has come.
    pending: Option<Outgoing>,
    turn: Option<(Urgency, BoxFuture<'static, Option<Turn>>)>,
    sending: Option<BoxFuture<'static, (Outgoing, Sent)>>,
    /// Boot time before which nothing is sent: after a failure, or because a better status may follow soon.
    send_after: Option<Duration>,
    /// Events of the runtime that the next look may show.
    news: Vec<News>,
    /// Keeps the objects that the pod refers to; none is needed once nothing of the pod can run any more.
    objects: Option<Registration>,
    /// The runtime classes, of a pod that has one.
    classes: Option<watch::Receiver<Known<String>>>,
    probes: Probes,
    /// When the pod was heard of.
    seen: Instant,
    /// Whether it was seen before it ran: then its start is measured.
    starts: bool,
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
        let objects = shared.executor.objects().register(&assignment.pod);
        let has_class = assignment.pod.spec.as_ref().is_some_and(|s| s.runtime_class_name.is_some());
        let classes = has_class.then(|| shared.executor.classes().news());
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
            turn: None,
            sending: None,
            send_after: None,
            news: Vec::new(),
            objects,
            classes,
            probes: Probes::default(),
            seen: Instant::now(),
            starts: false,
            freed: false,
            settled: false,
        }
    }

    /// Runs until nothing is left of the pod; tells its UID. Boxed: the future of a task that it takes apart would hold it twice.
    pub(super) async fn run(mut self: Box<Self>) -> String {
        while !self.machine.is_finished() {
            if let Some(input) = self.next_input().await {
                self.take(input).await;
            }
        }
        self.shared.shown.remove(&self.uid);
        self.shared.probing.forget(&self.uid);
        self.shared.publisher.ended(self.machine.spec());
        self.free().await;
        self.settle().await;
        self.uid
    }

    /// What the machine is to be told next; `None` where what has come is nothing to it.
    async fn next_input(&mut self) -> Option<Input> {
        self.ask_turn();
        // A status that waits for its turn, or for the end of another write, needs no time.
        let waits = self.turn.is_none() && self.sending.is_none();
        let send_at = self.pending.as_ref().filter(|_| waits).and(self.send_after);
        let wake = [self.machine.next_wake(), send_at];
        let wake = wake.into_iter().flatten().min();
        let deadline = wake.map(clock::instant_of);
        tokio::select! {
            // Letters first: a stop overtakes the answers of work that it makes needless. Cancel-safe: see Mailbox::next.
            biased;
            letter = self.mailbox.next() => match letter {
                Letter::Input(input) => Some(input),
                Letter::News(news) => self.take_news(news),
                Letter::Explain(reply) => {
                    // Whoever asked may have gone.
                    let _ = reply.try_send(self.recording.clone());
                    None
                }
                Letter::Republish => {
                    self.send_after = None;
                    self.put_right();
                    None
                }
            },
            // Cancel-safe: an answer leaves the set only when it is returned here.
            Some(answered) = self.calls.next(), if !self.calls.is_empty() => match answered {
                Ok((op, outcome)) => {
                    self.handles.retain(|(o, _)| *o != op);
                    Some(Input::Answered { op, outcome })
                }
                Err(_aborted) => Some(Input::Tick),
            },
            // Cancel-safe: the future stays in `sending` until it is done.
            (outgoing, sent) = sent(&mut self.sending), if self.sending.is_some() => {
                self.sending = None;
                self.after_sending(outgoing, sent)
            }
            // Cancel-safe: the future stays in `turn` until it is done.
            turn = come(&mut self.turn), if self.turn.is_some() => {
                self.turn = None;
                // Without one the daemon is ending.
                if let Some(turn) = turn {
                    self.begin_sending(turn);
                }
                None
            }
            // Cancel-safe: a level.
            () = changed(&mut self.objects), if self.objects.is_some() => Some(Input::ObjectsChanged),
            // Cancel-safe: a level.
            () = other_classes(&mut self.classes), if self.classes.is_some() => Some(Input::ObjectsChanged),
            () = sleep_until(deadline), if deadline.is_some() => Some(Input::Tick),
        }
    }

    /// An event of the runtime: a look at the pod, where none is under way that may show it.
    fn take_news(&mut self, news: News) -> Option<Input> {
        let looks = self.machine.is_observing() || (news.is_of_start() && self.machine.is_making());
        if looks && self.news.len() < MAX_NEWS {
            self.news.push(news);
            return None;
        }
        let shown = self.machine.observation().is_some_and(|seen| news.is_shown_by(seen));
        (!shown).then_some(Input::RuntimeChanged)
    }

    /// After a look: whether one of the events that waited for it was later. What comes of a start that is still under way is
    /// shown by the look after its answer.
    fn was_late(&mut self) -> bool {
        let Some(seen) = self.machine.observation() else { return false };
        let making = self.machine.is_making();
        self.news.retain(|news| !news.is_shown_by(seen));
        let before = self.news.len();
        self.news.retain(|news| making && news.is_of_start());
        self.news.len() < before
    }

    async fn take(&mut self, input: Input) {
        let looked = matches!(&input, Input::Answered { outcome: Ok(Answer::Observed(_)), .. });
        self.step(input).await;
        if looked && self.was_late() {
            self.step(Input::RuntimeChanged).await;
        }
    }

    async fn step(&mut self, input: Input) {
        let began = Instant::now();
        let is_first = self.machine.observation().is_none();
        let assigned = matches!(&input, Input::Assigned(_));
        if let Input::Assigned(assignment) = &input {
            self.shared.publisher.seen(&assignment.pod);
            match &self.objects {
                Some(objects) => objects.renew(&assignment.pod),
                None if self.machine.is_terminated() => {}
                None => self.objects = self.shared.executor.objects().register(&assignment.pod),
            }
        }
        let now = clock::now();
        let effects = self.machine.step(input.clone(), now);
        self.recording.note(&self.machine, input, now, &effects);
        for effect in effects {
            self.carry_out(effect).await;
        }
        self.tell_probes();
        if assigned {
            self.put_right();
        }
        self.shared.shown.update(&self.uid, &self.machine);
        self.count_start();
        if self.machine.is_terminated() {
            self.objects = None;
            self.classes = None;
            self.free().await;
        }
        if self.machine.is_settled() {
            self.settle().await;
        }
        let step = match self.machine.spec() {
            _ if is_first => Step::Create,
            _ if self.machine.is_terminated() => Step::Terminated,
            pod if pod.metadata.deletion_timestamp.is_some() => Step::Kill,
            _ => Step::Sync,
        };
        self.shared.work.stepped(step, began.elapsed());
    }

    /// Measures a start that this daemon has seen whole.
    fn count_start(&mut self) {
        match self.machine.status().and_then(|status| status.phase.as_deref()) {
            Some("Pending") => self.starts = true,
            Some("Running") if std::mem::take(&mut self.starts) => {
                let created = self.machine.spec().metadata.creation_timestamp.as_ref();
                let since_creation =
                    created.and_then(|created| Timestamp::now().duration_since(created.0).try_into().ok());
                self.shared.work.pod_runs(self.seen.elapsed(), since_creation);
            }
            _ => {}
        }
    }

    /// Tells what is to be probed where that, or where to find it, has changed.
    fn tell_probes(&mut self) {
        let pod_ip = self.machine.status().and_then(|status| status.pod_ip.as_deref());
        if let Some(targets) = self.probes.news(pod_ip) {
            let (pod, mailbox) = (Arc::clone(self.machine.spec()), self.mailbox.clone());
            let wanted = Wanted { pod, pod_ip: pod_ip.map(str::to_owned), targets, mailbox };
            self.shared.probing.probe(&self.uid, wanted);
        }
    }

    /// Sends the status again where somebody else wrote another one.
    fn put_right(&mut self) {
        if self.pending.is_some() || self.sending.is_some() {
            return;
        }
        let Some(status) = self.machine.status() else { return };
        if self.shared.publisher.differs(self.machine.spec(), status) {
            let (version, status) = (self.machine.version(), Arc::clone(status));
            let (urgency, changed) = (Urgency::AtOnce, clock::boot());
            self.pending = Some(Outgoing { version, status, urgency, failures: 0, changed });
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
                self.next_status(version, status);
            }
            Effect::Probe(targets) => self.probes.replace(targets),
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

    /// Takes a status for the API in place of one that was not sent yet.
    fn next_status(&mut self, version: u64, status: Arc<PodStatus>) {
        let pod = self.machine.spec();
        let urgency = urgency(pod, self.shared.publisher.known(pod).as_deref(), &status);
        let waits = self.pending.as_ref().is_some_and(|p| p.urgency == Urgency::Soon);
        self.send_after = match urgency {
            Urgency::AtOnce => None,
            // Whatever follows, the first of them waits no longer than this.
            Urgency::Soon if waits => self.send_after,
            Urgency::Soon => Some(clock::boot() + PATIENCE),
        };
        let changed = self.pending.take().map_or_else(clock::boot, |older| older.changed);
        self.pending = Some(Outgoing { version, status, urgency, failures: 0, changed });
        if self.turn.as_ref().is_some_and(|(asked, _)| *asked != urgency) {
            self.turn = None;
        }
    }

    /// Asks for the right to write, where there is something to be written now.
    fn ask_turn(&mut self) {
        let busy = self.sending.is_some() || self.turn.is_some();
        if busy || self.send_after.is_some_and(|at| at > clock::boot()) {
            return;
        }
        let Some(urgency) = self.pending.as_ref().map(|p| p.urgency) else { return };
        let publisher = self.shared.publisher.clone();
        self.turn = Some((urgency, Box::pin(async move { publisher.turn(urgency).await })));
    }

    fn begin_sending(&mut self, turn: Turn) {
        let Some(outgoing) = self.pending.take() else { return };
        let publisher = self.shared.publisher.clone();
        let pod: Arc<ApiPod> = Arc::clone(self.machine.spec());
        self.sending = Some(Box::pin(async move {
            let sent = publisher.send(&pod, &outgoing.status, outgoing.changed, turn).await;
            (outgoing, sent)
        }));
    }

    fn after_sending(&mut self, mut outgoing: Outgoing, sent: Sent) -> Option<Input> {
        match sent {
            Sent::Taken => Some(Input::Published { version: outgoing.version, gone: false }),
            Sent::Gone => Some(Input::Published { version: outgoing.version, gone: true }),
            Sent::Failed => {
                outgoing.failures += 1;
                let delay = Duration::from_millis(200).saturating_mul(1 << outgoing.failures.min(5));
                self.send_after = Some(clock::boot() + delay);
                // A newer status may be waiting: it is the one that is sent.
                let changed = outgoing.changed;
                self.pending.get_or_insert(outgoing).changed = changed;
                None
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

async fn come(turn: &mut Option<(Urgency, BoxFuture<'static, Option<Turn>>)>) -> Option<Turn> {
    match turn {
        Some((_, future)) => future.await,
        None => std::future::pending().await,
    }
}

async fn changed(objects: &mut Option<Registration>) {
    match objects {
        Some(objects) => objects.changed().await,
        None => std::future::pending().await,
    }
}

async fn other_classes(classes: &mut Option<watch::Receiver<Known<String>>>) {
    let ended = match classes {
        Some(known) => known.changed().await.is_err(),
        None => true,
    };
    if ended {
        // Never while the executor lives.
        *classes = None;
        std::future::pending().await
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
