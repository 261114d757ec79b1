//! Processor time as a rate.
//!
//! A rate needs two readings, and nothing is read that nobody asks for. So the readings of earlier questions are kept, one or two
//! numbers a cgroup, and a rate is over the time since the newest of them that is at least a second and at most two minutes old.
//! Whoever asks first, or after a long silence, gets no rate; whoever asks again, be it after a second, gets one.

use std::collections::HashMap;

use jiff::Timestamp;

/// Over less than this the clock's and the counter's grain would show.
const LEAST_NANOS: i128 = 1_000_000_000;
/// What was so long ago says nothing about now.
const MOST_NANOS: i128 = 120_000_000_000;
/// Cgroups whose readings are kept.
const MAX_KEPT: usize = 65_536;

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Timestamp,
    used_nanos: u64,
}

#[derive(Debug)]
struct Kept {
    /// At least [`LEAST_NANOS`] before `newer`.
    older: Option<Point>,
    newer: Point,
    round: u64,
}

/// The readings of earlier questions, by whatever names a cgroup for good.
#[derive(Debug, Default)]
pub(super) struct Rates {
    kept: HashMap<String, Kept>,
    round: u64,
}

impl Rates {
    /// A reading of all cgroups begins.
    pub(super) fn begin(&mut self) {
        self.round += 1;
    }

    /// It has ended: those that were not in it are gone.
    pub(super) fn end(&mut self) {
        let round = self.round;
        self.kept.retain(|_, kept| kept.round == round);
        self.kept.shrink_to(self.kept.len() * 2);
    }

    /// Nanoseconds of processor time a second, with this reading.
    pub(super) fn nano_cores(&mut self, key: &str, at: Timestamp, used_nanos: u64) -> Option<u64> {
        let now = Point { at, used_nanos };
        let Some(kept) = self.kept.get_mut(key) else {
            if self.kept.len() < MAX_KEPT {
                self.kept.insert(key.to_owned(), Kept { older: None, newer: now, round: self.round });
            }
            return None;
        };
        kept.round = self.round;
        if used_nanos < kept.newer.used_nanos || at < kept.newer.at {
            // Another cgroup of the same name, or another time.
            (kept.older, kept.newer) = (None, now);
            return None;
        }
        if nanos_between(kept.newer, now) >= LEAST_NANOS {
            (kept.older, kept.newer) = (Some(kept.newer), now);
        }
        let base = kept.older?;
        let nanos = nanos_between(base, now);
        if nanos > MOST_NANOS {
            return None;
        }
        let used = i128::from(used_nanos - base.used_nanos);
        u64::try_from(used * 1_000_000_000 / nanos).ok()
    }
}

fn nanos_between(before: Point, after: Point) -> i128 {
    after.at.as_nanosecond() - before.at.as_nanosecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + millis).unwrap()
    }

    /// Readings at these milliseconds of so many milliseconds used, and the rates in milli-cores.
    fn rates(readings: &[(i64, u64)]) -> Vec<Option<u64>> {
        let mut rates = Rates::default();
        let one = |(millis, used): &(i64, u64)| {
            rates.begin();
            let rate = rates.nano_cores("c", at(*millis), used * 1_000_000);
            rates.end();
            rate.map(|nano_cores| nano_cores / 1_000_000)
        };
        readings.iter().map(one).collect()
    }

    #[test]
    fn a_rate_is_over_the_time_since_an_earlier_question_and_the_first_has_none() {
        assert_eq!(rates(&[(0, 10), (2000, 1010), (4000, 1010)]), [None, Some(500), Some(0)]);
    }

    #[test]
    fn questions_in_quick_succession_are_measured_over_at_least_a_second() {
        let readings = [(0, 0), (100, 100), (1000, 500), (1100, 600), (1900, 600), (2000, 700)];
        let wanted = [None, None, Some(500), Some(545), Some(315), Some(200)];
        assert_eq!(rates(&readings), wanted);
    }

    #[test]
    fn a_question_after_a_long_silence_or_about_a_counter_that_began_anew_has_no_rate() {
        assert_eq!(rates(&[(0, 0), (120_001, 5), (121_001, 5)]), [None, None, Some(0)]);
        assert_eq!(rates(&[(0, 100), (2000, 50), (4000, 1050)]), [None, None, Some(500)]);
        assert_eq!(rates(&[(9000, 100), (2000, 500)]), [None, None]);
    }

    #[test]
    fn what_was_not_read_again_is_forgotten() {
        let mut rates = Rates::default();
        rates.begin();
        rates.nano_cores("a", at(0), 0);
        rates.end();
        rates.begin();
        rates.nano_cores("b", at(0), 0);
        rates.end();
        assert_eq!(rates.kept.len(), 1);
    }
}
