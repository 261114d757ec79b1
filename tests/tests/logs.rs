//! kubectl logs, with a real containerd writing them.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::Pod;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(60);

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: count }
spec:
  restartPolicy: Never
  containers:
  - { name: c, image: "nodelet.dev/busybox:1", command: [sh, -c, "for i in 1 2 3 4 5; do echo line $i; done; echo to-stderr >&2"] }
---
apiVersion: v1
kind: Pod
metadata: { name: tick }
spec:
  containers:
  - { name: c, image: "nodelet.dev/busybox:1", command: [sh, -c, "i=0; while true; do i=$((i+1)); echo tick $i; sleep 0.2; done"] }
---
apiVersion: v1
kind: Pod
metadata: { name: again }
spec:
  containers:
  - { name: c, image: "nodelet.dev/busybox:1", command: [sh, -c, "echo run of $(cat /proc/sys/kernel/random/uuid); exit 1"] }
---
apiVersion: v1
kind: Pod
metadata: { name: absent }
spec:
  containers:
  - { name: c, image: "nodelet.invalid/absent:1" }
"#;

fn restarts(pod: &Pod) -> i32 {
    pod.status.as_ref().and_then(|s| s.container_statuses.as_ref()).map_or(0, |c| c[0].restart_count)
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reads_follows_and_cuts_logs() {
    scenario(ClusterOptions::for_test("logs").unwrap(), async |cluster| {
        cluster.apply(PODS).await.unwrap();
        let logs =
            async |arguments: &[&str]| cluster.kubectl_ok(&[&["logs"], arguments].concat()).await.unwrap();
        let succeeded = |p: &Pod| p.status.as_ref().unwrap().phase.as_deref() == Some("Succeeded");
        cluster.wait_for_pod("count", "Succeeded", LIMIT, succeeded).await.unwrap();
        let all = logs(&["count"]).await;
        let mut lines: Vec<&str> = all.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["line 1", "line 2", "line 3", "line 4", "line 5", "to-stderr"]);
        assert_eq!(logs(&["count", "--tail=2"]).await.lines().count(), 2);
        assert_eq!(logs(&["count", "--tail=0"]).await, "");
        assert_eq!(logs(&["count", "--limit-bytes=9"]).await, all[..9]);
        assert_eq!(logs(&["count", "--since=1h"]).await, all);
        assert_eq!(logs(&["count", "--since-time=2100-01-01T00:00:00Z"]).await, "");
        assert_eq!(logs(&["count", "-f"]).await, all, "following the log of an ended container ends");
        let stamped = logs(&["count", "--timestamps", "--tail=1"]).await;
        let (stamp, _) = stamped.split_once(' ').unwrap();
        assert!(stamp.len() == "2026-11-23T10:00:00.123456789Z".len() && stamp.ends_with('Z'), "{stamped}");

        // A log is followed while it grows.
        let mut follow = cluster.kubectl_command();
        cluster.wait_ready("tick", LIMIT).await.unwrap();
        let mut follow = follow
            .args(["logs", "-f", "tick", "--tail=1"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(follow.stdout.take().unwrap()).lines();
        let mut seen = Vec::new();
        while seen.len() < 5 {
            let line = tokio::time::timeout(LIMIT, output.next_line()).await.unwrap().unwrap().unwrap();
            seen.push(line.strip_prefix("tick ").unwrap().parse::<u32>().unwrap());
        }
        assert!(seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "a line is missing: {seen:?}");
        follow.kill().await.unwrap();

        // The run before has a log of its own. In back-off the last run is the one that `logs` shows, and there may be one before it.
        cluster.wait_for_pod("again", "restarted", LIMIT, |p| restarts(p) >= 1).await.unwrap();
        let look = || async {
            let (last, before) = (logs(&["again"]).await, logs(&["again", "--previous"]).await);
            let both = last.starts_with("run of ") && before.starts_with("run of ");
            if both { Look::There(()) } else { Look::NotYet(format!("{last}{before}")) }
        };
        wait::until("the logs of two runs", LIMIT, look).await.unwrap();

        let none = cluster.kubectl(&["logs", "count", "--previous"]).await.unwrap();
        assert!(
            none.stderr.contains("previous terminated container \"c\" in pod \"count\" not found"),
            "{}",
            none.stderr
        );
        let waiting = |p: &Pod| {
            let statuses = p.status.as_ref().and_then(|s| s.container_statuses.as_ref());
            statuses.is_some_and(|c| {
                c[0].state.as_ref().is_some_and(|s| {
                    s.waiting.as_ref().is_some_and(|w| w.reason.as_deref() == Some("ImagePullBackOff"))
                })
            })
        };
        cluster.wait_for_pod("absent", "in back-off", LIMIT, waiting).await.unwrap();
        let none = cluster.kubectl(&["logs", "absent"]).await.unwrap();
        assert!(
            none.stderr.contains("is waiting to start: trying and failing to pull image"),
            "{}",
            none.stderr
        );
    })
    .await;
}

/// A hundred times the limit of a log, in numbered lines; each kind of them as long as a usual one.
const FLOOD_LINES: u32 = 20_000;
const LOG_BYTES: u64 = 100 << 10;
const FLOOD: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: flood }
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: "nodelet.dev/busybox:1"
    command:
    - sh
    - -c
    - |
      i=0
      while [ $i -lt 20000 ]; do
        i=$((i+1)); echo "line $i of a log that is rotated while it is read"
        [ $((i % 500)) -ne 0 ] || sleep 0.1
      done
---
apiVersion: v1
kind: Pod
metadata: { name: twice }
spec:
  restartPolicy: OnFailure
  containers:
  - name: c
    image: "nodelet.dev/busybox:1"
    command: [sh, -c, "i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo line $i of a run of many lines; done; exit 1"]
"#;

/// The number of each line, which is its second word.
fn numbers(text: &str) -> Vec<u32> {
    text.lines()
        .map(|line| line.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{line:?}")))
        .collect()
}

/// Where the log of the only container of the pod is, and its file name.
async fn log_of(cluster: &Cluster, pod: &str) -> (PathBuf, String) {
    let status = container(cluster, pod).await;
    let path = PathBuf::from(status.log_path);
    (path.parent().unwrap().to_owned(), path.file_name().unwrap().to_str().unwrap().to_owned())
}

async fn container(cluster: &Cluster, pod: &str) -> cri_client::v1::ContainerStatus {
    let cri = cluster.node(0).cri();
    let labels = [("io.kubernetes.pod.name".to_owned(), pod.to_owned())];
    let containers = cri.list_containers(labels.into()).await.unwrap();
    let newest = containers.iter().max_by_key(|c| c.created_at).unwrap();
    cri.container_status(&newest.id).await.unwrap()
}

/// The names of a log and its rotated files, in the order of their lines.
fn files(dir: &Path, log: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(&format!("{log}.")) && !name.ends_with(".tmp"))
        .collect();
    names.sort_unstable();
    names.push(log.to_owned());
    names
}

/// The numbers of all lines that are kept. Only for a log that nobody rotates meanwhile.
fn kept(dir: &Path, log: &str) -> Vec<u32> {
    let mut text = String::new();
    let names = files(dir, log);
    for name in &names {
        let file = File::open(dir.join(name)).unwrap();
        match name.strip_suffix(".gz") {
            Some(_) => MultiGzDecoder::new(file).read_to_string(&mut text).unwrap(),
            // It was compressed, and the daemon killed before it could remove the plain one.
            None if names.contains(&format!("{name}.gz")) => continue,
            None => {
                let mut file = file;
                file.read_to_string(&mut text).unwrap()
            }
        };
    }
    text.lines().map(|line| line.split(' ').nth(4).unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_before_during_and_after_rotations_and_when_the_container_is_gone() {
    let options = ClusterOptions::for_test("logs-rotated").unwrap();
    // Nothing is removed for its age.
    let options =
        options.kubelet("containerLogMaxSize", json!("100Ki")).kubelet("containerLogMaxFiles", json!(500));
    scenario(options, async |cluster| {
        let logs =
            async |arguments: &[&str]| cluster.kubectl_ok(&[&["logs"], arguments].concat()).await.unwrap();
        cluster.apply(FLOOD).await.unwrap();
        let begun = |p: &Pod| {
            p.status.as_ref().unwrap().container_statuses.as_ref().is_some_and(|c| {
                c[0].state.as_ref().is_some_and(|s| s.running.is_some() || s.terminated.is_some())
            })
        };
        cluster.wait_for_pod("flood", "begun", LIMIT, begun).await.unwrap();
        let follow = async {
            let mut follow = cluster.kubectl_command();
            let output = follow.args(["logs", "-f", "flood", "--since=1h"]).kill_on_drop(true).output();
            let output = tokio::time::timeout(LIMIT * 2, output).await.unwrap().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let during = async {
            let mut seen = 0;
            while seen < FLOOD_LINES {
                let last = numbers(&logs(&["flood", "--tail=3000"]).await);
                assert!(last.windows(2).all(|pair| pair[1] == pair[0] + 1), "{last:?}");
                assert!(last.len() == 3000 || last.first() == Some(&1) || last.is_empty(), "{}", last.len());
                seen = seen.max(last.last().copied().unwrap_or_default());
            }
        };
        let (followed, ()) = tokio::join!(follow, during);
        assert!(
            numbers(&followed) == (1..=FLOOD_LINES).collect::<Vec<_>>(),
            "{} lines",
            followed.lines().count()
        );

        let (dir, log) = log_of(cluster, "flood").await;
        let compressed = || async {
            let files = files(&dir, &log);
            let plain = files.iter().filter(|name| !name.ends_with(".gz")).count();
            if plain <= 2 { Look::There(files.len()) } else { Look::NotYet(format!("{files:?}")) }
        };
        let count =
            wait::until("all but the newest two files to be compressed", LIMIT, compressed).await.unwrap();
        assert!(count >= 5, "{count} files");
        assert!(kept(&dir, &log) == (1..=FLOOD_LINES).collect::<Vec<_>>());
        assert!(logs(&["flood", "--since=1h"]).await == followed);
        assert!(logs(&["flood", "-f", "--since=1h"]).await == followed, "following an ended container ends");
        let last = numbers(&logs(&["flood", "--tail=10000"]).await);
        assert!(last == (FLOOD_LINES - 9999..=FLOOD_LINES).collect::<Vec<_>>(), "{:?}", last.first());
        assert_eq!(logs(&["flood", "--since=1h", "--limit-bytes=30"]).await, followed[..30]);
        // From the middle on; times of requests have no fraction.
        let stamped = logs(&["flood", "--since=1h", "--timestamps"]).await;
        let stamps: Vec<&str> = stamped.lines().map(|line| line.split(' ').next().unwrap()).collect();
        let second = format!("{}Z", &stamps[stamps.len() / 2][..19]);
        let expected = stamps.iter().filter(|stamp| **stamp >= second.trim_end_matches('Z')).count();
        let since = logs(&["flood", &format!("--since-time={second}")]).await;
        assert_eq!(since.lines().count(), expected);

        // The run before has rotated files, too.
        cluster.wait_for_pod("twice", "restarted", LIMIT, |p| restarts(p) >= 1).await.unwrap();
        let previous = || async {
            let output = cluster.kubectl(&["logs", "twice", "--previous", "--tail=3000"]).await.unwrap();
            let count = output.stdout.lines().count();
            if count == 3000 {
                Look::There(output.stdout)
            } else {
                Look::NotYet(format!("{count}: {}", output.stderr))
            }
        };
        let previous = wait::until("the log of the run before", LIMIT, previous).await.unwrap();
        assert!(numbers(&previous) == (1001..=4000).collect::<Vec<_>>());

        // Somebody removes the container behind the daemon's back; its log is still there.
        let id = container(cluster, "flood").await.id;
        cluster.node(0).cri().remove_container(&id).await.unwrap();
        assert_eq!(numbers(&logs(&["flood", "--tail=2"]).await), [FLOOD_LINES - 1, FLOOD_LINES]);
        assert!(logs(&["flood", "-f", "--since=1h"]).await == followed);
    })
    .await;
}

const ENDLESS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: endless }
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: "nodelet.dev/busybox:1"
    command: [sh, -c, "i=0; while true; do i=$((i+1)); echo line $i of a log without an end; [ $((i % 200)) -ne 0 ] || sleep 0.05; done"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_an_end_keeps_its_size_and_its_lines_while_the_daemon_is_killed() {
    let options = ClusterOptions::for_test("logs-endless").unwrap();
    let options =
        options.kubelet("containerLogMaxSize", json!("100Ki")).kubelet("containerLogMaxFiles", json!(4));
    scenario(options, async |cluster| {
        cluster.apply(ENDLESS).await.unwrap();
        cluster.wait_ready("endless", LIMIT).await.unwrap();
        let (dir, log) = log_of(cluster, "endless").await;
        // The newest rotated file changes so many times.
        let rotations = async |count: usize| {
            let mut seen: Vec<String> = Vec::new();
            let newest = || {
                let files = files(&dir, &log);
                assert!(files.len() <= 6, "{files:?}");
                files.len().checked_sub(2).map(|at| files[at].trim_end_matches(".gz").to_owned())
            };
            let end = tokio::time::Instant::now() + LIMIT;
            while seen.len() <= count {
                assert!(tokio::time::Instant::now() < end, "{seen:?}");
                seen.extend(newest().filter(|newest| seen.last() != Some(newest)));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        rotations(5).await;
        for _ in 0..3 {
            cluster.node(0).kill().await.unwrap();
            rotations(2).await;
        }
        let last = cluster.kubectl_ok(&["logs", "endless", "--tail=2000"]).await.unwrap();
        let last = numbers(&last);
        assert!(last.len() == 2000 && last.windows(2).all(|pair| pair[1] == pair[0] + 1), "{last:?}");
        // Without a daemon nobody rotates, and without the container nobody writes.
        cluster.node(0).stop().await.unwrap();
        cluster
            .node(0)
            .cri()
            .stop_container(&container(cluster, "endless").await.id, Duration::ZERO)
            .await
            .unwrap();
        let kept = kept(&dir, &log);
        assert!(
            kept.len() > 2000 && kept.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{} lines",
            kept.len()
        );
        let sizes: Vec<u64> = files(&dir, &log)
            .iter()
            .filter(|name| name.contains(".log.") && !name.ends_with(".gz"))
            .map(|name| std::fs::metadata(dir.join(name)).unwrap().len())
            .collect();
        assert!(sizes.iter().all(|size| *size >= LOG_BYTES / 2), "{sizes:?}");
        cluster.node(0).start().await.unwrap();
    })
    .await;
}

/// A token that is somebody's, who may read metrics of nodes and nothing else.
const READER: &str = r#"
apiVersion: v1
kind: Secret
metadata: { name: bootstrap-token-reader, namespace: kube-system }
type: bootstrap.kubernetes.io/token
stringData:
  token-id: reader
  token-secret: 0123456789abcdef
  usage-bootstrap-authentication: "true"
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: metrics-of-nodes }
rules: [{ apiGroups: [""], resources: [nodes/metrics], verbs: [get] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: metrics-of-nodes }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: metrics-of-nodes }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:bootstrap:reader" }]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_asks_the_api_server_who_may_ask_it_what() {
    scenario(ClusterOptions::for_test("logs-callers").unwrap(), async |cluster| {
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.cluster_url = format!("https://{}:10250", cluster.node(0).ip()).parse().unwrap();
        config.accept_invalid_certs = true;
        let ask = async |config: &Config, path: &str| {
            let request = http::Request::get(path).body(Vec::new()).unwrap();
            match Client::try_from(config.clone()).unwrap().request_text(request).await {
                Ok(_) => 200,
                Err(kube::Error::Api(status)) => status.code,
                other => panic!("{other:?}"),
            }
        };
        // Whoever watches over the daemon on its own machine needs no certificate for that.
        let mut healthz = TcpStream::connect(("127.0.0.1", cluster.node(0).healthz_port())).await.unwrap();
        healthz.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut said = String::new();
        healthz.read_to_string(&mut said).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 200") && said.ends_with("ok"), "{said}");
        // The cluster's administrator has a certificate of the right authority, and may do everything.
        assert_eq!(ask(&config, "/pods").await, 200);
        config.auth_info = AuthInfo::default();
        assert_eq!(ask(&config, "/pods").await, 401);
        config.auth_info.token = Some("reader.0123456789abcdef".to_owned().into());
        assert_eq!(ask(&config, "/metrics").await, 401);
        // Somebody gives the token out. That it was nobody's counts for a while.
        cluster.apply(READER).await.unwrap();
        let look = || async {
            match ask(&config, "/metrics").await {
                200 => Look::There(()),
                code => Look::NotYet(code.to_string()),
            }
        };
        wait::until("the token to be known", LIMIT, look).await.unwrap();
        assert_eq!(ask(&config, "/pods").await, 403);
    })
    .await;
}
