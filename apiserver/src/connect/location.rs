//! Where requests go: the kubelet of a node, a port of a node, of a pod, or of a pod behind a service.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::api::{Api, prefix};
use crate::backend::{Address, Security};
use crate::kinds::endpoints::ENDPOINTS;
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;
use crate::kinds::services::SERVICES;
use crate::kinds::text;
use crate::kinds::values::{entries, is_true, items, number, string};
use crate::random;
use crate::status::ApiError;

/// Kinds of addresses of a node, best first.
const ADDRESS_TYPES: &[&str] = &["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"];
const DEFAULT_KUBELET_PORT: u16 = 10250;
/// Names need no escapes but for what they never contain.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path of a kubelet: an endpoint and the names below it.
pub(crate) fn node_path(endpoint: &str, names: &[&str], query: &str) -> String {
    let mut path = format!("/{endpoint}");
    for name in names {
        path.push('/');
        path.extend(utf8_percent_encode(name, ESCAPED));
    }
    if !query.is_empty() {
        path.push('?');
        path.push_str(query);
    }
    path
}

/// Where the kubelet of a node listens.
pub(crate) async fn kubelet_of(api: &Api, name: &str) -> Result<Address, ApiError> {
    let node = api.stored(&NODES, "", name).await?.value();
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0).unwrap_or(DEFAULT_KUBELET_PORT);
    let addresses = node.get("status").map_or(&[][..], |status| items(status, "addresses"));
    let address = ADDRESS_TYPES.iter().find_map(|wanted| {
        let found = addresses.iter().find(|a| text(a, "/type") == *wanted)?;
        Some(text(found, "/address").to_owned()).filter(|a| !a.is_empty())
    });
    match address {
        Some(host) => Ok(Address { host, port, security: Security::Kubelet }),
        None => Err(ApiError::internal(format!(
            "no preferred addresses found; known addresses of node {name}: none"
        ))),
    }
}

/// What the proxies' paths call something: `name`, `name:port` or `scheme:name:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    pub(crate) security: Security,
    pub(crate) name: &'a str,
    /// A number, or the name of a port; it may be empty.
    pub(crate) port: &'a str,
}

impl<'a> Named<'a> {
    /// `kind` is for the refusal.
    pub(crate) fn parse(id: &'a str, kind: &str) -> Result<Self, ApiError> {
        let parts: Vec<&str> = id.split(':').collect();
        let found = match parts.as_slice() {
            [name] => Some(("", *name, "")),
            [name, port] => Some(("", *name, *port)),
            [scheme, name, port] => Some((*scheme, *name, *port)),
            _ => None,
        };
        let security = |scheme| match scheme {
            "" | "http" => Some(Security::Plain),
            "https" => Some(Security::Tls),
            _ => None,
        };
        found
            .filter(|(_, name, _)| !name.is_empty())
            .and_then(|(scheme, name, port)| Some(Self { security: security(scheme)?, name, port }))
            .ok_or_else(|| ApiError::bad_request(format!("invalid {kind} request \"{id}\"")))
    }

    /// The port as a number, if it is given as one.
    fn number(&self) -> Option<u16> {
        self.port.parse().ok().filter(|port| *port > 0)
    }

    /// What a URL without a port means.
    fn default_port(&self) -> u16 {
        if self.security == Security::Plain { 80 } else { 443 }
    }
}

fn not_allowed() -> ApiError {
    ApiError::bad_request("address not allowed")
}

/// For `nodes/proxy`: the kubelet, unless another port is asked for.
pub(crate) async fn node(api: &Api, id: &str) -> Result<Address, ApiError> {
    let named = Named::parse(id, "node")?;
    let kubelet = kubelet_of(api, named.name).await?;
    let found = tokio::net::lookup_host((kubelet.host.as_str(), kubelet.port)).await;
    let found = found.map_err(|e| ApiError::bad_request(format!("lookup {}: {e}", kubelet.host)))?;
    let ips: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    if ips.is_empty() || !ips.iter().all(|ip| api.backends.reach.allows(*ip)) {
        return Err(not_allowed());
    }
    match named.number() {
        _ if named.port.is_empty() => Ok(kubelet),
        Some(port) if port == kubelet.port => Ok(kubelet),
        Some(port) => Ok(Address { port, security: named.security, ..kubelet }),
        None => Err(ApiError::bad_request(format!("invalid node request \"{id}\""))),
    }
}

/// For `pods/proxy`: the port that is asked for, else the first that a container declares, else the scheme's own.
pub(crate) async fn pod(api: &Api, namespace: &str, id: &str) -> Result<Address, ApiError> {
    let named = Named::parse(id, "pod")?;
    let pod = api.stored(&PODS, namespace, named.name).await?.value();
    let ip = ip_of(&pod).filter(|ip| api.backends.reach.allows(*ip)).ok_or_else(not_allowed)?;
    let declared = || {
        let spec = pod.get("spec")?;
        let ports = items(spec, "containers").iter().find_map(|c| items(c, "ports").first());
        ports.and_then(|port| u16::try_from(number(port, "containerPort")?).ok())
    };
    let port = match named.port {
        "" => declared().unwrap_or_else(|| named.default_port()),
        _ => named.number().ok_or_else(|| ApiError::bad_request(format!("invalid pod request \"{id}\"")))?,
    };
    Ok(Address { host: ip.to_string(), port, security: named.security })
}

/// The pod's primary address.
fn ip_of(pod: &Value) -> Option<IpAddr> {
    let status = pod.get("status")?;
    let first =
        items(status, "podIPs").first().map_or_else(|| string(status, "podIP"), |ip| string(ip, "ip"));
    first.parse().ok()
}

/// For `services/proxy`: one of the pods behind the service, at random.
///
/// They are taken from the Endpoints object of the service's name if somebody keeps one, else from the selector: no controller here
/// writes such objects. As upstream, addresses that are no pod's are not connected to.
pub(crate) async fn service(api: &Api, namespace: &str, id: &str) -> Result<Address, ApiError> {
    let named = Named::parse(id, "service")?;
    let service = api.stored(&SERVICES, namespace, named.name).await?.value();
    let spec = service.get("spec").unwrap_or(&Value::Null);
    let ports = items(spec, "ports");
    let port_name = match named.number() {
        Some(wanted) => {
            let port = ports.iter().find(|port| number(port, "port") == Some(wanted.into()));
            let missing = format!("no service port {wanted} found for service \"{}\"", named.name);
            string(port.ok_or_else(|| ApiError::unavailable(missing))?, "name")
        }
        None => named.port,
    };
    let endpoints = api.cache.get(&crate::api::key(&ENDPOINTS, namespace, named.name)).await?;
    let kept = endpoints.map(|object| object.value()).filter(|e| !items(e, "subsets").is_empty());
    let candidates = match kept {
        Some(endpoints) => listed(api, namespace, &endpoints, port_name),
        None => selected(api, namespace, spec, port_name),
    };
    let allowed: Vec<(IpAddr, u16)> =
        candidates.into_iter().filter(|(ip, _)| api.backends.reach.allows(*ip)).collect();
    let chosen = random::below(allowed.len() as u64) as usize;
    match allowed.get(chosen) {
        Some((ip, port)) => Ok(Address { host: ip.to_string(), port: *port, security: named.security }),
        None => Err(ApiError::unavailable(format!("no endpoints available for service \"{}\"", named.name))),
    }
}

/// What an Endpoints object lists under the port's name and is still a pod's address.
fn listed(api: &Api, namespace: &str, endpoints: &Value, port_name: &str) -> Vec<(IpAddr, u16)> {
    let mut found = Vec::new();
    for subset in items(endpoints, "subsets") {
        let port = items(subset, "ports").iter().find(|port| string(port, "name") == port_name);
        let Some(port) = port.and_then(|p| u16::try_from(number(p, "port")?).ok()) else { continue };
        for address in items(subset, "addresses") {
            let target = address.get("targetRef").unwrap_or(&Value::Null);
            let elsewhere = string(target, "namespace") != namespace;
            if string(target, "kind") != "Pod" || elsewhere {
                continue;
            }
            let key = crate::api::key(&PODS, namespace, string(target, "name"));
            let pod = api.cache.get_cached(&key).map(|object| object.value());
            let ip: Option<IpAddr> = string(address, "ip").parse().ok();
            if ip.is_some() && pod.is_some_and(|pod| ips_of(&pod).contains(&ip)) {
                found.extend(ip.map(|ip| (ip, port)));
            }
        }
    }
    found
}

fn ips_of(pod: &Value) -> Vec<Option<IpAddr>> {
    let status = pod.get("status").unwrap_or(&Value::Null);
    let all = items(status, "podIPs").iter().map(|ip| string(ip, "ip"));
    all.chain([string(status, "podIP")]).map(|ip| ip.parse().ok()).collect()
}

/// The ready pods that the service's selector selects, with the port that each has behind the service's.
fn selected(api: &Api, namespace: &str, spec: &Value, port_name: &str) -> Vec<(IpAddr, u16)> {
    let port = items(spec, "ports").iter().find(|port| string(port, "name") == port_name);
    let selector: Vec<(&String, &Value)> = entries(spec, "selector").collect();
    let Some(port) = port.filter(|_| !selector.is_empty()) else { return Vec::new() };
    let unready_too = is_true(spec, "publishNotReadyAddresses");
    let pods = api.cache.list_cached(&prefix(&PODS, namespace));
    let pods = pods.iter().map(|object| object.value());
    pods.filter(|pod| {
        let labels = pod.pointer("/metadata/labels").unwrap_or(&Value::Null);
        selector.iter().all(|(name, value)| labels.get(name.as_str()) == Some(value))
            && (unready_too || serves(pod))
    })
    .filter_map(|pod| Some((ip_of(&pod)?, target_port(port, &pod)?)))
    .collect()
}

/// Whether a pod is ready and is to stay.
fn serves(pod: &Value) -> bool {
    let conditions = pod.get("status").map_or(&[][..], |status| items(status, "conditions"));
    let ready = conditions.iter().any(|c| string(c, "type") == "Ready" && string(c, "status") == "True");
    ready && pod.pointer("/metadata/deletionTimestamp").is_none()
}

/// `targetPort` is a number, the name of a container's port, or the same as the service's port.
fn target_port(port: &Value, pod: &Value) -> Option<u16> {
    let spec = pod.get("spec")?;
    let by_name = |name: &str| {
        let containers = items(spec, "initContainers").iter().chain(items(spec, "containers"));
        let mut ports = containers.flat_map(|container| items(container, "ports"));
        number(ports.find(|port| string(port, "name") == name)?, "containerPort")
    };
    let found = match port.get("targetPort") {
        Some(Value::String(name)) => name.parse().ok().or_else(|| by_name(name)),
        Some(Value::Number(number)) if number.as_i64() != Some(0) => number.as_i64(),
        _ => number(port, "port"),
    };
    u16::try_from(found?).ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests;
