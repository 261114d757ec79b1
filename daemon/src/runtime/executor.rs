//! Carries out what a pod machine wants of the runtime and of the disk.
//!
//! Calls of different pods share nothing but the connection. A call is cancelled by dropping it; the machine looks again
//! before it relies on anything.

mod resize;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cri_client::{CallError, Cause, Client, Code, v1};
use futures::future::{join, join_all, try_join};
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod, ResourceRequirements};
use lifecycle::{Answer, Call, Failure, FailureKind, Hook, Observation};
use tokio::sync::watch;
use volumes::PodDirs;

use super::container_config::{self, MESSAGE_PATH, MESSAGE_POLICY, Parts};
use super::environment::{self, Addresses};
use super::image_failure::image_failure;
use super::kernel_log::KernelLog;
use super::{dns, hooks, log_files, observe, restored, sandbox_config};
use crate::cause::chain;
use crate::cgroups::{Limits, PodCgroups};
use crate::events::Recorder;
use crate::images::Images;
use crate::node::RuntimeState;
use crate::objects::Objects;
use crate::pod_volumes::PodVolumes;

/// Where on the node things are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `podLogsDir`.
    pub(crate) pod_logs: PathBuf,
    /// Where the links to all containers' logs are.
    pub(crate) container_logs: PathBuf,
    /// What containers are held to.
    pub(crate) limits: Arc<Limits>,
    /// What the configuration says about names.
    pub(crate) dns: dns::Settings,
}

/// Shared by all pods; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    client: Client,
    dirs: Arc<PodDirs>,
    place: Arc<Place>,
    host_ips: watch::Receiver<Vec<String>>,
    recorder: Recorder,
    runtime: watch::Sender<RuntimeState>,
    images: Images,
    volumes: PodVolumes,
    /// `None` where pods have no cgroups of their own.
    cgroups: Option<PodCgroups>,
    kernel_log: Arc<KernelLog>,
}

/// The kernel's log.
const KERNEL_LOG: &str = "/dev/kmsg";

/// The exit code of a process that SIGKILL ended.
const KILLED: i32 = 137;

/// The reason of a container that was killed for want of memory, as runtimes spell it (behaviour.md 31.1).
const OOM_KILLED: &str = "OOMKilled";

/// The termination message policy that takes the log where there is no message.
const FALLBACK_TO_LOGS: &str = "FallbackToLogsOnError";

type Outcome = Result<Answer, Failure>;

impl Executor {
    pub(crate) fn new(
        client: Client,
        dirs: Arc<PodDirs>,
        place: Place,
        host_ips: watch::Receiver<Vec<String>>,
        recorder: Recorder,
        runtime: watch::Sender<RuntimeState>,
        images: Images,
        volumes: PodVolumes,
    ) -> Self {
        let place = Arc::new(place);
        let kernel_log = Arc::new(KernelLog::new(Path::new(KERNEL_LOG)));
        Self { client, dirs, place, host_ips, recorder, runtime, images, volumes, cgroups: None, kernel_log }
    }

    /// With cgroups for the pods.
    pub(crate) fn with_cgroups(self, cgroups: PodCgroups) -> Self {
        Self { cgroups: Some(cgroups), ..self }
    }

    /// What the pods of this node refer to.
    pub(crate) fn objects(&self) -> &Objects {
        self.volumes.objects()
    }

    /// The pods' cgroups, where they have some.
    pub(crate) fn cgroups(&self) -> Option<&PodCgroups> {
        self.cgroups.as_ref()
    }

    /// Does what `call` asks for `pod`. The long ones are boxed: all calls under way would else be as large as the largest, and a
    /// thousand pods that are stopped at once set the size of the heap.
    pub(crate) async fn carry_out(&self, pod: &Arc<Pod>, call: Call) -> Outcome {
        let done = |r: Result<(), CallError>| r.map(|()| Answer::Done).map_err(failure);
        match call {
            Call::Observe => Box::pin(self.observe(pod)).await,
            Call::RunSandbox { attempt, allocated } => {
                Box::pin(self.run_sandbox(pod, attempt, allocated)).await
            }
            Call::StopSandbox { id } => done(self.client.stop_pod_sandbox(&id).await),
            Call::RemoveSandbox { id } => done(self.client.remove_pod_sandbox(&id).await),
            Call::InspectImage { image } => {
                let id = Box::pin(self.images.inspect(pod, &image)).await.map_err(image_failure)?;
                Ok(Answer::Image { id })
            }
            Call::PullImage { image } => Box::pin(self.pull(pod, &image)).await,
            call @ Call::CreateContainer { .. } => Box::pin(self.create_container(pod, call)).await,
            Call::StartContainer { id, .. } => done(self.client.start_container(&id).await),
            Call::StopContainer { id, grace } => done(self.client.stop_container(&id, grace).await),
            Call::RunHook { id, name, hook, pod_ips } => {
                Box::pin(self.run_hook(pod, &id, &name, hook, pod_ips)).await
            }
            Call::UpdateResources { id, name, resource, resources } => {
                Box::pin(self.update_resources(pod, &id, &name, resource, *resources)).await
            }
            Call::UpdatePod { sandbox_id, resource, resources } => {
                Box::pin(self.update_pod(pod, &sandbox_id, resource, &resources)).await
            }
            Call::RemoveCgroup => match &self.cgroups {
                Some(cgroups) => {
                    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                    let removed = Box::pin(cgroups.remove(uid)).await;
                    removed.map(|()| Answer::Done).map_err(|e| refused(&chain(&e)))
                }
                None => Ok(Answer::Done),
            },
            Call::RemoveContainer { id, name, restart_count, keep_logs } => {
                self.client.remove_container(&id).await.map_err(failure)?;
                if !keep_logs {
                    self.remove_logs(pod, &id, &name, restart_count);
                }
                Ok(Answer::Done)
            }
            Call::RemoveDirs { logs } => self.remove_dirs(pod, logs).await,
            Call::MountVolumes => match Box::pin(self.volumes.mount(pod)).await {
                Ok(refresh_after) => Ok(Answer::Mounted { refresh_after }),
                Err(error) => Err(Failure { kind: error.kind, message: error.message }),
            },
            Call::UnmountVolumes => {
                let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                match Box::pin(self.volumes.unmount(uid)).await {
                    Ok(()) => Ok(Answer::Done),
                    Err(error) => {
                        tracing::warn!(uid, %error, "the volumes of a pod cannot be taken away yet");
                        Err(refused(&error.to_string()))
                    }
                }
            }
            // Of the API server: see `pods::publisher`.
            Call::DeleteObject => Err(refused("not a call to the runtime")),
        }
    }

    async fn observe(&self, pod: &Pod) -> Outcome {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let labels = HashMap::from([("io.kubernetes.pod.uid".to_owned(), uid)]);
        // Side by side: a pod's start waits for two of these looks.
        let (sandboxes, containers) =
            try_join(self.client.list_pod_sandboxes(labels.clone()), self.client.list_containers(labels))
                .await
                .map_err(failure)?;
        let sandbox_statuses = join_all(sandboxes.iter().map(|s| self.client.pod_sandbox_status(&s.id)));
        let container_statuses = join_all(containers.iter().map(|c| self.client.container_status(&c.id)));
        let (sandbox_statuses, container_statuses) = join(sandbox_statuses, container_statuses).await;
        let mut seen = Observation::default();
        for status in sandbox_statuses {
            match status {
                Ok(status) => seen.sandboxes.push(observe::sandbox(&status)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(failure(error)),
            }
        }
        for (container, status) in containers.iter().zip(container_statuses) {
            match status {
                Ok(mut status) => {
                    self.link_log(pod, &status);
                    if status.exit_code == KILLED
                        && status.reason != OOM_KILLED
                        && self.kernel_log.has_killed(&status.id)
                    {
                        OOM_KILLED.clone_into(&mut status.reason);
                    }
                    let message = self.termination_message(&status);
                    seen.containers.push(observe::container(
                        &status,
                        container.pod_sandbox_id.clone(),
                        message,
                    ));
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(failure(error)),
            }
        }
        match log_files::logged_restarts(&self.pod_logs(pod)) {
            Ok(restarts) => seen.logged_restarts = restarts,
            Err(error) => tracing::warn!(%error, "the pod's log directory cannot be read"),
        }
        Ok(Answer::Observed(seen))
    }

    /// What an ended container left in its termination message file.
    fn termination_message(&self, status: &v1::ContainerStatus) -> Option<String> {
        if status.state != v1::ContainerState::ContainerExited as i32 {
            return None;
        }
        let inside = status.annotations.get(MESSAGE_PATH)?;
        let mount = status.mounts.iter().find(|m| m.container_path == *inside)?;
        let written = match self.dirs.termination_message(Path::new(&mount.host_path)) {
            Ok(message) => message.filter(|m| !m.is_empty()),
            Err(error) => {
                return Some(format!("Error on reading termination log {}: {error}", mount.host_path));
            }
        };
        let from_logs = status.annotations.get(MESSAGE_POLICY).is_some_and(|p| p == FALLBACK_TO_LOGS);
        if written.is_some() || status.exit_code == 0 || status.reason == "ContainerCannotRun" || !from_logs {
            return written;
        }
        // behaviour.md 17.2: the end of the log of a container that failed and left no message.
        match streams::logs::fallback_message(Path::new(&status.log_path)) {
            Ok(message) => Some(message),
            Err(error) => Some(format!("Error on reading termination message from logs: {error}")),
        }
    }

    async fn run_sandbox(
        &self,
        pod: &Pod,
        attempt: u32,
        allocated: Option<Box<ResourceRequirements>>,
    ) -> Outcome {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.dirs.prepare(uid).map_err(|e| refused(&e.to_string()))?;
        let logs = self.pod_logs(pod);
        fs::create_dir_all(&logs).map_err(|e| refused(&format!("making {}: {e}", logs.display())))?;
        let mut config = self.sandbox_config(pod, attempt)?;
        if let Some(linux) = &mut config.linux {
            if let Some(allocated) = &allocated {
                linux.resources = Some(resize::of_pod(allocated, &self.place.limits));
            }
            if let Some(cgroups) = &self.cgroups {
                let pod = resize::as_allocated(pod, allocated.as_deref());
                cgroups.ensure(&pod).await.map_err(|e| refused(&chain(&e)))?;
            }
        }
        let id = self.client.run_pod_sandbox(config, String::new()).await.map_err(failure)?;
        Ok(Answer::Made { id })
    }

    fn sandbox_config(&self, pod: &Pod, attempt: u32) -> Result<v1::PodSandboxConfig, Failure> {
        let spec = pod.spec.as_ref();
        let policy = spec.and_then(|s| s.dns_policy.as_deref()).unwrap_or("ClusterFirst");
        let host_network = spec.and_then(|s| s.host_network).unwrap_or(false);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let (resolver, note) = dns::resolver(&self.place.dns, policy, namespace, host_network)
            .map_err(|e| refused(&e.to_string()))?;
        if let Some(note) = note {
            self.recorder.pod_event(pod, None, true, "DNSConfigForming", note);
        }
        let logs = self.pod_logs(pod);
        let mut config = sandbox_config::sandbox_config(pod, attempt, &logs, resolver, &self.place.limits);
        if let (Some(cgroups), Some(linux)) = (&self.cgroups, &mut config.linux) {
            linux.cgroup_parent = cgroups.path(pod).map_err(|e| refused(&chain(&e)))?;
        }
        Ok(config)
    }

    async fn pull(&self, pod: &Pod, image: &str) -> Outcome {
        let config = self.sandbox_config(pod, 0)?;
        let pulled = self.images.pull(pod, image, config).await.map_err(image_failure)?;
        // The node's status lists the images.
        self.runtime.send_modify(|state| state.images_generation += 1);
        Ok(Answer::Pulled { id: pulled.id, size_bytes: pulled.size_bytes })
    }

    async fn create_container(&self, pod: &Pod, call: Call) -> Outcome {
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
        let config_error = |message: String| Failure { kind: FailureKind::Config, message };
        self.dirs.prepare(uid).map_err(|e| config_error(e.to_string()))?;
        let host_ips = self.host_ips.borrow().clone();
        let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
        let pod_ips = if host_network { host_ips.clone() } else { pod_ips };
        let sandbox = self.sandbox_config(pod, 0)?;
        let etc_hosts =
            self.hosts(pod, uid, &sandbox.hostname, &pod_ips, host_network).map_err(config_error)?;
        let wants_message = spec.termination_message_path.as_deref() != Some("");
        let termination_log = if wants_message {
            let token = token(uid, &name, restart_count);
            Some(self.dirs.termination_log(uid, &name, token).map_err(|e| config_error(e.to_string()))?)
        } else {
            None
        };
        let dir = self.pod_logs(pod).join(&name);
        fs::create_dir_all(&dir).map_err(|e| config_error(format!("making {}: {e}", dir.display())))?;
        let addresses = Addresses { pod_ips: &pod_ips, host_ips: &host_ips };
        let mut variables = Vec::new();
        if spec.volume_mounts.iter().flatten().any(|mount| mount.sub_path_expr.is_some()) {
            variables =
                environment::variables(pod, &spec, addresses).map_err(|e| config_error(e.to_string()))?;
        }
        let recursive = self.mounts_recursive_read_only(pod);
        let mounts = self.volumes.mounts(pod, &spec, &variables, recursive).await.map_err(config_error)?;
        let parts = Parts {
            restart_count,
            image_id: &image_id,
            addresses,
            mounts,
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
    fn mounts_recursive_read_only(&self, pod: &Pod) -> bool {
        let wanted = pod.spec.as_ref().and_then(|s| s.runtime_class_name.as_deref()).unwrap_or_default();
        let state = self.runtime.borrow();
        state.handlers.iter().any(|h| h.name == wanted && h.recursive_read_only_mounts)
    }

    async fn run_hook(&self, pod: &Pod, id: &str, name: &str, hook: Hook, pod_ips: Vec<String>) -> Outcome {
        let container = match find(pod, name) {
            Some(container) => container,
            None if hook == Hook::PreStop => Cow::Owned(self.restored(id, name).await?),
            None => return Err(refused("no such container in the pod")),
        };
        let lifecycle = container.lifecycle.as_ref();
        let handler = match hook {
            Hook::PostStart => lifecycle.and_then(|l| l.post_start.as_ref()),
            Hook::PreStop => lifecycle.and_then(|l| l.pre_stop.as_ref()),
        };
        // The spec has lost it meanwhile, or what was written beside the container is damaged: there is nothing to run.
        let Some(handler) = handler else { return Ok(Answer::Done) };
        let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or(false);
        let pod_ips = if host_network { self.host_ips.borrow().clone() } else { pod_ips };
        let place = hooks::Place { client: &self.client, container: &container, id, pod_ips: &pod_ips };
        place.run(handler).await.map(|()| Answer::Done).map_err(|error| {
            let uid = pod.metadata.uid.as_deref();
            tracing::info!(uid, container = name, id, %error, ?hook, "a hook failed");
            refused(&error.to_string())
        })
    }

    /// A container that the spec does not have, as far as its preStop hook goes.
    async fn restored(&self, id: &str, name: &str) -> Result<ContainerSpec, Failure> {
        let status = self.client.container_status(id).await.map_err(failure)?;
        let (container, errors) = restored::container(name, &status.annotations);
        for error in errors {
            let error = chain(&error);
            tracing::warn!(
                container = name,
                id,
                error,
                "the hook of a container without a spec cannot be restored"
            );
        }
        Ok(container)
    }

    /// The pod's hosts file, unless it has no address or brings its own (behaviour.md 8.12).
    fn hosts(
        &self,
        pod: &Pod,
        uid: &str,
        hostname: &str,
        pod_ips: &[String],
        host_network: bool,
    ) -> Result<Option<PathBuf>, String> {
        if pod_ips.is_empty() && !host_network {
            return Ok(None);
        }
        let text = if host_network {
            let node = fs::read_to_string("/etc/hosts").map_err(|e| format!("reading /etc/hosts: {e}"))?;
            volumes::node_hosts_file(&node)
        } else {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            volumes::hosts_file(pod_ips, if hostname.is_empty() { name } else { hostname }, None)
        };
        self.dirs.write_hosts(uid, &text).map(Some).map_err(|e| e.to_string())
    }

    /// Pods that have left directories of their own or of their logs: UID, namespace and name, the last two where they are known.
    pub(crate) fn pods_on_disk(&self) -> Vec<(String, String, String)> {
        let mut found: Vec<(String, String, String)> = Vec::new();
        match log_files::pods(&self.place.pod_logs) {
            Ok(pods) => found.extend(pods),
            Err(error) => tracing::warn!(%error, "logs of pods that are gone cannot be looked for"),
        }
        match self.dirs.uids() {
            Ok(uids) => {
                let known: HashSet<String> = found.iter().map(|(uid, ..)| uid.clone()).collect();
                let unnamed = uids.into_iter().filter(|uid| !known.contains(uid));
                found.extend(unnamed.map(|uid| (uid, String::new(), String::new())));
            }
            Err(error) => tracing::warn!(%error, "directories of pods that are gone cannot be looked for"),
        }
        found
    }

    fn pod_logs(&self, pod: &Pod) -> PathBuf {
        self.place.pod_logs.join(podspec::log_dir_name(pod))
    }

    fn log_link(&self, pod: &Pod, id: &str, container: &str) -> PathBuf {
        let part = |s: &Option<String>| s.clone().unwrap_or_default();
        let (name, namespace) = (part(&pod.metadata.name), part(&pod.metadata.namespace));
        log_files::link(&self.place.container_logs, &name, &namespace, container, id)
    }

    /// The link is for log collectors: a pod runs without it.
    /// The link to the log of a container that was started; it is there already, except after a start or a lost one.
    fn link_log(&self, pod: &Pod, status: &v1::ContainerStatus) {
        let Some(name) = status.metadata.as_ref().map(|m| m.name.as_str()) else { return };
        if status.started_at <= 0 || status.log_path.is_empty() || pod.spec.is_none() {
            return;
        }
        let link = self.log_link(pod, &status.id, name);
        match std::os::unix::fs::symlink(&status.log_path, &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                tracing::warn!(link = %link.display(), %error, "the link to a container's log cannot be made");
            }
            _ => {}
        }
    }

    fn remove_logs(&self, pod: &Pod, id: &str, container: &str, restart_count: u32) {
        let link = self.log_link(pod, id, container);
        if let Err(error) = fs::remove_file(&link)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(link = %link.display(), %error, "the link to a removed container's log stays");
        }
        if let Err(error) = log_files::remove_logs(&self.pod_logs(pod), container, restart_count) {
            let uid = pod.metadata.uid.as_deref();
            tracing::warn!(uid, container, restart_count, %error, "logs of a removed container stay");
        }
    }

    /// Away from the one thread: each directory is a change of the disk, and there may be many.
    async fn remove_dirs(&self, pod: &Pod, logs: bool) -> Outcome {
        let part = |s: &Option<String>| s.clone().unwrap_or_default();
        let (uid, name) = (part(&pod.metadata.uid), part(&pod.metadata.name));
        let (namespace, dir) = (part(&pod.metadata.namespace), self.pod_logs(pod));
        let (dirs, place) = (Arc::clone(&self.dirs), Arc::clone(&self.place));
        let removed = tokio::task::spawn_blocking(move || {
            if !logs {
                return dirs.remove(&uid).map_err(|e| refused(&e.to_string()));
            }
            log_files::remove_links(&place.container_logs, &dir, &name, &namespace);
            match fs::remove_dir_all(&dir) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    Err(refused(&format!("removing {}: {e}", dir.display())))
                }
                _ => Ok(()),
            }
        });
        removed.await.unwrap_or_else(|error| Err(refused(&error.to_string()))).map(|()| Answer::Done)
    }
}

fn find<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, ContainerSpec>> {
    let spec = pod.spec.as_ref()?;
    if let Some((_, found)) = podspec::containers(spec).find(|(_, c)| c.name == name) {
        return Some(Cow::Borrowed(found));
    }
    let ephemeral = spec.ephemeral_containers.iter().flatten().find(|c| c.name == name)?;
    Some(Cow::Owned(podspec::ephemeral_as_container(ephemeral)))
}

/// Eight hex digits that no other start of this pod's containers has: time makes them differ after a lost answer.
fn token(uid: &str, container: &str, restart_count: u32) -> u32 {
    let boot = crate::clock::boot().as_nanos();
    podspec::deep_hash32(format!("{uid}/{container}/{restart_count}/{boot}").as_bytes())
}

fn refused(message: &str) -> Failure {
    Failure { kind: FailureKind::Refused, message: message.to_owned() }
}

/// What a failed call means to the pod machine.
pub(super) fn failure(error: CallError) -> Failure {
    let kind = match &error.cause {
        Cause::NotFound(_) => FailureKind::NotFound,
        Cause::Unavailable(_) => FailureKind::Unavailable,
        Cause::Deadline { .. } => FailureKind::Deadline,
        Cause::NameReserved(_) => FailureKind::Reserved,
        // A start by a daemon that was killed is still being given up.
        Cause::Failed { message, .. } if message.contains("is already in starting state") => {
            FailureKind::Reserved
        }
        Cause::Unimplemented | Cause::InvalidAnswer(_) | Cause::Failed { .. } => FailureKind::Refused,
    };
    Failure { kind, message: told(&error) }
}

/// A pod's events speak of the cause; which call it was follows from the event's reason. As a kubelet does, the runtime's words stand
/// alone where a container is made or started, and where the code of a pull says nothing.
fn told(error: &CallError) -> String {
    match (error.call, &error.cause) {
        ("CreateContainer" | "StartContainer", Cause::Failed { message, .. } | Cause::NotFound(message))
        | ("PullImage", Cause::Failed { code: Code::Unknown, message }) => message.clone(),
        ("PullImage", Cause::NotFound(message)) => format!("rpc error: code = NotFound desc = {message}"),
        (_, Cause::Failed { .. } | Cause::NameReserved(_)) => error.cause.to_string(),
        _ => error.to_string(),
    }
}
