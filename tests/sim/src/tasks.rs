//! The daemon's side: what its tasks are told, what they do with the effects, and what they write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as ApiPod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lifecycle::{Assignment, Effect, Input, NodeInput, Origin, Pod, ProbeKind};

use crate::api::merged;
use crate::calls::words;
use crate::daemon::{Letters, Outgoing, Task};
use crate::faults::FaultKind;
use crate::invariants::{Broken, Check};
use crate::truth::Truth;
use crate::workload::{Key, uid};
use crate::world::{Happening, World};

/// Letters and deadlines of one instant that a task takes before something is wrong.
const SPINS: u32 = 200;

impl World {
    fn task(&mut self, key: Key) -> Option<&mut Task> {
        self.daemon.as_mut()?.tasks.get_mut(&key)
    }

    /// Puts something into a pod's mailbox, where it has one.
    pub(crate) fn post(&mut self, key: Key, write: impl FnOnce(&mut Letters)) {
        let Some(task) = self.task(key) else { return };
        write(&mut task.letters);
        if !std::mem::replace(&mut task.awake, true) {
            let life = self.life;
            let delay = Duration::from_micros(self.random.below(1_500));
            self.after(delay, Happening::Wake { life, key });
        }
    }

    pub(crate) fn wake_task(&mut self, key: Key) -> Check {
        if let Some(task) = self.task(key) {
            task.awake = false;
        }
        for spin in 0.. {
            let Some(task) = self.task(key) else { return Ok(()) };
            let Some(input) = task.letters.take() else { return Ok(()) };
            if spin > SPINS {
                return Err(Broken::new(
                    "every_queue_is_bounded",
                    format!("pod {key} takes letters without end"),
                ));
            }
            self.step(key, input)?;
        }
        Ok(())
    }

    /// A deadline of a pod's machine, or of the node's, has come.
    pub(crate) fn tick(&mut self, who: Option<Key>) -> Check {
        let now = self.now();
        let Some(key) = who else {
            self.ask_node(NodeInput::Tick);
            return Ok(());
        };
        self.step(key, Input::Tick)?;
        let boot = now.boot;
        let Some(task) = self.task(key) else { return Ok(()) };
        if task.machine.next_wake().is_some_and(|at| at <= boot) {
            task.spins += 1;
            if task.spins > SPINS {
                let what = format!("pod {key} wants to be woken at once, again and again");
                return Err(Broken::new("every_queue_is_bounded", what));
            }
        } else {
            task.spins = 0;
        }
        Ok(())
    }

    /// Gives a pod's machine one input and does what it wants.
    fn step(&mut self, key: Key, input: Input) -> Check {
        let now = self.now();
        self.timeline.note(self.time, || format!("pod {key} <- {}", words::input(&input)));
        let assigned = matches!(input, Input::Assigned(_));
        self.note_told(key, &input);
        if let Input::Assigned(assignment) = &input
            && assignment.origin == Origin::Api
        {
            let version = self.api.get(key).map_or(0, |o| o.version);
            let pod = Arc::clone(&assignment.pod);
            // What the daemon has kept itself is no news of the API.
            if let Some(daemon) = self.daemon.as_mut().filter(|d| d.listed) {
                daemon.seen(key, &pod, version);
            }
        }
        let Some(task) = self.task(key) else { return Ok(()) };
        let effects = task.machine.step(input, now);
        self.check_step(key, &effects)?;
        for effect in effects {
            if let Some((left, down)) = &mut self.doom {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    let down = *down;
                    return self.kill_daemon(down);
                }
            }
            self.effect(key, effect)?;
        }
        if assigned {
            self.put_right(key);
        }
        self.after_step(key);
        Ok(())
    }

    /// Gives back the pod's name when nothing runs any more, and drops a machine that has finished.
    fn after_step(&mut self, key: Key) {
        let Some(task) = self.task(key) else { return };
        let finished = task.machine.is_finished();
        if (task.machine.is_terminated() || finished) && !std::mem::replace(&mut task.freed, true) {
            self.ask_node(NodeInput::Ended { uid: uid(key) });
        }
        let Some(task) = self.task(key) else { return };
        if (task.machine.is_settled() || finished) && !std::mem::replace(&mut task.settled, true) {
            self.ask_node(NodeInput::Settled { uid: uid(key) });
        }
        if !finished {
            return;
        }
        let Some(daemon) = &mut self.daemon else { return };
        let Some(task) = daemon.tasks.remove(&key) else { return };
        daemon.known.remove(&key);
        if let Some(audited) = &mut daemon.audited {
            audited.remove(&key);
        }
        self.ledger.forget(key);
        for call in task.calls.into_values() {
            self.drop_call(call);
        }
        if let Some(next) = task.next {
            self.ledger.assigned(key, &next.pod, self.boot_number);
            self.start_task(key, next, false);
        }
    }

    fn effect(&mut self, key: Key, effect: Effect) -> Check {
        self.timeline.note(self.time, || format!("pod {key}    -> {}", words::effect(&effect)));
        let Some(task) = self.task(key) else { return Ok(()) };
        match effect {
            Effect::Admit { adopt } => {
                let pod = Arc::clone(task.machine.spec());
                self.check_admit(key, adopt)?;
                if self.workload.pods[key].refused && !adopt {
                    let refusal =
                        Input::Refused { reason: "OutOfpods".to_owned(), message: "too many".to_owned() };
                    self.post(key, |letters| letters.answers.push_back(refusal));
                    return Ok(());
                }
                self.ask_node(NodeInput::Admit { uid: uid(key), pod, adopt });
            }
            Effect::AskSlot { op, class } => self.ask_node(NodeInput::AskSlot { uid: uid(key), op, class }),
            Effect::ReturnSlot { op } => self.ask_node(NodeInput::ReturnSlot { uid: uid(key), op }),
            Effect::Call { op, call } => {
                let pod = Arc::clone(task.machine.spec());
                self.check_call(key, &call)?;
                self.begin_call(key, op, call, pod);
            }
            Effect::Cancel { op } => {
                if let Some(call) = task.calls.remove(&op) {
                    self.abandon(call, false)?;
                }
            }
            Effect::Publish { version, status } => {
                self.check_published(key, &status)?;
                self.ledger.told(key, &status);
                if let Some(task) = self.task(key) {
                    task.pending = Some(Outgoing { version, status, failures: 0 });
                    task.send_after = Duration::ZERO;
                }
                self.begin_sending(key);
            }
            Effect::Probe(targets) => {
                task.verdicts.retain(|target, _| targets.contains(target));
                let new: Vec<_> = targets.iter().filter(|t| !task.probed.contains(t)).cloned().collect();
                task.probed = targets;
                let life = self.life;
                for target in new {
                    let delay = self.random.millis(20, 900);
                    self.after(delay, Happening::Probe { life, key, id: target.id, kind: target.kind });
                }
            }
            Effect::AskResize => self.ask_resize(key),
            Effect::Keep(kept) => {
                let boot = self.boot_number;
                if kept.ends_at.is_none() {
                    // The pod goes on.
                    self.truth(key).deadline = None;
                }
                if let Some(end) = kept.ends_at {
                    // An end that the machine has seen to by itself.
                    let at = self.time_of(end.boot);
                    let truth = self.truth(key);
                    if !truth.told_end {
                        truth.ends_by(at);
                    }
                }
                self.ledger.keep(key, kept, boot);
            }
            Effect::Event(_) => {}
            Effect::Finished => self.check_finished(key)?,
        }
        Ok(())
    }

    // The sources.

    fn assign(&mut self, key: Key, pod: &Arc<ApiPod>, origin: Origin) {
        let now = self.now();
        if self.task(key).is_none()
            && let Some(pod) = self.ledger.removed_pod(key)
        {
            self.end_left(key, pod);
        }
        if let Some(task) = self.task(key).filter(|t| t.removed) {
            task.next = Some(Assignment::new(Arc::clone(pod), origin));
            return;
        }
        let kept = self.ledger.kept(key, pod, self.boot_number, now);
        let known = self.ledger.knows(key);
        self.ledger.assigned(key, pod, self.boot_number);
        let assignment = Assignment { pod: Arc::clone(pod), origin, kept };
        match self.task(key) {
            Some(_) => self.post(key, |letters| letters.assignment = Some(assignment)),
            None => self.start_task(key, assignment, known),
        }
    }

    /// Goes on with the end of a pod that was taken away from the last daemon.
    fn end_left(&mut self, key: Key, pod: Arc<ApiPod>) {
        self.note(|| format!("pod {key} is to be removed still"));
        let now = self.now();
        let kept = self.ledger.kept(key, &pod, self.boot_number, now);
        self.start_task(key, Assignment { pod, origin: Origin::Orphan, kept }, true);
    }

    fn start_task(&mut self, key: Key, assignment: Assignment, known: bool) {
        let machine = Pod::new(Arc::clone(&self.settings), assignment.clone(), vec!["192.0.2.2".to_owned()]);
        let Some(daemon) = &mut self.daemon else { return };
        let pod = Arc::clone(&assignment.pod);
        let mut task = Task::new(machine, assignment);
        // What a source says of an orphan is about a pod of that UID to be started anew.
        task.removed = task.origin == Origin::Orphan;
        daemon.tasks.insert(key, task);
        self.ask_node(NodeInput::Expect { uid: uid(key), pod, known });
        let is_static = self.workload.pods[key].origin == Origin::Static;
        let nothing =
            is_static && self.runtime.pod(key).containers.is_empty() && self.runtime.pod(key).logs.is_empty();
        let truth = self.truth(key);
        truth.told_end = false;
        truth.observed = false;
        if truth.finished || nothing {
            // Another life of the same UID, with nothing left of the one before.
            *truth = Truth::default();
        }
        self.post(key, |_| ());
    }

    fn remove(&mut self, key: Key, grace: Option<Duration>) {
        if let Some(task) = self.task(key) {
            task.removed = true;
            task.next = None;
        }
        self.ledger.removed(key);
        self.post(key, |letters| letters.removed = Some(grace));
    }

    pub(crate) fn listed(&mut self) -> Check {
        if !self.api.up {
            return Ok(());
        }
        let objects: Vec<(Key, Arc<ApiPod>)> =
            self.api.all().map(|(key, object)| (key, Arc::new(object.pod.clone()))).collect();
        let listed: BTreeSet<Key> = objects.iter().map(|(key, _)| *key).collect();
        self.note(|| format!("the API's list: {listed:?}"));
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        daemon.listed = true;
        let gone: Vec<Key> = daemon
            .tasks
            .iter()
            .filter(|(key, task)| task.origin == Origin::Api && !listed.contains(key))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            self.remove(key, None);
        }
        if let Some(daemon) = &self.daemon {
            let pods = &self.workload.pods;
            let gone = |key: Key| pods[key].origin == Origin::Api && !listed.contains(&key);
            self.ledger.forget_gone(gone, &daemon.tasks);
        }
        for (key, pod) in objects {
            self.assign(key, &pod, Origin::Api);
        }
        self.take_orphans()
    }

    /// The API does not answer after a start: the pods of the last run go on.
    pub(crate) fn take_up_kept(&mut self) -> Check {
        if self.daemon.as_ref().is_some_and(|d| d.listed) {
            return Ok(());
        }
        self.note(|| "the pods of the last run are taken up".to_owned());
        for (key, pod) in self.ledger.pods() {
            if self.workload.pods[key].origin == Origin::Static {
                continue;
            }
            let truth = self.truth(key);
            truth.blind = true;
            self.assign(key, &pod, Origin::Api);
        }
        self.end_removed(|origin| origin == Origin::Api);
        self.ask_node(NodeInput::Gathered);
        Ok(())
    }

    /// Goes on with the end of pods that were taken away from the last daemon.
    fn end_removed(&mut self, is_meant: impl Fn(Origin) -> bool) {
        let Some(found) = self.daemon.as_ref().and_then(|d| d.audited.clone()) else { return };
        for (key, pod) in self.ledger.removed_pods() {
            if self.task(key).is_some() || !is_meant(self.workload.pods[key].origin) {
                continue;
            }
            if found.contains_key(&key) {
                self.end_left(key, pod);
            } else {
                self.ledger.forget(key);
            }
        }
    }

    pub(crate) fn watched(&mut self, key: Key) -> Check {
        if !self.api.up || !self.daemon.as_ref().is_some_and(|d| d.listed) {
            return Ok(());
        }
        match self.api.get(key).map(|o| Arc::new(o.pod.clone())) {
            Some(pod) => self.assign(key, &pod, Origin::Api),
            None if self.task(key).is_some_and(|t| t.origin == Origin::Api && !t.removed) => {
                self.remove(key, Some(Duration::ZERO));
            }
            None => {}
        }
        Ok(())
    }

    pub(crate) fn files_read(&mut self) -> Check {
        if let Some(daemon) = &mut self.daemon {
            daemon.files_read = true;
        }
        for key in self.files.clone() {
            self.file_appeared(key)?;
        }
        self.take_orphans()
    }

    pub(crate) fn file_appeared(&mut self, key: Key) -> Check {
        if self.daemon.as_ref().is_some_and(|d| d.files_read) {
            let pod = Arc::new(self.workload.pods[key].object.clone());
            self.assign(key, &pod, Origin::Static);
        }
        Ok(())
    }

    pub(crate) fn file_vanished(&mut self, key: Key) {
        if self.daemon.as_ref().is_some_and(|d| d.files_read) {
            self.remove(key, None);
        }
    }

    /// What only the runtime has is stopped and removed, once every source has spoken.
    pub(crate) fn take_orphans(&mut self) -> Check {
        if self.daemon.as_ref().is_some_and(|d| d.listed && d.files_read) {
            self.end_removed(|_| true);
        }
        let Some(daemon) = &self.daemon else { return Ok(()) };
        let Some(found) = daemon.audited.as_ref().filter(|_| daemon.listed && daemon.files_read) else {
            return Ok(());
        };
        let on_disk = self.runtime.pods.iter().filter(|(_, p)| !p.is_nothing()).map(|(key, _)| key);
        let orphans: BTreeSet<Key> =
            found.keys().chain(on_disk).copied().filter(|key| !daemon.tasks.contains_key(key)).collect();
        for key in orphans {
            self.note(|| format!("pod {key} is an orphan"));
            let planned = &self.workload.pods[key].object.metadata;
            let metadata = ObjectMeta {
                name: planned.name.clone(),
                namespace: planned.namespace.clone(),
                uid: planned.uid.clone(),
                ..ObjectMeta::default()
            };
            let pod = Arc::new(ApiPod { metadata, ..ApiPod::default() });
            self.start_task(key, Assignment::new(pod, Origin::Orphan), false);
        }
        if let Some(daemon) = &mut self.daemon
            && !std::mem::replace(&mut daemon.swept, true)
        {
            self.ledger.forget_others(&daemon.tasks);
        }
        self.ask_node(NodeInput::Gathered);
        Ok(())
    }

    // The status writer.

    pub(crate) fn begin_sending(&mut self, key: Key) {
        let (time, life) = (self.time, self.life);
        let Some(task) = self.task(key) else { return };
        if task.sending.is_some() {
            return;
        }
        if task.send_after > time {
            let at = task.send_after - time;
            self.after(at, Happening::SendAgain { life, key });
            return;
        }
        let Some(outgoing) = task.pending.take() else { return };
        task.sending = Some(outgoing);
        let delay = self.random.millis(1, 12);
        self.after(delay, Happening::Write { life, key });
    }

    pub(crate) fn write(&mut self, key: Key) -> Check {
        let Some(outgoing) = self.task(key).and_then(|t| t.sending.clone()) else { return Ok(()) };
        let is_static = self.workload.pods[key].origin == Origin::Static;
        let life = self.life;
        let delay = self.random.millis(1, 12);
        let known = self.daemon.as_ref().and_then(|d| d.known.get(&key));
        let same = known.is_some_and(|k| merged(Some(&k.status), &outgoing.status) == k.status);
        if same || is_static {
            self.after(delay, Happening::Written { life, key, taken: true, gone: false });
            return Ok(());
        }
        if !self.api.up {
            self.after(Duration::from_secs(1), Happening::Written { life, key, taken: false, gone: false });
            return Ok(());
        }
        let conflict = self.faults.strikes(FaultKind::ApiConflict, self.time);
        if conflict && self.faults.random(FaultKind::ApiConflict).percent(50) {
            self.after(delay, Happening::Written { life, key, taken: false, gone: false });
            return Ok(());
        }
        let before = self.api.get(key).map(|o| o.version);
        let written = self.api.write_status(key, &outgoing.status).cloned();
        let gone = written.is_none();
        if let Some(written) = &written {
            self.check_written(key, written)?;
            if before != Some(written.version) {
                self.changes_made += 1;
                self.timeline
                    .note(self.time, || format!("pod {key}: the API takes status {}", outgoing.version));
                self.tell_watch(key);
            }
            if let Some(daemon) = self.daemon.as_mut().filter(|_| !conflict) {
                daemon.seen(key, &written.pod, written.version);
            }
        }
        self.after(
            delay,
            Happening::Written { life, key, taken: !conflict && !gone, gone: gone && !conflict },
        );
        Ok(())
    }

    pub(crate) fn written(&mut self, key: Key, taken: bool, gone: bool) {
        let time = self.time;
        let Some(task) = self.task(key) else { return };
        let Some(mut outgoing) = task.sending.take() else { return };
        if taken || gone {
            let input = Input::Published { version: outgoing.version, gone };
            self.post(key, |letters| letters.outcomes.push_back(input));
        } else {
            outgoing.failures += 1;
            task.send_after = time + Duration::from_millis(200) * (1 << outgoing.failures.min(5));
            task.pending.get_or_insert(outgoing);
        }
        self.begin_sending(key);
    }

    /// Sends the status again where the API shows another one.
    fn put_right(&mut self, key: Key) {
        let Some(daemon) = &mut self.daemon else { return };
        let known = daemon.known.get(&key);
        let Some(task) = daemon.tasks.get_mut(&key) else { return };
        if task.pending.is_some() || task.sending.is_some() {
            return;
        }
        let (Some(known), Some(status)) = (known, task.machine.status()) else { return };
        if merged(Some(&known.status), status) != known.status {
            let version = task.machine.version();
            task.pending = Some(Outgoing { version, status: Arc::clone(status), failures: 0 });
            self.begin_sending(key);
        }
    }

    // Probes and resizes.

    pub(crate) fn probe(&mut self, key: Key, id: String, kind: ProbeKind) -> Check {
        let time = self.time;
        let Some(run) = self.truths.get(&key).and_then(|t| t.runs.get(&id)).cloned() else { return Ok(()) };
        let Some(started) = run.started.filter(|_| run.is_running()) else { return Ok(()) };
        let life = self.life;
        let again = self.random.millis(50, 1_000);
        let Some(task) = self.task(key) else { return Ok(()) };
        let Some(target) = task.probed.iter().find(|t| t.id == id && t.kind == kind).cloned() else {
            return Ok(());
        };
        let (verdict, changes) = run.script.verdict(kind, time.saturating_sub(started));
        if let Some(success) = verdict
            && task.verdicts.insert(target, success) != Some(success)
        {
            let input = Input::Probed { id: id.clone(), kind, success };
            self.exits += u64::from(!success);
            self.post(key, |letters| letters.answers.push_back(input));
        }
        if let Some(changes) = changes {
            self.after(changes + again, Happening::Probe { life, key, id, kind });
        }
        Ok(())
    }
}
