//! The pod's volumes: there before its sandbox, gone before its directories.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as ApiPod;
use serde::{Deserialize, Serialize};

use super::{Pod, retry_delay};
use crate::effect::{Call, Effect, EventType, OpId};
use crate::input::{Answer, Failure, FailureKind};
use crate::now::Now;

/// ```text
///   NotAsked -> Mounting -> Mounted <-> Refreshing
///                |    ^
///                v    |
///                Failed
/// ```
///
/// What is mounted stays so: a refresh that fails leaves the old content, and is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Volumes {
    #[default]
    NotAsked,
    Mounting {
        op: OpId,
        failures: u32,
    },
    Failed {
        retry_at: Duration,
        failures: u32,
        message: String,
    },
    Mounted {
        /// Boot time at which the content has to be made anew: a token grows old, or the last try failed.
        refresh_at: Option<Duration>,
        failures: u32,
    },
    Refreshing {
        op: OpId,
        failures: u32,
    },
}

impl Volumes {
    pub(super) fn is_about(&self, op: OpId) -> bool {
        matches!(self, Self::Mounting { op: o, .. } | Self::Refreshing { op: o, .. } if *o == op)
    }

    /// What the pod waits for because of them, and until when.
    pub(super) fn wait(&self) -> Option<(String, Option<Duration>)> {
        match self {
            Self::Mounting { .. } => Some(("its volumes to be made".to_owned(), None)),
            Self::Failed { retry_at, message, .. } => {
                Some((format!("its volumes: {}", message.replace('\n', "; ")), Some(*retry_at)))
            }
            Self::NotAsked | Self::Mounted { .. } | Self::Refreshing { .. } => None,
        }
    }
}

impl Pod {
    /// Whether the pod has volumes that are made here; images are mounted by the runtime.
    pub(super) fn has_volumes(&self) -> bool {
        if !self.settings.supported.volumes {
            return false;
        }
        let volumes = self.pod.spec.as_ref().and_then(|s| s.volumes.as_deref()).unwrap_or_default();
        volumes.iter().any(|volume| volume.image.is_none())
    }

    /// Whether the pod's volumes are there; sees to it that they will be, and that their content is the newest.
    pub(super) fn volumes_mounted(&mut self, now: Now, out: &mut Vec<Effect>) -> bool {
        if !self.has_volumes() {
            return true;
        }
        let (there, due, failures) = match self.volumes {
            Volumes::NotAsked => (false, Some(now.boot), 0),
            Volumes::Mounting { .. } => return false,
            Volumes::Failed { retry_at, failures, .. } => (false, Some(retry_at), failures),
            Volumes::Mounted { refresh_at, failures } => (true, refresh_at, failures),
            Volumes::Refreshing { .. } => return true,
        };
        if self.volumes_stale || due.is_some_and(|at| at <= now.boot) {
            self.volumes_stale = false;
            let op = self.call(out, Call::MountVolumes);
            self.volumes =
                if there { Volumes::Refreshing { op, failures } } else { Volumes::Mounting { op, failures } };
        } else if let Some(at) = due {
            self.wake_at(at);
        }
        there
    }

    pub(super) fn volumes_answered(
        &mut self,
        outcome: Result<Answer, Failure>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let (there, failures) = match self.volumes {
            Volumes::Mounting { failures, .. } => (false, failures),
            Volumes::Refreshing { failures, .. } => (true, failures),
            _ => return,
        };
        self.volumes = match outcome {
            Ok(answer) => {
                let refresh_after = match answer {
                    Answer::Mounted { refresh_after } => refresh_after,
                    _ => None,
                };
                Volumes::Mounted { refresh_at: refresh_after.map(|after| now.boot + after), failures: 0 }
            }
            Err(failure) => {
                let reason = match failure.kind {
                    FailureKind::Directories => "FailedToMakePodDataDirectories",
                    _ => "FailedMount",
                };
                // One line for each volume.
                for line in failure.message.lines() {
                    self.event(out, EventType::Warning, reason, line.to_owned(), None);
                }
                let failures = failures.saturating_add(1);
                // What may come right without a word is looked at again soon; the rest as a kubelet does.
                let cap = if failure.kind == FailureKind::Unavailable { 2 } else { 120 };
                let retry_at = now.boot + retry_delay(failures.saturating_add(2), cap);
                if there {
                    Volumes::Mounted { refresh_at: Some(retry_at), failures }
                } else {
                    Volumes::Failed { retry_at, failures, message: failure.message }
                }
            }
        };
    }

    /// What waits for an object is tried at once, and what was made of one is made anew.
    pub(super) fn objects_changed(&mut self) {
        self.volumes_stale = self.has_volumes();
        self.sandbox_retry = self.sandbox_retry.map(|_| Duration::ZERO);
        for slot in self.slots.values_mut() {
            let waits = slot.waiting.as_ref().is_some_and(|w| w.reason == "CreateContainerConfigError");
            if waits && slot.is_idle() {
                slot.retry_at = None;
            }
        }
    }

    /// Files are made of labels and annotations, too (behaviour.md 20.9).
    pub(super) fn metadata_changed(&mut self, new: &ApiPod) {
        let (old, new) = (&self.pod.metadata, &new.metadata);
        if old.labels != new.labels || old.annotations != new.annotations {
            self.volumes_stale |= self.has_volumes();
        }
    }

    /// Work on volumes that is under way is not waited for once the pod ends.
    pub(super) fn give_up_mounting(&mut self, out: &mut Vec<Effect>) {
        if let Volumes::Mounting { op, .. } | Volumes::Refreshing { op, .. } = self.volumes {
            out.push(Effect::Cancel { op });
            self.volumes = Volumes::NotAsked;
        }
    }
}
