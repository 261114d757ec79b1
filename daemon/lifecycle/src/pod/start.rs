//! One container on its way up: back-off, image, slot, create, start.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container as ContainerSpec;

use super::{Pod, SandboxWork, Stage, outcome_unknown, retry_delay};
use crate::backoff::Curve;
use crate::container::{self, ContainerKind, Needed, Waiting, Work};
use crate::effect::{Call, Effect, EventType, Hook, OpId, SlotClass};
use crate::input::{Answer, Failure, FailureKind};
use crate::now::Now;
use crate::observation::{Container, ContainerState, Observation};
use crate::status;

/// How long `ErrImagePull` is shown before it turns into `ImagePullBackOff`.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(1);

impl Pod {
    /// Brings one container nearer to running, where it should run and nothing is being done for it.
    pub(super) fn drive(
        &mut self,
        kind: ContainerKind,
        spec: &ContainerSpec,
        newest: Option<&Container>,
        (observation, sandbox): (&Observation, &str),
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let name = spec.name.as_str();
        if self.cut_starts.iter().any(|c| c.name == name) || self.is_refused(name) {
            return;
        }
        let slot = self.slots.entry(name.to_owned()).or_default();
        if !slot.is_idle() {
            return;
        }
        let retry_at = slot.retry_at.filter(|at| *at > now.boot);
        let here = newest.filter(|c| c.sandbox_id == sandbox);
        if let Some(c) = here.filter(|c| c.state == ContainerState::Created) {
            // Made by a call whose answer was lost, or just before a restart of the daemon: it is found, not doubled.
            if let Some(at) = retry_at {
                self.wake_at(at);
                return;
            }
            let call = Call::StartContainer { id: c.id.clone(), name: name.to_owned(), kind };
            let op = self.call(out, call);
            self.set_work(name, Work::Starting(op, c.id.clone()));
            return;
        }
        match newest {
            Some(c) if matches!(c.state, ContainerState::Running | ContainerState::Unknown) => return,
            Some(c) if c.state == ContainerState::Exited => {
                let forced = self.forced_restarts.contains(&c.id);
                if !forced && !container::restarts(&self.pod, kind, spec, c) {
                    // An init container that succeeded in an older sandbox runs again in the new one.
                    let rerun = kind == ContainerKind::Init && c.exit_code == 0 && here.is_none();
                    if !rerun {
                        return;
                    }
                }
            }
            _ => {}
        }
        // The last exit counts also where the container itself has been removed.
        let exited = newest.filter(|c| c.state == ContainerState::Exited).map(|c| c.id.clone());
        let slot = self.slots.get(name);
        let exited = exited.or_else(|| slot.and_then(|s| s.exit.as_ref()).map(|(id, _)| id.clone()));
        if exited.as_ref().is_some_and(|id| self.held_back(name, id, now, out)) {
            return;
        }
        if let Some(at) = retry_at {
            self.wake_at(at);
            self.show_pull_backoff(name, spec, now, out);
            return;
        }
        if let Some(target) = container::target_of(&self.pod, name)
            && observation.newest_container(target).is_none()
        {
            let message = format!("unable to find target container {target}");
            self.event(out, EventType::Warning, "Failed", format!("Error: {message}"), Some(name));
            self.fail(name, Waiting::new("CreateContainerConfigError", message), now);
            return;
        }
        if let Some(id) = exited {
            self.grant_restart(name, &id, now);
        }
        self.begin_image(name, spec, now, out);
    }

    /// Whether the restart back-off holds the container; says so once for each exit (behaviour.md 12.5).
    fn held_back(&mut self, name: &str, exited: &str, now: Now, out: &mut Vec<Effect>) -> bool {
        let curve = self.restart_curve();
        let Some(slot) = self.slots.get_mut(name) else { return false };
        if slot.granted.as_deref() == Some(exited) {
            return false;
        }
        let failed_at = slot.exit.as_ref().map_or(now.boot, |(_, at)| *at);
        let Some((delay, until)) = slot.restarts.held_until(curve, failed_at) else { return false };
        if until <= now.boot {
            return false;
        }
        let first = slot.backoff_told.as_deref() != Some(exited);
        slot.backoff_told = Some(exited.to_owned());
        let pod = podspec::long_pod_name(&self.pod);
        let message = format!(
            "back-off {} restarting failed container={name} pod={pod}, next restart at {}",
            go_duration(delay),
            now.wall_after(until.saturating_sub(now.boot)),
        );
        if first {
            let text = format!("Back-off restarting failed container {name} in pod {pod}");
            self.event(out, EventType::Warning, "BackOff", text, Some(name));
            if let Some(slot) = self.slots.get_mut(name) {
                slot.waiting = Some(Waiting::new("CrashLoopBackOff", message));
            }
        }
        self.wake_at(until);
        true
    }

    fn grant_restart(&mut self, name: &str, exited: &str, now: Now) {
        let curve = self.restart_curve();
        let Some(slot) = self.slots.get_mut(name) else { return };
        if slot.granted.as_deref() == Some(exited) {
            return;
        }
        slot.granted = Some(exited.to_owned());
        let failed_at = slot.exit.as_ref().map_or(now.boot, |(_, at)| *at);
        slot.restarts.granted(curve, failed_at, now.boot);
    }

    /// Begins with the images that the container needs.
    fn begin_image(&mut self, name: &str, spec: &ContainerSpec, now: Now, out: &mut Vec<Effect>) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.images.clear();
        }
        self.next_image(name, spec, now, out);
    }

    /// Sees to the next image that is not known to be here; with all of them the container can be made.
    fn next_image(&mut self, name: &str, spec: &ContainerSpec, now: Now, out: &mut Vec<Effect>) {
        match self.image_in_turn(name, spec) {
            None => {
                let op = self.new_op();
                self.set_work(name, Work::WaitingForSlot(op));
                out.push(Effect::AskSlot { op, class: SlotClass::Container });
            }
            Some(needed) if needed.policy == "Always" => self.ask_to_pull(name, now, out),
            Some(needed) => {
                let op = self.call(out, Call::InspectImage { image: needed.image });
                self.set_work(name, Work::InspectingImage(op));
            }
        }
    }

    fn image_in_turn(&self, name: &str, spec: &ContainerSpec) -> Option<Needed> {
        let found = self.slots.get(name).map_or(0, |slot| slot.images.len());
        container::needed_images(&self.pod, spec).into_iter().nth(found)
    }

    fn image_is_here(
        &mut self,
        name: &str,
        spec: &ContainerSpec,
        id: String,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.images.push(id);
        }
        self.next_image(name, spec, now, out);
    }

    fn ask_to_pull(&mut self, name: &str, now: Now, out: &mut Vec<Effect>) {
        let op = self.new_op();
        self.set_work(name, Work::WaitingToPull(op, now.boot));
        out.push(Effect::AskSlot { op, class: SlotClass::Pull });
    }

    fn pull(&mut self, name: &str, wanted: Duration, op: OpId, now: Now, out: &mut Vec<Effect>) {
        let Some((_, spec)) = container::spec_named(&self.pod, name) else {
            out.push(Effect::ReturnSlot { op });
            self.set_work(name, Work::Idle);
            return;
        };
        let Some(Needed { image, .. }) = self.image_in_turn(name, &spec) else {
            out.push(Effect::ReturnSlot { op });
            self.set_work(name, Work::Idle);
            return;
        };
        let text = format!("Pulling image \"{image}\"");
        self.event(out, EventType::Normal, "Pulling", text, Some(name));
        out.push(Effect::Call { op, call: Call::PullImage { image } });
        self.set_work(name, Work::PullingImage { op, wanted, begun: now.boot });
    }

    /// Turns `ErrImagePull` into `ImagePullBackOff` once it has been seen.
    fn show_pull_backoff(&mut self, name: &str, spec: &ContainerSpec, now: Now, out: &mut Vec<Effect>) {
        let Some((at, failure)) = self.slots.get(name).and_then(|slot| slot.pull_failure.clone()) else {
            return;
        };
        if at + PULL_ERROR_SHOWN > now.boot {
            self.wake_at(at + PULL_ERROR_SHOWN);
            return;
        }
        let image = self.image_in_turn(name, spec).map(|n| n.image).unwrap_or_default();
        let text = format!("Back-off pulling image \"{image}\"");
        let message = format!("{text}: {}: {}", failure.reason, failure.message);
        if let Some(slot) = self.slots.get_mut(name) {
            slot.pull_failure = None;
            slot.waiting = Some(Waiting::new("ImagePullBackOff", message));
        }
        self.event(out, EventType::Normal, "BackOff", text, Some(name));
        let error = "Error: ImagePullBackOff".to_owned();
        self.event(out, EventType::Warning, "Failed", error, Some(name));
    }

    pub(super) fn set_work(&mut self, name: &str, work: Work) {
        self.slots.entry(name.to_owned()).or_default().work = work;
    }

    pub(super) fn slot_granted(&mut self, op: OpId, now: Now, out: &mut Vec<Effect>) {
        if let SandboxWork::WaitingForSlot(o, attempt) = self.sandbox
            && o == op
        {
            self.sandbox_slot_granted(attempt, out, op);
            return;
        }
        let found = self.slots.iter().find(|(_, s)| s.work.op() == Some(op));
        match found.map(|(name, s)| (name.clone(), s.work.clone())) {
            Some((name, Work::WaitingToPull(_, wanted))) => self.pull(&name, wanted, op, now, out),
            Some((name, Work::WaitingForSlot(_))) => {
                if !self.create(&name, op, out) {
                    out.push(Effect::ReturnSlot { op });
                    self.set_work(&name, Work::Idle);
                }
            }
            // Not wanted any more.
            _ => out.push(Effect::ReturnSlot { op }),
        }
    }

    /// Asks the runtime for the container, where there is a sandbox to make it in.
    fn create(&mut self, name: &str, op: OpId, out: &mut Vec<Effect>) -> bool {
        let Some((kind, spec)) = container::spec_named(&self.pod, name) else { return false };
        let Some(observation) = &self.observation else { return false };
        let needed = container::needed_images(&self.pod, &spec);
        let ids = self.slots.get(name).map(|slot| slot.images.clone()).unwrap_or_default();
        // The spec has changed meanwhile.
        if ids.len() != needed.len() {
            return false;
        }
        let mut image_id = String::new();
        let mut volume_images = BTreeMap::new();
        for (needed, id) in needed.into_iter().zip(ids) {
            match needed.volume {
                None => image_id = id,
                Some(volume) => drop(volume_images.insert(volume, id)),
            }
        }
        let Some(sandbox) = observation.newest_sandbox().filter(|s| s.ready) else { return false };
        // While a slot was waited for, the call of an earlier daemon may have come to its end: what it made is started.
        let made = observation.newest_container(name).is_some_and(|c| match c.state {
            ContainerState::Created => c.sandbox_id == sandbox.id,
            ContainerState::Running | ContainerState::Unknown => true,
            ContainerState::Exited => false,
        });
        if made {
            return false;
        }
        let target = container::target_of(&self.pod, name);
        let target_id = target.and_then(|t| observation.newest_container(t)).map(|c| c.id.clone());
        let call = Call::CreateContainer {
            name: name.to_owned(),
            kind,
            restart_count: self.next_restart_count(observation, name),
            sandbox_id: sandbox.id.clone(),
            image_id,
            volume_images,
            pod_ips: sandbox.ips.clone(),
            target_id,
            allocated: self.resize.allocated.get(name).cloned().map(Box::new),
        };
        self.set_work(name, Work::Creating(op));
        out.push(Effect::Call { op, call });
        true
    }

    /// Survives the runtime's containers: the logs' names and the API's status know it too (behaviour.md 5.20).
    fn next_restart_count(&self, observation: &Observation, name: &str) -> u32 {
        if let Some(newest) = observation.newest_container(name) {
            return newest.restart_count.saturating_add(1);
        }
        let logged = observation.logged_restarts.get(name).copied().unwrap_or(0);
        let status = self.status.as_deref().or(self.pod.status.as_ref());
        logged.max(status.map_or(0, |s| status::restarts_after(s, name)))
    }

    pub(super) fn start_answered(
        &mut self,
        name: &str,
        outcome: Result<Answer, Failure>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(work) = self.slots.get_mut(name).map(|s| std::mem::take(&mut s.work)) else { return };
        let pod = std::sync::Arc::clone(&self.pod);
        let Some((kind, spec)) = container::spec_named(&pod, name) else {
            if let Some(op) = work.op() {
                out.push(Effect::ReturnSlot { op });
            }
            self.stale = true;
            return;
        };
        let needed = self.image_in_turn(name, &spec);
        let image = needed.map(|n| n.image).unwrap_or_default();
        match (work, outcome) {
            (Work::InspectingImage(_), outcome) => self.inspected(name, &spec, outcome, now, out),
            (Work::PullingImage { op, wanted, begun }, outcome) => {
                out.push(Effect::ReturnSlot { op });
                match outcome {
                    Ok(Answer::Pulled { id, size_bytes }) => {
                        let took = go_duration(round_millis(now.boot.saturating_sub(begun)));
                        let waited = go_duration(round_millis(now.boot.saturating_sub(wanted)));
                        let text = format!(
                            "Successfully pulled image \"{image}\" in {took} ({waited} including waiting). Image size: {size_bytes} bytes."
                        );
                        self.event(out, EventType::Normal, "Pulled", text, Some(name));
                        if let Some(slot) = self.slots.get_mut(name) {
                            slot.pulls.reset();
                            slot.pull_failure = None;
                        }
                        self.image_is_here(name, &spec, id, now, out);
                    }
                    Ok(_) => self.stale = true,
                    Err(f) => self.pull_failed(name, &image, f, now, out),
                }
            }
            (Work::Creating(op), Ok(Answer::Made { .. })) if !matches!(self.stage, Stage::Sync) => {
                // The pod's end has overtaken the create: what was made is not started any more.
                out.push(Effect::ReturnSlot { op });
                self.stale = true;
            }
            (Work::Creating(op), Ok(Answer::Made { id })) => {
                self.event(out, EventType::Normal, "Created", "Container created".to_owned(), Some(name));
                // The start goes on in the slot, and under the number, of the create.
                let call = Call::StartContainer { id: id.clone(), name: name.to_owned(), kind };
                out.push(Effect::Call { op, call });
                self.set_work(name, Work::Starting(op, id));
            }
            (Work::Creating(op), Err(f)) => {
                out.push(Effect::ReturnSlot { op });
                let reason = match f.kind {
                    FailureKind::Config => "CreateContainerConfigError",
                    _ => "CreateContainerError",
                };
                self.start_failed(name, reason, f, now, out);
            }
            (Work::Starting(op, id), Ok(_)) => {
                out.push(Effect::ReturnSlot { op });
                self.started(name, &spec, id, out);
            }
            (Work::Starting(op, _), Err(f)) => {
                out.push(Effect::ReturnSlot { op });
                self.start_failed(name, "RunContainerError", f, now, out);
            }
            (Work::PostStart(..), Ok(_)) => {}
            (Work::PostStart(_, id), Err(f)) => {
                let message = "PostStartHook failed".to_owned();
                self.event(out, EventType::Warning, "FailedPostStartHook", message, Some(name));
                if let Some(slot) = self.slots.get_mut(name) {
                    slot.waiting = Some(Waiting::new("PostStartHookError", f.message));
                    slot.awaited = None;
                }
                self.kill(&id, "FailedPostStartHook".to_owned(), self.own_grace(), now);
            }
            // An answer of the wrong kind: look again.
            (work, _) => {
                if let Work::Creating(op) = work {
                    out.push(Effect::ReturnSlot { op });
                }
                self.stale = true;
            }
        }
    }

    fn inspected(
        &mut self,
        name: &str,
        spec: &ContainerSpec,
        outcome: Result<Answer, Failure>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(Needed { image, policy, .. }) = self.image_in_turn(name, spec) else {
            self.stale = true;
            return;
        };
        let never = policy == "Never";
        match outcome {
            Ok(Answer::Image { id: Some(id) }) => {
                let text = format!(
                    "Container image \"{image}\" already present on machine and can be accessed by the pod"
                );
                self.event(out, EventType::Normal, "Pulled", text, Some(name));
                self.image_is_here(name, spec, id, now, out);
            }
            Err(f) if f.kind == FailureKind::ImageNotAllowed && !never => self.ask_to_pull(name, now, out),
            Ok(_) if !never => self.ask_to_pull(name, now, out),
            Err(f) if f.kind != FailureKind::ImageNotAllowed => self.image_failed(name, &image, f, now, out),
            refused => {
                let text = match refused {
                    Err(f) => f.message,
                    Ok(_) => format!("Container image \"{image}\" is not present with pull policy of Never"),
                };
                self.event(out, EventType::Warning, "ErrImageNeverPull", text.clone(), Some(name));
                let error = "Error: ErrImageNeverPull".to_owned();
                self.event(out, EventType::Warning, "Failed", error, Some(name));
                self.fail(name, Waiting::new("ErrImageNeverPull", text), now);
            }
        }
    }

    /// The container's process has been started; its postStart hook, where it has one, is next.
    fn started(&mut self, name: &str, spec: &ContainerSpec, id: String, out: &mut Vec<Effect>) {
        self.stale = true;
        self.event(out, EventType::Normal, "Started", "Container started".to_owned(), Some(name));
        if let Some(slot) = self.slots.get_mut(name) {
            slot.awaited = Some(id.clone());
            slot.retry_at = None;
            slot.failures = 0;
        }
        let hooked = spec.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
        if hooked && matches!(self.stage, Stage::Sync) {
            let sandbox = self.observation.as_ref().and_then(Observation::newest_sandbox);
            let pod_ips = sandbox.map(|s| s.ips.clone()).unwrap_or_default();
            let hook = Hook::PostStart;
            let op = self.call(out, Call::RunHook { id: id.clone(), name: name.to_owned(), hook, pod_ips });
            self.set_work(name, Work::PostStart(op, id));
        }
    }

    /// A create or start that brought nothing, or nobody knows what.
    fn start_failed(
        &mut self,
        name: &str,
        reason: &'static str,
        failure: Failure,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        self.stale = true;
        if failure.kind != FailureKind::Reserved {
            let error = format!("Error: {}", failure.message);
            self.event(out, EventType::Warning, "Failed", error, Some(name));
        }
        self.runtime_failed(name, reason, failure, now);
    }

    fn image_failed(&mut self, name: &str, image: &str, failure: Failure, now: Now, out: &mut Vec<Effect>) {
        let about = Some(name);
        let (reason, message) = match failure.kind {
            FailureKind::InvalidImageName => (
                "InvalidImageName",
                format!("Failed to apply default image tag \"{image}\": {}", failure.message),
            ),
            _ => ("ImageInspectError", format!("Failed to inspect image \"{image}\": {}", failure.message)),
        };
        self.event(out, EventType::Warning, "InspectFailed", message.clone(), about);
        self.event(out, EventType::Warning, "Failed", format!("Error: {reason}"), about);
        if outcome_unknown(&failure) {
            self.stale = true;
        }
        self.fail(name, Waiting { reason: reason.into(), message }, now);
    }

    fn pull_failed(&mut self, name: &str, image: &str, failure: Failure, now: Now, out: &mut Vec<Effect>) {
        if outcome_unknown(&failure) {
            // The runtime went away in the middle: that is not the registry's fault.
            self.stale = true;
            self.fail(name, Waiting::new("ErrImagePull", failure.message), now);
            return;
        }
        let about = Some(name);
        let text = format!("Failed to pull image \"{image}\": {}", failure.message);
        self.event(out, EventType::Warning, "Failed", text, about);
        // The runtime's word for it, where it has one (behaviour.md 13.7).
        let because = |why: &str| format!("image pull failed for {image} because {why}: {}", failure.message);
        let (reason, message) = match failure.kind {
            FailureKind::RegistryUnavailable => {
                ("RegistryUnavailable", because("the registry is unavailable"))
            }
            FailureKind::SignatureInvalid => {
                ("SignatureValidationFailed", because("the signature validation failed"))
            }
            _ => ("ErrImagePull", failure.message),
        };
        self.event(out, EventType::Warning, "Failed", format!("Error: {reason}"), about);
        let waiting = Waiting::new(reason, message);
        let Some(slot) = self.slots.get_mut(name) else { return };
        let curve = Curve::image();
        slot.pulls.granted(curve, now.boot, now.boot);
        let until = slot.pulls.held_until(curve, now.boot).map_or(now.boot, |(_, until)| until);
        slot.waiting = Some(waiting.clone());
        slot.pull_failure = Some((now.boot, waiting));
        slot.retry_at = Some(until);
    }

    /// A failure of create or start.
    fn runtime_failed(&mut self, name: &str, reason: &'static str, failure: Failure, now: Now) {
        if outcome_unknown(&failure) {
            // The container may exist: the next observation tells. Not the pod's fault, so nothing is shown for it.
            let Some(slot) = self.slots.get_mut(name) else { return };
            slot.failures += 1;
            slot.retry_at = Some(now.boot + retry_delay(slot.failures, 2));
            return;
        }
        self.fail(name, Waiting::new(reason, failure.message), now);
    }

    fn fail(&mut self, name: &str, waiting: Waiting, now: Now) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        slot.failures += 1;
        slot.waiting = Some(waiting);
        slot.retry_at = Some(now.boot + retry_delay(slot.failures + 3, 10));
    }
}

fn round_millis(d: Duration) -> Duration {
    Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// A duration as Go prints it: `1m20s`, `10s`, `1.5s`, `12ms`.
fn go_duration(d: Duration) -> String {
    if d < Duration::from_secs(1) {
        return format!("{}ms", d.as_millis());
    }
    let (minutes, seconds, millis) = (d.as_secs() / 60, d.as_secs() % 60, d.subsec_millis());
    let mut text = if minutes > 0 { format!("{minutes}m") } else { String::new() };
    if millis == 0 {
        text.push_str(&format!("{seconds}s"));
    } else {
        let fraction = format!("{millis:03}");
        text.push_str(&format!("{seconds}.{}s", fraction.trim_end_matches('0')));
    }
    text
}
