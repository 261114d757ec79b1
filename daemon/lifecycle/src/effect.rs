//! What the machines want done.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;

use crate::container::ContainerKind;

/// Names one call in flight; unique within one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// Which queue a start waits in: containers of pods that are under way go before new sandboxes, so that one pod is
/// finished before the next is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SlotClass {
    /// Create and start of one container.
    Container,
    /// A new sandbox.
    Sandbox,
}

/// One piece of work with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Read everything that the runtime has of the pod.
    Observe,
    /// Make the pod's directories and its sandbox.
    RunSandbox {
        /// Which sandbox of the pod this is, counted from 0.
        attempt: u32,
    },
    /// Stop a sandbox and release its network.
    StopSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Remove a stopped sandbox.
    RemoveSandbox {
        /// The runtime's id.
        id: String,
    },
    /// Look for an image on the node.
    InspectImage {
        /// As in the spec.
        image: String,
    },
    /// Pull an image.
    PullImage {
        /// As in the spec.
        image: String,
    },
    /// Make a container.
    CreateContainer {
        /// Its name in the spec.
        name: String,
        /// Where in the spec it stands.
        kind: ContainerKind,
        /// How often it has been restarted before.
        restart_count: u32,
        /// The sandbox to make it in.
        sandbox_id: String,
        /// The id of the image that was resolved.
        image_id: String,
        /// The pod's addresses, as its environment may name them.
        pod_ips: Vec<String>,
    },
    /// Start a container that was made.
    StartContainer {
        /// The runtime's id.
        id: String,
        /// Its name in the spec.
        name: String,
        /// Where in the spec it stands.
        kind: ContainerKind,
    },
    /// Stop a container: its stop signal, and SIGKILL after `grace`.
    StopContainer {
        /// The runtime's id.
        id: String,
        /// Whole seconds, at least 2 (behaviour.md 18.5).
        grace: Duration,
    },
    /// Remove a dead container with its logs.
    RemoveContainer {
        /// The runtime's id.
        id: String,
        /// Its name in the spec.
        name: String,
        /// Which of its log files go with it.
        restart_count: u32,
    },
    /// Remove the pod's directories below the root directory; with `logs`, its log directory too.
    RemoveDirs {
        /// Whether the logs go as well.
        logs: bool,
    },
    /// Delete the API object: grace 0, UID precondition.
    DeleteObject,
}

/// Normal or warning, as the API spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// `Normal`
    Normal,
    /// `Warning`
    Warning,
}

/// An event on the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Normal or warning.
    pub kind: EventType,
    /// One of the kubelet's reasons (behaviour.md 43).
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// `spec.containers{name}` where one container is meant.
    pub field_path: Option<String>,
}

/// What the pod machine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the node machine whether the pod may run here.
    Admit {
        /// Whether it runs already: such a pod is not judged again.
        adopt: bool,
    },
    /// Ask the node machine for a start slot; [`crate::Input::Slot`] grants it.
    AskSlot {
        /// The work that will use it.
        op: OpId,
        /// Its queue.
        class: SlotClass,
    },
    /// The slot of `op` is not needed any more, whether it was granted or not.
    ReturnSlot {
        /// The work that had it.
        op: OpId,
    },
    /// Do this and answer with [`crate::Input::Answered`].
    Call {
        /// To be named in the answer.
        op: OpId,
        /// The work.
        call: Call,
    },
    /// Stop waiting for this call; its answer is not wanted.
    Cancel {
        /// The call.
        op: OpId,
    },
    /// Send this status; a newer one replaces it where it has not been sent yet.
    Publish {
        /// Counts up by one; acknowledged by [`crate::Input::Published`].
        version: u64,
        /// The whole status.
        status: Arc<PodStatus>,
    },
    /// Record an event.
    Event(Event),
    /// Nothing is left of the pod on this node; the machine can be dropped.
    Finished,
}
