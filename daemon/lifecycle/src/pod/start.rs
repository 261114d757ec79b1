//! One container on its way up: back-off, image, slot, create, start.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container as ContainerSpec;

use super::{Pod, SandboxWork, outcome_unknown, retry_delay};
use crate::backoff::Curve;
use crate::container::{self, ContainerKind, Waiting, Work};
use crate::effect::{Call, Effect, EventType, OpId, SlotClass};
use crate::input::{Answer, Failure, FailureKind};
use crate::now::Now;
use crate::observation::{Container, ContainerState, Observation};

type Key = (ContainerKind, String);

/// How long `ErrImagePull` is shown before it turns into `ImagePullBackOff`.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(1);

impl Pod {
    /// Brings one container nearer to running, where it should run and nothing is being done for it.
    pub(super) fn drive(
        &mut self,
        kind: ContainerKind,
        spec: &ContainerSpec,
        newest: Option<&Container>,
        sandbox: &str,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let key = (kind, spec.name.clone());
        let slot = self.slots.entry(key.clone()).or_default();
        if !slot.is_idle() || self.cut_starts.iter().any(|c| c.name == spec.name) {
            return;
        }
        let here = newest.filter(|c| c.sandbox_id == sandbox);
        if let Some(c) = here.filter(|c| c.state == ContainerState::Created) {
            // Made by a call whose answer was lost, or just before a restart of the daemon: it is found, not doubled.
            if let Some(at) = slot.retry_at.filter(|at| *at > now.boot) {
                self.wake_at(at);
                return;
            }
            let call = Call::StartContainer { id: c.id.clone(), name: spec.name.clone(), kind };
            let op = self.call(out, call);
            self.set_work(&key, Work::Starting(op));
            return;
        }
        match newest {
            Some(c) if matches!(c.state, ContainerState::Running | ContainerState::Unknown) => return,
            Some(c) if c.state == ContainerState::Exited => {
                let forced = self.forced_restarts.contains(&c.id);
                if !forced && !container::restarts(&self.pod, kind, c.exit_code) {
                    // An init container that succeeded in an older sandbox runs again in the new one.
                    let rerun = kind == ContainerKind::Init && c.exit_code == 0 && here.is_none();
                    if !rerun {
                        return;
                    }
                }
                if self.held_back(&key, c, now, out) {
                    return;
                }
            }
            _ => {}
        }
        let slot = self.slots.entry(key.clone()).or_default();
        if let Some(at) = slot.retry_at.filter(|at| *at > now.boot) {
            self.wake_at(at);
            self.show_pull_backoff(&key, spec, now, out);
            return;
        }
        if let Some(c) = newest.filter(|c| c.state == ContainerState::Exited) {
            self.grant_restart(&key, c, now);
        }
        self.begin_image(&key, spec, now, out);
    }

    /// Whether the restart back-off holds the container; says so once for each exit (behaviour.md 12.5).
    fn held_back(&mut self, key: &Key, exited: &Container, now: Now, out: &mut Vec<Effect>) -> bool {
        let curve = self.restart_curve();
        let Some(slot) = self.slots.get_mut(key) else { return false };
        if slot.granted.as_deref() == Some(exited.id.as_str()) {
            return false;
        }
        let failed_at = slot.exit.as_ref().map_or(now.boot, |(_, at)| *at);
        let Some((delay, until)) = slot.restarts.held_until(curve, failed_at) else { return false };
        if until <= now.boot {
            return false;
        }
        let first = slot.backoff_told.as_deref() != Some(exited.id.as_str());
        slot.backoff_told = Some(exited.id.clone());
        let name = key.1.clone();
        let pod = self.long_name();
        let message = format!(
            "back-off {} restarting failed container={name} pod={pod}, next restart at {}",
            go_duration(delay),
            now.wall_after(until.saturating_sub(now.boot)),
        );
        if first {
            let text = format!("Back-off restarting failed container {name} in pod {pod}");
            self.event(out, EventType::Warning, "BackOff", text, Some((key.0, &name)));
            if let Some(slot) = self.slots.get_mut(key) {
                slot.waiting = Some(Waiting { reason: "CrashLoopBackOff", message });
            }
        }
        self.wake_at(until);
        true
    }

    fn grant_restart(&mut self, key: &Key, exited: &Container, now: Now) {
        let curve = self.restart_curve();
        let Some(slot) = self.slots.get_mut(key) else { return };
        if slot.granted.as_deref() == Some(exited.id.as_str()) {
            return;
        }
        slot.granted = Some(exited.id.clone());
        let failed_at = slot.exit.as_ref().map_or(now.boot, |(_, at)| *at);
        slot.restarts.granted(curve, failed_at, now.boot);
    }

    fn begin_image(&mut self, key: &Key, spec: &ContainerSpec, now: Now, out: &mut Vec<Effect>) {
        let image = spec.image.clone().unwrap_or_default();
        if pull_policy(spec) == "Always" {
            self.pull(key, image, now, out);
        } else {
            let op = self.call(out, Call::InspectImage { image });
            self.set_work(key, Work::InspectingImage(op));
        }
    }

    fn pull(&mut self, key: &Key, image: String, now: Now, out: &mut Vec<Effect>) {
        let text = format!("Pulling image \"{image}\"");
        self.event(out, EventType::Normal, "Pulling", text, Some((key.0, &key.1)));
        let op = self.call(out, Call::PullImage { image });
        self.set_work(key, Work::PullingImage(op, now.boot));
    }

    /// Turns `ErrImagePull` into `ImagePullBackOff` once it has been seen.
    fn show_pull_backoff(&mut self, key: &Key, spec: &ContainerSpec, now: Now, out: &mut Vec<Effect>) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let Some((at, failure)) = slot.pull_failure.clone() else { return };
        if at + PULL_ERROR_SHOWN > now.boot {
            self.wake_at(at + PULL_ERROR_SHOWN);
            return;
        }
        slot.pull_failure = None;
        let text = format!("Back-off pulling image \"{}\"", spec.image.as_deref().unwrap_or_default());
        let message = format!("{text}: {}: {}", failure.reason, failure.message);
        slot.waiting = Some(Waiting { reason: "ImagePullBackOff", message });
        self.event(out, EventType::Normal, "BackOff", text, Some((key.0, &key.1)));
        let error = "Error: ImagePullBackOff".to_owned();
        self.event(out, EventType::Warning, "Failed", error, Some((key.0, &key.1)));
    }

    pub(super) fn set_work(&mut self, key: &Key, work: Work) {
        self.slots.entry(key.clone()).or_default().work = work;
    }

    pub(super) fn slot_granted(&mut self, op: OpId, out: &mut Vec<Effect>) {
        if let SandboxWork::WaitingForSlot(o, attempt) = self.sandbox
            && o == op
        {
            self.sandbox_slot_granted(attempt, out, op);
            return;
        }
        let found = self.slots.iter().find_map(|(key, s)| match &s.work {
            Work::WaitingForSlot(o, image_id) if *o == op => Some((key.clone(), image_id.clone())),
            _ => None,
        });
        let Some((key, image_id)) = found else {
            // Not wanted any more.
            out.push(Effect::ReturnSlot { op });
            return;
        };
        let Some(observation) = &self.observation else {
            out.push(Effect::ReturnSlot { op });
            self.set_work(&key, Work::Idle);
            return;
        };
        let Some(sandbox) = observation.newest_sandbox().filter(|s| s.ready) else {
            out.push(Effect::ReturnSlot { op });
            self.set_work(&key, Work::Idle);
            return;
        };
        let (kind, name) = key.clone();
        let restart_count = self.next_restart_count(observation, &name);
        let call = Call::CreateContainer {
            name,
            kind,
            restart_count,
            sandbox_id: sandbox.id.clone(),
            image_id,
            pod_ips: sandbox.ips.clone(),
        };
        self.set_work(&key, Work::Creating(op));
        out.push(Effect::Call { op, call });
    }

    /// Survives the runtime's containers: the logs' names and the API's status know it too (behaviour.md 5.20).
    fn next_restart_count(&self, observation: &Observation, name: &str) -> u32 {
        if let Some(newest) = observation.newest_container(name) {
            return newest.restart_count.saturating_add(1);
        }
        observation.logged_restarts.get(name).copied().unwrap_or(0)
    }

    pub(super) fn start_answered(
        &mut self,
        key: &Key,
        outcome: Result<Answer, Failure>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(work) = self.slots.get_mut(key).map(|s| std::mem::take(&mut s.work)) else { return };
        let Some(spec) =
            container::specs(&self.pod).find(|(k, s)| (*k, &s.name) == (key.0, &key.1)).map(|(_, s)| s)
        else {
            self.stale = true;
            return;
        };
        let image = spec.image.clone().unwrap_or_default();
        let never_pull = pull_policy(spec) == "Never";
        let about = Some((key.0, key.1.as_str()));
        match (work, outcome) {
            (Work::InspectingImage(_), Ok(Answer::Image { id: Some(id) })) => {
                let text = format!(
                    "Container image \"{image}\" already present on machine and can be accessed by the pod"
                );
                self.event(out, EventType::Normal, "Pulled", text, about);
                self.ask_slot(key, id, out);
            }
            (Work::InspectingImage(_), Ok(_)) if never_pull => {
                let text = format!("Container image \"{image}\" is not present with pull policy of Never");
                self.event(out, EventType::Warning, "ErrImageNeverPull", text.clone(), about);
                self.event(out, EventType::Warning, "Failed", "Error: ErrImageNeverPull".to_owned(), about);
                self.fail(key, Waiting { reason: "ErrImageNeverPull", message: text }, now);
            }
            (Work::InspectingImage(_), Ok(_)) => self.pull(key, image, now, out),
            (Work::InspectingImage(_), Err(f)) => self.image_failed(key, &image, f, now, out),
            (Work::PullingImage(_, since), Ok(Answer::Pulled { id, size_bytes })) => {
                let took = go_duration(round_millis(now.boot.saturating_sub(since)));
                let text = format!(
                    "Successfully pulled image \"{image}\" in {took} ({took} including waiting). Image size: {size_bytes} bytes."
                );
                self.event(out, EventType::Normal, "Pulled", text, about);
                if let Some(slot) = self.slots.get_mut(key) {
                    slot.pulls.reset();
                    slot.pull_failure = None;
                }
                self.ask_slot(key, id, out);
            }
            (Work::PullingImage(..), Err(f)) => self.pull_failed(key, &image, f, now, out),
            (Work::Creating(op), Ok(Answer::Made { id })) => {
                self.event(out, EventType::Normal, "Created", "Container created".to_owned(), about);
                // The start goes on in the slot, and under the number, of the create.
                let call = Call::StartContainer { id, name: key.1.clone(), kind: key.0 };
                out.push(Effect::Call { op, call });
                self.set_work(key, Work::Starting(op));
            }
            (Work::Creating(op), Err(f)) => {
                out.push(Effect::ReturnSlot { op });
                self.stale = true;
                let reason = match f.kind {
                    FailureKind::Config => "CreateContainerConfigError",
                    _ => "CreateContainerError",
                };
                if f.kind != FailureKind::Reserved {
                    self.event(out, EventType::Warning, "Failed", format!("Error: {}", f.message), about);
                }
                self.runtime_failed(key, reason, f, now);
            }
            (Work::Starting(op), Ok(_)) => {
                out.push(Effect::ReturnSlot { op });
                self.stale = true;
                self.event(out, EventType::Normal, "Started", "Container started".to_owned(), about);
                if let Some(slot) = self.slots.get_mut(key) {
                    slot.waiting = None;
                    slot.retry_at = None;
                    slot.failures = 0;
                }
            }
            (Work::Starting(op), Err(f)) => {
                out.push(Effect::ReturnSlot { op });
                self.stale = true;
                if f.kind != FailureKind::Reserved {
                    self.event(out, EventType::Warning, "Failed", format!("Error: {}", f.message), about);
                }
                self.runtime_failed(key, "RunContainerError", f, now);
            }
            // An answer of the wrong kind: look again.
            (Work::Idle | Work::WaitingForSlot(..) | Work::PullingImage(..) | Work::Creating(_), _) => {
                self.stale = true
            }
        }
    }

    fn ask_slot(&mut self, key: &Key, image_id: String, out: &mut Vec<Effect>) {
        let op = self.new_op();
        self.set_work(key, Work::WaitingForSlot(op, image_id));
        out.push(Effect::AskSlot { op, class: SlotClass::Container });
    }

    fn image_failed(&mut self, key: &Key, image: &str, failure: Failure, now: Now, out: &mut Vec<Effect>) {
        let about = Some((key.0, key.1.as_str()));
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
        self.fail(key, Waiting { reason, message }, now);
    }

    fn pull_failed(&mut self, key: &Key, image: &str, failure: Failure, now: Now, out: &mut Vec<Effect>) {
        if outcome_unknown(&failure) {
            // The runtime went away in the middle: that is not the registry's fault.
            self.stale = true;
            self.fail(key, Waiting { reason: "ErrImagePull", message: failure.message }, now);
            return;
        }
        let about = Some((key.0, key.1.as_str()));
        let text = format!("Failed to pull image \"{image}\": {}", failure.message);
        self.event(out, EventType::Warning, "Failed", text, about);
        self.event(out, EventType::Warning, "Failed", "Error: ErrImagePull".to_owned(), about);
        let waiting = Waiting { reason: "ErrImagePull", message: failure.message };
        let Some(slot) = self.slots.get_mut(key) else { return };
        let curve = Curve::image();
        slot.pulls.granted(curve, now.boot, now.boot);
        let until = slot.pulls.held_until(curve, now.boot).map_or(now.boot, |(_, until)| until);
        slot.waiting = Some(waiting.clone());
        slot.pull_failure = Some((now.boot, waiting));
        slot.retry_at = Some(until);
    }

    /// A failure of create or start.
    fn runtime_failed(&mut self, key: &Key, reason: &'static str, failure: Failure, now: Now) {
        if outcome_unknown(&failure) {
            // The container may exist: the next observation tells. Not the pod's fault, so nothing is shown for it.
            let Some(slot) = self.slots.get_mut(key) else { return };
            slot.failures += 1;
            slot.retry_at = Some(now.boot + retry_delay(slot.failures, 2));
            return;
        }
        self.fail(key, Waiting { reason, message: failure.message }, now);
    }

    fn fail(&mut self, key: &Key, waiting: Waiting, now: Now) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        slot.failures += 1;
        slot.waiting = Some(waiting);
        slot.retry_at = Some(now.boot + retry_delay(slot.failures + 3, 10));
    }
}

fn pull_policy(spec: &ContainerSpec) -> &str {
    spec.image_pull_policy.as_deref().unwrap_or("IfNotPresent")
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
