//! Inputs and effects in words.

use std::time::Duration;

use crate::effect::{Call, Effect, Hook, ProbeKind};
use crate::input::{Answer, Input, ResizeVerdict};
use crate::observation::{ContainerState, Observation};

/// What was told to the machine; `None` where it says nothing by itself.
pub(crate) fn input(input: &Input) -> Option<String> {
    Some(match input {
        Input::Assigned(assignment) => {
            let meta = &assignment.pod.metadata;
            let generation = meta.generation.map(|g| format!(", generation {g}")).unwrap_or_default();
            let leaving = if meta.deletion_timestamp.is_some() { ", to be deleted" } else { "" };
            format!("the source has the pod{generation}{leaving}")
        }
        Input::Removed { .. } => "the source has the pod no more".to_owned(),
        Input::Admitted => "the node admits the pod".to_owned(),
        Input::Refused { reason, message } => format!("the node refuses the pod: {reason}: {message}"),
        Input::Kill { reason, message, .. } => format!("the node ends the pod: {reason}: {message}"),
        Input::Trim { ids } => format!("the node wants the room of {} dead containers", ids.len()),
        Input::Probed { id, kind, success } => {
            let verdict = if *success { "succeeded" } else { "failed" };
            format!("{} probe of {} {verdict}", probe(*kind), short(id))
        }
        Input::Resized(ResizeVerdict::Allowed) => "the resize is allowed".to_owned(),
        Input::Resized(ResizeVerdict::Deferred { message }) => format!("the resize has to wait: {message}"),
        Input::Resized(ResizeVerdict::Infeasible { message }) => {
            format!("the resize is not possible: {message}")
        }
        Input::RuntimeChanged => "the runtime has news".to_owned(),
        Input::RuntimeBack => "the runtime answers again".to_owned(),
        Input::Slot { .. } => "a slot is free".to_owned(),
        Input::Answered { outcome: Ok(answer), .. } => told(answer),
        Input::Answered { outcome: Err(failure), .. } => {
            format!("it failed ({:?}): {}", failure.kind, failure.message)
        }
        Input::Published { gone: true, .. } => "the API server has the pod no more".to_owned(),
        Input::Published { version, .. } => format!("the API server has status {version}"),
        Input::ObjectsChanged => "a config map, secret or runtime class has changed".to_owned(),
        Input::HostIps(ips) => format!("the node's addresses are {}", ips.join(", ")),
        Input::Tick => "a deadline has come".to_owned(),
    })
}

/// Whether an input is only worth a line where it brought something.
pub(crate) fn is_dull(input: &Input) -> bool {
    matches!(
        input,
        Input::Tick
            | Input::RuntimeChanged
            | Input::Slot { .. }
            | Input::Published { gone: false, .. }
            | Input::HostIps(_)
            | Input::Answered { outcome: Ok(Answer::Done | Answer::Observed(_)), .. }
            | Input::Assigned(_)
    )
}

fn told(answer: &Answer) -> String {
    match answer {
        Answer::Observed(seen) => format!("the runtime has {}", observation(seen)),
        Answer::Made { id } => format!("it is made: {}", short(id)),
        Answer::Image { id: Some(_) } => "the image is there".to_owned(),
        Answer::Image { id: None } => "the image is not there".to_owned(),
        Answer::Pulled { size_bytes, .. } => format!("the image is pulled, {size_bytes} bytes"),
        Answer::Mounted { .. } => "the volumes are there".to_owned(),
        Answer::Done => "it is done".to_owned(),
    }
}

fn observation(seen: &Observation) -> String {
    let mut parts: Vec<String> = seen
        .sandboxes
        .iter()
        .map(|s| format!("sandbox {}{}", short(&s.id), if s.ready { "" } else { " (not ready)" }))
        .collect();
    parts.extend(seen.containers.iter().map(|c| {
        let state = match c.state {
            ContainerState::Created => "created".to_owned(),
            ContainerState::Running => "running".to_owned(),
            // The usual words say no more than the code.
            ContainerState::Exited if !["", "Completed", "Error"].contains(&&*c.reason) => {
                format!("exited {} ({})", c.exit_code, c.reason)
            }
            ContainerState::Exited => format!("exited {}", c.exit_code),
            ContainerState::Unknown => "unknown".to_owned(),
        };
        format!("{}#{} {state}", c.name, c.restart_count)
    }));
    if parts.is_empty() { "nothing of it".to_owned() } else { parts.join(", ") }
}

/// What the machine wants done; `None` for what nobody needs to read.
pub(crate) fn effect(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::Admit { adopt: true } => "adopt it".to_owned(),
        Effect::Admit { adopt: false } => "ask the node for admission".to_owned(),
        Effect::AskSlot { class, .. } => format!("ask for a slot ({class:?})"),
        Effect::ReturnSlot { .. } => return None,
        Effect::Call { call: Call::Observe, .. } => return None,
        Effect::Call { call, .. } => self::call(call),
        Effect::Cancel { .. } => "give up a call".to_owned(),
        Effect::Publish { version, status } => {
            format!("publish status {version} ({})", status.phase.as_deref().unwrap_or("no phase"))
        }
        Effect::Event(event) => format!("event {}", event.reason),
        Effect::Probe(targets) => format!("probe {}", targets.len()),
        Effect::AskResize => "ask the node for other resources".to_owned(),
        Effect::Keep(_) => return None,
        Effect::Finished => "nothing is left".to_owned(),
    })
}

/// A call in words.
pub(crate) fn call(call: &Call) -> String {
    match call {
        Call::Observe => "look at the runtime".to_owned(),
        Call::MountVolumes => "mount the volumes".to_owned(),
        Call::RemoveCgroup => "remove the pod's cgroup".to_owned(),
        Call::UnmountVolumes => "unmount the volumes".to_owned(),
        Call::UpdatePod { resource, .. } => format!("give the pod other {resource:?}"),
        Call::RunSandbox { attempt, .. } => format!("run sandbox, attempt {attempt}"),
        Call::StopSandbox { id } => format!("stop sandbox {}", short(id)),
        Call::RemoveSandbox { id } => format!("remove sandbox {}", short(id)),
        Call::InspectImage { image } => format!("look for image {image}"),
        Call::PullImage { image } => format!("pull image {image}"),
        Call::CreateContainer { name, restart_count, .. } => format!("create {name}#{restart_count}"),
        Call::StartContainer { name, .. } => format!("start {name}"),
        Call::RunHook { name, hook: Hook::PostStart, .. } => format!("run the postStart hook of {name}"),
        Call::RunHook { name, hook: Hook::PreStop, .. } => format!("run the preStop hook of {name}"),
        Call::UpdateResources { name, resource, .. } => format!("give {name} other {resource:?}"),
        Call::StopContainer { id, grace } => format!("stop {} within {}", short(id), seconds(*grace)),
        Call::RemoveContainer { name, restart_count, .. } => format!("remove {name}#{restart_count}"),
        Call::RemoveDirs { logs: false } => "remove the pod's directories".to_owned(),
        Call::RemoveDirs { logs: true } => "remove the pod's logs".to_owned(),
        Call::DeleteObject => "delete the API object".to_owned(),
    }
}

fn probe(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "startup",
        ProbeKind::Liveness => "liveness",
        ProbeKind::Readiness => "readiness",
    }
}

/// As runtimes' tools show ids.
fn short(id: &str) -> &str {
    id.get(..13).unwrap_or(id)
}

fn seconds(d: Duration) -> String {
    format!("{}s", d.as_secs())
}
