//! What the kernel holds for pods: both drivers, swap, memory reservations, whom the kernel kills, what is kept from pods.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

#[path = "vm_cgroups/agent.rs"]
mod agent;
#[path = "vm_cgroups/resize.rs"]
mod resize;

use std::path::PathBuf;

use agent::{Agent, LIMIT, MIB, NO_QUOTA, Running, SLEEP, alone, container, row, scope, slice, use_runc};
use harness::bed;
use harness::vm::scenario;
use harness::wait::{self, Look};

const TOP: &str = "/kubepods.slice";

/// What `cgroups/tests/real.rs` became; `cargo xtask test` says where, else it lies beside this test.
fn real_test() -> PathBuf {
    if let Some(path) = std::env::var_os("NODELET_CGROUPS_TEST") {
        return path.into();
    }
    let here = std::env::current_exe().unwrap();
    let built = std::fs::read_dir(here.parent().unwrap()).unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?.to_owned();
        let is_it = name.starts_with("real-") && !name.contains('.');
        is_it.then(|| (path.metadata().and_then(|meta| meta.modified()).ok(), path))
    });
    built.max().expect("cargo test -p cgroups --features drivers --test real --no-run").1
}

#[tokio::test]
async fn both_drivers_write_what_the_kernel_and_systemd_then_hold() {
    scenario(bed!("cgroups-real"), async |bed| {
        let node = bed.node(1);
        node.copy_in(&real_test(), "/usr/bin/real", "0755").await.unwrap();
        let said = node.output(&["real", "--test-threads=1", "--nocapture"]).await.unwrap();
        assert!(said.success() && !said.stdout.contains("skipped: "), "{}{}", said.stdout, said.stderr);
    })
    .await;
}

/// Static pods of every class: name, tier, resources of each container.
const TABLE: [(&str, &str, &[&str]); 5] = [
    ("guaranteed", "", &["limits: { cpu: 300m, memory: 64Mi }"]),
    (
        "two",
        "burstable",
        &[
            "requests: { cpu: 100m, memory: 32Mi }, limits: { cpu: 200m, memory: 64Mi }",
            "limits: { cpu: 100m, memory: 32Mi }",
        ],
    ),
    ("mixed", "burstable", &["requests: { cpu: 1m }, limits: { memory: 64Mi }", ""]),
    ("requests", "burstable", &["requests: { cpu: 200m, memory: 128Mi }"]),
    ("besteffort", "besteffort", &[""]),
];

const CONTAINERS: [&str; 2] = ["c0", "c1"];

async fn put_table(agent: &Agent<'_>) {
    for (name, _, containers) in TABLE {
        let all =
            containers.iter().zip(CONTAINERS).map(|(resources, name)| container(name, resources, SLEEP));
        let all: Vec<String> = all.collect();
        let spec = format!("{{ terminationGracePeriodSeconds: 1, containers: [{}] }}", all.join(", "));
        agent.put(name, &spec).await;
    }
}

const RESERVING: &str = "
enforceNodeAllocatable: [pods, kube-reserved]
kubeReserved: { cpu: 100m, memory: 256Mi, pid: '1000' }
kubeReservedCgroup: /nodelet.slice
podPidsLimit: 100
";

#[tokio::test]
async fn with_the_cgroupfs_driver_directories_hold_the_same_table_of_pods() {
    scenario(bed!("cgroups-cgroupfs"), async |bed| {
        use_runc(bed.node(1), false).await;
        let agent = Agent::install(bed).await;
        // The runtime says how it makes its cgroups, and its word counts.
        put_table(&agent).await;
        agent.start(&format!("{RESERVING}cgroupDriver: systemd\n")).await;
        let mut rows = Vec::new();
        let [memory, _] = agent.memory().await;
        rows.extend([
            row("/nodelet.slice", "cpu.weight", "4"),
            row("/nodelet.slice", "memory.max", 256 * MIB),
            row("/nodelet.slice", "pids.max", "1000"),
            row("/kubepods", "cpu.weight", "36"),
            row("/kubepods", "memory.max", memory - 256 * MIB),
            row("/kubepods", "pids.max", agent.pids().await - 1000),
            row("/kubepods", "cpuset.cpus", "0"),
            // 200 + 1 + 200 thousandths of a processor.
            row("/kubepods/burstable", "cpu.weight", "16"),
            row("/kubepods/besteffort", "cpu.weight", "1"),
        ]);
        // Weight, quota and memory limit of the pod, then of each container: name of the pod first.
        let pods: [(&str, &str, &[[&str; 3]]); 5] = [
            ("guaranteed", "12 30000 67108864", &[["12|40", "30000 100000", "67108864"]]),
            (
                "two",
                "8 30000 100663296",
                &[["4|17", "20000 100000", "67108864"], ["4|17", "10000 100000", "33554432"]],
            ),
            ("mixed", "1 max max", &[["1", NO_QUOTA, "67108864"], ["1", NO_QUOTA, "max"]]),
            ("requests", "8 max max", &[["8|29", NO_QUOTA, "max"]]),
            ("besteffort", "1 max max", &[["1", NO_QUOTA, "max"]]),
        ];
        let mut running = Vec::new();
        for ((name, tier, _), (_, pod, containers)) in TABLE.iter().zip(pods) {
            for (which, values) in CONTAINERS.iter().zip(containers) {
                let found = agent.running(name, which).await;
                let tier = if tier.is_empty() { String::new() } else { format!("/{tier}") };
                let path = format!("/kubepods{tier}/pod{}", found.uid);
                let own = format!("{path}/{}", found.id);
                for (file, content) in ["cpu.weight", "cpu.max", "memory.max"].into_iter().zip(values) {
                    rows.push(row(&own, file, content));
                }
                rows.extend([row(&own, "memory.swap.max", "0"), row(&own, "memory.oom.group", "1")]);
                let [weight, quota, memory] = pod.split(' ').collect::<Vec<_>>()[..] else { panic!("{pod}") };
                rows.push(row(&path, "cpu.weight", weight));
                rows.push(row(&path, "cpu.max", format!("{quota} 100000")));
                rows.push(row(&path, "memory.max", memory));
                rows.push(row(&path, "pids.max", "100"));
                running.push((*name, *which, path, found));
            }
        }
        agent.holds("the table", &rows).await;
        let said = agent.journal().await;
        assert!(said.contains("cgroupDriver is not the runtime's, which counts"), "{said}");
        agent.node.sh("systemctl daemon-reload").await.unwrap();
        assert_eq!(agent.differences(&rows).await, [""; 0], "after a reload of systemd");

        // A daemon that was killed finds them again; what nobody knows goes, with its processes.
        let bare = "/sys/fs/cgroup/kubepods/besteffort/pod11111111-2222-3333-4444-555555555555";
        let busy = "/sys/fs/cgroup/kubepods/pod66666666-7777-8888-9999-000000000000";
        let leave = format!(
            "systemctl stop nodelet.service; mkdir -p {bare} {busy}/inner; \
             setsid sleep infinity >/dev/null 2>&1 & echo $! >{busy}/inner/cgroup.procs; systemctl start nodelet.service; \
             systemctl kill --kill-whom=main -s KILL nodelet.service"
        );
        agent.node.sh(&leave).await.unwrap();
        agent.directory(bare, false).await;
        agent.directory(busy, false).await;
        for (name, which, _, found) in &running {
            assert_eq!(agent.running(name, which).await, *found);
        }
        assert_eq!(agent.differences(&rows).await, [""; 0], "after a kill");
        for (name, ..) in TABLE {
            agent.take(name).await;
        }
        for (_, _, path, _) in &running {
            agent.directory(&format!("/sys/fs/cgroup{path}"), false).await;
        }
        agent.holds("the tier to weigh nothing", &[row("/kubepods/burstable", "cpu.weight", "1")]).await;
    })
    .await;
}

#[tokio::test]
async fn swap_is_refused_or_shared_by_memory_requests() {
    scenario(bed!("cgroups-swap"), async |bed| {
        use_runc(bed.node(1), true).await;
        let agent = Agent::install_with_api(bed).await;
        agent.node.set_swap(true).await.unwrap();
        let (said, code) = agent.refused("").await;
        assert!(said.contains("running with swap on is not supported") && said.contains("/dev/ubdb"), "{said}");
        assert_eq!(code, "1");

        let [memory, swap] = agent.memory().await;
        assert!(swap > 500 * MIB, "{swap}");
        let share = |request: u64| (request as f64 / memory as f64 * swap as f64) as u64;
        agent.start("failSwapOn: false\nmemorySwap: { swapBehavior: LimitedSwap }\n").await;
        let node = agent.api_node().await.unwrap();
        let told = node.status.unwrap().node_info.unwrap().swap.and_then(|swap| swap.capacity);
        assert_eq!(told, i64::try_from(swap).ok());
        // A static pod is critical.
        agent.put("critical", &alone("requests: { memory: 64Mi }", SLEEP)).await;
        let with = |name: &str, resources: serde_json::Value| {
            serde_json::json!({ "name": name, "image": harness::images::BUSYBOX,
                "command": ["sh", "-c", SLEEP], "resources": resources })
        };
        let both = serde_json::json!({ "memory": "32Mi" });
        agent
            .create(
                "burstable",
                serde_json::json!({ "containers": [
                    with("asks", serde_json::json!({ "requests": { "memory": "64Mi" }, "limits": { "memory": "128Mi" } })),
                    with("asksless", serde_json::json!({ "requests": { "memory": "32Mi" } })),
                    with("asksall", serde_json::json!({ "requests": both, "limits": both })),
                    with("asksnothing", serde_json::json!({})),
                ] }),
            )
            .await;
        let all = serde_json::json!({ "limits": { "cpu": "100m", "memory": "32Mi" } });
        agent.create("guaranteed", serde_json::json!({ "containers": [with("c", all)] })).await;
        agent.create("besteffort", serde_json::json!({ "containers": [with("c", serde_json::json!({}))] })).await;
        let page = 4096;
        let wanted = [
            ("burstable", "asks", "burstable", share(64 * MIB)),
            ("burstable", "asksless", "burstable", share(32 * MIB)),
            ("burstable", "asksall", "burstable", 0),
            ("burstable", "asksnothing", "burstable", 0),
            ("guaranteed", "c", "", 0),
            ("besteffort", "c", "besteffort", 0),
            ("critical", "c", "burstable", 0),
        ];
        let mut rows = Vec::new();
        for (pod, name, tier, bytes) in wanted {
            let path = scope(tier, &agent.running(pod, name).await);
            // The kernel counts in pages.
            rows.push(row(&path, "memory.swap.max", bytes / page * page));
        }
        agent.holds("the shares of swap", &rows).await;
        resize::is_infeasible(&agent, "burstable", "asks").await;
        assert_eq!(agent.differences(&rows).await, [""; 0]);

        agent.start("failSwapOn: false\n").await;
        let asks = serde_json::json!({ "requests": { "memory": "64Mi" } });
        agent.create("later", serde_json::json!({ "containers": [with("c", asks)] })).await;
        let path = scope("burstable", &agent.running("later", "c").await);
        agent.holds("no swap", &[row(&path, "memory.swap.max", 0)]).await;
    })
    .await;
}

/// Pods for whom memory is kept: name, tier, resources.
const KEPT: [(&str, &str, &str); 4] = [
    ("guaranteed", "", "limits: { cpu: 100m, memory: 64Mi }"),
    ("limited", "burstable", "requests: { memory: 32Mi }, limits: { memory: 128Mi }"),
    ("requests", "burstable", "requests: { memory: 48Mi }"),
    ("besteffort", "besteffort", ""),
];

#[tokio::test]
async fn with_memory_qos_requests_are_kept_and_limits_are_approached_slowly() {
    scenario(bed!("cgroups-memory"), async |bed| {
        use_runc(bed.node(1), true).await;
        let agent = Agent::install(bed).await;
        let reserving = "
enforceNodeAllocatable: [pods, kube-reserved]
kubeReserved: { memory: 256Mi }
kubeReservedCgroup: /nodelet.slice
featureGates: { MemoryQoS: true, QOSReserved: true }
qosReserved: { memory: 50% }
memoryThrottlingFactor: 0.8
";
        for (name, _, resources) in KEPT {
            agent.put(name, &alone(resources, SLEEP)).await;
        }
        agent.start(&format!("{reserving}memoryReservationPolicy: TieredReservation\n")).await;
        let [memory, _] = agent.memory().await;
        let allocatable = memory - 256 * MIB;
        let high = |request: u64, upper: u64| {
            let exact = request as f64 + (upper - request) as f64 * 0.8;
            (exact.floor() as u64 / 4096 * 4096).to_string()
        };
        // Of each pod: memory.min, memory.low, and memory.high of the container.
        let wanted = [
            (64 * MIB, 0, "max".to_owned()),
            (0, 32 * MIB, high(32 * MIB, 128 * MIB)),
            (0, 48 * MIB, high(48 * MIB, allocatable)),
            // Request and limit are the same: nothing.
            (0, 0, "max".to_owned()),
        ];
        let burstable = format!("{TOP}/kubepods-burstable.slice");
        let best_effort = format!("{TOP}/kubepods-besteffort.slice");
        let halved = allocatable - 32 * MIB;
        let mut rows = vec![
            row(TOP, "memory.min", 144 * MIB),
            row(TOP, "memory.low", 0),
            row(&burstable, "memory.min", 0),
            row(&burstable, "memory.low", 80 * MIB),
            row(&best_effort, "memory.low", 0),
            // Half of what better pods ask for is held back from a tier.
            row(&burstable, "memory.max", halved),
            row(&best_effort, "memory.max", halved - 40 * MIB),
            row("/nodelet.slice", "memory.min", 256 * MIB),
            row("/nodelet.slice", "memory.max", 256 * MIB),
        ];
        let mut kept = Vec::new();
        for ((name, tier, _), (min, low, high)) in KEPT.iter().zip(wanted) {
            let found = agent.running(name, "c").await;
            for path in [slice(tier, &found.uid), scope(tier, &found)] {
                rows.extend([row(&path, "memory.min", min), row(&path, "memory.low", low)]);
            }
            rows.push(row(&scope(tier, &found), "memory.high", high));
            kept.push((*name, slice(tier, &found.uid), found));
        }
        agent.holds("what is kept", &rows).await;
        agent.node.sh("systemctl daemon-reload").await.unwrap();
        assert_eq!(agent.differences(&rows).await, [""; 0], "after a reload of systemd");

        // Without the policy nothing is kept any more, also for pods that run on.
        agent.start(reserving).await;
        let mut rows = vec![row(TOP, "memory.min", 0), row(&burstable, "memory.low", 0)];
        for (name, path, found) in &kept {
            rows.extend([row(path, "memory.min", 0), row(path, "memory.low", 0)]);
            assert_eq!(agent.running(name, "c").await, *found);
        }
        agent.holds("nothing to be kept", &rows).await;
    })
    .await;
}

#[tokio::test]
async fn the_kernel_kills_the_right_process_and_a_restart_puts_cgroups_right() {
    scenario(bed!("cgroups-oom"), async |bed| {
        use_runc(bed.node(1), true).await;
        let agent = Agent::install(bed).await;
        agent.start("singleProcessOOMKill: true\noomScoreAdj: -500\npodPidsLimit: 100\n").await;
        let own = "cat /proc/$(systemctl show --value -p MainPID nodelet)/oom_score_adj";
        assert_eq!(agent.node.sh(own).await.unwrap().trim(), "-500");

        // A child is too large: it alone is killed, and its parent goes on.
        let hungry = "sh -c 'x=a; while true; do x=$x$x; done'; exec sleep 1000";
        agent.put("single", &alone("limits: { memory: 32Mi }", hungry)).await;
        let single = agent.running("single", "c").await;
        let path = scope("burstable", &single);
        let look = || async {
            let events = agent.node.sh(&format!("cat /sys/fs/cgroup{path}/memory.events")).await.unwrap();
            if events.contains("oom_kill 1\n") { Look::There(events) } else { Look::NotYet(events) }
        };
        let events = wait::until("a process to be killed", LIMIT, look).await.unwrap();
        assert!(events.contains("oom_group_kill 0\n"), "{events}");
        assert_eq!(agent.running("single", "c").await, single);
        assert_eq!(agent.held(&[row(&path, "memory.oom.group", "")]).await, ["0"]);

        scores(&agent).await;

        // Somebody has lifted the limits while no daemon was there, and the setting has changed.
        agent.put("adopted", &alone("limits: { cpu: 200m, memory: 64Mi }", SLEEP)).await;
        let adopted = agent.running("adopted", "c").await;
        let pod = slice("", &adopted.uid);
        let lift = format!(
            "systemctl stop nodelet.service; cd /sys/fs/cgroup{pod}; \
             echo max >cpu.max; echo max >memory.max; echo max >pids.max; echo 1 >cpu.weight"
        );
        agent.node.sh(&lift).await.unwrap();
        agent.start("podPidsLimit: 50\noomScoreAdj: -500\n").await;
        let rows = [
            row(&pod, "cpu.max", "20000 100000"),
            row(&pod, "memory.max", 64 * MIB),
            row(&pod, "pids.max", 50),
            row(&pod, "cpu.weight", 8),
        ];
        agent.holds("the adopted pod's limits", &rows).await;
        agent.node.sh("systemctl daemon-reload").await.unwrap();
        assert_eq!(agent.differences(&rows).await, [""; 0], "systemd knows them too");
        assert_eq!(agent.running("adopted", "c").await, adopted);

        // From now on a container dies as a whole.
        agent.put("grouped", &alone("limits: { memory: 32Mi }", hungry)).await;
        let look = || async {
            let all = agent.containers("grouped", "c").await;
            let attempts: Vec<u32> = all.iter().map(|c| c.metadata.as_ref().unwrap().attempt).collect();
            if attempts.iter().any(|attempt| *attempt > 0) {
                Look::There(all[0].id.clone())
            } else {
                Look::NotYet(format!("{attempts:?}"))
            }
        };
        let first = wait::until("a second container", LIMIT, look).await.unwrap();
        let status = agent.node.cri().container_status(&first).await.unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    })
    .await;
}

/// Whom the kernel would kill first, of each class.
async fn scores(agent: &Agent<'_>) {
    let [memory, _] = agent.memory().await;
    let by_share = |mib: u64| (1000 - 1000 * mib * MIB / memory).to_string();
    let sidecar = "resources: {}".replace("resources: {}", "");
    let side = container("side", &sidecar, SLEEP);
    let side = side.replacen("{ ", "{ restartPolicy: Always, ", 1);
    let main = container("main", "requests: { memory: 128Mi }", SLEEP);
    let spec =
        format!("{{ terminationGracePeriodSeconds: 1, initContainers: [{side}], containers: [{main}] }}");
    agent.put("shares", &spec).await;
    agent.put("sure", &alone("limits: { cpu: 100m, memory: 32Mi }", SLEEP)).await;
    agent.put("any", &alone("", SLEEP)).await;
    let node_critical = alone("", SLEEP).replacen(
        "{ ",
        "{ priority: 2000001000, priorityClassName: system-node-critical, ",
        1,
    );
    agent.put("vital", &node_critical).await;
    let main = agent.running("shares", "main").await;
    let pause = Running { id: main.sandbox.clone(), ..main.clone() };
    let wanted = [
        (scope("burstable", &main), by_share(128)),
        // Not before the least of the containers that it serves.
        (scope("burstable", &agent.running("shares", "side").await), by_share(128)),
        (scope("", &agent.running("sure", "c").await), "-997".to_owned()),
        (scope("besteffort", &agent.running("any", "c").await), "1000".to_owned()),
        (scope("besteffort", &agent.running("vital", "c").await), "-997".to_owned()),
        (scope("burstable", &pause), "-998".to_owned()),
    ];
    for (path, score) in wanted {
        assert_eq!(agent.oom_score(&path).await, score, "{path}");
    }
}

#[tokio::test]
async fn reservations_are_enforced_as_the_setting_says() {
    scenario(bed!("cgroups-reserved"), async |bed| {
        use_runc(bed.node(1), true).await;
        let agent = Agent::install_with_api(bed).await;
        let ([memory, _], pids) = (agent.memory().await, agent.pids().await);
        let amounts = "
systemReserved: { cpu: 200m, memory: 900Mi, pid: '500' }
kubeReserved: { cpu: 100m, memory: 256Mi }
systemReservedCgroup: /system.slice
kubeReservedCgroup: /nodelet.slice
";
        let enforce = |list: &str| format!("{amounts}enforceNodeAllocatable: [{list}]\n");
        let both = "/system.slice and /nodelet.slice";

        // Nothing is: the pods have all there is.
        agent.start(&enforce("none")).await;
        let whole = [
            row(TOP, "cpu.weight", 39),
            row(TOP, "memory.max", memory / 4096 * 4096),
            row(TOP, "pids.max", pids),
            row("/nodelet.slice", "memory.max", "max"),
        ];
        agent.holds("all there is for the pods", &whole).await;

        // Processor time only, which can be taken away again.
        agent.start(&enforce("pods, system-reserved-compressible, kube-reserved-compressible")).await;
        let left = [
            row(TOP, "cpu.weight", 28),
            row(TOP, "memory.max", memory - 1156 * MIB),
            row(TOP, "pids.max", pids - 500),
            row(TOP, "cpuset.cpus", 0),
        ];
        let compressible = [
            row("/system.slice", "cpu.weight", 8),
            row("/system.slice", "memory.max", "max"),
            row("/nodelet.slice", "cpu.weight", 4),
            row("/nodelet.slice", "memory.max", "max"),
        ];
        agent.holds("what is left for the pods", &left).await;
        agent.holds(&format!("processor time of {both}"), &compressible).await;
        told(&agent, "Normal NodeAllocatableEnforced Updated limits on system reserved cgroup /system.slice")
            .await;
        let node = agent.api_node().await.unwrap();
        let allocatable = node.status.unwrap().allocatable.unwrap();
        assert_eq!(allocatable["cpu"].0, "700m");

        // Wholly; one of the two cgroups is not there, which holds up nobody else.
        let absent =
            enforce("pods, system-reserved, kube-reserved").replace("/nodelet.slice", "/absent.slice");
        agent.start(&absent).await;
        let wholly = [
            row("/system.slice", "cpu.weight", 8),
            row("/system.slice", "memory.max", 900 * MIB),
            row("/system.slice", "pids.max", 500),
        ];
        agent.holds("all of /system.slice", &wholly).await;
        told(
            &agent,
            "Warning FailedNodeAllocatableEnforcement Failed to enforce Kube Reserved Cgroup Limits on",
        )
        .await;
        let (said, code) = (agent.journal().await, agent.unit("ActiveState").await);
        assert!(said.contains("the cgroup /absent.slice does not exist") && code == "active", "{said}");

        // Named processors are what the system has.
        let named = "
systemReserved: { cpu: 200m }
kubeReserved: { cpu: 100m, memory: 256Mi }
reservedSystemCPUs: '0'
";
        agent.start(named).await;
        let rest = [row(TOP, "cpu.weight", 1), row(TOP, "memory.max", memory - 256 * MIB)];
        agent.holds("no processor for the pods", &rest).await;
        let (said, code) = agent.refused(&named.replace("'0'", "'0-1'")).await;
        assert!(said.contains("reservedSystemCPUs: 0-1 names processors") && code == "1", "{code}: {said}");
        let (said, code) = agent.refused(&format!("{amounts}reservedSystemCPUs: '0'\n")).await;
        assert!(
            said.contains("reservedSystemCPUs: excludes systemReservedCgroup") && code == "2",
            "{code}: {said}"
        );
    })
    .await;
}

/// Waits for an event of the node: type, reason and the beginning of its message.
async fn told(agent: &Agent<'_>, wanted: &str) {
    let events: kube::Api<k8s_openapi::api::core::v1::Event> = kube::Api::all(agent.client());
    let look = || async {
        let list = events.list(&kube::api::ListParams::default()).await.unwrap();
        let part = |part: Option<String>| part.unwrap_or_default();
        let line = |e: k8s_openapi::api::core::v1::Event| {
            format!("{} {} {}", part(e.type_), part(e.reason), part(e.message))
        };
        let lines: Vec<String> = list.items.into_iter().map(line).collect();
        if lines.iter().any(|line| line.starts_with(wanted)) {
            Look::There(())
        } else {
            Look::NotYet(lines.join("\n"))
        }
    };
    wait::until(&format!("the event {wanted}"), LIMIT, look).await.unwrap();
}
