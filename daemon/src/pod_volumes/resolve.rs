//! One volume of a pod's spec, with all that others have to be asked for.

use std::time::Duration;

use k8s_openapi::api::core::v1::{KeyToPath, Pod, Volume as ApiVolume};
use volumes::downward::{self, DownwardError};
use volumes::payload::{DEFAULT_MODE, KeyError, keyed, mode};
use volumes::{Content, Files, Payload, Volume, empty_dir};

use super::claims::{ClaimError, Lies};
use super::{Inner, Problem};
use crate::objects::{Kind, ObjectError};

/// A volume that can be made.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Its name in the pod.
    pub(super) name: String,
    pub(super) volume: Volume,
    /// After how long its content is too old.
    pub(super) refresh_after: Option<Duration>,
}

/// Why there are no files.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) message: String,
    /// Whether the API server only could not be asked: files that were written before stay.
    pub(super) away: bool,
}

impl From<ObjectError> for Missing {
    fn from(error: ObjectError) -> Self {
        let away = matches!(error, ObjectError::Away { .. } | ObjectError::NoServer { .. });
        Self { message: error.to_string(), away }
    }
}

impl Missing {
    pub(super) fn because(message: impl Into<String>) -> Self {
        Self { message: message.into(), away: false }
    }
}

/// Several errors as a kubelet prints them.
pub(super) fn aggregate(messages: &[String]) -> String {
    match messages {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// The files that are made of one object.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfObject<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a str,
    pub(super) items: Option<&'a [KeyToPath]>,
    pub(super) mode: u32,
    pub(super) optional: bool,
}

impl Inner {
    pub(super) async fn resolve(&self, pod: &Pod, volume: &ApiVolume) -> Result<Resolved, Problem> {
        let name = volume.name.as_str();
        let failed = |error: &dyn std::fmt::Display| Problem::set_up(name, error);
        let plain = |content| {
            let volume = Volume { name: name.to_owned(), content };
            Ok(Resolved { name: name.to_owned(), volume, refresh_after: None })
        };
        if let Some(source) = &volume.empty_dir {
            let medium = empty_dir::medium(source, pod, self.allocatable_memory());
            return plain(Content::EmptyDir(medium.map_err(|e| failed(&e))?));
        }
        if let Some(source) = &volume.host_path {
            let kind = source.type_.clone().unwrap_or_default();
            return plain(Content::HostPath { path: source.path.clone(), kind, read_only: false });
        }
        if let Some(source) = &volume.persistent_volume_claim {
            return self.claimed(pod, name, &source.claim_name, source.read_only == Some(true)).await;
        }
        let (files, payload) = if let Some(source) = &volume.config_map {
            let of = OfObject {
                kind: Kind::ConfigMap,
                name: &source.name,
                items: source.items.as_deref(),
                mode: mode(source.default_mode, DEFAULT_MODE),
                optional: source.optional == Some(true),
            };
            (Files::ConfigMap, self.of_object(pod, of).await)
        } else if let Some(source) = &volume.secret {
            let of = OfObject {
                kind: Kind::Secret,
                name: source.secret_name.as_deref().unwrap_or_default(),
                items: source.items.as_deref(),
                mode: mode(source.default_mode, DEFAULT_MODE),
                optional: source.optional == Some(true),
            };
            (Files::Secret, self.of_object(pod, of).await)
        } else if let Some(source) = &volume.downward_api {
            let mode = mode(source.default_mode, DEFAULT_MODE);
            let items = source.items.as_deref().unwrap_or_default();
            (Files::DownwardApi, self.of_pod(pod, items, mode))
        } else if let Some(source) = &volume.projected {
            match self.projected(pod, source).await {
                Ok((payload, refresh_after)) => {
                    let content = Content::Files(Files::Projected, Some(payload));
                    let volume = Volume { name: name.to_owned(), content };
                    return Ok(Resolved { name: name.to_owned(), volume, refresh_after });
                }
                Err(missing) => (Files::Projected, Err(missing)),
            }
        } else {
            return Err(failed(&"not supported by this version of nodelet"));
        };
        match payload {
            Ok(payload) => plain(Content::Files(files, Some(payload))),
            Err(missing) => {
                let kept = Volume { name: name.to_owned(), content: Content::Files(files, None) };
                let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                if missing.away && self.dirs.is_written(uid, &kept) {
                    return Ok(Resolved { name: name.to_owned(), volume: kept, refresh_after: None });
                }
                Err(Problem { soon: missing.away, ..failed(&missing.message) })
            }
        }
    }

    /// The files of a config map or secret.
    pub(super) async fn of_object(&self, pod: &Pod, of: OfObject<'_>) -> Result<Payload, Missing> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let object = match self.objects.get(of.kind, namespace, of.name).await {
            Ok(object) => object,
            Err(ObjectError::NotFound { .. }) if of.optional => return Ok(Payload::default()),
            Err(error) => return Err(error.into()),
        };
        keyed(object.files(), of.items, of.mode, of.optional).map_err(|error| {
            Missing::because(match (error, of.kind) {
                (KeyError::Missing(key), Kind::ConfigMap) => {
                    format!("configmap references non-existent config key: {}", key.0)
                }
                (KeyError::Missing(key), Kind::Secret) => {
                    format!("references non-existent secret key: {}", key.0)
                }
                (KeyError::Path(path), _) => path.to_string(),
            })
        })
    }

    /// Files about the pod itself.
    pub(super) fn of_pod(
        &self,
        pod: &Pod,
        items: &[k8s_openapi::api::core::v1::DownwardAPIVolumeFile],
        mode: u32,
    ) -> Result<Payload, Missing> {
        let facts = std::sync::Arc::clone(&self.facts.borrow());
        downward::payload(items, mode, pod, &facts.allocatable).map_err(|errors| {
            let messages: Vec<String> = errors.iter().map(DownwardError::to_string).collect();
            Missing::because(aggregate(&messages))
        })
    }

    async fn claimed(
        &self,
        pod: &Pod,
        name: &str,
        claim: &str,
        read_only: bool,
    ) -> Result<Resolved, Problem> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let facts = std::sync::Arc::clone(&self.facts.borrow());
        let bound = self.claims.bound(namespace, claim, &facts).await.map_err(|error| {
            let line = match &error {
                ClaimError::NotHere { volume } => {
                    format!("MountVolume.NodeAffinity check failed for volume \"{volume}\" : no matching NodeSelectorTerms")
                }
                error => format!(
                    "Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[], \
                     failed to process volumes=[{name}]: error processing PVC {namespace}/{claim}: {error}"
                ),
            };
            Problem { line: line.replace(['\n', '\r'], " "), soon: true }
        })?;
        let content = match bound.lies {
            Lies::HostPath { path, kind } => Content::HostPath { path, kind, read_only },
            Lies::Local { path } => Content::Local { path, read_only },
        };
        let volume = Volume { name: bound.volume, content };
        Ok(Resolved { name: name.to_owned(), volume, refresh_after: None })
    }
}
