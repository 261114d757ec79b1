use serde_json::json;

use super::*;

fn named(name: &str, spec: serde_json::Value) -> Result<HostName, HostNameError> {
    let pod = json!({"metadata": {"name": name, "namespace": "ns"}, "spec": spec});
    let mut pod: Pod = serde_json::from_value(pod).expect("a pod");
    pod.spec.get_or_insert_default();
    host_name(&pod, "cluster.local", true)
}

fn shown(name: &str, spec: serde_json::Value) -> (String, Option<String>, String) {
    let HostName { short, domain, kernel } = named(name, spec).expect("a name");
    (short, domain, kernel)
}

#[test]
fn row_8_13_a_pod_is_called_by_its_hostname_or_its_own_name() {
    let spec = |more: serde_json::Value| {
        let mut spec = json!({"containers": []});
        spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        spec
    };
    let domain = Some("sub.ns.svc.cluster.local".to_owned());
    let same = |name: &str, domain: Option<String>| (name.to_owned(), domain, name.to_owned());
    assert_eq!(shown("web", spec(json!({}))), same("web", None));
    assert_eq!(shown("web", spec(json!({"hostname": "h", "subdomain": ""}))), same("h", None));
    assert_eq!(shown("web", spec(json!({"subdomain": "sub"}))), same("web", domain.clone()));
    let long = format!("{}-.{}", "a".repeat(61), "b".repeat(10));
    assert_eq!(shown(&long, spec(json!({}))), same(&"a".repeat(61), None));
    // Row 8.14.
    let fqdn = json!({"subdomain": "sub", "hostname": "h", "setHostnameAsFQDN": true});
    assert_eq!(shown("web", spec(fqdn)), ("h".to_owned(), domain, "h.sub.ns.svc.cluster.local".to_owned()));
    assert_eq!(shown("web", spec(json!({"setHostnameAsFQDN": true}))), same("web", None));
    // Row 8.15.
    let other = json!({"hostnameOverride": "a.b.example", "hostname": "h", "subdomain": "sub"});
    assert_eq!(shown("web", spec(other)), same("a.b.example", None));
    let long = json!({"hostnameOverride": format!("{}.b", "a".repeat(62))});
    assert_eq!(shown("web", spec(long)), same(&"a".repeat(62), None));
}

#[test]
fn row_8_15_without_its_gate_the_override_counts_for_nothing() {
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [], "hostnameOverride": "x"}});
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    assert_eq!(host_name(&pod, "c", false).expect("a name").short, "web");
}

#[test]
fn row_8_14_names_that_nothing_can_have_say_why() {
    let said = |spec: serde_json::Value| named("web", spec).expect_err("no name").to_string();
    let fqdn = json!({"containers": [], "subdomain": "s".repeat(40), "setHostnameAsFQDN": true});
    let name = format!("web.{}.ns.svc.cluster.local", "s".repeat(40));
    let expected = format!(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {name} is too long (64 characters is the max, {} characters requested)",
        name.len()
    );
    assert_eq!(said(fqdn), expected);
    let table = [
        ("hostname", "Hostname", "A_b", "label"),
        ("subdomain", "Subdomain", "-a", "label"),
        ("hostnameOverride", "HostnameOverride", "a..b", "subdomain"),
    ];
    for (field, shown, name, kind) in table {
        let expected = format!("pod {shown} {name:?} is not a valid DNS {kind}");
        assert_eq!(said(json!({"containers": [], field: name})), expected);
    }
}
