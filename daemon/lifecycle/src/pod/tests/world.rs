//! A node in virtual time: one pod machine, the node machine, and a model of the runtime and the API around them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Lifecycle, Pod as ApiPod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    Answer, Assignment, Call, Container, ContainerState, Effect, Event, Facts, Failure, FailureKind, Hook,
    Input, Kept, Node, NodeEffect, NodeInput, Now, Observation, OpId, Origin, Pod, ProbeKind, ProbeTarget,
    PullLimits, Recording, ResizeVerdict, Sandbox, Settings, Supported,
};

/// How a container of the model behaves.
#[derive(Clone, Debug)]
pub(super) struct Behaviour {
    /// Ends by itself after this time with this code.
    pub(super) exits: Option<(Duration, i32)>,
    /// Ends this long after its stop signal; `None`: only SIGKILL ends it.
    pub(super) on_term: Option<(Duration, i32)>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { exits: None, on_term: Some((Duration::from_millis(50), 143)) }
    }
}

/// What may go wrong, as chances in a hundred.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// A call does nothing and is refused.
    pub(super) refused: u64,
    /// A call does nothing and the runtime is out of reach.
    pub(super) unavailable: u64,
    /// A call does its work and the answer is lost.
    pub(super) lost_answer: u64,
    /// A runtime event is lost.
    pub(super) lost_event: u64,
    /// No container can be removed.
    pub(super) unremovable: bool,
    /// The API server takes no status.
    pub(super) unpublished: bool,
    /// The node has no slot to lend: who asks is in `asked`.
    pub(super) slots_withheld: bool,
}

#[derive(Debug)]
enum Pending {
    Deliver(Input),
    Perform(OpId, Call),
    Exit { id: String, code: i32 },
    Audit,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct World {
    pub(super) pod: Pod,
    /// What the machine of now was told, and what it brought.
    pub(super) recording: Recording,
    pub(super) effects: Vec<Vec<Effect>>,
    node: Node,
    pub(super) boot: Duration,
    queue: BTreeMap<(Duration, u64), Pending>,
    next: u64,
    seed: u64,
    pub(super) faults: Faults,
    pub(super) runtime: Observation,
    pub(super) behaviours: BTreeMap<String, VecDeque<Behaviour>>,
    pub(super) images: Vec<String>,
    pub(super) calls: Vec<Call>,
    /// When each of them was made.
    pub(super) called_at: Vec<Duration>,
    /// How long a hook takes and whether it works, by the container's name; at once and well where none is given.
    pub(super) hooks: BTreeMap<(String, &'static str), (Duration, bool)>,
    /// What the next creates of containers, and the next sandboxes, fail with.
    pub(super) refused_creates: VecDeque<Failure>,
    pub(super) refused_sandboxes: VecDeque<Failure>,
    /// What the next calls to make the volumes bring; done where nothing is given.
    pub(super) mounts: VecDeque<Result<Answer, Failure>>,
    /// What the node says to a resize.
    pub(super) resize: ResizeVerdict,
    /// What is to be probed.
    pub(super) probed: Vec<ProbeTarget>,
    /// What is handed to the next machine.
    pub(super) kept: Kept,
    pub(super) published: Vec<Arc<PodStatus>>,
    pub(super) events: Vec<Event>,
    pub(super) deleted: bool,
    pub(super) finished: bool,
    pub(super) asked: Vec<OpId>,
    cancelled: Vec<OpId>,
}

pub(super) fn pod(spec: serde_json::Value) -> ApiPod {
    serde_json::from_value(serde_json::json!({
        "metadata": {"name": "web", "namespace": "ns", "uid": "u-1", "generation": 1},
        "spec": spec,
    }))
    .expect("a pod")
}

pub(super) fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        max_restart_period: Duration::from_secs(300),
        runtime_name: "containerd".to_owned(),
        supported: Supported { volumes: true, pod_cgroups: true },
        limited_swap: true,
        dead_containers: crate::DeadContainers::default(),
    })
}

/// A node that has room for everything.
fn facts() -> Arc<Facts> {
    let plenty = podspec::Quantity::from_units(1 << 40);
    let names = ["cpu", "memory", "ephemeral-storage", "pods"];
    let allocatable = names.map(|name| (name.to_owned(), plenty)).into();
    Arc::new(Facts { seen: true, pod_level_resources: true, allocatable, ..Facts::default() })
}

impl World {
    pub(super) fn new(object: ApiPod, seed: u64) -> Self {
        let object = Arc::new(object);
        let assignment = Assignment::new(Arc::clone(&object), Origin::Api);
        let pod = Pod::new(settings(), assignment.clone(), vec!["192.0.2.2".to_owned()]);
        let mut world = Self {
            recording: Recording::new(&pod),
            effects: Vec::new(),
            pod,
            node: Node::new(PullLimits::default(), Vec::new(), facts()),
            boot: Duration::from_secs(1000),
            queue: BTreeMap::new(),
            next: 0,
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1),
            faults: Faults::default(),
            runtime: Observation::default(),
            behaviours: BTreeMap::new(),
            images: vec!["img".to_owned()],
            calls: Vec::new(),
            called_at: Vec::new(),
            hooks: BTreeMap::new(),
            refused_creates: VecDeque::new(),
            refused_sandboxes: VecDeque::new(),
            mounts: VecDeque::new(),
            resize: ResizeVerdict::Allowed,
            probed: Vec::new(),
            kept: Kept::default(),
            published: Vec::new(),
            events: Vec::new(),
            deleted: false,
            finished: false,
            asked: Vec::new(),
            cancelled: Vec::new(),
        };
        world.at(Duration::ZERO, Pending::Deliver(Input::Assigned(assignment)));
        world.at(Duration::from_secs(1), Pending::Audit);
        world
    }

    pub(super) fn now(&self) -> Now {
        let wall = 1_700_000_000_000_i64 + i64::try_from(self.boot.as_millis()).expect("a short run");
        Now { boot: self.boot, wall: Timestamp::from_millisecond(wall).expect("a time") }
    }

    fn wall_nanos(&self) -> i64 {
        i64::try_from(self.now().wall.as_nanosecond()).expect("a time of this century")
    }

    /// xorshift: the same seed gives the same run.
    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random(100) < percent
    }

    fn at(&mut self, delay: Duration, what: Pending) {
        self.next += 1;
        self.queue.insert((self.boot + delay, self.next), what);
    }

    /// A new daemon: the machine is lost, the runtime and the API are as they were.
    pub(super) fn restart_daemon(&mut self) {
        let status = self.published.last().map(|status| PodStatus::clone(status));
        self.restart_daemon_with(status.or_else(|| self.pod.spec().status.clone()));
    }

    /// The same, where the API server shows an older status.
    pub(super) fn restart_daemon_that_is_shown(&mut self, status: PodStatus) {
        self.restart_daemon_with(Some(status));
    }

    fn restart_daemon_with(&mut self, status: Option<PodStatus>) {
        let mut object = ApiPod::clone(self.pod.spec());
        object.status = status;
        let lost: Vec<Pending> = self
            .queue
            .extract_if(.., |_, p| !matches!(p, Pending::Exit { .. } | Pending::Audit))
            .map(|(_, p)| p)
            .collect();
        for pending in lost {
            if let Pending::Perform(_, Call::StartContainer { id, .. }) = pending
                && self.chance(50)
            {
                self.cut_start(&id);
            }
        }
        self.node = Node::new(PullLimits::default(), Vec::new(), facts());
        let mut assignment = Assignment::new(Arc::new(object), Origin::Api);
        assignment.kept = self.kept.clone();
        self.pod = Pod::new(settings(), assignment.clone(), vec!["192.0.2.2".to_owned()]);
        self.recording = Recording::new(&self.pod);
        self.effects.clear();
        self.cancelled.clear();
        self.at(Duration::ZERO, Pending::Deliver(Input::Assigned(assignment)));
    }

    /// A new daemon to which no source tells of the pod: what the runtime has of it is an orphan.
    pub(super) fn restart_daemon_without_the_object(&mut self) {
        self.restart_daemon();
        self.queue.retain(|_, p| matches!(p, Pending::Exit { .. } | Pending::Audit));
        let metadata = self.pod.spec().metadata.clone();
        let object = ApiPod { metadata, ..ApiPod::default() };
        let assignment = Assignment::new(Arc::new(object), Origin::Orphan);
        self.pod = Pod::new(settings(), assignment.clone(), vec!["192.0.2.2".to_owned()]);
        self.recording = Recording::new(&self.pod);
        self.deliver(Input::Assigned(assignment));
    }

    /// What containerd makes of a start whose caller goes away.
    pub(super) fn cut_start(&mut self, id: &str) {
        let now = self.wall_nanos();
        if let Some(c) = self.runtime.containers.iter_mut().find(|c| c.id == id) {
            c.state = ContainerState::Exited;
            c.exit_code = 128;
            c.finished_at = now;
            c.reason = "StartError".to_owned();
            c.message =
                "failed to create containerd task: failed to create shim task: context canceled".to_owned();
        }
    }

    pub(super) fn assign(&mut self, change: impl FnOnce(&mut ApiPod)) {
        let mut object = ApiPod::clone(self.pod.spec());
        change(&mut object);
        let assignment = Assignment::new(Arc::new(object), Origin::Api);
        self.at(Duration::ZERO, Pending::Deliver(Input::Assigned(assignment)));
    }

    pub(super) fn delete(&mut self, grace: i64) {
        let now = self.now().wall;
        self.assign(|pod| {
            pod.metadata.deletion_timestamp = Some(Time(now));
            pod.metadata.deletion_grace_period_seconds = Some(grace);
        });
    }

    pub(super) fn deliver(&mut self, input: Input) {
        self.at(Duration::ZERO, Pending::Deliver(input));
    }

    /// Runs until `done` holds; panics where it does not within `limit`.
    pub(super) fn until(&mut self, limit: Duration, what: &str, done: impl Fn(&Self) -> bool) {
        let end = self.boot + limit;
        while !done(self) {
            assert!(self.advance(end), "{what}: not within {limit:?}\n{}", self.describe());
        }
    }

    /// Runs everything that happens within `span`.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.boot + span;
        while self.advance(end) {}
        self.boot = end;
    }

    fn describe(&self) -> String {
        format!("calls {:#?}\nruntime {:#?}\nmachine {:#?}", self.calls, self.runtime, self.pod)
    }

    /// Takes the next thing that happens, if it is due by `end`.
    fn advance(&mut self, end: Duration) -> bool {
        if self.finished {
            return false;
        }
        let wakes = [self.pod.next_wake(), self.node.next_wake()];
        let wake = wakes.into_iter().flatten().min();
        let event = self.queue.keys().next().map(|(at, _)| *at);
        let Some(next) = [wake, event].into_iter().flatten().min() else { return false };
        if next > end {
            return false;
        }
        self.boot = self.boot.max(next);
        if event.is_some_and(|at| wake.is_none_or(|w| at <= w)) {
            if let Some((_, pending)) = self.queue.pop_first() {
                self.happen(pending);
            }
        } else {
            self.step(Input::Tick);
            let effects = self.node.step(NodeInput::Tick, self.now());
            self.node_effects(effects);
        }
        self.check();
        true
    }

    fn happen(&mut self, pending: Pending) {
        match pending {
            Pending::Deliver(input) => self.step(input),
            Pending::Perform(op, call) => self.perform(op, call),
            Pending::Exit { id, code } => {
                let now = self.wall_nanos();
                let Some(c) = self.runtime.containers.iter_mut().find(|c| c.id == id) else { return };
                if c.state == ContainerState::Running {
                    c.state = ContainerState::Exited;
                    c.exit_code = code;
                    c.finished_at = now;
                    let lost = self.faults.lost_event;
                    if !self.chance(lost) {
                        self.deliver(Input::RuntimeChanged);
                    }
                }
            }
            Pending::Audit => {
                self.deliver(Input::RuntimeChanged);
                self.at(Duration::from_secs(10), Pending::Audit);
            }
        }
    }

    fn step(&mut self, input: Input) {
        let effects = self.pod.step(input.clone(), self.now());
        self.recording.note(&self.pod, input, self.now(), &effects);
        if self.recording.is_empty() {
            self.effects.clear();
        } else {
            self.effects.push(effects.clone());
        }
        for effect in effects {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Admit { adopt } => {
                let pod = Arc::clone(self.pod.spec());
                let input = NodeInput::Admit { uid: "u-1".into(), pod, adopt };
                let effects = self.node.step(input, self.now());
                self.node_effects(effects);
            }
            Effect::AskSlot { op, .. } if self.faults.slots_withheld => self.asked.push(op),
            Effect::AskSlot { op, class } => {
                let effects = self.node.step(NodeInput::AskSlot { uid: "u-1".into(), op, class }, self.now());
                self.node_effects(effects);
            }
            Effect::ReturnSlot { op } => {
                let effects = self.node.step(NodeInput::ReturnSlot { uid: "u-1".into(), op }, self.now());
                self.node_effects(effects);
            }
            Effect::Call { op, call } => {
                self.calls.push(call.clone());
                self.called_at.push(self.boot);
                let mut delay = Duration::from_millis(1 + self.random(40));
                if let Call::RunHook { name, hook, .. } = &call {
                    delay = self.hook(name, *hook).0;
                }
                self.at(delay, Pending::Perform(op, call));
            }
            Effect::Cancel { op } => self.cancelled.push(op),
            Effect::Publish { version, status } => {
                self.published.push(status);
                if !self.faults.unpublished {
                    let taken = Pending::Deliver(Input::Published { version, gone: false });
                    self.at(Duration::from_millis(5), taken);
                }
            }
            Effect::Event(event) => self.events.push(event),
            Effect::Probe(targets) => self.probed = targets,
            Effect::AskResize => self.deliver(Input::Resized(self.resize.clone())),
            Effect::Keep(kept) => self.kept = kept,
            Effect::Finished => self.finished = true,
        }
    }

    fn node_effects(&mut self, effects: Vec<NodeEffect>) {
        for effect in effects {
            match effect {
                NodeEffect::Admitted { .. } => self.deliver(Input::Admitted),
                NodeEffect::Slot { op, .. } => self.deliver(Input::Slot { op }),
                NodeEffect::Refused { reason, message, .. } => {
                    self.deliver(Input::Refused { reason, message });
                }
                NodeEffect::End { reason, message, grace, .. } => {
                    self.deliver(Input::Kill { reason, message, grace, disrupts: true });
                }
                NodeEffect::ShutdownOver => {}
                NodeEffect::Resized { verdict, .. } => self.deliver(Input::Resized(verdict)),
                NodeEffect::Event { event, .. } => self.events.push(event),
                NodeEffect::RereadNode => {
                    let effects = self.node.step(NodeInput::NodeRead, self.now());
                    self.node_effects(effects);
                }
            }
        }
    }

    fn answer(&mut self, op: OpId, outcome: Result<Answer, Failure>) {
        if !self.cancelled.contains(&op) {
            self.at(Duration::from_millis(1), Pending::Deliver(Input::Answered { op, outcome }));
        }
    }

    fn perform(&mut self, op: OpId, call: Call) {
        let faults = self.faults;
        if self.chance(faults.refused) && !matches!(call, Call::DeleteObject | Call::RemoveDirs { .. }) {
            return self.answer(op, Err(failure(FailureKind::Refused, "the runtime refused")));
        }
        if self.chance(faults.unavailable) {
            return self.answer(op, Err(failure(FailureKind::Unavailable, "the runtime is away")));
        }
        let outcome = self.carry_out(op, call);
        let Some(outcome) = outcome else { return };
        if self.chance(faults.lost_answer) {
            return self.answer(op, Err(failure(FailureKind::Deadline, "no answer in time")));
        }
        self.answer(op, outcome);
    }

    /// Does what the runtime would; `None` where the answer comes by itself later.
    pub(super) fn carry_out(&mut self, op: OpId, call: Call) -> Option<Result<Answer, Failure>> {
        let now = self.wall_nanos();
        Some(match call {
            Call::Observe => Ok(Answer::Observed(self.runtime.clone())),
            Call::RunSandbox { attempt, .. } => {
                if let Some(failure) = self.refused_sandboxes.pop_front() {
                    return Some(Err(failure));
                }
                if self.runtime.sandboxes.iter().any(|s| s.attempt == attempt) {
                    return Some(Err(failure(FailureKind::Reserved, "name is reserved")));
                }
                let id = format!("s{attempt}");
                self.runtime.sandboxes.push(Sandbox {
                    id: id.clone(),
                    attempt,
                    created_at: now,
                    ready: true,
                    host_network: false,
                    ips: vec![format!("10.88.0.{attempt}")],
                });
                Ok(Answer::Made { id })
            }
            Call::StopSandbox { id } => match self.runtime.sandboxes.iter_mut().find(|s| s.id == id) {
                Some(s) => {
                    s.ready = false;
                    Ok(Answer::Done)
                }
                None => Err(failure(FailureKind::NotFound, "no such sandbox")),
            },
            Call::RemoveSandbox { id } => {
                self.runtime.sandboxes.retain(|s| s.id != id);
                Ok(Answer::Done)
            }
            Call::InspectImage { image } => {
                let id = self.images.contains(&image).then(|| format!("sha256:{image}"));
                Ok(Answer::Image { id })
            }
            Call::PullImage { image } if image.starts_with("missing") => {
                Err(failure(FailureKind::Refused, "no such image"))
            }
            Call::PullImage { image } => {
                self.images.push(image.clone());
                Ok(Answer::Pulled { id: format!("sha256:{image}"), size_bytes: 7 })
            }
            Call::CreateContainer { name, restart_count, sandbox_id, image_id, .. } => {
                if let Some(failure) = self.refused_creates.pop_front() {
                    return Some(Err(failure));
                }
                let taken = self.runtime.containers.iter().any(|c| {
                    c.name == name && c.sandbox_id == sandbox_id && c.restart_count == restart_count
                });
                if taken {
                    return Some(Err(failure(FailureKind::Reserved, "name is reserved")));
                }
                if !self.runtime.sandboxes.iter().any(|s| s.id == sandbox_id && s.ready) {
                    return Some(Err(failure(FailureKind::Refused, "the sandbox is not ready")));
                }
                let id = format!("{name}-{sandbox_id}-{restart_count}");
                let spec = crate::container::specs(self.pod.spec()).find(|(_, s)| s.name == name);
                let hash = spec.as_ref().map(|(_, s)| podspec::container_hash(s));
                let hooked = |l: &Lifecycle| l.pre_stop.is_some();
                let pre_stop = spec.is_some_and(|(_, s)| s.lifecycle.as_ref().is_some_and(hooked));
                self.runtime.containers.push(Container {
                    id: id.clone(),
                    name,
                    sandbox_id,
                    restart_count,
                    state: ContainerState::Created,
                    created_at: now,
                    started_at: 0,
                    finished_at: 0,
                    exit_code: 0,
                    reason: String::new(),
                    message: String::new(),
                    image: "img".to_owned(),
                    image_id,
                    hash,
                    user: None,
                    stop_signal: None,
                    resources: None,
                    pre_stop,
                });
                Ok(Answer::Made { id })
            }
            Call::StartContainer { id, name, .. } => {
                let Some(c) = self.runtime.containers.iter_mut().find(|c| c.id == id) else {
                    return Some(Err(failure(FailureKind::NotFound, "no such container")));
                };
                if c.state != ContainerState::Created {
                    return Some(Err(failure(FailureKind::Refused, "not in created state")));
                }
                c.state = ContainerState::Running;
                c.started_at = now;
                let behaviour = self.behaviour(&name, true);
                if let Some((after, code)) = behaviour.exits {
                    self.at(after, Pending::Exit { id, code });
                }
                Ok(Answer::Done)
            }
            Call::StopContainer { id, grace } => {
                let Some(c) = self.runtime.containers.iter().find(|c| c.id == id) else {
                    return Some(Err(failure(FailureKind::NotFound, "no such container")));
                };
                if c.state != ContainerState::Running {
                    return Some(Ok(Answer::Done));
                }
                let name = c.name.clone();
                let behaviour = self.behaviour(&name, false);
                let (after, code) = behaviour.on_term.filter(|(d, _)| *d <= grace).unwrap_or((grace, 137));
                self.at(after, Pending::Exit { id, code });
                let input = Input::Answered { op, outcome: Ok(Answer::Done) };
                self.at(after + Duration::from_millis(1), Pending::Deliver(input));
                return None;
            }
            Call::RemoveContainer { .. } if self.faults.unremovable => {
                Err(failure(FailureKind::Refused, "it is busy"))
            }
            Call::RemoveContainer { id, name, restart_count, keep_logs } => {
                self.runtime.containers.retain(|c| c.id != id);
                if keep_logs {
                    self.runtime.logged_restarts.insert(name, restart_count + 1);
                }
                Ok(Answer::Done)
            }
            Call::MountVolumes => self.mounts.pop_front().unwrap_or(Ok(Answer::Done)),
            Call::RemoveDirs { .. }
            | Call::UnmountVolumes
            | Call::RemoveCgroup
            | Call::UpdateResources { .. }
            | Call::UpdatePod { .. } => Ok(Answer::Done),
            Call::RunHook { name, hook, .. } if self.hook(&name, hook).1 => Ok(Answer::Done),
            Call::RunHook { .. } => Err(failure(FailureKind::Refused, "the hook failed")),
            Call::DeleteObject => {
                self.deleted = true;
                Ok(Answer::Done)
            }
        })
    }

    fn hook(&self, name: &str, hook: Hook) -> (Duration, bool) {
        let key = (name.to_owned(), if hook == Hook::PreStop { "preStop" } else { "postStart" });
        self.hooks.get(&key).copied().unwrap_or((Duration::from_millis(1), true))
    }

    /// The calls so far in words, those that only look left out.
    pub(super) fn told(&self) -> Vec<String> {
        let looks = |c: &&Call| matches!(c, Call::Observe | Call::InspectImage { .. });
        self.calls.iter().filter(|c| !looks(c)).map(crate::tell::call).collect()
    }

    /// When the calls were made whose words begin with `text`.
    pub(super) fn times(&self, text: &str) -> Vec<Duration> {
        let all = self.calls.iter().zip(&self.called_at);
        all.filter(|(c, _)| crate::tell::call(c).starts_with(text)).map(|(_, at)| *at).collect()
    }

    /// The status of a container of any kind, as it was last published.
    pub(super) fn container(&self, name: &str) -> &ContainerStatus {
        let status = self.last();
        let lists = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        lists.into_iter().flatten().flatten().find(|c| c.name == name).expect("a container of that name")
    }

    /// The status and reason of a condition, as they were last published.
    pub(super) fn condition(&self, kind: &str) -> Option<(String, String)> {
        let found = self.last().conditions.iter().flatten().find(|c| c.type_ == kind)?;
        Some((found.status.clone(), found.reason.clone().unwrap_or_default()))
    }

    /// The id of the run of a container that runs now.
    pub(super) fn running(&self, name: &str) -> Option<String> {
        let found = self.runtime.newest_container(name)?;
        (found.state == ContainerState::Running).then(|| found.id.clone())
    }

    /// A verdict on the run of a container that runs now.
    pub(super) fn probe(&mut self, name: &str, kind: ProbeKind, success: bool) {
        let id = self.running(name).expect("it runs");
        self.deliver(Input::Probed { id, kind, success });
    }

    /// Takes the next behaviour of `name` off its list; the last one stays.
    fn behaviour(&mut self, name: &str, next: bool) -> Behaviour {
        let Some(list) = self.behaviours.get_mut(name) else { return Behaviour::default() };
        if next && list.len() > 1 {
            list.pop_front().unwrap_or_default()
        } else {
            list.front().cloned().unwrap_or_default()
        }
    }

    pub(super) fn last(&self) -> &PodStatus {
        self.published.last().expect("a status was published")
    }

    pub(super) fn phase(&self) -> &str {
        self.published.last().and_then(|s| s.phase.as_deref()).unwrap_or("")
    }

    pub(super) fn starts(&self, name: &str) -> usize {
        let started = |c: &&Call| matches!(c, Call::StartContainer { name: n, .. } if n == name);
        self.calls.iter().filter(started).count()
    }

    fn check(&self) {
        self.one_container_of_a_name_runs_at_a_time();
        self.a_terminal_phase_is_never_left_and_nothing_runs_in_it();
        self.restart_counts_never_go_back();
    }

    fn one_container_of_a_name_runs_at_a_time(&self) {
        let mut running: Vec<&str> = self
            .runtime
            .containers
            .iter()
            .filter(|c| c.state == ContainerState::Running)
            .map(|c| c.name.as_str())
            .collect();
        running.sort_unstable();
        let all = running.len();
        running.dedup();
        assert_eq!(running.len(), all, "two containers of one name run\n{}", self.describe());
    }

    fn a_terminal_phase_is_never_left_and_nothing_runs_in_it(&self) {
        let terminal = |s: &PodStatus| matches!(s.phase.as_deref(), Some("Succeeded" | "Failed"));
        let Some(first) = self.published.iter().position(|s| terminal(s)) else { return };
        assert!(self.published[first..].iter().all(|s| terminal(s)), "a terminal phase was left");
        let running = self.runtime.containers.iter().any(|c| c.state == ContainerState::Running);
        assert!(!running, "a container runs in a terminal phase\n{}", self.describe());
    }

    fn restart_counts_never_go_back(&self) {
        let counts = |s: &PodStatus| -> BTreeMap<String, i32> {
            let all = s.container_statuses.iter().chain(s.init_container_statuses.iter()).flatten();
            all.map(|c| (c.name.clone(), c.restart_count)).collect()
        };
        for pair in self.published.windows(2) {
            let before = counts(&pair[0]);
            for (name, count) in counts(&pair[1]) {
                assert!(
                    count >= before.get(&name).copied().unwrap_or(0),
                    "{name} went back to {count} restarts"
                );
            }
        }
    }
}

fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure { kind, message: message.to_owned() }
}
