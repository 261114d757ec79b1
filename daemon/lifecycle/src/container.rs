//! One container of the spec, what follows its exit, and the work that is under way for it.

mod after_exit;

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod as ApiPod};
use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::effect::OpId;
pub(crate) use after_exit::{AfterExit, after_exit, may_ever_restart, restarts};

/// Where in the spec a container stands and what that means for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ContainerKind {
    /// Of `spec.initContainers`: runs to completion before the next.
    Init,
    /// Of `spec.initContainers`, with restart policy `Always`: runs beside the others from its place on.
    Sidecar,
    /// Of `spec.containers`: the pod's work.
    Regular,
    /// Of `spec.ephemeralContainers`: started once, beside everything.
    Ephemeral,
}

impl ContainerKind {
    /// The path that events name.
    pub fn field_path(self, name: &str) -> String {
        match self {
            Self::Init | Self::Sidecar => format!("spec.initContainers{{{name}}}"),
            Self::Regular => format!("spec.containers{{{name}}}"),
            Self::Ephemeral => format!("spec.ephemeralContainers{{{name}}}"),
        }
    }
}

/// What is being done for a container right now.
///
/// ```text
///   Idle -> InspectingImage -> WaitingToPull -> PullingImage -> WaitingForSlot -> Creating -> Starting -> PostStart -> Idle
///                 '------------ has it --------------------------^
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Nothing.
    #[default]
    Idle,
    /// The node is asked whether it has the image, and whether this pod may use it.
    InspectingImage(OpId),
    /// A pull slot is asked for, since this boot time.
    WaitingToPull(OpId, Duration),
    /// The image is pulled.
    PullingImage {
        op: OpId,
        /// Boot time of the wish for it.
        wanted: Duration,
        /// Boot time at which the pull began.
        begun: Duration,
    },
    /// The images are there; a start slot is asked for.
    WaitingForSlot(OpId),
    /// The runtime makes the container.
    Creating(OpId),
    /// The container is made; the runtime starts it.
    Starting(OpId, String),
    /// It runs; its postStart hook does too.
    PostStart(OpId, String),
}

impl Work {
    pub(crate) fn op(&self) -> Option<OpId> {
        match self {
            Self::Idle => None,
            Self::InspectingImage(op)
            | Self::WaitingToPull(op, _)
            | Self::PullingImage { op, .. }
            | Self::WaitingForSlot(op)
            | Self::Creating(op)
            | Self::Starting(op, _)
            | Self::PostStart(op, _) => Some(*op),
        }
    }

    /// Whether the runtime may be making something of it that the last observation does not show.
    pub(crate) fn makes(&self) -> bool {
        matches!(self, Self::Creating(_) | Self::Starting(..))
    }
}

/// Why a container that should run does not, as its status shows it (behaviour.md 5.17).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
}

impl Waiting {
    pub(crate) fn new(reason: &'static str, message: String) -> Self {
        Self { reason: Cow::Borrowed(reason), message }
    }
}

/// What the probes of one container's run have said, `None` where they have said nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdicts {
    /// The runtime's id of the run.
    pub(crate) id: String,
    pub(crate) startup: Option<bool>,
    pub(crate) readiness: Option<bool>,
}

/// One container of the spec.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) work: Work,
    /// Ids of the images that it needs and the node has, as far as that was found out for the start under way.
    pub(crate) images: Vec<String>,
    pub(crate) waiting: Option<Waiting>,
    /// The run that ends the waiting as soon as it is seen: until then nothing else is known.
    pub(crate) awaited: Option<String>,
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
    pub(crate) verdicts: Verdicts,
}

impl Slot {
    pub(crate) fn is_idle(&self) -> bool {
        self.work == Work::Idle
    }

    /// What the probes have said of the run `id`.
    pub(crate) fn verdicts_of(&self, id: &str) -> Option<&Verdicts> {
        Some(&self.verdicts).filter(|v| v.id == id)
    }
}

/// The containers of `pod`: inits and sidecars in order, then the regular ones, then the ephemeral ones.
pub(crate) fn specs(pod: &ApiPod) -> impl Iterator<Item = (ContainerKind, Cow<'_, ContainerSpec>)> {
    let spec = pod.spec.as_ref();
    let lasting = spec.into_iter().flat_map(podspec::containers).map(|(kind, c)| {
        let kind = match kind {
            podspec::ContainerKind::Init => ContainerKind::Init,
            podspec::ContainerKind::Sidecar => ContainerKind::Sidecar,
            podspec::ContainerKind::Regular => ContainerKind::Regular,
        };
        (kind, Cow::Borrowed(c))
    });
    let ephemeral = spec.and_then(|s| s.ephemeral_containers.as_deref()).unwrap_or_default();
    lasting.chain(
        ephemeral.iter().map(|e| (ContainerKind::Ephemeral, Cow::Owned(podspec::ephemeral_as_container(e)))),
    )
}

/// The container named `name`.
pub(crate) fn spec_named<'a>(pod: &'a ApiPod, name: &str) -> Option<(ContainerKind, Cow<'a, ContainerSpec>)> {
    specs(pod).find(|(_, spec)| spec.name == name)
}

/// The container whose processes an ephemeral container is to see.
pub(crate) fn target_of<'a>(pod: &'a ApiPod, name: &str) -> Option<&'a str> {
    let all = pod.spec.as_ref().and_then(|s| s.ephemeral_containers.as_deref()).unwrap_or_default();
    let target = all.iter().find(|e| e.name == name)?.target_container_name.as_deref();
    target.filter(|t| !t.is_empty())
}

/// One image that a container cannot start without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    /// The volume that it is mounted as; `None` for the container's own.
    pub(crate) volume: Option<String>,
    /// As in the spec.
    pub(crate) image: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub(crate) policy: String,
}

/// The images that a container needs: its own, then those that it mounts as volumes.
pub(crate) fn needed_images(pod: &ApiPod, spec: &ContainerSpec) -> Vec<Needed> {
    let policy = |given: &Option<String>| given.clone().unwrap_or_else(|| "IfNotPresent".to_owned());
    let image = spec.image.clone().unwrap_or_default();
    let own = Needed { volume: None, image, policy: policy(&spec.image_pull_policy) };
    let volumes = pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
    let mounted = |name: &str| spec.volume_mounts.iter().flatten().any(|mount| mount.name == name);
    let mounted = volumes.iter().filter(|volume| mounted(&volume.name)).filter_map(|volume| {
        let source = volume.image.as_ref()?;
        let image = source.reference.clone().unwrap_or_default();
        Some(Needed { volume: Some(volume.name.clone()), image, policy: policy(&source.pull_policy) })
    });
    std::iter::once(own).chain(mounted).collect()
}

/// `spec.restartPolicy`, `Always` where it is not given.
pub(crate) fn restart_policy(pod: &ApiPod) -> &str {
    pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always")
}

/// What a restart back-off is kept for, beside the pod and the container's name (behaviour.md 12.4).
pub(crate) fn restart_key(spec: &ContainerSpec) -> String {
    let resources = spec.resources.as_ref().map(|r| serde_json::to_string(r).unwrap_or_default());
    format!("{} {}", spec.image.as_deref().unwrap_or_default(), resources.unwrap_or_default())
}
