use std::time::Duration;

use lifecycle::Origin;

use super::starts::has_restart_all;
use super::{Check, must};
use crate::workload::Key;
use crate::world::World;

/// What the runtime is given at least (behaviour.md 18.5).
const LEAST: Duration = Duration::from_secs(2);

impl World {
    /// Whoever ends a pod can rely on the end that was told first, or a sooner one (behaviour.md 4.5, 18.5): what the runtime
    /// is given never reaches beyond it, but for the rounding to seconds and the least that it is given.
    pub(super) fn the_deadline_only_shrinks(&mut self, key: Key, id: &str, grace: Duration) -> Check {
        let time = self.time;
        let truth = self.truth(key);
        let Some(deadline) = truth.deadline.filter(|_| truth.told_end) else { return Ok(()) };
        let left = deadline.saturating_sub(time) + Duration::from_millis(1_000);
        must("the_deadline_only_shrinks", grace <= left.max(LEAST), || {
            format!("pod {key}: {id} is given {grace:?}, {left:?} are left")
        })
    }

    /// The daemon that follows a killed one counts on from the same deadline: it is on the disk before anything follows from
    /// it (behaviour.md 4.5, 41).
    pub(super) fn the_deadline_is_kept_before_anything_is_stopped(&mut self, key: Key) -> Check {
        let told = self.truth(key).told_end;
        let api =
            self.daemon.as_ref().and_then(|d| d.tasks.get(&key)).is_some_and(|t| t.origin == Origin::Api);
        if !told || !api {
            return Ok(());
        }
        must("the_deadline_is_kept_before_anything_is_stopped", self.ledger.deadline(key).is_some(), || {
            format!("pod {key} is being ended, and a new daemon would not know since when")
        })
    }

    /// How soon after the first step towards its end a container may be killed; `None` where at once is right.
    fn least_grace(&mut self, key: Key) -> Option<Duration> {
        let pod = self.spec_known(key)?;
        if has_restart_all(&pod) {
            return None;
        }
        let own = self.own_grace(key);
        let told = self.truth(key).least_grace;
        Some(told.map_or(own, |told| told.min(own)))
    }

    fn deadline_has_come(&mut self, key: Key, id: &str) -> bool {
        let time = self.time;
        let Some(least) = self.least_grace(key) else { return true };
        let truth = self.truth(key);
        if truth.deadline.is_some_and(|at| at <= time) {
            return true;
        }
        truth.runs.get(id).and_then(|r| r.stop_began).is_none_or(|began| began + least <= time)
    }

    /// The preStop hook has returned, or its time is over, before the stop signal (behaviour.md 18.2).
    pub(crate) fn check_signal(&mut self, key: Key, id: &str) -> Check {
        let Some(pod) = self.spec_known(key) else { return Ok(()) };
        let over = self.deadline_has_come(key, id);
        let (least, own) = (self.least_grace(key), self.own_grace(key));
        let time = self.time;
        let truth = self.truth(key);
        let told_in_time = truth.deadline.is_none_or(|at| at > time);
        let Some(run) = truth.runs.get(id) else { return Ok(()) };
        let Some((_, spec, _)) = crate::calls::spec_of(&pod, &run.name) else { return Ok(()) };
        if spec.lifecycle.is_none_or(|l| l.pre_stop.is_none()) || run.unwatched {
            return Ok(());
        }
        let hooks = least.is_some_and(|l| !l.is_zero()) && !own.is_zero() && told_in_time;
        let right = match run.pre_stop_began {
            Some(_) => run.pre_stop_over || over,
            None => !hooks || over,
        };
        must("the_pre_stop_hook_comes_before_the_signal", right, || {
            format!("pod {key}: {id} gets its signal, hook begun at {:?}", run.pre_stop_began)
        })
    }

    /// SIGKILL waits for the end of the grace period (behaviour.md 18.5), but for the least that the runtime is given.
    pub(crate) fn check_kill(&mut self, key: Key, id: &str) -> Check {
        let over = self.deadline_has_come(key, id);
        let time = self.time;
        let Some(run) = self.truth(key).runs.get(id) else { return Ok(()) };
        let waited = run.term_at.is_some_and(|at| at + LEAST <= time);
        let right = waited && (over || run.daemon_killed || run.unwatched);
        must("no_sigkill_before_the_deadline", right, || {
            format!(
                "pod {key}: {id} is killed, its stop began at {:?}, its signal came at {:?}",
                run.stop_began, run.term_at
            )
        })
    }

    /// The sandbox is stopped after all containers (behaviour.md 18.7): stopping it kills what still runs in it.
    pub(crate) fn check_sandbox_stop(&mut self, key: Key, id: &str) -> Check {
        let unwatched = self.truth(key).runs.get(id).is_some_and(|r| r.unwatched);
        must("no_sandbox_is_stopped_under_a_container", unwatched, || {
            format!("pod {key}: the sandbox of {id} is stopped while it runs")
        })
    }

    /// A container is removed when it is dead.
    pub(crate) fn check_removal(&mut self, key: Key, id: &str) -> Check {
        let running = self.runtime.pod(key).running().any(|c| c.id == id);
        let unwatched = self.truth(key).runs.get(id).is_some_and(|r| r.unwatched);
        must("nothing_is_removed_while_it_runs", !running || unwatched, || {
            format!("pod {key}: {id} is removed and runs")
        })
    }

    /// No volume is torn down while a process lives (behaviour.md 4.12, 20).
    pub(crate) fn check_unmount(&mut self, key: Key) -> Check {
        let running: Vec<String> = self.runtime.pod(key).running().map(|c| c.id.clone()).collect();
        must("no_volume_is_unmounted_while_a_process_lives", running.is_empty(), || {
            format!("pod {key}: volumes are unmounted while {running:?} run")
        })
    }

    /// The cgroup goes after the volumes, and never with a process in it (behaviour.md 4.12, 40).
    pub(crate) fn check_cgroup_removal(&mut self, key: Key) -> Check {
        let pod = self.runtime.pod(key);
        let (running, mounted) = (pod.running().count(), pod.volumes_mounted);
        must("a_cgroup_is_removed_when_it_is_empty", running == 0 && !mounted, || {
            format!("pod {key}: its cgroup is removed, running {running}, volumes {mounted}")
        })
    }

    /// The object goes last: when the API knows how the pod ended, and nothing of it runs (behaviour.md 4.13).
    pub(crate) fn check_object_deletion(&mut self, key: Key) -> Check {
        let running = self.runtime.pod(key).running().count();
        let mounted = self.runtime.pod(key).volumes_mounted || self.runtime.pod(key).has_cgroup;
        let Some(object) = self.api.get(key) else { return Ok(()) };
        let told = crate::api::is_terminal(object.pod.status.as_ref());
        let told = told || self.truths.get(&key).is_some_and(|t| t.blind);
        let asked = object.pod.metadata.deletion_timestamp.is_some();
        must(
            "an_object_is_deleted_only_after_its_end_is_told",
            told && asked && running == 0 && !mounted,
            || {
                format!(
                    "pod {key}: terminal in the API {told}, deletion asked for {asked}, running {running}, volumes or cgroup {mounted}"
                )
            },
        )
    }

    /// A machine that has finished leaves nothing behind (behaviour.md 40).
    pub(crate) fn check_finished(&mut self, key: Key) -> Check {
        let calls = self.calls.values().filter(|c| c.key == key && c.is_abandoned()).count();
        let nothing = self.runtime.pod(key).is_nothing();
        self.truth(key).finished = true;
        let left = self.runtime.pods.get(&key);
        must("a_finished_pod_leaves_nothing", nothing || calls > 0, || {
            format!("pod {key} has finished and left {left:?}")
        })
    }
}
