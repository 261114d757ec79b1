//! A registry of images on loopback, over plain HTTP, that does what a test tells it: asks for a password, is slow, refuses,
//! breaks off in the middle, is away.
//!
//! ```text
//! Archive ──content──> repositories, tags, blobs ──distribution──> containerd (through its hosts.toml)
//!                                  rules, accounts ──^    └──> requests seen
//! ```
//!
//! It speaks as much of the OCI distribution protocol as a pull takes. Nothing of it survives the test.

mod content;
mod distribution;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::images::Archive;
use crate::wait::{self, Look, WaitError};
use content::Content;

/// For the port to be free again.
const BIND_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no registry.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// It cannot listen.
    #[error("listening on loopback")]
    Listen(#[source] io::Error),
    /// Its port is not free again.
    #[error(transparent)]
    Port(#[from] WaitError),
    /// An archive cannot be served.
    #[error("serving {path}: {why}", path = path.display())]
    Archive {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What becomes of some requests.
#[derive(Clone, Debug)]
pub struct Rule {
    /// A part of their path: `/app/manifests/`, say.
    pub path: String,
    /// How often; without end if absent.
    pub times: Option<u32>,
    /// What happens.
    pub effect: Effect,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is answered so much later.
    Delay(Duration),
    /// It is answered with this HTTP status.
    Status(u16),
    /// The body ends after so many bytes, and the connection with it.
    Cut(usize),
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `GET /v2/app/manifests/1`
    pub line: String,
    /// Who said so, with the right password or without.
    pub user: Option<String>,
    /// How many others were being answered when it came.
    pub others: usize,
}

/// A registry that serves, or is down for a while. Dropping it ends it and all connections.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    shared: Arc<Mutex<State>>,
    serving: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    content: Content,
    /// User and password by the beginning of repositories' names.
    accounts: BTreeMap<String, (String, String)>,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    open: usize,
}

impl Registry {
    /// An empty one, at a loopback address of its own: while it is down nobody else gets its port.
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn start() -> Result<Self, RegistryError> {
        static STARTED: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let own = Ipv4Addr::new(127, STARTED.fetch_add(1, Ordering::Relaxed), high, low);
        let listener = TcpListener::bind((own, 0)).await.map_err(RegistryError::Listen)?;
        let address = listener.local_addr().map_err(RegistryError::Listen)?;
        let shared: Arc<Mutex<State>> = Arc::default();
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, serving: Mutex::new(Some(serving)) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves an image as `repository:tag`, whatever it calls itself.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn add(&self, name: &str, archive: &Archive) -> Result<(), RegistryError> {
        let added = self.state().content.add(name, &archive.path);
        added.map_err(|why| RegistryError::Archive { path: archive.path.clone(), why })
    }

    /// Repositories whose names begin so want this user and password from now on.
    pub fn protect(&self, prefix: &str, user: &str, password: &str) {
        self.state().accounts.insert(prefix.to_owned(), (user.to_owned(), password.to_owned()));
    }

    /// From now on this happens to requests; the first rule that fits is taken.
    pub fn rule(&self, path: &str, times: Option<u32>, effect: Effect) {
        self.state().rules.push(Rule { path: path.to_owned(), times, effect });
    }

    /// All rules are forgotten.
    pub fn behave(&self) {
        self.state().rules.clear();
    }

    /// The requests about paths that hold this, in the order in which they came.
    #[must_use]
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.state().seen.iter().filter(|seen| seen.line.contains(path)).cloned().collect()
    }

    /// Takes it down: connections break, new ones are refused.
    pub async fn down(&self) {
        let serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(serving) = serving {
            serving.abort();
            // It was told to end: how it did says nothing.
            let _ = serving.await;
        }
    }

    /// Brings it up again, at the same address.
    ///
    /// # Errors
    /// The port was taken meanwhile.
    pub async fn up(&self) -> Result<(), RegistryError> {
        let look = || async {
            match TcpListener::bind(self.address).await {
                Ok(listener) => Look::There(listener),
                Err(error) => Look::NotYet(error.to_string()),
            }
        };
        let listener = wait::until("the registry's port to be free", BIND_LIMIT, look).await?;
        let serving = tokio::spawn(serve(listener, Arc::clone(&self.shared)));
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(serving);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.get_mut().unwrap_or_else(PoisonError::into_inner) {
            serving.abort();
        }
    }
}

fn lock(shared: &Mutex<State>) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves until it is aborted; all connections end with it.
async fn serve(listener: TcpListener, shared: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // Cancel-safe: a connection that was not accepted yet waits.
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = hyper::service::service_fn(|request| distribution::answer(&shared, request));
                    let mut http = hyper::server::conn::http1::Builder::new();
                    // A client that breaks off is no matter.
                    let _ = http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
            // Cancel-safe: what ended is only forgotten.
            Some(_) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests;
