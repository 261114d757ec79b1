//! Where pods come from: the API server's assignments and manifests in a directory, merged into one stream.
//!
//! ```text
//! API watch ──api──┬──────────────────────────────┐
//!                  └─ mirror pods ─> mirror        ├─> mpsc of Update ─> the pods' supervisor
//! directory ─files─┴─ static pods ─> mirror ──────┘
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `api` | list and watch of the pods bound to this node; mirror pods are kept out of the stream |
//! | `files` | the manifest directory: inotify, and a full listing each `fileCheckFrequency` |
//! | `manifest` | one file's text to one checked static pod: `defaults`, `validation`, `references`, UID |
//! | `mirror` | the API objects that stand for static pods |
//! | `events` | the lines of one watch |
//! | `watcher` | list, watch, resume and relist of any kind, with back-off |
//!
//! A source first sends [`Update::Listed`], which replaces all that it said before, then single changes. After a lost watch
//! it sends `Listed` again; what is missing there is gone. A file source sends `Listed` at each change.
//! Nothing here survives a restart.

pub mod api;
pub(crate) mod backoff;
mod defaults;
mod events;
pub mod files;
mod manifest;
pub mod mirror;
mod references;
pub mod url;
mod validation;
pub(crate) mod watcher;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

pub use manifest::{Manifest, ManifestError};

/// Hash of a static pod's manifest; equals its UID when the manifest has none.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Name of the source: `api` or `file`.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// When the source gave the pod first.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
/// Marks a mirror pod; its value is the hash of the static pod.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";

/// Annotations that belong to this node and are never compared.
pub(crate) const LOCAL_ANNOTATIONS: [&str; 4] = [CONFIG_HASH, CONFIG_SOURCE, CONFIG_SEEN, CONFIG_MIRROR];

/// Updates that may wait for the supervisor; sources wait beyond that.
pub const UPDATE_QUEUE: usize = 256;

/// One of the places that pods come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Api,
    File,
    Http,
}

impl Source {
    /// As written in the annotation `kubernetes.io/config.source`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::File => "file",
            Self::Http => "http",
        }
    }
}

/// What a source says.
#[derive(Debug, Clone)]
pub enum Update {
    /// All pods that the source has now; those that it had before and are not among them are gone.
    Listed { source: Source, pods: Vec<Arc<Pod>> },
    /// A new or changed pod.
    Applied { source: Source, pod: Arc<Pod> },
    /// The pod is gone from the source. `grace` is what that leaves of its grace period, where it is known.
    Removed { source: Source, namespace: String, name: String, uid: String, grace: Option<Duration> },
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Whether the pod comes from elsewhere than the API server.
#[must_use]
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, CONFIG_SOURCE).is_some_and(|source| source != Source::Api.name()) && !is_mirror(pod)
}

/// Whether the pod is the API's image of a static pod.
#[must_use]
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, CONFIG_MIRROR).is_some()
}

/// Sets the local annotations that a kubelet adds to each pod; they are never compared.
fn stamp(pod: &mut Pod, source: Source) {
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(CONFIG_SOURCE.to_owned(), source.name().to_owned());
    annotations.entry(CONFIG_SEEN.to_owned()).or_insert_with(|| jiff::Timestamp::now().to_string());
}

#[cfg(test)]
mod tests;
