//! How many starts the runtime is given at once.
//!
//! What counts is throughput: the work that is finished in a second. With so many starts in flight, each of which takes so
//! long, it is their number divided by their mean time (Little's law), which a few starts tell already. The rate is kept for
//! each number that was tried; the smallest number that comes close to the best rate is the one to use, because the first of
//! many starts is over sooner with few of them in flight. As long as the next number up brings more, it is tried:
//!
//! ```text
//!   2 -> 4 -> 6      6 brings no more than 4: back to 4, and 6 is tried again when what is known of it is old
//! ```
//!
//! A start that takes four times as long as the slow ones of its class lately gives its slot back; it stays counted as stuck. Until then it
//! holds a slot and does nothing. What slots were held for lately, by starts that got over and by those that did not, tells how
//! many slots do nothing for each one in which work is done, and so many more are lent: the others have the slots that they
//! would have had.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::effect::{OpId, SlotClass};

type Key = (String, OpId);

/// Starts in flight while nothing is known, and at the beginning of each burst. It is never less: one that hangs would hold
/// everything up.
const FIRST_LIMIT: usize = 2;
const MAX_LIMIT: usize = 16;
/// Starts of a new burst that go ahead of the others: with few in flight the first pod is up sooner.
const AHEAD: usize = 3;
/// Starts that may be stuck beside those in flight, before no more are lent: more than a node has pods as a rule.
const MAX_STUCK: usize = 256;
/// A start is given at least this long before its slot is lent to another.
const LEAST_USUAL: Duration = Duration::from_millis(25);
/// And this long while it is not known how long starts take.
const UNKNOWN_USUAL: Duration = Duration::from_millis(500);
/// A start that takes so many times as long as the slow ones lately (one in eight is slower) is stuck.
const STUCK_TIMES: u32 = 4;
/// And one that takes so many medians, however slow some are.
const STUCK_MEDIANS: u32 = 16;
/// What a start says about the time that slots are held for, beside those before it.
const HELD_WEIGHT: f64 = 1.0 / 16.0;
/// Durations of each class that the median is taken of.
const SAMPLES: usize = 16;
/// Less gain than this is none.
const GAIN: f64 = 1.04;
/// What was learned longer ago may have changed.
const OLD: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
pub(super) struct Limiter {
    lent: BTreeMap<Key, Lent>,
    stuck: BTreeMap<Key, Lent>,
    held: Held,
    /// Starts of this burst that are over, up to [`AHEAD`].
    ahead: usize,
    durations: Durations,
    /// How long a start of each class takes, as a part of a whole pod's.
    weights: Weights,
    level: Level,
}

#[derive(Clone, Copy, Debug)]
struct Lent {
    since: Duration,
    class: SlotClass,
}

/// The number of starts in flight that is tried now, and what is known of the others.
#[derive(Debug)]
struct Level {
    limit: usize,
    /// When this number was taken.
    since: Duration,
    /// Of the starts that were begun and finished with this number in flight.
    count: usize,
    work: f64,
    seconds: f64,
    /// Finished work a second, and when it was measured.
    rates: BTreeMap<usize, (f64, Duration)>,
}

impl Default for Level {
    fn default() -> Self {
        Self {
            limit: FIRST_LIMIT,
            since: Duration::ZERO,
            count: 0,
            work: 0.0,
            seconds: 0.0,
            rates: BTreeMap::new(),
        }
    }
}

impl Limiter {
    pub(super) fn has_room(&self) -> bool {
        self.lent.len() < self.limit() + self.extra() && self.stuck.len() < MAX_STUCK
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lent.len()
    }

    pub(super) fn limit(&self) -> usize {
        if self.ahead < AHEAD { self.level.limit.min(FIRST_LIMIT) } else { self.level.limit }
    }

    /// Slots beyond the limit, for those that hang and are not overdue yet.
    fn extra(&self) -> usize {
        let idle = if self.held.in_vain == 0.0 { 0.0 } else { self.held.in_vain / self.held.well.max(1e-6) };
        ((self.limit() as f64 * idle).round() as usize).min(MAX_LIMIT)
    }

    pub(super) fn lend(&mut self, key: Key, class: SlotClass, now: Duration) {
        if self.lent.is_empty() {
            self.ahead = 0;
        }
        self.lent.insert(key, Lent { since: now, class });
    }

    pub(super) fn returned(&mut self, key: &Key, now: Duration) {
        // Only a full house says something about its size.
        let full = self.lent.len() == self.limit();
        let in_time = self.lent.remove(key);
        let Some(lent) = in_time.or_else(|| self.stuck.remove(key)) else { return };
        let took = now.saturating_sub(lent.since);
        self.durations.learn(lent.class, took);
        self.weights.learn(lent.class, took);
        if in_time.is_none() {
            // It was slow and not stuck.
            self.held.not_in_vain(self.durations.patience(lent.class));
            return;
        }
        self.held.learn(took, Duration::ZERO);
        if full && lent.since >= self.level.since {
            self.level.learn(self.weights.of(lent.class), took);
        }
        self.ahead = (self.ahead + 1).min(AHEAD);
        if self.ahead == AHEAD {
            self.level.adapt(now);
        }
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.lent.retain(|(u, _), _| u != uid);
        self.stuck.retain(|(u, _), _| u != uid);
    }

    pub(super) fn reclaim(&mut self, now: Duration) {
        let patience = [SlotClass::Sandbox, SlotClass::Container].map(|class| self.durations.patience(class));
        let overdue =
            |lent: &Lent| now >= lent.since + patience[usize::from(lent.class != SlotClass::Sandbox)];
        let overdue: Vec<Key> =
            self.lent.iter().filter(|(_, lent)| overdue(lent)).map(|(key, _)| key.clone()).collect();
        if !overdue.is_empty() {
            // Who is ahead hangs: the others do not wait for them.
            self.ahead = AHEAD;
        }
        for key in overdue {
            if let Some(lent) = self.lent.remove(&key) {
                self.held.learn(Duration::ZERO, now.saturating_sub(lent.since));
                self.stuck.insert(key, lent);
            }
        }
    }

    pub(super) fn next_overdue(&self) -> Option<Duration> {
        let first =
            |class| self.lent.values().filter(move |lent| lent.class == class).map(|lent| lent.since).min();
        let due = |class| first(class).map(|since| since + self.durations.patience(class));
        [SlotClass::Sandbox, SlotClass::Container].into_iter().filter_map(due).min()
    }
}

/// For how many seconds a start holds its slot: the latest ones count most.
#[derive(Debug, Default)]
struct Held {
    /// By one that gets over in time, for each start there is.
    well: f64,
    /// By one that gets stuck.
    in_vain: f64,
}

impl Held {
    fn learn(&mut self, well: Duration, in_vain: Duration) {
        self.well += (well.as_secs_f64() - self.well) * HELD_WEIGHT;
        self.in_vain += (in_vain.as_secs_f64() - self.in_vain) * HELD_WEIGHT;
    }

    fn not_in_vain(&mut self, held: Duration) {
        let held = held.as_secs_f64() * HELD_WEIGHT;
        self.well += held;
        self.in_vain = (self.in_vain - held).max(0.0);
    }
}

/// How long the latest starts of each class took.
#[derive(Debug, Default)]
struct Durations {
    sandbox: VecDeque<Duration>,
    container: VecDeque<Duration>,
}

impl Durations {
    fn learn(&mut self, class: SlotClass, took: Duration) {
        let samples = match class {
            SlotClass::Sandbox => &mut self.sandbox,
            SlotClass::Container | SlotClass::Pull => &mut self.container,
        };
        samples.push_back(took);
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// A start of this class that takes so long is stuck.
    fn patience(&self, class: SlotClass) -> Duration {
        let samples = if class == SlotClass::Sandbox { &self.sandbox } else { &self.container };
        let mut sorted: Vec<Duration> = samples.iter().copied().collect();
        sorted.sort_unstable();
        let at =
            |part: usize| sorted.get((sorted.len() * part / 8).min(sorted.len().saturating_sub(1))).copied();
        match (at(4), at(7)) {
            (Some(median), Some(slow)) => (slow * STUCK_TIMES).min(median * STUCK_MEDIANS).max(LEAST_USUAL),
            _ => UNKNOWN_USUAL,
        }
    }
}

impl Level {
    /// A start of so much work has taken so long with the number of now in flight.
    fn learn(&mut self, work: f64, took: Duration) {
        self.count += 1;
        self.work += work;
        self.seconds += took.as_secs_f64();
    }

    /// Chooses the number to go on with, once enough is known of the one of now.
    fn adapt(&mut self, now: Duration) {
        if self.count < (self.limit * 2).max(4) {
            return;
        }
        let rate = self.limit as f64 * self.work / self.seconds.max(1e-6);
        // What was known of the same number before counts half: a few starts more or less tell little.
        let known = self.rates.get(&self.limit).filter(|(_, at)| now < *at + OLD);
        let rate = known.map_or(rate, |(before, _)| f64::midpoint(*before, rate));
        self.rates.insert(self.limit, (rate, now));
        self.rates.retain(|_, (_, at)| now < *at + OLD);
        self.limit = self.next();
        (self.since, self.count, self.work, self.seconds) = (now, 0, 0.0, 0.0);
    }

    fn next(&self) -> usize {
        let rate = |limit: usize| self.rates.get(&limit).map(|(rate, _)| *rate);
        let best = self.rates.values().map(|(rate, _)| *rate).fold(0.0, f64::max);
        let good = self.rates.iter().find(|(_, (rate, _))| *rate * GAIN >= best);
        let good = good.map_or(self.limit, |(limit, _)| *limit);
        let (above, below) = (above(good), below(good));
        if rate(above).is_none() {
            return above;
        }
        // It came down from here, or begins anew: fewer may do as well.
        if rate(below).is_none() { below } else { good }
    }
}

/// The numbers that are tried: 2, 4, 6, 9, 13, 16.
fn above(limit: usize) -> usize {
    (limit + (limit / 2).max(2)).min(MAX_LIMIT)
}

fn below(limit: usize) -> usize {
    let mut below = FIRST_LIMIT;
    while above(below) < limit {
        below = above(below);
    }
    below
}

/// The mean durations of both kinds of starts: how much more work one is than the other.
#[derive(Debug, Default)]
struct Weights {
    sandbox: f64,
    container: f64,
}

impl Weights {
    fn learn(&mut self, class: SlotClass, took: Duration) {
        let mean = match class {
            SlotClass::Sandbox => &mut self.sandbox,
            SlotClass::Container | SlotClass::Pull => &mut self.container,
        };
        let took = took.as_secs_f64().max(1e-6);
        *mean = if *mean == 0.0 { took } else { *mean + (took - *mean) / 16.0 };
    }

    fn of(&self, class: SlotClass) -> f64 {
        if self.sandbox == 0.0 || self.container == 0.0 {
            return 0.5;
        }
        let own = if class == SlotClass::Sandbox { self.sandbox } else { self.container };
        own / (self.sandbox + self.container)
    }
}

#[cfg(test)]
mod tests;
