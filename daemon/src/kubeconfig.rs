//! From a kubeconfig file to clients of the API server.
//!
//! Two clients are made: one for everything, and one of its own connection for the node's status and lease, so that a
//! thousand pod writes or a wedged watch cannot make the node look dead. behaviour.md 32.19, 33.1.
//!
//! Connections speak HTTP/1.1: each call that outlives its deadline is dropped, and its connection with it, so that a
//! wedged connection never serves a second call. A peer that is gone is found by TCP keep-alive and user timeout.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::ServiceBuilder;

use crate::config::Origin;
use crate::flags::KUBERNETES_VERSION;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Unacknowledged data for longer than this ends the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
const POOL_IDLE: Duration = Duration::from_secs(90);
/// Connections kept for the next call; watches hold theirs besides.
const POOL_MOST: usize = 8;

/// The clients of one API server.
#[derive(Clone)]
pub struct Clients {
    /// For pods, events, and everything else.
    pub general: kube::Client,
    /// For the node's status and lease only; every call has [`Clients::node_timeout`].
    pub node: kube::Client,
    /// The smaller of the status update frequency and the lease duration.
    pub node_timeout: Duration,
    /// Where the API server is, for the log.
    pub server: String,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").field("server", &self.server).finish_non_exhaustive()
    }
}

/// The kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error(
        "kubeconfig {}: does not exist, and getting a first certificate with --bootstrap-kubeconfig is not carried out yet",
        .0.display()
    )]
    Bootstrap(PathBuf),
    #[error("kubeconfig {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{origin}: {field}: {message}", origin = origin.as_ref().map_or_else(|| path.display().to_string(), ToString::to_string))]
    Field { path: PathBuf, origin: Option<Origin>, field: String, message: String },
    #[error("kubeconfig {}: {message}", path.display())]
    Use { path: PathBuf, message: String },
}

/// Reads `path` and makes the clients; no call is made yet.
///
/// # Errors
/// The file and field that is missing or wrong.
pub async fn load(path: &Path, bootstrap: bool, node_timeout: Duration) -> Result<Clients, KubeconfigError> {
    let config = read(path, bootstrap).await?;
    let wrong =
        |error: kube::Error| KubeconfigError::Use { path: path.to_path_buf(), message: chain(&error) };
    Ok(Clients {
        general: client(&config).map_err(wrong)?,
        node: client(&config).map_err(wrong)?,
        node_timeout,
        server: config.cluster_url.to_string(),
    })
}

async fn read(path: &Path, bootstrap: bool) -> Result<kube::Config, KubeconfigError> {
    match tokio::fs::try_exists(path).await {
        Ok(false) if bootstrap => return Err(KubeconfigError::Bootstrap(path.to_path_buf())),
        _ => {}
    }
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|source| KubeconfigError::Read { path: path.to_path_buf(), source })?;
    let wrong = |message: String| KubeconfigError::Use { path: path.to_path_buf(), message };
    let mut file = check(&text, path)?;
    resolve(&mut file, path.parent().unwrap_or(Path::new(".")));
    kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| wrong(error.to_string()))
}

/// Parses the file and looks for what would only show as a refused connection later.
fn check(text: &str, path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    let document = crate::config::parse_document(text, path)
        .map_err(|message| KubeconfigError::Use { path: path.to_path_buf(), message })?;
    let field = |field: &str, message: String| KubeconfigError::Field {
        path: path.to_path_buf(),
        origin: document.origins.of(field).cloned(),
        field: field.to_owned(),
        message,
    };
    let file: Kubeconfig =
        crate::config::decode_document(&document).map_err(|(name, message)| field(&name, message))?;
    let current = file.current_context.as_deref().filter(|name| !name.is_empty());
    let current = current.ok_or_else(|| field("current-context", "is not set".to_owned()))?;
    let context = file
        .contexts
        .iter()
        .find(|context| context.name == current)
        .and_then(|context| context.context.as_ref())
        .ok_or_else(|| field("current-context", format!("no context is named {current:?}")))?;
    let (index, cluster) = file
        .clusters
        .iter()
        .enumerate()
        .find(|(_, cluster)| cluster.name == context.cluster)
        .and_then(|(index, cluster)| Some((index, cluster.cluster.as_ref()?)))
        .ok_or_else(|| field("clusters", format!("no cluster is named {:?}", context.cluster)))?;
    let within = |name: &str| format!("clusters[{index}].cluster.{name}");
    let server = cluster.server.as_deref().unwrap_or_default();
    if !server.starts_with("https://") {
        return Err(field(&within("server"), format!("{server:?} is no https:// address")));
    }
    if let Some(user) = context.user.as_deref().filter(|user| !user.is_empty())
        && !file.auth_infos.iter().any(|info| info.name == user)
    {
        return Err(field("users", format!("no user is named {user:?}")));
    }
    if let Some(info) = file.auth_infos.iter().find(|info| Some(&info.name) == context.user.as_ref())
        && let Some(info) = &info.auth_info
        && (info.exec.is_some() || info.auth_provider.is_some())
    {
        return Err(field(
            "users",
            "credential programs (exec, auth-provider) are not carried out; use a certificate or token"
                .to_owned(),
        ));
    }
    Ok(file)
}

/// Relative paths in a kubeconfig are below the file's directory.
fn resolve(file: &mut Kubeconfig, base: &Path) {
    let join = |path: &mut Option<String>| {
        if let Some(text) = path.as_mut().filter(|text| !text.is_empty()) {
            *text = base.join(text.as_str()).to_string_lossy().into_owned();
        }
    };
    for cluster in file.clusters.iter_mut().filter_map(|cluster| cluster.cluster.as_mut()) {
        join(&mut cluster.certificate_authority);
    }
    for user in file.auth_infos.iter_mut().filter_map(|user| user.auth_info.as_mut()) {
        join(&mut user.client_certificate);
        join(&mut user.client_key);
        join(&mut user.token_file);
    }
}

/// One client with a connection pool of its own.
fn client(config: &kube::Config) -> Result<kube::Client, kube::Error> {
    let mut config = config.clone();
    config.headers.push((header::USER_AGENT, user_agent()));
    config.headers.push((HeaderName::from_static("accept"), HeaderValue::from_static("application/json")));
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(KEEP_ALIVE));
    connector.set_keepalive_interval(Some(KEEP_ALIVE / 3));
    connector.set_keepalive_retries(Some(3));
    connector.set_tcp_user_timeout(Some(USER_TIMEOUT));
    connector.set_nodelay(true);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(POOL_MOST)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

/// `kubelet/v1.36.2 (linux/amd64) nodelet/0.1.0`: what reads audit logs for kubelets finds this one too.
fn user_agent() -> HeaderValue {
    let text = format!(
        "kubelet/{KUBERNETES_VERSION} (linux/{}) nodelet/{}",
        go_architecture(),
        env!("CARGO_PKG_VERSION")
    );
    HeaderValue::try_from(text).expect("versions and architectures are plain ASCII")
}

/// The architecture as Go and Kubernetes name it.
#[must_use]
pub fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
