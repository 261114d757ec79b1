//! Liveness: when the faults are over, every pod reaches its goal within a bounded time.

use std::time::Duration;

use crate::invariants::{Broken, Check};
use crate::world::World;

/// The longest back-off, the longest grace period and the slowest retries, twice over.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// How often it is looked whether all is well.
const LOOK: Duration = Duration::from_secs(10);

impl World {
    pub(crate) fn reach_the_goal(&mut self) -> Check {
        let calm = self.scenario.faults_until.max(self.scenario.span()) + Duration::from_secs(5);
        self.run_until(calm)?;
        let end = calm + PATIENCE;
        loop {
            let missing = self.missing();
            let Some(missing) = missing else { break };
            if self.time >= end {
                return Err(Broken::new("every_pod_reaches_its_goal", missing));
            }
            let next = self.time + LOOK;
            self.run_until(next)?;
        }
        Ok(())
    }

    /// What is not yet as it should be.
    fn missing(&mut self) -> Option<String> {
        None
    }
}
