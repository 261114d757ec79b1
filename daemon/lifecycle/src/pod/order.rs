//! In which order the containers of a pod are stopped (behaviour.md 11.9).
//!
//! Everything but sidecars stops at once. A sidecar waits until nothing else runs and every sidecar behind it has ended,
//! or the grace period is over.

use crate::container::{self, ContainerKind};
use crate::observation::{Container, ContainerState, Observation};
use k8s_openapi::api::core::v1::Pod as ApiPod;

/// Whether `c` may be stopped now, as far as the others go.
pub(super) fn is_its_turn(pod: &ApiPod, observation: &Observation, c: &Container) -> bool {
    let sidecars: Vec<String> = container::specs(pod)
        .filter(|(kind, _)| *kind == ContainerKind::Sidecar)
        .map(|(_, spec)| spec.name.clone())
        .collect();
    let Some(place) = sidecars.iter().position(|name| *name == c.name) else { return true };
    let runs = |name: &str| {
        let lives = |c: &Container| matches!(c.state, ContainerState::Running | ContainerState::Unknown);
        observation.containers.iter().any(|c| c.name == name && lives(c))
    };
    let regulars = container::specs(pod).filter(|(kind, _)| *kind == ContainerKind::Regular);
    let mut before = regulars.map(|(_, spec)| spec.name.clone()).chain(sidecars[place + 1..].iter().cloned());
    !before.any(|name| runs(&name))
}
