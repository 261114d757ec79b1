use std::fs;

use serde_json::json;

use super::*;
use crate::config::GoDuration;

const HEADER: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
/// What a machine without cgroup v2 needs.
const PLAIN: &str = "cgroupsPerQOS: false\nenforceNodeAllocatable: []\n";

struct Files(tempfile::TempDir);

impl Files {
    fn new(config: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("k.yaml", config);
        files
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{HEADER}{text}")).unwrap();
    }

    fn load_with(&self, flags: &[FlagValue]) -> Result<Loaded, ConfigError> {
        let dir = self.0.path().join("d");
        load(Some(&self.0.path().join("k.yaml")), dir.exists().then_some(dir.as_path()), flags)
    }

    fn load(&self) -> Result<Loaded, ConfigError> {
        self.load_with(&[])
    }

    /// The error's text with the directory cut out.
    fn error(&self) -> String {
        self.load().unwrap_err().to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn flag(flag: &str, field: &'static str, value: Value, merges: bool) -> FlagValue {
    FlagValue { flag: flag.to_owned(), field, value, merges }
}

#[test]
fn a_plain_file_has_the_kubelets_defaults() {
    let loaded = Files::new(PLAIN).load().unwrap();
    let config = &loaded.config;
    assert_eq!((config.port, config.read_only_port, config.max_pods), (10250, 0, 110));
    assert!(!config.authentication.anonymous.enabled && config.authentication.webhook.enabled);
    assert_eq!(config.eviction_hard.len(), 5);
    assert_eq!(config.node_status_report_frequency, GoDuration::from_secs(300));
    assert!(
        loaded.warnings.iter().all(|warning| !warning.contains("not in effect")),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn zero_durations_and_numbers_mean_the_default() {
    let text = "syncFrequency: 0s\nfileCheckFrequency: 0s\nmaxPods: 0\nport: 0\nauthentication: {webhook: {cacheTTL: 0s}}\nlogging: {flushFrequency: 0, options: {json: {infoBufferSize: \"0\"}}}\nhealthzPort: 0\n";
    let config = Files::new(&format!("{PLAIN}{text}")).load().unwrap().config;
    assert_eq!(config.file_check_frequency, GoDuration::from_secs(20));
    assert_eq!((config.max_pods, config.port), (110, 10250));
    assert_eq!(config.authentication.webhook.cache_ttl, GoDuration::from_secs(120));
    assert_eq!(config.healthz_port, 0, "here zero turns it off");
}

#[test]
fn reports_follow_an_update_frequency_that_stands_alone() {
    let config = |text: &str| Files::new(&format!("{PLAIN}{text}")).load().unwrap().config;
    assert_eq!(
        config("nodeStatusUpdateFrequency: 4s\n").node_status_report_frequency,
        GoDuration::from_secs(4)
    );
    let both = config("nodeStatusUpdateFrequency: 4s\nnodeStatusReportFrequency: 1m\n");
    assert_eq!(both.node_status_report_frequency, GoDuration::from_secs(60));
    assert_eq!(
        config("nodeStatusUpdateFrequency: 0s\n").node_status_report_frequency,
        GoDuration::from_secs(300)
    );
}

#[test]
fn errors_name_file_line_and_field() {
    let unknown = Files::new("maxpods: 5\n").error();
    assert!(unknown.starts_with("k.yaml:3: maxpods: unknown field"), "{unknown}");
    let wrong_type = Files::new("authentication:\n  x509:\n    clientCAFile: [a]\n").error();
    assert!(
        wrong_type.starts_with("k.yaml:5: authentication.x509.clientCAFile: invalid type"),
        "{wrong_type}"
    );
    let doubled = Files::new("port: 1\nport: 2\n").error();
    assert!(doubled.starts_with("k.yaml:4: "), "{doubled}");
    let duration = Files::new("syncFrequency: 10\n").error();
    assert!(duration.starts_with("k.yaml:3: syncFrequency: "), "{duration}");
}

#[test]
fn every_contradiction_is_told_at_once_with_its_line() {
    let text = "imageGCHighThresholdPercent: 50\nport: 99999\nclusterDNS:\n- 10.0.0.1\n- nowhere\nevictionHard:\n  memory.available: much\n";
    let error = Files::new(&format!("{PLAIN}{text}")).error();
    let expected = [
        "k.yaml:6: port: 99999 is not between",
        "k.yaml:9: clusterDNS[1]: \"nowhere\" is no IP",
        "imageGCLowThresholdPercent (default): 80 must be below",
        "k.yaml:11: evictionHard.memory.available: \"much\"",
    ];
    for line in expected {
        assert!(error.contains(line), "{line} in\n{error}");
    }
}

#[test]
fn row_23_reservations_that_exclude_each_other_are_told() {
    let text = "reservedSystemCPUs: '0'\nsystemReservedCgroup: /system.slice\n\
                enforceNodeAllocatable: [pods, system-reserved, system-reserved-compressible, kube-reserved]\n\
                qosReserved: { memory: 101%, cpu: 5% }\n";
    let error = Files::new(text).error();
    for told in [
        "k.yaml:3: reservedSystemCPUs: excludes systemReservedCgroup and kubeReservedCgroup",
        "enforceNodeAllocatable: system-reserved and system-reserved-compressible exclude each other",
        "kubeReservedCgroup (default): must be set when enforceNodeAllocatable contains kube-reserved",
        "qosReserved.memory: \"101%\" is no whole percentage between 0% and 100%",
        "qosReserved.cpu: only memory can be held back",
    ] {
        assert!(error.contains(told), "{told} in\n{error}");
    }
    let warnings = Files::new(&format!("{PLAIN}qosReserved: {{ memory: 50% }}\n")).load().unwrap().warnings;
    assert!(warnings.iter().any(|w| w.contains("without the feature gate QOSReserved")), "{warnings:?}");
}

#[test]
fn drop_ins_are_merged_in_lexical_order_and_named_in_errors() {
    let files = Files::new(&format!(
        "{PLAIN}maxPods: 50\nclusterDNS: [10.0.0.1, 10.0.0.2]\nsystemReserved: {{cpu: 100m, memory: 1Gi}}\n"
    ));
    files.write("d/20-b.conf", "maxPods: 70\nsystemReserved: {memory: null, pid: \"100\"}\n");
    files.write("d/10-a.conf", "maxPods: 60\nclusterDNS: [10.0.0.9]\n");
    files.write("d/readme.txt", "maxPods: 1\n");
    let loaded = files.load().unwrap();
    assert_eq!(loaded.config.max_pods, 70);
    assert_eq!(loaded.config.cluster_dns, ["10.0.0.9"]);
    assert_eq!(json!(loaded.config.system_reserved), json!({"cpu": "100m", "pid": "100"}));
    assert!(loaded.warnings.iter().any(|warning| warning.contains("readme.txt")));
    files.write("d/30-c.conf", "\nport: x\n");
    assert!(files.error().starts_with("d/30-c.conf:4: port: invalid type"), "{}", files.error());
    fs::write(files.0.path().join("d/40-d.conf"), "port: 1\n").unwrap();
    assert!(files.error().contains("40-d.conf: apiVersion: must be"), "{}", files.error());
}

#[test]
fn flags_win_over_files_and_gates_are_merged() {
    let files = Files::new(&format!(
        "{PLAIN}maxPods: 50\nfeatureGates: {{EnvFiles: false, MemoryQoS: true}}\nevictionHard: {{memory.available: 1Gi}}\n"
    ));
    let flags = [
        flag("--max-pods", "maxPods", json!(7), false),
        flag("--anonymous-auth", "authentication.anonymous.enabled", json!(true), false),
        flag("--feature-gates", "featureGates", json!({"EnvFiles": true}), true),
        flag("--eviction-hard", "evictionHard", json!({"nodefs.available": "5%"}), false),
    ];
    let config = files.load_with(&flags).unwrap().config;
    assert_eq!(config.max_pods, 7);
    assert!(config.authentication.anonymous.enabled);
    assert_eq!(json!(config.feature_gates), json!({"EnvFiles": true, "MemoryQoS": true}));
    assert_eq!(json!(config.eviction_hard), json!({"nodefs.available": "5%"}));
    let error = files
        .load_with(&[flag("--feature-gates", "featureGates", json!({"Nope": true}), true)])
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("flag --feature-gates: featureGates.Nope: unrecognized"), "{error}");
}

#[test]
fn default_thresholds_are_replaced_or_merged_as_told() {
    let hard = |text: &str| Files::new(&format!("{PLAIN}{text}")).load().unwrap().config.eviction_hard;
    assert_eq!(hard("evictionHard: {memory.available: 1Gi}\n").len(), 1);
    assert_eq!(hard("evictionHard: {}\n").len(), 0);
    let merged = hard("evictionHard: {memory.available: 1Gi}\nmergeDefaultEvictionSettings: true\n");
    assert_eq!((merged.len(), merged["memory.available"].as_str()), (5, "1Gi"));
}

#[test]
fn relative_paths_are_below_the_files_directory() {
    let files = Files::new(&format!(
        "{PLAIN}staticPodPath: manifests\nauthentication: {{x509: {{clientCAFile: pki/ca.crt}}}}\nresolvConf: \"\"\n"
    ));
    let config = files.load().unwrap().config;
    assert_eq!(Path::new(&config.static_pod_path), files.0.path().join("manifests"));
    assert_eq!(Path::new(&config.authentication.x509.client_ca_file), files.0.path().join("pki/ca.crt"));
    assert_eq!(config.resolv_conf, "");
}

#[test]
fn what_would_be_unsafe_to_ignore_is_refused() {
    assert!(
        Files::new(&format!("{PLAIN}tlsMinVersion: VersionTLS13\n"))
            .error()
            .contains("k.yaml:5: tlsMinVersion")
    );
}

#[test]
fn settings_without_effect_are_named() {
    let warnings =
        Files::new(&format!("{PLAIN}volumeStatsAggPeriod: 1h\nhairpinMode: none\n")).load().unwrap().warnings;
    assert!(
        warnings.contains(&"setting volumeStatsAggPeriod is accepted but not in effect yet".to_owned()),
        "{warnings:?}"
    );
    assert!(
        warnings.contains(&"setting hairpinMode is accepted and has no effect in nodelet".to_owned()),
        "{warnings:?}"
    );
}

#[test]
fn without_a_file_the_legacy_defaults_apply() {
    let off = [
        flag("--cgroups-per-qos", "cgroupsPerQOS", json!(false), false),
        flag("--enforce-node-allocatable", "enforceNodeAllocatable", json!([]), false),
    ];
    let config = load(None, None, &off).unwrap().config;
    assert!(config.authentication.anonymous.enabled && !config.authentication.webhook.enabled);
    assert_eq!((config.authorization.mode.as_str(), config.read_only_port), ("AlwaysAllow", 10255));
}

#[test]
fn configz_shows_kind_version_and_go_durations_and_reads_back() {
    let config = Files::new(PLAIN).load().unwrap().config;
    let shown = config.to_configz();
    let fields = &shown["kubeletconfig"];
    assert_eq!((fields["kind"].as_str(), fields["apiVersion"].as_str()), (Some(KIND), Some(API_VERSION)));
    assert_eq!(fields["syncFrequency"], "1m0s");
    let mut again = fields.clone();
    take_header(&mut again, Path::new("configz")).unwrap();
    assert_eq!(decode::<Config>(&again).unwrap(), config);
}

#[test]
fn any_text_gives_a_configuration_or_an_error_and_never_a_panic() {
    bolero::check!().with_type::<String>().for_each(|text| {
        for text in [
            text.clone(),
            format!("{HEADER}{text}"),
            format!("port: {text}"),
            format!("evictionHard: {{memory.available: {text}}}"),
        ] {
            if let Ok(mut document) = parse(&text, Path::new("fuzz")) {
                let _ = take_header(&mut document.value, Path::new("fuzz"));
                resolve_paths(&mut document.value, Path::new("fuzz"));
                if let Ok(config) = typed(&document) {
                    let _ = (validate::problems(&config), validate::warnings(&config), config.to_configz());
                }
            }
        }
    });
}
