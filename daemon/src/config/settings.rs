//! The table of all settings: name in the file, type, default, and whether nodelet carries the setting out.
//! behaviour.md 45 has the same order.
//!
//! Each row reads `EFFECT UNSET field "nameInTheFile": Type = default;`
//! * EFFECT: `now` is carried out; `later` is accepted and named in a warning when it differs from the default;
//!   `none` never has an effect here (it belongs to something that nodelet does not have), and is named likewise.
//! * UNSET: `zero` when the zero value means "not set" (upstream's field is no pointer), `keep` when zero is a value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::duration::GoDuration;
use super::groups::{
    Authentication, Authorization, CrashLoopBackOff, Logging, MemoryReservation, MemorySwap, NodeTaint,
    PriorityShutdown, Tracing, UserNamespaces,
};

/// When a value counts as not set, and whether it is left out of `/configz`.
pub(crate) trait Setting: Sized {
    fn is_zero(&self) -> bool;

    /// Upstream's `omitempty`, except for booleans and numbers that are always shown.
    fn is_left_out(&self) -> bool {
        false
    }
}

macro_rules! zero_is {
    ($($type:ty: $zero:expr, $left_out:expr;)*) => {$(
        impl Setting for $type {
            fn is_zero(&self) -> bool { *self == $zero }
            fn is_left_out(&self) -> bool { $left_out && self.is_zero() }
        }
    )*};
}

zero_is! {
    bool: false, false;
    i32: 0, false;
    i64: 0, false;
    f64: 0.0, false;
    String: "", true;
    GoDuration: GoDuration::ZERO, false;
    Authentication: Authentication::default(), false;
    Authorization: Authorization::default(), false;
    Logging: Logging::default(), false;
    MemorySwap: MemorySwap::default(), true;
    CrashLoopBackOff: CrashLoopBackOff::default(), false;
}

impl<T> Setting for Option<T> {
    fn is_zero(&self) -> bool {
        self.is_none()
    }
    fn is_left_out(&self) -> bool {
        self.is_none()
    }
}

impl<T> Setting for Vec<T> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

impl<K, V> Setting for BTreeMap<K, V> {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
    fn is_left_out(&self) -> bool {
        self.is_empty()
    }
}

mod unset {
    use super::Setting;

    pub(super) fn zero<T: Setting>(value: &mut T, default: T) {
        if value.is_zero() {
            *value = default;
        }
    }

    pub(super) fn keep<T>(_: &mut T, _: T) {}
}

/// What a setting that differs from its default does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Now,
    Later,
    None,
}

macro_rules! settings {
    ($($effect:ident $unset:ident $field:ident $name:literal: $type:ty = $default:expr;)*) => {
        /// `KubeletConfiguration` of `kubelet.config.k8s.io/v1beta1`, defaults filled in.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            $(#[serde(rename = $name, skip_serializing_if = "Setting::is_left_out")]
            pub $field: $type,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Config {
            /// Replaces zero values that mean "not set" by the defaults, as kubeadm's files rely on (`syncFrequency: 0s`).
            pub(crate) fn fill_unset(&mut self) {
                $(unset::$unset(&mut self.$field, $default);)*
            }

            /// Names of the settings that differ from their default and change nothing, with the reason's kind.
            pub(crate) fn without_effect(&self) -> Vec<(&'static str, Effect)> {
                let defaults = Self::default();
                let mut names = Vec::new();
                $(if effect::$effect != Effect::Now && self.$field != defaults.$field {
                    names.push(($name, effect::$effect));
                })*
                names
            }
        }
    };
}

#[allow(non_upper_case_globals, reason = "the names are the table's words")]
mod effect {
    use super::Effect;
    pub(super) const now: Effect = Effect::Now;
    pub(super) const later: Effect = Effect::Later;
    pub(super) const none: Effect = Effect::None;
}

fn text(value: &str) -> String {
    value.to_owned()
}

settings! {
    now keep enable_server "enableServer": bool = true;
    now keep static_pod_path "staticPodPath": String = text("");
    now zero pod_logs_dir "podLogsDir": String = text("/var/log/pods");
    none zero sync_frequency "syncFrequency": GoDuration = GoDuration::from_secs(60);
    now zero file_check_frequency "fileCheckFrequency": GoDuration = GoDuration::from_secs(20);
    now zero http_check_frequency "httpCheckFrequency": GoDuration = GoDuration::from_secs(20);
    now keep static_pod_url "staticPodURL": String = text("");
    now keep static_pod_url_header "staticPodURLHeader": BTreeMap<String, Vec<String>> = BTreeMap::new();
    now zero address "address": String = text("0.0.0.0");
    now zero port "port": i32 = 10250;
    now keep read_only_port "readOnlyPort": i32 = 0;
    now keep tls_cert_file "tlsCertFile": String = text("");
    now keep tls_private_key_file "tlsPrivateKeyFile": String = text("");
    later keep tls_cipher_suites "tlsCipherSuites": Vec<String> = Vec::new();
    later keep tls_min_version "tlsMinVersion": String = text("");
    later keep tls_curve_preferences "tlsCurvePreferences": Vec<i32> = Vec::new();
    now keep rotate_certificates "rotateCertificates": bool = false;
    now keep server_tls_bootstrap "serverTLSBootstrap": bool = false;
    now keep authentication "authentication": Authentication = Authentication::default();
    now keep authorization "authorization": Authorization = Authorization::default();
    now keep registry_pull_qps "registryPullQPS": i32 = 5;
    now zero registry_burst "registryBurst": i32 = 10;
    now zero image_pull_credentials_verification_policy "imagePullCredentialsVerificationPolicy": String = text("NeverVerifyPreloadedImages");
    now keep preloaded_images_verification_allowlist "preloadedImagesVerificationAllowlist": Vec<String> = Vec::new();
    now keep event_record_qps "eventRecordQPS": i32 = 50;
    now zero event_burst "eventBurst": i32 = 100;
    now keep enable_debugging_handlers "enableDebuggingHandlers": bool = true;
    none keep enable_contention_profiling "enableContentionProfiling": bool = false;
    now keep healthz_port "healthzPort": i32 = 10248;
    now zero healthz_bind_address "healthzBindAddress": String = text("127.0.0.1");
    now keep oom_score_adj "oomScoreAdj": i32 = -999;
    now keep cluster_domain "clusterDomain": String = text("");
    now keep cluster_dns "clusterDNS": Vec<String> = Vec::new();
    later zero streaming_connection_idle_timeout "streamingConnectionIdleTimeout": GoDuration = GoDuration::from_secs(4 * 3600);
    now zero node_status_update_frequency "nodeStatusUpdateFrequency": GoDuration = GoDuration::from_secs(10);
    now zero node_status_report_frequency "nodeStatusReportFrequency": GoDuration = GoDuration::from_secs(300);
    now zero node_lease_duration_seconds "nodeLeaseDurationSeconds": i32 = 40;
    now zero image_minimum_gc_age "imageMinimumGCAge": GoDuration = GoDuration::from_secs(120);
    now keep image_maximum_gc_age "imageMaximumGCAge": GoDuration = GoDuration::ZERO;
    now keep image_gc_high_threshold_percent "imageGCHighThresholdPercent": i32 = 85;
    now keep image_gc_low_threshold_percent "imageGCLowThresholdPercent": i32 = 80;
    later zero volume_stats_agg_period "volumeStatsAggPeriod": GoDuration = GoDuration::from_secs(60);
    later keep kubelet_cgroups "kubeletCgroups": String = text("");
    later keep system_cgroups "systemCgroups": String = text("");
    now keep cgroup_root "cgroupRoot": String = text("");
    now keep cgroups_per_qos "cgroupsPerQOS": bool = true;
    now zero cgroup_driver "cgroupDriver": String = text("cgroupfs");
    later zero cpu_manager_policy "cpuManagerPolicy": String = text("none");
    now keep single_process_oom_kill "singleProcessOOMKill": Option<bool> = None;
    later keep cpu_manager_policy_options "cpuManagerPolicyOptions": BTreeMap<String, String> = BTreeMap::new();
    later zero cpu_manager_reconcile_period "cpuManagerReconcilePeriod": GoDuration = GoDuration::from_secs(10);
    later zero memory_manager_policy "memoryManagerPolicy": String = text("None");
    later zero topology_manager_policy "topologyManagerPolicy": String = text("none");
    later zero topology_manager_scope "topologyManagerScope": String = text("container");
    later keep topology_manager_policy_options "topologyManagerPolicyOptions": BTreeMap<String, String> = BTreeMap::new();
    now keep qos_reserved "qosReserved": BTreeMap<String, String> = BTreeMap::new();
    now zero runtime_request_timeout "runtimeRequestTimeout": GoDuration = GoDuration::from_secs(120);
    none zero hairpin_mode "hairpinMode": String = text("promiscuous-bridge");
    now zero max_pods "maxPods": i32 = 110;
    now keep pod_cidr "podCIDR": String = text("");
    now keep pod_pids_limit "podPidsLimit": i64 = -1;
    now keep resolv_conf "resolvConf": String = text("/etc/resolv.conf");
    now keep run_once "runOnce": bool = false;
    now keep cpu_cfs_quota "cpuCFSQuota": bool = true;
    now keep cpu_cfs_quota_period "cpuCFSQuotaPeriod": GoDuration = GoDuration::from_millis(100);
    now keep node_status_max_images "nodeStatusMaxImages": i32 = 50;
    later zero max_open_files "maxOpenFiles": i64 = 1_000_000;
    none zero content_type "contentType": String = text("application/vnd.kubernetes.protobuf");
    none keep kube_api_qps "kubeAPIQPS": i32 = 50;
    none zero kube_api_burst "kubeAPIBurst": i32 = 100;
    now keep serialize_image_pulls "serializeImagePulls": bool = false;
    now keep max_parallel_image_pulls "maxParallelImagePulls": Option<i32> = None;
    now keep eviction_hard "evictionHard": BTreeMap<String, String> = default_eviction_hard();
    now keep eviction_soft "evictionSoft": BTreeMap<String, String> = BTreeMap::new();
    now keep eviction_soft_grace_period "evictionSoftGracePeriod": BTreeMap<String, String> = BTreeMap::new();
    now zero eviction_pressure_transition_period "evictionPressureTransitionPeriod": GoDuration = GoDuration::from_secs(300);
    now keep eviction_max_pod_grace_period "evictionMaxPodGracePeriod": i32 = 0;
    now keep eviction_minimum_reclaim "evictionMinimumReclaim": BTreeMap<String, String> = BTreeMap::new();
    now keep merge_default_eviction_settings "mergeDefaultEvictionSettings": bool = false;
    now keep pods_per_core "podsPerCore": i32 = 0;
    now keep enable_controller_attach_detach "enableControllerAttachDetach": bool = true;
    now keep protect_kernel_defaults "protectKernelDefaults": bool = false;
    later keep make_ip_tables_util_chains "makeIPTablesUtilChains": bool = true;
    none keep ip_tables_masquerade_bit "iptablesMasqueradeBit": i32 = 14;
    none keep ip_tables_drop_bit "iptablesDropBit": i32 = 15;
    now keep feature_gates "featureGates": BTreeMap<String, bool> = BTreeMap::new();
    now keep fail_swap_on "failSwapOn": bool = true;
    now keep memory_swap "memorySwap": MemorySwap = MemorySwap::default();
    now zero container_log_max_size "containerLogMaxSize": String = text("10Mi");
    now keep container_log_max_files "containerLogMaxFiles": i32 = 5;
    now keep container_log_max_workers "containerLogMaxWorkers": i32 = 1;
    now zero container_log_monitor_interval "containerLogMonitorInterval": GoDuration = GoDuration::from_secs(10);
    later zero config_map_and_secret_change_detection_strategy "configMapAndSecretChangeDetectionStrategy": String = text("Watch");
    now keep system_reserved "systemReserved": BTreeMap<String, String> = BTreeMap::new();
    now keep kube_reserved "kubeReserved": BTreeMap<String, String> = BTreeMap::new();
    now keep reserved_system_cpus "reservedSystemCPUs": String = text("");
    none keep show_hidden_metrics_for_version "showHiddenMetricsForVersion": String = text("");
    now keep system_reserved_cgroup "systemReservedCgroup": String = text("");
    now keep kube_reserved_cgroup "kubeReservedCgroup": String = text("");
    now keep enforce_node_allocatable "enforceNodeAllocatable": Vec<String> = vec![text("pods")];
    now keep allowed_unsafe_sysctls "allowedUnsafeSysctls": Vec<String> = Vec::new();
    none zero volume_plugin_dir "volumePluginDir": String = text("/usr/libexec/kubernetes/kubelet-plugins/volume/exec/");
    now keep provider_id "providerID": String = text("");
    none keep kernel_memcg_notification "kernelMemcgNotification": bool = false;
    now keep logging "logging": Logging = Logging::default();
    now keep enable_system_log_handler "enableSystemLogHandler": bool = true;
    now keep enable_system_log_query "enableSystemLogQuery": bool = false;
    now keep shutdown_grace_period "shutdownGracePeriod": GoDuration = GoDuration::ZERO;
    now keep shutdown_grace_period_critical_pods "shutdownGracePeriodCriticalPods": GoDuration = GoDuration::ZERO;
    now keep shutdown_grace_period_by_pod_priority "shutdownGracePeriodByPodPriority": Vec<PriorityShutdown> = Vec::new();
    now keep crash_loop_back_off "crashLoopBackOff": CrashLoopBackOff = CrashLoopBackOff::default();
    later keep reserved_memory "reservedMemory": Vec<MemoryReservation> = Vec::new();
    now keep enable_profiling_handler "enableProfilingHandler": bool = true;
    now keep enable_debug_flags_handler "enableDebugFlagsHandler": bool = true;
    now keep seccomp_default "seccompDefault": bool = false;
    now keep memory_throttling_factor "memoryThrottlingFactor": f64 = 0.9;
    now zero memory_reservation_policy "memoryReservationPolicy": String = text("None");
    now keep register_with_taints "registerWithTaints": Vec<NodeTaint> = Vec::new();
    now keep register_node "registerNode": bool = true;
    later keep tracing "tracing": Option<Tracing> = None;
    now keep local_storage_capacity_isolation "localStorageCapacityIsolation": bool = true;
    now zero container_runtime_endpoint "containerRuntimeEndpoint": String = text("unix:///run/containerd/containerd.sock");
    now keep image_service_endpoint "imageServiceEndpoint": String = text("");
    now keep fail_cgroup_v1 "failCgroupV1": bool = true;
    now keep user_namespaces "userNamespaces": Option<UserNamespaces> = None;
}

/// behaviour.md 29.2.
pub(crate) fn default_eviction_hard() -> BTreeMap<String, String> {
    [
        ("memory.available", "100Mi"),
        ("nodefs.available", "10%"),
        ("nodefs.inodesFree", "5%"),
        ("imagefs.available", "15%"),
        ("imagefs.inodesFree", "5%"),
    ]
    .into_iter()
    .map(|(signal, value)| (text(signal), text(value)))
    .collect()
}
