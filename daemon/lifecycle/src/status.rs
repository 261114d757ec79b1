//! The status of a pod, from what was observed and what it was before (behaviour.md 5).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as ContainerSpec, ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, ContainerUser as ApiUser, HostIP, LinuxContainerUser,
    Pod as ApiPod, PodIP, PodStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::conditions;
use crate::container::{self, ContainerKind, Slot};
use crate::now::Now;
use crate::observation::{Container, ContainerState, Observation};
use crate::phase;
use crate::pod::{Cause, Settings, Stage, Termination};

pub(crate) const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";

/// Bytes that all termination messages of a pod share (behaviour.md 6.7).
const MESSAGE_BUDGET: usize = 12 * 1024;

/// What a status follows from.
pub(crate) struct View<'a> {
    pub(crate) pod: &'a ApiPod,
    pub(crate) settings: &'a Settings,
    pub(crate) host_ips: &'a [String],
    pub(crate) observation: Option<&'a Observation>,
    pub(crate) slots: &'a BTreeMap<(ContainerKind, String), Slot>,
    pub(crate) stopped: &'a BTreeSet<String>,
    pub(crate) stage: &'a Stage,
    pub(crate) forced_restarts: &'a BTreeSet<String>,
    pub(crate) previous: Option<&'a PodStatus>,
    pub(crate) now: Now,
}

pub(crate) fn compute(view: &View<'_>) -> PodStatus {
    let cause = match view.stage {
        Stage::Sync => None,
        Stage::Terminating(Termination { cause, .. }) | Stage::Terminated(cause) => Some(cause),
    };
    let mut status = view.previous.cloned().unwrap_or_default();
    status.observed_generation = view.pod.metadata.generation.or(status.observed_generation);
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
    let mut inits = container_statuses(view, ContainerKind::Init);
    let mut regulars = container_statuses(view, ContainerKind::Regular);
    if terminated {
        finish(view.pod, &mut inits, &mut regulars);
    }
    // What has ended on its own is told at once; what is being deleted only when its sandbox is gone too.
    let ending = terminated || (cause == Some(&Cause::Completed) && !may_run);
    let mut computed = phase::phase(view.pod, &inits, &regulars, ending);
    let before = view.previous.and_then(|s| s.phase.as_deref());
    if terminated && !matches!(computed, "Succeeded" | "Failed") {
        computed = "Failed";
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
        previous: view.previous,
        now: view.now.wall_seconds(),
    };
    let conditions = conditions::conditions(&facts);
    status.conditions = Some(conditions);
    status.phase = Some(computed.to_owned());
    regulars.sort_by(|a, b| a.name.cmp(&b.name));
    status.init_container_statuses = (!inits.is_empty()).then_some(inits);
    status.container_statuses = (!regulars.is_empty()).then_some(regulars);
    set_pod_resources(view.pod, &mut status);
    status
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

fn container_statuses(view: &View<'_>, wanted: ContainerKind) -> Vec<ContainerStatus> {
    let specs: Vec<&ContainerSpec> =
        container::specs(view.pod).filter(|(kind, _)| *kind == wanted).map(|(_, spec)| spec).collect();
    let all = container::specs(view.pod).count();
    let budget = MESSAGE_BUDGET / all.max(1);
    specs.into_iter().map(|spec| container_status(view, wanted, spec, budget)).collect()
}

fn container_status(
    view: &View<'_>,
    kind: ContainerKind,
    spec: &ContainerSpec,
    budget: usize,
) -> ContainerStatus {
    let previous = view.previous.and_then(|s| match kind {
        ContainerKind::Init => s.init_container_statuses.as_deref(),
        ContainerKind::Regular => s.container_statuses.as_deref(),
    });
    let previous = previous.unwrap_or_default().iter().find(|c| c.name == spec.name);
    let found = view.observation.map(|o| o.containers_named(&spec.name)).unwrap_or_default();
    let slot = view.slots.get(&(kind, spec.name.clone()));
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
            } else if let Some(p) = previous.filter(|p| p.container_id == status.container_id) {
                status.last_state = p.last_state.clone();
            } else if let Some(p) = previous.and_then(|p| p.state.as_ref()).filter(|s| s.terminated.is_some())
            {
                status.last_state = Some(p.clone());
            }
        }
        None => lost_or_waiting(view, previous, &mut status),
    }
    overlay_waiting(view, kind, slot, shown, &mut status);
    let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
    let succeeded =
        status.state.as_ref().and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code == 0);
    status.started = Some(running);
    status.ready = match kind {
        ContainerKind::Init => succeeded,
        ContainerKind::Regular => running,
    };
    if let Some(c) = shown.filter(|_| running) {
        set_running_facts(c, spec, &mut status);
    }
    status
}

/// The runtime has nothing of this container (behaviour.md 5.16, 5.19).
fn lost_or_waiting(view: &View<'_>, previous: Option<&ContainerStatus>, status: &mut ContainerStatus) {
    let waiting_reason = if container::specs(view.pod).any(|(k, _)| k == ContainerKind::Init) {
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
    slot: Option<&Slot>,
    shown: Option<&Container>,
    status: &mut ContainerStatus,
) {
    if !matches!(view.stage, Stage::Sync) {
        return;
    }
    let Some(waiting) = slot.and_then(|s| s.waiting.as_ref()) else { return };
    match shown {
        Some(c) if c.state != ContainerState::Exited => return,
        Some(c)
            if !view.forced_restarts.contains(&c.id) && !container::restarts(view.pod, kind, c.exit_code) =>
        {
            return;
        }
        _ => {}
    }
    let waiting = ContainerStateWaiting {
        reason: Some(waiting.reason.to_owned()),
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

fn set_running_facts(c: &Container, spec: &ContainerSpec, status: &mut ContainerStatus) {
    let wanted = spec.resources.clone().unwrap_or_default();
    status.allocated_resources = wanted.requests.clone().filter(|r| !r.is_empty());
    status.resources = Some(ResourceRequirements {
        limits: wanted.limits.filter(|l| !l.is_empty()),
        requests: wanted.requests.filter(|r| !r.is_empty()),
        claims: None,
    });
    status.user = c.user.as_ref().map(|user| ApiUser {
        linux: Some(LinuxContainerUser {
            uid: user.uid,
            gid: user.gid,
            supplemental_groups: (!user.supplemental_groups.is_empty())
                .then(|| user.supplemental_groups.clone()),
        }),
    });
}

/// The pod's own requests and limits, as its status shows what was allocated.
fn set_pod_resources(pod: &ApiPod, status: &mut PodStatus) {
    let requests = quantities(podspec::pod_requests(pod));
    let limits = quantities(podspec::pod_limits(pod));
    status.allocated_resources = requests.clone();
    status.resources = Some(ResourceRequirements { limits, requests, claims: None });
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
