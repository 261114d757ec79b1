//! From a kubeconfig file to clients of the API server.
//!
//! Two clients are made: one for everything, and one of its own connection for the node's status and lease, so that a
//! thousand pod writes or a wedged watch cannot make the node look dead; and seats on shared connections for the watches of
//! single objects. behaviour.md 32.19, 33.1.
//!
//! ```text
//! file ──read──> Access (server, authority, identity) ──line──> connections ──link──> kube::Client
//!   changed on the disk, or a new certificate: another line; what is under way on the old one goes on
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderValue;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::cause::chain;
use crate::config::Origin;
use crate::credentials::Identity;
use crate::flags::KUBERNETES_VERSION;

mod any_certificate;
pub(crate) mod link;
pub(crate) mod reach;
mod shared;
pub(crate) mod tls;
pub(crate) use link::{Line, LineError, Link, line};
pub(crate) use reach::Reach;
pub(crate) use shared::{Seat, Seats};

/// Largest file that is read, in bytes.
const FILE_BYTES: u64 = 1024 * 1024;

/// The clients of one API server.
#[derive(Clone)]
pub struct Clients {
    /// For pods, events, and everything else.
    pub general: kube::Client,
    /// For the node's status and lease only; every call has [`Clients::node_timeout`].
    pub node: kube::Client,
    /// For watches of single objects, of which there are many.
    pub(crate) seats: Seats,
    /// The smaller of the status update frequency and the lease duration.
    pub node_timeout: Duration,
    /// Whether calls of either are answered.
    pub(crate) reach: Reach,
}

impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

/// The kubeconfig cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("kubeconfig {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{origin}: {field}: {message}", origin = origin.as_ref().map_or_else(|| path.display().to_string(), ToString::to_string))]
    Field { path: PathBuf, origin: Option<Origin>, field: String, message: String },
    #[error("kubeconfig {}: {message}", path.display())]
    Use { path: PathBuf, message: String },
}

/// What a kubeconfig says, with all files that it names read in.
pub(crate) struct Access {
    config: kube::Config,
    /// The client certificate, if it is one that the node shows.
    pub(crate) identity: Option<Identity>,
    /// Files that the file names, for whoever looks whether they change.
    pub(crate) files: Vec<PathBuf>,
}

impl std::fmt::Debug for Access {
    /// Tokens and keys stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("server", &self.server()).finish_non_exhaustive()
    }
}

impl Access {
    /// Where the API server is.
    pub(crate) fn server(&self) -> String {
        self.config.cluster_url.to_string()
    }

    /// A client of its own connections, for a few calls.
    ///
    /// # Errors
    /// Authority, certificate or token cannot be used.
    pub(crate) fn client(&self) -> Result<kube::Client, LineError> {
        Ok(kube::Client::new(line(&self.config, self.identity.as_ref())?.calls, "default"))
    }

    /// Connections with this identity instead of the file's own.
    ///
    /// # Errors
    /// As of [`Access::client`].
    pub(crate) fn line(&self, identity: Option<&Identity>) -> Result<Line, LineError> {
        line(&self.config, identity)
    }
}

/// Reads the file and those that it names; no call is made.
///
/// # Errors
/// The file and field that is missing or wrong.
pub(crate) async fn read(path: &Path) -> Result<Access, KubeconfigError> {
    let text =
        read_bounded(path).map_err(|source| KubeconfigError::Read { path: path.to_path_buf(), source })?;
    let text = String::from_utf8(text).map_err(|_| KubeconfigError::Use {
        path: path.to_path_buf(),
        message: "is no UTF-8 text".to_owned(),
    })?;
    parse(&text, path).await
}

/// The same of a text; `path` is where it stands or will stand.
///
/// # Errors
/// As of [`read`].
pub(crate) async fn parse(text: &str, path: &Path) -> Result<Access, KubeconfigError> {
    let wrong = |message: String| KubeconfigError::Use { path: path.to_path_buf(), message };
    let mut file = check(text, path)?;
    resolve(&mut file, path.parent().unwrap_or(Path::new(".")));
    let (cluster, user) = current(&file);
    let cluster = cluster.ok_or_else(|| wrong("names no cluster".to_owned()))?;
    let user = user.unwrap_or_default();
    let named =
        [&cluster.certificate_authority, &user.client_certificate, &user.client_key, &user.token_file];
    let files = named.into_iter().flatten().filter(|text| !text.is_empty()).map(PathBuf::from).collect();
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .map_err(|error| wrong(chain(&error)))?;
    let identity = identity(&user).map_err(wrong)?;
    // From here on it is the identity that counts, whichever it is.
    config.auth_info.client_certificate = None;
    config.auth_info.client_certificate_data = None;
    config.auth_info.client_key = None;
    config.auth_info.client_key_data = None;
    Ok(Access { config, identity, files })
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES {
        return Err(std::io::Error::other(format!("larger than {FILE_BYTES} bytes")));
    }
    Ok(content)
}

/// Cluster and user of the current context; [`check`] has seen to it that there is a cluster.
fn current(file: &Kubeconfig) -> (Option<kube::config::Cluster>, Option<kube::config::AuthInfo>) {
    let context = file
        .contexts
        .iter()
        .find(|context| Some(&context.name) == file.current_context.as_ref())
        .and_then(|context| context.context.as_ref());
    let Some(context) = context else { return (None, None) };
    let cluster = file.clusters.iter().find(|cluster| cluster.name == context.cluster);
    let user = file.auth_infos.iter().find(|user| Some(&user.name) == context.user.as_ref());
    (cluster.and_then(|c| c.cluster.clone()), user.and_then(|u| u.auth_info.clone()))
}

/// The client certificate of a user, from data or from files.
fn identity(user: &kube::config::AuthInfo) -> Result<Option<Identity>, String> {
    use base64::Engine as _;
    use secrecy::ExposeSecret as _;
    let part = |data: Option<&str>, path: Option<&String>, name: &str| {
        if let Some(data) = data.filter(|data| !data.is_empty()) {
            let decoded = base64::engine::general_purpose::STANDARD.decode(data);
            return decoded.map(Some).map_err(|_| format!("{name}-data is no base64"));
        }
        match path.filter(|path| !path.is_empty()) {
            Some(path) => {
                read_bounded(Path::new(path)).map(Some).map_err(|error| format!("{name} {path}: {error}"))
            }
            None => Ok(None),
        }
    };
    let certificate = part(
        user.client_certificate_data.as_deref(),
        user.client_certificate.as_ref(),
        "client-certificate",
    )?;
    let key = user.client_key_data.as_ref().map(|key| key.expose_secret());
    let key = part(key, user.client_key.as_ref(), "client-key")?;
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Identity::read(&certificate, &key).map(Some).map_err(|why| format!("client-certificate: {why}"))
        }
        (Some(_), None) => Err("there is a client-certificate without a client-key".to_owned()),
        (None, Some(_)) => Err("there is a client-key without a client-certificate".to_owned()),
    }
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

/// A kubeconfig as a kubelet writes it: the cluster of the current context of `from`, and one file for certificate and key.
///
/// # Errors
/// `from` cannot be read or used.
pub(crate) fn with_certificate(from: &Path, certificate: &Path) -> Result<String, KubeconfigError> {
    let text =
        read_bounded(from).map_err(|source| KubeconfigError::Read { path: from.to_path_buf(), source })?;
    let mut file = check(&String::from_utf8_lossy(&text), from)?;
    resolve(&mut file, from.parent().unwrap_or(Path::new(".")));
    let wrong = |message: String| KubeconfigError::Use { path: from.to_path_buf(), message };
    let (Some(cluster), _) = current(&file) else { return Err(wrong("names no cluster".to_owned())) };
    let cluster = serde_json::to_value(cluster).map_err(|error| wrong(error.to_string()))?;
    let file = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "default-cluster", "cluster": cluster }],
        "contexts": [{
            "name": "default-context",
            "context": { "cluster": "default-cluster", "namespace": "default", "user": "default-auth" },
        }],
        "current-context": "default-context",
        "users": [{
            "name": "default-auth",
            "user": { "client-certificate": certificate, "client-key": certificate },
        }],
    });
    serde_saphyr::to_string(&file).map_err(|error| wrong(error.to_string()))
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

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
