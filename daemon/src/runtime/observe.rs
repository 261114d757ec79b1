//! From the runtime's messages to what the pod machine sees.

use cri_client::v1;
use lifecycle::{ActualResources, Container, ContainerState, ContainerUser, Sandbox};

use super::container_config::{HASH, NAME_LABEL, RESTART_COUNT};
use super::restored;

/// A sandbox as the pod machine sees it.
pub(crate) fn sandbox(status: &v1::PodSandboxStatus) -> Sandbox {
    let network = status.network.as_ref();
    let first = network.map(|n| n.ip.clone()).filter(|ip| !ip.is_empty());
    let more = network.into_iter().flat_map(|n| n.additional_ips.iter().map(|ip| ip.ip.clone()));
    // A runtime's word that is not an address is no address (behaviour.md 7.12).
    let ips = first.into_iter().chain(more).filter(|ip| ip.parse::<std::net::IpAddr>().is_ok()).collect();
    let options = status.linux.as_ref().and_then(|l| l.namespaces.as_ref()).and_then(|n| n.options.as_ref());
    Sandbox {
        id: status.id.clone(),
        attempt: status.metadata.as_ref().map_or(0, |m| m.attempt),
        created_at: status.created_at,
        ready: status.state == v1::PodSandboxState::SandboxReady as i32,
        host_network: options.is_some_and(|o| o.network == v1::NamespaceMode::Node as i32),
        ips,
    }
}

/// A container as the pod machine sees it; `message` is the termination message that was found for it.
pub(crate) fn container(
    status: &v1::ContainerStatus,
    sandbox_id: String,
    message: Option<String>,
) -> Container {
    let annotation = |key: &str| status.annotations.get(key);
    let attempt = status.metadata.as_ref().map_or(0, |m| m.attempt);
    let name = status.labels.get(NAME_LABEL).cloned();
    let image = status.image.as_ref().map(|i| i.image.clone()).unwrap_or_default();
    let told = status.message.clone();
    let message = match message.filter(|m| !m.is_empty()) {
        Some(file) if told.is_empty() => file,
        Some(file) => format!("{told}: {file}"),
        None => told,
    };
    let image_id = if status.image_id.is_empty() { &status.image_ref } else { &status.image_id };
    Container {
        id: status.id.clone(),
        name: name.or_else(|| status.metadata.as_ref().map(|m| m.name.clone())).unwrap_or_default(),
        sandbox_id,
        restart_count: annotation(RESTART_COUNT).and_then(|c| c.parse().ok()).unwrap_or(attempt),
        state: state(status.state),
        created_at: status.created_at,
        started_at: status.started_at,
        finished_at: status.finished_at,
        exit_code: status.exit_code,
        reason: status.reason.clone(),
        message,
        image,
        image_id: image_id.clone(),
        hash: annotation(HASH).cloned(),
        user: status.user.as_ref().and_then(|u| u.linux.as_ref()).map(|u| ContainerUser {
            uid: u.uid,
            gid: u.gid,
            supplemental_groups: u.supplemental_groups.clone(),
        }),
        stop_signal: stop_signal(status.stop_signal),
        resources: status.resources.as_ref().and_then(|r| r.linux.as_ref()).map(|r| ActualResources {
            cpu_shares: r.cpu_shares,
            cpu_quota: r.cpu_quota,
            cpu_period: r.cpu_period,
            memory_limit: r.memory_limit_in_bytes,
        }),
        pre_stop: restored::has_pre_stop(&status.annotations),
    }
}

/// A signal as the API names it; none where it is left to the runtime.
fn stop_signal(signal: i32) -> Option<String> {
    let signal = v1::Signal::try_from(signal).ok().filter(|signal| *signal != v1::Signal::RuntimeDefault)?;
    let name = signal.as_str_name().strip_prefix("SIGNAL_")?;
    Some(name.replace("PLUS", "+").replace("MINUS", "-"))
}

fn state(state: i32) -> ContainerState {
    match v1::ContainerState::try_from(state) {
        Ok(v1::ContainerState::ContainerCreated) => ContainerState::Created,
        Ok(v1::ContainerState::ContainerRunning) => ContainerState::Running,
        Ok(v1::ContainerState::ContainerExited) => ContainerState::Exited,
        Ok(v1::ContainerState::ContainerUnknown) | Err(_) => ContainerState::Unknown,
    }
}
