//! The pull secrets that a pod names, read from the API server when they are needed. behaviour.md 14.1.
//!
//! A read is kept for [`FRESH`]: many containers start at the same time and name the same secret. What cannot be read stops no
//! pull; it is told by name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::credential::{SecretName, Source};
use super::docker_config::{DockerConfig, DockerConfigError, parse_config_json, parse_dockercfg};
use super::keyring::Keyring;
use super::turns::Turns;
use crate::cause::chain;

/// How long a read is good for.
const FRESH: Duration = Duration::from_secs(5);
/// How long one read may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Reads that are kept.
const KEPT: usize = 1_000;
/// As long as a name can be.
const MAX_NAME: usize = 253;

/// Why a secret gives no credentials.
#[derive(Debug, Error)]
enum SecretError {
    #[error("there is no API server")]
    NoServer,
    #[error("this is no name of a secret")]
    Name,
    #[error("no answer in {LIMIT:?}")]
    Deadline,
    #[error("reading it")]
    Api(#[source] kube::Error),
    #[error(transparent)]
    Content(#[from] DockerConfigError),
}

/// What was in a secret.
#[derive(Debug)]
struct Read {
    name: SecretName,
    config: DockerConfig,
}

/// Namespace and name.
type Key = (String, String);

/// Reads secrets for all pods.
pub(super) struct Secrets {
    client: Option<kube::Client>,
    reads: Mutex<HashMap<Key, (Instant, Arc<Read>)>>,
    turns: Turns<Key>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client has nothing to show.
        f.debug_struct("Secrets").field("reads", &self.reads).finish_non_exhaustive()
    }
}

/// What a pod's secrets hold.
#[derive(Debug, Default)]
pub(super) struct PodSecrets {
    pub(super) keyring: Keyring,
    /// Names of those that could not be read, in the order of the pod.
    pub(super) failed: Vec<String>,
}

impl Secrets {
    /// Without a client there are no secrets to read.
    pub(super) fn new(client: Option<kube::Client>) -> Self {
        Self { client, reads: Mutex::default(), turns: Turns::default() }
    }

    /// The credentials of all secrets that the pod names.
    pub(super) async fn of(&self, pod: &Pod) -> PodSecrets {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let named = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
        // An empty name was never refused by the API; it means nothing.
        let names: Vec<&str> = named.map(|r| r.name.as_str()).filter(|name| !name.is_empty()).collect();
        let mut found = PodSecrets::default();
        for (name, read) in names.iter().zip(join_all(names.iter().map(|n| self.read(namespace, n))).await) {
            match read {
                Ok(read) => found.keyring.add(read.config.clone(), &Source::Secret(read.name.clone())),
                Err(error) => {
                    tracing::warn!(namespace, name, error = chain(&error), "a pull secret cannot be used");
                    found.failed.push((*name).to_owned());
                }
            }
        }
        found
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Arc<Read>, SecretError> {
        let client = self.client.clone().ok_or(SecretError::NoServer)?;
        if !is_name(name) {
            return Err(SecretError::Name);
        }
        let key = (namespace.to_owned(), name.to_owned());
        let _turn = self.turns.take(key.clone()).await;
        if let Some(read) = self.fresh(&key) {
            return Ok(read);
        }
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        let secret = timeout(LIMIT, secrets.get(name)).await.map_err(|_| SecretError::Deadline)?;
        let read = Arc::new(content(secret.map_err(SecretError::Api)?, namespace, name)?);
        let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads.retain(|_, (at, _)| at.elapsed() < FRESH);
        if reads.len() < KEPT {
            reads.insert(key, (Instant::now(), Arc::clone(&read)));
        }
        Ok(read)
    }

    fn fresh(&self, key: &Key) -> Option<Arc<Read>> {
        let reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        reads.get(key).filter(|(at, _)| at.elapsed() < FRESH).map(|(_, read)| Arc::clone(read))
    }
}

/// The name becomes a part of the request's path.
pub(super) fn is_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    name.len() <= MAX_NAME && name.bytes().all(legal) && !name.starts_with('.')
}

/// A secret of another type holds no credentials, and neither does one without content.
fn content(secret: Secret, namespace: &str, name: &str) -> Result<Read, SecretError> {
    let data = secret.data.unwrap_or_default();
    let bytes = |key: &str| data.get(key).map(|bytes| bytes.0.as_slice()).filter(|bytes| !bytes.is_empty());
    let config = match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => bytes(".dockerconfigjson").map(parse_config_json),
        Some("kubernetes.io/dockercfg") => bytes(".dockercfg").map(parse_dockercfg),
        _ => None,
    };
    let uid = secret.metadata.uid.unwrap_or_default();
    let name = SecretName { uid, namespace: namespace.to_owned(), name: name.to_owned() };
    Ok(Read { name, config: config.transpose()?.unwrap_or_default() })
}

#[cfg(test)]
mod tests;
