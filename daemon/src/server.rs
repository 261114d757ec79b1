//! The servers: HTTPS on 10250 for the API server, plain HTTP on 10248 for whoever watches over the daemon on this machine, and the
//! read-only port where it is asked for. A socket below the root directory serves the same to root on this machine.
//!
//! ```text
//! listen ──TLS──> endpoint ──> access ──────────> route ──┬─ /containerLogs              container_logs ─> streams::logs
//!   patient        which       who, and may he            ├─ /logs                       node_logs
//!                  row                                    ├─ /exec, /attach, ...         streaming ─> streams, the runtime's URL
//!                                                         ├─ /runningpods, /checkpoint   running_pods, checkpoint ─> the runtime
//!   '──────────────────── ongoing ────────────────────────├─ /pods, /configz, /metrics   what the daemon knows
//!     held until the answer has ended                     ├─ /healthz                    healthz <─ health
//!                                                         └─ /statusz, /flagz, /debug    zpages, debug
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `listen` | sockets, limits, and the end of connections |
//! | `patient` | callers who do not read |
//! | `ongoing` | what a request holds while it is answered |
//! | `local` | the socket for root on this machine |
//! | `serving` | the serving certificate, and the authority that callers are checked against |
//! | `endpoint` | what is served, as a table |
//! | `access` | who may use port 10250, and for what |
//! | `route` | requests to answers |
//! | `container_logs` | which log of which container, and how it is read |
//! | `node_logs` | the node's own logs |
//! | `container` | a container that a path names |
//! | `stats` | what is in use |
//! | `running_pods`, `checkpoint` | what the runtime is asked for |
//! | `healthz` | whether the daemon is well, as answers |
//! | `zpages`, `debug` | what runs here, and how much it logs |
//! | `streaming` | exec, attach, run and port-forward |
//! | `reply` | responses |

mod access;
mod checkpoint;
mod container;
mod container_logs;
mod debug;
mod endpoint;
mod healthz;
mod listen;
mod local;
mod node_logs;
mod ongoing;
mod patient;
mod reply;
mod route;
mod running_pods;
mod serving;
mod stats;
mod streaming;
mod zpages;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use cri_client::Client;
use http::Request;
use http_body_util::combinators::BoxBody;
use jiff::Timestamp;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use self::access::Access;
use self::endpoint::Door;
pub(crate) use self::local::socket;
use self::node_logs::Journal;
use self::ongoing::Places;
pub(crate) use self::serving::certificate_path;
use self::streaming::Sessions;
use crate::config::Config;
use crate::credentials::{SERVER, Store};
use crate::health::Verdict;
use crate::local_socket;
use crate::metrics::Metrics;
use crate::overview;
use crate::pods::Shown;
use crate::probes::Probing;
use crate::usage::Usage;

/// A kubelet's directory of the node's own logs.
const NODE_LOGS: &str = "/var/log";

/// Why a server cannot be started.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Somebody else has the port, or the address is not this machine's.
    #[error("listening on {address} ({setting} of the configuration)")]
    Listen {
        /// That was wanted.
        address: SocketAddr,
        /// Where it was set.
        setting: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The configured address or port is none.
    #[error("{setting} of the configuration: {value} cannot be listened on")]
    Address {
        /// Where it was set.
        setting: &'static str,
        /// What was set.
        value: String,
    },
    /// A certificate or key cannot be read, made or used.
    #[error("{path}: {reason}", path = path.display())]
    Certificate {
        /// Of the file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What the servers need to know.
pub(crate) struct Settings {
    pub(crate) config: Arc<Config>,
    /// Where the certificate is kept that the daemon makes for itself.
    pub(crate) cert_dir: PathBuf,
    pub(crate) node_name: String,
    /// Addresses that the certificate is made out to, beside the name.
    pub(crate) host_ips: Vec<String>,
    /// The certificate is asked for at the API server; told of each new one.
    pub(crate) requested: Option<Arc<Notify>>,
    /// Who is asked about callers.
    pub(crate) client: Option<kube::Client>,
    /// Below it the runtime writes checkpoints.
    pub(crate) root_dir: PathBuf,
    /// The flags with what they are set to.
    pub(crate) flags: BTreeMap<String, String>,
}

impl Settings {
    /// Where a certificate is kept that was asked for.
    fn server_store(&self) -> Store {
        Store::new(&self.cert_dir, SERVER)
    }
}

/// A request; whoever answers it may take over its connection.
type Asked = Request<BoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

/// What answers are taken from.
pub(crate) struct Subjects {
    pub(crate) cri: Client,
    pub(crate) pods: Shown,
    pub(crate) metrics: Metrics,
    pub(crate) probing: Probing,
    pub(crate) usage: Usage,
    pub(crate) health: watch::Receiver<Verdict>,
    pub(crate) overview: overview::Origins,
}

/// What a request is answered from.
#[derive(Clone, Debug)]
struct Context {
    access: Access,
    config: Arc<Config>,
    cri: Client,
    pods: Shown,
    metrics: Metrics,
    probing: Probing,
    usage: Usage,
    health: watch::Receiver<Verdict>,
    places: Places,
    about: Arc<About>,
    sessions: Sessions,
    overview: overview::Origins,
}

/// What stays as it is.
#[derive(Debug)]
struct About {
    /// When the program began.
    started: Timestamp,
    /// Below it the runtime writes checkpoints.
    root_dir: PathBuf,
    /// The flags with what they are set to.
    flags: BTreeMap<String, String>,
    /// The node's own logs.
    log_dir: PathBuf,
    journal: Journal,
}

/// Binds the sockets at once, so that an error ends the start, and serves in tasks of their own until `stop`.
///
/// # Errors
/// See [`ServerError`].
pub(crate) async fn start(
    settings: Settings,
    subjects: Subjects,
    stop: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<(), ServerError> {
    let Subjects { cri, pods, metrics, probing, usage, health, overview } = subjects;
    let config = Arc::clone(&settings.config);
    let access = Access::new(Arc::clone(&config), settings.client.clone(), settings.node_name.clone());
    let about = Arc::new(About {
        started: Timestamp::now(),
        root_dir: settings.root_dir.clone(),
        flags: settings.flags.clone(),
        log_dir: PathBuf::from(NODE_LOGS),
        journal: Journal::new("journalctl", &[]),
    });
    let places = Places::new();
    let sessions = Sessions::new(stop.clone());
    let context = Context {
        access,
        config,
        cri,
        pods,
        metrics,
        probing,
        usage,
        health,
        places,
        about,
        sessions,
        overview,
    };
    let (config, metrics) = (Arc::clone(&context.config), context.metrics.clone());
    match local_socket::bind(&socket(&settings.root_dir)) {
        Ok(socket) => drop(tasks.spawn(local::run(socket, context.clone(), stop.clone()))),
        // The pods do not need it.
        Err(error) => tracing::warn!(%error, "the commands that look at this node will not be answered"),
    }
    if config.healthz_port != 0 {
        let setting = "healthzBindAddress and healthzPort";
        let address = address(&config.healthz_bind_address, config.healthz_port, setting)?;
        let socket = bind(address, setting).await?;
        tasks.spawn(listen::plain(socket, context.clone(), Door::Healthz, stop.clone()));
    }
    if config.read_only_port != 0 {
        let setting = "address and readOnlyPort";
        let socket = bind(address(&config.address, config.read_only_port, setting)?, setting).await?;
        tasks.spawn(listen::plain(socket, context.clone(), Door::ReadOnly, stop.clone()));
    }
    if config.enable_server {
        let address = address(&config.address, config.port, "address and port")?;
        let (tls, until) = serving::tls(&settings)?;
        metrics.serving_certificate(until);
        let (tls, newest) = watch::channel(Arc::new(tls));
        let socket = bind(address, "address and port").await?;
        tasks.spawn(serving::follow(settings, tls, metrics, stop.clone()));
        tasks.spawn(listen::tls(socket, newest, context, stop.clone()));
    }
    Ok(())
}

fn address(ip: &str, port: i32, setting: &'static str) -> Result<SocketAddr, ServerError> {
    match (ip.parse::<IpAddr>(), u16::try_from(port)) {
        (Ok(ip), Ok(port)) => Ok(SocketAddr::new(ip, port)),
        _ => Err(ServerError::Address { setting, value: format!("{ip}:{port}") }),
    }
}

async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, setting, source })
}

#[cfg(test)]
mod tests;
