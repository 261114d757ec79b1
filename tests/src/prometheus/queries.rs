//! What the published rules and dashboards for Kubernetes ask of a node (the mixin of kubernetes-monitoring): names and labels are theirs, the
//! queries are written anew.

/// What has to be there for a query to have an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A pod that runs.
    Pod,
    /// Pods' figures from the unified hierarchy of cgroups.
    Cgroups,
    /// An API server.
    Cluster,
    /// A claim that is mounted.
    Claim,
}

/// Each with what it needs.
pub const QUERIES: &[(&str, Needs)] = &[
    // Recording rules of resources.
    (
        r#"sum by (cluster, namespace, pod, container) (irate(container_cpu_usage_seconds_total{job="cadvisor", image!=""}[1m]))"#,
        Needs::Pod,
    ),
    (r#"container_memory_working_set_bytes{job="cadvisor", image!=""}"#, Needs::Pod),
    (r#"container_memory_rss{job="cadvisor", image!=""}"#, Needs::Cgroups),
    (r#"container_memory_cache{job="cadvisor", image!=""}"#, Needs::Cgroups),
    (r#"container_memory_swap{job="cadvisor", image!=""}"#, Needs::Cgroups),
    // Dashboards of resources by namespace, pod and node.
    (
        r#"sum by (pod) (container_memory_working_set_bytes{job="cadvisor", namespace="default", container!="", image!=""})"#,
        Needs::Pod,
    ),
    (r#"sum by (namespace) (container_memory_rss{job="cadvisor", container!=""})"#, Needs::Cgroups),
    (
        r#"sum by (container) (increase(container_cpu_cfs_throttled_periods_total{job="cadvisor", container!=""}[1m])) / sum by (container) (increase(container_cpu_cfs_periods_total{job="cadvisor", container!=""}[1m])) >= 0"#,
        Needs::Cgroups,
    ),
    (r#"sum by (pod) (container_memory_usage_bytes{job="cadvisor", container!=""})"#, Needs::Cgroups),
    (
        r#"sum by (pod) (irate(container_fs_reads_total{job="cadvisor", container!="", device=~"(/dev.+)", namespace!=""}[1m]) + irate(container_fs_writes_total{job="cadvisor", container!="", device=~"(/dev.+)", namespace!=""}[1m]))"#,
        Needs::Cgroups,
    ),
    (
        r#"sum by (pod) (irate(container_fs_reads_bytes_total{job="cadvisor", container!="", device=~"(/dev.+)", namespace!=""}[1m]) + irate(container_fs_writes_bytes_total{job="cadvisor", container!="", device=~"(/dev.+)", namespace!=""}[1m]))"#,
        Needs::Cgroups,
    ),
    // Dashboards of the network.
    (
        r#"sum by (pod) (irate(container_network_receive_bytes_total{job="cadvisor", namespace="default"}[1m]))"#,
        Needs::Cgroups,
    ),
    (
        r#"sum by (pod) (irate(container_network_transmit_bytes_total{job="cadvisor", namespace=~".+"}[1m]))"#,
        Needs::Cgroups,
    ),
    (
        r#"sum by (pod) (irate(container_network_receive_packets_total{job="cadvisor", namespace="default"}[1m]))"#,
        Needs::Cgroups,
    ),
    (
        r#"sum by (pod) (irate(container_network_transmit_packets_total{job="cadvisor", namespace="default"}[1m]))"#,
        Needs::Cgroups,
    ),
    (
        r#"sum by (pod) (irate(container_network_receive_packets_dropped_total{job="cadvisor", namespace="default"}[1m]))"#,
        Needs::Cgroups,
    ),
    (
        r#"sum by (pod) (irate(container_network_transmit_packets_dropped_total{job="cadvisor", namespace="default"}[1m]))"#,
        Needs::Cgroups,
    ),
    // Pressure.
    (
        r#"rate(container_pressure_cpu_waiting_seconds_total{job="cadvisor", container!=""}[1m])"#,
        Needs::Cgroups,
    ),
    (
        r#"rate(container_pressure_memory_stalled_seconds_total{job="cadvisor", container!=""}[1m])"#,
        Needs::Cgroups,
    ),
    (
        r#"rate(container_pressure_io_waiting_seconds_total{job="cadvisor", container!=""}[1m])"#,
        Needs::Cgroups,
    ),
    (r#"container_oom_events_total{job="cadvisor", container!=""}"#, Needs::Cgroups),
    (r#"time() - container_start_time_seconds{job="cadvisor", container!=""}"#, Needs::Pod),
    (r#"machine_cpu_cores{job="cadvisor"}"#, Needs::Pod),
    (r#"machine_memory_bytes{job="cadvisor"}"#, Needs::Pod),
    // The dashboard and the alerts of kubelets.
    (r#"sum(kubelet_node_name{job="kubelet", node!=""})"#, Needs::Pod),
    (
        r#"max by (node) (kubelet_running_pods{job="kubelet"}) * on (node) group_left () kubelet_node_name{job="kubelet"}"#,
        Needs::Pod,
    ),
    (r#"sum(kubelet_running_containers{job="kubelet", container_state="running"})"#, Needs::Pod),
    (r#"sum by (operation_type) (kubelet_runtime_operations_total{job="kubelet"})"#, Needs::Pod),
    (
        r#"histogram_quantile(0.99, sum by (operation_type, le) (kubelet_runtime_operations_duration_seconds_bucket{job="kubelet"})) >= 0"#,
        Needs::Pod,
    ),
    (
        r#"histogram_quantile(0.99, sum by (le) (kubelet_pod_start_duration_seconds_bucket{job="kubelet"})) >= 0"#,
        Needs::Pod,
    ),
    (r#"sum(kubelet_pod_start_duration_seconds_count{job="kubelet"}) > 0"#, Needs::Pod),
    (
        r#"histogram_quantile(0.99, sum by (operation_type, le) (kubelet_pod_worker_duration_seconds_bucket{job="kubelet"})) >= 0"#,
        Needs::Pod,
    ),
    (r#"sum by (operation_type) (kubelet_pod_worker_duration_seconds_count{job="kubelet"})"#, Needs::Pod),
    (
        r#"histogram_quantile(0.99, sum by (node, le) (kubelet_pleg_relist_duration_seconds_bucket{job="kubelet"})) >= 0"#,
        Needs::Pod,
    ),
    (r#"sum(kubelet_pleg_relist_duration_seconds_count{job="kubelet"})"#, Needs::Pod),
    (
        r#"sum by (operation_type) (kubelet_cgroup_manager_duration_seconds_count{job="kubelet"})"#,
        Needs::Cgroups,
    ),
    (
        r#"sum by (operation_name, volume_plugin) (storage_operation_duration_seconds_count{job="kubelet"})"#,
        Needs::Pod,
    ),
    (r#"sum by (state) (volume_manager_total_volumes{job="kubelet"})"#, Needs::Pod),
    (r#"sum by (method, code) (rest_client_requests_total{job="kubelet"})"#, Needs::Cluster),
    (r#"kubelet_certificate_manager_client_ttl_seconds{job="kubelet"}"#, Needs::Cluster),
    (r#"kubelet_certificate_manager_server_ttl_seconds{job="kubelet"}"#, Needs::Pod),
    (r#"kubernetes_build_info{job="kubelet"}"#, Needs::Pod),
    (r#"process_resident_memory_bytes{job="kubelet"}"#, Needs::Pod),
    (r#"rate(process_cpu_seconds_total{job="kubelet"}[1m]) >= 0"#, Needs::Pod),
    (r#"process_start_time_seconds{job="kubelet"} < time()"#, Needs::Pod),
    // Claims.
    (
        r#"kubelet_volume_stats_available_bytes{job="kubelet", namespace=~".*"} / kubelet_volume_stats_capacity_bytes{job="kubelet"}"#,
        Needs::Claim,
    ),
    (
        r#"kubelet_volume_stats_inodes_used{job="kubelet"} / kubelet_volume_stats_inodes{job="kubelet"}"#,
        Needs::Claim,
    ),
    // metrics-server's and autoscalers' page.
    (r#"rate(node_cpu_usage_seconds_total{job="resource"}[1m])"#, Needs::Pod),
    (r#"node_memory_working_set_bytes{job="resource"}"#, Needs::Pod),
    (r#"sum by (namespace, pod) (pod_memory_working_set_bytes{job="resource"})"#, Needs::Pod),
    (r#"rate(pod_cpu_usage_seconds_total{job="resource"}[1m])"#, Needs::Pod),
    (r#"container_start_time_seconds{job="resource"}"#, Needs::Pod),
    (r#"resource_scrape_error{job="resource"} == 0"#, Needs::Pod),
    (r#"sum by (probe_type, result) (prober_probe_total{job="probes"})"#, Needs::Pod),
    // Every page was taken whole.
    (r#"up{job="kubelet"} == 1"#, Needs::Pod),
    (r#"up{job="cadvisor"} == 1"#, Needs::Pod),
    (r#"up{job="resource"} == 1"#, Needs::Pod),
    (r#"up{job="probes"} == 1"#, Needs::Pod),
];
