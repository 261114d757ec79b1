//! Containers that are ended while their pod goes on: failed probes and hooks, changed definitions, resizes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Pod;
use crate::container;
use crate::now::Now;
use crate::observation::Container;

/// An order to end one run of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kill {
    /// For the `Killing` event.
    pub(crate) message: String,
    /// Boot time at which its grace period is over.
    pub(crate) ends_at: Duration,
    /// Whether its preStop hook runs first.
    pub(crate) hooks: bool,
}

impl Pod {
    /// Orders the end of a run, once.
    pub(super) fn kill(&mut self, id: &str, message: String, grace: Duration, now: Now) {
        let kill = Kill { message, ends_at: now.boot + grace, hooks: !grace.is_zero() };
        self.kills.entry(id.to_owned()).or_insert(kill);
    }

    /// Orders the end of each running container of which the spec has another definition, and its restart.
    ///
    /// Only name and image count (behaviour.md 10.7); init containers that run to completion are let be (11.5).
    pub(super) fn kill_changed(&mut self, containers: &[&Container], now: Now) {
        let pod = std::sync::Arc::clone(&self.pod);
        for c in containers {
            let Some((kind, spec)) = container::spec_named(&pod, &c.name) else { continue };
            let lasting = matches!(kind, crate::ContainerKind::Regular | crate::ContainerKind::Sidecar);
            let changed = c.hash.as_ref().is_some_and(|hash| *hash != podspec::container_hash(&spec));
            if lasting && changed {
                let message = format!("Container {} definition changed, will be restarted", c.name);
                self.forced_restarts.insert(c.id.clone());
                self.kill(&c.id, message, self.own_grace(), now);
            }
        }
    }
}
