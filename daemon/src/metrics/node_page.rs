//! The part of `/metrics` that is looked up when it is asked for: who the node is, what it has now, and the process itself
//! (behaviour.md 44.7, 44.8, 44.10).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Volume;
use procfs::{CurrentSI as _, WithCurrentSystemInfo as _};

use crate::kubeconfig::go_architecture;
use crate::pods::RunningPod;
use crate::sources::CONFIG_SOURCE;
use crate::usage::series::{Kind, Number, Text, labels};

/// The Kubernetes version that is spoken.
const VERSION: (&str, &str, &str) = ("1", "36", "v1.36.2");
const STATES: [&str; 2] = ["actual_state_of_world", "desired_state_of_world"];

/// The series.
pub(crate) fn text(node_name: &str, pods: &[RunningPod]) -> String {
    let mut text = Text::default();
    let mut gauge = |name: &str, help: &str, samples: &[(String, u64)]| {
        text.family(name, Kind::Gauge, help);
        for (labels, value) in samples {
            text.sample(name, labels, "", Number::Whole(*value), None);
        }
    };
    let one = |value: usize| [(String::new(), value as u64)];
    gauge("kubelet_node_name", "The node's name; always 1.", &[(labels(&[("node", node_name)]), 1)]);
    let (major, minor, version) = VERSION;
    let platform = format!("linux/{}", go_architecture());
    let build = labels(&[
        ("git_version", version),
        ("major", major),
        ("minor", minor),
        ("nodelet_version", env!("CARGO_PKG_VERSION")),
        ("platform", &platform),
    ]);
    gauge("kubernetes_build_info", "What was built; always 1.", &[(build, 1)]);
    let cgroups = if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { 2 } else { 1 };
    gauge("kubelet_cgroup_version", "The version of cgroups on this machine.", &one(cgroups));

    let sandboxes = pods.iter().filter(|pod| pod.sandbox.is_some()).count();
    gauge("kubelet_running_pods", "Pods that have a running sandbox.", &one(sandboxes));
    let running = pods.iter().map(|pod| pod.running.len()).sum::<usize>() as u64;
    let by_state = [(labels(&[("container_state", "running")]), running)];
    gauge("kubelet_running_containers", "Containers by their state.", &by_state);
    let by_source = |of: &dyn Fn(&RunningPod) -> bool| {
        let count =
            |wanted: bool| pods.iter().filter(|pod| of(pod) && is_static(pod) == wanted).count() as u64;
        [(labels(&[("static", "")]), count(false)), (labels(&[("static", "true")]), count(true))]
    };
    gauge("kubelet_desired_pods", "Pods that are to be here.", &by_source(&|pod| !is_leaving(pod)));
    gauge("kubelet_active_pods", "Pods that have not ended.", &by_source(&|pod| !has_ended(pod)));

    let mut volumes: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !has_ended(pod)) {
        for plugin in pod.pod.spec.iter().filter_map(|spec| spec.volumes.as_ref()).flatten().map(plugin) {
            for state in STATES {
                // Volumes are made before the sandbox.
                let there = pod.sandbox.is_some() || state == "desired_state_of_world";
                *volumes.entry((plugin, state)).or_default() += u64::from(there);
            }
        }
    }
    let volumes: Vec<_> = volumes
        .into_iter()
        .map(|((plugin, state), count)| (labels(&[("plugin_name", plugin), ("state", state)]), count))
        .collect();
    if !volumes.is_empty() {
        gauge("volume_manager_total_volumes", "Volumes of pods, wanted and there.", &volumes);
    }
    process(&mut text);
    text.take()
}

fn is_static(pod: &RunningPod) -> bool {
    let annotations = pod.pod.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(CONFIG_SOURCE)).is_some_and(|source| source != "api")
}

fn is_leaving(pod: &RunningPod) -> bool {
    pod.pod.metadata.deletion_timestamp.is_some()
}

fn has_ended(pod: &RunningPod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// A kubelet's name of the kind of a volume.
pub(crate) fn plugin(volume: &Volume) -> &'static str {
    match volume {
        v if v.empty_dir.is_some() => "kubernetes.io/empty-dir",
        v if v.config_map.is_some() => "kubernetes.io/configmap",
        v if v.secret.is_some() => "kubernetes.io/secret",
        v if v.projected.is_some() => "kubernetes.io/projected",
        v if v.downward_api.is_some() => "kubernetes.io/downward-api",
        v if v.host_path.is_some() => "kubernetes.io/host-path",
        v if v.csi.is_some() => "kubernetes.io/csi",
        v if v.image.is_some() => "kubernetes.io/image",
        v if v.persistent_volume_claim.is_some() || v.ephemeral.is_some() => "kubernetes.io/local-volume",
        _ => "other",
    }
}

/// What every exporter says of its own process. What cannot be read is left out.
fn process(text: &mut Text) {
    let Ok(process) = procfs::process::Process::myself() else { return };
    let mut sample = |name: &str, kind: Kind, help: &str, value: Option<Number>| {
        if let Some(value) = value {
            text.family(name, kind, help);
            text.sample(name, "", "", value, None);
        }
    };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second().max(1);
        let nanos = |ticks_used: u64| ticks_used.saturating_mul(1_000_000_000 / ticks);
        sample(
            "process_cpu_seconds_total",
            Kind::Counter,
            "Processor time that the process has used, in seconds.",
            Some(Number::Nanos(nanos(stat.utime + stat.stime))),
        );
        sample(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Memory of the process, in bytes.",
            Some(Number::Whole(stat.rss_bytes().get())),
        );
        sample(
            "process_virtual_memory_bytes",
            Kind::Gauge,
            "Address space of the process, in bytes.",
            Some(Number::Whole(stat.vsize)),
        );
        let booted = procfs::KernelStats::current().map(|kernel| kernel.btime).ok();
        sample(
            "process_start_time_seconds",
            Kind::Gauge,
            "When the process has started, in seconds since 1970.",
            booted.map(|booted| Number::Nanos(booted * 1_000_000_000 + nanos(stat.starttime))),
        );
    }
    let open = process.fd_count().ok().map(|count| Number::Whole(count as u64));
    sample("process_open_fds", Kind::Gauge, "Files that the process has open.", open);
    let most = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).ok();
    sample(
        "process_max_fds",
        Kind::Gauge,
        "Files that the process may have open.",
        most.map(|(soft, _)| Number::Whole(soft)),
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::pods::Running;

    fn pod(uid: &str, source: &str, phase: &str, running: usize) -> RunningPod {
        let container = |id: usize| Running { id: id.to_string(), container: "c".into(), restart_count: 0 };
        let value = json!({
            "metadata": {"name": uid, "uid": uid, "annotations": {CONFIG_SOURCE: source}},
            "spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "secret": {}}]},
        });
        RunningPod {
            pod: Arc::new(serde_json::from_value(value).unwrap()),
            status: Some(Arc::new(serde_json::from_value(json!({"phase": phase})).unwrap())),
            running: (0..running).map(container).collect(),
            sandbox: (running > 0).then(|| "s".to_owned()),
        }
    }

    #[test]
    fn rows_44_7_and_44_8_what_the_node_has_now_is_told() {
        let pods =
            [pod("a", "api", "Running", 2), pod("b", "file", "Pending", 0), pod("c", "api", "Failed", 0)];
        let text = text("n1", &pods);
        for line in [
            "kubelet_node_name{node=\"n1\"} 1",
            "kubelet_running_pods 1",
            "kubelet_running_containers{container_state=\"running\"} 2",
            "kubelet_desired_pods{static=\"\"} 2",
            "kubelet_desired_pods{static=\"true\"} 1",
            "kubelet_active_pods{static=\"\"} 1",
            "volume_manager_total_volumes{plugin_name=\"kubernetes.io/empty-dir\",state=\"actual_state_of_world\"} 1",
            "volume_manager_total_volumes{plugin_name=\"kubernetes.io/secret\",state=\"desired_state_of_world\"} 2",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        let build = text.lines().find(|line| line.starts_with("kubernetes_build_info{")).unwrap();
        assert!(build.contains(&format!("platform=\"linux/{}\"", go_architecture())), "{build}");
        assert!(!build.contains("x86_64"), "{build}");
        let of_process = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse::<f64>().unwrap()
        };
        assert!(of_process("process_resident_memory_bytes") > 100_000.0);
        assert!(of_process("process_start_time_seconds") > 1_500_000_000.0);
        assert!(of_process("process_open_fds") > 0.0);
    }
}
