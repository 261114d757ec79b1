//! The order in which the pods end when the node goes down (behaviour.md 42.3).
//!
//! ```text
//!   Up --the node goes down--> Ending(group 0) --> Ending(group 1) --> ... --> Over
//!    ^                                 '- all of it have settled, or its period is over
//!    '------------------- the node stays up after all -------------------------'
//! ```
//!
//! It begins when all pods that may have run before have come. Groups end by rising priority, so that what the others rely
//! on goes last. All pods of a group are told at once; a group without pods takes no time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::NodeEffect;
use super::claim::Claim;

/// What a pod is told that ends because its node goes down.
const REASON: &str = "Terminated";
const MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";

/// The pods from one priority up to the next group's, and how long they may take to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownGroup {
    /// The lowest priority in it; the first group also has those below.
    pub priority: i32,
    /// Cuts the grace period of its pods, and the wait for them.
    pub period: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Up,
    /// The pods of this group are waited for until this boot time.
    Ending {
        group: usize,
        until: Duration,
    },
    Over,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Shutdown {
    /// By rising priority; none where the node goes down without waiting for anybody.
    groups: Vec<ShutdownGroup>,
    stage: Stage,
    /// Whether all pods of an earlier daemon have come.
    gathered: bool,
    /// Who has been told, and has not settled since.
    left: BTreeSet<String>,
    told: BTreeSet<String>,
}

impl Shutdown {
    pub(super) fn new(mut groups: Vec<ShutdownGroup>) -> Self {
        groups.sort_by_key(|group| group.priority);
        Self { groups, stage: Stage::Up, gathered: false, left: BTreeSet::new(), told: BTreeSet::new() }
    }

    /// All pods that may have run before have come.
    pub(super) fn gathered(&mut self) {
        self.gathered = true;
    }

    /// Nothing of the pod runs any more and its volumes are unmounted, or it is gone.
    pub(super) fn settled(&mut self, uid: &str) {
        self.left.remove(uid);
    }

    /// Goes as far as pods and time allow. `down` tells whether the node is going down.
    pub(super) fn step(
        &mut self,
        down: bool,
        claims: &BTreeMap<String, Claim>,
        now: Duration,
        out: &mut Vec<NodeEffect>,
    ) {
        if !down {
            self.stage = Stage::Up;
            self.left.clear();
            self.told.clear();
            return;
        }
        if !self.gathered {
            return;
        }
        if self.stage == Stage::Up {
            self.begin(0, claims, now, out);
        }
        while let Stage::Ending { group, until } = self.stage {
            self.tell(group, claims, until.saturating_sub(now), out);
            if !self.left.is_empty() && now < until {
                return;
            }
            // Whoever has not made it in its time goes on ending while the next ones do.
            self.left.clear();
            self.begin(group + 1, claims, now, out);
        }
        // Whoever turns up now has no time left.
        self.tell(self.groups.len(), claims, Duration::ZERO, out);
    }

    /// The boot time at which the group's period is over.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        match self.stage {
            Stage::Ending { until, .. } => Some(until),
            Stage::Up | Stage::Over => None,
        }
    }

    /// Begins with the first group from `group` on that has pods.
    fn begin(
        &mut self,
        group: usize,
        claims: &BTreeMap<String, Claim>,
        now: Duration,
        out: &mut Vec<NodeEffect>,
    ) {
        let inhabited = |at: usize| claims.values().any(|claim| self.group_of(claim) == at);
        let next = self.groups.iter().enumerate().skip(group).find(|(at, _)| inhabited(*at));
        self.stage = match next {
            Some((group, ShutdownGroup { period, .. })) => {
                Stage::Ending { group, until: now.saturating_add(*period) }
            }
            None => {
                out.push(NodeEffect::ShutdownOver);
                Stage::Over
            }
        };
    }

    /// Tells the pods of the groups up to `group` that were not told yet.
    fn tell(
        &mut self,
        group: usize,
        claims: &BTreeMap<String, Claim>,
        grace: Duration,
        out: &mut Vec<NodeEffect>,
    ) {
        if self.groups.is_empty() {
            return;
        }
        for (uid, claim) in claims {
            if self.group_of(claim) > group || !self.told.insert(uid.clone()) {
                continue;
            }
            self.left.insert(uid.clone());
            out.push(NodeEffect::End {
                uid: uid.clone(),
                reason: REASON.to_owned(),
                message: MESSAGE.to_owned(),
                grace: Some(grace),
                signal: None,
            });
        }
    }

    /// The last group whose priority the pod has; the first one where it has none.
    fn group_of(&self, claim: &Claim) -> usize {
        let priority = claim.priority.unwrap_or(0);
        self.groups.iter().rposition(|group| group.priority <= priority).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
