//! A container that no spec has any more, restored from the annotations that were written when it was made (behaviour.md 10.6, 18.9).
//!
//! Whoever wrote them, this program or a kubelet, may have been of any version, and anybody with access to the runtime may have
//! written others: what cannot be read is told, and costs the hook.
//!
//! Only what a preStop hook needs is restored. The grace periods beside it (`io.kubernetes.pod.terminationGracePeriod`,
//! `deletionGracePeriod`) are not: an orphan has a second, whatever they say (4.14).

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, ContainerPort, Lifecycle, LifecycleHandler};
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::container_config::{PORTS, PRE_STOP};

/// Longer ones are not looked at: an API object as a whole cannot be so large.
const MAX_BYTES: usize = 1 << 20;

/// Why an annotation cannot be used.
#[derive(Debug, Error)]
pub(super) enum RestoreError {
    /// It is too long.
    #[error("annotation {key} is {bytes} bytes long, {MAX_BYTES} at most are read")]
    Size {
        /// Of the annotation.
        key: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// It says something else.
    #[error("annotation {key} cannot be read")]
    Content {
        /// Of the annotation.
        key: &'static str,
        /// Where it stops to make sense.
        source: serde_json::Error,
    },
}

/// Whether there is a preStop handler among the annotations of a container, be it good or not.
pub(super) fn has_pre_stop(annotations: &HashMap<String, String>) -> bool {
    annotations.get(PRE_STOP).is_some_and(|text| !text.is_empty())
}

/// The container as far as its preStop hook goes; each annotation that cannot be read is left out and told.
pub(super) fn container(name: &str, annotations: &HashMap<String, String>) -> (Container, Vec<RestoreError>) {
    let mut errors = Vec::new();
    let pre_stop: Option<LifecycleHandler> = read(annotations, PRE_STOP, &mut errors);
    // The hook may name a port.
    let ports: Option<Vec<ContainerPort>> = read(annotations, PORTS, &mut errors);
    let lifecycle = pre_stop.map(|hook| Lifecycle { pre_stop: Some(hook), ..Lifecycle::default() });
    (Container { name: name.to_owned(), lifecycle, ports, ..Container::default() }, errors)
}

fn read<T: DeserializeOwned>(
    annotations: &HashMap<String, String>,
    key: &'static str,
    errors: &mut Vec<RestoreError>,
) -> Option<T> {
    let text = annotations.get(key).filter(|text| !text.is_empty())?;
    if text.len() > MAX_BYTES {
        errors.push(RestoreError::Size { key, bytes: text.len() });
        return None;
    }
    serde_json::from_str(text).map_err(|source| errors.push(RestoreError::Content { key, source })).ok()
}

#[cfg(test)]
mod tests;
