//! When a log is looked at next. Pure: its size and the time in, what to do out.
//!
//! A log that nobody writes to costs nothing: a watch tells of the first write, once. After that its size is looked at, the more
//! often the less room is left and the faster it grows, until it has not grown between two looks. A fast log is rotated a little
//! before it is full: by as much as was written to it while its last rotation went on.
//!
//! A runtime that lacks processor time writes nothing for a while, and then what has piled up at several times its usual rate. So a log
//! that was fast is looked at as if twice its fastest could come at any moment, until it has been slower for long.

use std::time::Duration;

/// No container is thought to write faster than so many bytes a second before it was seen.
const CEILING: f64 = 100e6;
/// Nor so many times faster than it did.
const SURGE: f64 = 2.0;
/// What is left of the fastest rate after each look that finds a slower one.
const MEMORY: f64 = 0.95;
/// A log may be found so much larger than its limit, when it begins to grow as fast as is thought possible.
const OVERSHOOT: f64 = 0.1;
/// No log is rotated before it has this part of its limit.
const EARLIEST: f64 = 0.5;
/// Looks are so far apart at least where the log is not known to fill up before.
const CAUTIOUS: Duration = Duration::from_millis(10);
/// And so far where it is.
const SHORTEST: Duration = Duration::from_millis(5);
/// No two looks are further apart while it grows.
const LONGEST: Duration = Duration::from_millis(250);

/// What to do about a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is full.
    Rotate,
    /// Look again after that time.
    Look(Duration),
    /// It does not grow: look when it is written to.
    Watch,
}

/// What is known of one log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    limit: f64,
    last: Option<(Duration, u64)>,
    /// Bytes a second.
    rate: f64,
    /// The fastest of late.
    peak: f64,
    /// When the next look is due.
    due: Option<Duration>,
    /// When the look was due that found it full.
    full_since: Option<Duration>,
    /// Seconds from there to the end of a rotation: the longest of late, halved each time.
    lag: f64,
}

impl Pace {
    /// A log that is full at `limit_bytes`.
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self {
            limit: limit_bytes as f64,
            last: None,
            rate: 0.0,
            peak: 0.0,
            due: None,
            full_since: None,
            lag: 0.0,
        }
    }

    /// The log was found `size` bytes large at `now`, on any clock that never goes back.
    pub(super) fn seen(&mut self, now: Duration, size: u64) -> Next {
        let grown = match self.last {
            Some((at, before)) => {
                // It was cut, or is another file.
                let grown = if size < before { size } else { size - before };
                let took = now.saturating_sub(at).as_secs_f64();
                if took > 0.0 {
                    let rate = grown as f64 / took;
                    // One slow moment says little.
                    self.rate = rate.max(self.rate / 2.0);
                    self.peak = rate.max(self.peak * MEMORY);
                }
                grown
            }
            None => size,
        };
        let first = self.last.replace((now, size)).is_none();
        let due = self.due.take().unwrap_or(now).min(now);
        if size as f64 >= self.full_at() {
            self.full_since.get_or_insert(due);
            return Next::Rotate;
        }
        if grown == 0 && !first {
            self.rate = 0.0;
            return Next::Watch;
        }
        if first && size == 0 { Next::Watch } else { Next::Look(self.patience(now, size)) }
    }

    /// The size at which its rotation should begin.
    fn full_at(&self) -> f64 {
        (self.limit - self.rate * self.lag).max(self.limit * EARLIEST)
    }

    /// The watch has told of a write.
    pub(super) fn written(&mut self, now: Duration) -> Duration {
        let size = self.last.map_or(0, |(_, size)| size);
        self.last = Some((now, size));
        self.patience(now, size)
    }

    /// The log was rotated: the runtime writes to an empty one since `now`.
    pub(super) fn rotated(&mut self, now: Duration) -> Duration {
        self.last = Some((now, 0));
        if let Some(since) = self.full_since.take() {
            self.lag = now.saturating_sub(since).as_secs_f64().max(self.lag / 2.0).min(LONGEST.as_secs_f64());
        }
        self.patience(now, 0)
    }

    /// The rotation has failed: the next one may take another time.
    pub(super) fn failed(&mut self) {
        self.full_since = None;
    }

    fn patience(&mut self, now: Duration, size: u64) -> Duration {
        let seconds = |s: f64| Duration::try_from_secs_f64(s.max(0.0)).unwrap_or(LONGEST);
        let size = size as f64;
        let cautious =
            seconds((self.limit * (1.0 + OVERSHOOT) - size) / CEILING.max(self.peak * SURGE)).max(CAUTIOUS);
        let full = seconds((self.full_at() - size) / self.rate).max(SHORTEST);
        let patience = cautious.min(full).min(LONGEST);
        self.due = Some(now + patience);
        patience
    }
}

#[cfg(test)]
mod tests;
