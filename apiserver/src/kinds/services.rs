//! Services, and the addresses and node ports that they get.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::Service;
use serde_json::{Map, Value, json};

use super::field::{FieldError, Path};
use super::values::{child, default, default_text, items, number, objects_mut, string};
use super::{
    ALL_VERBS, AdmissionError, Behaviour, Body, Cluster, Kind, NameRule, Part, Scope, Storage, Subresource,
    define, metadata, names, text,
};
use crate::table::services::COLUMNS;

const SERVICE: Body = Body { group: "", version: "v1", kind: "Service", define: define::<Service> };

pub(crate) static SERVICES: Kind = Kind {
    body: SERVICE,
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[
        Subresource::proxy("ServiceProxyOptions"),
        Subresource { name: "status", body: SERVICE, verbs: &["get", "patch", "update"] },
    ],
    storage: Storage::Own,
    name_rule: NameRule::Label1035,
    generation: false,
    behaviour: &Services,
    columns: COLUMNS,
};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const AFFINITIES: &[&str] = &["ClientIP", "None"];
/// A service without an address of its own.
const HEADLESS: &str = "None";
/// The ports of nodes that services may get.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30000..=32767;
/// How long a client stays with a pod under ClientIP affinity, in seconds.
const AFFINITY_SECONDS: i64 = 10800;
/// How many addresses are tried for a free one.
const TRIES_LIMIT: u32 = 1 << 16;

#[derive(Debug)]
struct Services;

impl Behaviour for Services {
    fn prepare_create(&self, service: &mut Value) {
        child(service, "status").insert("loadBalancer".to_owned(), json!({}));
    }

    fn defaults(&self, service: &mut Value) {
        let spec = child(service, "spec");
        default_text(spec, "type", "ClusterIP");
        default_text(spec, "sessionAffinity", "None");
        if spec["sessionAffinity"] == "ClientIP" {
            default(
                spec,
                "sessionAffinityConfig",
                json!({ "clientIP": { "timeoutSeconds": AFFINITY_SECONDS } }),
            );
        }
        for port in objects_mut(spec, "ports") {
            default_text(port, "protocol", "TCP");
            let own = port.get("port").cloned().unwrap_or_default();
            default(port, "targetPort", own);
        }
        let kind = spec["type"].as_str().unwrap_or("").to_owned();
        if kind == "ExternalName" {
            return;
        }
        default(spec, "internalTrafficPolicy", "Cluster");
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            default(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            default(spec, "allocateLoadBalancerNodePorts", true);
        }
        // The plural form is kept in step with the older singular one.
        if let Some(address) =
            spec.get("clusterIP").filter(|a| a.as_str().is_some_and(|a| !a.is_empty())).cloned()
        {
            default(spec, "clusterIPs", json!([address]));
        } else if let Some(first) = spec.get("clusterIPs").and_then(|a| a.get(0)).cloned() {
            spec.insert("clusterIP".to_owned(), first);
        }
        default(spec, "ipFamilyPolicy", "SingleStack");
        default(spec, "ipFamilies", json!(["IPv4"]));
    }

    /// An update that leaves the address out keeps it, and the ports of the nodes too; what its new type has no use for goes.
    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        if part == Part::Status {
            return;
        }
        if text(new, "/spec/type") != text(old, "/spec/type") {
            release(child(new, "spec"), old.get("spec").unwrap_or(&Value::Null));
        }
        if text(new, "/spec/type") == "ExternalName" {
            return;
        }
        let address = text(old, "/spec/clusterIP").to_owned();
        let spec = child(new, "spec");
        if !address.is_empty() && spec.get("clusterIP").and_then(Value::as_str).is_none_or(str::is_empty) {
            spec.insert("clusterIP".to_owned(), address.into());
            spec.remove("clusterIPs");
        }
        let old_ports = items(old.get("spec").unwrap_or(&Value::Null), "ports");
        let wants_node_ports =
            matches!(spec.get("type").and_then(Value::as_str), Some("NodePort" | "LoadBalancer"));
        for port in objects_mut(spec, "ports").filter(|_| wants_node_ports) {
            let same = |o: &&Value| {
                o.get("port") == port.get("port") && string(o, "protocol") == protocol(port.get("protocol"))
            };
            if let Some(node_port) = old_ports.iter().find(same).and_then(|o| o.get("nodePort")) {
                let node_port = node_port.clone();
                port.entry("nodePort").or_insert(node_port);
            }
        }
    }

    fn admit_create(&self, service: &mut Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
        address(service, cluster)?;
        node_ports(service, cluster)
    }

    fn admit_update(
        &self,
        new: &mut Value,
        old: &Value,
        cluster: &dyn Cluster,
    ) -> Result<(), AdmissionError> {
        // An address never changes; one that there was not is given now.
        if text(old, "/spec/clusterIP").is_empty() {
            address(new, cluster)?;
        }
        node_ports(new, cluster)
    }

    fn validate(&self, service: &Value, errors: &mut Vec<FieldError>) {
        let path = Path::new("spec");
        let spec = service.get("spec").unwrap_or(&Value::Null);
        let kind = string(spec, "type");
        if !TYPES.contains(&kind) {
            errors.push(FieldError::not_supported(&path.child("type"), kind, TYPES));
        }
        let affinity = string(spec, "sessionAffinity");
        if !AFFINITIES.contains(&affinity) {
            errors.push(FieldError::not_supported(&path.child("sessionAffinity"), affinity, AFFINITIES));
        }
        metadata::labels(spec.get("selector"), &path.child("selector"), errors);
        if kind == "ExternalName" {
            let name = string(spec, "externalName").trim_end_matches('.');
            if name.is_empty() {
                errors.push(FieldError::required(&path.child("externalName"), ""));
            } else {
                let problems = names::subdomain(name);
                errors.extend(
                    problems.iter().map(|p| FieldError::invalid(&path.child("externalName"), name, p)),
                );
            }
        }
        let headless = string(spec, "clusterIP") == HEADLESS;
        if items(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
            errors.push(FieldError::required(&path.child("ports"), ""));
        }
        ports(spec, &path.child("ports"), errors);
        for (index, address) in items(spec, "clusterIPs").iter().filter_map(Value::as_str).enumerate() {
            if address != HEADLESS && address.parse::<IpAddr>().is_err() {
                let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                errors.push(FieldError::invalid(&path.child("clusterIPs").index(index), address, detail));
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part, errors: &mut Vec<FieldError>) {
        if part == Part::Status {
            return;
        }
        let (before, after) = (text(old, "/spec/clusterIP"), text(new, "/spec/clusterIP"));
        if !before.is_empty() && before != after && text(new, "/spec/type") != "ExternalName" {
            let path = Path::new("spec").child("clusterIPs").index(0);
            errors.push(FieldError::invalid(&path, after, "may not change once set"));
        }
        self.validate(new, errors);
    }

    fn field<'a>(&self, service: &'a Value, field: &str) -> Option<std::borrow::Cow<'a, str>> {
        match field {
            "spec.clusterIP" => Some(text(service, "/spec/clusterIP").into()),
            "spec.type" => Some(text(service, "/spec/type").into()),
            _ => None,
        }
    }
}

/// Takes out what a service of another type had been given, unless the update says something else.
fn release(spec: &mut Map<String, Value>, old: &Value) {
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or("ClusterIP").to_owned();
    let mut fields = Vec::new();
    if kind == "ExternalName" {
        fields.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    }
    if matches!(kind.as_str(), "ClusterIP" | "ExternalName") {
        fields.extend(["externalTrafficPolicy", "healthCheckNodePort"]);
        let old_ports: Vec<&Value> = items(old, "ports").iter().filter_map(|p| p.get("nodePort")).collect();
        for port in objects_mut(spec, "ports") {
            if port.get("nodePort").is_some_and(|p| old_ports.contains(&p)) {
                port.remove("nodePort");
            }
        }
    }
    if kind != "LoadBalancer" {
        fields.push("allocateLoadBalancerNodePorts");
    }
    for field in fields {
        if spec.get(field) == old.get(field) {
            spec.remove(field);
        }
    }
}

fn protocol(protocol: Option<&Value>) -> &str {
    protocol.and_then(Value::as_str).unwrap_or("TCP")
}

fn ports(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let all = items(spec, "ports");
    let (mut seen_names, mut seen_ports) = (HashSet::new(), HashSet::new());
    for (index, port) in all.iter().enumerate() {
        let path = path.index(index);
        let (name, protocol) = (string(port, "name"), string(port, "protocol"));
        if name.is_empty() {
            if all.len() > 1 {
                errors.push(FieldError::required(&path.child("name"), ""));
            }
        } else {
            errors
                .extend(names::label(name).iter().map(|p| FieldError::invalid(&path.child("name"), name, p)));
            if !seen_names.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
        }
        let value = number(port, "port").unwrap_or(0);
        if let Some(problem) = names::port_number(value) {
            errors.push(FieldError::invalid(&path.child("port"), value, problem));
        }
        if !PROTOCOLS.contains(&protocol) {
            errors.push(FieldError::not_supported(&path.child("protocol"), protocol, PROTOCOLS));
        }
        if !seen_ports.insert((protocol, value)) {
            errors.push(FieldError::duplicate(&path, port));
        }
        match port.get("targetPort") {
            Some(Value::String(name)) => {
                let problems = names::port_name(name);
                errors
                    .extend(problems.iter().map(|p| FieldError::invalid(&path.child("targetPort"), name, p)));
            }
            other => {
                let target = other.and_then(Value::as_i64).unwrap_or(0);
                if let Some(problem) = names::port_number(target) {
                    errors.push(FieldError::invalid(&path.child("targetPort"), target, problem));
                }
            }
        }
        let node_port = number(port, "nodePort").unwrap_or(0);
        if node_port != 0 && string(spec, "type") == "ClusterIP" {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(&path.child("nodePort"), detail));
        }
    }
}

/// Gives the service an address of the range, or checks that the one it wants is free.
fn address(service: &mut Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
    let wanted = text(service, "/spec/clusterIP").to_owned();
    if text(service, "/spec/type") == "ExternalName" || wanted == HEADLESS {
        return Ok(());
    }
    let services = cluster.list(&SERVICES);
    let taken: HashSet<&str> = services.iter().map(|s| text(s, "/spec/clusterIP")).collect();
    let (first, length) = cluster.service_range();
    let size = 1_u32.checked_shl(32 - u32::from(length.min(32))).unwrap_or(u32::MAX);
    let base = u32::from(first);
    let path = Path::new("spec").child("clusterIPs").index(0);
    let refuse = |detail: String| {
        let detail = format!("failed to allocate IP {wanted}: {detail}");
        Err(AdmissionError::Invalid(FieldError::invalid(&path, &wanted, &detail)))
    };
    if !wanted.is_empty() {
        let inside = wanted.parse::<Ipv4Addr>().is_ok_and(|a| u32::from(a).wrapping_sub(base) < size);
        if !inside {
            return refuse(format!(
                "the provided IP ({wanted}) is not in the valid range. The range of valid IPs is {first}/{length}"
            ));
        }
        return if taken.contains(wanted.as_str()) {
            refuse("provided IP is already allocated".to_owned())
        } else {
            Ok(())
        };
    }
    // The first address names the network, the last is its broadcast.
    let free = (1..size.saturating_sub(1))
        .take(TRIES_LIMIT as usize)
        .map(|offset| Ipv4Addr::from(base.wrapping_add(offset)).to_string())
        .find(|address| !taken.contains(address.as_str()));
    let Some(free) = free else { return refuse("range is full".to_owned()) };
    let spec = child(service, "spec");
    spec.insert("clusterIP".to_owned(), free.clone().into());
    spec.insert("clusterIPs".to_owned(), json!([free]));
    Ok(())
}

fn same_object(one: &Value, other: &Value) -> bool {
    ["/metadata/namespace", "/metadata/name"].iter().all(|at| text(one, at) == text(other, at))
}

/// Gives each port of a service of type NodePort a port of the nodes.
fn node_ports(service: &mut Value, cluster: &dyn Cluster) -> Result<(), AdmissionError> {
    let wanted = match text(service, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => service.pointer("/spec/allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    };
    if !wanted {
        return Ok(());
    }
    let services = cluster.list(&SERVICES);
    let used = |service: &Value| -> Vec<(String, i64)> {
        items(service.get("spec").unwrap_or(&Value::Null), "ports")
            .iter()
            .filter_map(|p| Some((protocol(p.get("protocol")).to_owned(), number(p, "nodePort")?)))
            .collect()
    };
    let others = services.iter().filter(|other| !same_object(other, service));
    let mut taken: HashSet<(String, i64)> = others.flat_map(|s| used(s)).collect();
    for (index, port) in objects_mut(child(service, "spec"), "ports").enumerate() {
        let path = Path::new("spec").child("ports").index(index).child("nodePort");
        let protocol = protocol(port.get("protocol")).to_owned();
        let invalid =
            |value: i64, detail: &str| AdmissionError::Invalid(FieldError::invalid(&path, value, detail));
        let chosen = match port.get("nodePort").and_then(Value::as_i64).filter(|p| *p != 0) {
            Some(port) if !NODE_PORTS.contains(&port) => {
                return Err(invalid(
                    port,
                    "provided port is not in the valid range. The range of valid ports is 30000-32767",
                ));
            }
            Some(port) if taken.contains(&(protocol.clone(), port)) => {
                return Err(invalid(port, "provided port is already allocated"));
            }
            Some(port) => port,
            None => NODE_PORTS
                .clone()
                .find(|p| !taken.contains(&(protocol.clone(), *p)))
                .ok_or_else(|| invalid(0, "no free node port is left"))?,
        };
        taken.insert((protocol, chosen));
        port.insert("nodePort".to_owned(), chosen.into());
    }
    Ok(())
}
