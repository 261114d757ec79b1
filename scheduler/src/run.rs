//! The task that owns the core: inputs in, effects out, writes in parallel within a bound.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::api::Writer;
use crate::cause::chain;
use crate::core::{Core, Effect, Input};
use crate::flags::Flags;
use crate::{health, watch as watching};

/// Pods that are bound or reported on at once.
const MOST_WRITES: usize = 32;
/// Changes read and not yet taken in; then the watches wait.
const INBOX: usize = 64;
/// For writes under way when the scheduler is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// The scheduler cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kubeconfig is missing or wrong.
    #[error("kubeconfig {}: {why}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The port of the health endpoints cannot be had.
    #[error("listening on 127.0.0.1:{port} for --healthz-port")]
    Listen {
        /// The port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
}

impl StartError {
    /// 2 where the configuration is to be corrected, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Kubeconfig { .. } => 2,
            Self::Listen { .. } => 1,
        }
    }
}

/// Schedules until `stop` resolves.
///
/// # Errors
/// Only what keeps it from starting; an API server that is away is waited for.
pub async fn run(flags: Flags, stop: impl Future<Output = ()>) -> Result<(), StartError> {
    let client = client(&flags).await?;
    let (ready, readiness) = watch::channel(false);
    let mut side = JoinSet::new();
    if let Some(port) = flags.healthz_port {
        let listening = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listening.map_err(|source| StartError::Listen { port, source })?;
        side.spawn(health::serve(listener, readiness));
    }
    let (sender, inputs) = mpsc::channel(INBOX);
    side.spawn(watching::follow(Api::<Node>::all(client.clone()), sender.clone()));
    side.spawn(watching::follow(Api::<Pod>::all(client.clone()), sender.clone()));
    side.spawn(watching::follow(Api::<PersistentVolume>::all(client.clone()), sender.clone()));
    side.spawn(watching::follow(Api::<PersistentVolumeClaim>::all(client.clone()), sender.clone()));
    side.spawn(watching::follow(Api::<StorageClass>::all(client.clone()), sender));
    schedule(Writer::new(client, &host()), inputs, ready, stop).await;
    Ok(())
}

async fn client(flags: &Flags) -> Result<kube::Client, StartError> {
    let wrong = |why: String| StartError::Kubeconfig { path: flags.kubeconfig.clone(), why };
    let file = Kubeconfig::read_from(&flags.kubeconfig).map_err(|e| wrong(chain(&e)))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let client = kube::Client::try_from(config.map_err(|e| wrong(chain(&e)))?);
    client.map_err(|e| wrong(chain(&e)))
}

/// The machine's name, for events.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "unknown".to_owned() } else { name.trim().to_owned() }
}

async fn schedule(
    writer: Writer,
    mut inputs: mpsc::Receiver<Input>,
    ready: watch::Sender<bool>,
    stop: impl Future<Output = ()>,
) {
    let mut core = Core::default();
    let started = Instant::now();
    let mut writes = JoinSet::new();
    // Each write sends once, so the channel never makes one wait.
    let (done, mut ended) = mpsc::channel(MOST_WRITES);
    tokio::pin!(stop);
    loop {
        let room = MOST_WRITES - writes.len();
        for effect in core.decide(room, started.elapsed()) {
            writes.spawn(carry_out(writer.clone(), effect, done.clone()));
        }
        if core.synced() && !ready.send_replace(true) {
            tracing::info!("nodes and pods are listed; scheduling");
        }
        let due = core.due().filter(|_| writes.len() < MOST_WRITES).map(|due| started + due);
        tokio::select! {
            // Cancel-safe: polled by reference.
            () = &mut stop => break,
            // Cancel-safe: a receive that is dropped takes nothing.
            Some(input) = inputs.recv() => core.step(input, started.elapsed()),
            Some(input) = ended.recv() => core.step(input, started.elapsed()),
            // Cancel-safe: as JoinSet says.
            Some(joined) = writes.join_next() => {
                if let Err(error) = joined {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
            // Cancel-safe: made anew from the core.
            () = sleep_until(due.unwrap_or(started)), if due.is_some() => {}
        }
    }
    tracing::info!("stopping");
    let finished = timeout(STOP_TIMEOUT, async { while writes.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        tracing::warn!("some writes were not answered before the end");
    }
}

/// One write, and what the core learns from it. The event of a binding follows the answer to the core, which need not
/// wait for it.
async fn carry_out(writer: Writer, effect: Effect, done: mpsc::Sender<Input>) {
    match effect {
        Effect::Bind { pod, node, volumes } => {
            let end = writer.bind(&pod, &node, &volumes).await;
            let bound = end == crate::core::BindEnd::Bound;
            if done.send(Input::BindEnded(Arc::clone(&pod.uid), end)).await.is_ok() && bound {
                tracing::info!(pod = %format_args!("{}/{}", pod.namespace, pod.name), %node, "bound");
                writer.scheduled(&pod, &node).await;
            }
        }
        Effect::Report(report) => {
            let written = writer.report(&report).await;
            // The core is gone only when the scheduler stops.
            let _ = done.send(Input::ReportEnded(report.pod.uid, written)).await;
        }
    }
}
