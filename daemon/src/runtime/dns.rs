//! What a pod's resolv.conf says (behaviour.md 8.1 to 8.7).

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Upstream reads no more of the file (behaviour.md 8.8).
const MAX_FILE_BYTES: u64 = 10 * 1024 * 1024;
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_LINE: usize = 2048;
const MAX_SEARCH: usize = 253;

/// The three parts of a resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolver {
    pub(crate) servers: Vec<String>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<String>,
}

/// Why the node's resolv.conf cannot be read.
#[derive(Debug, Error)]
pub(crate) enum ResolverError {
    #[error("reading {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is larger than 10 MiB")]
    TooLarge { path: PathBuf },
}

/// What the node's configuration says about names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) cluster_dns: Vec<String>,
    pub(crate) cluster_domain: String,
    /// `None`: pods with the node's policy get the loopback address.
    pub(crate) resolv_conf: Option<PathBuf>,
}

/// A resolver and, where something had to be left out, what is to be said about it.
pub(crate) type Formed = (Resolver, Option<String>);

/// The resolver of a pod in `namespace` with this policy; in the node's network `ClusterFirst` means the node's own.
pub(crate) fn resolver(
    settings: &Settings,
    policy: &str,
    namespace: &str,
    host_network: bool,
) -> Result<Formed, ResolverError> {
    let host = match &settings.resolv_conf {
        Some(path) => parse(&read(path)?),
        None => Resolver {
            servers: vec!["127.0.0.1".to_owned()],
            searches: vec![".".to_owned()],
            options: Vec::new(),
        },
    };
    let cluster = match policy {
        "Default" => false,
        "ClusterFirst" => !host_network,
        _ => true,
    };
    if !cluster || settings.cluster_dns.is_empty() {
        return Ok(limit(host));
    }
    let domain = &settings.cluster_domain;
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches.extend([format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()]);
    }
    for search in host.searches {
        if !searches.contains(&search) {
            searches.push(search);
        }
    }
    let options = vec!["ndots:5".to_owned()];
    Ok(limit(Resolver { servers: settings.cluster_dns.clone(), searches, options }))
}

fn read(path: &Path) -> Result<String, ResolverError> {
    let failed = |source| ResolverError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE_BYTES {
        return Err(ResolverError::TooLarge { path: path.to_owned() });
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(text: &str) -> Resolver {
    let mut resolver = Resolver::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => resolver.servers.extend(words.next().map(str::to_owned)),
            // The last search line wins.
            Some("search") => {
                resolver.searches = words
                    .filter(|w| *w != ".")
                    .map(|w| w.strip_suffix('.').unwrap_or(w).to_owned())
                    .collect();
            }
            Some("options") => resolver.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    resolver
}

fn limit(mut resolver: Resolver) -> Formed {
    let mut left_out = Vec::new();
    if resolver.servers.len() > MAX_SERVERS {
        resolver.servers.truncate(MAX_SERVERS);
        left_out.push(format!("Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}", resolver.servers.join(" ")));
    }
    let before = resolver.searches.len();
    resolver.searches.retain(|s| s.len() <= MAX_SEARCH);
    resolver.searches.truncate(MAX_SEARCHES);
    while resolver.searches.join(" ").len() > MAX_SEARCH_LINE {
        resolver.searches.pop();
    }
    if resolver.searches.len() < before {
        left_out.push(format!("Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}", resolver.searches.join(" ")));
    }
    (resolver, (!left_out.is_empty()).then(|| left_out.join("; ")))
}

#[cfg(test)]
mod tests;
