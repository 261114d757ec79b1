//! One container of the spec and the work that is under way for it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod as ApiPod};

use crate::backoff::Backoff;
use crate::effect::OpId;

/// Where in the spec a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerKind {
    /// `spec.initContainers`, run to completion in order.
    Init,
    /// `spec.containers`.
    Regular,
}

impl ContainerKind {
    /// The path that events name.
    pub fn field_path(self, name: &str) -> String {
        match self {
            Self::Init => format!("spec.initContainers{{{name}}}"),
            Self::Regular => format!("spec.containers{{{name}}}"),
        }
    }
}

/// What is being done for a container right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing.
    #[default]
    Idle,
    /// The node is asked whether it has the image.
    InspectingImage(OpId),
    /// The image is pulled since this boot time.
    PullingImage(OpId, Duration),
    /// The image is there; a start slot is asked for.
    WaitingForSlot(OpId, String),
    /// The runtime makes the container.
    Creating(OpId),
    /// The container is made; the runtime starts it.
    Starting(OpId),
}

impl Work {
    pub(crate) fn op(&self) -> Option<OpId> {
        match self {
            Self::Idle => None,
            Self::InspectingImage(op)
            | Self::PullingImage(op, _)
            | Self::WaitingForSlot(op, _)
            | Self::Creating(op)
            | Self::Starting(op) => Some(*op),
        }
    }

    /// Whether the runtime may be making something of it that the last observation does not show.
    pub(crate) fn makes(&self) -> bool {
        matches!(self, Self::Creating(_) | Self::Starting(_))
    }
}

/// Why a container that should run does not, as its status shows it (behaviour.md 5.17).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// One container of the spec.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) work: Work,
    pub(crate) waiting: Option<Waiting>,
    /// No new try before this boot time.
    pub(crate) retry_at: Option<Duration>,
    pub(crate) restarts: Backoff,
    /// What the restart back-off is kept for: another image or other resources begin a new one (behaviour.md 12.4).
    pub(crate) restarts_key: String,
    pub(crate) pulls: Backoff,
    /// Boot time of the last failed pull and what it said.
    pub(crate) pull_failure: Option<(Duration, Waiting)>,
    /// The exit that was last acted upon: the container's id and its boot time, so that a clock that jumps does not
    /// move it.
    pub(crate) exit: Option<(String, Duration)>,
    /// Failures in a row that were not the container's own doing.
    pub(crate) failures: u32,
    /// The exit whose restart has been granted.
    pub(crate) granted: Option<String>,
    /// The exit for which a back-off has been announced.
    pub(crate) backoff_told: Option<String>,
}

/// The containers of `pod` that this machine runs, in the order in which they start.
pub(crate) fn specs(pod: &ApiPod) -> impl Iterator<Item = (ContainerKind, &ContainerSpec)> {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|s| s.init_containers.as_deref()).unwrap_or_default();
    let regular = spec.map(|s| s.containers.as_slice()).unwrap_or_default();
    init.iter().map(|c| (ContainerKind::Init, c)).chain(regular.iter().map(|c| (ContainerKind::Regular, c)))
}

/// `spec.restartPolicy`, `Always` where it is not given.
pub(crate) fn restart_policy(pod: &ApiPod) -> &str {
    pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always")
}

/// Whether a container of this kind is started again after it ended with `exit_code`.
pub(crate) fn restarts(pod: &ApiPod, kind: ContainerKind, exit_code: i32) -> bool {
    match (kind, restart_policy(pod)) {
        (_, "Never") => false,
        (_, "OnFailure") | (ContainerKind::Init, _) => exit_code != 0,
        (ContainerKind::Regular, _) => true,
    }
}

/// What a restart back-off is kept for, beside the pod and the container's name (behaviour.md 12.4).
pub(crate) fn restart_key(spec: &ContainerSpec) -> String {
    let resources = spec.resources.as_ref().map(|r| serde_json::to_string(r).unwrap_or_default());
    format!("{} {}", spec.image.as_deref().unwrap_or_default(), resources.unwrap_or_default())
}
