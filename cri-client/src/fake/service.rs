//! The calls.

use std::io::Write as _;
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use tokio::sync::broadcast::error::RecvError;
use tonic::{Request, Response, Status, async_trait};

use super::script::status;
use super::state::{fits, now};
use super::{Effect, FakeRuntime, Life};
use crate::v1;
use crate::v1::image_service_server::ImageService;
use crate::v1::runtime_service_server::RuntimeService;
use v1::ContainerEventType as Kind;

const NAME: &str = "fake";
const VERSION: &str = "2.1.0";
const IMAGE_BYTES: u64 = 1024;
/// Exit codes of a program that a signal ended.
const TERMINATED: i32 = 143;
const KILLED: i32 = 137;
/// How long a program takes to end when it is told to.
const TERM_TIME: Duration = Duration::from_millis(10);

type Answer<T> = Result<Response<T>, Status>;

#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) runtime: FakeRuntime,
    /// Where the containers live.
    pub(super) lives: tokio::runtime::Handle,
}

fn unimplemented(call: &str) -> Status {
    Status::unimplemented(format!("method {call} not implemented"))
}

impl Service {
    /// Writes the call down and lets the script have its way; what it gives back is to be the answer of a call that is carried out.
    async fn admit(&self, call: &str, subject: &str) -> Result<Option<Status>, Status> {
        self.runtime.note(call, subject);
        let effect = self.runtime.script().effect(call, subject);
        match effect {
            None => Ok(None),
            Some(Effect::Delay(millis)) => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok(None)
            }
            Some(Effect::Fail { code, message }) => Err(status(code, &message)),
            Some(Effect::LoseAnswer { code, message }) => Ok(Some(status(code, &message))),
            Some(Effect::Hang) => std::future::pending().await,
        }
    }

    fn subject(&self, id: &str) -> String {
        self.runtime.state().subject(id)
    }

    /// The container runs as long as its life says.
    fn live(&self, id: &str, life: &Life) {
        let Some(after) = life.duration() else { return };
        let (runtime, id, code) = (self.runtime.clone(), id.to_owned(), life.exit_code);
        self.lives.spawn(async move {
            tokio::time::sleep(after).await;
            runtime.end(&id, code, "");
        });
    }

    fn life(&self, config: &v1::ContainerConfig) -> Life {
        let name = config.metadata.as_ref().map_or("", |m| m.name.as_str());
        let scripted = self.runtime.script().lives.get(name).cloned();
        scripted.unwrap_or_else(|| Life::of(&[config.command.as_slice(), config.args.as_slice()].concat()))
    }

    /// The image, if it is there.
    fn image(&self, name: &str) -> Option<v1::Image> {
        let pulled = self.runtime.state().pulled.get(name).cloned();
        let script = self.runtime.script();
        let absent = script.absent_images.iter().chain(&script.unknown_images).any(|i| i == name);
        pulled.or_else(|| (!absent && !name.is_empty()).then(|| image(name)))
    }
}

fn image(name: &str) -> v1::Image {
    v1::Image {
        id: format!("sha256:{name}"),
        repo_tags: vec![name.to_owned()],
        size: IMAGE_BYTES,
        ..Default::default()
    }
}

/// Carries a call out that was let through, and answers what the script left of the answer.
fn answer<T>(lost: Option<Status>, outcome: Result<T, Status>) -> Answer<T> {
    match lost {
        Some(status) => Err(status),
        None => outcome.map(Response::new),
    }
}

#[async_trait]
impl RuntimeService for Service {
    async fn version(&self, _: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        let lost = self.admit("Version", "").await?;
        let version = v1::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: NAME.to_owned(),
            runtime_version: VERSION.to_owned(),
            runtime_api_version: "v1".to_owned(),
        };
        answer(lost, Ok(version))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let lost = self.admit("Status", "").await?;
        let condition =
            |kind: &str| v1::RuntimeCondition { r#type: kind.to_owned(), status: true, ..Default::default() };
        let conditions = vec![condition("RuntimeReady"), condition("NetworkReady")];
        answer(
            lost,
            Ok(v1::StatusResponse { status: Some(v1::RuntimeStatus { conditions }), ..Default::default() }),
        )
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<v1::RunPodSandboxRequest>,
    ) -> Answer<v1::RunPodSandboxResponse> {
        let v1::RunPodSandboxRequest { config, runtime_handler } = request.into_inner();
        let config = config.unwrap_or_default();
        let subject =
            config.metadata.as_ref().map(|m| format!("{}/{}", m.namespace, m.name)).unwrap_or_default();
        let lost = self.admit("RunPodSandbox", &subject).await?;
        let made = self.runtime.state().run_sandbox(config, runtime_handler);
        if let Ok(id) = &made {
            self.runtime.tell(id, Kind::ContainerCreatedEvent);
            self.runtime.tell(id, Kind::ContainerStartedEvent);
        }
        answer(lost, made.map(|pod_sandbox_id| v1::RunPodSandboxResponse { pod_sandbox_id }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let lost = self.admit("StopPodSandbox", &self.subject(&id)).await?;
        let running = self.runtime.state().running_in(&id);
        for container in running {
            self.runtime.end(&container, KILLED, "");
        }
        if self.runtime.state().stop_sandbox(&id) {
            self.runtime.tell(&id, Kind::ContainerStoppedEvent);
        }
        answer(lost, Ok(v1::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let lost = self.admit("RemovePodSandbox", &self.subject(&id)).await?;
        self.runtime.tell(&id, Kind::ContainerDeletedEvent);
        self.runtime.state().remove_sandbox(&id);
        answer(lost, Ok(v1::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        let v1::PodSandboxStatusRequest { pod_sandbox_id: id, verbose } = request.into_inner();
        let lost = self.admit("PodSandboxStatus", &self.subject(&id)).await?;
        let status = self.runtime.state().sandbox(&id).map(|s| s.status.clone());
        let image = self.runtime.state().sandbox_image.clone().filter(|_| verbose);
        let info = image.map(|image| ("info".to_owned(), format!("{{\"image\":\"{image}\"}}")));
        let response = |status| v1::PodSandboxStatusResponse {
            status: Some(status),
            timestamp: now(),
            info: info.into_iter().collect(),
            ..Default::default()
        };
        answer(lost, status.map(response))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        let lost = self.admit("ListPodSandbox", "").await?;
        let filter = request.into_inner().filter.unwrap_or_default();
        let state = self.runtime.state();
        let wanted = |s: &v1::PodSandboxStatus| {
            (filter.id.is_empty() || filter.id == s.id)
                && filter.state.as_ref().is_none_or(|f| f.state == s.state)
                && fits(&s.labels, &filter.label_selector)
        };
        let shown = |s: &v1::PodSandboxStatus| v1::PodSandbox {
            id: s.id.clone(),
            metadata: s.metadata.clone(),
            state: s.state,
            created_at: s.created_at,
            labels: s.labels.clone(),
            annotations: s.annotations.clone(),
            runtime_handler: s.runtime_handler.clone(),
        };
        let items = state.sandboxes.values().map(|s| &s.status).filter(|s| wanted(s)).map(shown).collect();
        answer(lost, Ok(v1::ListPodSandboxResponse { items }))
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        let v1::CreateContainerRequest { pod_sandbox_id, config, .. } = request.into_inner();
        let config = config.unwrap_or_default();
        let name = config.metadata.as_ref().map_or("", |m| m.name.as_str());
        let subject = format!("{}/{name}", self.subject(&pod_sandbox_id));
        let lost = self.admit("CreateContainer", &subject).await?;
        let made = self.runtime.state().create(&pod_sandbox_id, config);
        if let Ok(id) = &made {
            self.runtime.tell(id, Kind::ContainerCreatedEvent);
        }
        answer(lost, made.map(|container_id| v1::CreateContainerResponse { container_id }))
    }

    async fn start_container(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Answer<v1::StartContainerResponse> {
        let id = request.into_inner().container_id;
        let lost = self.admit("StartContainer", &self.subject(&id)).await?;
        let started = self.runtime.state().start(&id).map(|c| (c.config.clone(), c.status.log_path.clone()));
        if let Ok((config, log)) = &started {
            if self.runtime.script().write_logs {
                write_log(log);
            }
            self.runtime.tell(&id, Kind::ContainerStartedEvent);
            self.live(&id, &self.life(config));
        }
        answer(lost, started.map(|_| v1::StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Answer<v1::StopContainerResponse> {
        let v1::StopContainerRequest { container_id: id, timeout } = request.into_inner();
        let lost = self.admit("StopContainer", &self.subject(&id)).await?;
        let config = self.runtime.state().container(&id).map(|c| c.config.clone())?;
        let grace = Duration::from_secs(timeout.max(0).unsigned_abs());
        let (after, code) = if self.life(&config).ignores_term || grace.is_zero() {
            (grace, KILLED)
        } else {
            (TERM_TIME.min(grace), TERMINATED)
        };
        tokio::time::sleep(after).await;
        self.runtime.end(&id, code, "");
        answer(lost, Ok(v1::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        let id = request.into_inner().container_id;
        let lost = self.admit("RemoveContainer", &self.subject(&id)).await?;
        self.runtime.end(&id, KILLED, "");
        self.runtime.tell(&id, Kind::ContainerDeletedEvent);
        self.runtime.state().containers.remove(&id);
        answer(lost, Ok(v1::RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Answer<v1::ListContainersResponse> {
        let lost = self.admit("ListContainers", "").await?;
        let filter = request.into_inner().filter.unwrap_or_default();
        let state = self.runtime.state();
        let containers = state
            .containers
            .values()
            .filter(|c| {
                (filter.id.is_empty() || filter.id == c.status.id)
                    && (filter.pod_sandbox_id.is_empty() || filter.pod_sandbox_id == c.sandbox)
                    && filter.state.as_ref().is_none_or(|f| f.state == c.status.state)
                    && fits(&c.status.labels, &filter.label_selector)
            })
            .map(|c| v1::Container {
                id: c.status.id.clone(),
                pod_sandbox_id: c.sandbox.clone(),
                metadata: c.status.metadata.clone(),
                image: c.status.image.clone(),
                image_ref: c.status.image_ref.clone(),
                state: c.status.state,
                created_at: c.status.created_at,
                labels: c.status.labels.clone(),
                annotations: c.status.annotations.clone(),
                image_id: c.status.image_id.clone(),
            })
            .collect();
        answer(lost, Ok(v1::ListContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        let id = request.into_inner().container_id;
        let lost = self.admit("ContainerStatus", &self.subject(&id)).await?;
        let status = self.runtime.state().container(&id).map(|c| c.status.clone());
        answer(lost, status.map(|s| v1::ContainerStatusResponse { status: Some(s), ..Default::default() }))
    }

    async fn update_container_resources(
        &self,
        request: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        let v1::UpdateContainerResourcesRequest { container_id: id, linux, .. } = request.into_inner();
        let lost = self.admit("UpdateContainerResources", &self.subject(&id)).await?;
        let mut state = self.runtime.state();
        let found = state.container(&id).map(|_| v1::UpdateContainerResourcesResponse {});
        if let Some(container) = state.containers.get_mut(&id) {
            container.status.resources = Some(v1::ContainerResources { linux });
        }
        answer(lost, found)
    }

    async fn reopen_container_log(
        &self,
        request: Request<v1::ReopenContainerLogRequest>,
    ) -> Answer<v1::ReopenContainerLogResponse> {
        let id = request.into_inner().container_id;
        let lost = self.admit("ReopenContainerLog", &self.subject(&id)).await?;
        let log = self.runtime.state().container(&id).map(|c| c.status.log_path.clone());
        if let Ok(log) = &log {
            write_log(log);
        }
        answer(lost, log.map(|_| v1::ReopenContainerLogResponse {}))
    }

    async fn update_runtime_config(
        &self,
        request: Request<v1::UpdateRuntimeConfigRequest>,
    ) -> Answer<v1::UpdateRuntimeConfigResponse> {
        let network = request.into_inner().runtime_config.and_then(|config| config.network_config);
        let pod_cidr = network.map(|network| network.pod_cidr).unwrap_or_default();
        let lost = self.admit("UpdateRuntimeConfig", &pod_cidr).await?;
        answer(lost, Ok(v1::UpdateRuntimeConfigResponse {}))
    }

    async fn runtime_config(
        &self,
        _: Request<v1::RuntimeConfigRequest>,
    ) -> Answer<v1::RuntimeConfigResponse> {
        let lost = self.admit("RuntimeConfig", "").await?;
        let linux = v1::LinuxRuntimeConfiguration { cgroup_driver: v1::CgroupDriver::Cgroupfs as i32 };
        answer(lost, Ok(v1::RuntimeConfigResponse { linux: Some(linux) }))
    }

    type GetContainerEventsStream =
        Pin<Box<dyn Stream<Item = Result<v1::ContainerEventResponse, Status>> + Send + 'static>>;

    async fn get_container_events(
        &self,
        _: Request<v1::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let events = self.runtime.shared.events.subscribe();
        let lost = self.admit("GetContainerEvents", "").await?;
        if self.runtime.script().no_events {
            return Err(unimplemented("GetContainerEvents"));
        }
        let stream = futures::stream::unfold(events, |mut events| async move {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((Ok(event), events)),
                    // As with a real runtime, what a slow reader has missed is gone.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                }
            }
        });
        answer(lost, Ok(Box::pin(stream) as Self::GetContainerEventsStream))
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<v1::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<v1::UpdatePodSandboxResourcesResponse> {
        let id = request.into_inner().pod_sandbox_id;
        let lost = self.admit("UpdatePodSandboxResources", &self.subject(&id)).await?;
        let found = self.runtime.state().sandbox(&id).map(|_| v1::UpdatePodSandboxResourcesResponse {});
        answer(lost, found)
    }

    /// The command runs nowhere, and succeeds.
    async fn exec_sync(&self, request: Request<v1::ExecSyncRequest>) -> Answer<v1::ExecSyncResponse> {
        let id = request.into_inner().container_id;
        let lost = self.admit("ExecSync", &self.subject(&id)).await?;
        let state = self.runtime.state().container(&id).map(|c| c.status.state)?;
        if state != v1::ContainerState::ContainerRunning as i32 {
            return Err(Status::unknown(format!("container {id} is not running")));
        }
        answer(lost, Ok(v1::ExecSyncResponse::default()))
    }

    async fn exec(&self, _: Request<v1::ExecRequest>) -> Answer<v1::ExecResponse> {
        Err(unimplemented("Exec"))
    }

    async fn attach(&self, _: Request<v1::AttachRequest>) -> Answer<v1::AttachResponse> {
        Err(unimplemented("Attach"))
    }

    async fn port_forward(&self, _: Request<v1::PortForwardRequest>) -> Answer<v1::PortForwardResponse> {
        Err(unimplemented("PortForward"))
    }

    async fn container_stats(
        &self,
        _: Request<v1::ContainerStatsRequest>,
    ) -> Answer<v1::ContainerStatsResponse> {
        Err(unimplemented("ContainerStats"))
    }

    async fn list_container_stats(
        &self,
        _: Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        Err(unimplemented("ListContainerStats"))
    }

    async fn pod_sandbox_stats(
        &self,
        _: Request<v1::PodSandboxStatsRequest>,
    ) -> Answer<v1::PodSandboxStatsResponse> {
        Err(unimplemented("PodSandboxStats"))
    }

    async fn list_pod_sandbox_stats(
        &self,
        _: Request<v1::ListPodSandboxStatsRequest>,
    ) -> Answer<v1::ListPodSandboxStatsResponse> {
        Err(unimplemented("ListPodSandboxStats"))
    }

    async fn checkpoint_container(
        &self,
        request: Request<v1::CheckpointContainerRequest>,
    ) -> Answer<v1::CheckpointContainerResponse> {
        let v1::CheckpointContainerRequest { container_id: id, location, .. } = request.into_inner();
        let lost = self.admit("CheckpointContainer", &self.subject(&id)).await?;
        let found = self.runtime.state().container(&id).map(|_| ());
        let written = found.and_then(|()| {
            std::fs::write(&location, id).map_err(|error| Status::internal(format!("{location}: {error}")))
        });
        answer(lost, written.map(|()| v1::CheckpointContainerResponse {}))
    }

    async fn list_metric_descriptors(
        &self,
        _: Request<v1::ListMetricDescriptorsRequest>,
    ) -> Answer<v1::ListMetricDescriptorsResponse> {
        Err(unimplemented("ListMetricDescriptors"))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<v1::ListPodSandboxMetricsRequest>,
    ) -> Answer<v1::ListPodSandboxMetricsResponse> {
        Err(unimplemented("ListPodSandboxMetrics"))
    }
}

#[async_trait]
impl ImageService for Service {
    async fn list_images(&self, _: Request<v1::ListImagesRequest>) -> Answer<v1::ListImagesResponse> {
        let lost = self.admit("ListImages", "").await?;
        let images = self.runtime.state().pulled.values().cloned().collect();
        answer(lost, Ok(v1::ListImagesResponse { images }))
    }

    async fn image_status(
        &self,
        request: Request<v1::ImageStatusRequest>,
    ) -> Answer<v1::ImageStatusResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        let lost = self.admit("ImageStatus", &name).await?;
        answer(lost, Ok(v1::ImageStatusResponse { image: self.image(&name), ..Default::default() }))
    }

    async fn pull_image(&self, request: Request<v1::PullImageRequest>) -> Answer<v1::PullImageResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        let lost = self.admit("PullImage", &name).await?;
        if self.runtime.script().unknown_images.contains(&name) {
            let message = format!(
                "failed to pull and unpack image \"{name}\": failed to resolve reference \"{name}\": {name}: not found"
            );
            return Err(Status::not_found(message));
        }
        let image = image(&name);
        let image_ref = image.id.clone();
        self.runtime.state().pulled.insert(name, image);
        answer(lost, Ok(v1::PullImageResponse { image_ref }))
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Answer<v1::RemoveImageResponse> {
        let name = request.into_inner().image.unwrap_or_default().image;
        let lost = self.admit("RemoveImage", &name).await?;
        self.runtime.state().pulled.retain(|key, image| *key != name && image.id != name);
        answer(lost, Ok(v1::RemoveImageResponse {}))
    }

    async fn image_fs_info(&self, _: Request<v1::ImageFsInfoRequest>) -> Answer<v1::ImageFsInfoResponse> {
        let lost = self.admit("ImageFsInfo", "").await?;
        let mountpoint = self.runtime.state().image_filesystem.clone();
        let filesystem = mountpoint.map(|mountpoint| v1::FilesystemUsage {
            fs_id: Some(v1::FilesystemIdentifier { mountpoint }),
            ..Default::default()
        });
        let image_filesystems = filesystem.into_iter().collect();
        answer(lost, Ok(v1::ImageFsInfoResponse { image_filesystems, ..Default::default() }))
    }
}

/// A line as a runtime writes it. A log that cannot be written is missed by its reader; the container runs.
fn write_log(path: &str) {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = file {
        let _ = file.write_all(b"2026-01-01T00:00:00.000000000Z stdout F started\n");
    }
}
