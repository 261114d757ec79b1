//! What one run consists of, and what can be left out of it.

use std::time::Duration;

use crate::faults::FaultSet;
use crate::random::Random;
use crate::workload::{Key, Workload};

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
    /// How long pods come and go all the time, after which all are taken away; none in a run of a few pods.
    pub churn: Option<Duration>,
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
            churn: None,
        }
    }

    /// Run `seed` of pods that come and go for so long, with faults to the end.
    pub fn churn(seed: u64, lasts: Duration) -> Self {
        Self { faults_until: lasts, churn: Some(lasts), ..Self::new(seed) }
    }

    /// Its pods, and what is done to them.
    pub(crate) fn workload(&self) -> Workload {
        match self.churn {
            Some(lasts) => Workload::churn(self.seed, lasts),
            None => Workload::new(self.seed, self.span()),
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
