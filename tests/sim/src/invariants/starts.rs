use lifecycle::{Call, ContainerKind, Hook, Origin};

use super::{Check, must};
use crate::calls::spec_of;
use crate::workload::Key;
use crate::world::World;

impl World {
    /// A pod that runs is never judged again (behaviour.md 2, 4.1): it was admitted by whoever started it.
    pub(crate) fn check_admit(&mut self, key: Key, adopt: bool) -> Check {
        let runs = self.runtime.pod(key).running().count() > 0;
        must("what_runs_is_not_admitted_again", adopt || !runs, || {
            format!("pod {key} asks to be admitted while its containers run")
        })
    }

    /// At most one process for each container's name (behaviour.md 4.1, 10).
    pub(super) fn one_run_of_a_container_at_a_time(&mut self, key: Key, id: &str) -> Check {
        let truth = self.truth(key);
        let Some(run) = truth.runs.get(id) else { return Ok(()) };
        let running = truth.runs_of(&run.name).filter(|r| r.is_running()).count();
        must("one_run_of_a_container_at_a_time", running <= 1, || {
            format!("pod {key}: {running} processes of {} run", run.name)
        })
    }

    /// A container's attempt is run once: whoever counts restarts must be able to rely on it (behaviour.md 5.20).
    pub(super) fn an_attempt_is_never_run_twice(&mut self, key: Key, id: &str) -> Check {
        let is_static = self.workload.pods[key].origin == Origin::Static;
        let truth = self.truth(key);
        let Some(run) = truth.runs.get(id) else { return Ok(()) };
        // The logs that tell the count go with a static pod's file, and the UID may come back.
        let apart = |r: &crate::truth::Run| is_static && r.sandbox != run.sandbox;
        let same = truth
            .runs_of(&run.name)
            .filter(|r| r.started.is_some() && r.attempt == run.attempt && !apart(r))
            .count();
        must("an_attempt_is_never_run_twice", same <= 1, || {
            format!("pod {key}: attempt {} of {} was started {same} times", run.attempt, run.name)
        })
    }

    /// What is not to be restarted is not (behaviour.md 11.2, 11.15 to 11.18), unless a rule asks for it or its definition
    /// has changed; init containers run again in another sandbox (11.3).
    pub(super) fn never_means_never(&mut self, key: Key, id: &str) -> Check {
        let Some(pod) = self.spec_known(key) else { return Ok(()) };
        let image_changed = self.workload_changes_image(key);
        let truth = self.truth(key);
        let Some(run) = truth.runs.get(id) else { return Ok(()) };
        let Some((kind, spec, policy)) = spec_of(&pod, &run.name) else { return Ok(()) };
        let applies = policy == "Never" && kind != ContainerKind::Sidecar && !image_changed;
        let ruled = spec.restart_policy_rules.is_some() || has_restart_all(&pod);
        if !applies || ruled {
            return Ok(());
        }
        let counted = truth
            .runs_of(&run.name)
            .filter(|r| r.started.is_some() && (kind != ContainerKind::Init || r.sandbox == run.sandbox))
            .count();
        must("never_means_never", counted <= 1, || {
            format!("pod {key}: {} was started {counted} times", run.name)
        })
    }

    /// Inits in order, each after the one before has succeeded; nothing behind a sidecar before that has started, its
    /// startup probe and its postStart hook included (behaviour.md 11.1, 11.6). Once regular containers were begun in a
    /// sandbox, its gates stay open (11.3).
    pub(super) fn a_container_waits_for_its_gates(&mut self, key: Key, id: &str) -> Check {
        let Some(pod) = self.spec_known(key) else { return Ok(()) };
        let truth = self.truth(key);
        let Some(run) = truth.runs.get(id) else { return Ok(()) };
        if run.kind == ContainerKind::Ephemeral {
            return Ok(());
        }
        let here = |r: &&crate::truth::Run| r.sandbox == run.sandbox && r.started.is_some();
        let begun = truth
            .runs
            .iter()
            .filter(|(other, r)| r.kind == ContainerKind::Regular && other.as_str() != id && here(r))
            .count()
            > 0;
        if begun {
            return Ok(());
        }
        let inits = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten());
        for before in inits.take_while(|c| c.name != run.name) {
            let sidecar = before.restart_policy.as_deref() == Some("Always");
            let open = truth.runs_of(&before.name).filter(here).any(|r| {
                if !sidecar {
                    return r.ended.is_some_and(|(_, code)| code == 0);
                }
                let hook = before.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
                use crate::truth::PostStart;
                // A hook that a lost answer or a killed daemon has kept from running is not made up for.
                (before.startup_probe.is_none() || r.told_started)
                    && (!hook || r.post_start != PostStart::Running)
            });
            must("a_container_waits_for_its_gates", open, || {
                format!("pod {key}: {} was started before {} had done its part", run.name, before.name)
            })?;
        }
        Ok(())
    }

    /// Containers find their volumes (behaviour.md 4.9).
    pub(super) fn nothing_starts_without_its_volumes(&mut self, key: Key) -> Check {
        let has = self.workload.pods[key].object.spec.as_ref().is_some_and(|s| s.volumes.is_some());
        let mounted = self.runtime.pod(key).volumes_mounted;
        must("nothing_starts_without_its_volumes", !has || mounted, || {
            format!("pod {key}: a container was started before the volumes were mounted")
        })
    }

    /// A terminal phase is final, so nothing is started behind it (behaviour.md 4.1, 5.4).
    pub(super) fn nothing_starts_in_a_terminal_phase(&mut self, key: Key, id: &str) -> Check {
        let over = self.truth(key).over;
        must("nothing_starts_in_a_terminal_phase", !over, || {
            format!("pod {key}: {id} was started after the end")
        })
    }

    /// One UID of a name at a time (behaviour.md 4.1; design.md 2).
    pub(super) fn one_uid_of_a_name_runs(&mut self, key: Key) -> Check {
        let name = &self.workload.pods[key].object.metadata.name;
        let others = self.workload.pods.iter().filter(|p| p.key != key && p.object.metadata.name == *name);
        // What no source has is ended under its UID alone, whoever has its name (4.14).
        let known = |key: &Key| {
            let task = self.daemon.as_ref().and_then(|d| d.tasks.get(key));
            let blind = self.truths.get(key).is_some_and(|t| t.blind);
            task.is_some_and(|t| t.origin != Origin::Orphan && !blind)
        };
        let other = others
            .map(|p| p.key)
            .filter(known)
            .find(|other| self.runtime.pods.get(other).is_some_and(|p| p.running().count() > 0));
        must("one_uid_of_a_name_runs", other.is_none(), || {
            format!("pod {key} starts while pod {other:?} of the same name runs")
        })
    }

    /// As for containers; see [`Self::one_uid_of_a_name_runs`].
    pub(crate) fn check_sandbox_run(&mut self, key: Key) -> Check {
        let ready = self.runtime.pod(key).sandboxes.iter().filter(|s| s.ready).count();
        must("a_pod_has_one_ready_sandbox", ready <= 1, || format!("pod {key} has {ready} ready sandboxes"))
    }

    /// Stop overtakes work: a machine that was told of the end asks for nothing new (behaviour.md 4.4; issue 3).
    pub(super) fn stop_overtakes_work(&mut self, key: Key, call: &Call) -> Check {
        let work = matches!(
            call,
            Call::RunSandbox { .. }
                | Call::MountVolumes
                | Call::InspectImage { .. }
                | Call::PullImage { .. }
                | Call::CreateContainer { .. }
                | Call::StartContainer { .. }
                | Call::UpdateResources { .. }
                | Call::UpdatePod { .. }
                | Call::RunHook { hook: Hook::PostStart, .. }
        );
        let told = self.truth(key).told_end;
        must("stop_overtakes_work", !(work && told), || {
            format!("pod {key} was told to end and asks for {call:?}")
        })
    }

    /// The pod as the present machine has it.
    pub(super) fn spec_known(&self, key: Key) -> Option<std::sync::Arc<k8s_openapi::api::core::v1::Pod>> {
        let task = self.daemon.as_ref()?.tasks.get(&key)?;
        Some(std::sync::Arc::clone(task.machine.spec()))
    }

    fn workload_changes_image(&self, key: Key) -> bool {
        let changes = |d: &crate::workload::Planned| matches!(d.deed, crate::workload::Deed::ChangeImage(_));
        self.workload.deeds.iter().any(|d| d.key == key && changes(d))
    }
}

/// Whether an exit may restart all containers of the pod.
pub(super) fn has_restart_all(pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    containers
        .flat_map(|c| c.restart_policy_rules.iter().flatten())
        .any(|rule| rule.action == "RestartAllContainers")
}
