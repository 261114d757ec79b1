//! One node: a containerd and a nodelet.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cri_client::Client;

use crate::containerd::Containerd;
use crate::supervise::{Component, SuperviseError};

/// How long the daemon may take to end; its pods go on running.
pub(super) const NODELET_GRACE: Duration = Duration::from_secs(10);

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) ip: Ipv4Addr,
    pub(super) healthz_port: u16,
    pub(super) runtime: Containerd,
    pub(super) containerd: Component,
    pub(super) nodelet: Component,
}

impl Node {
    /// As the API server knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address, on which it serves port 10250.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// On 127.0.0.1.
    #[must_use]
    pub fn healthz_port(&self) -> u16 {
        self.healthz_port
    }

    /// Its files; `manifests` below it is the directory of static pods.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Directory of static pods.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.dir.join("manifests")
    }

    /// The daemon.
    #[must_use]
    pub fn nodelet(&self) -> &Component {
        &self.nodelet
    }

    /// The runtime's process.
    #[must_use]
    pub fn containerd(&self) -> &Component {
        &self.containerd
    }

    /// The runtime's files and socket.
    #[must_use]
    pub fn runtime(&self) -> &Containerd {
        &self.runtime
    }

    /// A client of the runtime.
    #[must_use]
    pub fn cri(&self) -> &Client {
        self.runtime.cri()
    }

    /// Kills the daemon as a crash would; returns when the next one runs.
    ///
    /// # Errors
    /// It is not kept running any more.
    pub async fn kill(&self) -> Result<(), SuperviseError> {
        self.nodelet.crash().await
    }

    /// Stops the daemon with SIGTERM and keeps it stopped.
    ///
    /// # Errors
    /// It is not kept running any more.
    pub async fn stop(&self) -> Result<(), SuperviseError> {
        self.nodelet.stop(NODELET_GRACE).await
    }

    /// Starts the daemon again.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start(&self) -> Result<(), SuperviseError> {
        self.nodelet.resume().await
    }

    /// SIGTERM, the end, and a new start.
    ///
    /// # Errors
    /// It cannot be started again.
    pub async fn restart(&self) -> Result<(), SuperviseError> {
        self.stop().await?;
        self.start().await
    }
}
