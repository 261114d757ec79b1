use serde_json::{Value, json};

use super::*;

fn settings(dir: &tempfile::TempDir, text: &str) -> Settings {
    let path = dir.path().join("resolv.conf");
    std::fs::write(&path, text).expect("written");
    Settings {
        cluster_dns: vec!["10.96.0.10".into()],
        cluster_domain: "cluster.local".into(),
        resolv_conf: Some(path),
        overrides: true,
    }
}

fn formed(settings: &Settings, spec: Value, host_ips: &[&str]) -> Formed {
    let mut spec = spec;
    spec["containers"] = json!([]);
    let pod = json!({"metadata": {"name": "web", "namespace": "fx"}, "spec": spec});
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    resolver(settings, &pod, &strings(host_ips)).expect("a resolver")
}

fn policy(settings: &Settings, policy: &str, host_network: bool) -> Resolver {
    let formed = formed(settings, json!({"dnsPolicy": policy, "hostNetwork": host_network}), &[]);
    assert_eq!((formed.left_out, formed.no_cluster), (Vec::new(), None));
    formed.resolver
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

/// Figures of kubelet-fixtures twoc/sandbox.json.
#[test]
fn a_cluster_pod_searches_its_namespace_the_services_and_the_domain_then_the_nodes_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = settings(
        &dir,
        "search old.example\nsearch example.org. . cluster.local\nnameserver 192.0.2.53\noptions rotate\n",
    );
    let got = policy(&settings, "ClusterFirst", false);
    assert_eq!(got.servers, ["10.96.0.10"]);
    assert_eq!(
        got.searches,
        strings(&["fx.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"])
    );
    assert_eq!(got.options, ["ndots:5"]);
}

#[test]
fn a_pod_in_the_nodes_network_or_with_its_policy_gets_the_nodes_resolver() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = settings(&dir, "nameserver 192.0.2.53\nsearch a b\noptions rotate timeout:1\n");
    let node = Resolver {
        servers: strings(&["192.0.2.53"]),
        searches: strings(&["a", "b"]),
        options: strings(&["rotate", "timeout:1"]),
    };
    assert_eq!(policy(&settings, "ClusterFirst", true), node);
    assert_eq!(policy(&settings, "Default", false), node);
    assert_eq!(policy(&settings, "ClusterFirstWithHostNet", true).servers, ["10.96.0.10"]);
    assert_eq!(policy(&settings, "whatever", true).servers, ["10.96.0.10"]);
}

/// Figures of kubelet-fixtures sharepid/sandbox.json and dnsff/sandbox.json; the order of options is the writer's.
#[test]
fn rows_8_5_and_8_6_a_pod_adds_to_its_policys_resolver_or_replaces_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = settings(&dir, "nameserver 192.0.2.53\noptions rotate\n");
    let none = formed(
        &settings,
        json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.9.9.9"], "searches": ["ns1.svc", "my.dom"],
               "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
        &[],
    );
    let expected = Resolver {
        servers: strings(&["10.9.9.9"]),
        searches: strings(&["ns1.svc", "my.dom"]),
        options: strings(&["ndots:2", "edns0"]),
    };
    assert_eq!(none.resolver, expected);
    let first = formed(
        &settings,
        json!({"dnsPolicy": "ClusterFirst", "dnsConfig": {"searches": ["extra.dom", "cluster.local"],
               "nameservers": ["10.96.0.10", "10.9.9.9"],
               "options": [{"name": "timeout", "value": "1"}, {"name": "ndots", "value": "2"}]}}),
        &[],
    );
    let expected = Resolver {
        servers: strings(&["10.96.0.10", "10.9.9.9"]),
        searches: strings(&["fx.svc.cluster.local", "svc.cluster.local", "cluster.local", "extra.dom"]),
        options: strings(&["ndots:2", "timeout:1"]),
    };
    assert_eq!(first.resolver, expected);
    assert_eq!(formed(&settings, json!({"dnsPolicy": "None"}), &[]).resolver, Resolver::default());
}

#[test]
fn row_8_2_without_a_domain_the_nodes_searches_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings { cluster_domain: String::new(), ..settings(&dir, "search a a b\n") };
    assert_eq!(policy(&settings, "ClusterFirst", false).searches, ["a", "a", "b"]);
}

#[test]
fn row_8_3_without_a_resolver_of_the_cluster_the_nodes_is_taken_and_that_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = Settings { cluster_dns: Vec::new(), ..settings(&dir, "nameserver 192.0.2.53\n") };
    let got = formed(&settings, json!({}), &[]);
    assert_eq!(got.resolver.servers, ["192.0.2.53"]);
    assert!(got.no_cluster.is_some_and(|note| note.contains("Falling back to \"Default\" policy")));
    assert_eq!(formed(&settings, json!({"dnsPolicy": "Default"}), &[]).no_cluster, None);
}

#[test]
fn row_8_4_without_a_file_pods_ask_the_machine_itself() {
    let settings = Settings::default();
    let servers = |ips: &[&str]| {
        let resolver = formed(&settings, json!({"dnsPolicy": "Default"}), ips).resolver;
        assert_eq!(resolver.searches, ["."]);
        resolver.servers
    };
    assert_eq!(servers(&[]), ["127.0.0.1"]);
    assert_eq!(servers(&["192.0.2.2", "fd00::2"]), ["127.0.0.1", "::1"]);
}

#[test]
fn row_8_7_what_is_too_much_is_cut_and_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings = settings(&dir, "");
    let names = |count: usize, length: usize| -> Vec<String> {
        (0..count).map(|i| format!("{i:02}{}", "a".repeat(length - 2))).collect()
    };
    let cut = |searches: &[String]| {
        let formed =
            formed(&settings, json!({"dnsPolicy": "None", "dnsConfig": {"searches": searches}}), &[]);
        (formed.resolver.searches.len(), formed.left_out.len())
    };
    assert_eq!(cut(&names(32, 10)), (32, 0));
    assert_eq!(cut(&names(33, 10)), (32, 1));
    assert_eq!(cut(&[names(1, 254), names(2, 253)].concat()), (2, 1));
    // 8 of them have 2,031 characters, 9 have 2,285.
    assert_eq!(cut(&names(9, 253)), (8, 1));
    assert_eq!(cut(&names(8, 253)), (8, 0));
}

#[test]
fn row_8_8_a_file_with_too_much_in_it_is_told_once_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let told = |text: &str| check_limits(&settings(&dir, text));
    let names =
        |count: usize, length: usize| format!("search {}\n", vec!["a".repeat(length); count].join(" "));
    assert_eq!(told(&names(29, 5)), None);
    assert!(told(&names(30, 5)).is_some_and(|t| t.contains("more than 29 domains!")));
    assert!(told(&names(1, 254)).is_some_and(|t| t.contains("more than allowed 253 chars!")));
    assert!(told(&names(9, 253)).is_some_and(|t| t.contains("more than allowed 2048 chars!")));
    let gone = Settings { resolv_conf: Some("/nowhere/resolv.conf".into()), ..Settings::default() };
    assert!(check_limits(&gone).is_some_and(|t| t.contains("/nowhere/resolv.conf")));
    assert_eq!(check_limits(&Settings::default()), None);
    let alone = Settings { cluster_domain: String::new(), ..settings(&dir, &names(32, 5)) };
    assert_eq!(check_limits(&alone), None);
}

#[test]
fn more_than_three_servers_are_cut_and_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings =
        settings(&dir, "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n");
    let got = formed(&settings, json!({"dnsPolicy": "Default"}), &[]);
    assert_eq!(got.resolver.servers.len(), 3);
    assert!(got.left_out.concat().contains("1.1.1.1 1.1.1.2 1.1.1.3"));
}

#[test]
fn a_file_that_is_missing_is_named() {
    let settings = Settings { resolv_conf: Some("/nowhere/resolv.conf".into()), ..Settings::default() };
    let error = resolver(&settings, &Pod::default(), &[]).expect_err("no file");
    assert!(error.to_string().contains("/nowhere/resolv.conf"), "{error}");
}
