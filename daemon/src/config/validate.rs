//! What a configuration must satisfy beyond types: ranges, names, and settings that contradict each other.
//!
//! Three outcomes: a problem (the process ends with exit code 2), a refusal of what would be unsafe to ignore while it is
//! not carried out yet (likewise), and a warning that names a setting without effect.

mod refused;
mod resources;

use std::net::IpAddr;

use super::duration::GoDuration;
use super::gates;
use super::settings::{Config, Effect};

pub(crate) use resources::cpu_set_size;

type Problems = Vec<(String, String)>;

/// All that is wrong, as (field, message).
pub(super) fn problems(config: &Config) -> Problems {
    let mut problems = Vec::new();
    ranges(config, &mut problems);
    names(config, &mut problems);
    network(config, &mut problems);
    combinations(config, &mut problems);
    node(config, &mut problems);
    resources::check(config, &mut problems);
    for (name, value) in &config.feature_gates {
        if let Some(message) = gates::problem(name, *value) {
            problems.push((format!("featureGates.{name}"), message));
        }
    }
    // Only what is valid is worth telling that it is not there yet.
    if problems.is_empty() {
        refused::check(config, &mut problems);
    }
    problems
}

/// One sentence for each setting that is accepted and changes nothing.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings: Vec<String> = config
        .without_effect()
        .into_iter()
        .map(|(name, effect)| match effect {
            Effect::None => format!("setting {name} is accepted and has no effect in nodelet"),
            Effect::Later | Effect::Now => format!("setting {name} is accepted but not in effect yet"),
        })
        .collect();
    for gate in gates::without_effect(&config.feature_gates) {
        warnings.push(format!("feature gate {gate} is accepted but not in effect yet"));
    }
    if !config.qos_reserved.is_empty() && !gates::enabled(&config.feature_gates, "QOSReserved") {
        warnings.push("qosReserved has no effect without the feature gate QOSReserved".to_owned());
    }
    let authentication = &config.authentication;
    if authentication.anonymous.enabled || config.authorization.mode == "AlwaysAllow" {
        warnings.push(
            "authentication.anonymous and authorization.mode AlwaysAllow open nothing yet: \
             the server accepts only the API server's client certificate"
                .to_owned(),
        );
    }
    if config.enable_server && authentication.x509.client_ca_file.is_empty() {
        warnings
            .push("authentication.x509.clientCAFile is not set: the server will accept no client".to_owned());
    }
    warnings
}

fn push(problems: &mut Problems, field: &str, message: impl Into<String>) {
    problems.push((field.to_owned(), message.into()));
}

fn ranges(config: &Config, problems: &mut Problems) {
    let mut within = |field: &str, value: i64, low: i64, high: i64| {
        if !(low..=high).contains(&value) {
            problems.push((field.to_owned(), format!("{value} is not between {low} and {high}")));
        }
    };
    let most = i64::from(i32::MAX);
    for (field, value, low, high) in [
        ("port", config.port, 1, 65_535),
        ("readOnlyPort", config.read_only_port, 0, 65_535),
        ("healthzPort", config.healthz_port, 0, 65_535),
        ("oomScoreAdj", config.oom_score_adj, -1000, 1000),
        ("nodeLeaseDurationSeconds", config.node_lease_duration_seconds, 1, most),
        ("imageGCHighThresholdPercent", config.image_gc_high_threshold_percent, 0, 100),
        ("imageGCLowThresholdPercent", config.image_gc_low_threshold_percent, 0, 100),
        ("registryPullQPS", config.registry_pull_qps, 0, most),
        ("registryBurst", config.registry_burst, 0, most),
        ("eventRecordQPS", config.event_record_qps, 0, most),
        ("eventBurst", config.event_burst, 0, most),
        ("kubeAPIQPS", config.kube_api_qps, 0, most),
        ("kubeAPIBurst", config.kube_api_burst, 0, most),
        ("maxPods", config.max_pods, 0, most),
        ("podsPerCore", config.pods_per_core, 0, most),
        ("nodeStatusMaxImages", config.node_status_max_images, -1, most),
        ("containerLogMaxFiles", config.container_log_max_files, 2, most),
        ("containerLogMaxWorkers", config.container_log_max_workers, 1, most),
        ("evictionMaxPodGracePeriod", config.eviction_max_pod_grace_period, 0, most),
        ("iptablesMasqueradeBit", config.ip_tables_masquerade_bit, 0, 31),
        ("iptablesDropBit", config.ip_tables_drop_bit, 0, 31),
    ] {
        within(field, i64::from(value), low, high);
    }
    within("maxOpenFiles", config.max_open_files, 0, i64::MAX);
    within("podPidsLimit", config.pod_pids_limit, -1, i64::MAX);

    let mut lasts = |field: &str, value: GoDuration, low: GoDuration, high: Option<GoDuration>| {
        if value < low || high.is_some_and(|high| value > high) {
            let range =
                high.map_or_else(|| format!("at least {low}"), |high| format!("between {low} and {high}"));
            problems.push((field.to_owned(), format!("{value} must be {range}")));
        }
    };
    let second = GoDuration::from_secs(1);
    let millisecond = GoDuration::from_millis(1);
    lasts("cpuCFSQuotaPeriod", config.cpu_cfs_quota_period, millisecond, Some(second));
    lasts(
        "containerLogMonitorInterval",
        config.container_log_monitor_interval,
        GoDuration::from_secs(3),
        None,
    );
    lasts("imageMinimumGCAge", config.image_minimum_gc_age, GoDuration::ZERO, None);
    lasts("imageMaximumGCAge", config.image_maximum_gc_age, GoDuration::ZERO, None);
    // Everything below polls or waits with these; a negative or tiny one would spin.
    for (field, value) in [
        ("syncFrequency", config.sync_frequency),
        ("fileCheckFrequency", config.file_check_frequency),
        ("httpCheckFrequency", config.http_check_frequency),
        ("nodeStatusUpdateFrequency", config.node_status_update_frequency),
        ("nodeStatusReportFrequency", config.node_status_report_frequency),
        ("runtimeRequestTimeout", config.runtime_request_timeout),
        ("streamingConnectionIdleTimeout", config.streaming_connection_idle_timeout),
    ] {
        lasts(field, value, GoDuration::from_millis(100), None);
    }
    if let Some(period) = config.crash_loop_back_off.max_container_restart_period {
        lasts("crashLoopBackOff.maxContainerRestartPeriod", period, second, Some(GoDuration::from_secs(300)));
    }
    if !(config.memory_throttling_factor > 0.0 && config.memory_throttling_factor <= 1.0) {
        push(
            problems,
            "memoryThrottlingFactor",
            format!("{} is not above 0 and at most 1", config.memory_throttling_factor),
        );
    }
    if let Some(ids) = config.user_namespaces.as_ref().and_then(|namespaces| namespaces.ids_per_pod) {
        let most = (1_i64 << 32) / i64::from(config.max_pods.max(1));
        if ids < 65_536 || ids % 65_536 != 0 || ids >= most {
            push(
                problems,
                "userNamespaces.idsPerPod",
                format!("{ids} must be a multiple of 65536 and below {most} (2^32 / maxPods)"),
            );
        }
    }
}

fn names(config: &Config, problems: &mut Problems) {
    let mut one_of = |field: &str, value: &str, allowed: &[&str]| {
        if !allowed.contains(&value) {
            problems.push((field.to_owned(), format!("{value:?} is none of {}", allowed.join(", "))));
        }
    };
    one_of("authorization.mode", &config.authorization.mode, &["Webhook", "AlwaysAllow"]);
    one_of("cgroupDriver", &config.cgroup_driver, &["cgroupfs", "systemd"]);
    one_of("cpuManagerPolicy", &config.cpu_manager_policy, &["none", "static"]);
    one_of("memoryManagerPolicy", &config.memory_manager_policy, &["None", "Static"]);
    one_of(
        "topologyManagerPolicy",
        &config.topology_manager_policy,
        &["none", "best-effort", "restricted", "single-numa-node"],
    );
    one_of("topologyManagerScope", &config.topology_manager_scope, &["container", "pod"]);
    one_of("hairpinMode", &config.hairpin_mode, &["promiscuous-bridge", "hairpin-veth", "none"]);
    one_of("memorySwap.swapBehavior", &config.memory_swap.swap_behavior, &["", "NoSwap", "LimitedSwap"]);
    one_of("memoryReservationPolicy", &config.memory_reservation_policy, &["None", "TieredReservation"]);
    one_of("logging.format", &config.logging.format, &["text", "json"]);
    one_of(
        "tlsMinVersion",
        &config.tls_min_version,
        &["", "VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"],
    );
    one_of(
        "configMapAndSecretChangeDetectionStrategy",
        &config.config_map_and_secret_change_detection_strategy,
        &["Get", "Cache", "Watch"],
    );
    one_of(
        "imagePullCredentialsVerificationPolicy",
        &config.image_pull_credentials_verification_policy,
        &["NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", "AlwaysVerify"],
    );
    for (index, value) in config.enforce_node_allocatable.iter().enumerate() {
        one_of(
            &format!("enforceNodeAllocatable[{index}]"),
            value,
            &[
                "pods",
                "system-reserved",
                "kube-reserved",
                "system-reserved-compressible",
                "kube-reserved-compressible",
                "none",
            ],
        );
    }
}

fn network(config: &Config, problems: &mut Problems) {
    for (field, address) in
        [("address", &config.address), ("healthzBindAddress", &config.healthz_bind_address)]
    {
        if address.parse::<IpAddr>().is_err() {
            push(problems, field, format!("{address:?} is no IP address"));
        }
    }
    for (index, server) in config.cluster_dns.iter().enumerate() {
        if server.parse::<IpAddr>().is_err() {
            push(problems, &format!("clusterDNS[{index}]"), format!("{server:?} is no IP address"));
        }
    }
    for (field, endpoint) in [
        ("containerRuntimeEndpoint", &config.container_runtime_endpoint),
        ("imageServiceEndpoint", &config.image_service_endpoint),
    ] {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        let left_out = endpoint.is_empty() && field == "imageServiceEndpoint";
        if !left_out && !path.starts_with('/') {
            push(problems, field, format!("{endpoint:?} is no Unix socket (unix:///path)"));
        }
    }
    let log_dir = &config.pod_logs_dir;
    let plain = std::path::Path::new(log_dir)
        .components()
        .all(|part| !matches!(part, std::path::Component::ParentDir));
    if !log_dir.starts_with('/') || !log_dir.is_ascii() || !plain || log_dir == "/" {
        push(
            problems,
            "podLogsDir",
            format!("{log_dir:?} must be an absolute path of ASCII letters without .."),
        );
    }
}

fn combinations(config: &Config, problems: &mut Problems) {
    if config.tls_cert_file.is_empty() != config.tls_private_key_file.is_empty() {
        let missing = if config.tls_cert_file.is_empty() { "tlsCertFile" } else { "tlsPrivateKeyFile" };
        push(problems, missing, "tlsCertFile and tlsPrivateKeyFile must be set together");
    }
    if config.image_gc_low_threshold_percent >= config.image_gc_high_threshold_percent {
        push(
            problems,
            "imageGCLowThresholdPercent",
            format!(
                "{} must be below imageGCHighThresholdPercent {}",
                config.image_gc_low_threshold_percent, config.image_gc_high_threshold_percent
            ),
        );
    }
    if !config.image_maximum_gc_age.is_zero() && config.image_maximum_gc_age <= config.image_minimum_gc_age {
        push(
            problems,
            "imageMaximumGCAge",
            format!(
                "{} must be above imageMinimumGCAge {}",
                config.image_maximum_gc_age, config.image_minimum_gc_age
            ),
        );
    }
    match config.max_parallel_image_pulls {
        Some(limit) if limit < 1 => {
            push(problems, "maxParallelImagePulls", format!("{limit} must be at least 1"))
        }
        Some(limit) if limit > 1 && config.serialize_image_pulls => {
            push(problems, "maxParallelImagePulls", format!("{limit} needs serializeImagePulls: false"));
        }
        _ => {}
    }
    if config.run_once {
        push(
            problems,
            "runOnce",
            "this mode was removed; static pods always run until their manifest goes away",
        );
    }
    if !config.system_cgroups.is_empty() && config.cgroup_root.is_empty() {
        push(problems, "systemCgroups", "needs cgroupRoot");
    }
    let enforces = |name: &str| config.enforce_node_allocatable.iter().any(|value| value == name);
    if enforces("none") && config.enforce_node_allocatable.len() > 1 {
        push(problems, "enforceNodeAllocatable", "none stands alone");
    }
    for (name, field, cgroup) in [
        ("system-reserved", "systemReservedCgroup", &config.system_reserved_cgroup),
        ("kube-reserved", "kubeReservedCgroup", &config.kube_reserved_cgroup),
    ] {
        let compressible = format!("{name}-compressible");
        if (enforces(name) || enforces(&compressible)) && cgroup.is_empty() {
            push(problems, field, format!("must be set when enforceNodeAllocatable contains {name}"));
        }
        if enforces(name) && enforces(&compressible) {
            push(problems, "enforceNodeAllocatable", format!("{name} and {compressible} exclude each other"));
        }
    }
    let has_cgroup =
        [&config.system_reserved_cgroup, &config.kube_reserved_cgroup].iter().any(|path| !path.is_empty());
    if !config.reserved_system_cpus.is_empty() && has_cgroup {
        push(problems, "reservedSystemCPUs", "excludes systemReservedCgroup and kubeReservedCgroup");
    }
    if enforces("pods") && !config.cgroups_per_qos {
        push(
            problems,
            "enforceNodeAllocatable",
            "pods needs cgroupsPerQOS: true; set enforceNodeAllocatable: []",
        );
    }
    if !config.preloaded_images_verification_allowlist.is_empty()
        && config.image_pull_credentials_verification_policy != "NeverVerifyAllowlistedImages"
    {
        push(
            problems,
            "preloadedImagesVerificationAllowlist",
            "needs imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages",
        );
    }
    for (index, pattern) in config.preloaded_images_verification_allowlist.iter().enumerate() {
        if let Err(error) = crate::images::check_pattern(pattern) {
            push(problems, &format!("preloadedImagesVerificationAllowlist[{index}]"), error.to_string());
        }
    }
    let simple_shutdown =
        !config.shutdown_grace_period.is_zero() || !config.shutdown_grace_period_critical_pods.is_zero();
    if config.shutdown_grace_period < config.shutdown_grace_period_critical_pods {
        push(problems, "shutdownGracePeriodCriticalPods", "must not be longer than shutdownGracePeriod");
    }
    for (field, period) in [
        ("shutdownGracePeriod", config.shutdown_grace_period),
        ("shutdownGracePeriodCriticalPods", config.shutdown_grace_period_critical_pods),
    ] {
        if !period.is_zero() && period < GoDuration::from_secs(1) {
            push(problems, field, format!("{period} must be 0s or at least 1s"));
        }
    }
    if simple_shutdown && !config.shutdown_grace_period_by_pod_priority.is_empty() {
        push(
            problems,
            "shutdownGracePeriodByPodPriority",
            "excludes shutdownGracePeriod and shutdownGracePeriodCriticalPods",
        );
    }
}

fn node(config: &Config, problems: &mut Problems) {
    if !config.register_node && !config.register_with_taints.is_empty() {
        push(problems, "registerWithTaints", "needs registerNode: true");
    }
    for (index, taint) in config.register_with_taints.iter().enumerate() {
        let field = |name: &str| format!("registerWithTaints[{index}].{name}");
        if taint.key.is_empty() || !taint.key.is_ascii() || taint.key.contains(char::is_whitespace) {
            push(problems, &field("key"), format!("{:?} is no taint key", taint.key));
        }
        if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&taint.effect.as_str()) {
            push(
                problems,
                &field("effect"),
                format!("{:?} is none of NoSchedule, PreferNoSchedule, NoExecute", taint.effect),
            );
        }
        let doubled = config.register_with_taints[..index]
            .iter()
            .any(|other| other.key == taint.key && other.effect == taint.effect);
        if doubled {
            push(problems, &field("key"), format!("{}:{} is given twice", taint.key, taint.effect));
        }
    }
}
