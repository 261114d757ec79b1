//! The status of a pod, from what was observed and what it was before (behaviour.md 5).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as ContainerSpec, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, ContainerUser as ApiUser, HostIP, LinuxContainerUser,
    Pod as ApiPod, PodIP, PodStatus, ResourceRequirements, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::conditions;
use crate::container::{self, ContainerKind, Slot, Waiting};
use crate::now::Now;
use crate::observation::{Container, ContainerState, Observation};
use crate::phase;
use crate::pod::{Cause, Resize, Settings, Stage, Termination, restart_all, total};

pub(crate) const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// Bytes that all termination messages of a pod share (behaviour.md 6.7).
const MESSAGE_BUDGET: usize = 12 * 1024;

/// What a status follows from.
pub(crate) struct View<'a> {
    pub(crate) pod: &'a ApiPod,
    pub(crate) settings: &'a Settings,
    pub(crate) host_ips: &'a [String],
    pub(crate) observation: Option<&'a Observation>,
    pub(crate) slots: &'a BTreeMap<String, Box<Slot>>,
    pub(crate) stopped: &'a BTreeSet<String>,
    pub(crate) stage: &'a Stage,
    /// Whether the observation shows everything that was begun.
    pub(crate) settled: bool,
    pub(crate) forced_restarts: &'a BTreeSet<String>,
    pub(crate) resize: &'a Resize,
    pub(crate) previous: Option<&'a PodStatus>,
    pub(crate) now: Now,
}

pub(crate) fn compute(view: &View<'_>) -> PodStatus {
    let cause = match view.stage {
        Stage::Sync => None,
        Stage::Terminating(Termination { cause, .. }) | Stage::Terminated(cause) => Some(cause),
    };
    let mut status = view.previous.cloned().unwrap_or_default();
    // Never less than was told (behaviour.md 5.12).
    status.observed_generation = status.observed_generation.max(view.pod.metadata.generation);
    status.start_time.get_or_insert_with(|| Time(view.now.wall_seconds()));
    status.qos_class.get_or_insert_with(|| podspec::qos_class(view.pod).to_string());
    set_addresses(view, &mut status);

    let terminated = matches!(view.stage, Stage::Terminated(_));
    let may_run = view.observation.is_some_and(Observation::may_run);
    if let Some(Cause::Refused { reason, message }) = cause {
        status.phase = Some("Failed".to_owned());
        status.reason = Some(reason.clone());
        status.message = Some(message.clone());
        return status;
    }
    if cause == Some(&Cause::AlreadyTerminal)
        && view.observation.is_some_and(|o| o.containers.is_empty())
        && let Some(previous) = view.previous
    {
        // Whoever ended it has said all there is to say; nothing here knows better (behaviour.md 4.3).
        return previous.clone();
    }
    let mut inits = container_statuses(view, &[ContainerKind::Init, ContainerKind::Sidecar]);
    let mut regulars = container_statuses(view, &[ContainerKind::Regular]);
    let mut ephemerals = container_statuses(view, &[ContainerKind::Ephemeral]);
    if terminated {
        finish(view.pod, &mut inits, &mut regulars);
    }
    // What has ended on its own is told at once; what is being deleted only when its sandbox is gone too.
    let ending = terminated || (cause == Some(&Cause::Completed) && !may_run && view.settled);
    let mut computed = phase::phase(view.pod, &inits, &regulars, ending);
    let before = view.previous.and_then(|s| s.phase.as_deref());
    if terminated && !matches!(computed, "Succeeded" | "Failed") {
        computed = "Failed";
    }
    let mut disrupted = None;
    if let Some(Cause::Killed { reason, message, disrupts }) = cause
        && terminated
    {
        disrupted = disrupts.then_some(message.as_str());
        // What was done when the node went down stays done; an evicted pod has failed in any case.
        if computed != "Succeeded" || reason != "Terminated" {
            computed = "Failed";
            status.reason = Some(reason.clone());
            status.message = Some(message.clone());
        }
    }
    if cause == Some(&Cause::DeadlineExceeded) && terminated {
        computed = "Failed";
        status.reason = Some("DeadlineExceeded".to_owned());
        status.message = Some(DEADLINE_MESSAGE.to_owned());
    }
    let terminal = matches!(computed, "Succeeded" | "Failed");
    if let Some(before @ ("Succeeded" | "Failed")) = before {
        // A terminal phase is never left (behaviour.md 5.4).
        computed = if before == "Succeeded" { "Succeeded" } else { "Failed" };
    } else if terminal && !ending {
        // Withheld while anything may run or start (behaviour.md 6.3).
        computed =
            if before == Some("Running") || cause == Some(&Cause::Completed) { "Running" } else { "Pending" };
    }
    let sandbox_ready = view
        .observation
        .and_then(Observation::newest_sandbox)
        .is_some_and(|s| s.ready && !view.stopped.contains(&s.id) && (s.host_network || !s.ips.is_empty()));
    let facts = conditions::Facts {
        pod: view.pod,
        phase: computed,
        sandbox_ready,
        inits: &inits,
        regulars: &regulars,
        restarting_all: restarting_all(view),
        resize: view.resize,
        disrupted,
        previous: view.previous,
        now: view.now.wall_seconds(),
    };
    let conditions = conditions::conditions(&facts);
    status.conditions = Some(conditions);
    status.phase = Some(computed.to_owned());
    regulars.sort_by(|a, b| a.name.cmp(&b.name));
    ephemerals.sort_by(|a, b| a.name.cmp(&b.name));
    status.init_container_statuses = (!inits.is_empty()).then_some(inits);
    status.container_statuses = (!regulars.is_empty()).then_some(regulars);
    status.ephemeral_container_statuses = (!ephemerals.is_empty()).then_some(ephemerals);
    set_pod_resources(view.pod, view.resize, &mut status);
    status
}

/// Whether all containers are being restarted by a rule.
fn restarting_all(view: &View<'_>) -> bool {
    let observation = view.observation.filter(|_| matches!(view.stage, Stage::Sync));
    observation.is_some_and(|o| restart_all::is_asked_for(view.pod, o))
}

/// Addresses are kept once known: through the end of the sandbox and of the pod (behaviour.md 5.15).
fn set_addresses(view: &View<'_>, status: &mut PodStatus) {
    if !view.host_ips.is_empty() {
        status.host_ip = view.host_ips.first().cloned();
        status.host_ips = Some(view.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
    }
    let sandbox = view.observation.and_then(Observation::newest_sandbox);
    let host_network = view.pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
    let ips = match sandbox {
        Some(_) if host_network => view.host_ips,
        Some(s) => &s.ips,
        None => &[],
    };
    if !ips.is_empty() {
        status.pod_ip = ips.first().cloned();
        status.pod_ips = Some(ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect());
    }
}

fn container_statuses(view: &View<'_>, wanted: &[ContainerKind]) -> Vec<ContainerStatus> {
    let all = container::specs(view.pod).count();
    let budget = MESSAGE_BUDGET / all.max(1);
    container::specs(view.pod)
        .filter(|(kind, _)| wanted.contains(kind))
        .map(|(kind, spec)| container_status(view, kind, &spec, budget))
        .collect()
}

/// What a status says of the container `name`.
fn status_named<'a>(status: &'a PodStatus, name: &str) -> Option<&'a ContainerStatus> {
    let lists =
        [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|c| c.name == name)
}

/// The restart count of the next run of a container of which the runtime has nothing, as far as its status knows.
pub(crate) fn restarts_after(status: &PodStatus, name: &str) -> u32 {
    let Some(container) = status_named(status, name) else { return 0 };
    let count = u32::try_from(container.restart_count).unwrap_or(0);
    // A run that was lost has been counted already.
    let ended = container.state.as_ref().is_some_and(|s| s.terminated.is_some());
    if ended { count.saturating_add(1) } else { count }
}

/// Whether a running container has come up: its startup probe has succeeded, or it has none.
pub(crate) fn has_started(
    spec: &ContainerSpec,
    c: &Container,
    slot: Option<&Slot>,
    previous: Option<&PodStatus>,
    runtime: &str,
) -> bool {
    if spec.startup_probe.is_none() {
        return true;
    }
    match slot.and_then(|s| s.verdicts_of(&c.id)).and_then(|v| v.startup) {
        Some(verdict) => verdict,
        // What an earlier daemon found holds until there is new evidence.
        None => same_run(previous, c, runtime).is_some_and(|p| p.started == Some(true)),
    }
}

fn is_ready(
    spec: &ContainerSpec,
    c: &Container,
    slot: Option<&Slot>,
    previous: Option<&PodStatus>,
    runtime: &str,
) -> bool {
    if spec.readiness_probe.is_none() {
        return true;
    }
    match slot.and_then(|s| s.verdicts_of(&c.id)).and_then(|v| v.readiness) {
        Some(verdict) => verdict,
        None => same_run(previous, c, runtime).is_some_and(|p| p.ready),
    }
}

/// What was last said of this very run of a container.
fn same_run<'a>(
    previous: Option<&'a PodStatus>,
    c: &Container,
    runtime: &str,
) -> Option<&'a ContainerStatus> {
    let id = format!("{runtime}://{}", c.id);
    status_named(previous?, &c.name).filter(|p| p.container_id.as_ref() == Some(&id))
}

fn container_status(
    view: &View<'_>,
    kind: ContainerKind,
    spec: &ContainerSpec,
    budget: usize,
) -> ContainerStatus {
    let previous = view.previous.and_then(|s| status_named(s, &spec.name));
    let found = view.observation.map(|o| o.containers_named(&spec.name)).unwrap_or_default();
    let slot = view.slots.get(&spec.name).map(Box::as_ref);
    let runtime = &view.settings.runtime_name;

    let mut status = ContainerStatus {
        name: spec.name.clone(),
        image: spec.image.clone().unwrap_or_default(),
        last_state: Some(ApiState::default()),
        started: Some(false),
        ..ContainerStatus::default()
    };
    // A container that was made but never started says nothing yet: what was before it counts.
    let shown = found.iter().copied().find(|c| c.state != ContainerState::Created);
    let older = found.iter().copied().filter(|c| Some(c.id.as_str()) != shown.map(|s| s.id.as_str()));
    let before = older.into_iter().find(|c| c.state == ContainerState::Exited);
    match shown {
        Some(c) => {
            status.image = c.image.clone();
            status.image_id = c.image_id.clone();
            status.container_id = Some(format!("{runtime}://{}", c.id));
            status.restart_count = i32::try_from(c.restart_count).unwrap_or(i32::MAX);
            status.state = Some(state(c, runtime, budget));
            if let Some(b) = before {
                status.last_state = Some(terminated(ended(b, runtime, budget)));
            } else if let Some(p) = previous {
                // The runtime has lost the run before, or it was removed: what was said of it holds.
                let ended = p.state.clone().filter(|s| s.terminated.is_some());
                let same = p.container_id == status.container_id;
                let last = p.last_state.clone().filter(|s| s.terminated.is_some());
                status.last_state = ended.filter(|_| !same).or(last).or(Some(ApiState::default()));
            }
        }
        None => lost_or_waiting(view, kind, previous, &mut status),
    }
    overlay_waiting(view, kind, spec, slot, shown, &mut status);
    let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
    let succeeded =
        status.state.as_ref().and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code == 0);
    let run = shown.filter(|_| running);
    let started = run.is_some_and(|c| has_started(spec, c, slot, view.previous, runtime));
    status.started = (kind != ContainerKind::Ephemeral).then_some(started);
    status.ready = match kind {
        ContainerKind::Init => succeeded,
        ContainerKind::Sidecar | ContainerKind::Regular => {
            started && run.is_some_and(|c| is_ready(spec, c, slot, view.previous, runtime))
        }
        ContainerKind::Ephemeral => false,
    };
    status.volume_mounts = volume_mounts(spec);
    if let Some(c) = shown.filter(|_| running) {
        set_running_facts(view, c, spec, &mut status);
    }
    status
}

/// The runtime has nothing of this container (behaviour.md 5.16, 5.19).
fn lost_or_waiting(
    view: &View<'_>,
    kind: ContainerKind,
    previous: Option<&ContainerStatus>,
    status: &mut ContainerStatus,
) {
    let is_init = |k: ContainerKind| matches!(k, ContainerKind::Init | ContainerKind::Sidecar);
    let waiting_reason =
        if kind != ContainerKind::Ephemeral && container::specs(view.pod).any(|(k, _)| is_init(k)) {
            "PodInitializing"
        } else {
            "ContainerCreating"
        };
    let waiting = ApiState {
        waiting: Some(ContainerStateWaiting { reason: Some(waiting_reason.to_owned()), message: None }),
        ..ApiState::default()
    };
    let Some(p) = previous else {
        status.state = Some(waiting);
        return;
    };
    status.restart_count = p.restart_count;
    status.last_state = p.last_state.clone().or(Some(ApiState::default()));
    let old = p.state.clone().unwrap_or_default();
    if old.terminated.is_some() {
        status.state = Some(old);
        status.container_id = p.container_id.clone();
        status.image = p.image.clone();
        status.image_id = p.image_id.clone();
        return;
    }
    let begun = || {
        let observation = view.observation.filter(|_| kind == ContainerKind::Init);
        observation.is_some_and(|o| {
            container::specs(view.pod)
                .any(|(k, s)| k == ContainerKind::Regular && o.newest_container(&s.name).is_some())
        })
    };
    if begun() {
        // What came after it would not be there without it (behaviour.md 5.19).
        status.state = Some(terminated(ContainerStateTerminated {
            exit_code: 0,
            reason: Some("Completed".to_owned()),
            message: Some(
                "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally".to_owned(),
            ),
            ..ContainerStateTerminated::default()
        }));
        return;
    }
    status.state = Some(waiting);
    if old.running.is_some() {
        let deleted = view.pod.metadata.deletion_timestamp.is_some();
        let lost = ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some(
                "The container could not be located when the pod was deleted.  The container used to be Running".to_owned(),
            ),
            ..ContainerStateTerminated::default()
        };
        status.last_state = Some(terminated(lost));
        if !deleted {
            status.restart_count += 1;
        }
    }
}

/// Shows why a container that should run does not; what it was before moves to the last state (behaviour.md 5.17).
fn overlay_waiting(
    view: &View<'_>,
    kind: ContainerKind,
    spec: &ContainerSpec,
    slot: Option<&Slot>,
    shown: Option<&Container>,
    status: &mut ContainerStatus,
) {
    if !matches!(view.stage, Stage::Sync) {
        return;
    }
    let anew = restarting_all(view) && kind != ContainerKind::Ephemeral;
    let anew = anew.then(|| Waiting::new("RestartingAllContainers", String::new()));
    let Some(waiting) = anew.as_ref().or(slot.and_then(|s| s.waiting.as_ref())) else { return };
    match shown {
        Some(c) if c.state != ContainerState::Exited => return,
        Some(_) if anew.is_some() => {}
        Some(c) if !view.forced_restarts.contains(&c.id) && !container::restarts(view.pod, kind, spec, c) => {
            return;
        }
        _ => {}
    }
    let waiting = ContainerStateWaiting {
        reason: Some(waiting.reason.to_string()),
        message: (!waiting.message.is_empty()).then(|| waiting.message.clone()),
    };
    let old = status.state.replace(ApiState { waiting: Some(waiting), ..ApiState::default() });
    if let Some(old) = old.filter(|s| s.terminated.is_some()) {
        status.last_state = Some(old);
    }
    if shown.is_some() {
        // The id of a container that is not shown as state any more stands in its last state only.
        status.container_id = status
            .last_state
            .as_ref()
            .and_then(|s| s.terminated.as_ref())
            .and_then(|t| t.container_id.clone())
            .or(status.container_id.take());
    }
}

/// Every mount of the spec; of those that are read-only, whether what is mounted below them is too (behaviour.md 5.27).
fn volume_mounts(spec: &ContainerSpec) -> Option<Vec<VolumeMountStatus>> {
    let mounts = spec.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    let told = mounts.iter().map(|mount| {
        let read_only = mount.read_only.filter(|on| *on);
        let recursive = match mount.recursive_read_only.as_deref() {
            Some("Enabled" | "IfPossible") => "Enabled",
            _ => "Disabled",
        };
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only,
            recursive_read_only: read_only.map(|_| recursive.to_owned()),
            ..VolumeMountStatus::default()
        }
    });
    Some(told.collect())
}

fn state(c: &Container, runtime: &str, budget: usize) -> ApiState {
    match c.state {
        ContainerState::Running | ContainerState::Unknown | ContainerState::Created => ApiState {
            running: Some(ContainerStateRunning { started_at: time(c.started_at) }),
            ..ApiState::default()
        },
        ContainerState::Exited => terminated(ended(c, runtime, budget)),
    }
}

fn terminated(ended: ContainerStateTerminated) -> ApiState {
    ApiState { terminated: Some(ended), ..ApiState::default() }
}

fn ended(c: &Container, runtime: &str, budget: usize) -> ContainerStateTerminated {
    let reason = match (c.reason.as_str(), c.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (told, _) => told,
    };
    ContainerStateTerminated {
        container_id: Some(format!("{runtime}://{}", c.id)),
        exit_code: c.exit_code,
        reason: Some(reason.to_owned()),
        message: (!c.message.is_empty()).then(|| cut(&c.message, budget).to_owned()),
        // What never started is shown with the beginning of the epoch, as a kubelet shows it.
        started_at: Timestamp::from_second(c.started_at.max(0).div_euclid(1_000_000_000)).ok().map(Time),
        finished_at: time(c.finished_at),
        signal: None,
    }
}

/// The longest start of `text` of at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Nanoseconds since the epoch as the API writes a time: whole seconds, nothing for what has not happened.
fn time(nanos: i64) -> Option<Time> {
    if nanos <= 0 {
        return None;
    }
    Timestamp::from_second(nanos.div_euclid(1_000_000_000)).ok().map(Time)
}

fn set_running_facts(view: &View<'_>, c: &Container, spec: &ContainerSpec, status: &mut ContainerStatus) {
    let allowed = view.resize.allocated_of(spec).cloned().unwrap_or_default();
    let has = view.resize.actuated.get(&spec.name).cloned().unwrap_or_else(|| allowed.clone());
    status.allocated_resources = allowed.requests.filter(|r| !r.is_empty());
    status.resources = Some(ResourceRequirements {
        limits: has.limits.filter(|l| !l.is_empty()),
        requests: has.requests.filter(|r| !r.is_empty()),
        claims: None,
    });
    status.stop_signal.clone_from(&c.stop_signal);
    status.user = c.user.as_ref().map(|user| ApiUser {
        linux: Some(LinuxContainerUser {
            uid: user.uid,
            gid: user.gid,
            supplemental_groups: (!user.supplemental_groups.is_empty())
                .then(|| user.supplemental_groups.clone()),
        }),
    });
}

/// The pod's own requests and limits: what it is allowed, and what it has.
fn set_pod_resources(pod: &ApiPod, resize: &Resize, status: &mut PodStatus) {
    let pod = total::as_allowed(pod, resize);
    let requests = quantities(podspec::pod_requests(&pod));
    let limits = quantities(podspec::pod_limits(&pod));
    status.allocated_resources = requests.clone();
    let mut has = ResourceRequirements { limits, requests, claims: None };
    if let Some(actuated) = &resize.actuated_pod {
        for (shown, actual) in [(&mut has.limits, &actuated.limits), (&mut has.requests, &actuated.requests)]
        {
            let mut all = shown.take().unwrap_or_default();
            all.retain(|name, _| !matches!(name.as_str(), "cpu" | "memory"));
            all.extend(actual.iter().flatten().map(|(name, amount)| (name.clone(), amount.clone())));
            *shown = Some(all).filter(|all| !all.is_empty());
        }
    }
    status.resources = Some(has);
}

fn quantities(list: podspec::ResourceList) -> Option<BTreeMap<String, Quantity>> {
    let list: BTreeMap<String, Quantity> =
        list.iter().map(|(k, v)| (k.clone(), Quantity(v.to_string()))).collect();
    (!list.is_empty()).then_some(list)
}

/// The last word about containers that nothing is known of: a pod that had begun reports them as failed
/// (behaviour.md 4.12).
fn finish(pod: &ApiPod, inits: &mut [ContainerStatus], regulars: &mut [ContainerStatus]) {
    let moved = |c: &ContainerStatus| {
        let past = c.last_state.as_ref().is_some_and(|s| s.terminated.is_some());
        past || c.state.as_ref().is_some_and(|s| s.waiting.is_none())
    };
    let has_inits = container::specs(pod).any(|(k, _)| k == ContainerKind::Init);
    let inits_done = inits.last().is_none_or(|c| c.ready);
    let begun = !has_inits || inits_done || regulars.iter().any(moved);
    // Inits up to the last one that shows a sign of life.
    let lived = inits.iter().rposition(moved).map_or(0, |i| i + 1);
    let unknown: Vec<&mut ContainerStatus> = if begun {
        inits.iter_mut().chain(regulars.iter_mut()).collect()
    } else {
        inits.iter_mut().take(lived).collect()
    };
    for status in unknown {
        if status.state.as_ref().is_some_and(|s| s.terminated.is_some()) {
            continue;
        }
        status.state = Some(terminated(ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some("The container could not be located when the pod was terminated".to_owned()),
            ..ContainerStateTerminated::default()
        }));
        status.ready = false;
        status.started = Some(false);
    }
}
