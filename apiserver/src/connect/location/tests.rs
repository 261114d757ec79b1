//! Names with schemes and ports, and a service's port in a pod.

use serde_json::json;

use super::{Named, node_path, target_port};
use crate::backend::Security;

#[test]
fn a_name_may_have_a_scheme_and_a_port() {
    let named = |security, name, port| Ok(Named { security, name, port });
    let cases = [
        ("a", named(Security::Plain, "a", "")),
        ("a:80", named(Security::Plain, "a", "80")),
        ("https:a:web", named(Security::Tls, "a", "web")),
        ("https:a:", named(Security::Tls, "a", "")),
        (":a:80", named(Security::Plain, "a", "80")),
    ];
    for (text, expected) in cases {
        assert_eq!(Named::parse(text, "pod"), expected, "{text}");
    }
    for wrong in ["", ":80", "ftp:a:80", "a:b:c:d", "https::80"] {
        let refused = Named::parse(wrong, "pod").unwrap_err();
        assert_eq!(refused.message, format!("invalid pod request \"{wrong}\""));
    }
}

#[test]
fn a_kubelets_path_has_names_that_cannot_leave_it() {
    assert_eq!(node_path("exec", &["ns", "a.b", "../x?y"], "a=b"), "/exec/ns/a.b/..%2Fx%3Fy?a=b");
}

#[test]
fn a_services_port_is_a_number_a_name_or_the_same() {
    let pod = json!({ "spec": {
        "containers": [{ "ports": [{ "name": "web", "containerPort": 8080 }] }],
        "initContainers": [{ "ports": [{ "name": "side", "containerPort": 9090 }] }],
    } });
    let of = |port: serde_json::Value| target_port(&port, &pod);
    assert_eq!(of(json!({ "port": 80 })), Some(80));
    assert_eq!(of(json!({ "port": 80, "targetPort": 81 })), Some(81));
    assert_eq!(of(json!({ "port": 80, "targetPort": "web" })), Some(8080));
    assert_eq!(of(json!({ "port": 80, "targetPort": "side" })), Some(9090));
    assert_eq!(of(json!({ "port": 80, "targetPort": "none" })), None);
    assert_eq!(of(json!({ "port": 80, "targetPort": 70000 })), None);
}
