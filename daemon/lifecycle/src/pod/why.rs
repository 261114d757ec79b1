//! Why a pod is in its present state, and what it waits for.

use std::time::Duration;

use super::{Admission, Cause, Pod, SandboxWork, Stage};
use crate::container::{self, Work};
use crate::observation::ContainerState;

/// One thing that a pod waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// For people.
    pub what: String,
    /// The boot time at which it is over or tried again, where that is known.
    pub until: Option<Duration>,
}

impl Wait {
    fn new(what: impl Into<String>, until: Option<Duration>) -> Self {
        Self { what: what.into(), until }
    }
}

impl Pod {
    /// Where on its way the pod is, in words.
    pub fn stage_told(&self) -> String {
        let cause = |cause: &Cause| match cause {
            Cause::Completed => "its containers have ended for good".to_owned(),
            Cause::Deleted => "it is being deleted".to_owned(),
            Cause::Removed => "its source has it no more".to_owned(),
            Cause::AlreadyTerminal => "the API says that it is over".to_owned(),
            Cause::Refused { reason, .. } => format!("the node refused it: {reason}"),
            Cause::DeadlineExceeded => "its activeDeadlineSeconds have passed".to_owned(),
            Cause::Killed { reason, message, .. } => format!("the node ended it: {reason}: {message}"),
        };
        match &self.stage {
            Stage::Sync => "it is to run".to_owned(),
            Stage::Terminating(t) => format!("it is being ended, as {}", cause(&t.cause)),
            Stage::Terminated(c) => format!("it has ended, as {}", cause(c)),
        }
    }

    /// What the pod waits for, the most general first; nothing where it is as it should be.
    pub fn waits(&self) -> Vec<Wait> {
        let mut all = Vec::new();
        if self.observing.is_some() {
            all.push(Wait::new("the runtime's answer to what it has of the pod", None));
        } else if self.stale {
            all.push(Wait::new("another look at the runtime", self.observe_retry));
        }
        match &self.stage {
            Stage::Sync => self.waits_to_run(&mut all),
            Stage::Terminating(t) => {
                for id in self.stops.keys() {
                    all.push(Wait::new(
                        format!("the end of container {}", self.name_of(id)),
                        Some(t.ends_at),
                    ));
                }
            }
            Stage::Terminated(_) => self.waits_to_leave(&mut all),
        }
        self.waits_for_sandbox(&mut all);
        for (name, slot) in &self.slots {
            if let Some(what) = working(name, &slot.work) {
                all.push(Wait::new(what, None));
            }
        }
        all
    }

    fn waits_to_run(&self, all: &mut Vec<Wait>) {
        if self.admission == Admission::Asked {
            all.push(Wait::new(
                "the node's word whether it may run, or the end of an earlier pod of this name",
                None,
            ));
        }
        if let Some((what, until)) = self.volumes.wait() {
            all.push(Wait::new(what, until));
        }
        if !self.unsupported.is_empty() {
            let paths: Vec<&str> = self.unsupported.iter().map(|(_, path)| path.as_str()).collect();
            all.push(Wait::new(format!("a version of nodelet that carries out {}", paths.join(", ")), None));
        }
        for (id, kill) in &self.kills {
            all.push(Wait::new(
                format!("the end of {}: {}", self.name_of(id), kill.message),
                Some(kill.ends_at),
            ));
        }
        for (name, slot) in self.slots.iter().filter(|(_, s)| s.is_idle()) {
            if let Some(waiting) = &slot.waiting {
                let back_off = slot.exit.as_ref().and_then(|(id, at)| {
                    let held = slot.restarts.held_until(self.restart_curve(), *at);
                    held.filter(|_| slot.granted.as_ref() != Some(id)).map(|(_, until)| until)
                });
                let what = format!("container {name}: {}: {}", waiting.reason, waiting.message);
                all.push(Wait::new(what, slot.retry_at.max(back_off)));
            }
        }
        for (_, spec) in container::specs(&self.pod).filter(|(_, spec)| spec.startup_probe.is_some()) {
            let newest = self.observation.as_ref().and_then(|o| o.newest_container(&spec.name));
            let unstarted = newest
                .filter(|c| c.state == ContainerState::Running)
                .is_some_and(|c| !self.has_started(&spec, c));
            if unstarted {
                all.push(Wait::new(format!("the startup probe of container {}", spec.name), None));
            }
        }
        if let Some(pending) = &self.resize.pending {
            all.push(Wait::new(format!("other resources: {}", pending.message), None));
        }
    }

    fn waits_to_leave(&self, all: &mut Vec<Wait>) {
        if self.acknowledged < self.version && !self.gone {
            all.push(Wait::new("the API server to take the last status", None));
        }
        if self.is_leaving() && !self.finished {
            all.push(Wait::new(
                format!("the removal of its {:?}", self.cleanup).to_lowercase(),
                self.cleanup_retry,
            ));
        }
    }

    fn waits_for_sandbox(&self, all: &mut Vec<Wait>) {
        let what = match &self.sandbox {
            SandboxWork::Idle => match self.sandbox_retry {
                Some(at) => return all.push(Wait::new("another try with the sandbox", Some(at))),
                None => return,
            },
            SandboxWork::WaitingForSlot(..) => "a free slot to run its sandbox in",
            SandboxWork::Running(_) => "the runtime to run its sandbox",
            SandboxWork::Stopping(..) => "the runtime to stop its sandbox",
            SandboxWork::Removing(..) => "the runtime to remove its sandbox",
        };
        all.push(Wait::new(what, None));
    }

    fn name_of(&self, id: &str) -> String {
        let found = self.observation.as_ref().and_then(|o| o.containers.iter().find(|c| c.id == id));
        found.map_or_else(|| id.to_owned(), |c| c.name.clone())
    }
}

fn working(name: &str, work: &Work) -> Option<String> {
    Some(match work {
        Work::Idle => return None,
        Work::InspectingImage(_) => format!("the node's word whether it has the image of {name}"),
        Work::WaitingToPull(..) => format!("a free slot to pull the image of {name}"),
        Work::PullingImage { .. } => format!("the image of {name}"),
        Work::WaitingForSlot(_) => format!("a free slot to start {name}"),
        Work::Creating(_) => format!("the runtime to create {name}"),
        Work::Starting(..) => format!("the runtime to start {name}"),
        Work::PostStart(..) => format!("the postStart hook of {name}"),
    })
}
