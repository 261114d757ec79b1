//! What all requests share, and the way from a stored object to a kind's own form and back.

use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, RwLock};
use tokio_util::sync::CancellationToken;

use crate::authenticate::{AUTHENTICATE_FAILED, Tokens, User};
use crate::authorize::Authorizer;
use crate::backend::Backends;
use crate::bootstrap_tokens;
use crate::cache::{Cache, Object};
use crate::certificates::Settings;
use crate::connect::Streams;
use crate::kinds::{self, Kind, Storage};
use crate::metrics::Measured;
use crate::pki::Pki;
use crate::request::media::Accepted;
use crate::request::{Query, ResourcePath};
use crate::schema::Syntax;
use crate::status::ApiError;
use crate::tokens::{self, Accepted as AcceptedToken, Issuer};

/// The server's state.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) cache: Arc<Cache>,
    pub(crate) tokens: Tokens,
    /// Makes and accepts tokens of service accounts.
    pub(crate) issuer: Issuer,
    /// Admission plugins that are switched off, by upstream's names.
    pub(crate) disabled_plugins: Vec<String>,
    pub(crate) authorizer: Authorizer,
    pub(crate) pki: Pki,
    /// How requests for certificates are dealt with.
    pub(crate) certificates: Settings,
    /// How nodes reach this server: `https://host:port`.
    pub(crate) endpoint: String,
    /// First address and prefix length.
    pub(crate) service_range: (Ipv4Addr, u8),
    pub(crate) backends: Backends,
    pub(crate) streams: Streams,
    pub(crate) measured: Measured,
    /// Held for reading by whoever creates in a namespace, for writing by whoever removes one: a namespace that has been
    /// found empty stays so until it is gone.
    pub(crate) namespace_gate: RwLock<()>,
    /// Held by whoever takes something that must not be taken twice: a service's address, being the default class.
    pub(crate) allocation: Mutex<()>,
    /// Cancelled when the server ends: watches and followed logs end with it.
    pub(crate) stop: CancellationToken,
}

/// One request for a resource that exists, by a caller who may make it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) user: User,
    pub(crate) kind: &'static Kind,
    pub(crate) path: ResourcePath,
    pub(crate) query: Query,
    pub(crate) accepted: Accepted,
}

impl Call {
    /// Empty at the cluster scope, and for lists over all namespaces.
    pub(crate) fn namespace(&self) -> &str {
        self.path.namespace.as_deref().unwrap_or("")
    }

    /// Empty for collections.
    pub(crate) fn name(&self) -> &str {
        self.path.name.as_deref().unwrap_or("")
    }

    pub(crate) fn subresource(&self) -> Option<&str> {
        self.path.subresource.as_deref()
    }
}

/// A request's body.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: bytes::Bytes,
    pub(crate) syntax: Syntax,
}

/// The key of an object. Kinds without storage have none, and no verb that needs one.
pub(crate) fn key(kind: &Kind, namespace: &str, name: &str) -> String {
    let prefix = prefix(kind, namespace);
    format!("{prefix}{name}")
}

/// What the keys of all objects of a kind, in a namespace or in all of them, start with.
pub(crate) fn prefix(kind: &Kind, namespace: &str) -> String {
    let resource = match kind.storage {
        Storage::As { kind, .. } => kind().qualified_resource(),
        Storage::Own | Storage::None => kind.qualified_resource(),
    };
    if namespace.is_empty() { format!("{resource}/") } else { format!("{resource}/{namespace}/") }
}

/// A stored object in the form of a kind.
pub(crate) fn in_form_of(kind: &Kind, object: &Object) -> Value {
    let mut value = (*object.value()).clone();
    kind.take_from_storage(&mut value);
    value
}

/// A point in time as `metadata` has it.
pub(crate) fn timestamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Api {
    /// Whose token it is, and for which of the audiences; the error says why it is nobody's. Tokens of the file and bootstrap tokens are
    /// for the audiences of this server.
    pub(crate) fn user_of_token(&self, token: &str, audiences: &[String]) -> Result<AcceptedToken, String> {
        let user = self.tokens.user(token).cloned().or_else(|| bootstrap_tokens::authenticate(self, token));
        if let Some(user) = user {
            let own = self.issuer.settings.audiences.iter();
            let found: Vec<String> = own.filter(|own| audiences.contains(own)).cloned().collect();
            return if found.is_empty() { Err(AUTHENTICATE_FAILED.to_owned()) } else { Ok((user, found)) };
        }
        match tokens::authenticate(self, token, audiences) {
            Some(Ok(accepted)) => Ok(accepted),
            Some(Err(why)) => Err(format!("[{AUTHENTICATE_FAILED}, {why}]")),
            None => Err(AUTHENTICATE_FAILED.to_owned()),
        }
    }

    /// What must be held from admission until the object is stored.
    pub(crate) async fn allocation(&self, kind: &Kind) -> Option<MutexGuard<'_, ()>> {
        let shared = matches!(kind.plural, "services" | "priorityclasses");
        if shared { Some(self.allocation.lock().await) } else { None }
    }

    /// The stored object that a call names.
    pub(crate) async fn stored(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Object>, ApiError> {
        let found = self.cache.get(&key(kind, namespace, name)).await?;
        found.ok_or_else(|| ApiError::not_found(kind, name))
    }
}

impl kinds::Cluster for Api {
    fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.cache.get_cached(&key(kind, namespace, name)).map(|object| object.value())
    }

    fn list(&self, kind: &Kind) -> Vec<Arc<Value>> {
        self.cache.list_cached(&prefix(kind, "")).iter().map(|object| object.value()).collect()
    }

    fn service_range(&self) -> (Ipv4Addr, u8) {
        self.service_range
    }

    fn admits(&self, plugin: &str) -> bool {
        !self.disabled_plugins.iter().any(|disabled| disabled == plugin)
    }
}
