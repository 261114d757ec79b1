use serde_json::json;

use super::*;

pub(crate) fn rows(namespace: Option<&str>) -> Rows {
    let running = |name: &str, ready: bool, restarts: i64| json!({ "name": name, "ready": ready, "started": true, "restartCount": restarts, "state": { "running": {} } });
    let pods = json!({ "items": [
        {
            "metadata": { "namespace": "default", "name": "web", "uid": "u1" },
            "spec": {
                "initContainers": [{ "name": "prepare" }],
                "containers": [{ "name": "idle" }, { "name": "busy", "readinessProbe": {}, "livenessProbe": {} }],
            },
            "status": {
                "phase": "Running",
                "initContainerStatuses": [{ "name": "prepare", "state": { "terminated": { "exitCode": 0 } } }],
                "containerStatuses": [running("idle", true, 0), running("busy", false, 2)],
            },
        },
        {
            "metadata": { "namespace": "kube-system", "name": "dns", "uid": "u2" },
            "spec": { "containers": [{ "name": "dns", "startupProbe": {} }] },
            "status": { "phase": "Running", "containerStatuses": [{
                "name": "dns", "ready": false, "restartCount": 7, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            }] },
        },
    ] });
    let psi = |share: f64| json!({ "some": { "avg10": share }, "full": {} });
    let summary = json!({ "pods": [{
        "podRef": { "uid": "u1" },
        "cpu": { "usageNanoCores": 260_000_000 },
        "memory": { "workingSetBytes": 50 << 20 },
        "containers": [
            { "name": "idle", "cpu": { "usageNanoCores": 1 }, "memory": { "workingSetBytes": 40 << 20, "psi": psi(0.0) } },
            { "name": "busy", "cpu": { "usageNanoCores": 250_000_000, "psi": psi(3.5) }, "memory": { "workingSetBytes": 10 << 20, "psi": psi(12.25) } },
        ],
    }] });
    let series = "\
# TYPE prober_probe_total counter
prober_probe_total{container=\"busy\",namespace=\"default\",pod=\"web\",pod_uid=\"u1\",probe_type=\"Readiness\",result=\"successful\"} 1
prober_probe_total{container=\"busy\",namespace=\"default\",pod=\"web\",pod_uid=\"u1\",probe_type=\"Readiness\",result=\"failed\"} 4
";
    Rows::of(&pods, &serde_json::from_value(summary).unwrap(), &probed(series), namespace)
}

fn names(rows: &Rows, order: Order, filter: &str) -> Vec<String> {
    rows.arranged(order, filter).into_iter().map(|row| row.name.clone()).collect()
}

#[test]
fn pods_are_sorted_and_filtered_and_their_containers_stand_below_them() {
    let all = rows(None);
    assert_eq!((all.pods(), all.containers()), (2, 3));
    assert_eq!(names(&all, Order::Cpu, ""), ["default/web", "busy", "idle", "kube-system/dns", "dns"]);
    assert_eq!(names(&all, Order::Memory, ""), ["default/web", "idle", "busy", "kube-system/dns", "dns"]);
    assert_eq!(names(&all, Order::Restarts, ""), ["kube-system/dns", "dns", "default/web", "busy", "idle"]);
    assert_eq!(names(&all, Order::Name, "bus"), ["default/web", "idle", "busy"]);
    assert_eq!(names(&all, Order::Name, "nothing"), [""; 0]);
    assert_eq!(names(&rows(Some("kube-system")), Order::Name, ""), ["kube-system/dns", "dns"]);
    assert!(!all.lacks_rates());
}

#[test]
fn a_row_tells_the_worst_pressure_and_what_probes_have_shown() {
    let all = rows(None);
    let shown = all.arranged(Order::Name, "");
    let busy = shown.iter().find(|row| row.name == "busy").unwrap();
    assert_eq!(busy.pressure, Some(("memory", 12.25)));
    assert_eq!((busy.probes.as_str(), busy.restarts), ("unready(4 failed) live", 2));
    let dns = shown.iter().find(|row| row.name == "dns").unwrap();
    assert_eq!((dns.cpu, dns.pressure), (None, None), "what is not known is not zero");
    assert_eq!((dns.status.as_str(), dns.probes.as_str()), ("CrashLoopBackOff", "starting"));
    let web = shown.iter().find(|row| row.name == "default/web").unwrap();
    assert_eq!(web.status, "Running 1/2");
}
