//! Opens the pods' cgroups once the runtime has told how it makes its own, and keeps tiers and reservations as they are to be.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::cgroups::Driver;
use cri_client::{Client, v1};
use tokio::sync::watch;
use tokio::time::{Instant, interval_at, sleep};

use super::{Limits, PodCgroups, Told};
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
const ENFORCED: &str = "NodeAllocatableEnforced";
const FAILED: &str = "FailedNodeAllocatableEnforcement";

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
    let told = cri.cgroup_driver().await.map_err(|error| chain(&error))?;
    let (driver, is_overruled) = driver(told, &config.cgroup_driver);
    if is_overruled {
        tracing::info!(
            setting = config.cgroup_driver,
            ?driver,
            "cgroupDriver is not the runtime's, which counts"
        );
    }
    let cgroups = PodCgroups::open(Path::new(MOUNT), driver, config, Arc::clone(limits))
        .map_err(|error| chain(&error))?;
    cgroups.refresh(true).await.map_err(|error| chain(&error))?;
    tracing::info!(?driver, "pods have cgroups of their own");
    Ok(cgroups)
}

/// Keeps the tiers, and holds the reservations to what they are, until `stop`; tells each change of how that went. A
/// reservation's cgroup may come later.
pub(crate) async fn keep(cgroups: PodCgroups, recorder: Recorder, mut stop: watch::Receiver<bool>) {
    recorder.node_event(false, ENFORCED, "Updated Node Allocatable limit across pods");
    let mut before = Vec::new();
    let mut again = interval_at(Instant::now() + AGAIN, AGAIN);
    loop {
        let told = cgroups.enforce_reserved().await;
        let messages: Vec<String> = told.iter().map(|told| told.message.clone()).collect();
        for Told { is_enforced, message } in told {
            if before.contains(&message) {
                continue;
            }
            if is_enforced {
                tracing::info!("{message}");
            } else {
                tracing::warn!("{message}");
            }
            recorder.node_event(!is_enforced, if is_enforced { ENFORCED } else { FAILED }, message);
        }
        before = messages;
        tokio::select! {
            // Cancel-safe: a level, and a tick that stays due.
            () = stopped(&mut stop) => return,
            _ = again.tick() => {}
        }
        if let Err(error) = cgroups.refresh(true).await {
            tracing::warn!(error = chain(&error), "the cgroups of the tiers cannot be written");
        }
    }
}

/// How the runtime makes its cgroups, else what the setting says; and whether the setting says something else than the
/// runtime, whose word counts (behaviour.md 45.38).
fn driver(told: Option<v1::CgroupDriver>, setting: &str) -> (Driver, bool) {
    let setting = if setting == "systemd" { Driver::Systemd } else { Driver::Cgroupfs };
    let told = told.map(|told| match told {
        v1::CgroupDriver::Systemd => Driver::Systemd,
        v1::CgroupDriver::Cgroupfs => Driver::Cgroupfs,
    });
    (told.unwrap_or(setting), told.is_some_and(|told| told != setting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_45_38_the_runtimes_word_goes_before_the_setting() {
        let (systemd, cgroupfs) = (v1::CgroupDriver::Systemd, v1::CgroupDriver::Cgroupfs);
        assert_eq!(driver(Some(systemd), "cgroupfs"), (Driver::Systemd, true));
        assert_eq!(driver(Some(cgroupfs), "systemd"), (Driver::Cgroupfs, true));
        assert_eq!(driver(Some(systemd), "systemd"), (Driver::Systemd, false));
        assert_eq!(driver(None, "systemd"), (Driver::Systemd, false));
        assert_eq!(driver(None, "cgroupfs"), (Driver::Cgroupfs, false));
    }
}
