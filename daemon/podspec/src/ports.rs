//! Ports that a pod takes on its node (behaviour.md 2.6).

use k8s_openapi::api::core::v1::PodSpec;

use crate::containers::{ContainerKind, containers};

/// One port of the node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The node's address; `0.0.0.0` is all of them.
    pub ip: String,
    /// 1 to 65535.
    pub port: u16,
}

const ANY: &str = "0.0.0.0";

/// The node's ports that the regular containers and sidecars of a pod take.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let host_network = spec.host_network.unwrap_or(false);
    let mut ports = Vec::new();
    for (kind, container) in containers(spec) {
        if kind == ContainerKind::Init {
            continue;
        }
        for p in container.ports.iter().flatten() {
            // In the node's network a port of the container is a port of the node.
            let port = p.host_port.filter(|p| *p > 0).or_else(|| host_network.then_some(p.container_port));
            let Some(port) = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0) else { continue };
            ports.push(HostPort {
                protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                ip: p.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| ANY.to_owned()),
                port,
            });
        }
    }
    ports
}

/// Whether both cannot be had at once.
pub fn conflicts(a: &HostPort, b: &HostPort) -> bool {
    let same_ip = a.ip == b.ip || a.ip == ANY || b.ip == ANY;
    a.protocol == b.protocol && a.port == b.port && same_ip
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(protocol: &str, ip: &str, port: u16) -> HostPort {
        HostPort { protocol: protocol.into(), ip: ip.into(), port }
    }

    #[test]
    fn the_same_port_conflicts_unless_protocol_or_address_keep_them_apart() {
        let any = port("TCP", "0.0.0.0", 80);
        assert!(conflicts(&any, &port("TCP", "127.0.0.1", 80)));
        assert!(!conflicts(&any, &port("UDP", "0.0.0.0", 80)));
        assert!(!conflicts(&port("TCP", "127.0.0.1", 80), &port("TCP", "127.0.0.2", 80)));
        assert!(!conflicts(&any, &port("TCP", "0.0.0.0", 81)));
    }

    #[test]
    fn in_the_nodes_network_every_container_port_is_a_port_of_the_node() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "hostNetwork": true, "containers": [{"name": "c", "ports": [{"containerPort": 9099}]}]}))
        .expect("a spec");
        assert_eq!(host_ports(&spec), [port("TCP", "0.0.0.0", 9099)]);
    }
}
