//! What really happened to each pod, whoever has seen it: what the invariants are checked against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use lifecycle::ContainerKind;

use crate::script::Script;

/// How a postStart hook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostStart {
    NotRun,
    Running,
    Returned,
    /// Nobody will ever know: the daemon that ran it was killed.
    Unknown,
}

/// One container that the runtime made, from then on for ever.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) kind: ContainerKind,
    pub(crate) sandbox: String,
    pub(crate) attempt: u32,
    pub(crate) script: Script,
    /// When its process began, if it did.
    pub(crate) started: Option<Duration>,
    pub(crate) ended: Option<(Duration, i32)>,
    /// When its end was first asked for: hook or signal.
    pub(crate) stop_began: Option<Duration>,
    pub(crate) pre_stop_began: Option<Duration>,
    pub(crate) pre_stop_over: bool,
    pub(crate) term_at: Option<Duration>,
    pub(crate) post_start: PostStart,
    /// What the daemon was told of it by probes.
    pub(crate) told_started: bool,
    pub(crate) told_unready: bool,
    /// The image it was made with.
    pub(crate) image: String,
    /// Whether it was started by a call that nobody waited for any more.
    pub(crate) unwatched: bool,
    /// Whether the daemon was killed while it was being ended.
    pub(crate) daemon_killed: bool,
}

impl Run {
    pub(crate) fn is_running(&self) -> bool {
        self.started.is_some() && self.ended.is_none()
    }
}

/// One pod.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// By the runtime's id.
    pub(crate) runs: BTreeMap<String, Run>,
    /// Whether the machine of the present daemon was told of the pod's end.
    pub(crate) told_end: bool,
    /// The true time at which the grace period is over, as everything that was told amounts to.
    pub(crate) deadline: Option<Duration>,
    /// The shortest grace period that anything may have given a container of this pod.
    pub(crate) least_grace: Option<Duration>,
    /// The last status that a machine published.
    pub(crate) published: Option<Arc<PodStatus>>,
    /// Whether the machine of the present daemon was told what the runtime has.
    pub(crate) observed: bool,
    /// Sandboxes that were found or made not ready.
    pub(crate) lost_sandboxes: BTreeSet<String>,
    /// Whether the present machine began without the status that the API has: the API was away.
    pub(crate) blind: bool,
    /// Whether a terminal phase was published.
    pub(crate) over: bool,
    /// Whether the API has taken one.
    pub(crate) written_terminal: bool,
    pub(crate) refused: bool,
    /// Whether its machine has finished.
    pub(crate) finished: bool,
}

impl Truth {
    pub(crate) fn runs_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.values().filter(move |r| r.name == name)
    }

    /// The pod's grace period is over at `at`, or sooner.
    pub(crate) fn ends_by(&mut self, at: Duration) {
        self.deadline = Some(self.deadline.map_or(at, |before| before.min(at)));
    }

    /// A container of this pod may be given as little as `grace`.
    pub(crate) fn may_be_given(&mut self, grace: Duration) {
        self.least_grace = Some(self.least_grace.map_or(grace, |before| before.min(grace)));
    }
}
