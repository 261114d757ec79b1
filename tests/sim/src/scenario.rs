//! What one run consists of, and what can be left out of it.

use std::time::Duration;

use crate::faults::FaultSet;
use crate::random::Random;
use crate::workload::Key;

/// A run: everything follows from the seed and from what is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The number of the run.
    pub seed: u64,
    /// Kinds of faults that happen.
    pub faults: FaultSet,
    /// When they stop.
    pub faults_until: Duration,
    /// Pods that are left out.
    pub without_pods: Vec<Key>,
    /// Deeds of the workload that are left out, by their number.
    pub without_deeds: Vec<usize>,
}

impl Scenario {
    /// All of run `seed`.
    pub fn new(seed: u64) -> Self {
        let mut mood = Random::new(seed, &[0]);
        let faults_until = Duration::from_secs(mood.pick(&[0, 20, 40, 60, 90]));
        Self {
            seed,
            faults: FaultSet::all(),
            faults_until,
            without_pods: Vec::new(),
            without_deeds: Vec::new(),
        }
    }

    /// The time over which the workload is spread.
    pub(crate) fn span(&self) -> Duration {
        let mut mood = Random::new(self.seed, &[5]);
        Duration::from_secs(mood.pick(&[20, 45, 80]))
    }

    pub(crate) fn wants(&self, deed: usize, key: Key) -> bool {
        !self.without_pods.contains(&key) && !self.without_deeds.contains(&deed)
    }
}
