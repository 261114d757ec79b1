use super::*;

fn settings(dir: &tempfile::TempDir, text: &str) -> Settings {
    let path = dir.path().join("resolv.conf");
    std::fs::write(&path, text).expect("written");
    Settings {
        cluster_dns: vec!["10.96.0.10".into()],
        cluster_domain: "cluster.local".into(),
        resolv_conf: Some(path),
    }
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
    let (got, note) = resolver(&settings, "ClusterFirst", "fx", false).expect("a resolver");
    assert_eq!(got.servers, ["10.96.0.10"]);
    assert_eq!(
        got.searches,
        strings(&["fx.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.org"])
    );
    assert_eq!(got.options, ["ndots:5"]);
    assert_eq!(note, None);
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
    assert_eq!(resolver(&settings, "ClusterFirst", "fx", true).expect("a resolver").0, node);
    assert_eq!(resolver(&settings, "Default", "fx", false).expect("a resolver").0, node);
    let cluster = resolver(&settings, "ClusterFirstWithHostNet", "fx", true).expect("a resolver").0;
    assert_eq!(cluster.servers, ["10.96.0.10"]);
}

#[test]
fn more_than_three_servers_are_cut_and_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let settings =
        settings(&dir, "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n");
    let (got, note) = resolver(&settings, "Default", "fx", false).expect("a resolver");
    assert_eq!(got.servers.len(), 3);
    assert!(note.is_some_and(|n| n.contains("1.1.1.1 1.1.1.2 1.1.1.3")));
}

#[test]
fn a_file_that_is_missing_is_named() {
    let settings = Settings { resolv_conf: Some("/nowhere/resolv.conf".into()), ..Settings::default() };
    let error = resolver(&settings, "Default", "fx", false).expect_err("no file");
    assert!(error.to_string().contains("/nowhere/resolv.conf"), "{error}");
}
