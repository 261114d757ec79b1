//! What is left of a pod that has ended, removed step by step; each failed step is tried again by name.

use super::{Cleanup, Pod};
use crate::effect::{Call, Effect};
use crate::input::{Answer, Failure, FailureKind, Origin};
use crate::now::Now;

impl Pod {
    /// Volumes and cgroup go as soon as nothing runs (behaviour.md 4.12). Containers, logs and directories stay for as long as
    /// the pod's object does, so that logs can be read; see `trim` for those that do not.
    pub(super) fn plan_cleanup(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.cleanup_op.is_some() || self.finished {
            return;
        }
        let at_once = self.cleanup.is_due_at_once();
        let stays = !at_once && !self.is_leaving();
        let needless = if stays { self.needless() } else { None };
        if stays && needless.is_none() {
            return;
        }
        if let Some(at) = self.cleanup_retry.filter(|at| *at > now.boot) {
            self.wake_at(at);
            return;
        }
        let has_object = self.origin == Origin::Api && !self.gone;
        let is_kept = needless.is_some() && self.eviction_to_keep().is_some();
        if !at_once && has_object && self.acknowledged < self.version && !is_kept {
            // The object goes only after the API knows how the pod ended (behaviour.md 4.13), and so does what shows it.
            return;
        }
        if let Some(call) = needless {
            self.begin_needless(&call);
            return self.begin_cleanup(call, out);
        }
        let call = match self.cleanup {
            Cleanup::Volumes => {
                // Nobody knows what a pod had that no source has any more.
                let unknown = self.origin == Origin::Orphan && self.settings.supported.volumes;
                (unknown || self.has_volumes()).then_some(Call::UnmountVolumes)
            }
            Cleanup::Cgroup => self.settings.supported.pod_cgroups.then_some(Call::RemoveCgroup),
            Cleanup::Dirs => Some(Call::RemoveDirs { logs: false }),
            Cleanup::Object if has_object => Some(Call::DeleteObject),
            Cleanup::Containers => {
                self.observation.as_ref().and_then(|o| o.containers.first()).map(|c| Call::RemoveContainer {
                    id: c.id.clone(),
                    name: c.name.clone(),
                    restart_count: c.restart_count,
                    keep_logs: false,
                })
            }
            Cleanup::Sandboxes => self
                .observation
                .as_ref()
                .and_then(|o| o.sandboxes.first())
                .map(|s| Call::RemoveSandbox { id: s.id.clone() }),
            Cleanup::Logs => Some(Call::RemoveDirs { logs: true }),
            Cleanup::Done => {
                self.finished = true;
                out.push(Effect::Finished);
                return;
            }
            Cleanup::Object => None,
        };
        match call {
            Some(call) => self.begin_cleanup(call, out),
            None => {
                self.cleanup = self.cleanup.next();
                self.plan_cleanup(now, out);
            }
        }
    }

    fn begin_cleanup(&mut self, call: Call, out: &mut Vec<Effect>) {
        self.cleanup_id = match &call {
            Call::RemoveContainer { id, .. } | Call::RemoveSandbox { id } => Some(id.clone()),
            _ => None,
        };
        self.cleanup_op = Some(self.call(out, call));
    }

    pub(super) fn cleanup_answered(&mut self, outcome: Result<Answer, Failure>, now: Now) {
        self.cleanup_op = None;
        let done = match outcome {
            Ok(_) => true,
            Err(f) => f.kind == FailureKind::NotFound,
        };
        let logs_went = self.logs_went(done);
        if !done {
            self.cleanup_failures += 1;
            self.cleanup_retry = Some(now.boot + Self::teardown_delay(self.cleanup_failures));
            return;
        }
        self.cleanup_failures = 0;
        self.cleanup_retry = None;
        match (self.cleanup_id.take(), &mut self.observation) {
            // Taken off one by one; what was removed is not looked for again. It may be off already: somebody has looked.
            (Some(id), Some(o)) => {
                o.containers.retain(|c| c.id != id);
                o.sandboxes.retain(|s| s.id != id);
            }
            _ if logs_went => {}
            _ => {
                if self.cleanup == Cleanup::Object {
                    self.gone = true;
                }
                self.cleanup = self.cleanup.next();
            }
        }
    }
}

impl Cleanup {
    /// Whether it waits for nothing but the end of all processes.
    pub(super) fn is_due_at_once(self) -> bool {
        matches!(self, Self::Volumes | Self::Cgroup)
    }

    fn next(self) -> Self {
        match self {
            Self::Volumes => Self::Cgroup,
            Self::Cgroup => Self::Dirs,
            Self::Dirs => Self::Object,
            Self::Object => Self::Containers,
            Self::Containers => Self::Sandboxes,
            Self::Sandboxes => Self::Logs,
            Self::Logs | Self::Done => Self::Done,
        }
    }
}
