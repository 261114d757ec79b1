//! The config maps that `kubeadm join` reads, as kubeadm would have written them for this cluster.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::bootstrap_tokens::NAMESPACE;

const DNS_DOMAIN: &str = "cluster.local";
/// The service of the cluster's DNS has this address in the range (as upstream).
const DNS_ADDRESS: u32 = 10;

/// Both config maps. `endpoint` is where the API server is reached, as `https://host:port`.
pub(super) fn config_maps(endpoint: &str, (base, length): (Ipv4Addr, u8), version: &str) -> [Value; 2] {
    let host = endpoint.strip_prefix("https://").unwrap_or(endpoint);
    let cluster = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "clusterName": "kubernetes",
        "controlPlaneEndpoint": host,
        "kubernetesVersion": version,
        "networking": { "dnsDomain": DNS_DOMAIN, "serviceSubnet": format!("{base}/{length}") },
    });
    let dns = Ipv4Addr::from(u32::from(base).saturating_add(DNS_ADDRESS));
    let kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": "/etc/kubernetes/pki/ca.crt" },
        },
        "authorization": { "mode": "Webhook" },
        "cgroupDriver": "systemd",
        "clusterDNS": [dns],
        "clusterDomain": DNS_DOMAIN,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "rotateCertificates": true,
        "staticPodPath": "/etc/kubernetes/manifests",
    });
    [map("kubeadm-config", "ClusterConfiguration", &cluster), map("kubelet-config", "kubelet", &kubelet)]
}

fn map(name: &str, entry: &str, content: &Value) -> Value {
    json!({
        "metadata": { "name": name, "namespace": NAMESPACE },
        // A tree that YAML cannot express does not exist; JSON is YAML in any case.
        "data": { entry: serde_saphyr::to_string(content).unwrap_or_else(|_| content.to_string()) },
    })
}
