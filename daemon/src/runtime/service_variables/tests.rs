use serde_json::{Value, json};

use super::*;

fn service(
    namespace: &str,
    name: &str,
    ip: &str,
    ports: Value,
) -> Option<((String, String), ServiceAddress)> {
    let service = json!({"spec": {"clusterIP": ip, "ports": ports}});
    let service: Service = serde_json::from_value(service).expect("a service");
    Some(((namespace.to_owned(), name.to_owned()), ServiceAddress::of(&service)?))
}

fn services() -> Services {
    let ports = json!([{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    let all = [
        service("default", "kubernetes", "10.96.0.1", json!([{"name": "https", "port": 443}])),
        service("default", "other", "10.96.0.9", json!([{"port": 1}])),
        service("fx", "my-svc", "10.96.0.77", ports),
        service("fx", "headless", "None", json!([{"port": 1}])),
        service("fx", "outside", "", json!([])),
        service("fx2", "next", "10.96.0.8", json!([{"port": 1}])),
        service("v6", "six", "fd00::5", json!([{"port": 9, "protocol": "SCTP"}])),
        service("v6", "kubernetes", "fd00::6", json!([{"port": 7}])),
    ];
    all.into_iter().flatten().collect()
}

/// Figures of kubelet-fixtures twoc/two.json.
#[test]
fn row_16_9_a_pod_is_told_of_its_namespaces_services_and_of_the_api_server() {
    let told = variables(&services(), "fx", true);
    let expected = [
        ("KUBERNETES_PORT", "tcp://10.96.0.1:443"),
        ("KUBERNETES_PORT_443_TCP", "tcp://10.96.0.1:443"),
        ("KUBERNETES_PORT_443_TCP_ADDR", "10.96.0.1"),
        ("KUBERNETES_PORT_443_TCP_PORT", "443"),
        ("KUBERNETES_PORT_443_TCP_PROTO", "tcp"),
        ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
        ("KUBERNETES_SERVICE_PORT", "443"),
        ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
        ("MY_SVC_PORT", "tcp://10.96.0.77:80"),
        ("MY_SVC_PORT_53_UDP", "udp://10.96.0.77:53"),
        ("MY_SVC_PORT_53_UDP_ADDR", "10.96.0.77"),
        ("MY_SVC_PORT_53_UDP_PORT", "53"),
        ("MY_SVC_PORT_53_UDP_PROTO", "udp"),
        ("MY_SVC_PORT_80_TCP", "tcp://10.96.0.77:80"),
        ("MY_SVC_PORT_80_TCP_ADDR", "10.96.0.77"),
        ("MY_SVC_PORT_80_TCP_PORT", "80"),
        ("MY_SVC_PORT_80_TCP_PROTO", "tcp"),
        ("MY_SVC_SERVICE_HOST", "10.96.0.77"),
        ("MY_SVC_SERVICE_PORT", "80"),
        ("MY_SVC_SERVICE_PORT_DNS", "53"),
        ("MY_SVC_SERVICE_PORT_HTTP", "80"),
    ];
    assert_eq!(told.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
}

#[test]
fn row_16_9_without_links_only_the_api_server_is_told() {
    let told = variables(&services(), "fx", false);
    assert_eq!(told.len(), 8);
    assert!(told.keys().all(|name| name.starts_with("KUBERNETES_")), "{told:?}");
    assert_eq!(variables(&services(), "empty", true), told);
}

#[test]
fn row_16_9_addresses_of_six_have_brackets_where_a_port_follows() {
    let told = variables(&services(), "v6", true);
    assert_eq!(told["SIX_PORT"], "sctp://[fd00::5]:9");
    assert_eq!(told["SIX_PORT_9_SCTP_ADDR"], "fd00::5");
    assert!(!told.contains_key("SIX_SERVICE_PORT_"), "a port without a name");
    assert_eq!(told["KUBERNETES_SERVICE_HOST"], "fd00::6");
    assert!(!told.contains_key("KUBERNETES_PORT_443_TCP"), "nothing is left of the other one");
}
