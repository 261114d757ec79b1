//! The probes of this node's pods: one task that owns all deadlines and starts each probe when it is due.
//!
//! ```text
//!   pod tasks --Wanted--> desk --> prober: probes::Schedule --due--> attempts, bounded (probes::drivers)
//!       ^                            |                                   |
//!       '--- Probed, on news --------'<--------- outcome ----------------'--> events, series of /metrics/probes
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `desk` | what the pod tasks want probed; newer words replace older ones |
//! | `prober` | the task: schedule, attempts under way, whom a verdict is told |
//! | `exec` | commands in containers, through the runtime |
//! | `series` | what was counted |
//!
//! What to probe is the pod machine's to say, and what a verdict does too. Nothing here survives a restart: until there is
//! new evidence the verdicts in the pods' statuses hold (behaviour.md 19.15).

mod desk;
mod exec;
mod prober;
mod series;

use std::sync::Arc;

use cri_client::Client;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use lifecycle::ProbeTarget;
use probes::Bounds;

use crate::events::Recorder;
use crate::pods::Mailbox;
use desk::Desk;
pub(crate) use prober::Prober;
use series::Series;

/// Probes over the network that may be under way at once, and commands. A command costs the runtime a process or two and some
/// milliseconds each, and one that hangs holds its place for its timeout.
const BOUNDS: Bounds = Bounds { network: 1024, exec: 32 };

/// What a pod wants probed.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) pod: Arc<ApiPod>,
    /// Where its servers are, unless a probe names a host.
    pub(crate) pod_ip: Option<String>,
    /// All of it: what is not named any more is not probed any more.
    pub(crate) targets: Vec<ProbeTarget>,
    /// Who is told.
    pub(crate) mailbox: Mailbox,
}

/// How the rest of the daemon speaks to the prober; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probing {
    desk: Desk,
    series: Series,
}

impl Probing {
    /// Both ends: the prober is to be run.
    pub(crate) fn new(cri: Client, recorder: Recorder) -> (Self, Prober) {
        let probing = Self::default();
        let prober = Prober::new(probing.desk.clone(), probing.series.clone(), cri, recorder, BOUNDS);
        (probing, prober)
    }

    /// What the pod `uid` wants probed from now on. Never waits.
    pub(crate) fn probe(&self, uid: &str, wanted: Wanted) {
        self.desk.put(uid, Some(wanted));
    }

    /// The pod is gone, and its series with it.
    pub(crate) fn forget(&self, uid: &str) {
        self.desk.put(uid, None);
    }

    /// The series of `/metrics/probes` (behaviour.md 19.16).
    pub(crate) fn text(&self) -> String {
        self.series.text()
    }
}

#[cfg(test)]
mod tests;
