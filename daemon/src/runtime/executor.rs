//! Carries out what a pod machine wants of the runtime and of the disk.
//!
//! Calls of different pods share nothing but the connection. A call is cancelled by dropping it; the machine looks again
//! before it relies on anything.

mod create;
mod resize;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cri_client::{CallError, Cause, Client, Code, v1};
use futures::future::{join, join_all, try_join};
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod, ResourceRequirements, Service};
use k8s_openapi::api::node::v1::RuntimeClass;
use lifecycle::{Answer, Call, Facts, Failure, FailureKind, Hook, Observation};
use tokio::sync::watch;
use tokio::time::Instant;
use volumes::PodDirs;

use self::create::ImageUsers;
use super::container_config::{MESSAGE_PATH, MESSAGE_POLICY};
use super::host_name::{self, HostName, HostNameError};
use super::image_failure::image_failure;
use super::kernel_log::KernelLog;
use super::service_variables::ServiceAddress;
use super::users::{self, Users};
use super::{dns, hooks, log_files, observe, restored, sandbox_config, security};
use crate::cause::chain;
use crate::cgroups::{Limits, PodCgroups};
use crate::events::Recorder;
use crate::followed::Followed;
use crate::images::Images;
use crate::metrics::Work;
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
    /// What it and the machine say about rights.
    pub(crate) security: security::Settings,
    /// The gate `ContainerStopSignals`.
    pub(crate) stop_signals: bool,
    /// The gate `EnvFiles`.
    pub(crate) env_files: bool,
    /// The ids of the node that pods with users of their own have.
    pub(crate) users: Users,
}

/// What starts of pods need beside the runtime.
#[derive(Clone, Debug)]
pub(crate) struct Supplies {
    pub(crate) images: Images,
    pub(crate) volumes: PodVolumes,
    /// For the variables of all pods.
    pub(crate) services: Followed<Service, ServiceAddress>,
    /// Handlers by the names of runtime classes.
    pub(crate) classes: Followed<RuntimeClass, String>,
    /// What is known of this node.
    pub(crate) facts: watch::Receiver<Arc<Facts>>,
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
    supplies: Supplies,
    image_users: Arc<ImageUsers>,
    /// `None` where pods have no cgroups of their own.
    cgroups: Option<PodCgroups>,
    work: Option<Work>,
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
        supplies: Supplies,
    ) -> Self {
        let place = Arc::new(place);
        let kernel_log = Arc::new(KernelLog::new(Path::new(KERNEL_LOG)));
        let image_users = Arc::default();
        Self {
            client,
            dirs,
            place,
            host_ips,
            recorder,
            runtime,
            supplies,
            image_users,
            cgroups: None,
            work: None,
            kernel_log,
        }
    }

    /// With series of what is done.
    pub(crate) fn with_work(self, work: Work) -> Self {
        Self { work: Some(work), ..self }
    }

    /// What was done to a pod's cgroup is counted.
    fn did(&self, operation: &'static str, began: Instant) {
        if let Some(work) = &self.work {
            work.cgroup(operation, began);
        }
    }

    /// With cgroups for the pods.
    pub(crate) fn with_cgroups(self, cgroups: PodCgroups) -> Self {
        Self { cgroups: Some(cgroups), ..self }
    }

    /// What the pods of this node refer to.
    pub(crate) fn objects(&self) -> &Objects {
        self.supplies.volumes.objects()
    }

    /// Changes whenever there are other runtime classes.
    pub(crate) fn classes(&self) -> &Followed<RuntimeClass, String> {
        &self.supplies.classes
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
                let id = Box::pin(self.supplies.images.inspect(pod, &image)).await.map_err(image_failure)?;
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
                    let began = Instant::now();
                    let removed = Box::pin(cgroups.remove(uid)).await;
                    self.did("destroy", began);
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
            Call::MountVolumes => match Box::pin(self.supplies.volumes.mount(pod)).await {
                Ok(refresh_after) => Ok(Answer::Mounted { refresh_after }),
                Err(error) => Err(Failure { kind: error.kind, message: error.message }),
            },
            Call::UnmountVolumes => {
                let uid = pod.metadata.uid.as_deref().unwrap_or_default();
                match Box::pin(self.supplies.volumes.unmount(uid)).await {
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
        let handler = self.handler(pod).await?;
        let users = self.users_of(pod, &handler).await?;
        let mut config = self.sandbox_config(pod, attempt, users, true)?;
        if let Some(linux) = &mut config.linux {
            if let Some(allocated) = &allocated {
                linux.resources = Some(resize::of_pod(allocated, &self.place.limits));
            }
            if let Some(cgroups) = &self.cgroups {
                let pod = resize::as_allocated(pod, allocated.as_deref());
                let began = Instant::now();
                cgroups.ensure(&pod).await.map_err(|e| refused(&chain(&e)))?;
                self.did("create", began);
            }
        }
        let id = self.client.run_pod_sandbox(config, handler).await.map_err(failure)?;
        Ok(Answer::Made { id })
    }

    /// The runtime's name for the pod's runtime class; nothing for a pod without one.
    async fn handler(&self, pod: &Pod) -> Result<String, Failure> {
        let class = pod.spec.as_ref().and_then(|s| s.runtime_class_name.as_deref()).unwrap_or_default();
        if class.is_empty() {
            return Ok(String::new());
        }
        let classes = self.supplies.classes.read().await;
        let classes = classes.map_err(|_| {
            refused(&format!(
                "failed to lookup RuntimeClass {class}: the API server has not said yet which there are"
            ))
        })?;
        classes
            .get(&(String::new(), class.to_owned()))
            .cloned()
            .ok_or_else(|| refused(&format!("runtimeclass.node.k8s.io {class:?} not found")))
    }

    /// The user namespace of a pod that runs under this handler; its directory must be there.
    async fn users_of(&self, pod: &Pod, handler: &str) -> Result<v1::UserNamespace, Failure> {
        if pod.spec.as_ref().and_then(|s| s.host_users) != Some(false) {
            return Ok(users::of_node());
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        users::check_handler(&self.runtime.borrow().handlers, handler)
            .map_err(|e| refused(&e.to_string()))?;
        let users = self.place.users.clone();
        // It reads and writes files, and may run a program.
        let given = tokio::task::spawn_blocking(move || users.of_pod(&uid)).await;
        let given = given.map_err(|e| refused(&e.to_string()))?;
        given.map_err(|e| refused(&e.to_string()))
    }

    /// `tells`: what had to be left out becomes an event.
    fn sandbox_config(
        &self,
        pod: &Pod,
        attempt: u32,
        users: v1::UserNamespace,
        tells: bool,
    ) -> Result<v1::PodSandboxConfig, Failure> {
        let host_ips = self.host_ips.borrow().clone();
        let formed = dns::resolver(&self.place.dns, pod, &host_ips).map_err(|e| refused(&e.to_string()))?;
        if tells {
            for note in formed.left_out {
                self.recorder.pod_event(pod, None, true, "DNSConfigForming", note);
            }
            if let Some(note) = formed.no_cluster {
                self.recorder.node_event(true, "MissingClusterDNS", note.clone());
                let note = format!("pod: {:?}. {note}", podspec::long_pod_name(pod));
                self.recorder.pod_event(pod, None, true, "MissingClusterDNS", note);
            }
        }
        let name = self.host_name(pod).map_err(|e| refused(&e.to_string()))?;
        let parts = sandbox_config::Parts {
            attempt,
            log_dir: &self.pod_logs(pod),
            resolver: formed.resolver,
            hostname: name.kernel,
            users,
            limits: &self.place.limits,
        };
        let mut config = sandbox_config::sandbox_config(pod, parts);
        if let (Some(cgroups), Some(linux)) = (&self.cgroups, &mut config.linux) {
            linux.cgroup_parent = cgroups.path(pod).map_err(|e| refused(&chain(&e)))?;
        }
        Ok(config)
    }

    fn host_name(&self, pod: &Pod) -> Result<HostName, HostNameError> {
        host_name::host_name(pod, &self.place.dns.cluster_domain, self.place.dns.overrides)
    }

    async fn pull(&self, pod: &Pod, image: &str) -> Outcome {
        let config = self.sandbox_config(pod, 0, users::of_node(), false)?;
        let pulled = self.supplies.images.pull(pod, image, config).await.map_err(image_failure)?;
        // The node's status lists the images.
        self.runtime.send_modify(|state| state.images_generation += 1);
        Ok(Answer::Pulled { id: pulled.id, size_bytes: pulled.size_bytes })
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
        let (dirs, place, users) =
            (Arc::clone(&self.dirs), Arc::clone(&self.place), self.place.users.clone());
        let removed = tokio::task::spawn_blocking(move || {
            if !logs {
                dirs.remove(&uid).map_err(|e| refused(&e.to_string()))?;
                // No file belongs to its ids any more.
                users.release(&uid);
                return Ok(());
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
