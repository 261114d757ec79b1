//! Random numbers that are the same for the same seed, wherever else something is drawn.

use std::time::Duration;

/// One stream of numbers (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream named by `path` of the run `seed`. Streams do not touch each other, so that leaving something out of a
    /// run leaves the rest as it was.
    pub(crate) fn new(seed: u64, path: &[u64]) -> Self {
        let mut random = Self(seed ^ 0x6a09_e667_f3bc_c908);
        for part in path {
            random.0 = random.next().wrapping_add(part.wrapping_mul(0xff51_afd7_ed55_8ccd));
        }
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `n` - 1; 0 for 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// A time from `from` to `to` milliseconds; short ones are as likely as long ones on a logarithmic scale.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        let mut span = to.saturating_sub(from);
        while span > 8 && self.below(3) == 0 {
            span /= 4;
        }
        Duration::from_millis(from + self.below(span + 1))
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or(0)]
    }
}
