//! The calls, each with its deadline and with its answer checked.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::error::{CallError, Cause};
use crate::events::EventStream;
use crate::v1::image_service_client::ImageServiceClient;
use crate::v1::runtime_service_client::RuntimeServiceClient;
use crate::{MAX_MESSAGE_BYTES, socket, v1};

/// How long calls may take (behaviour.md 47.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `runtimeRequestTimeout`: of most calls; sandbox creation has twice as long.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { request: Duration::from_secs(120) }
    }
}

/// Who the runtime is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `containerd`, say.
    pub runtime_name: String,
    /// Its own version.
    pub runtime_version: String,
    /// Of CRI, `v1`.
    pub api_version: String,
}

/// Whoever is told of each call: its name in CRI, how long it took, whether it succeeded. A call that was dropped is not told.
pub trait Observe: Send + Sync + std::fmt::Debug {
    /// A call has ended.
    fn called(&self, call: &'static str, took: Duration, succeeded: bool);
}

/// A client of one runtime; clones share its connection.
#[derive(Clone, Debug)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    timeouts: Timeouts,
    observer: Option<Arc<dyn Observe>>,
}

type Answer<T> = Result<T, CallError>;

impl Client {
    /// A client of the runtime at `runtime`, with the image service at `images` where that is another socket. Nothing is
    /// connected yet.
    pub fn new(runtime: PathBuf, images: Option<PathBuf>, timeouts: Timeouts) -> Self {
        let channel = socket::channel(runtime);
        let image_channel = images.map_or_else(|| channel.clone(), socket::channel);
        Self {
            runtime: RuntimeServiceClient::new(channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            images: ImageServiceClient::new(image_channel)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
            timeouts,
            observer: None,
        }
    }

    /// The same, and `observer` is told of each call.
    #[must_use]
    pub fn observed(self, observer: Arc<dyn Observe>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Asks who the runtime is; one that does not speak CRI v1 is an invalid answer.
    pub async fn version(&self) -> Answer<Version> {
        let about = About::new("Version", "");
        let request = v1::VersionRequest { version: "0.1.0".to_owned() };
        let mut client = self.runtime.clone();
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.version(r).await })
            .await?;
        if got.runtime_name.is_empty() {
            return Err(about.invalid("no runtime name"));
        }
        if got.version != "0.1.0" {
            return Err(about.invalid(&format!("kubelet API version {:?} instead of \"0.1.0\"", got.version)));
        }
        Ok(Version {
            runtime_name: got.runtime_name,
            runtime_version: got.runtime_version,
            api_version: got.runtime_api_version,
        })
    }

    /// The runtime's conditions, handlers and features.
    pub async fn status(&self) -> Answer<v1::StatusResponse> {
        let about = About::new("Status", "");
        let mut client = self.runtime.clone();
        let request = v1::StatusRequest { verbose: false };
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.status(r).await })
            .await?;
        if got.status.is_none() {
            return Err(about.invalid("no status"));
        }
        Ok(got)
    }

    /// The cgroup driver that the runtime uses; `None` where it does not tell.
    pub async fn cgroup_driver(&self) -> Answer<Option<v1::CgroupDriver>> {
        let about = About::new("RuntimeConfig", "");
        let mut client = self.runtime.clone();
        let request = v1::RuntimeConfigRequest {};
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.runtime_config(r).await })
            .await;
        match got {
            Ok(config) => {
                let Some(linux) = config.linux else { return Ok(None) };
                let driver = v1::CgroupDriver::try_from(linux.cgroup_driver);
                driver.map(Some).map_err(|_| about.invalid("unknown cgroup driver"))
            }
            Err(CallError { cause: Cause::Unimplemented, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells the runtime the range of pod addresses.
    pub async fn update_runtime_config(&self, pod_cidr: String) -> Answer<()> {
        let about = About::new("UpdateRuntimeConfig", &pod_cidr);
        let mut client = self.runtime.clone();
        let network_config = Some(v1::NetworkConfig { pod_cidr });
        let request =
            v1::UpdateRuntimeConfigRequest { runtime_config: Some(v1::RuntimeConfig { network_config }) };
        self.call(
            &about,
            self.timeouts.request,
            request,
            |r| async move { client.update_runtime_config(r).await },
        )
        .await
        .map(drop)
    }

    /// Makes and starts a sandbox; its id.
    pub async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, handler: String) -> Answer<String> {
        let subject =
            config.metadata.as_ref().map(|m| format!("{}/{}", m.namespace, m.name)).unwrap_or_default();
        let about = About::new("RunPodSandbox", &subject);
        let mut client = self.runtime.clone();
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler };
        let deadline = self.timeouts.request * 2;
        let got =
            self.call(&about, deadline, request, |r| async move { client.run_pod_sandbox(r).await }).await?;
        about.id(got.pod_sandbox_id)
    }

    /// Stops a sandbox; one that is gone is stopped.
    pub async fn stop_pod_sandbox(&self, id: &str) -> Answer<()> {
        let about = About::new("StopPodSandbox", id);
        let mut client = self.runtime.clone();
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.stop_pod_sandbox(r).await })
            .await;
        gone_is_done(got.map(drop))
    }

    /// Removes a sandbox; one that is gone is removed.
    pub async fn remove_pod_sandbox(&self, id: &str) -> Answer<()> {
        let about = About::new("RemovePodSandbox", id);
        let mut client = self.runtime.clone();
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let got =
            self.call(&about, self.timeouts.request, request, |r| async move {
                client.remove_pod_sandbox(r).await
            })
            .await;
        gone_is_done(got.map(drop))
    }

    /// Everything about one sandbox.
    pub async fn pod_sandbox_status(&self, id: &str) -> Answer<v1::PodSandboxStatus> {
        let about = About::new("PodSandboxStatus", id);
        let mut client = self.runtime.clone();
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let got =
            self.call(&about, self.timeouts.request, request, |r| async move {
                client.pod_sandbox_status(r).await
            })
            .await?;
        let status = got.status.ok_or_else(|| about.invalid("no status"))?;
        check_sandbox_status(&status).map_err(|why| about.invalid(why))?;
        Ok(status)
    }

    /// The sandboxes with these labels; all with none.
    pub async fn list_pod_sandboxes(&self, labels: HashMap<String, String>) -> Answer<Vec<v1::PodSandbox>> {
        let about = About::new("ListPodSandbox", "");
        let mut client = self.runtime.clone();
        let filter = v1::PodSandboxFilter { label_selector: labels, ..Default::default() };
        let request = v1::ListPodSandboxRequest { filter: Some(filter) };
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.list_pod_sandbox(r).await })
            .await?;
        if got.items.iter().any(|s| s.id.is_empty() || s.metadata.is_none()) {
            return Err(about.invalid("a sandbox without id or metadata"));
        }
        Ok(got.items)
    }

    /// Makes a container; its id.
    pub async fn create_container(
        &self,
        sandbox_id: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Answer<String> {
        let name = config.metadata.as_ref().map(|m| m.name.clone()).unwrap_or_default();
        let about = About::new("CreateContainer", &name);
        let mut client = self.runtime.clone();
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.create_container(r).await })
            .await?;
        about.id(got.container_id)
    }

    /// Starts a container that was made.
    pub async fn start_container(&self, id: &str) -> Answer<()> {
        let about = About::new("StartContainer", id);
        let mut client = self.runtime.clone();
        let request = v1::StartContainerRequest { container_id: id.to_owned() };
        self.call(&about, self.timeouts.request, request, |r| async move { client.start_container(r).await })
            .await
            .map(drop)
    }

    /// Stops a container: its stop signal, SIGKILL after `grace` (whole seconds count); one that is gone is stopped.
    pub async fn stop_container(&self, id: &str, grace: Duration) -> Answer<()> {
        let about = About::new("StopContainer", id);
        let mut client = self.runtime.clone();
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout };
        let deadline = self.timeouts.request.saturating_add(grace);
        let got =
            self.call(&about, deadline, request, |r| async move { client.stop_container(r).await }).await;
        gone_is_done(got.map(drop))
    }

    /// Removes a container, by force where it runs; one that is gone is removed.
    pub async fn remove_container(&self, id: &str) -> Answer<()> {
        let about = About::new("RemoveContainer", id);
        let mut client = self.runtime.clone();
        let request = v1::RemoveContainerRequest { container_id: id.to_owned() };
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.remove_container(r).await })
            .await;
        gone_is_done(got.map(drop))
    }

    /// Gives a running container other resources; what is 0 stays as it is.
    pub async fn update_container_resources(
        &self,
        id: &str,
        resources: v1::LinuxContainerResources,
    ) -> Answer<()> {
        let about = About::new("UpdateContainerResources", id);
        let mut client = self.runtime.clone();
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(resources),
            ..Default::default()
        };
        self.call(&about, self.timeouts.request, request, |r| async move {
            client.update_container_resources(r).await
        })
        .await
        .map(drop)
    }

    /// Tells the runtime what the pod as a whole is to have from now on. A runtime may not have this call.
    pub async fn update_pod_sandbox_resources(
        &self,
        id: &str,
        overhead: v1::LinuxContainerResources,
        resources: v1::LinuxContainerResources,
    ) -> Answer<()> {
        let about = About::new("UpdatePodSandboxResources", id);
        let mut client = self.runtime.clone();
        let request = v1::UpdatePodSandboxResourcesRequest {
            pod_sandbox_id: id.to_owned(),
            overhead: Some(overhead),
            resources: Some(resources),
        };
        self.call(&about, self.timeouts.request, request, |r| async move {
            client.update_pod_sandbox_resources(r).await
        })
        .await
        .map(drop)
    }

    /// Bytes of memory that a running container uses, where the runtime tells.
    pub async fn container_memory(&self, id: &str) -> Answer<Option<u64>> {
        let about = About::new("ContainerStats", id);
        let mut client = self.runtime.clone();
        let request = v1::ContainerStatsRequest { container_id: id.to_owned() };
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.container_stats(r).await })
            .await?;
        let memory = got.stats.and_then(|s| s.memory);
        Ok(memory.and_then(|m| m.usage_bytes).map(|bytes| bytes.value))
    }

    /// What every sandbox that is ready and its containers use, as the runtime measures it now. `None` where it has no such call.
    pub async fn list_pod_sandbox_stats(&self) -> Answer<Option<Vec<v1::PodSandboxStats>>> {
        let about = About::new("ListPodSandboxStats", "");
        let mut client = self.runtime.clone();
        let request = v1::ListPodSandboxStatsRequest { filter: None };
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move {
                client.list_pod_sandbox_stats(r).await
            })
            .await;
        none_if_unimplemented(got.map(|got| got.stats))
    }

    /// What every container uses, with its writable layer. `None` where the runtime has no such call.
    pub async fn list_container_stats(&self) -> Answer<Option<Vec<v1::ContainerStats>>> {
        let about = About::new("ListContainerStats", "");
        let mut client = self.runtime.clone();
        let request = v1::ListContainerStatsRequest { filter: None };
        let got =
            self.call(&about, self.timeouts.request, request, |r| async move {
                client.list_container_stats(r).await
            })
            .await;
        none_if_unimplemented(got.map(|got| got.stats))
    }

    /// The containers with these labels; all with none.
    pub async fn list_containers(&self, labels: HashMap<String, String>) -> Answer<Vec<v1::Container>> {
        let about = About::new("ListContainers", "");
        let mut client = self.runtime.clone();
        let filter = v1::ContainerFilter { label_selector: labels, ..Default::default() };
        let request = v1::ListContainersRequest { filter: Some(filter) };
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.list_containers(r).await })
            .await?;
        if got.containers.iter().any(|c| c.id.is_empty() || c.metadata.is_none()) {
            return Err(about.invalid("a container without id or metadata"));
        }
        Ok(got.containers)
    }

    /// Everything about one container.
    pub async fn container_status(&self, id: &str) -> Answer<v1::ContainerStatus> {
        let about = About::new("ContainerStatus", id);
        let mut client = self.runtime.clone();
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.container_status(r).await })
            .await?;
        let status = got.status.ok_or_else(|| about.invalid("no status"))?;
        check_container_status(&status).map_err(|why| about.invalid(why))?;
        Ok(status)
    }

    /// Has the runtime open the container's log file anew.
    pub async fn reopen_container_log(&self, id: &str) -> Answer<()> {
        let about = About::new("ReopenContainerLog", id);
        let mut client = self.runtime.clone();
        let request = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
        self.call(
            &about,
            self.timeouts.request,
            request,
            |r| async move { client.reopen_container_log(r).await },
        )
        .await
        .map(drop)
    }

    /// Has the runtime write a checkpoint of a running container into a tar file at `location`; `limit` is the runtime's own where absent.
    pub async fn checkpoint_container(
        &self,
        id: &str,
        location: String,
        limit: Option<Duration>,
    ) -> Answer<()> {
        let about = About::new("CheckpointContainer", id);
        let mut client = self.runtime.clone();
        let timeout = limit.map_or(0, |l| i64::try_from(l.as_secs()).unwrap_or(i64::MAX));
        let request = v1::CheckpointContainerRequest { container_id: id.to_owned(), location, timeout };
        let deadline = limit.unwrap_or(self.timeouts.request);
        self.call(&about, deadline, request, |r| async move { client.checkpoint_container(r).await })
            .await
            .map(drop)
    }

    /// Runs a command in a container and waits for its end; without `limit` for ever.
    pub async fn exec_sync(
        &self,
        id: &str,
        cmd: Vec<String>,
        limit: Option<Duration>,
    ) -> Answer<v1::ExecSyncResponse> {
        let about = About::new("ExecSync", id);
        let mut client = self.runtime.clone();
        let timeout = limit.map_or(0, |l| i64::try_from(l.as_secs().max(1)).unwrap_or(i64::MAX));
        let request = v1::ExecSyncRequest { container_id: id.to_owned(), cmd, timeout };
        let deadline = limit.map(|l| l.saturating_add(self.timeouts.request));
        self.call(&about, deadline, request, |r| async move { client.exec_sync(r).await }).await
    }

    /// Where a command can be run in a container, with its streams: a URL that is good for one connection, soon.
    pub async fn exec(&self, request: v1::ExecRequest) -> Answer<String> {
        let about = About::new("Exec", &request.container_id);
        let mut client = self.runtime.clone();
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.exec(r).await })
            .await?;
        about.url(got.url)
    }

    /// Where the streams of a container's process are, as with [`Self::exec`].
    pub async fn attach(&self, request: v1::AttachRequest) -> Answer<String> {
        let about = About::new("Attach", &request.container_id);
        let mut client = self.runtime.clone();
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.attach(r).await })
            .await?;
        about.url(got.url)
    }

    /// Where ports of a sandbox can be connected to, as with [`Self::exec`].
    pub async fn port_forward(&self, request: v1::PortForwardRequest) -> Answer<String> {
        let about = About::new("PortForward", &request.pod_sandbox_id);
        let mut client = self.runtime.clone();
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.port_forward(r).await })
            .await?;
        about.url(got.url)
    }

    /// The image of this name or id; `None` where the node has no such image.
    pub async fn image_status(&self, image: &str) -> Answer<Option<v1::Image>> {
        let about = About::new("ImageStatus", image);
        let mut client = self.images.clone();
        let image = v1::ImageSpec { image: image.to_owned(), ..Default::default() };
        let request = v1::ImageStatusRequest { image: Some(image), verbose: false };
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.image_status(r).await })
            .await?;
        match got.image {
            Some(image) if image.id.is_empty() => Err(about.invalid("an image without id")),
            image => Ok(image),
        }
    }

    /// Every image of the node.
    pub async fn list_images(&self) -> Answer<Vec<v1::Image>> {
        let about = About::new("ListImages", "");
        let mut client = self.images.clone();
        let request = v1::ListImagesRequest::default();
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.list_images(r).await })
            .await?;
        Ok(got.images)
    }

    /// Pulls an image; its id or reference. Has no deadline: the runtime watches the progress itself.
    pub async fn pull_image(
        &self,
        image: v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Answer<String> {
        let about = About::new("PullImage", &image.image);
        let mut client = self.images.clone();
        let request = v1::PullImageRequest { image: Some(image), auth, sandbox_config: Some(sandbox_config) };
        let got = self.call(&about, None, request, |r| async move { client.pull_image(r).await }).await?;
        about.id(got.image_ref)
    }

    /// Removes an image; one that is gone is removed.
    pub async fn remove_image(&self, image: &str) -> Answer<()> {
        let about = About::new("RemoveImage", image);
        let mut client = self.images.clone();
        let image = v1::ImageSpec { image: image.to_owned(), ..Default::default() };
        let request = v1::RemoveImageRequest { image: Some(image) };
        let got = self
            .call(&about, self.timeouts.request, request, |r| async move { client.remove_image(r).await })
            .await;
        gone_is_done(got.map(drop))
    }

    /// Where the runtime keeps its images.
    pub async fn image_fs_info(&self) -> Answer<v1::ImageFsInfoResponse> {
        let about = About::new("ImageFsInfo", "");
        let mut client = self.images.clone();
        let request = v1::ImageFsInfoRequest {};
        self.call(&about, self.timeouts.request, request, |r| async move { client.image_fs_info(r).await })
            .await
    }

    /// The runtime's container events, for as long as the stream is read.
    pub fn events(&self) -> EventStream {
        EventStream::new(self.runtime.clone())
    }

    async fn call<Q, T, F>(
        &self,
        about: &About,
        deadline: impl Into<Option<Duration>>,
        message: Q,
        make: impl FnOnce(Request<Q>) -> F,
    ) -> Answer<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let began = Instant::now();
        let outcome = self.exchange(about, deadline.into(), message, make).await;
        if let Some(observer) = &self.observer {
            observer.called(about.call, began.elapsed(), outcome.is_ok());
        }
        outcome
    }

    async fn exchange<Q, T, F>(
        &self,
        about: &About,
        deadline: Option<Duration>,
        message: Q,
        make: impl FnOnce(Request<Q>) -> F,
    ) -> Answer<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut request = Request::new(message);
        // Boxed: the message and the generated call are large, and the callers' futures wait in sets of all pods.
        let outcome = match deadline {
            Some(deadline) => {
                // The runtime is told too, so that it gives up what nobody waits for.
                request.set_timeout(deadline);
                match tokio::time::timeout(deadline, Box::pin(make(request))).await {
                    Ok(outcome) => outcome,
                    Err(_) => return Err(about.error(Cause::Deadline { after: deadline })),
                }
            }
            None => Box::pin(make(request)).await,
        };
        outcome.map(Response::into_inner).map_err(|status| about.error(Cause::of(&status, deadline)))
    }
}

/// What a call is named in errors.
struct About {
    call: &'static str,
    subject: String,
}

impl About {
    fn new(call: &'static str, subject: &str) -> Self {
        Self { call, subject: subject.to_owned() }
    }

    fn error(&self, cause: Cause) -> CallError {
        CallError { call: self.call, subject: self.subject.clone(), cause }
    }

    fn invalid(&self, why: &str) -> CallError {
        self.error(Cause::InvalidAnswer(why.to_owned()))
    }

    fn id(&self, id: String) -> Answer<String> {
        if id.is_empty() { Err(self.invalid("no id")) } else { Ok(id) }
    }

    fn url(&self, url: String) -> Answer<String> {
        if url.is_empty() { Err(self.invalid("no URL")) } else { Ok(url) }
    }
}

/// What is gone is stopped and removed (behaviour.md 47.6).
fn gone_is_done(outcome: Answer<()>) -> Answer<()> {
    match outcome {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => outcome,
    }
}

fn none_if_unimplemented<T>(outcome: Answer<T>) -> Answer<Option<T>> {
    match outcome {
        Err(CallError { cause: Cause::Unimplemented, .. }) => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// What must be there for the status of a sandbox to be used.
pub(crate) fn check_sandbox_status(status: &v1::PodSandboxStatus) -> Result<(), &'static str> {
    if status.id.is_empty() {
        return Err("a sandbox without id");
    }
    if status.metadata.is_none() {
        return Err("a sandbox without metadata");
    }
    v1::PodSandboxState::try_from(status.state).map(drop).map_err(|_| "a sandbox in an unknown state")
}

/// What must be there for the status of a container to be used.
pub(crate) fn check_container_status(status: &v1::ContainerStatus) -> Result<(), &'static str> {
    if status.id.is_empty() {
        return Err("a container without id");
    }
    if status.metadata.is_none() {
        return Err("a container without metadata");
    }
    if v1::ContainerState::try_from(status.state).is_err() {
        return Err("a container in an unknown state");
    }
    // Go's zero time is what a runtime may send for "never"; anything else before 1970 is wrong.
    Ok(())
}

#[cfg(test)]
mod tests;
