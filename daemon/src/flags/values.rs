//! Values of flags in the notations that the kubelet has for lists, maps, thresholds, taints and addresses.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::table::Syntax;

/// Go's `strconv.ParseBool`.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// The value of one flag from all its occurrences.
pub(super) fn read(syntax: Syntax, texts: &[&str]) -> Result<Value, String> {
    let last = texts.last().copied().unwrap_or_default();
    let parts =
        || texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|part| !part.is_empty());
    match syntax {
        Syntax::Bool => {
            boolean(last).map(Value::Bool).ok_or_else(|| format!("{last:?} is neither true nor false"))
        }
        Syntax::Int => {
            last.parse::<i64>().map(Value::from).map_err(|_| format!("{last:?} is no whole number"))
        }
        Syntax::Text => Ok(last.into()),
        Syntax::List => Ok(parts().map(Value::from).collect()),
        Syntax::Map => pairs(parts(), '=').map(Value::Object),
        Syntax::Thresholds => pairs(parts(), '<').map(Value::Object),
        Syntax::BoolMap => {
            let mut map = pairs(parts(), '=')?;
            for (name, value) in &mut map {
                let text = value.as_str().unwrap_or_default();
                *value = Value::Bool(
                    boolean(text).ok_or_else(|| format!("{name}={text}: neither true nor false"))?,
                );
            }
            Ok(Value::Object(map))
        }
        Syntax::Headers => {
            let mut map = Map::new();
            for part in parts() {
                let (name, value) =
                    part.split_once(':').ok_or_else(|| format!("{part:?} is not name:value"))?;
                let values = map.entry(name.trim()).or_insert_with(|| json!([]));
                if let Value::Array(values) = values {
                    values.push(value.trim().into());
                }
            }
            Ok(Value::Object(map))
        }
        Syntax::Taints => parts().map(taint).collect(),
        Syntax::ReservedMemory => texts
            .iter()
            .flat_map(|text| text.split(';'))
            .filter(|part| !part.is_empty())
            .map(reserved_memory)
            .collect(),
    }
}

fn pairs<'a>(parts: impl Iterator<Item = &'a str>, separator: char) -> Result<Map<String, Value>, String> {
    parts
        .map(|part| {
            let (name, value) =
                part.split_once(separator).ok_or_else(|| format!("{part:?} is not name{separator}value"))?;
            Ok((name.trim().to_owned(), value.trim().into()))
        })
        .collect()
}

/// `key=value:Effect` or `key:Effect`.
fn taint(text: &str) -> Result<Value, String> {
    let (key, effect) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} is not key=value:effect"))?;
    let (key, value) = key.split_once('=').unwrap_or((key, ""));
    Ok(json!({"key": key, "value": value, "effect": effect}))
}

/// `0:memory=1Gi,hugepages-2Mi=64Mi`.
fn reserved_memory(text: &str) -> Result<Value, String> {
    let (numa_node, limits) =
        text.split_once(':').ok_or_else(|| format!("{text:?} is not numa-node:type=quantity"))?;
    let numa_node: i32 = numa_node.trim().parse().map_err(|_| format!("{numa_node:?} is no NUMA node"))?;
    Ok(json!({"numaNode": numa_node, "limits": pairs(limits.split(','), '=')?}))
}

/// behaviour.md 32.6: one address, or one of each family.
pub(super) fn node_ips(text: &str) -> Result<Vec<IpAddr>, String> {
    let ips: Vec<IpAddr> = text
        .split(',')
        .map(|ip| ip.trim().parse().map_err(|_| format!("{:?} is no IP address", ip.trim())))
        .collect::<Result<_, _>>()?;
    match ips.as_slice() {
        [_] => Ok(ips),
        [first, second] if first.is_ipv4() != second.is_ipv4() => {
            if ips.iter().any(IpAddr::is_unspecified) {
                return Err("an unspecified address stands alone".to_owned());
            }
            Ok(ips)
        }
        _ => Err("give one address, or one of each family".to_owned()),
    }
}

/// Labels of the `kubernetes.io` and `k8s.io` domains that a node may give itself. behaviour.md 32.2.
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const OWN_LABEL_DOMAINS: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];

/// `key=value` pairs; a key of the Kubernetes domains must be one that nodes may set.
pub(super) fn node_labels(texts: &[&str]) -> Result<Vec<(String, String)>, String> {
    let mut labels = Vec::new();
    for part in texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not key=value"))?;
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let in_domain =
            |name: &str| domain == name || domain.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'));
        let reserved = in_domain("kubernetes.io") || in_domain("k8s.io");
        if reserved
            && !OWN_LABELS.contains(&key)
            && !OWN_LABEL_DOMAINS.iter().any(|allowed| in_domain(allowed))
        {
            return Err(format!(
                "label {key} belongs to Kubernetes; a node may set of these only {} and those below {}",
                OWN_LABELS.join(", "),
                OWN_LABEL_DOMAINS.join(", ")
            ));
        }
        if !is_label_value(value) {
            return Err(format!(
                "{value:?} is no label value (letters, digits, '-', '_', '.', at most 63, letters or digits at both ends)"
            ));
        }
        labels.retain(|(known, _)| known != key);
        labels.push((key.to_owned(), value.to_owned()));
    }
    Ok(labels)
}

fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let ends_well = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= 63
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && ends_well(bytes.first())
        && ends_well(bytes.last())
}
