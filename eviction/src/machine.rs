//! What is done about a node that runs short: one thing at a time, and after each a fresh look.
//!
//! ```text
//!            Measured: a threshold is ripe                       Pods: the first that is not critical
//!    Idle ------------------+--------------------> Ranking --------------------------------> Ending
//!     ^ ^                   |                       ^   | nobody can go                        |
//!     | |  there is something of the node's own     |   v                                      | Ended, or too late
//!     | |                   v          Measured     | Idle, until a while has passed           |
//!     | |              Reclaiming -- Reclaimed --> Reclaimed                                   |
//!     | '---------------------------------------------' enough is left now                     |
//!     '----------------------------------------------------------------------------------------'
//! ```
//!
//! While a soft victim takes its grace, a hard threshold that becomes ripe cuts it short. Who was put out for a limit of its own is waited
//! for like a victim before anybody goes for a disk's sake.
//!
//! A threshold is met while less is left than it says. A hard one is ripe at once, a soft one when it was met all through its grace; a
//! ripe one stays so until more is left by its minimum reclaim. A condition lasts for the transition period after its last threshold
//! was met.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::local_storage::{self, Limit};
use crate::message::{self, Told};
use crate::observation::{Observation, Reclaim};
use crate::pace;
use crate::pods::Candidate;
use crate::ranking::rank;
use crate::signal::{Pressure, Signal};
use crate::threshold::Threshold;

/// What a pod gets that a hard threshold or a limit puts out (behaviour.md 29.3).
pub const HARD_GRACE: Duration = Duration::from_secs(1);
/// How long the end of a victim is waited for, beyond its grace.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long after a victim's end nobody else goes where the threshold is not met any more and only the minimum reclaim is missing: what
/// the victim had may come back by and by.
const SETTLE: Duration = Duration::from_secs(1);
/// How long nothing is tried after there was nobody to put out.
const PAUSE: Duration = Duration::from_secs(10);
/// How long what was asked for may take before it is asked for again.
const ANSWER: Duration = Duration::from_secs(120);

/// What the configuration says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// In the order of [`crate::thresholds`].
    pub thresholds: Vec<Threshold>,
    /// `evictionPressureTransitionPeriod`.
    pub transition: Duration,
    /// `evictionMaxPodGracePeriod`.
    pub max_pod_grace: Duration,
    /// `localStorageCapacityIsolation`.
    pub local_limits: bool,
    /// How long the average of [`Signal::MemoryUnstalled`] tells of what is past.
    pub stall_window: Duration,
}

/// What the machine is told. `now` beside it is boot time.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The node was measured, after everything that was told before.
    Measured(Observation),
    /// Answer to [`Effect::Reclaim`]: it has ended, whatever it brought.
    Reclaimed,
    /// Answer to [`Effect::Rank`]: all pods that run and are not ending, with what they use.
    Pods(Vec<Candidate>),
    /// Pods that have limits, with what they use on disks.
    Local(Vec<Candidate>),
    /// Nothing of this pod runs any more and what it used is free.
    Ended {
        /// The pod.
        uid: String,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The node's conditions are now these.
    Conditions(BTreeSet<Pressure>),
    /// An event of the node's: `EvictionThresholdMet`.
    Attempting(String),
    /// Remove what is the node's own and answer with [`Input::Reclaimed`], then measure.
    Reclaim {
        /// What.
        what: Reclaim,
        /// For whose sake.
        signal: Signal,
    },
    /// Answer with [`Input::Pods`].
    Rank {
        /// What is short.
        signal: Signal,
    },
    /// End this pod.
    Evict(Eviction),
    /// The pod that is being ended gets no longer grace than this.
    Hasten {
        /// The pod.
        uid: String,
        /// The longest grace that it gets from now on.
        grace: Duration,
    },
}

/// The end of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Eviction {
    /// The pod.
    pub uid: String,
    /// What is told of it.
    pub told: Told,
    /// The longest grace that it gets.
    pub grace: Duration,
    /// Whether the node ends it for others' sake: then it gets `DisruptionTarget`; who exceeds a limit of its own does not.
    pub disrupts: bool,
    /// As the label `eviction_signal` says it.
    pub signal: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
enum Work {
    Idle,
    Reclaiming { threshold: usize, until: Duration },
    Reclaimed { threshold: usize },
    Ranking { threshold: usize, until: Duration },
    Ending { uid: String, signal: Signal, soft: bool, until: Duration },
    Paused { until: Duration },
}

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Machine {
    settings: Settings,
    /// Since when each threshold is met without a gap.
    met: BTreeMap<usize, Duration>,
    /// Those that something is to be done about.
    ripe: BTreeSet<usize>,
    /// When each condition's thresholds were met last.
    seen: BTreeMap<Pressure, Duration>,
    conditions: BTreeSet<Pressure>,
    last: Observation,
    /// Pods that were put out for a limit, so that it is done once, and until when their ends are waited for at most.
    limited: BTreeMap<String, Duration>,
    /// Until then what the last victim had may be on its way back.
    settles_until: Duration,
    /// Until then the average of stalls tells of a time in which the last victim was there.
    stalled_until: Duration,
    work: Work,
}

impl Machine {
    /// Nothing was measured yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            met: BTreeMap::new(),
            ripe: BTreeSet::new(),
            seen: BTreeMap::new(),
            conditions: BTreeSet::new(),
            last: Observation::default(),
            limited: BTreeMap::new(),
            settles_until: Duration::ZERO,
            stalled_until: Duration::ZERO,
            work: Work::Idle,
        }
    }

    /// What the configuration says.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The node's conditions.
    pub fn conditions(&self) -> &BTreeSet<Pressure> {
        &self.conditions
    }

    /// The pod that goes for the others' sake.
    fn victim(&self) -> Option<&str> {
        match &self.work {
            Work::Ending { uid, .. } => Some(uid),
            _ => None,
        }
    }

    /// The pods whose ends are waited for.
    pub fn leaving(&self) -> BTreeSet<String> {
        self.limited.keys().map(String::as_str).chain(self.victim()).map(str::to_owned).collect()
    }

    /// Whether a measurement now could change nothing of what is done, as an answer is waited for.
    pub fn is_waiting(&self) -> bool {
        match self.work {
            Work::Idle | Work::Paused { .. } | Work::Reclaimed { .. } => false,
            Work::Ending { soft, .. } => !soft,
            Work::Reclaiming { .. } | Work::Ranking { .. } => true,
        }
    }

    /// Boot time at which the node is to be measured again at the latest.
    pub fn next_look(&self, now: Duration) -> Duration {
        let thresholds = &self.settings.thresholds;
        let mut at = now + pace::until_next_look(thresholds, &self.last);
        for (index, since) in &self.met {
            let grace = thresholds.get(*index).and_then(|t| t.grace);
            if let Some(grace) = grace.filter(|_| !self.ripe.contains(index)) {
                at = at.min(since.saturating_add(grace));
            }
        }
        for condition in self.conditions.iter().filter(|condition| !self.is_met(**condition)) {
            if let Some(seen) = self.seen.get(condition) {
                at = at.min(seen.saturating_add(self.settings.transition));
            }
        }
        if self.settles_until > now && !self.ripe.is_empty() {
            at = at.min(self.settles_until);
        }
        match &self.work {
            Work::Reclaiming { until, .. } | Work::Ranking { until, .. } | Work::Ending { until, .. } => {
                at = at.min(*until);
            }
            Work::Idle | Work::Reclaimed { .. } | Work::Paused { .. } => {}
        }
        at.max(now)
    }

    /// Takes one input at boot time `now`.
    pub fn step(&mut self, input: Input, now: Duration) -> Vec<Effect> {
        let mut out = Vec::new();
        match input {
            Input::Measured(observation) => self.measured(observation, now, &mut out),
            Input::Reclaimed => {
                if let Work::Reclaiming { threshold, .. } = self.work {
                    self.work = Work::Reclaimed { threshold };
                }
            }
            Input::Pods(pods) => {
                if let Work::Ranking { threshold, .. } = self.work {
                    self.work = Work::Idle;
                    // A look in between may have shown that there is no need any more.
                    if self.calls_for_action(threshold, now) {
                        self.choose(threshold, &pods, now, &mut out);
                    }
                }
            }
            Input::Local(pods) => self.check_limits(&pods, now, &mut out),
            Input::Ended { uid } => self.ended(&uid, now),
        }
        out
    }

    fn ended(&mut self, uid: &str, now: Duration) {
        self.limited.remove(uid);
        match &self.work {
            Work::Ending { uid: victim, signal, .. } if victim == uid => {
                self.settles_until = now + SETTLE;
                if *signal == Signal::MemoryUnstalled {
                    self.stalled_until = now + self.settings.stall_window;
                }
                self.work = Work::Idle;
            }
            _ => {}
        }
    }

    /// Whether something is to be done about a threshold now: it is ripe, and what was measured tells what there is without those that
    /// have been put out already.
    fn calls_for_action(&self, threshold: usize, now: Duration) -> bool {
        let Some(of) = self.settings.thresholds.get(threshold) else { return false };
        let is_leaving = self.limited.values().any(|until| *until > now);
        let settles = match of.signal {
            Signal::MemoryUnstalled => now < self.stalled_until,
            signal => signal.filesystem().is_some() && is_leaving,
        };
        let is_met = self.last.left.get(&of.signal).is_some_and(|left| of.is_met(*left, false));
        self.ripe.contains(&threshold) && !settles && (is_met || now >= self.settles_until)
    }

    fn is_hard(&self, threshold: usize) -> bool {
        self.settings.thresholds.get(threshold).is_some_and(|t| t.grace.is_none())
    }

    fn measured(&mut self, observation: Observation, now: Duration, out: &mut Vec<Effect>) {
        self.last = observation;
        self.judge(now);
        self.tell_conditions(now, out);
        let overdue = |until: Duration| until <= now;
        match self.work.clone() {
            Work::Ending { uid, signal, soft: true, until }
                if !overdue(until)
                    && self.ripe.iter().any(|at| self.is_hard(*at) && self.calls_for_action(*at, now)) =>
            {
                let until = until.min(now + HARD_GRACE + PATIENCE);
                self.work = Work::Ending { uid: uid.clone(), signal, soft: false, until };
                out.push(Effect::Hasten { uid, grace: HARD_GRACE });
            }
            Work::Reclaiming { until, .. } | Work::Ranking { until, .. } | Work::Ending { until, .. }
                if !overdue(until) => {}
            Work::Paused { until } if !overdue(until) => {}
            Work::Reclaimed { threshold } => {
                self.work = Work::Idle;
                if self.calls_for_action(threshold, now) {
                    self.ask_for_pods(threshold, now, out);
                }
            }
            Work::Reclaiming { threshold, .. } if self.calls_for_action(threshold, now) => {
                // What takes so long is not waited for.
                self.ask_for_pods(threshold, now, out);
            }
            _ => {
                self.work = Work::Idle;
                self.begin(now, out);
            }
        }
    }

    /// Which thresholds are met, and which of them are ripe.
    fn judge(&mut self, now: Duration) {
        for (index, threshold) in self.settings.thresholds.iter().enumerate() {
            let left = self.last.left.get(&threshold.signal);
            let again = self.ripe.contains(&index);
            if !left.is_some_and(|left| threshold.is_met(*left, again)) {
                self.met.remove(&index);
                self.ripe.remove(&index);
                continue;
            }
            let since = *self.met.entry(index).or_insert(now);
            if now.saturating_sub(since) >= threshold.grace.unwrap_or_default() {
                self.ripe.insert(index);
            }
        }
    }

    fn tell_conditions(&mut self, now: Duration, out: &mut Vec<Effect>) {
        for threshold in self.met.keys().filter_map(|index| self.settings.thresholds.get(*index)) {
            self.seen.insert(threshold.signal.pressure(), now);
        }
        let hold = self.settings.transition;
        let conditions: BTreeSet<Pressure> = self
            .seen
            .iter()
            .filter(|(pressure, seen)| self.is_met(**pressure) || now.saturating_sub(**seen) < hold)
            .map(|(pressure, _)| *pressure)
            .collect();
        self.seen.retain(|pressure, _| conditions.contains(pressure));
        if conditions != self.conditions {
            self.conditions.clone_from(&conditions);
            out.push(Effect::Conditions(conditions));
        }
    }

    /// Whether a threshold of this condition is met.
    fn is_met(&self, pressure: Pressure) -> bool {
        let of = |index: &usize| self.settings.thresholds.get(*index).map(|t| t.signal.pressure());
        self.met.keys().any(|index| of(index) == Some(pressure))
    }

    /// Begins to do something about the first threshold that calls for it.
    fn begin(&mut self, now: Duration, out: &mut Vec<Effect>) {
        let mut calling = self.ripe.iter().copied().filter(|at| self.calls_for_action(*at, now));
        let Some(threshold) = calling.next() else { return };
        let Some(signal) = self.settings.thresholds.get(threshold).map(|t| t.signal) else { return };
        out.push(Effect::Attempting(format!("Attempting to reclaim {}", signal.resource().name())));
        let what = self.last.layout.reclaimable(signal);
        if what.is_empty() {
            self.ask_for_pods(threshold, now, out);
        } else {
            self.work = Work::Reclaiming { threshold, until: now + ANSWER };
            out.push(Effect::Reclaim { what, signal });
        }
    }

    fn ask_for_pods(&mut self, threshold: usize, now: Duration, out: &mut Vec<Effect>) {
        let Some(signal) = self.settings.thresholds.get(threshold).map(|t| t.signal) else { return };
        self.work = Work::Ranking { threshold, until: now + ANSWER };
        out.push(Effect::Rank { signal });
    }

    /// Puts out the first pod that may go; one at a time.
    fn choose(&mut self, index: usize, pods: &[Candidate], now: Duration, out: &mut Vec<Effect>) {
        // A daemon that has just begun knows of no pods yet.
        let pause = if pods.is_empty() { PAUSE / 10 } else { PAUSE };
        self.work = Work::Paused { until: now + pause };
        let Some(threshold) = self.settings.thresholds.get(index) else { return };
        let signal = threshold.signal;
        let ranking = rank(pods, signal.resource(), self.last.layout.parts(signal));
        let may_go = |at: &usize| {
            let pod = ranking.get(*at).and_then(|ranked| pods.get(ranked.index));
            pod.is_some_and(|pod| !pod.critical && !self.limited.contains_key(&pod.uid))
        };
        let Some(chosen) = (0..ranking.len()).find(may_go) else { return };
        let Some(pod) = ranking.get(chosen).and_then(|ranked| pods.get(ranked.index)) else { return };
        let grace = match threshold.grace {
            None => HARD_GRACE,
            Some(_) => self.settings.max_pod_grace.min(pod.grace),
        };
        let left = self.last.left.get(&signal).copied();
        let told = message::told(threshold, left, pods, &ranking, chosen);
        let soft = threshold.grace.is_some();
        self.work = Work::Ending { uid: pod.uid.clone(), signal, soft, until: now + grace + PATIENCE };
        let uid = pod.uid.clone();
        out.push(Effect::Evict(Eviction { uid, told, grace, disrupts: true, signal: signal.name() }));
    }

    /// Puts out everybody who exceeds a limit.
    fn check_limits(&mut self, pods: &[Candidate], now: Duration, out: &mut Vec<Effect>) {
        if !self.settings.local_limits {
            return;
        }
        // Who is not shown any more is ending.
        self.limited.retain(|uid, until| *until > now || pods.iter().any(|pod| pod.uid == *uid));
        for pod in pods {
            let Some((limit, message)) = local_storage::exceeded(pod, self.last.layout) else { continue };
            if self.victim() == Some(&pod.uid) || self.limited.contains_key(&pod.uid) {
                continue;
            }
            self.limited.insert(pod.uid.clone(), now + HARD_GRACE + PATIENCE);
            let told = Told { message, ..Told::default() };
            out.push(Effect::Evict(Eviction {
                uid: pod.uid.clone(),
                told,
                grace: HARD_GRACE,
                disrupts: false,
                signal: Limit::name(limit),
            }));
        }
    }
}

#[cfg(test)]
mod tests;
