//! A node of a bed: a machine that has booted, and what a test does with it.
//!
//! ```text
//!            boot                     power_off, cut_power
//!   off ───────────> on (systemd is up) ───────────────────> off        the disks stay as they are
//!                     └── reboot ──> on
//! ```

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cri_client::{Client, Timeouts};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::cache::CacheError;
use crate::command::{self, CommandError, Output, command};
use crate::wait::{self, Look, WaitError};

use super::agent::{Agent, AgentError, Bytes, Forward};
use super::claim::{Claim, ClaimError};
use super::starter::{Disk, Machine, Spec, StartError, Starter};

/// From the first instruction to an agent that answers, on a machine that is busy with other things.
const BOOT_LIMIT: Duration = Duration::from_secs(90);
/// Of one command that a test does not expect to take long.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);
const INSTALL_LIMIT: Duration = Duration::from_secs(180);
const JOURNAL_LIMIT: Duration = Duration::from_secs(60);
const SWAP_MIB: u64 = 512;
/// The second disk. Nothing uses it before it is told to.
const SWAP_DEVICE: &str = "/dev/ubdb";
const RUNTIME_SOCKET: &str = "/run/containerd/containerd.sock";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why a node is not as it should be.
#[derive(Debug, Error)]
pub enum NodeError {
    /// Its machine was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A file on this machine.
    #[error(transparent)]
    File(#[from] CacheError),
    /// It could not be noted.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// A command in it.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// A command on this machine.
    #[error("making a disk")]
    Command(#[from] CommandError),
    /// It does not boot.
    #[error("booting {node}; its console ends: {console}")]
    Boot {
        /// Which.
        node: String,
        /// The end of what its console showed.
        console: String,
        /// What was seen.
        source: WaitError,
    },
    /// It has no power.
    #[error("{node} is off")]
    Off {
        /// Which.
        node: String,
    },
    /// It runs already.
    #[error("{node} is on already")]
    On {
        /// Which.
        node: String,
    },
    /// Its process does not end.
    #[error("switching {node} off")]
    Power {
        /// Which.
        node: String,
        /// What was seen.
        source: std::io::Error,
    },
    /// What was copied is not what arrived.
    #[error("{node}: {path} has {there} bytes of {sent}")]
    Cut {
        /// Which.
        node: String,
        /// In the node.
        path: String,
        /// How many were sent.
        sent: usize,
        /// How many arrived.
        there: String,
    },
}

/// A node.
#[derive(Debug)]
pub struct Node {
    spec: Spec,
    ip: Ipv4Addr,
    agent: Agent,
    starter: Arc<dyn Starter>,
    /// Of the whole bed.
    claim: Arc<Mutex<Claim>>,
    machine: Mutex<Option<Machine>>,
    cri: Client,
    /// Where the client's calls go through.
    _runtime: Forward,
}

impl Node {
    /// A node that is off. `agent` is its agent's address.
    pub(super) async fn new(
        spec: Spec,
        ip: Ipv4Addr,
        agent: Ipv4Addr,
        starter: Arc<dyn Starter>,
        claim: Arc<Mutex<Claim>>,
    ) -> Result<Self, NodeError> {
        std::fs::create_dir_all(&spec.dir).map_err(CacheError::file("making", &spec.dir))?;
        let agent = Agent::new(spec.name.clone(), agent);
        let mut spec = spec;
        let swap = spec.dir.join("swap");
        let file = std::fs::File::create(&swap).map_err(CacheError::file("making", &swap))?;
        file.set_len(SWAP_MIB * 1024 * 1024).map_err(CacheError::file("sizing", &swap))?;
        command::run(command(Path::new("mkswap")).arg(&swap), COMMAND_LIMIT).await?;
        spec.disks.push(Disk::Plain(swap));
        let runtime = agent.forward(RUNTIME_SOCKET, &spec.dir.join("cri.sock"))?;
        let cri = Client::new(runtime.path().to_path_buf(), None, Timeouts::default());
        Ok(Self { spec, ip, agent, starter, claim, machine: Mutex::new(None), cri, _runtime: runtime })
    }

    /// Its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its address; every other node, their pods and this machine reach it there.
    #[must_use]
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// The file with what its console has shown, of all its boots.
    #[must_use]
    pub fn console(&self) -> PathBuf {
        self.spec.dir.join("console.log")
    }

    /// Its agent.
    #[must_use]
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// Switches it on and waits until systemd has started everything that is to be started. What its disks hold stays.
    ///
    /// # Errors
    /// It is on, or does not boot, or a unit failed.
    pub async fn boot(&self) -> Result<(), NodeError> {
        let mut slot = self.machine.lock().await;
        if slot.as_mut().is_some_and(|machine| machine.ended().is_none()) {
            return Err(NodeError::On { node: self.name().to_owned() });
        }
        let machine = self.starter.start(&self.spec)?;
        self.claim.lock().await.add(machine.identity())?;
        let machine = slot.insert(machine);
        self.up(machine).await
    }

    /// Restarts it in order, as `systemctl reboot` does, and waits until it is up again.
    ///
    /// # Errors
    /// It does not go down or does not come up.
    pub async fn reboot(&self) -> Result<(), NodeError> {
        let before = self.text(BOOT_ID).await?;
        self.power_off().await?;
        self.boot().await?;
        let after = self.text(BOOT_ID).await?;
        assert_ne!(before, after, "{} has not booted anew", self.name());
        Ok(())
    }

    /// Shuts it down in order.
    ///
    /// # Errors
    /// It does not end.
    pub async fn power_off(&self) -> Result<(), NodeError> {
        self.run(&["systemctl", "--no-block", "poweroff"]).await?;
        self.wait_off(BOOT_LIMIT).await
    }

    /// Waits until it has switched itself off.
    ///
    /// # Errors
    /// It is still on after `limit`.
    pub async fn wait_off(&self, limit: Duration) -> Result<(), NodeError> {
        let mut slot = self.machine.lock().await;
        if let Some(machine) = slot.as_mut() {
            let error = |source| NodeError::Power { node: self.name().to_owned(), source };
            machine.off(limit).await.map_err(error)?;
        }
        *slot = None;
        Ok(())
    }

    /// Takes its power away. What it had not yet written to its disks is lost.
    ///
    /// # Errors
    /// It is off already, or does not end.
    pub async fn cut_power(&self) -> Result<(), NodeError> {
        let mut slot = self.machine.lock().await;
        let mut machine = slot.take().ok_or_else(|| NodeError::Off { node: self.name().to_owned() })?;
        let error = |source| NodeError::Power { node: self.name().to_owned(), source };
        machine.cut_power().await.map_err(error)
    }

    /// Waits until systemd is done.
    async fn up(&self, machine: &mut Machine) -> Result<(), NodeError> {
        let machine = std::cell::RefCell::new(machine);
        let look = || async {
            if let Some(status) = machine.borrow_mut().ended() {
                return Look::There(Err(status));
            }
            match self.agent.probe().await {
                Ok(()) => Look::There(Ok(())),
                Err(error) => Look::NotYet(crate::tools::chain(&error)),
            }
        };
        let boot =
            |source| NodeError::Boot { node: self.name().to_owned(), console: self.console_tail(), source };
        let ended = |status| {
            let last = format!("its process ended: {status}");
            boot(WaitError { what: "its agent to answer".to_owned(), limit: BOOT_LIMIT, last })
        };
        wait::until("its agent to answer", BOOT_LIMIT, look).await.map_err(boot)?.map_err(ended)?;
        let argv = ["systemctl", "is-system-running", "--wait"];
        let said = self.agent.run(&argv, &[], BOOT_LIMIT).await?.text();
        if said.success() {
            return Ok(());
        }
        let failed = self.output(&["systemctl", "--failed", "--no-legend", "--plain"]).await?;
        let last = format!("{}: {}", said.stdout.trim(), failed.stdout.trim());
        Err(boot(WaitError { what: "all units".to_owned(), limit: BOOT_LIMIT, last }))
    }

    /// Runs a command and expects success. It has no input and 90 seconds.
    ///
    /// # Errors
    /// It fails, or cannot be run.
    pub async fn run(&self, argv: &[&str]) -> Result<Output, NodeError> {
        let output = self.output(argv).await?;
        self.succeeded(argv, output)
    }

    /// Runs a command to its end, whatever that is. It has no input and 90 seconds.
    ///
    /// # Errors
    /// It cannot be run.
    pub async fn output(&self, argv: &[&str]) -> Result<Output, NodeError> {
        Ok(self.ask(argv, &[], COMMAND_LIMIT).await?.text())
    }

    /// Asks the agent, unless there is no power: then nobody has to wait for it.
    async fn ask(&self, argv: &[&str], input: &[u8], limit: Duration) -> Result<Bytes, NodeError> {
        // Somebody who holds it switches it on or off; the agent tells whether it is there.
        if self.machine.try_lock().is_ok_and(|machine| machine.is_none()) {
            return Err(NodeError::Off { node: self.name().to_owned() });
        }
        Ok(self.agent.run(argv, input, limit).await?)
    }

    /// Runs a shell script, which ends at the first command that fails, and expects success. Gives what it wrote.
    ///
    /// # Errors
    /// It fails, or cannot be run.
    pub async fn sh(&self, script: &str) -> Result<String, NodeError> {
        Ok(self.run(&["sh", "-euc", script]).await?.stdout)
    }

    fn succeeded(&self, argv: &[&str], output: Output) -> Result<Output, NodeError> {
        if output.success() {
            return Ok(output);
        }
        let said = format!("{}{}", output.stdout, output.stderr).trim_end().to_owned();
        let (node, what) = (self.name().to_owned(), argv.join(" "));
        Err(AgentError::Failed { node, what, status: output.status, said }.into())
    }

    /// Writes a file with these permissions (octal), which is whole or as it was before. Its directories are made.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn write(&self, path: &str, mode: &str, content: &[u8]) -> Result<(), NodeError> {
        let script = "mkdir -p \"$(dirname \"$1\")\" && cat >\"$1.new\" && chmod \"$2\" \"$1.new\" \
                      && stat -c %s \"$1.new\" && mv \"$1.new\" \"$1\"";
        let argv = ["sh", "-c", script, "sh", path, mode];
        let said = self.ask(&argv, content, INSTALL_LIMIT).await?.text();
        let there = self.succeeded(&["writing", path], said)?.stdout.trim().to_owned();
        if there == content.len().to_string() {
            return Ok(());
        }
        let (node, path) = (self.name().to_owned(), path.to_owned());
        Err(NodeError::Cut { node, path, sent: content.len(), there })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn read(&self, path: &str) -> Result<Vec<u8>, NodeError> {
        let Bytes { status, stdout, stderr } = self.ask(&["cat", path], &[], INSTALL_LIMIT).await?;
        if status.success() {
            return Ok(stdout);
        }
        let said = String::from_utf8_lossy(&stderr).trim_end().to_owned();
        let (node, what) = (self.name().to_owned(), format!("reading {path}"));
        Err(AgentError::Failed { node, what, status, said }.into())
    }

    async fn text(&self, path: &str) -> Result<String, NodeError> {
        Ok(String::from_utf8_lossy(&self.read(path).await?).into_owned())
    }

    /// Copies a file of this machine into the node, with these permissions (octal).
    ///
    /// # Errors
    /// It cannot be read here or written there.
    pub async fn copy_in(&self, file: &Path, path: &str, mode: &str) -> Result<(), NodeError> {
        let content = std::fs::read(file).map_err(CacheError::file("reading", file))?;
        self.write(path, mode, &content).await
    }

    /// Copies a file of the node to this machine.
    ///
    /// # Errors
    /// It cannot be read there or written here.
    pub async fn copy_out(&self, path: &str, file: &Path) -> Result<(), NodeError> {
        let content = self.read(path).await?;
        Ok(std::fs::write(file, content).map_err(CacheError::file("writing", file))?)
    }

    /// Installs a Debian package from a file of this machine. The node is offline: what the package needs is in the image.
    ///
    /// # Errors
    /// It cannot be copied, or the package tools refuse it; their words are in the error.
    pub async fn install_deb(&self, file: &Path) -> Result<(), NodeError> {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let path = format!("/var/tmp/{name}");
        self.copy_in(file, &path, "0644").await?;
        let argv = [
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "install",
            "--yes",
            "--no-install-recommends",
            "--allow-downgrades",
            &path,
        ];
        let said = self.ask(&argv, &[], INSTALL_LIMIT).await?.text();
        self.succeeded(&argv, said).map(drop)
    }

    /// Puts programs of this machine into `/usr/bin`, as they are; for what no package has.
    ///
    /// # Errors
    /// One cannot be copied.
    pub async fn install_programs(&self, programs: &[&Path]) -> Result<(), NodeError> {
        for program in programs {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            self.copy_in(program, &format!("/usr/bin/{name}"), "0755").await?;
        }
        Ok(())
    }

    /// Makes `name`, a file in the node's directory on this machine, lead to a Unix socket of the node.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn forward(&self, socket: &str, name: &str) -> Result<Forward, NodeError> {
        Ok(self.agent.forward(socket, &self.spec.dir.join(name))?)
    }

    /// A client of its container runtime.
    #[must_use]
    pub fn cri(&self) -> &Client {
        &self.cri
    }

    /// Switches its swap device on or off.
    ///
    /// # Errors
    /// The kernel refuses.
    pub async fn set_swap(&self, on: bool) -> Result<(), NodeError> {
        self.run(&[if on { "swapon" } else { "swapoff" }, SWAP_DEVICE]).await.map(drop)
    }

    /// Its journal, of all boots.
    ///
    /// # Errors
    /// It is not reached.
    pub async fn journal(&self) -> Result<String, NodeError> {
        let argv = ["journalctl", "--no-pager", "--quiet", "--output=short-precise"];
        let said = self.ask(&argv, &[], JOURNAL_LIMIT).await?.text();
        Ok(self.succeeded(&argv, said)?.stdout)
    }

    fn console_tail(&self) -> String {
        let bytes = std::fs::read(self.console()).unwrap_or_default();
        command::tail(&String::from_utf8_lossy(&bytes), 2000).to_owned()
    }
}
