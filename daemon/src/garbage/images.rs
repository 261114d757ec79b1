//! Rounds over the images: who uses them, how full their file system is, what goes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use cri_client::v1;
use eviction::image_gc::{Bytes, Image, Plan, Space, Wanted};
use k8s_openapi::api::core::v1::Pod;

use super::Collector;
use crate::cause::chain;
use crate::clock;
use crate::images::canonical;
use crate::reclaim::Freed;

const READY: i32 = v1::PodSandboxState::SandboxReady as i32;
const RUNNING: i32 = v1::ContainerState::ContainerRunning as i32;
const POD_UID: &str = "io.kubernetes.pod.uid";

/// The images that live sandboxes are made of, by the sandboxes' ids: asked for once each.
#[derive(Debug, Default)]
pub(super) struct SandboxImages(HashMap<String, Option<String>>);

/// What a removal of some images came to.
#[derive(Debug, Default)]
struct Removed {
    count: usize,
    bytes: u64,
    errors: Vec<String>,
}

impl Collector {
    /// All images, and whether anybody uses them, for the history too. `more` are names that are in use beside those that pods and
    /// containers have.
    pub(super) async fn look(&mut self, more: &[String]) -> Result<Vec<Image>, String> {
        let told = |error: cri_client::CallError| error.to_string();
        // Pods first: what a pod needs that comes in between is held by its start.
        let (mut named, known) = self.wanted_by_pods();
        named.extend(more.iter().map(|name| canonical(name)));
        let images = self.parts.cri.list_images().await.map_err(told)?;
        let containers = self.parts.cri.list_containers(HashMap::new()).await.map_err(told)?;
        let mut used: HashSet<String> = more.iter().cloned().collect();
        for container in containers {
            let is_known = container.labels.get(POD_UID).is_some_and(|uid| known.contains(uid));
            if !is_known && container.state == RUNNING {
                // Of what it mounts no spec tells.
                let status = self.parts.cri.container_status(&container.id).await;
                let mounts = status.map(|status| status.mounts).unwrap_or_default();
                used.extend(mounts.into_iter().filter_map(|mount| mount.image).map(|image| image.image));
            }
            used.extend([container.image_id, container.image_ref]);
            used.extend(container.image.map(|image| image.image));
        }
        let is_used = |image: &v1::Image| {
            let names = || image.repo_tags.iter().chain(&image.repo_digests);
            used.contains(&image.id)
                || names().any(|name| used.contains(name) || named.contains(&canonical(name)))
        };
        let all: Vec<Image> = images
            .into_iter()
            .map(|image| Image {
                is_used: is_used(&image),
                is_pinned: image.pinned,
                bytes: image.size,
                id: image.id,
            })
            .collect();
        self.history.look(&all, clock::boot());
        Ok(all)
    }

    /// Names, in full, of the images of all pods that are not over, and the UIDs of all pods.
    fn wanted_by_pods(&self) -> (HashSet<String>, HashSet<String>) {
        let (mut names, mut uids) = (BTreeSet::new(), HashSet::new());
        self.parts.pods.each_pod(|pod, is_over| {
            uids.extend(pod.metadata.uid.clone());
            if !is_over {
                names.extend(image_names(pod).map(str::to_owned));
            }
        });
        (names.iter().map(|name| canonical(name)).collect(), uids)
    }

    /// What is to go, with the images of live sandboxes in use: those are asked for only where anything would go.
    async fn plan(&mut self, wanted: Wanted) -> Result<(Plan, Duration), String> {
        let planned = clock::boot();
        let images = self.look(&[]).await?;
        let plan = self.history.plan(&images, &self.settings.images, planned, wanted);
        if plan.removals.is_empty() {
            return Ok((plan, planned));
        }
        let sandbox_images = self.sandbox_images().await?;
        let planned = clock::boot();
        let images = self.look(&sandbox_images).await?;
        Ok((self.history.plan(&images, &self.settings.images, planned, wanted), planned))
    }

    async fn sandbox_images(&mut self) -> Result<Vec<String>, String> {
        let sandboxes = self.parts.cri.list_pod_sandboxes(HashMap::new()).await.map_err(|e| e.to_string())?;
        let mut before = std::mem::take(&mut self.sandbox_images.0);
        for sandbox in sandboxes.into_iter().filter(|s| s.state == READY) {
            let image = match before.remove(&sandbox.id) {
                Some(image) => image,
                None => match self.parts.cri.pod_sandbox_info(&sandbox.id).await {
                    Ok(info) => info.get("info").and_then(|text| sandbox_image(text)),
                    // It has just gone.
                    Err(error) if error.is_not_found() => continue,
                    // Its image may be taken for unused, unless it is pinned, as runtimes have it, or anything else uses it. One sandbox that
                    // cannot be asked must not keep all the others' images.
                    Err(error) => {
                        let (sandbox, error) = (&sandbox.id, chain(&error));
                        tracing::warn!(sandbox, error, "the runtime does not tell which image a sandbox has");
                        continue;
                    }
                },
            };
            self.sandbox_images.0.insert(sandbox.id, image);
        }
        let images: BTreeSet<&String> = self.sandbox_images.0.values().flatten().collect();
        Ok(images.into_iter().cloned().collect())
    }

    /// Where the runtime keeps its images.
    async fn filesystem(&self) -> Result<PathBuf, String> {
        let info = self.parts.cri.image_fs_info().await.map_err(|error| error.to_string())?;
        let id = info.image_filesystems.into_iter().next().and_then(|usage| usage.fs_id);
        id.map(|id| PathBuf::from(id.mountpoint)).ok_or_else(|| {
            "the container runtime does not tell in which file system it keeps its images".to_owned()
        })
    }

    pub(super) async fn images_round(&mut self) {
        match self.try_images_round().await {
            Ok(None) => self.image_failures.ended(),
            Ok(Some(shortage)) => self.complain("FreeDiskSpaceFailed", &shortage),
            Err(error) => self.complain("", &error),
        }
    }

    /// Gives what is short and why where not enough could be freed.
    async fn try_images_round(&mut self) -> Result<Option<String>, String> {
        let policy = self.settings.images;
        if policy.is_off() {
            // The history is kept all the same: eviction asks for images by it.
            return self.look(&[]).await.map(|_| None);
        }
        let place = self.filesystem().await?;
        let (capacity, available) = (self.measure)(&place)?;
        let space = match Space::new(capacity, available) {
            Ok(space) => space,
            Err(error) => {
                self.look(&[]).await?;
                self.parts.recorder.node_event(true, "InvalidDiskCapacity", error.to_string());
                return Err(error.to_string());
            }
        };
        let excess = policy.excess(space);
        let (plan, planned) = self.plan(excess.map_or(Wanted::Aged, Wanted::Bytes)).await?;
        let goal = excess.map(|excess| (place.as_path(), space.available.saturating_add(excess)));
        let removed = self.remove(&plan, planned, goal).await;
        let Some(excess) = excess.filter(|excess| removed.bytes < *excess) else {
            return if removed.errors.is_empty() { Ok(None) } else { Err(removed.errors.join("; ")) };
        };
        let reached =
            (self.measure)(&place).is_ok_and(|(_, now)| now >= space.available.saturating_add(excess));
        if reached {
            return Ok(None);
        }
        let mut text = format!(
            "Insufficient free disk space on the node's image filesystem ({}% of {} used): {} were to be freed by removing \
             unused images, and {} could be.",
            space.used_percent(),
            Bytes(space.capacity),
            Bytes(excess),
            Bytes(removed.bytes),
        );
        let kept = plan.kept.to_string();
        if !kept.is_empty() {
            text += &format!(" Images kept: {kept}.");
        }
        if !removed.errors.is_empty() {
            text += &format!(" {}", removed.errors.join("; "));
        }
        Ok(Some(text))
    }

    /// Tells of a round that has failed, ever more rarely while it goes on failing. A single failure of the runtime's is told to nobody
    /// but the log (behaviour.md 15.1).
    fn complain(&mut self, reason: &str, text: &str) {
        let is_due = self.image_failures.failed();
        if !is_due {
            return;
        }
        tracing::warn!(failures = self.image_failures.failures(), "image garbage collection failed: {text}");
        if !reason.is_empty() {
            self.parts.recorder.node_event(true, reason, text);
        }
        if self.image_failures.failures() > 1 {
            self.parts.recorder.node_event(true, "ImageGCFailed", text);
        }
    }

    pub(super) async fn reclaim_images(&mut self, bytes: Option<u64>) -> Result<Freed, String> {
        let (plan, planned) = self.plan(bytes.map_or(Wanted::All, Wanted::Bytes)).await?;
        let removed = self.remove(&plan, planned, None).await;
        let kept = [plan.kept.to_string(), removed.errors.join("; ")];
        let kept: Vec<String> = kept.into_iter().filter(|part| !part.is_empty()).collect();
        Ok(Freed { removed: removed.count, bytes: removed.bytes, kept: kept.join("; ") })
    }

    /// Removes what is planned, as far as no start has found it since; until the file system has so many bytes available, where given.
    async fn remove(
        &mut self,
        plan: &Plan,
        planned: Duration,
        goal: Option<(&std::path::Path, u64)>,
    ) -> Removed {
        let mut removed = Removed::default();
        for removal in &plan.removals {
            let is_enough = |(place, bytes)| (self.measure)(place).is_ok_and(|(_, now)| now >= bytes);
            if removal.reason == eviction::image_gc::Reason::Space && goal.is_some_and(is_enough) {
                break;
            }
            let Some(_going) = self.parts.images.holds().take(&removal.id, planned) else { continue };
            match self.parts.cri.remove_image(&removal.id).await {
                Ok(()) => {
                    tracing::info!(image = removal.id, bytes = removal.bytes, reason = ?removal.reason, "an unused image is removed");
                    self.parts.metrics.image_collected(removal.reason.label());
                    removed.count += 1;
                    removed.bytes = removed.bytes.saturating_add(removal.bytes);
                }
                Err(error) => removed.errors.push(error.to_string()),
            }
        }
        if removed.count > 0 {
            self.parts.runtime.send_modify(|state| state.images_generation += 1);
            self.parts.images.forget_removed().await;
        }
        removed
    }
}

/// The images that a pod's containers and volumes name.
fn image_names(pod: &Pod) -> impl Iterator<Item = &str> {
    let spec = pod.spec.as_ref();
    let containers = spec.into_iter().flat_map(podspec::containers).map(|(_, c)| c.image.as_deref());
    let ephemeral = spec.into_iter().flat_map(|s| s.ephemeral_containers.iter().flatten());
    let volumes = spec.into_iter().flat_map(|s| s.volumes.iter().flatten());
    containers
        .chain(ephemeral.map(|e| e.image.as_deref()))
        .chain(volumes.map(|v| v.image.as_ref()?.reference.as_deref()))
        .flatten()
}

/// What containerd and CRI-O say of a sandbox's image.
fn sandbox_image(info: &str) -> Option<String> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    info.get("image")?.as_str().filter(|image| !image.is_empty()).map(str::to_owned)
}
