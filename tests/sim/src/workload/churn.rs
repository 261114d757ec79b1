//! Pods that come and go all the time: under each name one after the other, for hours.

use std::time::Duration;

use lifecycle::Origin;

use super::{Deed, Planned, Workload};
use crate::random::Random;

/// Names that are in use at the same time.
const NAMES: u64 = 8;
/// Seconds that a pod is there: most are gone before they have settled, some go on and on.
const LIVES: [u64; 10] = [1, 5, 15, 30, 60, 60, 120, 300, 900, 3_600];

impl Workload {
    /// For `lasts`; the last pods may be there beyond it.
    pub(crate) fn churn(seed: u64, lasts: Duration) -> Self {
        let mut workload = Self { pods: Vec::new(), deeds: Vec::new() };
        for name in 0..NAMES {
            let mut random = Random::new(seed, &[15, name]);
            let mut at = random.millis(0, 10_000);
            while at < lasts {
                at = workload.life(seed, &mut random, name, at) + random.millis(0, 20_000);
            }
        }
        workload.deeds.retain(|deed| deed.at < lasts);
        workload.deeds.sort_by_key(|deed| deed.at);
        workload
    }

    /// One pod from its beginning to the deed that takes it away; tells when that is.
    fn life(&mut self, seed: u64, random: &mut Random, name: u64, begin: Duration) -> Duration {
        let (key, origin) = self.plan(seed, random, name);
        let mut add = |at, deed| self.deeds.push(Planned { at, key, deed });
        add(begin, Deed::Create);
        let lasts = random.pick(&LIVES) * 1_000;
        let end = begin + random.millis(lasts / 2, lasts);
        let mut at = begin;
        for _ in 0..random.below(6) {
            at += random.millis(0, lasts / 4);
            let deed = if origin == Origin::Static { Self::static_deed(random) } else { Self::deed(random) };
            if at >= end || matches!(deed, Deed::Delete(_) | Deed::ForceDelete) {
                continue;
            }
            add(at, deed);
            if deed == Deed::Vanish {
                add(at + random.millis(10, 20_000), Deed::Return);
            }
        }
        if origin == Origin::Static {
            // After it has come back for the last time.
            let gone = end.max(at + Duration::from_secs(20));
            add(gone, Deed::Vanish);
            return gone;
        }
        if random.percent(20) {
            add(end, Deed::ForceDelete);
        } else {
            add(end, Deed::Delete(random.pick(&[None, None, Some(0), Some(1), Some(5), Some(60)])));
        }
        end
    }
}
