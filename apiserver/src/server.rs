//! The server as a whole: what it opens, in which order, and how it ends.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Mutex, RwLock};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::authenticate::{TokenFileError, Tokens};
use crate::authorize::Authorizer;
use crate::backend::{Backends, CredentialError, Reach};
use crate::bootstrap::{bootstrap, first_address};
use crate::cache::{Cache, Limits};
use crate::certificates::Settings;
use crate::connect::Streams;
use crate::flags::{Accounts, Credentials, Options};
use crate::listener::{ListenError, Listener};
use crate::metrics::Measured;
use crate::pki::{FileError, KUBELET_CLIENT, Kubeconfig, Pki, PkiError, Subject};
use crate::status::ApiError;
use crate::store::{Embedded, OpenError, ReadError};
use crate::tokens::{self, Issuer};
use crate::{
    accounts, aggregation, bootstrap_tokens, budgets, certificates, claims, cluster_info, expiry, garbage,
    namespaces, node_lifecycle, pod_garbage, taint_evictions,
};

const STORE_FILE: &str = "store.redb";
const ADMIN: &str = "kubernetes-admin";
const SCHEDULER: &str = "system:kube-scheduler";
/// What the serving certificate always covers.
const SERVER_NAMES: &[&str] = &[
    "localhost",
    "127.0.0.1",
    "::1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    KubeletClient(#[from] CredentialError),
    #[error("creating the first objects")]
    Bootstrap(#[from] ApiError),
    #[error("opening the store was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl StartError {
    /// Whether the command line, or a file that it names, is to blame.
    pub fn is_configuration(&self) -> bool {
        matches!(self.0, Cause::Tokens(_) | Cause::Pki(PkiError::Name { .. }))
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    data_dir: PathBuf,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Server {
    /// Opens everything, and serves when this returns.
    pub async fn start(options: &Options) -> Result<Self, StartError> {
        Ok(Self::open(options, Limits::default(), Reach::Unicast).await?)
    }

    async fn open(options: &Options, history: Limits, reach: Reach) -> Result<Self, Cause> {
        let pki = Pki::open(&options.data_dir)?;
        let tokens = match &options.token_auth_file {
            Some(path) => Tokens::read(path)?,
            None => Tokens::default(),
        };
        let server = pki.server(&server_names(options))?;
        let kubelet_client = pki.client("kubelet-client", &Subject::new(KUBELET_CLIENT, &[]))?;
        let issuer = Issuer { key: pki.token_key()?, settings: token_settings(&options.accounts) };
        let address = SocketAddr::new(options.bind_address, options.secure_port);
        let listener = Listener::bind(address, &server, pki.ca_pem()).await?;
        let address = listener.address();
        write_kubeconfigs(&pki, &options.data_dir, &url(address))?;

        let path = options.data_dir.join(STORE_FILE);
        // Reads and checks the whole file.
        let store = tokio::task::spawn_blocking(move || Embedded::open(&path)).await??;
        let cache = Cache::open(Arc::new(store), history).await?;
        let stop = CancellationToken::new();
        let api = Arc::new(Api {
            authorizer: Authorizer::new(cache.clone()),
            cache,
            tokens,
            issuer,
            disabled_plugins: options.disable_admission_plugins.clone(),
            pki,
            certificates: Settings {
                duration: options.cluster_signing_duration,
                approve_serving: options.approve_kubelet_serving,
            },
            endpoint: match &options.control_plane_endpoint {
                Some(endpoint) => format!("https://{endpoint}"),
                None => url(address),
            },
            service_range: options.service_cluster_ip_range,
            backends: Backends::new(&kubelet_client, reach)?,
            streams: Streams::default(),
            measured: Measured::default(),
            namespace_gate: RwLock::default(),
            allocation: Mutex::default(),
            stop: stop.clone(),
        });
        bootstrap(&api, SocketAddr::new(advertised(options, address.ip()), address.port())).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accounts::run(api.clone()));
        tasks.spawn(namespaces::run(api.clone()));
        tasks.spawn(expiry::run(api.clone()));
        tasks.spawn(garbage::run(api.clone()));
        tasks.spawn(aggregation::run(api.clone()));
        tasks.spawn(bootstrap_tokens::run(api.clone()));
        tasks.spawn(budgets::run(api.clone()));
        tasks.spawn(certificates::run(api.clone()));
        tasks.spawn(cluster_info::run(api.clone()));
        tasks.spawn(claims::run(api.clone()));
        tasks.spawn(claims::protection::run(api.clone()));
        tasks.spawn(node_lifecycle::run(api.clone(), options.nodes.clone()));
        tasks.spawn(taint_evictions::run(api.clone()));
        tasks.spawn(pod_garbage::run(api.clone(), options.nodes.ended_pods));
        tasks.spawn(listener.run(api));
        tracing::info!(%address, data_dir = %options.data_dir.display(), "serving");
        Ok(Self { address, data_dir: options.data_dir.clone(), stop, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The kubeconfig of the administrator.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.data_dir.join("admin.kubeconfig")
    }

    /// Ends watches, lets requests finish, and closes the store.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the server failed");
            }
        }
        tracing::info!("stopped");
    }

    /// Waits until a part of the server has ended, which none does unless it failed.
    pub async fn failed(&mut self) {
        if let Some(Err(error)) = self.tasks.join_next().await {
            tracing::error!(%error, "a task of the server failed");
        }
    }
}

fn server_names(options: &Options) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = SERVER_NAMES.iter().map(|n| (*n).to_owned()).collect();
    names.insert(first_address(options.service_cluster_ip_range).to_string());
    names.extend(options.tls_sans.iter().cloned());
    names.extend(options.advertise_address.map(|address| address.to_string()));
    let endpoint = options.control_plane_endpoint.as_deref().and_then(|e| e.rsplit_once(':'));
    names.extend(endpoint.map(|(host, _)| host.trim_matches(['[', ']']).to_owned()));
    if !options.bind_address.is_unspecified() {
        names.insert(options.bind_address.to_string());
    }
    names
}

fn token_settings(accounts: &Accounts) -> tokens::Settings {
    let Accounts { issuer, audiences, extend_expiration, longest } = accounts.clone();
    let audiences = if audiences.is_empty() { vec![issuer.clone()] } else { audiences };
    let longest = longest.map(|longest| i64::try_from(longest.as_secs()).unwrap_or(i64::MAX));
    tokens::Settings { issuer, audiences, extend: extend_expiration, longest }
}

/// Where pods reach the server, as far as that can be known.
fn advertised(options: &Options, bound: IpAddr) -> IpAddr {
    let endpoint = options.control_plane_endpoint.as_deref().and_then(|e| e.rsplit_once(':'));
    let named = endpoint.and_then(|(host, _)| host.trim_matches(['[', ']']).parse().ok());
    let here = || if bound.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { bound };
    options.advertise_address.or(named).unwrap_or_else(here)
}

/// How clients on this machine reach the server.
fn url(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("https://{}", SocketAddr::new(host, address.port()))
}

fn write_kubeconfigs(pki: &Pki, data_dir: &Path, server: &str) -> Result<(), Cause> {
    for (file, user, groups) in [("admin", ADMIN, &["system:masters"][..]), ("scheduler", SCHEDULER, &[])] {
        let credential = pki.client(file, &Subject::new(user, groups))?;
        let path = data_dir.join(format!("{file}.kubeconfig"));
        Kubeconfig::new(pki, server, user, &credential).write(&path)?;
    }
    Ok(())
}

/// Carries out the `credentials` command. Works beside a running server and without one.
pub fn issue_credentials(command: &Credentials) -> Result<(), StartError> {
    let pki = Pki::open(&command.data_dir).map_err(Cause::from)?;
    let groups: Vec<&str> = command.group.iter().map(String::as_str).collect();
    let credential = pki.issue_client(&Subject::new(&command.user, &groups)).map_err(Cause::from)?;
    let kubeconfig = Kubeconfig::new(&pki, &command.server, &command.user, &credential);
    kubeconfig.write(&command.output).map_err(Cause::from)?;
    Ok(())
}

#[cfg(test)]
mod tests;
