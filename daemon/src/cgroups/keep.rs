//! Opens the pods' cgroups once the runtime has told how it makes its own, and keeps tiers and reservations as they are to be.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::cgroups::Driver;
use cri_client::{Client, v1};
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, sleep};

use super::{Limits, PodCgroups};
use crate::cause::chain;
use crate::config::Config;
use crate::events::Recorder;
use crate::stop::stopped;

const MOUNT: &str = "/sys/fs/cgroup";
/// The first and the longest wait after a failure.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// How often everything is written again, in case somebody else wrote there (behaviour.md 21.1).
const AGAIN: Duration = Duration::from_secs(60);

/// Opens them, and makes top and tiers. Tries until it works; the pods wait.
pub(crate) async fn open(cri: &Client, config: &Config, limits: &Arc<Limits>) -> PodCgroups {
    let mut retry = RETRY;
    loop {
        match try_open(cri, config, limits).await {
            Ok(cgroups) => return cgroups,
            Err(error) => tracing::warn!(error, "pods wait: their cgroups cannot be made"),
        }
        sleep(retry).await;
        retry = (retry * 2).min(LONGEST_RETRY);
    }
}

async fn try_open(cri: &Client, config: &Config, limits: &Arc<Limits>) -> Result<PodCgroups, String> {
    let driver = match cri.cgroup_driver().await.map_err(|error| chain(&error))? {
        Some(v1::CgroupDriver::Systemd) => Driver::Systemd,
        Some(v1::CgroupDriver::Cgroupfs) => Driver::Cgroupfs,
        // A runtime that does not tell: then the setting counts.
        None if config.cgroup_driver == "systemd" => Driver::Systemd,
        None => Driver::Cgroupfs,
    };
    let cgroups = PodCgroups::open(Path::new(MOUNT), driver, config, Arc::clone(limits))
        .map_err(|error| chain(&error))?;
    cgroups.refresh(true).await.map_err(|error| chain(&error))?;
    tracing::info!(?driver, "pods have cgroups of their own");
    Ok(cgroups)
}

/// Holds the reservations to what they are, tells so, and keeps the tiers until `stop`.
pub(crate) async fn keep(cgroups: PodCgroups, recorder: Recorder, mut stop: watch::Receiver<bool>) {
    match cgroups.enforce_reserved().await {
        Ok(()) => {
            let message = "Updated Node Allocatable limit across pods";
            recorder.node_event(false, "NodeAllocatableEnforced", message);
        }
        Err(errors) => {
            let message = errors.iter().map(|error| chain(error)).collect::<Vec<_>>().join("; ");
            recorder.node_event(true, "FailedNodeAllocatableEnforcement", message);
        }
    }
    let mut again = interval_at(Instant::now() + AGAIN, AGAIN);
    loop {
        tokio::select! {
            // Cancel-safe: a level, and a tick that stays due.
            () = stopped(&mut stop) => return,
            _ = again.tick() => {
                if let Err(error) = cgroups.refresh(true).await {
                    tracing::warn!(error = chain(&error), "the cgroups of the tiers cannot be written");
                }
            }
        }
    }
}
