//! The environment, command and arguments of a container (behaviour.md 16), from what was resolved for them.
//!
//! ```text
//!  services < envFrom, in order < env, in order        a later variable of the same name replaces an earlier one
//!  env.value sees envFrom, the env before it, and services; commands and arguments see all
//! ```
//!
//! Values may be secret: they are in no error and in no `Debug` text.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Container, EnvFromSource, EnvVarSource, FileKeySelector, ObjectFieldSelector, Pod,
};
use podspec::{ResourceFieldError, ResourceList};
use thiserror::Error;

use crate::objects::{Kind, Object, ObjectError};

/// Why a container's environment cannot be put together, in a kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum EnvironmentError {
    /// The field cannot be had as an environment variable.
    #[error("field label not supported: {path}")]
    UnknownField {
        /// The path as written.
        path: String,
    },
    /// The node's address is not known (yet).
    #[error("host IP unknown")]
    NoHostIp,
    #[error(transparent)]
    Resource(#[from] ResourceFieldError),
    /// A config map or secret cannot be had.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// It has no such key.
    #[error("couldn't find key {key} in {} {namespace}/{name}", kind_name(*kind))]
    NoKey { kind: Kind, namespace: String, name: String, key: String },
    /// A file with variables cannot be used.
    #[error("{0}")]
    File(String),
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::ConfigMap => "ConfigMap",
        Kind::Secret => "Secret",
    }
}

/// What is known about a pod only at the time when a container is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses<'a> {
    /// Of the pod, the primary one first.
    pub(crate) pod_ips: &'a [String],
    /// Of the node, the primary one first.
    pub(crate) host_ips: &'a [String],
}

/// The config maps and secrets that a container names, or why they cannot be had.
pub(crate) type Resolved = BTreeMap<(Kind, String), Result<Arc<Object>, ObjectError>>;

/// What a file says about a variable: its value, nothing, or why that cannot be told. By volume, path and key.
pub(crate) type FileValues = BTreeMap<(String, String, String), Result<Option<Value>, String>>;

/// What variables are made of, beside the pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) addresses: Addresses<'a>,
    /// The variables of services.
    pub(crate) services: &'a BTreeMap<String, String>,
    pub(crate) objects: &'a Resolved,
    pub(crate) files: &'a FileValues,
    /// What the node gives to pods.
    pub(crate) allocatable: &'a ResourceList,
}

/// The value of a variable.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Value(Vec<u8>);

impl Value {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// By name.
pub(crate) type Variables = BTreeMap<String, Value>;

/// All variables of a container.
///
/// # Errors
/// The first one that cannot be had.
pub(crate) fn variables(
    pod: &Pod,
    container: &Container,
    sources: Sources<'_>,
) -> Result<Variables, EnvironmentError> {
    let scope = Scope { pod, container, sources };
    let mut own = Variables::new();
    for from in container.env_from.iter().flatten() {
        scope.take_all(from, &mut own)?;
    }
    for env in container.env.iter().flatten() {
        let value = match (env.value.as_deref(), &env.value_from) {
            // A value that is not empty goes before any source (behaviour.md 16.2).
            (Some(text), _) if !text.is_empty() => {
                let known = |name: &str| {
                    let service = || sources.services.get(name).map(String::as_bytes);
                    own.get(name).map(Value::as_ref).or_else(service)
                };
                Some(Value(podspec::expand(text, known)))
            }
            (_, Some(source)) => scope.value(source)?,
            _ => Some(Value(Vec::new())),
        };
        // One that may be missing, and is, leaves what envFrom has put there.
        if let Some(value) = value {
            own.insert(env.name.clone(), value);
        }
    }
    for (name, value) in sources.services {
        own.entry(name.clone()).or_insert_with(|| Value::from(value.as_str()));
    }
    Ok(own)
}

/// Replaces `$(NAME)` in each word. The runtime takes text only: what is none in a value is replaced.
pub(crate) fn expand_all(words: Option<&Vec<String>>, variables: &Variables) -> Vec<String> {
    words.into_iter().flatten().map(|word| expand(word, variables)).collect()
}

/// Replaces `$(NAME)` in each word of a probe's command: only what stands in the container's own `env` is known, as it is written
/// there (behaviour.md 16.3).
pub(crate) fn expanded_by_static(words: &[String], container: &Container) -> Vec<String> {
    let given = container.env.iter().flatten();
    let known: Variables =
        given.map(|env| (env.name.clone(), Value::from(env.value.as_deref().unwrap_or_default()))).collect();
    words.iter().map(|word| expand(word, &known)).collect()
}

/// The config maps and secrets that the environment of `container` names.
pub(crate) fn named_objects(container: &Container) -> Vec<(Kind, &str)> {
    let mut all = Vec::new();
    for from in container.env_from.iter().flatten() {
        all.extend(from.config_map_ref.iter().map(|r| (Kind::ConfigMap, r.name.as_str())));
        all.extend(from.secret_ref.iter().map(|r| (Kind::Secret, r.name.as_str())));
    }
    for source in named_sources(container) {
        all.extend(source.config_map_key_ref.iter().map(|r| (Kind::ConfigMap, r.name.as_str())));
        all.extend(source.secret_key_ref.iter().map(|r| (Kind::Secret, r.name.as_str())));
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// The files that the environment of `container` names.
pub(crate) fn named_files(container: &Container) -> impl Iterator<Item = &FileKeySelector> {
    named_sources(container).filter_map(|source| source.file_key_ref.as_ref())
}

fn expand(word: &str, variables: &Variables) -> String {
    let bytes = podspec::expand(word, |name| variables.get(name));
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn named_sources(container: &Container) -> impl Iterator<Item = &EnvVarSource> {
    let asks = |value: &Option<String>| value.as_deref().is_none_or(str::is_empty);
    container.env.iter().flatten().filter(move |e| asks(&e.value)).filter_map(|e| e.value_from.as_ref())
}

#[derive(Clone, Copy)]
struct Scope<'a> {
    pod: &'a Pod,
    container: &'a Container,
    sources: Sources<'a>,
}

impl Scope<'_> {
    /// All keys of a config map or secret, with the prefix before each. Whatever a key is made of, it is a name: a kubelet has not
    /// passed over any since 1.34.
    fn take_all(&self, from: &EnvFromSource, own: &mut Variables) -> Result<(), EnvironmentError> {
        let map = from.config_map_ref.as_ref().map(|r| (Kind::ConfigMap, &r.name, r.optional));
        let secret = from.secret_ref.as_ref().map(|r| (Kind::Secret, &r.name, r.optional));
        let Some((kind, name, optional)) = map.or(secret) else { return Ok(()) };
        let Some(object) = self.object(kind, name, optional == Some(true))? else { return Ok(()) };
        let prefix = from.prefix.as_deref().unwrap_or_default();
        own.extend(object.variables().map(|(key, value)| (format!("{prefix}{key}"), Value(value.to_vec()))));
        Ok(())
    }

    /// The value that a source has now; `None` of one that may be missing and is.
    fn value(&self, source: &EnvVarSource) -> Result<Option<Value>, EnvironmentError> {
        let Sources { addresses, allocatable, files, .. } = self.sources;
        if let Some(selector) = &source.field_ref {
            return field(self.pod, selector, addresses).map(|text| Some(Value(text.into_bytes())));
        }
        if let Some(selector) = &source.resource_field_ref {
            let text = podspec::resource_field(selector, self.pod, self.container, allocatable)?;
            return Ok(Some(Value(text.into_bytes())));
        }
        if let Some(r) = &source.config_map_key_ref {
            return self.key(Kind::ConfigMap, &r.name, &r.key, r.optional == Some(true));
        }
        if let Some(r) = &source.secret_key_ref {
            return self.key(Kind::Secret, &r.name, &r.key, r.optional == Some(true));
        }
        if let Some(r) = &source.file_key_ref {
            let found = files.get(&(r.volume_name.clone(), r.path.clone(), r.key.clone()));
            let read = found.cloned().unwrap_or(Ok(None)).map_err(EnvironmentError::File)?;
            // As a kubelet sees it, one without content is missing too.
            let read = read.filter(|value| !value.0.is_empty());
            if read.is_none() && r.optional != Some(true) {
                let text = format!("environment variable key {:?} not found in file {:?}", r.key, r.path);
                return Err(EnvironmentError::File(text));
            }
            return Ok(read);
        }
        Ok(Some(Value(Vec::new())))
    }

    fn object(&self, kind: Kind, name: &str, optional: bool) -> Result<Option<&Object>, EnvironmentError> {
        match self.sources.objects.get(&(kind, name.to_owned())) {
            Some(Ok(object)) => Ok(Some(object)),
            Some(Err(ObjectError::NotFound { .. })) if optional => Ok(None),
            Some(Err(error)) => Err(error.clone().into()),
            None => Err(ObjectError::NotFound { kind, name: name.to_owned() }.into()),
        }
    }

    fn key(
        &self,
        kind: Kind,
        name: &str,
        key: &str,
        optional: bool,
    ) -> Result<Option<Value>, EnvironmentError> {
        let Some(object) = self.object(kind, name, optional)? else { return Ok(None) };
        match object.variable(key) {
            Some(value) => Ok(Some(Value(value.to_vec()))),
            None if optional => Ok(None),
            None => {
                let namespace = self.pod.metadata.namespace.clone().unwrap_or_default();
                Err(EnvironmentError::NoKey { kind, namespace, name: name.to_owned(), key: key.to_owned() })
            }
        }
    }
}

fn field(
    pod: &Pod,
    field: &ObjectFieldSelector,
    addresses: Addresses<'_>,
) -> Result<String, EnvironmentError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let path = field.field_path.as_str();
    let key = |prefix: &str| path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    if let Some(key) = key("metadata.labels") {
        return Ok(meta.labels.as_ref().and_then(|l| l.get(key)).cloned().unwrap_or_default());
    }
    if let Some(key) = key("metadata.annotations") {
        return Ok(meta.annotations.as_ref().and_then(|a| a.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => addresses.host_ips.first().cloned().ok_or(EnvironmentError::NoHostIp)?,
        "status.hostIPs" if addresses.host_ips.is_empty() => return Err(EnvironmentError::NoHostIp),
        "status.hostIPs" => addresses.host_ips.join(","),
        "status.podIP" => addresses.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => addresses.pod_ips.join(","),
        _ => return Err(EnvironmentError::UnknownField { path: path.to_owned() }),
    })
}

#[cfg(test)]
mod tests;
