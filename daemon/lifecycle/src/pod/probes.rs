//! What is probed when, and what a verdict does (behaviour.md 19; the probing itself is the daemon's).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container as ContainerSpec, Probe};

use super::{Pod, Stage};
use crate::container::{self, ContainerKind, Verdicts};
use crate::effect::{Effect, ProbeKind, ProbeTarget};
use crate::now::Now;
use crate::observation::{Container, ContainerState};
use crate::status;

impl Pod {
    /// Tells the daemon what to probe, where that has changed.
    pub(super) fn tell_probes(&mut self, out: &mut Vec<Effect>) {
        let mut wanted = self.wanted_probes();
        wanted.sort_unstable();
        if wanted != self.probed {
            self.probed = wanted.clone();
            out.push(Effect::Probe(wanted));
        }
    }

    /// While the pod is being ended only readiness is still looked at (behaviour.md 18.10).
    fn wanted_probes(&self) -> Vec<ProbeTarget> {
        let ending = match self.stage {
            Stage::Sync => false,
            Stage::Terminating(_) => true,
            Stage::Terminated(_) => return Vec::new(),
        };
        let Some(observation) = &self.observation else { return Vec::new() };
        let mut wanted = Vec::new();
        for (kind, spec) in container::specs(&self.pod) {
            if !matches!(kind, ContainerKind::Regular | ContainerKind::Sidecar)
                || probes_of(&spec).all(|(_, probe)| probe.is_none())
            {
                continue;
            }
            let newest = observation.newest_container(&spec.name);
            let Some(c) = newest.filter(|c| c.state == ContainerState::Running) else { continue };
            let started = self.has_started(&spec, c);
            for (kind, probe) in probes_of(&spec) {
                let due = match kind {
                    ProbeKind::Startup => !started && !ending,
                    ProbeKind::Liveness => started && !ending && !self.kills.contains_key(&c.id),
                    ProbeKind::Readiness => started,
                };
                if probe.is_some() && due {
                    let (container, id) = (spec.name.clone(), c.id.clone());
                    wanted.push(ProbeTarget { container, id, kind, started_at: c.started_at });
                }
            }
        }
        wanted
    }

    /// Whether a running container has come up: its startup probe has succeeded, or it has none.
    pub(super) fn has_started(&self, spec: &ContainerSpec, c: &Container) -> bool {
        let slot = self.slots.get(&spec.name).map(Box::as_ref);
        let previous = self.status.as_deref().or(self.pod.status.as_ref());
        status::has_started(spec, c, slot, previous, &self.settings.runtime_name)
    }

    pub(super) fn probe_told(&mut self, id: String, kind: ProbeKind, success: bool, now: Now) {
        let Some(name) = self
            .observation
            .as_ref()
            .and_then(|o| o.containers.iter().find(|c| c.id == id))
            .map(|c| c.name.clone())
        else {
            return;
        };
        let pod = std::sync::Arc::clone(&self.pod);
        let Some((_, spec)) = container::spec_named(&pod, &name) else { return };
        if let Some(slot) = self.slots.get_mut(&name) {
            if slot.verdicts.id != id {
                slot.verdicts = Verdicts { id: id.clone(), ..Verdicts::default() };
            }
            match kind {
                ProbeKind::Startup => slot.verdicts.startup = Some(success),
                ProbeKind::Readiness => slot.verdicts.readiness = Some(success),
                ProbeKind::Liveness => {}
            }
        }
        if success || kind == ProbeKind::Readiness || !matches!(self.stage, Stage::Sync) {
            return;
        }
        let (which, probe) = match kind {
            ProbeKind::Startup => ("startup", &spec.startup_probe),
            _ => ("liveness", &spec.liveness_probe),
        };
        let again = if container::may_ever_restart(&pod) { ", will be restarted" } else { "" };
        let message = format!("Container {name} failed {which} probe{again}");
        // The probe's own grace period, where it has one, also where it is longer (behaviour.md 19.13).
        let own = probe.as_ref().and_then(|p| p.termination_grace_period_seconds);
        let grace = own.map_or_else(|| self.own_grace(), |s| Duration::from_secs(s.max(0).unsigned_abs()));
        self.kill(&id, message, grace, now);
    }
}

fn probes_of(spec: &ContainerSpec) -> impl Iterator<Item = (ProbeKind, &Option<Probe>)> {
    [
        (ProbeKind::Startup, &spec.startup_probe),
        (ProbeKind::Liveness, &spec.liveness_probe),
        (ProbeKind::Readiness, &spec.readiness_probe),
    ]
    .into_iter()
}
