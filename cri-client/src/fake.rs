//! A container runtime made of state alone: it answers CRI over a socket, and runs nothing.
//!
//! ```text
//! socket ──> service ──rules──> state (sandboxes, containers, images) ──> events ──> subscribers
//!               │                  ^
//!               └── calls.jsonl    └── lives: a container ends when its program would
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `script` | what is to go wrong, and when |
//! | `state` | what a runtime knows; the rules of CRI about it |
//! | `life` | how long a container runs, and how it ends |
//! | `service` | the calls |
//!
//! It serves tests, which script it, and scale tests, for which it is a hollow runtime: a container costs some hundred bytes. Clones
//! share the state; a [`Server`] that is dropped takes the socket away as a runtime that dies, and the state stays for the next.

mod life;
mod script;
mod service;
mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UnixListener;
use tokio::sync::{broadcast, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server as Transport;

pub use life::Life;
pub use script::{Effect, EventEffect, Rule, Script};

use crate::MAX_MESSAGE_BYTES;
use crate::v1;
use crate::v1::image_service_server::ImageServiceServer;
use crate::v1::runtime_service_server::RuntimeServiceServer;
use state::State;

/// Events that a slow subscriber may leave unread before it loses some, as with a real runtime.
const EVENTS: usize = 1024;

/// A runtime; see the module's page.
#[derive(Clone, Debug)]
pub struct FakeRuntime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    // Held for single steps only, never across an await.
    state: Mutex<State>,
    script: Mutex<Script>,
    events: broadcast::Sender<v1::ContainerEventResponse>,
    calls: Mutex<Calls>,
}

/// What was asked.
#[derive(Debug, Default)]
struct Calls {
    seen: Vec<Call>,
    /// When each of them came.
    at: Vec<Instant>,
    file: Option<std::fs::File>,
}

/// One call that came.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Call {
    /// The method's name.
    pub call: String,
    /// What it was about: a pod's `namespace/name`, a container's `namespace/pod/name`, an image, or an id.
    pub subject: String,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeRuntime {
    /// An empty runtime that has every image it is asked for.
    #[must_use]
    pub fn new() -> Self {
        let shared = Shared {
            state: Mutex::default(),
            script: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
            calls: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What is to go wrong from now on.
    pub fn set_script(&self, script: Script) {
        *self.script() = script;
    }

    /// One more thing that is to go wrong.
    pub fn add_rule(&self, rule: Rule) {
        self.script().rules.push(rule);
    }

    /// Writes each call as a line of JSON to this file, too.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn record_calls(&self, path: &Path) -> io::Result<()> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        lock(&self.shared.calls).file = Some(file);
        Ok(())
    }

    /// The calls so far, in their order.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.shared.calls).seen.clone()
    }

    /// The calls after the first `known` ones, and when each of them came.
    #[must_use]
    pub fn calls_since(&self, known: usize) -> Vec<(Call, Instant)> {
        let calls = lock(&self.shared.calls);
        calls.seen.iter().cloned().zip(calls.at.iter().copied()).skip(known).collect()
    }

    /// When the first call of this method came that was about `subject`.
    #[must_use]
    pub fn first_call(&self, call: &str, subject: &str) -> Option<Instant> {
        let calls = lock(&self.shared.calls);
        let place = calls.seen.iter().position(|c| c.call == call && c.subject == subject)?;
        calls.at.get(place).copied()
    }

    /// Has this image, under its first tag or its id, as if it had been pulled.
    pub fn put_image(&self, image: v1::Image) {
        let name = image.repo_tags.first().unwrap_or(&image.id).clone();
        self.state().pulled.insert(name, image);
    }

    /// The ids of the images that it lists.
    #[must_use]
    pub fn image_ids(&self) -> Vec<String> {
        self.state().pulled.values().map(|image| image.id.clone()).collect()
    }

    /// Says from now on that images are in the file system mounted there, and that sandboxes are made of this image.
    pub fn set_image_store(&self, mountpoint: &str, sandbox_image: &str) {
        let mut state = self.state();
        state.image_filesystem = Some(mountpoint.to_owned());
        state.sandbox_image = Some(sandbox_image.to_owned());
    }

    /// Ends a running container as its program would; says whether there was one of this pod and name.
    pub fn exit(&self, pod: &str, container: &str, exit_code: i32) -> bool {
        let id = self.state().running(pod, container);
        id.is_some_and(|id| self.end(&id, exit_code, ""))
    }

    /// Everything is forgotten, as after a reboot.
    pub fn forget(&self) {
        *self.state() = State::default();
    }

    /// How many sandboxes and containers there are, in whatever state.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.sandboxes.len(), state.containers.len())
    }

    /// What no sequence of calls may have brought about: two running containers of one pod and name, say.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// Serves at `socket` until the answer is dropped. A socket that a dead runtime left is replaced.
    ///
    /// # Errors
    /// The socket cannot be bound.
    ///
    /// # Panics
    /// Outside of a tokio runtime, in which the containers live.
    pub fn serve(&self, socket: &Path) -> io::Result<Server> {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = std::os::unix::net::UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        let (stop, stopped) = oneshot::channel::<()>();
        // An own event loop: with it end all connections at once, as in a death. Containers live on in the caller's.
        let own = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let service = service::Service { runtime: self.clone(), lives: tokio::runtime::Handle::current() };
        let thread = std::thread::Builder::new().name("fake-cri".to_owned()).spawn(move || {
            own.block_on(async move {
                let Ok(listener) = UnixListener::from_std(listener) else { return };
                let runtime = RuntimeServiceServer::new(service.clone())
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(usize::MAX);
                let serving = Transport::builder()
                    .add_service(runtime)
                    .add_service(ImageServiceServer::new(service))
                    .serve_with_incoming(UnixListenerStream::new(listener));
                tokio::select! {
                    // Cancel-safe: both are the end.
                    _ = stopped => {}
                    _ = serving => {}
                }
            });
        })?;
        Ok(Server { socket: socket.to_owned(), stop: Some(stop), thread: Some(thread) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        lock(&self.shared.script)
    }

    fn note(&self, call: &str, subject: &str) {
        let call = Call { call: call.to_owned(), subject: subject.to_owned() };
        let mut calls = lock(&self.shared.calls);
        if let Some(file) = &mut calls.file
            && let Ok(line) = serde_json::to_string(&call)
        {
            // A record that cannot be written is missed by whoever reads it; the runtime goes on.
            let _ = io::Write::write_all(file, format!("{line}\n").as_bytes());
        }
        calls.seen.push(call);
        calls.at.push(Instant::now());
    }

    /// Tells the subscribers of what became of a container or sandbox, as the script lets it.
    fn tell(&self, id: &str, kind: v1::ContainerEventType) {
        let Some(event) = self.state().event(id, kind) else { return };
        let effect = self.script().event();
        let send = |event| drop(self.shared.events.send(event));
        match effect {
            None => send(event),
            Some(EventEffect::Lose) => {}
            Some(EventEffect::Double) => {
                send(event.clone());
                send(event);
            }
            Some(EventEffect::Delay { millis }) => {
                let events = self.shared.events.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
                    drop(events.send(event));
                });
            }
        }
    }

    fn end(&self, id: &str, exit_code: i32, reason: &str) -> bool {
        let ended = self.state().end(id, exit_code, reason);
        if ended {
            self.tell(id, v1::ContainerEventType::ContainerStoppedEvent);
        }
        ended
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A runtime that listens; dropping it is its death.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It has panicked: then it is dead, too.
            let _ = thread.join();
        }
        // The next one replaces what cannot be removed.
        let _ = std::fs::remove_file(&self.socket);
    }
}
