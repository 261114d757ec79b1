use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use lifecycle::Origin;

use super::{Check, must};
use crate::api::{Object, is_terminal};
use crate::workload::Key;
use crate::world::World;

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
}

fn id_of(status: &ContainerStatus) -> Option<&str> {
    status.container_id.as_deref().map(|id| id.trim_start_matches("containerd://"))
}

impl World {
    /// Once Succeeded or Failed, for ever so; and nothing runs by then (behaviour.md 4.12, 5.4, 6.3).
    pub(super) fn a_terminal_phase_is_final(&mut self, key: Key, status: &PodStatus) -> Check {
        let terminal = is_terminal(Some(status));
        let unwatched: Vec<String> =
            self.truth(key).runs.iter().filter(|(_, r)| r.unwatched).map(|(id, _)| id.clone()).collect();
        let running: Vec<String> = self
            .runtime
            .pod(key)
            .running()
            .map(|c| c.id.clone())
            .filter(|id| !unwatched.contains(id))
            .collect();
        let truth = self.truth(key);
        let before = truth.published.as_ref().filter(|_| truth.over).and_then(|s| s.phase.clone());
        truth.over |= terminal;
        must("a_terminal_phase_is_final", before.is_none() || before == status.phase, || {
            format!("pod {key} was {before:?} and is {:?}", status.phase)
        })?;
        must("nothing_runs_in_a_terminal_phase", !terminal || running.is_empty(), || {
            format!("pod {key} is {:?} while {running:?} run", status.phase)
        })
    }

    /// Restart counts only grow (behaviour.md 5.20).
    pub(super) fn restart_counts_never_go_back(&mut self, key: Key, status: &PodStatus) -> Check {
        let Some(before) = self.truth(key).published.clone() else { return Ok(()) };
        for now in containers(status) {
            let Some(old) = containers(&before).find(|c| c.name == now.name) else { continue };
            must("restart_counts_never_go_back", now.restart_count >= old.restart_count, || {
                format!(
                    "pod {key}: {} had {} restarts and has {}",
                    now.name, old.restart_count, now.restart_count
                )
            })?;
        }
        Ok(())
    }

    /// Nothing is published that was not observed (issue 3, point 5): each container in it was made by the runtime, one that
    /// runs was started, one that has ended ended so; and the present daemon has looked at least once.
    pub(super) fn a_status_shows_only_what_was_seen(&mut self, key: Key, status: &PodStatus) -> Check {
        let rule = "a_status_shows_only_what_was_seen";
        let truth = self.truth(key);
        must(rule, truth.observed || truth.refused, || format!("pod {key} publishes before it has looked"))?;
        for c in containers(status) {
            let state = c.state.clone().unwrap_or_default();
            let run = id_of(c).and_then(|id| truth.runs.get(id));
            if state.running.is_some() {
                must(rule, run.is_some_and(|r| r.started.is_some()), || {
                    format!("pod {key}: {} is shown running as {:?}, which never ran", c.name, c.container_id)
                })?;
            }
            if let (Some(ended), Some(run)) = (state.terminated, run) {
                // A start that was cut off has an end and no beginning.
                let right = run.ended.map_or(run.started.is_none(), |(_, code)| code == ended.exit_code);
                must(rule, right, || {
                    format!(
                        "pod {key}: {} is shown ended with {}, the truth is {:?}",
                        c.name, ended.exit_code, run.ended
                    )
                })?;
            }
        }
        Ok(())
    }

    /// A container that was ready stays so until a probe says otherwise or its run is over (behaviour.md 5.22, 41.3).
    pub(super) fn ready_turns_false_only_with_evidence(&mut self, key: Key, status: &PodStatus) -> Check {
        let Some(before) = self.truth(key).published.clone() else { return Ok(()) };
        let is_static = self.workload.pods[key].origin == Origin::Static;
        for old in containers(&before).filter(|c| c.ready) {
            let now = containers(status).find(|c| c.name == old.name);
            if now.is_none_or(|c| c.ready) {
                continue;
            }
            let truth = self.truth(key);
            let run = id_of(old).and_then(|id| truth.runs.get(id));
            let evidence = run.is_none_or(|r| r.told_unready || r.ended.is_some());
            must("ready_turns_false_only_with_evidence", evidence || is_static, || {
                format!("pod {key}: {} was ready, runs on, and is not ready any more", old.name)
            })?;
        }
        Ok(())
    }

    /// The start time, the addresses, and that the generation counts up (behaviour.md 5.12, 5.13, 5.15).
    pub(super) fn what_is_set_once_stays(&mut self, key: Key, status: &PodStatus) -> Check {
        let Some(before) = self.truth(key).published.clone() else { return Ok(()) };
        if self.workload.pods[key].origin == Origin::Static {
            return Ok(());
        }
        let rule = "what_is_set_once_stays";
        must(rule, before.start_time.is_none() || before.start_time == status.start_time, || {
            format!("pod {key}: the start time was {:?} and is {:?}", before.start_time, status.start_time)
        })?;
        must(rule, before.pod_ip.is_none() || status.pod_ip.is_some(), || {
            format!("pod {key} has lost its address")
        })?;
        must(rule, before.observed_generation <= status.observed_generation, || {
            format!("pod {key}: the observed generation went back to {:?}", status.observed_generation)
        })
    }

    /// What holds for each status that the API takes: a terminal phase is final there too.
    pub(crate) fn check_written(&mut self, key: Key, object: &Object) -> Check {
        let terminal = is_terminal(object.pod.status.as_ref());
        let truth = self.truth(key);
        let before = truth.written_terminal;
        truth.written_terminal |= terminal;
        must("a_terminal_phase_is_final", !before || terminal, || {
            format!("pod {key} has left its terminal phase in the API")
        })
    }
}
