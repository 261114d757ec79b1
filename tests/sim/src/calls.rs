//! Calls under way: when they reach the runtime, when their work is done, when their answer is back, and all that may
//! go wrong on the way.

pub(crate) mod words;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod as ApiPod};
use lifecycle::{
    Answer, Call, Container, ContainerKind, ContainerState, Failure, FailureKind, Hook, Input, OpId, Sandbox,
};

use crate::faults::FaultKind;
use crate::invariants::Check;
use crate::random::Random;
use crate::runtime::failure;
use crate::script::{HookScript, Script};
use crate::truth::{PostStart, Run};
use crate::workload::Key;
use crate::world::{Happening, World};

type Outcome = Result<Answer, Failure>;

/// When the client gives up a call that has no answer.
const DEADLINE: Duration = Duration::from_secs(120);
const LOOK_DEADLINE: Duration = Duration::from_secs(20);

/// What is to become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Works,
    Refused,
    Hangs,
    AnswerLost,
}

/// One call.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) key: Key,
    life: u32,
    op: OpId,
    pub(crate) call: Call,
    /// The pod as the machine had it.
    pod: Arc<ApiPod>,
    fate: Fate,
    pub(crate) arrived: bool,
    pub(crate) outcome: Option<Outcome>,
    /// Nobody waits for it any more; its work may still be done.
    abandoned: bool,
}

impl InFlight {
    /// A call that hangs waits on, until the runtime goes away.
    pub(crate) fn hang_up(&mut self) {
        if self.fate == Fate::Hangs && !is_own(&self.call) {
            self.outcome = None;
        }
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned
    }
}

fn is_look(call: &Call) -> bool {
    matches!(call, Call::Observe | Call::InspectImage { .. })
}

/// Whether it is the daemon's own work, on the disk or with the API.
fn is_own(call: &Call) -> bool {
    matches!(
        call,
        Call::MountVolumes
            | Call::UnmountVolumes
            | Call::RemoveCgroup
            | Call::RemoveDirs { .. }
            | Call::DeleteObject
            | Call::RunHook { .. }
    )
}

/// Whether it changes what is on the node.
fn changes_something(call: &Call) -> bool {
    // What is mounted already stays, and what is dead may be removed at any time.
    let harmless =
        matches!(call, Call::MountVolumes | Call::RemoveContainer { .. } | Call::RemoveSandbox { .. });
    !is_look(call) && !harmless
}

fn not_found() -> Outcome {
    Err(failure(FailureKind::NotFound, "not found"))
}

fn refused(message: &str) -> Outcome {
    Err(failure(FailureKind::Refused, message))
}

/// The container `name` of a pod, where it stands and the policy that holds for it.
pub(crate) fn spec_of(pod: &ApiPod, name: &str) -> Option<(ContainerKind, ContainerSpec, String)> {
    let spec = pod.spec.as_ref()?;
    let found = podspec::containers(spec).find(|(_, c)| c.name == name);
    if let Some((kind, c)) = found {
        let kind = match kind {
            podspec::ContainerKind::Init => ContainerKind::Init,
            podspec::ContainerKind::Sidecar => ContainerKind::Sidecar,
            podspec::ContainerKind::Regular => ContainerKind::Regular,
        };
        return Some((kind, c.clone(), podspec::restart_policy(spec, c).to_owned()));
    }
    let ephemeral = spec.ephemeral_containers.iter().flatten().find(|c| c.name == name)?;
    Some((ContainerKind::Ephemeral, podspec::ephemeral_as_container(ephemeral), "Never".to_owned()))
}

impl World {
    pub(crate) fn begin_call(&mut self, key: Key, op: OpId, call: Call, pod: Arc<ApiPod>) {
        let mut fate = Fate::Works;
        let mut delay = self.random.millis(0, 3);
        if !is_own(&call) || matches!(call, Call::MountVolumes) {
            for (kind, means) in [
                (FaultKind::Refused, Fate::Refused),
                (FaultKind::Hang, Fate::Hangs),
                (FaultKind::LostAnswer, Fate::AnswerLost),
            ] {
                if self.faults.strikes(kind, self.time) {
                    fate = means;
                }
            }
        }
        if self.faults.strikes(FaultKind::Late, self.time) {
            delay += self.faults.random(FaultKind::Late).millis(100, 20_000);
        }
        self.next_call += 1;
        let number = self.next_call;
        let life = self.life;
        let in_flight =
            InFlight { key, life, op, call, pod, fate, arrived: false, outcome: None, abandoned: false };
        self.calls.insert(number, in_flight);
        if let Some(task) = self.daemon.as_mut().and_then(|d| d.tasks.get_mut(&key)) {
            task.calls.insert(op, number);
        }
        self.after(delay, Happening::Arrive { call: number });
    }

    /// The call reaches whoever does its work.
    pub(crate) fn arrive(&mut self, number: u64) -> Check {
        let over = self.time >= self.scenario.faults_until;
        let Some(in_flight) = self.calls.get_mut(&number) else { return Ok(()) };
        in_flight.arrived = true;
        if over && in_flight.fate == Fate::Hangs {
            // It was late, and when it comes nothing hangs any more.
            in_flight.fate = Fate::Works;
        }
        let (key, call, fate, pod) =
            (in_flight.key, in_flight.call.clone(), in_flight.fate, Arc::clone(&in_flight.pod));
        if !self.runtime.up && !is_own(&call) {
            return self.answer(number, Err(Self::unavailable()));
        }
        match fate {
            Fate::Refused => return self.answer(number, refused("the runtime refused")),
            Fate::Hangs => {
                let deadline = if is_look(&call) { LOOK_DEADLINE } else { DEADLINE };
                if !matches!(call, Call::PullImage { .. }) {
                    let late = Err(failure(FailureKind::Deadline, "no answer in time"));
                    if let Some(in_flight) = self.calls.get_mut(&number) {
                        in_flight.outcome = Some(late);
                    }
                    self.after(deadline, Happening::Return { call: number });
                }
                return Ok(());
            }
            Fate::Works | Fate::AnswerLost => {}
        }
        let done_before = match &call {
            Call::StopSandbox { id } => !self.runtime.pod(key).sandbox_is_ready(id),
            Call::UnmountVolumes => !self.runtime.pod(key).volumes_mounted,
            Call::RemoveCgroup => !self.runtime.pod(key).has_cgroup,
            Call::RemoveDirs { logs } => {
                let pod = self.runtime.pod(key);
                !pod.has_dirs && (!logs || pod.logs.is_empty())
            }
            _ => false,
        };
        if changes_something(&call) && !done_before {
            self.changes_made += 1;
        }
        let time = match &call {
            Call::RunSandbox { attempt, .. } => {
                let in_use = self.runtime.pod(key);
                if in_use.sandboxes.iter().any(|s| s.attempt == *attempt)
                    || !in_use.making_sandboxes.insert(*attempt)
                {
                    return self.answer(number, Err(failure(FailureKind::Reserved, "name is reserved")));
                }
                in_use.has_dirs = true;
                in_use.has_cgroup = true;
                self.random.millis(10, 400)
            }
            Call::CreateContainer { name, restart_count, sandbox_id, .. } => {
                let in_use = self.runtime.pod(key);
                let name_in_use =
                    in_use.containers.iter().any(|c| c.name == *name && c.restart_count == *restart_count);
                if name_in_use || in_use.making.contains(&(name.clone(), *restart_count)) {
                    return self.answer(number, Err(failure(FailureKind::Reserved, "name is reserved")));
                }
                if !in_use.sandbox_is_ready(sandbox_id) {
                    return self.answer(number, refused("the sandbox is not ready"));
                }
                in_use.making.insert((name.clone(), *restart_count));
                in_use.has_dirs = true;
                self.random.millis(2, 60)
            }
            Call::StartContainer { id, .. } => {
                let in_use = self.runtime.pod(key);
                match in_use.container(id).map(|c| c.state) {
                    None => return self.answer(number, not_found()),
                    Some(ContainerState::Created) => {}
                    Some(_) => return self.answer(number, refused("the container is not in created state")),
                }
                if !in_use.starting.insert(id.clone()) {
                    return self
                        .answer(number, Err(failure(FailureKind::Reserved, "is already in starting state")));
                }
                self.random.millis(5, 150)
            }
            Call::StopContainer { id, grace } => return self.stop_arrives(number, key, id, *grace),
            Call::PullImage { image } => {
                let (time, result) = self.runtime.pull(image, &mut self.random);
                if let Err(failed) = result {
                    if let Some(in_flight) = self.calls.get_mut(&number) {
                        in_flight.outcome = Some(Err(failed));
                    }
                    self.after(time, Happening::Return { call: number });
                    return Ok(());
                }
                time
            }
            Call::RunHook { id, hook, .. } => return self.hook_arrives(number, key, id, *hook),
            Call::MountVolumes => {
                let _ = pod;
                self.random.millis(1, 800)
            }
            Call::Observe | Call::InspectImage { .. } => self.random.millis(0, 8),
            _ => self.random.millis(1, 40),
        };
        self.after(time, Happening::Finish { call: number });
        Ok(())
    }

    fn hook_arrives(&mut self, number: u64, key: Key, id: &str, hook: Hook) -> Check {
        let time = self.time;
        let Some(run) = self.truth(key).runs.get_mut(id) else {
            return self.answer(number, refused("no such container"));
        };
        let script = match hook {
            Hook::PostStart => {
                run.post_start = PostStart::Running;
                run.script.post_start
            }
            Hook::PreStop => {
                run.stop_began.get_or_insert(time);
                run.pre_stop_began.get_or_insert(time);
                run.script.pre_stop
            }
        };
        if !run.is_running() {
            return self.answer(number, refused("the container does not run"));
        }
        let (after, outcome) = match script {
            HookScript::Works(after) => (after, Ok(Answer::Done)),
            HookScript::Fails(after) => (after, refused("the hook failed")),
            HookScript::Hangs => return Ok(()),
        };
        if let Some(in_flight) = self.calls.get_mut(&number) {
            in_flight.outcome = Some(outcome);
        }
        self.after(after, Happening::Return { call: number });
        Ok(())
    }

    fn stop_arrives(&mut self, number: u64, key: Key, id: &str, grace: Duration) -> Check {
        let time = self.time;
        let state = self.runtime.pod(key).container(id).map(|c| c.state);
        match state {
            None => return self.answer(number, not_found()),
            Some(ContainerState::Unknown) => {
                let now = self.wall_nanos();
                if let Some(c) = self.runtime.pod(key).container_mut(id) {
                    c.state = ContainerState::Exited;
                    c.finished_at = now;
                }
                self.runtime_changed(key);
                return self.answer(number, Ok(Answer::Done));
            }
            Some(ContainerState::Running) => {}
            Some(_) => return self.answer(number, Ok(Answer::Done)),
        }
        self.check_signal(key, id)?;
        let Some(run) = self.truth(key).runs.get_mut(id) else { return Ok(()) };
        run.stop_began.get_or_insert(time);
        let first = run.term_at.is_none();
        run.term_at.get_or_insert(time);
        let on_term = run.script.on_term.filter(|_| first);
        self.note(|| format!("pod {key}: SIGTERM to {id}, SIGKILL in {grace:?}"));
        if let Some((after, code)) = on_term {
            self.after(after, Happening::Exit { key, id: id.to_owned(), code, oom: false });
        }
        self.after(grace, Happening::StopKill { call: number });
        Ok(())
    }

    pub(crate) fn stop_kill(&mut self, number: u64) -> Check {
        let Some(in_flight) = self.calls.get(&number).filter(|c| c.outcome.is_none()) else { return Ok(()) };
        let Call::StopContainer { id, .. } = &in_flight.call else { return Ok(()) };
        let (key, id) = (in_flight.key, id.clone());
        if self.runtime.pod(key).container(&id).is_some_and(|c| c.state == ContainerState::Running) {
            self.note(|| format!("pod {key}: SIGKILL to {id}"));
            self.check_kill(key, &id)?;
            self.exit(key, &id, 137, false)?;
        }
        Ok(())
    }

    /// A process ends; stops that wait for it are answered.
    pub(crate) fn exit(&mut self, key: Key, id: &str, code: i32, oom: bool) -> Check {
        if !self.runtime.pod(key).container(id).is_some_and(|c| c.state == ContainerState::Running) {
            return Ok(());
        }
        let reason = if oom {
            "OOMKilled"
        } else if code == 0 {
            "Completed"
        } else {
            "Error"
        };
        self.end_process(key, id, code, reason);
        self.runtime_changed(key);
        let waiting: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, c)| c.key == key && c.arrived && c.outcome.is_none())
            .filter(|(_, c)| matches!(&c.call, Call::StopContainer { id: stopped, .. } if stopped == id))
            .map(|(number, _)| *number)
            .collect();
        for number in waiting {
            self.answer(number, Ok(Answer::Done))?;
        }
        Ok(())
    }

    pub(crate) fn end_process(&mut self, key: Key, id: &str, code: i32, reason: &str) {
        self.note(|| format!("pod {key}: {id} has ended with {code} {reason}"));
        let (time, now) = (self.time, self.wall_nanos());
        self.exits += 1;
        if let Some(c) = self.runtime.pod(key).container_mut(id) {
            c.state = ContainerState::Exited;
            c.exit_code = code;
            c.reason = reason.to_owned();
            c.finished_at = now;
        }
        if let Some(run) = self.truth(key).runs.get_mut(id) {
            run.ended = Some((time, code));
        }
    }

    /// The work is done, now.
    pub(crate) fn finish(&mut self, number: u64) -> Check {
        let Some(in_flight) = self.calls.get(&number).filter(|c| c.outcome.is_none()) else { return Ok(()) };
        let (key, call, pod) = (in_flight.key, in_flight.call.clone(), Arc::clone(&in_flight.pod));
        let watched = !in_flight.abandoned;
        let outcome = match call {
            Call::StartContainer { id, .. } => self.start(key, &id, watched)?,
            call => self.carry_out(key, call, &pod)?,
        };
        self.answer(number, outcome)
    }

    fn carry_out(
        &mut self,
        key: Key,
        call: Call,
        pod: &ApiPod,
    ) -> Result<Outcome, crate::invariants::Broken> {
        let now = self.wall_nanos();
        Ok(match call {
            Call::Observe => Ok(Answer::Observed(self.runtime.pod(key).observation())),
            Call::InspectImage { image } => Ok(Answer::Image {
                id: self.runtime.images.contains(&image).then(|| format!("sha256:{image}")),
            }),
            Call::PullImage { image } => {
                let id = format!("sha256:{image}");
                self.runtime.images.insert(image);
                Ok(Answer::Pulled { id, size_bytes: 7_000_000 })
            }
            Call::RunSandbox { attempt, .. } => {
                let id = self.runtime.new_id("s");
                let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
                let ips = if host_network { Vec::new() } else { vec![format!("10.88.{key}.{attempt}")] };
                let in_use = self.runtime.pod(key);
                in_use.making_sandboxes.remove(&attempt);
                let sandbox =
                    Sandbox { id: id.clone(), attempt, created_at: now, ready: true, host_network, ips };
                in_use.sandboxes.push(sandbox);
                self.check_sandbox_run(key)?;
                self.runtime_changed(key);
                Ok(Answer::Made { id })
            }
            Call::StopSandbox { id } => self.stop_sandbox(key, &id)?,
            Call::RemoveSandbox { id } => {
                self.stop_sandbox(key, &id).map(drop)?;
                let in_use = self.runtime.pod(key);
                in_use.sandboxes.retain(|s| s.id != id);
                in_use.containers.retain(|c| c.sandbox_id != id);
                self.runtime_changed(key);
                Ok(Answer::Done)
            }
            Call::CreateContainer { name, kind, restart_count, sandbox_id, image_id, .. } => {
                self.create(key, pod, (name, kind, restart_count, sandbox_id, image_id))
            }
            Call::UpdateResources { id, .. } => {
                let running =
                    self.runtime.pod(key).container(&id).map(|c| c.state == ContainerState::Running);
                match running {
                    Some(true) => Ok(Answer::Done),
                    Some(false) => refused("the container does not run"),
                    None => not_found(),
                }
            }
            Call::UpdatePod { sandbox_id, .. } => {
                if self.runtime.pod(key).sandbox_is_ready(&sandbox_id) {
                    Ok(Answer::Done)
                } else {
                    not_found()
                }
            }
            Call::RemoveContainer { id, name, restart_count, keep_logs } => {
                if self.runtime.pod(key).starting.contains(&id) {
                    return Ok(refused("the container is in starting state, can't be removed"));
                }
                self.check_removal(key, &id)?;
                self.exit(key, &id, 137, false)?;
                let in_use = self.runtime.pod(key);
                in_use.containers.retain(|c| c.id != id);
                if !keep_logs && let Some(logs) = in_use.logs.get_mut(&name) {
                    logs.remove(&restart_count);
                    if logs.is_empty() {
                        in_use.logs.remove(&name);
                    }
                }
                self.runtime_changed(key);
                Ok(Answer::Done)
            }
            Call::MountVolumes => {
                let in_use = self.runtime.pod(key);
                in_use.volumes_mounted = true;
                in_use.has_dirs = true;
                Ok(Answer::Done)
            }
            Call::UnmountVolumes => {
                self.check_unmount(key)?;
                self.runtime.pod(key).volumes_mounted = false;
                Ok(Answer::Done)
            }
            Call::RemoveCgroup => {
                self.check_cgroup_removal(key)?;
                self.runtime.pod(key).has_cgroup = false;
                Ok(Answer::Done)
            }
            Call::RemoveDirs { logs } => {
                let in_use = self.runtime.pod(key);
                if in_use.volumes_mounted {
                    return Ok(refused("volumes are mounted"));
                }
                in_use.has_dirs = false;
                if logs {
                    in_use.logs.clear();
                }
                Ok(Answer::Done)
            }
            Call::DeleteObject => {
                if !self.api.up {
                    return Ok(Err(failure(FailureKind::Unavailable, "the API is away")));
                }
                self.check_object_deletion(key)?;
                self.api.remove(key);
                self.tell_watch(key);
                Ok(Answer::Done)
            }
            Call::StartContainer { .. } | Call::StopContainer { .. } | Call::RunHook { .. } => {
                Ok(Answer::Done)
            }
        })
    }

    fn create(
        &mut self,
        key: Key,
        pod: &ApiPod,
        (name, kind, restart_count, sandbox_id, image_id): (String, ContainerKind, u32, String, String),
    ) -> Outcome {
        let now = self.wall_nanos();
        self.runtime.pod(key).making.remove(&(name.clone(), restart_count));
        if !self.runtime.pod(key).sandbox_is_ready(&sandbox_id) {
            return refused("the sandbox is not ready");
        }
        let Some((_, spec, policy)) = spec_of(pod, &name) else {
            return refused("no such container in the pod");
        };
        let id = self.runtime.new_id(&name);
        let image = spec.image.clone().unwrap_or_default();
        let in_use = self.runtime.pod(key);
        in_use.containers.push(Container {
            id: id.clone(),
            name: name.clone(),
            sandbox_id: sandbox_id.clone(),
            restart_count,
            state: ContainerState::Created,
            created_at: now,
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            image: image.clone(),
            image_id,
            hash: Some(podspec::container_hash(&spec)),
            user: None,
            stop_signal: None,
            resources: None,
            pre_stop: false,
        });
        in_use.logs.entry(name.clone()).or_default().insert(restart_count);
        let seed = self.scenario.seed;
        let earlier = self.truth(key).runs_of(&name).filter(|r| r.started.is_some()).count() as u64;
        let letters = name.bytes().fold(7_u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(b)));
        let mut random = Random::new(seed, &[40, key as u64, letters, earlier]);
        let script = Script::new(&mut random, kind, &spec, &policy, earlier);
        let run = Run {
            name,
            kind,
            sandbox: sandbox_id,
            attempt: restart_count,
            script,
            started: None,
            ended: None,
            stop_began: None,
            pre_stop_began: None,
            pre_stop_over: false,
            term_at: None,
            post_start: PostStart::NotRun,
            told_started: false,
            told_unready: false,
            image,
            unwatched: false,
            daemon_killed: false,
        };
        self.truth(key).runs.insert(id.clone(), run);
        self.runtime_changed(key);
        Ok(Answer::Made { id })
    }

    fn start(&mut self, key: Key, id: &str, watched: bool) -> Result<Outcome, crate::invariants::Broken> {
        let (time, now) = (self.time, self.wall_nanos());
        let in_use = self.runtime.pod(key);
        in_use.starting.remove(id);
        let Some(c) = in_use.container(id) else { return Ok(not_found()) };
        if c.state != ContainerState::Created {
            return Ok(refused("the container is not in created state"));
        }
        let sandbox = c.sandbox_id.clone();
        if !in_use.sandbox_is_ready(&sandbox) {
            return Ok(refused("the sandbox is not running"));
        }
        if let Some(c) = in_use.container_mut(id) {
            c.state = ContainerState::Running;
            c.started_at = now;
        }
        let Some(run) = self.truth(key).runs.get_mut(id) else { return Ok(not_found()) };
        run.started = Some(time);
        run.unwatched = !watched;
        let exits = run.script.exits;
        self.note(|| format!("pod {key}: {id} runs"));
        self.check_started(key, id, watched)?;
        if let Some((after, code, oom)) = exits {
            self.after(after, Happening::Exit { key, id: id.to_owned(), code, oom });
        }
        self.runtime_changed(key);
        Ok(Ok(Answer::Done))
    }

    fn stop_sandbox(&mut self, key: Key, id: &str) -> Result<Outcome, crate::invariants::Broken> {
        if !self.runtime.pod(key).sandboxes.iter().any(|s| s.id == id) {
            return Ok(not_found());
        }
        let inside: Vec<String> =
            self.runtime.pod(key).running().filter(|c| c.sandbox_id == id).map(|c| c.id.clone()).collect();
        for container in inside {
            self.check_sandbox_stop(key, &container)?;
            self.exit(key, &container, 137, false)?;
        }
        for sandbox in self.runtime.pod(key).sandboxes.iter_mut().filter(|s| s.id == id) {
            sandbox.ready = false;
        }
        self.truth(key).lost_sandboxes.insert(id.to_owned());
        self.runtime_changed(key);
        Ok(Ok(Answer::Done))
    }

    /// Sends an answer back.
    fn answer(&mut self, number: u64, outcome: Outcome) -> Check {
        let Some(in_flight) = self.calls.get_mut(&number) else { return Ok(()) };
        if in_flight.abandoned {
            self.calls.remove(&number);
            return Ok(());
        }
        let lost = in_flight.fate == Fate::AnswerLost && outcome.is_ok();
        in_flight.outcome =
            Some(if lost { Err(failure(FailureKind::Deadline, "no answer in time")) } else { outcome });
        let delay = if lost { self.random.millis(500, 10_000) } else { self.random.millis(0, 2) };
        self.after(delay, Happening::Return { call: number });
        Ok(())
    }

    pub(crate) fn return_answer(&mut self, number: u64) -> Check {
        let Some(in_flight) = self.calls.remove(&number) else { return Ok(()) };
        let InFlight { key, life, op, call, outcome, .. } = in_flight;
        let Some(outcome) = outcome.filter(|_| life == self.life) else { return Ok(()) };
        let Some(task) = self.daemon.as_mut().and_then(|d| d.tasks.get_mut(&key)) else { return Ok(()) };
        task.calls.remove(&op);
        let time = self.time;
        if let Call::RunHook { id, hook, .. } = &call
            && let Some(run) = self.truth(key).runs.get_mut(id)
        {
            match hook {
                Hook::PostStart => {
                    run.post_start = PostStart::Returned;
                    if outcome.is_err() {
                        run.stop_began.get_or_insert(time);
                    }
                }
                Hook::PreStop => run.pre_stop_over = true,
            }
        }
        self.post(key, |letters| letters.outcomes.push_back(Input::Answered { op, outcome }));
        Ok(())
    }

    /// Nobody waits for the call any more: its work stays undone, or is done all the same.
    pub(crate) fn abandon(&mut self, number: u64, killed: bool) -> Check {
        let Some(in_flight) = self.calls.get(&number) else { return Ok(()) };
        if !in_flight.arrived || in_flight.outcome.is_some() || in_flight.fate == Fate::Hangs {
            self.drop_call(number);
            return Ok(());
        }
        if matches!(in_flight.call, Call::MountVolumes) {
            let key = in_flight.key;
            let done = self.random.percent(50);
            self.runtime.pod(key).volumes_mounted |= done;
            self.runtime.pod(key).has_dirs |= done;
            self.drop_call(number);
            return Ok(());
        }
        let own = is_own(&in_flight.call) || matches!(in_flight.call, Call::StopContainer { .. });
        let goes_on = !own
            && if killed {
                self.random.percent(50)
            } else {
                self.faults.strikes(FaultKind::LateWork, self.time)
            };
        if goes_on {
            if let Some(in_flight) = self.calls.get_mut(&number) {
                in_flight.abandoned = true;
            }
            return Ok(());
        }
        self.cut_off(number)
    }

    /// A call ends in the middle of its work, with what that leaves behind; whoever waits hears that the runtime is away.
    pub(crate) fn cut_off(&mut self, number: u64) -> Check {
        let Some(in_flight) = self.calls.get(&number) else { return Ok(()) };
        let key = in_flight.key;
        let waits = !in_flight.abandoned && in_flight.life == self.life && self.daemon.is_some();
        let half_done = in_flight.fate != Fate::Hangs;
        let own = is_own(&in_flight.call);
        if own && waits {
            // The runtime's end is nothing to it, but for hooks that run through it.
            if !matches!(in_flight.call, Call::RunHook { .. }) {
                return Ok(());
            }
        }
        let call = in_flight.call.clone();
        self.release_names(key, &call);
        if half_done {
            self.leave_behind(key, &call);
        }
        if waits && self.is_waited_for(number) {
            if let Some(in_flight) = self.calls.get_mut(&number) {
                in_flight.outcome = None;
                in_flight.fate = Fate::Works;
            }
            return self.answer(number, Err(Self::unavailable()));
        }
        self.calls.remove(&number);
        Ok(())
    }

    fn is_waited_for(&self, number: u64) -> bool {
        let Some(in_flight) = self.calls.get(&number) else { return false };
        let task = self.daemon.as_ref().and_then(|d| d.tasks.get(&in_flight.key));
        task.is_some_and(|t| t.calls.get(&in_flight.op) == Some(&number))
    }

    fn leave_behind(&mut self, key: Key, call: &Call) {
        let now = self.wall_nanos();
        match call {
            Call::StartContainer { id, .. } => {
                if let Some(c) =
                    self.runtime.pod(key).container_mut(id).filter(|c| c.state == ContainerState::Created)
                {
                    c.state = ContainerState::Exited;
                    c.exit_code = 128;
                    c.finished_at = now;
                    c.reason = "StartError".to_owned();
                    c.message =
                        "failed to create containerd task: failed to create shim task: context canceled"
                            .to_owned();
                    self.runtime_changed(key);
                }
            }
            Call::RunSandbox { attempt, .. } if self.random.percent(30) => {
                let id = self.runtime.new_id("s");
                let sandbox = Sandbox {
                    id,
                    attempt: *attempt,
                    created_at: now,
                    ready: false,
                    host_network: false,
                    ips: Vec::new(),
                };
                self.runtime.pod(key).sandboxes.push(sandbox);
                self.runtime_changed(key);
            }
            _ => {}
        }
    }

    fn release_names(&mut self, key: Key, call: &Call) {
        let in_use = self.runtime.pod(key);
        match call {
            Call::RunSandbox { attempt, .. } => {
                in_use.making_sandboxes.remove(attempt);
            }
            Call::CreateContainer { name, restart_count, .. } => {
                in_use.making.remove(&(name.clone(), *restart_count));
            }
            Call::StartContainer { id, .. } => {
                in_use.starting.remove(id);
            }
            _ => {}
        }
    }

    /// Forgets a call whose work is not done, or that is over.
    pub(crate) fn drop_call(&mut self, number: u64) {
        let Some(in_flight) = self.calls.remove(&number) else { return };
        if in_flight.arrived && in_flight.outcome.is_none() && in_flight.fate != Fate::Hangs {
            self.release_names(in_flight.key, &in_flight.call);
        }
    }
}
