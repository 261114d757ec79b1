//! What a pod's resolv.conf says (behaviour.md 8.1 to 8.7).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};
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
    /// The gate `HostnameOverride`.
    pub(crate) overrides: bool,
}

/// A pod's resolver, and what is to be said about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Formed {
    pub(crate) resolver: Resolver,
    /// Something was too much and is left out: events `DNSConfigForming`.
    pub(crate) left_out: Vec<String>,
    /// The cluster's resolver was wished, and none is known: events `MissingClusterDNS`.
    pub(crate) no_cluster: Option<String>,
}

const NO_CLUSTER: &str = "kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.";

/// The resolver of `pod`, on a node with these addresses; in the node's network `ClusterFirst` means the node's own.
///
/// # Errors
/// The node's file cannot be read.
pub(crate) fn resolver(settings: &Settings, pod: &Pod, host_ips: &[String]) -> Result<Formed, ResolverError> {
    let host = match &settings.resolv_conf {
        Some(path) => parse(&read(path)?),
        None => Resolver::default(),
    };
    let mut formed = Formed::default();
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|s| s.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let in_host_network = spec.and_then(|s| s.host_network) == Some(true);
    let of_node = policy == "Default" || (policy == "ClusterFirst" && in_host_network);
    let mut resolver = if policy == "None" {
        Resolver::default()
    } else if of_node {
        nodes_own(settings, host, host_ips)
    } else if settings.cluster_dns.is_empty() {
        formed.no_cluster = Some(NO_CLUSTER.to_owned());
        nodes_own(settings, host, host_ips)
    } else {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        of_cluster(settings, host, namespace)
    };
    if let Some(config) = spec.and_then(|s| s.dns_config.as_ref()) {
        merge(&mut resolver, config);
    }
    limit(&mut resolver, &mut formed.left_out);
    formed.resolver = resolver;
    Ok(formed)
}

/// Without a file of the node's there is nobody to ask but the machine itself (behaviour.md 8.4).
fn nodes_own(settings: &Settings, host: Resolver, host_ips: &[String]) -> Resolver {
    if settings.resolv_conf.is_some() {
        return host;
    }
    let loopback = |ip: &String| if ip.contains(':') { "::1" } else { "127.0.0.1" }.to_owned();
    let mut servers: Vec<String> = host_ips.iter().map(loopback).collect();
    if servers.is_empty() {
        servers.push("127.0.0.1".to_owned());
    }
    Resolver { servers, searches: vec![".".to_owned()], options: Vec::new() }
}

fn of_cluster(settings: &Settings, host: Resolver, namespace: &str) -> Resolver {
    let domain = &settings.cluster_domain;
    let mut searches = host.searches;
    if !domain.is_empty() {
        let cluster = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        searches.splice(0..0, cluster);
        each_once(&mut searches);
    }
    Resolver { servers: settings.cluster_dns.clone(), searches, options: vec!["ndots:5".to_owned()] }
}

/// The pod's own wishes on top (behaviour.md 8.6).
fn merge(resolver: &mut Resolver, config: &PodDNSConfig) {
    resolver.servers.extend(config.nameservers.iter().flatten().cloned());
    each_once(&mut resolver.servers);
    resolver.searches.extend(config.searches.iter().flatten().cloned());
    each_once(&mut resolver.searches);
    for option in config.options.iter().flatten() {
        let Some(name) = option.name.as_deref() else { continue };
        let text = match option.value.as_deref().filter(|value| !value.is_empty()) {
            Some(value) => format!("{name}:{value}"),
            None => name.to_owned(),
        };
        let is_same = |other: &String| other.split(':').next() == Some(name);
        match resolver.options.iter_mut().find(|other| is_same(other)) {
            Some(other) => *other = text,
            None => resolver.options.push(text),
        }
    }
}

fn each_once(list: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    list.retain(|text| seen.insert(text.clone()));
}

/// What is wrong with the node's own file, for an event `CheckLimitsForResolvConf` (behaviour.md 8.8).
pub(crate) fn check_limits(settings: &Settings) -> Option<String> {
    let path = settings.resolv_conf.as_ref()?;
    let searches = match read(path) {
        Ok(text) => parse(&text).searches,
        Err(error) => return Some(error.to_string()),
    };
    let path = path.display();
    // Room for those of the cluster.
    let most = MAX_SEARCHES - if settings.cluster_domain.is_empty() { 0 } else { 3 };
    if searches.len() > most {
        return Some(format!(
            "Resolv.conf file '{path}' contains search line consisting of more than {most} domains!"
        ));
    }
    if searches.iter().any(|search| search.len() > MAX_SEARCH) {
        return Some(format!(
            "Resolv.conf file \"{path}\" contains a search path which length is more than allowed {MAX_SEARCH} chars!"
        ));
    }
    (searches.join(" ").len() > MAX_SEARCH_LINE).then(|| {
        format!(
            "Resolv.conf file '{path}' contains search line which length is more than allowed {MAX_SEARCH_LINE} chars!"
        )
    })
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
            // And so does the last line of options.
            Some("options") => resolver.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    resolver
}

fn limit(resolver: &mut Resolver, left_out: &mut Vec<String>) {
    if resolver.servers.len() > MAX_SERVERS {
        resolver.servers.truncate(MAX_SERVERS);
        let applied = resolver.servers.join(" ");
        left_out.push(format!("Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {applied}"));
    }
    let before = resolver.searches.len();
    resolver.searches.truncate(MAX_SEARCHES);
    // Some resolvers end their program on a longer one.
    resolver.searches.retain(|s| s.len() <= MAX_SEARCH);
    while resolver.searches.join(" ").len() > MAX_SEARCH_LINE {
        resolver.searches.pop();
    }
    if resolver.searches.len() < before {
        let applied = resolver.searches.join(" ");
        left_out.push(format!("Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {applied}"));
    }
}

#[cfg(test)]
mod tests;
