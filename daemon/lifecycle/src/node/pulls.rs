//! How many images are pulled at once, and how often a pull may begin.

use std::collections::VecDeque;
use std::time::Duration;

use crate::effect::OpId;

type Key = (String, OpId);

/// Bounds of all pulls on a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PullLimits {
    /// Pulls at once, at least 1: 1 for `serializeImagePulls`, else `maxParallelImagePulls`.
    pub parallel: usize,
    /// Pulls begun each second (`registryPullQPS`); 0 or less without a bound.
    pub per_second: f64,
    /// Pulls that may begin at once before `per_second` counts (`registryBurst`).
    pub burst: u32,
}

impl Default for PullLimits {
    /// nodelet's own: pulls of different pods do not wait for one slow registry.
    fn default() -> Self {
        Self { parallel: 5, per_second: 5.0, burst: 10 }
    }
}

/// Pulls in the order in which they were asked for.
#[derive(Debug)]
pub(super) struct Pulls {
    limits: PullLimits,
    waiting: VecDeque<Key>,
    lent: Vec<Key>,
    /// Pulls that may begin now, up to the burst.
    tokens: f64,
    counted_at: Duration,
}

impl Pulls {
    pub(super) fn new(limits: PullLimits) -> Self {
        let tokens = f64::from(limits.burst.max(1));
        Self { limits, waiting: VecDeque::new(), lent: Vec::new(), tokens, counted_at: Duration::ZERO }
    }

    pub(super) fn ask(&mut self, key: Key) {
        self.waiting.push_back(key);
    }

    pub(super) fn returned(&mut self, key: &Key) {
        self.waiting.retain(|k| k != key);
        self.lent.retain(|k| k != key);
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.waiting.retain(|(u, _)| u != uid);
        self.lent.retain(|(u, _)| u != uid);
    }

    /// Those that may begin now.
    pub(super) fn grant(&mut self, now: Duration) -> Vec<Key> {
        let bounded = self.limits.per_second > 0.0;
        let passed = now.saturating_sub(self.counted_at).as_secs_f64();
        let most = f64::from(self.limits.burst.max(1));
        self.tokens = (self.tokens + passed * self.limits.per_second.max(0.0)).min(most);
        self.counted_at = now;
        let mut granted = Vec::new();
        while self.lent.len() < self.limits.parallel.max(1) && (!bounded || self.tokens >= 1.0) {
            let Some(key) = self.waiting.pop_front() else { break };
            if bounded {
                self.tokens -= 1.0;
            }
            self.lent.push(key.clone());
            granted.push(key);
        }
        granted
    }

    /// When the next one may begin, where only the rate holds it.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        let held = !self.waiting.is_empty() && self.lent.len() < self.limits.parallel.max(1);
        if !held || self.limits.per_second <= 0.0 {
            return None;
        }
        let missing = (1.0 - self.tokens).max(0.0) / self.limits.per_second;
        Some(self.counted_at + Duration::from_secs_f64(missing.min(3600.0)) + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(limits: PullLimits, count: u64) -> Pulls {
        let mut pulls = Pulls::new(limits);
        for n in 0..count {
            pulls.ask(("u".to_owned(), OpId(n)));
        }
        pulls
    }

    #[test]
    fn serial_pulls_begin_one_after_the_other_in_order() {
        let mut pulls = asked(PullLimits { parallel: 1, per_second: 0.0, burst: 0 }, 3);
        for n in 0..3 {
            let granted = pulls.grant(Duration::ZERO);
            assert_eq!(granted, [("u".to_owned(), OpId(n))]);
            assert!(pulls.grant(Duration::from_secs(9)).is_empty());
            pulls.returned(&granted[0]);
        }
    }

    #[test]
    fn beyond_the_burst_pulls_begin_at_the_rate() {
        let mut pulls = asked(PullLimits { parallel: 100, per_second: 2.0, burst: 3 }, 6);
        assert_eq!(pulls.grant(Duration::ZERO).len(), 3);
        let at = pulls.next_wake().expect("one waits for the rate");
        assert!(at > Duration::from_millis(450) && at < Duration::from_millis(550), "{at:?}");
        assert_eq!(pulls.grant(at).len(), 1);
        assert_eq!(pulls.grant(Duration::from_secs(5)).len(), 2);
        assert_eq!(pulls.next_wake(), None);
    }
}
