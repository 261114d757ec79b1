//! One config map or secret, in the form that files and variables are made of.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use thiserror::Error;

/// Which kind an object is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        })
    }
}

/// Why an object cannot be had, in a kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ObjectError {
    /// The API server has none of this name.
    #[error("{kind} {name:?} not found")]
    NotFound { kind: Kind, name: String },
    /// The API server does not let this node read it.
    #[error("{message}")]
    Forbidden { message: String },
    /// Nothing is known of it, because the API server does not answer or answers with something else.
    #[error("failed to sync {kind} cache: {cause}")]
    Away { kind: Kind, cause: String },
    /// This node has no API server.
    #[error("{kind} {name:?} cannot be read: this node has no API server")]
    NoServer { kind: Kind, name: String },
    /// No pod of this node refers to it, or more objects are referred to than are watched.
    #[error("object \"{namespace}\"/{name:?} not registered")]
    NotRegistered { namespace: String, name: String },
}

/// A config map or secret as it was read.
#[derive(PartialEq)]
pub(crate) struct Object {
    kind: Kind,
    name: String,
    uid: String,
    version: String,
    immutable: bool,
    /// A config map's `data`.
    text: BTreeMap<String, String>,
    /// A config map's `binaryData`, or a secret's `data`.
    bytes: BTreeMap<String, ByteString>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Object {
    /// Whether its content never changes.
    pub(crate) fn is_immutable(&self) -> bool {
        self.immutable
    }

    /// Whether `other` may have another content.
    pub(super) fn differs(&self, other: &Self) -> bool {
        (&self.uid, &self.version) != (&other.uid, &other.version)
    }

    /// Every key with its bytes, as files are made of them.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let text = self.text.iter().map(|(key, value)| (key.as_str(), value.as_bytes()));
        text.chain(self.bytes.iter().map(|(key, value)| (key.as_str(), value.0.as_slice())))
    }

    /// The value of one key as a variable: a config map's binary data are none (behaviour.md 16.7).
    pub(crate) fn variable(&self, key: &str) -> Option<&[u8]> {
        match self.kind {
            Kind::ConfigMap => self.text.get(key).map(String::as_bytes),
            Kind::Secret => self.bytes.get(key).map(|bytes| bytes.0.as_slice()),
        }
    }

    /// Every key with its value as a variable, sorted.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let secrets = self.bytes.iter().filter(|_| self.kind == Kind::Secret);
        let secrets = secrets.map(|(key, bytes)| (key.as_str(), bytes.0.as_slice()));
        self.text.iter().map(|(key, text)| (key.as_str(), text.as_bytes())).chain(secrets)
    }

    fn new(kind: Kind, metadata: ObjectMeta, immutable: Option<bool>) -> Self {
        Self {
            kind,
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            version: metadata.resource_version.unwrap_or_default(),
            immutable: immutable == Some(true),
            text: BTreeMap::new(),
            bytes: BTreeMap::new(),
        }
    }
}

impl From<ConfigMap> for Object {
    fn from(map: ConfigMap) -> Self {
        Self {
            text: map.data.unwrap_or_default(),
            bytes: map.binary_data.unwrap_or_default(),
            ..Self::new(Kind::ConfigMap, map.metadata, map.immutable)
        }
    }
}

impl From<Secret> for Object {
    fn from(secret: Secret) -> Self {
        let bytes = secret.data.unwrap_or_default();
        Self { bytes, ..Self::new(Kind::Secret, secret.metadata, secret.immutable) }
    }
}
