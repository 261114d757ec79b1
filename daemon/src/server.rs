//! The servers: HTTPS on 10250 for the API server, plain HTTP on 10248 for whoever watches over the daemon on this machine.
//!
//! ```text
//! listen ──TLS──> access (who, and what) ─> route ──┬─ /containerLogs  container_logs ─> streams::logs
//!                                                   ├─ /pods           the pods with their newest status
//!                                                   ├─ /configz        the configuration in effect
//!                                                   ├─ /metrics        what the daemon has counted; /metrics/probes, of its probes
//!                                                   └─ /healthz        "ok"
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `listen` | sockets, limits, and the end of connections |
//! | `serving` | the serving certificate, and the authority that callers are checked against |
//! | `access` | who may use port 10250, and for what |
//! | `route` | paths to answers |
//! | `container_logs` | which log of which container, and how it is read |
//! | `reply` | responses |

mod access;
mod container_logs;
mod listen;
mod reply;
mod route;
mod serving;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use cri_client::Client;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use self::access::Access;
use crate::config::Config;
use crate::credentials::{SERVER, Store};
use crate::metrics::Metrics;
use crate::pods::Shown;
use crate::probes::Probing;

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
}

impl Settings {
    /// Where a certificate is kept that was asked for.
    fn server_store(&self) -> Store {
        Store::new(&self.cert_dir, SERVER)
    }
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
}

/// Binds the sockets at once, so that an error ends the start, and serves in tasks of their own until `stop`.
///
/// # Errors
/// See [`ServerError`].
pub(crate) async fn start(
    settings: Settings,
    cri: Client,
    pods: Shown,
    metrics: Metrics,
    probing: Probing,
    stop: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
) -> Result<(), ServerError> {
    let config = Arc::clone(&settings.config);
    if config.healthz_port != 0 {
        let setting = "healthzBindAddress and healthzPort";
        let address = address(&config.healthz_bind_address, config.healthz_port, setting)?;
        let socket = bind(address, setting).await?;
        tasks.spawn(listen::plain(socket, stop.clone()));
    }
    if config.enable_server {
        let address = address(&config.address, config.port, "address and port")?;
        let (tls, until) = serving::tls(&settings)?;
        metrics.serving_certificate(until);
        let (tls, newest) = watch::channel(Arc::new(tls));
        let socket = bind(address, "address and port").await?;
        let access = Access::new(Arc::clone(&config), settings.client.clone(), settings.node_name.clone());
        let context = Context { access, config, cri, pods, metrics: metrics.clone(), probing };
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
