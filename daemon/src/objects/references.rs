//! Which config maps and secrets a pod refers to, in its volumes and in the environment of its containers.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, Pod, PodSpec, Volume};

use super::object::Kind;

/// Names one object.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A static pod refers to none: it must run without an API server.
pub(super) fn of(pod: &Pod) -> BTreeSet<Key> {
    let mut names = BTreeSet::new();
    if let Some(spec) = pod.spec.as_ref().filter(|_| !podspec::is_static(pod)) {
        in_environments(spec, &mut names);
        for volume in spec.volumes.iter().flatten() {
            in_volume(volume, &mut names);
        }
    }
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let named = names.into_iter().filter(|(_, name)| is_name(name));
    named.map(|(kind, name)| Key { kind, namespace: namespace.clone(), name: name.to_owned() }).collect()
}

type Names<'a> = BTreeSet<(Kind, &'a str)>;

fn in_environments<'a>(spec: &'a PodSpec, names: &mut Names<'a>) {
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        in_environment(container.env.as_deref(), container.env_from.as_deref(), names);
    }
    for container in spec.ephemeral_containers.iter().flatten() {
        in_environment(container.env.as_deref(), container.env_from.as_deref(), names);
    }
}

fn in_environment<'a>(
    env: Option<&'a [EnvVar]>,
    env_from: Option<&'a [EnvFromSource]>,
    names: &mut Names<'a>,
) {
    for source in env.into_iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        names.extend(source.config_map_key_ref.iter().map(|r| (Kind::ConfigMap, r.name.as_str())));
        names.extend(source.secret_key_ref.iter().map(|r| (Kind::Secret, r.name.as_str())));
    }
    for source in env_from.into_iter().flatten() {
        names.extend(source.config_map_ref.iter().map(|r| (Kind::ConfigMap, r.name.as_str())));
        names.extend(source.secret_ref.iter().map(|r| (Kind::Secret, r.name.as_str())));
    }
}

fn in_volume<'a>(volume: &'a Volume, names: &mut Names<'a>) {
    names.extend(volume.config_map.iter().map(|source| (Kind::ConfigMap, source.name.as_str())));
    let secret = volume.secret.as_ref().and_then(|source| source.secret_name.as_deref());
    names.extend(secret.map(|name| (Kind::Secret, name)));
    for source in volume.projected.iter().filter_map(|projected| projected.sources.as_ref()).flatten() {
        names.extend(source.config_map.iter().map(|source| (Kind::ConfigMap, source.name.as_str())));
        names.extend(source.secret.iter().map(|source| (Kind::Secret, source.name.as_str())));
    }
}

/// The name becomes a part of a selector; whatever is no name can be the name of nothing.
fn is_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    !name.is_empty() && name.len() <= 253 && name.bytes().all(legal)
}
