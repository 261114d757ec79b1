//! kubectl logs, with a real containerd writing them.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::process::Stdio;
use std::time::Duration;

use harness::cluster::{ClusterOptions, scenario};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::Pod;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
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
