//! What a container mounts of the pod's volumes (behaviour.md 20.19, 20.20, 20.35).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use cri_client::v1;
use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use tokio::task::spawn_blocking;

use super::{Made, PodVolumes};
use crate::runtime::{Variables, expand_all};

/// The mounts of a container by their place in its list; images are the runtime's and not among them.
pub(crate) type Mounts = BTreeMap<usize, v1::Mount>;

/// One mount whose part of a volume is to be bound.
struct Part {
    index: usize,
    volume: String,
    made: Made,
    sub_path: String,
}

impl PodVolumes {
    /// The mounts of `container`, whose environment is `variables`. `recursive` is whether the runtime can make a mount read-only
    /// with all that is mounted below it.
    ///
    /// # Errors
    /// A volume is not there, or a part of one cannot be mounted.
    pub(crate) async fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        variables: &Variables,
        recursive: bool,
    ) -> Result<Mounts, String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner).get(&uid).cloned();
        let mut made = made.take().unwrap_or_default();
        let is_image = |name: &str| {
            let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
            volumes.into_iter().any(|volume| volume.name == name && volume.image.is_some())
        };
        let (mut mounts, mut parts) = (Mounts::new(), Vec::new());
        for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
            if is_image(&mount.name) {
                continue;
            }
            let Some(made) = made.get_mut(&mount.name) else {
                return Err(format!(
                    "cannot find volume \"{}\" to mount into container \"{}\"",
                    mount.name, container.name
                ));
            };
            let read_only = mount.read_only == Some(true) || made.read_only;
            mounts.insert(
                index,
                v1::Mount {
                    container_path: absolute(&mount.mount_path),
                    host_path: made.path.to_string_lossy().into_owned(),
                    readonly: read_only,
                    propagation: propagation(mount) as i32,
                    recursive_read_only: recursive_read_only(mount, read_only, recursive)?,
                    ..Default::default()
                },
            );
            if let Some(sub_path) = sub_path(mount, variables)? {
                let volume = mount.name.clone();
                parts.push(Part { index, volume, made: made.clone(), sub_path });
            }
        }
        if !parts.is_empty() {
            let bound = self.bind(uid, container.name.clone(), parts).await?;
            for (index, path) in bound {
                if let Some(mount) = mounts.get_mut(&index) {
                    mount.host_path = path;
                }
            }
        }
        Ok(mounts)
    }

    async fn bind(
        &self,
        uid: String,
        container: String,
        parts: Vec<Part>,
    ) -> Result<Vec<(usize, String)>, String> {
        let turn = self.0.turns.take(uid.clone()).await;
        let inner = Arc::clone(&self.0);
        let bound = spawn_blocking(move || {
            let _turn = turn;
            let mut all = Vec::new();
            for Part { index, volume, made, sub_path } in parts {
                let at: &Path = &made.path;
                let place = inner.dirs.sub_path(&uid, (&volume, at), (&container, index), &sub_path);
                let place = place.map_err(|error| {
                    tracing::warn!(uid, container, volume, %error, "a part of a volume cannot be mounted");
                    format!("failed to prepare subPath for volumeMount \"{volume}\" of container \"{container}\": {error}")
                })?;
                all.push((index, place.to_string_lossy().into_owned()));
            }
            Ok(all)
        });
        bound.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// The volumes whose mounts are to be known inside and outside of containers.
pub(super) fn propagated(pod: &Pod) -> Vec<String> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let mounts = podspec::containers(spec).flat_map(|(_, c)| c.volume_mounts.iter().flatten());
    let wanted = mounts.filter(|mount| propagation(mount) != v1::MountPropagation::PropagationPrivate);
    wanted.map(|mount| mount.name.clone()).collect()
}

fn propagation(mount: &VolumeMount) -> v1::MountPropagation {
    match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
        Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
        _ => v1::MountPropagation::PropagationPrivate,
    }
}

/// Whether what is mounted below is to be read-only, too.
fn recursive_read_only(mount: &VolumeMount, read_only: bool, can: bool) -> Result<bool, String> {
    let wanted = mount.recursive_read_only.as_deref().unwrap_or("Disabled");
    let name = &mount.name;
    let refused =
        |why: String| Err(format!("volume \"{name}\" requested recursive read-only mode, but it is {why}"));
    match wanted {
        "" | "Disabled" => Ok(false),
        "IfPossible" => {
            Ok(can && read_only && propagation(mount) == v1::MountPropagation::PropagationPrivate)
        }
        "Enabled" if !read_only => refused("not read-only".to_owned()),
        "Enabled" if propagation(mount) != v1::MountPropagation::PropagationPrivate => {
            let propagation = mount.mount_propagation.as_deref().unwrap_or_default();
            refused(format!("not compatible with propagation \"{propagation}\""))
        }
        "Enabled" if !can => refused("not supported by the runtime".to_owned()),
        "Enabled" => Ok(true),
        other => Err(format!("unknown recursive read-only mode \"{other}\"")),
    }
}

/// The part of the volume that is meant, where it is not the whole.
fn sub_path(mount: &VolumeMount, variables: &Variables) -> Result<Option<String>, String> {
    let Some(expression) = mount.sub_path_expr.as_ref().filter(|text| !text.is_empty()) else {
        return Ok(mount.sub_path.clone().filter(|path| !path.is_empty()));
    };
    let missing: Vec<&str> = names(expression)
        .filter(|name| variables.get(*name).is_none_or(|value| value.as_ref().is_empty()))
        .collect();
    if !missing.is_empty() {
        return Err(format!("missing value for {}", missing.join(", ")));
    }
    let expanded = expand_all(Some(&vec![expression.clone()]), variables);
    Ok(expanded.into_iter().next().filter(|path| !path.is_empty()))
}

/// The variables that a text refers to.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let tail = &rest[rest.find('$')? + 1..];
            if let Some(after) = tail.strip_prefix('$') {
                rest = after;
            } else if let Some((name, after)) = tail.strip_prefix('(').and_then(|inner| inner.split_once(')'))
            {
                rest = after;
                return Some(name);
            } else {
                rest = tail;
            }
        }
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests;
