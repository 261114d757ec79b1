//! The task: when to look, and what the machine wants done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::eviction::drivers::pressure::StallLimit;
use ::eviction::{
    Candidate, Effect, Eviction, Input, Machine, Pressure, Reclaim, SLOWEST, Signal, ThresholdError,
};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::candidates::candidates;
use super::observer::{Observer, Place};
use super::word::Word;
use super::{Count, Ending, REASON, Uses, settings};
use crate::cause::chain;
use crate::clock;
use crate::config::Config;
use crate::events::{Recorder, pod_reference};
use crate::metrics::Metrics;
use crate::node::{Pressures, RuntimeState};
use crate::pods::Shown;
use crate::reclaim::{Reclaimer, Wanted};
use crate::stop::stopped;

/// How long after a look the kernel's word leads to another one: it may come a hundred times a second, for as long as pods fill the page
/// cache up to their limit.
const RESPITE: Duration = Duration::from_millis(500);
/// How old the count of what pods have on disks may be where one of them has to go.
const DISK_AGE: Duration = Duration::from_secs(10);
/// How long the count may take before pods are chosen by what was counted last.
const COUNT_LIMIT: Duration = Duration::from_secs(30);
/// The share of the time that counting for limits of local storage may take is one in so many.
const LOCAL_SHARE: u32 = 50;
/// The longest time between two counts for limits of local storage, where they take up no more than a fifth of the time.
const LOCAL_SLOWEST: Duration = Duration::from_secs(60);

/// What the task works with.
#[derive(Debug)]
pub(crate) struct Hands {
    pub(crate) shown: Shown,
    pub(crate) usage: Arc<dyn Uses>,
    pub(crate) reclaimer: Reclaimer,
    /// To the supervisor.
    pub(crate) endings: mpsc::Sender<Ending>,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
}

/// Measures the node and relieves it.
#[derive(Debug)]
pub(crate) struct Watcher {
    machine: Machine,
    observer: Observer,
    pressures: watch::Sender<Pressures>,
    /// When the node was measured last.
    measured: Instant,
    word: Word,
}

type Answer = BoxFuture<'static, Input>;

impl Watcher {
    /// Looks once, so that the node's conditions are true from the start.
    ///
    /// # Errors
    /// A threshold cannot be used.
    pub(crate) fn new(
        config: &Config,
        place: Place,
        most_stalled: Option<StallLimit>,
        runtime: watch::Receiver<RuntimeState>,
    ) -> Result<Self, ThresholdError> {
        let settings = settings::settings(config, most_stalled)?;
        let stall = most_stalled.map(|limit| limit.stall);
        let mut observer = Observer::new(config, &settings.thresholds, place.clone(), stall, runtime);
        let machine = Machine::new(settings);
        // By a machine that is thrown away: nothing can be done yet, and the task begins with a look of its own.
        let mut first = machine.clone();
        first.step(Input::Measured(observer.measure()), clock::boot());
        let pressures = watch::Sender::new(pressures(first.conditions()));
        let thresholds = &machine.settings().thresholds;
        let word = Word::new(thresholds, &place.pressure(), observer.tops());
        Ok(Self { machine, observer, pressures, measured: Instant::now(), word })
    }

    /// What the node runs short of.
    pub(crate) fn pressures(&self) -> watch::Receiver<Pressures> {
        self.pressures.subscribe()
    }
}

/// What is under way for the machine.
#[derive(Default)]
struct Work {
    /// Usage of pods to choose from, or reclaiming.
    answer: Option<Answer>,
    /// Usage of pods with limits.
    local: Option<Answer>,
    /// When that was begun.
    local_begun: Option<Instant>,
}

impl Watcher {
    /// Runs until `stop`.
    pub(crate) async fn run(mut self, hands: Hands, mut stop: watch::Receiver<bool>) {
        let mut work = Work::default();
        let mut next_local = Instant::now() + SLOWEST;
        let limits = self.machine.settings().local_limits;
        // Whether the kernel has told something since the last look.
        let mut is_told = false;
        self.look(&hands, &mut work).await;
        let mut due = clock::instant_of(self.machine.next_look(clock::boot()));
        loop {
            let is_hurried = is_told && !self.machine.is_waiting();
            let next_look = if is_hurried { due.min(self.measured + RESPITE) } else { due };
            let leaving = self.machine.leaving();
            let input = tokio::select! {
                // Cancel-safe: a level.
                () = stopped(&mut stop) => return,
                // Cancel-safe: only a time.
                () = sleep_until(next_look) => None,
                // Cancel-safe: as it says.
                () = self.word.told(), if !is_told => {
                    is_told = true;
                    continue;
                }
                // Cancel-safe: the future stays where it is until it is done.
                input = answered(&mut work.answer), if work.answer.is_some() => {
                    work.answer = None;
                    Some(input)
                }
                // Cancel-safe: the same.
                input = answered(&mut work.local), if work.local.is_some() => {
                    work.local = None;
                    let took = work.local_begun.take().map_or(Duration::ZERO, |begun| begun.elapsed());
                    next_local = Instant::now() + (took * LOCAL_SHARE).clamp(SLOWEST, LOCAL_SLOWEST.max(took * 4));
                    Some(input)
                }
                // Cancel-safe: only a time.
                () = sleep_until(next_local), if limits && work.local.is_none() => {
                    next_local = Instant::now() + SLOWEST;
                    if let Some(counting) = count_limited(&hands) {
                        work.local = Some(counting);
                        work.local_begun = Some(Instant::now());
                    }
                    continue;
                }
                // Cancel-safe: a level.
                uid = ended(&hands.shown, &leaving), if !leaving.is_empty() => Some(Input::Ended { uid }),
            };
            let look_again = matches!(&input, None | Some(Input::Reclaimed | Input::Ended { .. }));
            if let Some(input) = input {
                self.step(input, &hands, &mut work).await;
            }
            if look_again {
                is_told = false;
                self.look(&hands, &mut work).await;
            }
            let next = clock::instant_of(self.machine.next_look(clock::boot()));
            // What is no look puts none off.
            due = if look_again { next } else { due.min(next) };
        }
    }

    async fn look(&mut self, hands: &Hands, work: &mut Work) {
        self.word.listen();
        let observation = self.observer.measure();
        self.measured = Instant::now();
        self.step(Input::Measured(observation), hands, work).await;
    }

    async fn step(&mut self, input: Input, hands: &Hands, work: &mut Work) {
        for effect in self.machine.step(input, clock::boot()) {
            match effect {
                Effect::Conditions(conditions) => {
                    tracing::info!(?conditions, "what the node runs short of has changed");
                    self.pressures.send_replace(pressures(&conditions));
                }
                Effect::Attempting(message) => {
                    hands.recorder.node_event(true, "EvictionThresholdMet", message);
                }
                Effect::Reclaim { what, signal } => {
                    work.answer = Some(Box::pin(reclaim(hands.reclaimer.clone(), what, signal)));
                }
                Effect::Rank { signal } => {
                    let (shown, usage) = (hands.shown.clone(), Arc::clone(&hands.usage));
                    work.answer = Some(Box::pin(pods(shown, usage, signal)));
                }
                Effect::Evict(eviction) => {
                    self.evict(eviction, hands).await;
                }
                Effect::Hasten { uid, grace } => {
                    tracing::info!(
                        uid,
                        ?grace,
                        "an evicted pod gets less time, as the node needs its room now"
                    );
                    let ending = Ending { uid, message: String::new(), grace, disrupts: true };
                    // As below.
                    drop(hands.endings.send(ending).await);
                }
            }
        }
    }

    async fn evict(&self, eviction: Eviction, hands: &Hands) {
        let Eviction { uid, told, grace, disrupts, signal } = eviction;
        if disrupts {
            hands.metrics.eviction_stats_age(signal, self.measured.elapsed());
        }
        hands.metrics.pod_evicted(signal);
        let pods = hands.shown.evictable();
        if let Some(pod) = pods.iter().map(|p| &p.pod).find(|pod| pod.metadata.uid.as_ref() == Some(&uid)) {
            let pod: &Arc<ApiPod> = pod;
            hands.recorder.annotated(pod_reference(pod), REASON, told.message.clone(), told.annotations);
        }
        let ending = Ending { uid, message: told.message, grace, disrupts };
        // Without a supervisor the daemon is ending.
        drop(hands.endings.send(ending).await);
    }
}

/// The pods to choose from, with what they use now; what they have on disks as it was counted last, where a count takes too long.
async fn pods(shown: Shown, usage: Arc<dyn Uses>, signal: Signal) -> Input {
    if signal.filesystem().is_some() {
        let counting = measured(&shown, &*usage, Count::Everybodys(DISK_AGE));
        match timeout(COUNT_LIMIT, counting).await {
            Ok(pods) => return Input::Pods(pods),
            Err(_) => tracing::warn!(
                %signal,
                "what pods have on disks is not counted after {COUNT_LIMIT:?}; a pod is chosen by what is known"
            ),
        }
    }
    Input::Pods(measured(&shown, &*usage, Count::Nobodys).await)
}

/// The pods that ran before they were measured and are not ending after it: of one that begins in between nobody would know what it
/// uses, and it would go first.
async fn measured(shown: &Shown, usage: &dyn Uses, count: Count) -> Vec<Candidate> {
    let before = shown.evictable();
    let used = usage.pods(count).await;
    let mut candidates = candidates(&before, &used);
    let after: BTreeSet<String> =
        shown.evictable().into_iter().filter_map(|pod| pod.pod.metadata.uid.clone()).collect();
    candidates.retain(|pod| after.contains(&pod.uid));
    candidates
}

/// The pods with limits of local storage, if there are any, with what they have on disks.
fn count_limited(hands: &Hands) -> Option<Answer> {
    let candidates = hands.shown.evictable().into_iter().map(|pod| Candidate::of(&pod.pod));
    let limited: BTreeSet<String> =
        candidates.filter(Candidate::has_local_limits).map(|candidate| candidate.uid).collect();
    if limited.is_empty() {
        return None;
    }
    let (shown, usage) = (hands.shown.clone(), Arc::clone(&hands.usage));
    Some(Box::pin(async move {
        let mut pods = measured(&shown, &*usage, Count::Theirs(limited.clone())).await;
        pods.retain(|pod| limited.contains(&pod.uid));
        Input::Local(pods)
    }))
}

async fn reclaim(reclaimer: Reclaimer, what: Reclaim, signal: Signal) -> Input {
    let wanted = [(what.containers, Wanted::DeadContainers), (what.images, Wanted::Images(None))];
    for (_, wanted) in wanted.into_iter().filter(|(is_wanted, _)| *is_wanted) {
        match reclaimer.reclaim(wanted).await {
            Ok(freed) => tracing::info!(
                %signal,
                ?wanted,
                removed = freed.removed,
                kept = freed.kept,
                "what nobody needs was removed"
            ),
            Err(error) => {
                tracing::warn!(%signal, ?wanted, error = chain(&error), "nothing could be reclaimed");
            }
        }
    }
    Input::Reclaimed
}

/// Until nothing of one of these pods runs and nothing of its volumes is left; tells which.
async fn ended(shown: &Shown, uids: &BTreeSet<String>) -> String {
    let mut changed = shown.running_changed();
    loop {
        if let Some(uid) = uids.iter().find(|uid| shown.is_over(uid)) {
            return uid.clone();
        }
        if changed.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn answered(answer: &mut Option<Answer>) -> Input {
    match answer {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

fn pressures(conditions: &BTreeSet<Pressure>) -> Pressures {
    Pressures {
        memory: conditions.contains(&Pressure::Memory),
        disk: conditions.contains(&Pressure::Disk),
        pid: conditions.contains(&Pressure::Pid),
    }
}

#[cfg(test)]
mod tests;
