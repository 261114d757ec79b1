//! What must hold after each event, one function for each sentence.
//!
//! | file | about |
//! |---|---|
//! | `starts` | what may be started, and what may not |
//! | `ends` | how containers and pods are brought to their end |
//! | `statuses` | what may be published |
//! | `bounds` | queues and turns |
//!
//! The functions look at the truth (`truth.rs`), at the runtime and the API as they are, and at what the machine asks
//! for; never at the machine's own state.

mod bounds;
mod ends;
mod starts;
mod statuses;

use lifecycle::{Answer, Call, Effect, Hook, Input, Origin, ProbeKind};
use std::time::Duration;

use crate::workload::Key;
use crate::world::World;

/// A sentence that does not hold.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The name of the function that found it.
    pub invariant: &'static str,
    /// What was found.
    pub what: String,
}

impl Broken {
    pub(crate) fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, what }
    }
}

pub(crate) type Check = Result<(), Broken>;

/// Fails with the name of the invariant and the words for what was found, unless `holds`.
pub(crate) fn must(invariant: &'static str, holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Broken::new(invariant, what())) }
}

impl World {
    /// The grace period that the pod itself gives.
    pub(crate) fn own_grace(&self, key: Key) -> Duration {
        let spec = self.workload.pods[key].object.spec.as_ref();
        let seconds = spec.and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(seconds.max(0).unsigned_abs())
    }

    /// Notes what a machine is about to be told, as far as something must follow from it.
    pub(crate) fn note_told(&mut self, key: Key, input: &Input) {
        let (time, own) = (self.time, self.own_grace(key));
        let floor = Duration::from_secs(1);
        let object = self.workload.pods[key].object.clone();
        let kept_end = match input {
            Input::Assigned(assignment) => assignment.kept.ends_at.map(|end| self.time_of(end.boot)),
            _ => None,
        };
        let truth = self.truth(key);
        match input {
            Input::Assigned(assignment) if assignment.origin == Origin::Orphan => {
                truth.told_end = true;
                truth.ends_by(kept_end.unwrap_or(time).max(time + floor));
            }
            Input::Assigned(assignment) => {
                let meta = &assignment.pod.metadata;
                if assignment.origin == Origin::Api && meta.deletion_timestamp.is_some() {
                    let grace = meta.deletion_grace_period_seconds.unwrap_or(30).max(0).unsigned_abs();
                    truth.told_end = true;
                    truth.ends_by(time + Duration::from_secs(grace).max(floor));
                }
            }
            Input::Removed { grace } => {
                truth.told_end = true;
                truth.ends_by(time + grace.unwrap_or(own).max(floor));
            }
            Input::Kill { grace, .. } => {
                truth.told_end = true;
                truth.ends_by(time + grace.map_or(own, |g| g.min(own)).max(floor));
            }
            Input::Refused { .. } => truth.refused = true,
            Input::Answered { outcome: Ok(Answer::Observed(_)), .. } => truth.observed = true,
            Input::Probed { id, kind, success } => {
                let Some(run) = truth.runs.get_mut(id) else { return };
                match (kind, success) {
                    (ProbeKind::Startup, true) => run.told_started = true,
                    (ProbeKind::Startup, false) | (ProbeKind::Readiness, false) => run.told_unready = true,
                    _ => {}
                }
                if *success || *kind == ProbeKind::Readiness {
                    return;
                }
                run.stop_began.get_or_insert(time);
                let name = run.name.clone();
                let Some((_, spec, _)) = crate::calls::spec_of(&object, &name) else { return };
                let probe =
                    if *kind == ProbeKind::Startup { spec.startup_probe } else { spec.liveness_probe };
                let seconds = probe.and_then(|p| p.termination_grace_period_seconds);
                truth.may_be_given(seconds.map_or(own, |s| Duration::from_secs(s.max(0).unsigned_abs())));
            }
            _ => {}
        }
    }

    /// All that holds about a call at the moment in which a machine asks for it.
    pub(crate) fn check_call(&mut self, key: Key, call: &Call) -> Check {
        self.stop_overtakes_work(key, call)?;
        match call {
            Call::StopContainer { id, grace } => {
                self.note_stop(key, id);
                self.the_deadline_is_kept_before_anything_is_stopped(key)?;
                self.the_deadline_only_shrinks(key, id, *grace)
            }
            Call::RunHook { hook: Hook::PreStop, id, .. } => {
                self.note_stop(key, id);
                let time = self.time;
                if let Some(run) = self.truth(key).runs.get_mut(id) {
                    run.pre_stop_began.get_or_insert(time);
                }
                self.the_deadline_is_kept_before_anything_is_stopped(key)
            }
            _ => Ok(()),
        }
    }

    /// The first step towards the end of a run.
    fn note_stop(&mut self, key: Key, id: &str) {
        let time = self.time;
        if let Some(run) = self.truth(key).runs.get_mut(id) {
            run.stop_began.get_or_insert(time);
        }
    }

    pub(crate) fn check_step(&mut self, key: Key, effects: &[Effect]) -> Check {
        self.a_step_has_a_bounded_number_of_effects(key, effects)
    }

    pub(crate) fn check_after_each_event(&mut self) -> Check {
        self.every_queue_is_bounded()
    }

    /// All that holds when a process begins; `watched` unless nobody waits for the call any more.
    pub(crate) fn check_started(&mut self, key: Key, id: &str, watched: bool) -> Check {
        self.one_run_of_a_container_at_a_time(key, id)?;
        self.an_attempt_is_never_run_twice(key, id)?;
        self.never_means_never(key, id)?;
        self.one_uid_of_a_name_runs(key)?;
        if watched {
            self.a_container_waits_for_its_gates(key, id)?;
            self.nothing_starts_without_its_volumes(key)?;
            self.nothing_starts_in_a_terminal_phase(key, id)?;
        }
        Ok(())
    }

    pub(crate) fn check_published(
        &mut self,
        key: Key,
        status: &std::sync::Arc<k8s_openapi::api::core::v1::PodStatus>,
    ) -> Check {
        self.a_terminal_phase_is_final(key, status)?;
        self.restart_counts_never_go_back(key, status)?;
        self.a_status_shows_only_what_was_seen(key, status)?;
        self.ready_turns_false_only_with_evidence(key, status)?;
        self.what_is_set_once_stays(key, status)?;
        self.truth(key).published = Some(std::sync::Arc::clone(status));
        Ok(())
    }
}
