//! How many starts the runtime is given at once.
//!
//! Additive increase, multiplicative decrease on throughput: after each window of finished starts the limit goes on in
//! the direction that brought more starts per second and turns round where it brought fewer. A start that takes four times
//! as long as the running median gives its slot back; it stays counted as stuck. While starts get stuck, as many more are lent
//! beside them: twenty that hang hold the others up for a few medians and not for one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::effect::OpId;

type Key = (String, OpId);

const FIRST_LIMIT: usize = 2;
const MAX_LIMIT: usize = 16;
/// Starts that may be stuck beside those in flight, before no more are lent.
const MAX_STUCK: usize = 64;
/// A start is given at least this long before its slot is lent to another.
const LEAST_USUAL: Duration = Duration::from_millis(100);
/// And this long while it is not known how long starts take.
const UNKNOWN_USUAL: Duration = Duration::from_millis(500);
/// Durations that the median is taken of.
const SAMPLES: usize = 32;
/// A change of throughput smaller than this is taken for noise.
const NOISE: f64 = 0.05;

#[derive(Debug)]
pub(super) struct Limiter {
    limit: usize,
    rising: bool,
    lent: BTreeMap<Key, Duration>,
    stuck: BTreeMap<Key, Duration>,
    /// Slots beyond the limit, because starts got stuck lately.
    extra: usize,
    samples: VecDeque<Duration>,
    window: Window,
    last_rate: Option<f64>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Duration>,
    finished: usize,
    /// Whether the limit held anything back, so that the rate says something about it.
    full: bool,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            limit: FIRST_LIMIT,
            rising: true,
            lent: BTreeMap::new(),
            stuck: BTreeMap::new(),
            extra: 0,
            samples: VecDeque::new(),
            window: Window::default(),
            last_rate: None,
        }
    }
}

impl Limiter {
    pub(super) fn has_room(&self) -> bool {
        self.lent.len() < self.limit + self.extra && self.stuck.len() < MAX_STUCK
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lent.len()
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn lend(&mut self, key: Key, now: Duration) {
        if self.lent.is_empty() {
            // The runtime was idle: what it did before the pause says nothing about the next burst.
            self.window = Window { began: Some(now), finished: 0, full: false };
        }
        self.lent.insert(key, now);
        self.window.full |= self.lent.len() >= self.limit;
    }

    pub(super) fn returned(&mut self, key: &Key, now: Duration) {
        let in_time = self.lent.remove(key);
        if in_time.is_some() {
            self.extra /= 2;
        }
        if let Some(since) = in_time.or_else(|| self.stuck.remove(key)) {
            self.samples.push_back(now.saturating_sub(since));
            if self.samples.len() > SAMPLES {
                self.samples.pop_front();
            }
            self.window.finished += 1;
            self.adapt(now);
        }
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.lent.retain(|(u, _), _| u != uid);
        self.stuck.retain(|(u, _), _| u != uid);
    }

    pub(super) fn reclaim(&mut self, now: Duration) {
        let usual = self.usual();
        let overdue: Vec<Key> =
            self.lent.iter().filter(|(_, since)| now >= **since + usual).map(|(k, _)| k.clone()).collect();
        self.extra = (self.extra + overdue.len()).min(MAX_LIMIT);
        for key in overdue {
            if let Some(since) = self.lent.remove(&key) {
                self.stuck.insert(key, since);
            }
        }
    }

    pub(super) fn next_overdue(&self) -> Option<Duration> {
        self.lent.values().min().map(|since| *since + self.usual())
    }

    fn usual(&self) -> Duration {
        let mut sorted: Vec<Duration> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        match sorted.get(sorted.len() / 2) {
            Some(median) => (*median * 4).max(LEAST_USUAL),
            None => UNKNOWN_USUAL,
        }
    }

    fn adapt(&mut self, now: Duration) {
        let size = (self.limit * 4).max(8);
        let Some(began) = self.window.began else { return };
        if self.window.finished < size {
            return;
        }
        let full = self.window.full;
        let seconds = now.saturating_sub(began).as_secs_f64();
        let rate = self.window.finished as f64 / seconds.max(1e-6);
        self.window = Window { began: Some(now), finished: 0, full: false };
        if !full {
            return;
        }
        if let Some(last) = self.last_rate {
            if rate < last * (1.0 - NOISE) {
                self.rising = !self.rising;
            } else if rate < last * (1.0 + NOISE) {
                // No gain: the smaller number serves the first pod sooner.
                self.rising = false;
            }
        }
        self.last_rate = Some(rate);
        self.limit = if self.rising { self.limit + 1 } else { (self.limit * 3 / 4).max(1) };
        self.limit = self.limit.clamp(1, MAX_LIMIT);
        if self.limit == 1 {
            self.rising = true;
        }
    }
}
