//! The pod's volumes: there before its sandbox, gone before its directories.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Pod, retry_delay};
use crate::effect::{Call, Effect, EventType, OpId};
use crate::input::{Answer, Failure};
use crate::now::Now;

/// ```text
///   NotAsked -> Mounting -> Mounted
///      ^            |
///      '-- Failed <-'
/// ```
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
    },
    Mounted,
}

impl Volumes {
    pub(super) fn is_about(&self, op: OpId) -> bool {
        matches!(self, Self::Mounting { op: o, .. } if *o == op)
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

    /// Whether the pod's volumes are there; sees to it that they will be.
    pub(super) fn volumes_mounted(&mut self, now: Now, out: &mut Vec<Effect>) -> bool {
        if !self.has_volumes() {
            return true;
        }
        let failures = match self.volumes {
            Volumes::Mounted => return true,
            Volumes::Mounting { .. } => return false,
            Volumes::Failed { retry_at, .. } if retry_at > now.boot => {
                self.wake_at(retry_at);
                return false;
            }
            Volumes::Failed { failures, .. } => failures,
            Volumes::NotAsked => 0,
        };
        let op = self.call(out, Call::MountVolumes);
        self.volumes = Volumes::Mounting { op, failures };
        false
    }

    pub(super) fn volumes_answered(
        &mut self,
        outcome: Result<Answer, Failure>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Volumes::Mounting { failures, .. } = self.volumes else { return };
        self.volumes = match outcome {
            Ok(_) => Volumes::Mounted,
            Err(failure) => {
                self.event(out, EventType::Warning, "FailedMount", failure.message, None);
                let failures = failures + 1;
                Volumes::Failed { retry_at: now.boot + retry_delay(failures + 2, 120), failures }
            }
        };
    }

    /// A mount under way is not waited for once the pod ends.
    pub(super) fn give_up_mounting(&mut self, out: &mut Vec<Effect>) {
        if let Volumes::Mounting { op, .. } = self.volumes {
            out.push(Effect::Cancel { op });
            self.volumes = Volumes::NotAsked;
        }
    }
}
