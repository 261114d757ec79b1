//! The phase of a pod, from what its containers did (behaviour.md 5.1 to 5.3).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod as ApiPod};

use crate::container::{self, ContainerKind};
use crate::observation::{Container, ContainerState, Observation};

/// Whether every container that counts has ended and none may start again; sidecars and ephemeral containers do not count.
pub(crate) fn is_over(pod: &ApiPod, observation: &Observation, forced: &BTreeSet<String>) -> bool {
    let mut any = false;
    for (kind, spec) in container::specs(pod) {
        let newest = observation.newest_container(&spec.name);
        let ended = newest.filter(|c| c.state == ContainerState::Exited);
        match (kind, ended) {
            (ContainerKind::Init, Some(c)) => {
                let failed = c.exit_code != 0 || c.reason == "OOMKilled";
                if failed && !container::restarts(pod, kind, &spec, c) {
                    return true;
                }
            }
            (ContainerKind::Regular, Some(c)) => {
                any = true;
                if forced.contains(&c.id) || container::restarts(pod, kind, &spec, c) {
                    return false;
                }
            }
            (ContainerKind::Regular, None) => return false,
            (ContainerKind::Init | ContainerKind::Sidecar | ContainerKind::Ephemeral, _) => {}
        }
    }
    any
}

/// The phase that the statuses of a pod's containers amount to; `ending` where none of them is started any more.
///
/// `inits` are those of init containers and sidecars.
pub(crate) fn phase(
    pod: &ApiPod,
    inits: &[ContainerStatus],
    regulars: &[ContainerStatus],
    ending: bool,
) -> &'static str {
    let mut counts = Counts::default();
    for (kind, spec) in container::specs(pod) {
        let list = if kind == ContainerKind::Regular { regulars } else { inits };
        let status = list.iter().find(|s| s.name == spec.name);
        let past = Past::of(status);
        let again = |t: &ContainerStateTerminated| {
            let ended = Container::ended_with(t.exit_code, t.reason.as_deref().unwrap_or_default());
            !ending && container::restarts(pod, kind, &spec, &ended)
        };
        match kind {
            ContainerKind::Init => counts.add_init(&past, again),
            ContainerKind::Sidecar => counts.add_sidecar(&past, status.and_then(|s| s.started)),
            ContainerKind::Regular => counts.add_regular(&past, again),
            ContainerKind::Ephemeral => {}
        }
    }
    let begun = counts.regulars_running + counts.stopped > 0;
    if counts.inits_failed_for_good && !begun {
        return "Failed";
    }
    if (counts.inits_pending || counts.sidecars_pending) && !begun {
        return "Pending";
    }
    if counts.waiting > 0 {
        return "Pending";
    }
    if counts.regulars_running + counts.sidecars_running > 0 {
        return "Running";
    }
    if counts.stopped == 0 {
        return "Pending";
    }
    match (counts.restarting > 0, counts.stopped == counts.succeeded) {
        (true, _) => "Running",
        (false, true) => "Succeeded",
        (false, false) => "Failed",
    }
}

/// What a status says of a container's life.
enum Past<'a> {
    Never,
    Running,
    /// It has ended, and either stands so or waits to be started again (behaviour.md 5.2).
    Ended(&'a ContainerStateTerminated),
}

impl<'a> Past<'a> {
    fn of(status: Option<&'a ContainerStatus>) -> Self {
        let state = status.and_then(|s| s.state.as_ref());
        if state.is_some_and(|s| s.running.is_some()) {
            return Self::Running;
        }
        let last = status.and_then(|s| s.last_state.as_ref());
        let ended = state.and_then(|s| s.terminated.as_ref()).or(last.and_then(|s| s.terminated.as_ref()));
        ended.map_or(Self::Never, Self::Ended)
    }
}

#[derive(Default)]
struct Counts {
    inits_pending: bool,
    inits_failed_for_good: bool,
    sidecars_pending: bool,
    sidecars_running: usize,
    regulars_running: usize,
    waiting: usize,
    stopped: usize,
    succeeded: usize,
    /// Of those that stopped: the ones that start again.
    restarting: usize,
}

impl Counts {
    fn add_init(&mut self, past: &Past<'_>, again: impl Fn(&ContainerStateTerminated) -> bool) {
        match past {
            Past::Ended(t) if t.exit_code == 0 && t.reason.as_deref() != Some("OOMKilled") => {}
            Past::Ended(t) if again(t) => self.inits_pending = true,
            Past::Ended(_) => self.inits_failed_for_good = true,
            Past::Never | Past::Running => self.inits_pending = true,
        }
    }

    fn add_sidecar(&mut self, past: &Past<'_>, started: Option<bool>) {
        match past {
            Past::Running => {
                self.sidecars_running += 1;
                self.sidecars_pending |= started != Some(true);
            }
            Past::Never => self.sidecars_pending = true,
            // How a sidecar ended never counts.
            Past::Ended(_) => {}
        }
    }

    fn add_regular(&mut self, past: &Past<'_>, again: impl Fn(&ContainerStateTerminated) -> bool) {
        match past {
            Past::Running => self.regulars_running += 1,
            Past::Ended(t) => {
                self.stopped += 1;
                self.succeeded += usize::from(t.exit_code == 0);
                self.restarting += usize::from(again(t));
            }
            Past::Never => self.waiting += 1,
        }
    }
}
