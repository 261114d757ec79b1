//! Which credentials fit an image. behaviour.md 14.2.
//!
//! A registry's entry is a host, with a port and the beginning of a path where it has them. `*` stands for any part of one
//! label of the host. What is tried first is decided by the entries' texts, the last in the alphabet first: of two that begin
//! alike the longer one, and so the more specific.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::credential::{Candidate, Source};
use super::docker_config::DockerConfig;

/// Under which Docker's own registry has always been known to `docker login`.
const DOCKER_INDEX: &str = "index.docker.io";

/// Credentials from any number of files or secrets of one kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keyring(BTreeMap<Reverse<String>, Vec<Candidate>>);

impl Keyring {
    /// Adds what one file, secret or plugin holds, after what was added before.
    pub(crate) fn add(&mut self, config: DockerConfig, source: &Source) {
        for (registry, credential) in config {
            let candidate = Candidate { credential, source: source.clone() };
            self.0.entry(Reverse(key(&registry))).or_default().push(candidate);
        }
    }

    /// All that fit a repository (its full name, without tag), in the order in which they are to be tried.
    pub(crate) fn lookup(&self, repository: &str) -> Vec<Candidate> {
        let fitting = self.0.iter().filter(|(Reverse(key), _)| matches(key, repository));
        let found: Vec<Candidate> = fitting.flat_map(|(_, candidates)| candidates.iter().cloned()).collect();
        if found.is_empty() && is_docker(repository) {
            return self.0.get(&Reverse(DOCKER_INDEX.to_owned())).cloned().unwrap_or_default();
        }
        found
    }
}

fn is_docker(repository: &str) -> bool {
    let host = repository.split('/').next().unwrap_or_default();
    host == "docker.io" || host == DOCKER_INDEX
}

/// A registry's entry without what does not count: scheme, user, the version of the registry's interface, a lone slash.
fn key(registry: &str) -> String {
    let Place { host, path } = place(
        registry.strip_prefix("https://").or_else(|| registry.strip_prefix("http://")).unwrap_or(registry),
    );
    let versioned = path.starts_with("/v1/") || path.starts_with("/v2/");
    let path = if versioned { &path[3..] } else { path };
    if path == "/" { host.to_owned() } else { format!("{host}{path}") }
}

/// Whether an entry fits a repository. Used for the `matchImages` of plugins, too.
pub(crate) fn matches(pattern: &str, repository: &str) -> bool {
    let (pattern, target) = (place(pattern), place(repository));
    let ((pattern_host, pattern_port), (host, port)) = (split_port(pattern.host), split_port(target.host));
    let labels = || pattern_host.split('.').zip(host.split('.'));
    pattern_port == port
        && target.path.starts_with(pattern.path)
        && pattern_host.split('.').count() == host.split('.').count()
        && labels().all(|(pattern, label)| label_matches(pattern, label))
}

/// The parts of an address without scheme.
struct Place<'a> {
    host: &'a str,
    /// With its first slash; may be empty.
    path: &'a str,
}

fn place(address: &str) -> Place<'_> {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = address.find('/').map_or((address, ""), |at| address.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Place { host, path }
}

fn split_port(host: &str) -> (&str, &str) {
    match host.rsplit_once(':') {
        // Colons of an address of IPv6 are within brackets.
        Some((name, port)) if !port.contains(']') => (name.trim_matches(['[', ']']), port),
        _ => (host.trim_matches(['[', ']']), ""),
    }
}

/// `*` stands for any number of any characters. Takes at most the product of both lengths.
fn label_matches(pattern: &str, label: &str) -> bool {
    let (pattern, label) = (pattern.as_bytes(), label.as_bytes());
    let (mut p, mut l) = (0, 0);
    // The last star, and how far it reaches.
    let mut star: Option<(usize, usize)> = None;
    while l < label.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, l));
            p += 1;
        } else if p < pattern.len() && pattern[p] == label[l] {
            (p, l) = (p + 1, l + 1);
        } else if let Some((at, reach)) = star {
            star = Some((at, reach + 1));
            (p, l) = (at + 1, reach + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests;
