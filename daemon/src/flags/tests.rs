use serde_json::json;

use super::*;

fn parse(arguments: &[&str]) -> Result<Flags, FlagError> {
    Flags::parse(std::iter::once("nodelet").chain(arguments.iter().copied()).map(OsString::from))
}

fn fields(arguments: &[&str]) -> serde_json::Value {
    let flags = parse(arguments).unwrap_or_else(|error| panic!("{error}"));
    flags
        .mirrors
        .iter()
        .map(|mirror| (mirror.field.to_owned(), mirror.value.clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn error(arguments: &[&str]) -> String {
    parse(arguments).unwrap_err().to_string()
}

#[test]
fn what_kubeadm_passes_is_understood() {
    let flags = parse(&[
        "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf",
        "--kubeconfig=/etc/kubernetes/kubelet.conf",
        "--config=/var/lib/kubelet/config.yaml",
        "--hostname-override=node7",
        "--register-with-taints=dedicated=edge:NoSchedule",
        "--node-labels=zone=a,tier=edge",
        "--node-ip=192.0.2.2",
    ])
    .unwrap();
    assert_eq!(flags.kubeconfig.as_deref(), Some(Path::new("/etc/kubernetes/kubelet.conf")));
    assert_eq!(flags.hostname_override.as_deref(), Some("node7"));
    assert_eq!(flags.node_ips, ["192.0.2.2".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        flags.node_labels,
        [("zone".to_owned(), "a".to_owned()), ("tier".to_owned(), "edge".to_owned())]
    );
    assert_eq!(
        flags.mirrors[0].value,
        json!([{"key": "dedicated", "value": "edge", "effect": "NoSchedule"}])
    );
}

#[test]
fn values_are_read_as_go_reads_them() {
    assert_eq!(
        fields(&[
            "--fail-swap-on=false",
            "--register-node",
            "--max-pods",
            "20",
            "--max-pods=30",
            "--cluster-dns=10.0.0.1",
            "--cluster-dns",
            "10.0.0.2,10.0.0.3",
            "--eviction-hard=memory.available<100Mi,nodefs.available<10%",
            "--kube-reserved=cpu=100m,memory=1Gi",
            "--feature-gates=A=true,B=f",
            "--manifest-url-header=a:1,a:2,b:3",
            "--reserved-memory=0:memory=1Gi;1:memory=2Gi",
            "--oom-score-adj",
            "-5",
            "--pod_max_pids=9",
            "-v=4",
        ]),
        json!({
            "failSwapOn": false, "registerNode": true, "maxPods": 30, "clusterDNS": ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "10%"}, "kubeReserved": {"cpu": "100m", "memory": "1Gi"},
            "featureGates": {"A": true, "B": false}, "staticPodURLHeader": {"a": ["1", "2"], "b": ["3"]},
            "reservedMemory": [{"numaNode": 0, "limits": {"memory": "1Gi"}}, {"numaNode": 1, "limits": {"memory": "2Gi"}}],
            "oomScoreAdj": -5, "podPidsLimit": 9, "logging.verbosity": 4,
        })
    );
}

#[test]
fn removed_and_unknown_flags_are_refused_with_a_reason() {
    assert_eq!(
        error(&["--pod-infra-container-image=pause:3"]),
        "flag --pod-infra-container-image was removed from the kubelet: the pause image is a setting of the container runtime"
    );
    assert!(error(&["--network_plugin", "cni"]).contains("was removed"));
    assert!(error(&["--no-such-flag"]).contains("--no-such-flag"));
    assert_eq!(parse(&["--no-such-flag"]).unwrap_err().exit_code(), 2);
}

#[test]
fn malformed_values_name_their_flag() {
    assert_eq!(error(&["--max-pods=many"]), "flag --max-pods: \"many\" is no whole number");
    assert!(error(&["--node-ip=10.0.0.1,10.0.0.2"]).starts_with("flag --node-ip: "));
    assert!(
        error(&["--node-labels=node-role.kubernetes.io/master="])
            .starts_with("flag --node-labels: label node-role")
    );
    assert!(error(&["--node-labels=a=-b"]).contains("no label value"));
    assert!(error(&["--root-dir=state/../x"]).starts_with("flag --root-dir: "));
    assert!(error(&["--cloud-provider=aws"]).contains("only external"));
    assert!(error(&["--fail-swap-on=maybe"]).contains("true or false"));
    assert!(error(&["--register-with-taints=x"]).contains("key=value:effect"));
}

#[test]
fn a_node_may_label_itself_within_the_domains_left_to_it() {
    for label in [
        "topology.kubernetes.io/zone=a",
        "node.kubernetes.io/kind=x",
        "x.kubelet.kubernetes.io/y=1",
        "example.com/a=",
        "plain=1",
    ] {
        assert!(parse(&["--node-labels", label]).is_ok(), "{label}");
    }
    for label in ["kubernetes.io/x=1", "a.k8s.io/b=1", "node-restriction.kubernetes.io/b=1"] {
        assert!(parse(&["--node-labels", label]).is_err(), "{label}");
    }
}

#[test]
fn version_is_printed_in_the_form_that_kubeadm_reads_when_the_program_is_called_kubelet() {
    let version = |program: &str| {
        let error = Flags::parse([program.into(), "--version".into()]).unwrap_err();
        assert_eq!(error.exit_code(), 0);
        error.to_string()
    };
    assert_eq!(version("/usr/bin/kubelet"), "Kubernetes v1.36.2\n");
    assert_eq!(
        version("/usr/bin/nodelet"),
        format!("nodelet {} (Kubernetes v1.36.2)\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(parse(&["--help"]).unwrap_err().exit_code(), 0);
}

#[test]
fn the_nodes_version_is_one_of_kubernetes_with_nodelets_behind_the_plus() {
    assert_eq!(node_version(), format!("v1.36.2+nodelet.{}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn flags_without_effect_are_named() {
    assert_eq!(parse(&["--runtime-cgroups=/x"]).unwrap().without_effect, ["runtime-cgroups"]);
}

#[test]
fn every_mirror_sets_a_field_that_exists_with_a_type_that_fits() {
    let known = serde_json::to_value(crate::config::Config::default()).unwrap();
    let left_out = ["staticPodURL", "staticPodURLHeader", "staticPodPath", "tracing"];
    for mirror in MIRRORS {
        let name = mirror.field.split('.').next().unwrap();
        let sample: &[&str] = match mirror.syntax {
            Syntax::Int => &["5"],
            Syntax::Bool => &["true"],
            Syntax::Text => &["10s"],
            Syntax::List => &["a"],
            Syntax::Map => &["memory=1"],
            Syntax::BoolMap => &["EnvFiles=true"],
            Syntax::Thresholds => &["memory.available<1"],
            Syntax::Headers => &["a:b"],
            Syntax::Taints => &["a=b:NoSchedule"],
            Syntax::ReservedMemory => &["0:memory=1"],
        };
        let value = values::read(mirror.syntax, sample).unwrap();
        if let Some(default) = known.get(name).filter(|_| !mirror.field.contains('.')) {
            assert_eq!(std::mem::discriminant(default), std::mem::discriminant(&value), "{}", mirror.flag);
        } else {
            assert!(
                mirror.field.contains('.')
                    || left_out.contains(&name)
                    || value.is_string()
                    || value.is_object(),
                "{}",
                mirror.flag
            );
        }
    }
}

#[test]
fn the_package_that_stands_in_for_the_kubelet_has_its_version() {
    let manifest = include_str!("../../Cargo.toml");
    let provided = format!("provides = \"kubelet (= {})\"", KUBERNETES_VERSION.trim_start_matches('v'));
    assert!(manifest.lines().any(|line| line == provided), "{provided}");
}

#[test]
fn the_configuration_of_the_package_is_taken_and_carried_out() {
    let flags = parse(&["--config", concat!(env!("CARGO_MANIFEST_DIR"), "/package/config.yaml")]).unwrap();
    let loaded = flags.load_config().unwrap();
    let unexpected: Vec<_> = loaded.warnings.iter().filter(|w| !w.contains("clientCAFile")).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    assert!(!loaded.config.shutdown_grace_period.is_zero());
}

#[test]
fn the_help_lists_every_command_with_a_line_and_a_command_stands_first() {
    let FlagError::Information(help) = parse(&["--help"]).unwrap_err() else { panic!("no help") };
    for Subcommand { name, about, .. } in COMMANDS {
        let line = help.lines().find(|line| line.trim_start().starts_with(&format!("{name} ")));
        assert!(line.is_some_and(|line| line.ends_with(about)), "{name} is not in:\n{help}");
    }
    let error = parse(&["-v", "2", "status"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("nodelet status [...]"), "{error}");
}
