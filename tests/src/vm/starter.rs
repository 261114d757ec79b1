//! How a virtual machine is started: one small trait, so that another kind can take User Mode Linux's place.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use thiserror::Error;
use tokio::process::Child;

use crate::cache::CacheError;
use crate::supervise::Identity;

/// How long the kernel may take to take a killed machine away; it frees all its memory meanwhile.
const END_LIMIT: Duration = Duration::from_secs(30);

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// What is written goes to `changes`, which is made where it is not there; `image` stays as it is.
    CopyOnWrite {
        /// Read where nothing was written yet.
        image: PathBuf,
        /// The machine's own.
        changes: PathBuf,
    },
    /// A file of the machine's own.
    Plain(PathBuf),
}

/// An interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The end that the machine takes, within the network namespace.
    pub device: String,
    /// Its hardware address within the machine.
    pub mac: String,
}

/// All that a machine consists of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Host name; distinct within a network.
    pub name: String,
    /// The kernel to boot.
    pub kernel: PathBuf,
    /// The first is the root.
    pub disks: Vec<Disk>,
    /// In this order.
    pub interfaces: Vec<Interface>,
    /// A process in the network namespace with the interfaces.
    pub network: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Processors that the machine sees.
    pub processors: u32,
    /// The processor of this machine that it runs on; all of them where there is none.
    pub pinned: Option<usize>,
    /// Added to the kernel's command line.
    pub arguments: Vec<String>,
    /// A directory of the machine's own, for its console and whatever else the starter keeps.
    pub dir: PathBuf,
}

/// Why a machine did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A file of it cannot be written.
    #[error(transparent)]
    File(#[from] CacheError),
    /// Its process cannot be started.
    #[error("starting virtual machine {name}")]
    Process {
        /// Of the machine.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// Starts virtual machines of one kind.
pub trait Starter: fmt::Debug + Send + Sync {
    /// Starts a machine; it boots while the caller goes on.
    ///
    /// # Errors
    /// There is no process. That its kernel does not boot shows later.
    fn start(&self, spec: &Spec) -> Result<Machine, StartError>;
}

/// A machine that was started. It ends with the value.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    pid: u32,
    console: PathBuf,
}

impl Machine {
    /// The machine that this process is, which leads a process group of its own.
    pub(super) fn new(name: &str, child: Child, console: PathBuf) -> Result<Self, StartError> {
        let gone = || StartError::Process {
            name: name.to_owned(),
            source: std::io::Error::other("it has ended already"),
        };
        let pid = child.id().ok_or_else(gone)?;
        Ok(Self { child, pid, console })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        Identity::of(self.pid)
    }

    /// The file with all that its console has shown.
    #[must_use]
    pub fn console(&self) -> &Path {
        &self.console
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it has switched itself off.
    ///
    /// # Errors
    /// It still runs after `limit`.
    pub async fn off(&mut self, limit: Duration) -> std::io::Result<()> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(ended) => ended.map(drop),
            Err(_) => Err(std::io::Error::other(format!("it still runs after {limit:?}"))),
        }
    }

    /// Takes the power away: what is not on its disks is lost.
    ///
    /// # Errors
    /// Its process does not end.
    pub async fn cut_power(&mut self) -> std::io::Result<()> {
        self.kill();
        self.off(END_LIMIT).await
    }

    fn kill(&mut self) {
        if self.ended().is_none() {
            // Not waited for yet, so that the group cannot be another one's.
            let _ = killpg(Pid::from_raw(self.pid.cast_signed()), Signal::SIGKILL);
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}
