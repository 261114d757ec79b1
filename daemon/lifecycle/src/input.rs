//! What the machines are told.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as ApiPod;

use serde::{Deserialize, Serialize};

use crate::effect::{Kept, OpId, ProbeKind};
use crate::observation::Observation;

/// Where a pod comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The API server.
    Api,
    /// A manifest on the node: has no API object of its own.
    Static,
    /// Wanted by nobody: is stopped and removed, without a status. Found in the runtime, or an earlier daemon was about to
    /// remove it; in that case its spec and what was kept of it are known.
    Orphan,
}

/// A pod as its source gives it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// The object, with the status that the API has.
    pub pod: Arc<ApiPod>,
    /// Its source.
    pub origin: Origin,
    /// What an earlier daemon kept of it; only looked at when the machine is made.
    #[serde(default)]
    pub kept: Kept,
}

impl Assignment {
    /// A pod of which nothing was kept.
    pub fn new(pod: Arc<ApiPod>, origin: Origin) -> Self {
        Self { pod, origin, kept: Kept::default() }
    }
}

/// Why a call did not do what it was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The runtime does not know the object.
    NotFound,
    /// The runtime cannot be reached; nothing is known about the outcome.
    Unavailable,
    /// No answer in time; nothing is known about the outcome.
    Deadline,
    /// The name is reserved by an earlier call whose answer was lost (design.md 2.8).
    Reserved,
    /// The container's configuration could not be put together.
    Config,
    /// The pod's directories could not be made.
    Directories,
    /// The image's name cannot be parsed.
    InvalidImageName,
    /// The image is there and this pod may not use it, as it has not shown that it could pull it.
    ImageNotAllowed,
    /// The registry cannot be reached.
    RegistryUnavailable,
    /// The image's signature does not hold.
    SignatureInvalid,
    /// Anything else that the runtime said.
    Refused,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What it means.
    pub kind: FailureKind,
    /// For people; goes into events and waiting messages.
    pub message: String,
}

/// What a call that worked brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Of [`crate::Call::Observe`].
    Observed(Observation),
    /// Of [`crate::Call::RunSandbox`] and [`crate::Call::CreateContainer`]: the runtime's id.
    Made {
        /// The runtime's id.
        id: String,
    },
    /// Of [`crate::Call::InspectImage`]: the image's id, `None` where the node has no such image.
    Image {
        /// The image's id.
        id: Option<String>,
    },
    /// Of [`crate::Call::PullImage`].
    Pulled {
        /// The image's id.
        id: String,
        /// Its size in bytes, 0 where unknown.
        size_bytes: u64,
    },
    /// Of [`crate::Call::MountVolumes`].
    Mounted {
        /// When the call is to be made again, `None` where nothing in the volumes grows old.
        refresh_after: Option<Duration>,
    },
    /// Of all others.
    Done,
}

/// Whether a pod may have the resources that its spec asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResizeVerdict {
    /// From now on they are its own.
    Allowed,
    /// Not now.
    Deferred {
        /// For people.
        message: String,
    },
    /// Never on this node.
    Infeasible {
        /// For people.
        message: String,
    },
}

/// What the pod machine is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Input {
    /// The source has this pod, new or changed.
    Assigned(Assignment),
    /// The source has it no more. `grace` is what a forced deletion asked for, where it did.
    Removed {
        /// Shortens the pod's own grace period.
        grace: Option<Duration>,
    },
    /// The node machine lets the pod run.
    Admitted,
    /// The node machine refuses the pod.
    Refused {
        /// The pod's `status.reason`.
        reason: String,
        /// Goes behind `Pod was rejected: `.
        message: String,
    },
    /// The pod is ended from outside: `Evicted`, `Preempting`, `Terminated` by the node's shutdown.
    Kill {
        /// The pod's `status.reason`.
        reason: String,
        /// The pod's `status.message`.
        message: String,
        /// Replaces the pod's own grace period where it is shorter.
        grace: Option<Duration>,
        /// Whether it ends for others' sake and gets the condition `DisruptionTarget`; one that exceeds a limit of its own does not.
        disrupts: bool,
    },
    /// The node wants the room of these dead containers (the runtime's ids). Those that the pod still needs stay.
    Trim {
        /// The runtime's ids.
        ids: Vec<String>,
    },
    /// A probe has come to a verdict: thresholds are behind it.
    Probed {
        /// The run that was probed: the runtime's id.
        id: String,
        /// Which probe.
        kind: ProbeKind,
        /// The verdict.
        success: bool,
    },
    /// The node machine's answer to [`crate::Effect::AskResize`].
    Resized(ResizeVerdict),
    /// Something about the pod may have changed in the runtime.
    RuntimeChanged,
    /// The runtime answers again after it did not: what waits for it is tried at once.
    RuntimeBack,
    /// A start slot is free for this work.
    Slot {
        /// The work that asked.
        op: OpId,
    },
    /// A call has ended.
    Answered {
        /// The call.
        op: OpId,
        /// How.
        outcome: Result<Answer, Failure>,
    },
    /// The API has taken this version of the status, or `gone`: it has no such pod any more.
    Published {
        /// The version that was sent.
        version: u64,
        /// The object does not exist, or is another one of that name.
        gone: bool,
    },
    /// A config map, secret or runtime class that the pod refers to has changed, has appeared or has gone; also that it may be read at last.
    ObjectsChanged,
    /// The node's addresses, the primary family first.
    HostIps(Vec<String>),
    /// A deadline has come.
    Tick,
}
