//! Which cluster is behind an address, found out with a bootstrap token, and that it is the right one.
//!
//! ```text
//! ADDRESS ──anybody's TLS──> kube-public/cluster-info ──signature with the token, hash of the authority──> authority
//! ADDRESS ──the authority's TLS──> the same once more: nobody stands between
//! ```
//!
//! The signature shows that the config map is of somebody who knows the token, which every node that joins does; only the hash shows
//! that it is the cluster's.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::call::{CallError, Trust, client, get};
use super::jws;
use super::pin::Pin;
use super::token::Token;

const PATH: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
const KUBECONFIG: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";
/// Between attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// A token that was made just now is signed with a moment later.
const UNSIGNED: Duration = Duration::from_secs(5);
/// Clocks that differ more than this make certificates useless: signers date them back by five minutes.
const SKEW: SignedDuration = SignedDuration::from_mins(5);
/// Authorities in one cluster-info.
const AUTHORITIES: usize = 100;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// `HOST:PORT`.
    pub(super) address: String,
    pub(super) token: Token,
    /// Hashes of which the authority's is one; none where that is not to be looked at.
    pub(super) pins: Vec<Pin>,
    /// How long somebody who does not answer is asked again.
    pub(super) patience: Duration,
}

/// A cluster that has proved to be the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cluster {
    /// Where its API server is, as it says itself: `https://HOST:PORT`.
    pub(super) server: String,
    /// Its authorities, PEM.
    pub(super) authorities: String,
}

impl Cluster {
    /// Whose certificate its API server has.
    pub(super) fn trust(&self) -> Trust {
        let all = CertificateDer::pem_slice_iter(self.authorities.as_bytes());
        Trust::Authorities(all.filter_map(|one| Some(one.ok()?.to_vec())).collect())
    }
}

/// Why the cluster is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DiscoveryError {
    #[error("the API server at {address} is not reached: {why}")]
    Away { address: String, why: String },
    #[error(
        "what answers at {address} does not let anybody read the config map cluster-info of namespace kube-public, which a cluster that \
         nodes can join by token has: {why}"
    )]
    NoInfo { address: String, why: String },
    #[error(
        "the cluster does not know the token {id}: it is mistyped, or has expired or been deleted; kubeadm token create makes a new one"
    )]
    UnknownToken { id: String },
    #[error(
        "cluster-info was not signed with this token: its second part is mistyped, or {address} is another cluster"
    )]
    Signature { address: String },
    #[error("the cluster's authority has the hash {}, and none of those that were given: this is another cluster, or the hash is mistyped", found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Pin { found: Vec<Pin> },
    #[error("cluster-info cannot be used: {0}")]
    Content(String),
    #[error(
        "cluster-info reads otherwise once {address} has shown a certificate of the cluster: somebody stands between"
    )]
    Changed { address: String },
    #[error("this machine's clock shows {here} and that of the API server {there}: set it right first")]
    Clock { here: Timestamp, there: Timestamp },
}

/// Finds the cluster out. What is wrong with token, hash or clock is told at once, who does not answer is asked again for a time.
///
/// # Errors
/// See [`DiscoveryError`].
pub(super) async fn discover(wanted: &Wanted) -> Result<Cluster, DiscoveryError> {
    let begin = Instant::now();
    loop {
        let error = match attempt(wanted).await {
            Ok(cluster) => return Ok(cluster),
            Err(error) => error,
        };
        let patience = match &error {
            DiscoveryError::Away { .. } => wanted.patience,
            DiscoveryError::UnknownToken { .. } => wanted.patience.min(UNSIGNED),
            _ => return Err(error),
        };
        if begin.elapsed() + PAUSE >= patience {
            return Err(error);
        }
        sleep(PAUSE).await;
    }
}

async fn attempt(wanted: &Wanted) -> Result<Cluster, DiscoveryError> {
    let server = format!("https://{}", wanted.address);
    let map = read(wanted, &server, &Trust::Nobody).await?;
    let cluster = genuine(wanted, &map)?;
    // Somebody may have passed on what is genuine and keep the rest.
    let map = read(wanted, &server, &cluster.trust()).await?;
    match genuine(wanted, &map) {
        Ok(again) if again == cluster => Ok(cluster),
        _ => Err(DiscoveryError::Changed { address: wanted.address.clone() }),
    }
}

async fn read(wanted: &Wanted, server: &str, trust: &Trust) -> Result<Value, DiscoveryError> {
    let address = || wanted.address.clone();
    let away = |why: String| DiscoveryError::Away { address: address(), why };
    let client = client(server, trust, None).map_err(|error| away(error.to_string()))?;
    let answer = get(&client, PATH).await.map_err(|error| match error {
        CallError::Away(why) => away(why),
        CallError::Refused { code: 500.., .. } => away(error.to_string()),
        other => DiscoveryError::NoInfo { address: address(), why: other.to_string() },
    })?;
    let here = Timestamp::now();
    match answer.date {
        Some(there) if here.duration_since(there).abs() > SKEW => {
            let here = Timestamp::from_second(here.as_second()).unwrap_or(here);
            Err(DiscoveryError::Clock { here, there })
        }
        _ => Ok(answer.body),
    }
}

/// What a config map says, once it was seen that it is the cluster's. Pure; whoever answers has written the map.
pub(super) fn genuine(wanted: &Wanted, map: &Value) -> Result<Cluster, DiscoveryError> {
    let data = |name: &str| map.get("data").and_then(|data| data.get(name)).and_then(Value::as_str);
    let Some(content) = data(KUBECONFIG) else {
        return Err(DiscoveryError::Content(format!("it has no {KUBECONFIG}")));
    };
    let id = &wanted.token.id;
    let Some(signature) = data(&format!("{SIGNATURE_PREFIX}{id}")) else {
        return Err(DiscoveryError::UnknownToken { id: id.clone() });
    };
    if !jws::verifies(&wanted.token, content, signature) {
        return Err(DiscoveryError::Signature { address: wanted.address.clone() });
    }
    let cluster = first_cluster(content).map_err(DiscoveryError::Content)?;
    let Trust::Authorities(authorities) = cluster.trust() else {
        return Err(DiscoveryError::Content("it names no authority".to_owned()));
    };
    if authorities.is_empty() || authorities.len() > AUTHORITIES {
        return Err(DiscoveryError::Content(format!("it names {} authorities", authorities.len())));
    }
    let found: Result<Vec<Pin>, String> =
        authorities.iter().map(|one| Pin::of(&CertificateDer::from(one.as_slice()))).collect();
    let found = found.map_err(|why| DiscoveryError::Content(format!("its authority: {why}")))?;
    if !wanted.pins.is_empty() && !found.iter().any(|pin| wanted.pins.contains(pin)) {
        return Err(DiscoveryError::Pin { found });
    }
    Ok(cluster)
}

/// The only cluster of a kubeconfig without users.
fn first_cluster(content: &str) -> Result<Cluster, String> {
    let document = crate::config::parse_document(content, std::path::Path::new("its kubeconfig"))?;
    let cluster = document.value.pointer("/clusters/0/cluster").ok_or("it names no cluster")?;
    let text = |name: &str| cluster.get(name).and_then(Value::as_str).unwrap_or_default();
    let server = text("server").trim_end_matches('/');
    if !server.starts_with("https://")
        || server.parse::<http::Uri>().is_err()
        || server.contains(char::is_whitespace)
    {
        return Err(format!("its server {server:?} is no https:// address"));
    }
    let pem =
        STANDARD.decode(text("certificate-authority-data")).map_err(|_| "its authority is no base64")?;
    let authorities = String::from_utf8(pem).map_err(|_| "its authority is no text")?;
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        certificate.map_err(|error| format!("its authority is no PEM: {error}"))?;
    }
    Ok(Cluster { server: server.to_owned(), authorities })
}

#[cfg(test)]
pub(super) mod tests;
