//! A containerd of one's own: nothing of it is shared with a containerd that the machine runs.
//!
//! Its configuration, content and log lie below the node's directory; what must not outlive a reboot (socket, running
//! containers, network namespaces) lies below `/run`, which also keeps the socket's path short.

mod configuration;
mod leftovers;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cri_client::{CallError, Client, Timeouts};
use futures::StreamExt as _;
use thiserror::Error;

use crate::cache::CacheError;
use crate::command::{self, CommandError, command};
use crate::images::Archive;
use crate::network::Network;
use crate::supervise::Launch;
use crate::tools::Tools;
use crate::wait::{self, Look, WaitError};
pub use leftovers::LeftoverError;

/// Of a runtime that starts on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);
const IMPORT_LIMIT: Duration = Duration::from_secs(120);
/// How many pods are removed at the same time.
const REMOVALS: usize = 8;
/// CRI's containers lie in this namespace of containerd.
const NAMESPACE: &str = "k8s.io";

/// Why a containerd is not as it should be.
#[derive(Debug, Error)]
pub enum ContainerdError {
    /// A file of it cannot be written.
    #[error(transparent)]
    File(#[from] CacheError),
    /// It does not answer.
    #[error("starting containerd; its log is {log}", log = log.display())]
    Start {
        /// Where it says why.
        log: PathBuf,
        /// What was seen.
        source: WaitError,
    },
    /// An image cannot be imported.
    #[error("importing image {name}")]
    Import {
        /// Of the image.
        name: String,
        /// What went wrong.
        source: CommandError,
    },
    /// It does not do what it is asked.
    #[error("asking containerd")]
    Call(#[from] CallError),
    /// What a dead containerd left cannot be cleared away.
    #[error(transparent)]
    Leftover(#[from] LeftoverError),
}

/// Where the parts of one containerd are.
#[derive(Clone, Debug)]
pub struct Containerd {
    dir: PathBuf,
    state: PathBuf,
    cri: Client,
}

impl Containerd {
    /// One whose files lie in `dir`, and in `state` what ends with the machine.
    #[must_use]
    pub fn new(dir: &Path, state: &Path) -> Self {
        let cri = Client::new(state.join("containerd.sock"), None, Timeouts::default());
        Self { dir: dir.to_path_buf(), state: state.to_path_buf(), cri }
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.state.join("containerd.sock")
    }

    /// Where it keeps what ends with the machine.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// A client of it.
    #[must_use]
    pub fn cri(&self) -> &Client {
        &self.cri
    }

    /// Writes its configuration and says how it is started. `name` is the pods' network's.
    pub(crate) fn prepare(
        &self,
        tools: &Tools,
        network: &Network,
        node: usize,
        name: &str,
    ) -> Result<Launch, ContainerdError> {
        for dir in [&self.dir, &self.state, &self.dir.join("root"), &self.dir.join("cni")] {
            std::fs::create_dir_all(dir).map_err(CacheError::file("making", dir))?;
        }
        let write = |file: &str, text: String| {
            let path = self.dir.join(file);
            std::fs::write(&path, text).map_err(CacheError::file("writing", &path)).map(|()| path)
        };
        let cni = network.cni(name, node, &self.state.join("leases"));
        write("cni/10-bridge.conflist", format!("{cni:#}\n"))?;
        let config = write("config.toml", configuration::text(&self.dir, &self.state, tools))?;
        Ok(Launch {
            name: format!("containerd-{node}"),
            program: tools.containerd.path.clone(),
            arguments: vec!["--config".into(), config.into()],
            log: self.log(),
        })
    }

    /// Waits until it answers.
    pub(crate) async fn ready(&self) -> Result<(), ContainerdError> {
        let look = || async {
            match self.cri.status().await {
                Ok(answer) => {
                    let conditions = answer.status.unwrap_or_default().conditions;
                    match conditions.into_iter().find(|condition| !condition.status) {
                        None => Look::There(()),
                        Some(off) => Look::NotYet(format!("{} is false: {}", off.r#type, off.message)),
                    }
                }
                Err(error) => Look::NotYet(error.to_string()),
            }
        };
        let ready = wait::until("containerd to answer", START_LIMIT, look).await;
        ready.map_err(|source| ContainerdError::Start { log: self.log(), source })
    }

    /// Imports the images that it does not have.
    ///
    /// # Errors
    /// An archive is damaged, or containerd does not answer.
    pub async fn import(&self, tools: &Tools, images: &[Archive]) -> Result<(), ContainerdError> {
        for Archive { name, path } in images {
            if self.has(path) && self.cri.image_status(name).await?.is_some() {
                continue;
            }
            let mut ctr = command(&tools.ctr());
            ctr.arg("--address")
                .arg(self.socket())
                .args(["--namespace", NAMESPACE, "images", "import"])
                .arg(path);
            let done = command::run(&mut ctr, IMPORT_LIMIT).await;
            done.map_err(|source| ContainerdError::Import { name: name.clone(), source })?;
            let mark = self.mark(path);
            std::fs::write(&mark, "").map_err(CacheError::file("writing", &mark))?;
        }
        Ok(())
    }

    /// From now on images of `host` are pulled from this address, over plain HTTP.
    ///
    /// # Errors
    /// The file that says so cannot be written.
    pub fn mirror(&self, host: &str, address: SocketAddr) -> Result<(), ContainerdError> {
        let dir = self.dir.join("hosts").join(host);
        std::fs::create_dir_all(&dir).map_err(CacheError::file("making", &dir))?;
        let path = dir.join("hosts.toml");
        let text = format!("server = 'http://{address}'\n");
        Ok(std::fs::write(&path, text).map_err(CacheError::file("writing", &path))?)
    }

    /// Whether this very content was imported: the name alone says nothing about it.
    fn has(&self, archive: &Path) -> bool {
        self.mark(archive).exists()
    }

    fn mark(&self, archive: &Path) -> PathBuf {
        let name = archive.file_stem().unwrap_or_default().to_string_lossy();
        self.dir.join("root").join(format!("imported-{name}"))
    }

    /// Stops and removes every pod; goes on after an error, and tells the first.
    ///
    /// # Errors
    /// Some pod could not be removed.
    pub async fn remove_pods(&self) -> Result<(), ContainerdError> {
        let sandboxes = self.cri.list_pod_sandboxes(std::collections::HashMap::new()).await?;
        let removals = sandboxes.into_iter().map(|sandbox| async move {
            self.cri.stop_pod_sandbox(&sandbox.id).await?;
            self.cri.remove_pod_sandbox(&sandbox.id).await
        });
        let done: Vec<_> = futures::stream::iter(removals).buffer_unordered(REMOVALS).collect().await;
        Ok(done.into_iter().collect::<Result<(), _>>()?)
    }

    /// Ends what is left of its containers once it is not running any more, and frees its mounts and its state.
    pub(crate) async fn clear(&self) -> Result<(), ContainerdError> {
        leftovers::end_shims(&self.socket()).await?;
        leftovers::remove_cgroups(&self.state)?;
        leftovers::unmount(&[&self.state, &self.dir.join("root")])?;
        match std::fs::remove_dir_all(&self.state) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(CacheError::file("removing", &self.state)(error).into())
            }
            _ => Ok(()),
        }
    }

    /// Frees what a node's daemon has mounted below its root directory for pods that are still there.
    pub(crate) fn free_volumes(root: &Path) -> Result<(), ContainerdError> {
        Ok(leftovers::unmount(&[root])?)
    }

    /// Where it logs to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.dir.join("containerd.log")
    }
}
