//! One container from its spec to the runtime: what it needs is resolved here, what the runtime is told is made by
//! `container_config`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cri_client::v1;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, FileKeySelector, Pod};
use lifecycle::{Answer, Call, Failure, FailureKind};
use volumes::{Alias, hosts_file, node_hosts_file};

use super::super::container_config::{self, Parts};
use super::super::environment::{self, Addresses, FileValues, Resolved, Sources, Value};
use super::super::host_name::HostName;
use super::super::security::ImageUser;
use super::super::{env_file, service_variables, users};
use super::{Executor, Outcome, failure, find, refused};

/// Users of images that are kept: an image's id is made of its content.
const KEPT_USERS: usize = 1024;
const HOSTS: &str = "/etc/hosts";

/// Whom images run as, by their ids.
#[derive(Debug, Default)]
pub(super) struct ImageUsers(Mutex<HashMap<String, ImageUser>>);

impl ImageUsers {
    fn get(&self, id: &str) -> Option<ImageUser> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn keep(&self, id: &str, user: ImageUser) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_USERS {
            kept.clear();
        }
        kept.insert(id.to_owned(), user);
    }
}

fn config_error(message: String) -> Failure {
    Failure { kind: FailureKind::Config, message }
}

impl Executor {
    pub(super) async fn create_container(&self, pod: &Pod, call: Call) -> Outcome {
        let Call::CreateContainer {
            name,
            kind: _,
            restart_count,
            sandbox_id,
            image_id,
            volume_images,
            pod_ips,
            target_id,
            allocated,
        } = call
        else {
            return Err(refused("not a container to make"));
        };
        let Some(mut spec) = find(pod, &name) else { return Err(refused("no such container in the pod")) };
        if let Some(allocated) = allocated {
            spec.to_mut().resources = Some(*allocated);
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.dirs.prepare(uid).map_err(|e| config_error(e.to_string()))?;
        let image_user = self.image_user(&image_id).await?;
        let host_ips = self.host_ips.borrow().clone();
        let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
        let pod_ips = if host_network { host_ips.clone() } else { pod_ips };
        let users = self.users_of_sandbox(pod).await?;
        let sandbox = self.sandbox_config(pod, 0, users.clone(), false)?;
        let host_name = self.host_name(pod).map_err(|e| config_error(e.to_string()))?;
        let etc_hosts = self.hosts(pod, &host_name, &pod_ips, host_network).map_err(config_error)?;
        let services = self.service_variables(pod).await?;
        let objects = self.resolve_objects(pod, &spec).await;
        let files = self.read_files(pod, &spec).await;
        let allocatable = self.supplies.facts.borrow().allocatable.clone();
        let sources = Sources {
            addresses: Addresses { pod_ips: &pod_ips, host_ips: &host_ips },
            services: &services,
            objects: &objects,
            files: &files,
            allocatable: &allocatable,
        };
        let variables =
            environment::variables(pod, &spec, sources).map_err(|e| config_error(e.to_string()))?;
        let recursive = self.mounts_recursive_read_only(pod).await?;
        let mounts =
            self.supplies.volumes.mounts(pod, &spec, &variables, recursive).await.map_err(config_error)?;
        let termination_log = if spec.termination_message_path.as_deref() == Some("") {
            None
        } else {
            let token = token(uid, &name, restart_count);
            Some(self.dirs.termination_log(uid, &name, token).map_err(|e| config_error(e.to_string()))?)
        };
        let dir = self.pod_logs(pod).join(&name);
        fs::create_dir_all(&dir).map_err(|e| config_error(format!("making {}: {e}", dir.display())))?;
        let parts = Parts {
            restart_count,
            image_id: &image_id,
            image_user: &image_user,
            variables: &variables,
            mounts,
            users,
            security: &self.place.security,
            stop_signals: self.place.stop_signals,
            etc_hosts,
            termination_log,
            limits: &self.place.limits,
            target_id: target_id.as_deref(),
            volume_images: &volume_images,
        };
        let config = container_config::container_config(pod, &spec, &parts)
            .map_err(|e| config_error(e.to_string()))?;
        let id = self.client.create_container(&sandbox_id, config, sandbox).await.map_err(failure)?;
        Ok(Answer::Made { id })
    }

    /// Whether the runtime, under the pod's handler, can make a mount read-only with all that lies below it.
    async fn mounts_recursive_read_only(&self, pod: &Pod) -> Result<bool, Failure> {
        let handler = self.handler(pod).await?;
        let state = self.runtime.borrow();
        Ok(state.handlers.iter().any(|h| h.name == handler && h.recursive_read_only_mounts))
    }

    /// Whom the image runs as; asked once for each image.
    async fn image_user(&self, image_id: &str) -> Result<ImageUser, Failure> {
        if let Some(user) = self.image_users.get(image_id) {
            return Ok(user);
        }
        let image = self.client.image_status(image_id).await.map_err(failure)?;
        let image = image.ok_or_else(|| config_error(format!("image {image_id} has gone from the node")))?;
        let user = ImageUser::of(&image);
        self.image_users.keep(image_id, user.clone());
        Ok(user)
    }

    /// As its sandbox was made.
    async fn users_of_sandbox(&self, pod: &Pod) -> Result<v1::UserNamespace, Failure> {
        if pod.spec.as_ref().and_then(|s| s.host_users) != Some(false) {
            return Ok(users::of_node());
        }
        let (users, uid) = (self.place.users.clone(), pod.metadata.uid.clone().unwrap_or_default());
        let given = tokio::task::spawn_blocking(move || users.of_pod(&uid)).await;
        given.map_err(|e| config_error(e.to_string()))?.map_err(|e| config_error(e.to_string()))
    }

    /// What the pod is told of services. A static pod does not wait for the API server (behaviour.md 10.20).
    async fn service_variables(&self, pod: &Pod) -> Result<BTreeMap<String, String>, Failure> {
        let services = if podspec::is_static(pod) {
            self.supplies.services.known()
        } else {
            self.supplies.services.read().await.map_err(|_| {
                config_error(
                    "services have not yet been read at least once, cannot construct envvars".to_owned(),
                )
            })?
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let links = pod.spec.as_ref().and_then(|s| s.enable_service_links).unwrap_or(true);
        Ok(service_variables::variables(&services, namespace, links))
    }

    /// All at once: each may have to wait for its first answer.
    async fn resolve_objects(&self, pod: &Pod, spec: &ContainerSpec) -> Resolved {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let named = environment::named_objects(spec);
        let objects = self.objects();
        let found = named.into_iter().map(|(kind, name)| async move {
            ((kind, name.to_owned()), objects.get(kind, namespace, name).await)
        });
        join_all(found).await.into_iter().collect()
    }

    /// Away from the one thread: they are on the node's disk.
    async fn read_files(&self, pod: &Pod, spec: &ContainerSpec) -> FileValues {
        let mut values = FileValues::new();
        for selector in environment::named_files(spec) {
            let key = (selector.volume_name.clone(), selector.path.clone(), selector.key.clone());
            values.insert(key, self.read_file(pod, selector).await);
        }
        values
    }

    async fn read_file(&self, pod: &Pod, selector: &FileKeySelector) -> Result<Option<Value>, String> {
        if !self.place.env_files {
            return Err("fileKeyRef needs the feature gate EnvFiles".to_owned());
        }
        let FileKeySelector { volume_name, path, key, .. } = selector.clone();
        let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        if !volumes.into_iter().any(|v| v.name == volume_name && v.empty_dir.is_some()) {
            return Err(format!("cannot find the volume {volume_name:?} referenced by FileKeyRef"));
        }
        let (dirs, uid) = (Arc::clone(&self.dirs), pod.metadata.uid.clone().unwrap_or_default());
        let read = tokio::task::spawn_blocking(move || {
            let told = |error: String| {
                format!("couldn't parse env file {path:?} of volume {volume_name:?}: {error}")
            };
            let content =
                dirs.file_in_empty_dir(&uid, &volume_name, &path).map_err(|e| told(e.to_string()))?;
            let Some(content) = content else { return Ok(None) };
            let value = env_file::value(&content, &key).map_err(|e| told(e.to_string()))?;
            Ok(value.map(Value::new))
        });
        read.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// The pod's hosts file, unless it has no address (behaviour.md 8.12).
    fn hosts(
        &self,
        pod: &Pod,
        host_name: &HostName,
        pod_ips: &[String],
        host_network: bool,
    ) -> Result<Option<PathBuf>, String> {
        if pod_ips.is_empty() && !host_network {
            return Ok(None);
        }
        let aliases = pod.spec.iter().flat_map(|s| s.host_aliases.iter().flatten());
        let aliases: Vec<Alias<'_>> =
            aliases.map(|a| (a.ip.as_str(), a.hostnames.as_deref().unwrap_or_default())).collect();
        let text = if host_network {
            let node = fs::read_to_string(HOSTS).map_err(|e| format!("reading {HOSTS}: {e}"))?;
            node_hosts_file(&node, &aliases)
        } else {
            hosts_file(pod_ips, &host_name.short, host_name.domain.as_deref(), &aliases)
        };
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.dirs.write_hosts(uid, &text).map(Some).map_err(|e| e.to_string())
    }
}

/// Eight hex digits that no other start of this pod's containers has: time makes them differ after a lost answer.
fn token(uid: &str, container: &str, restart_count: u32) -> u32 {
    let boot = crate::clock::boot().as_nanos();
    podspec::deep_hash32(format!("{uid}/{container}/{restart_count}/{boot}").as_bytes())
}
