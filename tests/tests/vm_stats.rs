//! What a node with unified cgroups says is in use, figure by figure against the kernel's own files and the runtime.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::time::Duration;

use harness::bed;
use harness::cluster::Programs;
use harness::prometheus::queries::{Needs, QUERIES};
use harness::prometheus::{Prometheus, Target, assert_upstreams};
use harness::vm::{Bed, Node, scenario};
use harness::wait::{self, Look};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(90);
const UNIT: &str = include_str!("../../daemon/package/nodelet.service");
const SLICE: &str = include_str!("../../daemon/package/nodelet.slice");
const MANIFEST: &str = "/etc/kubernetes/manifests/busy.yaml";
const CGROUPS: &str = "/sys/fs/cgroup";
const MIB: u64 = 1024 * 1024;

const CONFIGURATION: &str = "
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: /etc/kubernetes/manifests
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: systemd
readOnlyPort: 10255
";

/// It computes, writes to its disk and to its volume, and talks to itself.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: busy, namespace: default }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: "nodelet.dev/busybox:1"
    command:
    - sh
    - -c
    - "dd if=/dev/zero of=/scratch/f bs=1k count=2048 && sync /scratch/f; i=0; while true; do i=$((i+1)); [ $((i % 20000)) = 0 ] && sleep 0.2; done"
    readinessProbe: { exec: { command: ["true"] }, periodSeconds: 5 }
    resources: { limits: { cpu: 300m, memory: 64Mi }, requests: { cpu: 100m, memory: 64Mi } }
    volumeMounts: [{ name: scratch, mountPath: /scratch }, { name: memory, mountPath: /memory }]
  volumes:
  - { name: scratch, emptyDir: {} }
  - { name: memory, emptyDir: { medium: Memory, sizeLimit: 8Mi } }
"#;

async fn install(bed: &Bed) -> &Node {
    let node = bed.node(1);
    let programs = Programs::from_environment().unwrap();
    node.install_programs(&[&programs.nodelet]).await.unwrap();
    for (path, content) in [
        ("/etc/systemd/system/nodelet.service", UNIT),
        ("/etc/systemd/system/nodelet.slice", SLICE),
        ("/etc/nodelet/config.yaml", CONFIGURATION),
        (MANIFEST, POD),
    ] {
        node.write(path, "0644", content.as_bytes()).await.unwrap();
    }
    let start =
        "mkdir -p /etc/nodelet/config.d; systemctl daemon-reload; systemctl enable --now nodelet.service";
    node.sh(start).await.unwrap();
    node
}

async fn page(node: &Node, path: &str) -> String {
    // The node's Python is a small one, without an HTTP client.
    let fetch = "import socket, sys\ns = socket.create_connection(('127.0.0.1', 10255))\n\
                 s.sendall(f'GET {sys.argv[1]} HTTP/1.0\\r\\nHost: node\\r\\n\\r\\n'.encode())\n\
                 sys.stdout.write(s.makefile('rb').read().decode())";
    let said = node.output(&["python3", "-c", fetch, path]).await.unwrap();
    assert!(said.success(), "{path}: {}", said.stderr);
    let (head, body) = said.stdout.split_once("\r\n\r\n").unwrap();
    assert!(head.split(' ').nth(1) == Some("200"), "{path}: {head}");
    body.to_owned()
}

async fn summary(node: &Node) -> Value {
    serde_json::from_str(&page(node, "/stats/summary").await).unwrap()
}

/// Files of a cgroup at one moment.
struct Files(Value);

impl Files {
    async fn read(node: &Node, cgroup: &str) -> Self {
        let read = "import json, os, sys\nd, all = sys.argv[1], {}\n\
                    for f in os.listdir(d):\n    try: all[f] = open(d + '/' + f).read()\n    except OSError: pass\n\
                    json.dump(all, sys.stdout)";
        let said = node.output(&["python3", "-c", read, &format!("{CGROUPS}{cgroup}")]).await.unwrap();
        Self(serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.stderr)))
    }

    fn number(&self, file: &str) -> u64 {
        self.0[file].as_str().unwrap().trim().parse().unwrap()
    }

    fn keyed(&self, file: &str, key: &str) -> u64 {
        let line =
            self.0[file].as_str().unwrap().lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {key} in {file}")).parse().unwrap()
    }

    fn pressure(&self, file: &str, kind: &str) -> u64 {
        let line = self.0[file].as_str().unwrap().lines().find(|line| line.starts_with(kind)).unwrap();
        line.rsplit_once("total=").unwrap().1.parse().unwrap()
    }
}

fn figure(of: &Value, path: &str) -> u64 {
    of.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {of:#}"))
}

/// A counter that was read before and after.
fn between(what: &str, before: u64, shown: u64, after: u64) {
    assert!((before..=after).contains(&shown), "{what}: {before} <= {shown} <= {after}");
}

fn near(what: &str, shown: u64, wanted: u64, tolerance: u64) {
    assert!(shown.abs_diff(wanted) <= tolerance, "{what}: {shown}, and the kernel says {wanted}");
}

/// Every figure of a cgroup that the page has.
fn compare(what: &str, shown: &Value, before: &Files, after: &Files) {
    let nanos = |files: &Files| files.keyed("cpu.stat", "usage_usec") * 1000;
    between(&format!("{what}: cpu"), nanos(before), figure(shown, "/cpu/usageCoreNanoSeconds"), nanos(after));
    for (key, name) in [("pgfault", "pageFaults"), ("pgmajfault", "majorPageFaults")] {
        let kernels = |files: &Files| files.keyed("memory.stat", key);
        between(
            &format!("{what}: {name}"),
            kernels(before),
            figure(shown, &format!("/memory/{name}")),
            kernels(after),
        );
    }
    for resource in ["cpu", "memory", "io"] {
        for kind in ["some", "full"] {
            let kernels = |files: &Files| files.pressure(&format!("{resource}.pressure"), kind);
            let shown = figure(shown, &format!("/{resource}/psi/{kind}/total"));
            between(&format!("{what}: {resource} {kind}"), kernels(before), shown, kernels(after));
        }
    }
    let inactive = after.keyed("memory.stat", "inactive_file");
    let current = after.number("memory.current");
    let tolerance = 8 * MIB;
    near(&format!("{what}: usage"), figure(shown, "/memory/usageBytes"), current, tolerance);
    let working_set = current.saturating_sub(inactive);
    near(&format!("{what}: working set"), figure(shown, "/memory/workingSetBytes"), working_set, tolerance);
    let anon = after.keyed("memory.stat", "anon");
    near(&format!("{what}: rss"), figure(shown, "/memory/rssBytes"), anon, tolerance);
    near(
        &format!("{what}: swap"),
        figure(shown, "/swap/swapUsageBytes"),
        after.number("memory.swap.current"),
        0,
    );
    if let Ok(limit) = after.0["memory.max"].as_str().unwrap().trim().parse::<u64>() {
        let left = limit - figure(shown, "/memory/workingSetBytes");
        near(&format!("{what}: available"), figure(shown, "/memory/availableBytes"), left, 0);
    } else {
        assert_eq!(shown.pointer("/memory/availableBytes"), None, "{what} has no limit");
    }
}

#[tokio::test]
async fn every_figure_is_what_the_kernel_and_the_runtime_say() {
    scenario(bed!("stats"), async |bed| {
        let node = install(bed).await;
        let look = || async {
            let said = node
                .output(&["sh", "-c", "find /sys/fs/cgroup/kubepods.slice -name 'cri-containerd-*'"])
                .await;
            let found = said.unwrap().stdout;
            if found.lines().count() == 2 { Look::There(()) } else { Look::NotYet(found) }
        };
        wait::until("the pod to run", LIMIT, look).await.unwrap();
        let look = || async {
            let page = summary(node).await;
            let pod = page["pods"][0].clone();
            let has_rate = pod["containers"][0]["cpu"]["usageNanoCores"].is_u64();
            let is_counted = pod["ephemeral-storage"]["usedBytes"].as_u64() >= Some(2 * MIB)
                && pod["containers"][0]["rootfs"]["usedBytes"].is_u64();
            if has_rate && is_counted { Look::There(page) } else { Look::NotYet(format!("{page:#}")) }
        };
        let page = wait::until("a page with everything in it", 2 * LIMIT, look).await.unwrap();
        containers(node, &page).await;
        the_node(node).await;
        disks(node, &page).await;
        runtime(node).await;
        pages(node).await;
        for_people(node).await;
    })
    .await;
}

/// `nodelet top` and `nodelet status` show the same, without an API server.
async fn for_people(node: &Node) {
    let table = node.sh("nodelet top --once").await.unwrap();
    let line = table.lines().find(|line| line.trim_start().starts_with("c ")).expect(&table);
    let mut words = line.split_whitespace().skip(1);
    let cpu: u64 = words.next().and_then(|cpu| cpu.strip_suffix('m')).expect(&table).parse().expect(&table);
    // It computes most of the time; its limit is 300m.
    assert!((20..=400).contains(&cpu), "{table}");
    let memory = words.next().expect(&table);
    assert!(memory.ends_with("Mi") || memory.ends_with("Ki"), "{table}");
    assert!(line.contains("% cpu"), "a container that is held back waits for the processor: {table}");
    let page = node.sh("nodelet status").await.unwrap();
    for word in ["Ready", "containerd", "cpu", "memory"] {
        assert!(page.contains(word), "{word}: {page}");
    }
    println!("{table}\n{page}");
}

/// The pod, its container, and the node's own parts.
async fn containers(node: &Node, page: &Value) {
    let uid = page["pods"][0]["podRef"]["uid"].as_str().unwrap().replace('-', "_");
    let slice = format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice");
    let all = node.cri().list_containers(std::collections::HashMap::new()).await.unwrap();
    let container = format!("{slice}/cri-containerd-{}.scope", all[0].id);
    let groups = [
        ("pod", slice.as_str(), "/pods/0"),
        ("container", container.as_str(), "/pods/0/containers/0"),
        ("pods", "/kubepods.slice", "pods"),
        ("kubelet", "/nodelet.slice/nodelet.service", "kubelet"),
        ("runtime", "/system.slice/containerd.service", "runtime"),
    ];
    for (what, cgroup, place) in groups {
        // What was read may be a second old: not of the time before the files were read.
        node.sh("sleep 1.2").await.unwrap();
        let before = Files::read(node, cgroup).await;
        let page = summary(node).await;
        let after = Files::read(node, cgroup).await;
        let system = page["node"]["systemContainers"].as_array().unwrap();
        let shown = match page.pointer(place) {
            Some(shown) => shown,
            None => {
                system.iter().find(|system| system["name"] == place).unwrap_or_else(|| panic!("no {place}"))
            }
        };
        compare(what, shown, &before, &after);
        if what == "container" {
            let cores = figure(shown, "/cpu/usageNanoCores");
            assert!((1..=400_000_000).contains(&cores), "{cores}");
        }
    }
    // crun has them in a cgroup below the container's.
    let all = |cgroup: &str| format!("find {CGROUPS}{cgroup} -name cgroup.procs -exec cat {{}} +");
    let processes = node.sh(&format!("{} | wc -l", all(&slice))).await.unwrap();
    let shown = figure(page, "/pods/0/process_stats/process_count");
    near("processes", shown, processes.trim().parse().unwrap(), 2);
    let pid = node.sh(&format!("{} | head -1", all(&container))).await.unwrap();
    let received = async || {
        let line = node.sh(&format!("grep eth0: /proc/{}/net/dev", pid.trim())).await.unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    node.sh("sleep 1.2").await.unwrap();
    let before = received().await;
    let shown = figure(&summary(node).await, "/pods/0/network/rxBytes");
    between("network", before, shown, received().await);
}

async fn the_node(node: &Node) {
    let script = "sed -n 's/^\\(MemTotal\\|MemFree\\|Inactive(file)\\): *\\([0-9]*\\) kB/\\2/p' /proc/meminfo; \
                  stat -f -c '%b %f %a %S' /var/lib; awk '/^btime/ {print $2}' /proc/stat; cat /proc/sys/kernel/pid_max";
    let said = node.sh(script).await.unwrap();
    let page = summary(node).await;
    let numbers: Vec<u64> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [total, free, inactive, blocks, blocks_free, _, block, booted, pid_max] = numbers[..] else {
        panic!("{said}")
    };
    let node = &page["node"];
    let usage = (total - free) * 1024;
    near("node: usage", figure(node, "/memory/usageBytes"), usage, 32 * MIB);
    near("node: working set", figure(node, "/memory/workingSetBytes"), usage - inactive * 1024, 32 * MIB);
    let left = total * 1024 - figure(node, "/memory/workingSetBytes");
    near("node: available", figure(node, "/memory/availableBytes"), left, 0);
    near("node: capacity", figure(node, "/fs/capacityBytes"), blocks * block, 0);
    near("node: used", figure(node, "/fs/usedBytes"), (blocks - blocks_free) * block, 32 * MIB);
    assert!(figure(node, "/rlimit/maxpid") <= pid_max && figure(node, "/rlimit/curproc") > 10);
    assert!(figure(node, "/network/rxBytes") > 0);
    let since =
        jiff::Timestamp::from_second(booted as i64).unwrap().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    assert_eq!(node["startTime"], since.as_str());
}

/// What directories take is what `du` finds, but it took no `du` to know.
async fn disks(node: &Node, page: &Value) {
    let pod = &page["pods"][0];
    let uid = pod["podRef"]["uid"].as_str().unwrap();
    let volume = |name: &str| {
        let found = pod["volume"].as_array().unwrap().iter().find(|volume| volume["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {pod:#}"))
    };
    let du = async |path: &str| -> u64 {
        let said = node.sh(&format!("du -s --block-size=1 {path}")).await.unwrap();
        said.split_whitespace().next().unwrap().parse().unwrap()
    };
    let place = format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir");
    near("scratch", figure(volume("scratch"), "/usedBytes"), du(&format!("{place}/scratch")).await, 0);
    assert_eq!(figure(volume("scratch"), "/inodesUsed"), 2);
    assert_eq!(figure(volume("memory"), "/capacityBytes"), 8 * MIB);
    let logs =
        du(&format!("/var/log/pods/default_{}_{uid}/c", pod["podRef"]["name"].as_str().unwrap())).await;
    near("logs", figure(pod, "/containers/0/logs/usedBytes"), logs, 64 << 10);
    let sum = figure(volume("scratch"), "/usedBytes")
        + figure(pod, "/containers/0/logs/usedBytes")
        + figure(pod, "/containers/0/rootfs/usedBytes");
    near("ephemeral storage", figure(pod, "/ephemeral-storage/usedBytes"), sum, MIB);
}

/// The same figures as the runtime has.
async fn runtime(node: &Node) {
    let look = || async {
        let container = async || {
            let all = node.cri().list_pod_sandbox_stats().await.unwrap().unwrap();
            all[0].linux.as_ref().unwrap().containers[0].clone()
        };
        let nanos = |stats: &cri_client::v1::ContainerStats| {
            stats.cpu.as_ref().unwrap().usage_core_nano_seconds.as_ref().unwrap().value
        };
        let (before, page, after) = (container().await, summary(node).await, container().await);
        let shown = &page["pods"][0]["containers"][0];
        let cpu = figure(shown, "/cpu/usageCoreNanoSeconds");
        let memory = after.memory.as_ref().unwrap().working_set_bytes.as_ref().unwrap().value;
        let is_near = figure(shown, "/memory/workingSetBytes").abs_diff(memory) < 8 * MIB;
        if (nanos(&before)..=nanos(&after)).contains(&cpu) && is_near {
            Look::There(())
        } else {
            Look::NotYet(format!("{before:?} {shown:#} {after:?}"))
        }
    };
    wait::until("the runtime to agree", LIMIT, look).await.unwrap();
    let images = node.cri().image_fs_info().await.unwrap().image_filesystems;
    let used = images[0].used_bytes.as_ref().unwrap().value;
    near("images", figure(&summary(node).await, "/node/runtime/imageFs/usedBytes"), used, 16 * MIB);
}

/// What rules and dashboards ask is answered from the cgroups' files.
async fn pages(node: &Node) {
    let target = Target { address: format!("{}:10255", node.ip()), certificate: None };
    let dir = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(dir.path(), &target).await.unwrap();
    let answered = |needs: &Needs| matches!(needs, Needs::Pod | Needs::Cgroups);
    for (query, _) in QUERIES.iter().filter(|(_, needs)| answered(needs)) {
        let look = || async {
            match prometheus.query(query).await {
                Ok(samples) if !samples.is_empty() => Look::There(()),
                other => Look::NotYet(format!("{other:?}; scrapes: {:?}", prometheus.query("up").await)),
            }
        };
        wait::until(&format!("an answer to {query}"), LIMIT, look).await.unwrap();
    }
    for path in ["/metrics", "/metrics/cadvisor", "/metrics/resource", "/metrics/probes"] {
        assert_upstreams(&prometheus.check(&page(node, path).await).await.unwrap());
    }
}
