//! What a runtime knows, and the rules of CRI about it.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use tonic::Status;

use crate::v1;
use v1::{ContainerEventType, ContainerState, PodSandboxState};

/// Addresses of pods are counted from here.
const FIRST_POD_IP: u32 = 0x0af4_0002;
const NETWORK_OF_NODE: i32 = v1::NamespaceMode::Node as i32;

#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) config: v1::PodSandboxConfig,
    pub(super) status: v1::PodSandboxStatus,
}

#[derive(Debug)]
pub(super) struct Container {
    pub(super) sandbox: String,
    pub(super) config: v1::ContainerConfig,
    pub(super) status: v1::ContainerStatus,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) sandboxes: BTreeMap<String, Sandbox>,
    pub(super) containers: BTreeMap<String, Container>,
    /// By name, those that were pulled.
    pub(super) pulled: BTreeMap<String, v1::Image>,
    /// Where it says that images are.
    pub(super) image_filesystem: Option<String>,
    /// What sandboxes are made of.
    pub(super) sandbox_image: Option<String>,
    pub(super) violations: Vec<String>,
    made: u64,
    ips: u32,
}

/// Now, as nanoseconds since the epoch.
pub(super) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn no_such(what: &str, id: &str) -> Status {
    Status::not_found(format!("an error occurred when try to find {what} \"{id}\": not found"))
}

fn reserved(what: &str, name: &str, holder: &str) -> Status {
    Status::unknown(format!(
        "failed to reserve {what} name \"{name}\": name \"{name}\" is reserved for \"{holder}\""
    ))
}

pub(super) fn fits(labels: &HashMap<String, String>, selector: &HashMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl State {
    fn new_id(&mut self) -> String {
        self.made += 1;
        format!("{:064x}", self.made)
    }

    pub(super) fn run_sandbox(
        &mut self,
        config: v1::PodSandboxConfig,
        handler: String,
    ) -> Result<String, Status> {
        let Some(metadata) = config.metadata.clone() else {
            return Err(Status::invalid_argument("sandbox config must include metadata"));
        };
        let holder = self.sandboxes.iter().find(|(_, s)| s.status.metadata.as_ref() == Some(&metadata));
        if let Some((holder, _)) = holder {
            let v1::PodSandboxMetadata { name, uid, namespace, attempt } = metadata;
            return Err(reserved("sandbox", &format!("{name}_{namespace}_{uid}_{attempt}"), holder));
        }
        let context = config.linux.as_ref().and_then(|l| l.security_context.as_ref());
        let options = context.and_then(|c| c.namespace_options.clone()).unwrap_or_default();
        let ip = if options.network == NETWORK_OF_NODE {
            String::new()
        } else {
            self.ips += 1;
            Ipv4Addr::from(FIRST_POD_IP + self.ips).to_string()
        };
        let id = self.new_id();
        let status = v1::PodSandboxStatus {
            id: id.clone(),
            metadata: Some(metadata),
            state: PodSandboxState::SandboxReady as i32,
            created_at: now(),
            network: Some(v1::PodSandboxNetworkStatus { ip, additional_ips: Vec::new() }),
            linux: Some(v1::LinuxPodSandboxStatus {
                namespaces: Some(v1::Namespace { options: Some(options) }),
            }),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            runtime_handler: handler,
        };
        self.sandboxes.insert(id.clone(), Sandbox { config, status });
        Ok(id)
    }

    /// The containers of a sandbox that run.
    pub(super) fn running_in(&self, sandbox: &str) -> Vec<String> {
        let running =
            |c: &Container| c.sandbox == sandbox && c.status.state == ContainerState::ContainerRunning as i32;
        self.containers.iter().filter(|(_, c)| running(c)).map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn stop_sandbox(&mut self, id: &str) -> bool {
        let Some(sandbox) = self.sandboxes.get_mut(id) else { return false };
        sandbox.status.state = PodSandboxState::SandboxNotready as i32;
        true
    }

    pub(super) fn remove_sandbox(&mut self, id: &str) {
        self.containers.retain(|_, c| c.sandbox != id);
        self.sandboxes.remove(id);
    }

    pub(super) fn create(&mut self, sandbox: &str, config: v1::ContainerConfig) -> Result<String, Status> {
        let Some(holder) = self.sandboxes.get(sandbox) else { return Err(no_such("sandbox", sandbox)) };
        if holder.status.state != PodSandboxState::SandboxReady as i32 {
            return Err(Status::unknown(format!("sandbox container \"{sandbox}\" is not running")));
        }
        let Some(metadata) = config.metadata.clone() else {
            return Err(Status::invalid_argument("container config must include metadata"));
        };
        let taken = self
            .containers
            .iter()
            .find(|(_, c)| c.sandbox == sandbox && c.status.metadata.as_ref() == Some(&metadata));
        if let Some((holder, _)) = taken {
            return Err(reserved(
                "container",
                &format!("{}_{sandbox}_{}", metadata.name, metadata.attempt),
                holder,
            ));
        }
        let image = config.image.clone().unwrap_or_default();
        let log_path = format!("{}/{}", holder.config.log_directory, config.log_path);
        let id = self.new_id();
        let status = v1::ContainerStatus {
            id: id.clone(),
            metadata: Some(metadata),
            state: ContainerState::ContainerCreated as i32,
            created_at: now(),
            image_ref: image.image.clone(),
            image_id: image.image.clone(),
            image: Some(image),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            log_path,
            ..Default::default()
        };
        self.containers.insert(id.clone(), Container { sandbox: sandbox.to_owned(), config, status });
        Ok(id)
    }

    pub(super) fn start(&mut self, id: &str) -> Result<&Container, Status> {
        let Some(container) = self.containers.get(id) else { return Err(no_such("container", id)) };
        if container.status.state != ContainerState::ContainerCreated as i32 {
            return Err(Status::unknown(format!("container \"{id}\" is not in created state")));
        }
        let name = name_of(container);
        let same = |(other, c): (&String, &Container)| {
            let running = c.status.state == ContainerState::ContainerRunning as i32;
            let pod = c.status.labels.get("io.kubernetes.pod.uid");
            (running && name_of(c) == name && pod == container.status.labels.get("io.kubernetes.pod.uid"))
                .then(|| other.clone())
        };
        if let Some(other) = self.containers.iter().find_map(same) {
            self.violations.push(format!("container {name} was started as {id} while {other} ran"));
        }
        let container = self.containers.get_mut(id).ok_or_else(|| no_such("container", id))?;
        container.status.state = ContainerState::ContainerRunning as i32;
        container.status.started_at = now();
        Ok(container)
    }

    /// Whether it ran until now.
    pub(super) fn end(&mut self, id: &str, exit_code: i32, reason: &str) -> bool {
        let Some(container) = self.containers.get_mut(id) else { return false };
        if container.status.state != ContainerState::ContainerRunning as i32 {
            return false;
        }
        container.status.state = ContainerState::ContainerExited as i32;
        container.status.finished_at = now();
        container.status.exit_code = exit_code;
        container.status.reason = match reason {
            "" if exit_code == 0 => "Completed",
            "" => "Error",
            reason => reason,
        }
        .to_owned();
        true
    }

    /// The running container of a pod, by both names.
    pub(super) fn running(&self, pod: &str, container: &str) -> Option<String> {
        let found = self.containers.iter().find(|(_, c)| {
            let sandbox = self.sandboxes.get(&c.sandbox).and_then(|s| s.status.metadata.as_ref());
            c.status.state == ContainerState::ContainerRunning as i32
                && name_of(c) == container
                && sandbox.is_some_and(|m| m.name == pod)
        });
        found.map(|(id, _)| id.clone())
    }

    pub(super) fn container(&self, id: &str) -> Result<&Container, Status> {
        self.containers.get(id).ok_or_else(|| no_such("container", id))
    }

    pub(super) fn sandbox(&self, id: &str) -> Result<&Sandbox, Status> {
        self.sandboxes.get(id).ok_or_else(|| no_such("sandbox", id))
    }

    /// `namespace/pod/container` of a container, `namespace/pod` of a sandbox, else the id.
    pub(super) fn subject(&self, id: &str) -> String {
        let pod = |s: &Sandbox| s.status.metadata.as_ref().map(|m| format!("{}/{}", m.namespace, m.name));
        if let Some(sandbox) = self.sandboxes.get(id) {
            return pod(sandbox).unwrap_or_default();
        }
        let Some(container) = self.containers.get(id) else { return id.to_owned() };
        let sandbox = self.sandboxes.get(&container.sandbox).and_then(pod).unwrap_or_default();
        format!("{sandbox}/{}", name_of(container))
    }

    /// The event of a container or sandbox, with everything of its pod.
    pub(super) fn event(&self, id: &str, kind: ContainerEventType) -> Option<v1::ContainerEventResponse> {
        let sandbox = self.containers.get(id).map_or(id, |c| c.sandbox.as_str());
        let status = self.sandboxes.get(sandbox)?.status.clone();
        let of_pod = self.containers.values().filter(|c| c.sandbox == sandbox);
        Some(v1::ContainerEventResponse {
            container_id: id.to_owned(),
            container_event_type: kind as i32,
            created_at: now(),
            pod_sandbox_status: Some(status),
            containers_statuses: of_pod.map(|c| c.status.clone()).collect(),
        })
    }
}

fn name_of(container: &Container) -> &str {
    container.status.metadata.as_ref().map_or("", |m| m.name.as_str())
}
