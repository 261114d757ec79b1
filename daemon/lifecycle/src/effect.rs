//! What the machines want done.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PodStatus, ResourceRequirements};
use serde::{Deserialize, Serialize};

use crate::container::ContainerKind;

/// Names one call in flight; unique within one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OpId(pub u64);

/// Which queue a start waits in: containers of pods that are under way go before new sandboxes, so that one pod is
/// finished before the next is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SlotClass {
    /// Create and start of one container.
    Container,
    /// A new sandbox.
    Sandbox,
    /// An image pull, which has a bound of its own.
    Pull,
}

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hook {
    /// Right after the container was started.
    PostStart,
    /// Before it is stopped.
    PreStop,
}

/// What a probe decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProbeKind {
    /// Whether the container has come up; until then no other probe runs.
    Startup,
    /// Whether it is to be restarted.
    Liveness,
    /// Whether it takes requests.
    Readiness,
}

/// What can be changed while a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    /// Bytes.
    Memory,
    /// Weight and quota.
    Cpu,
}

/// One run of a container that is to be probed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProbeTarget {
    /// Its name in the spec.
    pub container: String,
    /// The runtime's id.
    pub id: String,
    /// Which of its probes.
    pub kind: ProbeKind,
    /// Nanoseconds since the epoch; the initial delay counts from here.
    pub started_at: i64,
}

/// One piece of work with an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Call {
    /// Read everything that the runtime has of the pod.
    Observe,
    /// Make and fill the pod's volumes; what is there already stays.
    MountVolumes,
    /// Unmount the pod's volumes and remove them; only asked for once nothing of the pod runs.
    UnmountVolumes,
    /// Remove the pod's cgroup with whatever is left in it; only asked for once nothing of the pod runs and its volumes are
    /// unmounted.
    RemoveCgroup,
    /// Make the pod's directories, its cgroup and its sandbox.
    RunSandbox {
        /// Which sandbox of the pod this is, counted from 0.
        attempt: u32,
        /// What the pod as a whole is allowed, where that is not what its spec says.
        allocated: Option<Box<ResourceRequirements>>,
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
        /// Ids of the images that it mounts, by the volume's name.
        volume_images: BTreeMap<String, String>,
        /// The pod's addresses, as its environment may name them.
        pod_ips: Vec<String>,
        /// The container whose processes an ephemeral one is to see: the runtime's id.
        target_id: Option<String>,
        /// What it is allowed, where that is not what its spec says.
        allocated: Option<Box<ResourceRequirements>>,
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
    /// Run a hook of a running container. There is no time limit: a call that is not waited for any more is cancelled. The handler
    /// is the spec's, or where that has no such container, the one that was written beside the container.
    RunHook {
        /// The runtime's id.
        id: String,
        /// Its name in the spec.
        name: String,
        /// Which of its hooks.
        hook: Hook,
        /// The pod's addresses, the primary one first.
        pod_ips: Vec<String>,
    },
    /// Give a running container other resources.
    UpdateResources {
        /// The runtime's id.
        id: String,
        /// Its name in the spec.
        name: String,
        /// Which of them; the values are those of `resources`.
        resource: Resource,
        /// All that the container is allowed.
        resources: Box<ResourceRequirements>,
    },
    /// Give the pod as a whole other resources: its sandbox, and the cgroup around its containers.
    UpdatePod {
        /// The runtime's id of the sandbox.
        sandbox_id: String,
        /// Which of them; the values are those of `resources`.
        resource: Resource,
        /// All that the pod as a whole is allowed.
        resources: Box<ResourceRequirements>,
    },
    /// Stop a container: its stop signal, and SIGKILL after `grace`.
    StopContainer {
        /// The runtime's id.
        id: String,
        /// Whole seconds, at least 2 (behaviour.md 18.5).
        grace: Duration,
    },
    /// Remove a dead container, with its logs unless `keep_logs`.
    RemoveContainer {
        /// The runtime's id.
        id: String,
        /// Its name in the spec.
        name: String,
        /// Which of its log files go with it.
        restart_count: u32,
        /// Whether those stay.
        keep_logs: bool,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum EventType {
    /// `Normal`
    Normal,
    /// `Warning`
    Warning,
}

/// An event on the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Normal or warning.
    pub kind: EventType,
    /// One of the kubelet's reasons (behaviour.md 43).
    pub reason: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// `spec.containers{name}` where one container is meant.
    pub field_path: Option<String>,
}

/// What a machine hands to the one that follows it after a restart of the daemon, beside what the runtime and the API keep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// When the grace period of a pod that is being ended is over.
    pub ends_at: Option<Deadline>,
    /// What a container is allowed, where that is not what its spec says.
    pub allocated: BTreeMap<String, ResourceRequirements>,
    /// What a running container really has, where that is not what it is allowed.
    pub actuated: BTreeMap<String, ResourceRequirements>,
    /// What `spec.resources` is allowed to be, where it is something else.
    #[serde(default)]
    pub allocated_pod: Option<Box<ResourceRequirements>>,
    /// What the pod as a whole has, where that is not what it is allowed.
    #[serde(default)]
    pub actuated_pod: Option<Box<ResourceRequirements>>,
    /// How an evicted pod ended: nothing else shows it once its containers are gone, for as long as the API server does not know.
    #[serde(default)]
    pub eviction: Option<Arc<PodStatus>>,
}

/// An instant on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// Since the boot in which it was set. Whoever stores it says which boot that was, and takes the wall time after
    /// another one, cut to `grace` from then.
    pub boot: Duration,
    /// Civil time, to the second.
    pub wall: jiff::Timestamp,
    /// How far away it was when it was set.
    pub grace: Duration,
}

/// What the pod machine wants done.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// Probe these runs and no others; replaces what was said before. Answered with [`crate::Input::Probed`].
    Probe(Vec<ProbeTarget>),
    /// Ask the node machine whether the pod may have the resources of its spec; answered with
    /// [`crate::Input::Resized`].
    AskResize,
    /// Keep this over a restart of the daemon: the end of the grace period, and the resources that were allowed.
    Keep(Kept),
    /// Nothing is left of the pod on this node; the machine can be dropped.
    Finished,
}
