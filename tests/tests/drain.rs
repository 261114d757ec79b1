//! `kubectl drain`, `cordon` and `uncordon` under disruption budgets, with two nodes and the real kubectl.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::images::BUSYBOX;
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(90);
const VIOLATED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
const BUDGET: &str = r#"
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: web }
spec:
  minAvailable: 2
  selector: { matchExpressions: [{ key: app, operator: In, values: [web] }] }
"#;

/// A pod of the application; the scheduler chooses its node where none is given.
fn web(name: &str, node: Option<&str>) -> String {
    let node = node.map(|node| format!("nodeName: {node}")).unwrap_or_default();
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, labels: {{ app: web }} }}
spec:
  {node}
  terminationGracePeriodSeconds: 2
  containers:
  - {{ name: c, image: "{BUSYBOX}", imagePullPolicy: Never, command: [sleep, "100000"] }}
"#
    )
}

async fn ok(cluster: &Cluster, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    match cluster.kubectl_ok(&words).await {
        Ok(said) => said,
        Err(error) => panic!("kubectl {line}: {error}"),
    }
}

async fn refused(cluster: &Cluster, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let output = cluster.kubectl_with(&words, "").await.unwrap();
    assert!(!output.status.success(), "kubectl {line} was not refused: {}", output.stdout);
    output.stderr
}

async fn start(cluster: &Cluster, name: &str, node: Option<&str>) -> Pod {
    cluster.apply(&web(name, node)).await.unwrap();
    cluster.wait_ready(name, LIMIT).await.unwrap()
}

/// Waits until the budget says so.
async fn counted(cluster: &Cluster, healthy: i64, allowed: i64) {
    let wanted = format!("{healthy} {allowed}");
    let look = || async {
        let path = "jsonpath={.status.currentHealthy} {.status.disruptionsAllowed}";
        match cluster.kubectl_ok(&["get", "pdb", "web", "-o", path]).await {
            Ok(said) if said == wanted => Look::There(()),
            Ok(said) => Look::NotYet(said),
            Err(error) => Look::NotYet(error.to_string()),
        }
    };
    wait::until("the budget's count", LIMIT, look).await.unwrap();
}

/// A kubectl that goes on, and what it says, line by line.
struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: Vec<String>,
}

impl Running {
    fn start(cluster: &Cluster, line: &str) -> Self {
        let mut command = cluster.kubectl_command();
        command.args(line.split(' ')).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let (sender, lines) = mpsc::channel(256);
        read(child.stdout.take().unwrap(), sender.clone());
        read(child.stderr.take().unwrap(), sender);
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for a line with this in it.
    async fn says(&mut self, words: &str) {
        let found = timeout(LIMIT, async {
            while let Some(line) = self.lines.recv().await {
                self.said.push(line);
                if self.said.last().unwrap().contains(words) {
                    return true;
                }
            }
            false
        });
        assert!(found.await.unwrap_or(false), "{words:?} is missing in {:#?}", self.said);
    }

    async fn ends_well(&mut self) {
        while let Ok(Some(line)) = timeout(LIMIT, self.lines.recv()).await {
            self.said.push(line);
        }
        let status = timeout(LIMIT, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}: {:#?}", self.said);
    }
}

fn read(from: impl AsyncRead + Unpin + Send + 'static, lines: mpsc::Sender<String>) {
    tokio::spawn(async move {
        let mut from = BufReader::new(from).lines();
        while let Ok(Some(line)) = from.next_line().await {
            if lines.send(line).await.is_err() {
                return;
            }
        }
    });
}

fn is_healthy(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}

/// The fewest healthy pods of the application that there were at any time from now on.
async fn fewest(cluster: &Cluster) -> Arc<Mutex<usize>> {
    let api: Api<Pod> = Api::default_namespaced(cluster.client().clone());
    let list = api.list(&ListParams::default().labels("app=web")).await.unwrap();
    let named = |pod: &Pod| (pod.metadata.name.clone().unwrap(), is_healthy(pod));
    let mut pods: BTreeMap<String, bool> = list.items.iter().map(named).collect();
    let healthy = |pods: &BTreeMap<String, bool>| pods.values().filter(|healthy| **healthy).count();
    let least = Arc::new(Mutex::new(healthy(&pods)));
    let shared = least.clone();
    let params = WatchParams::default().labels("app=web");
    let version = list.metadata.resource_version.unwrap();
    let mut events = api.watch(&params, &version).await.unwrap().boxed();
    tokio::spawn(async move {
        while let Ok(Some(event)) = events.try_next().await {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => pods.extend([named(&pod)]),
                WatchEvent::Deleted(pod) => pods.retain(|name, _| Some(name) != pod.metadata.name.as_ref()),
                _ => {}
            }
            let mut least = shared.lock().unwrap();
            *least = (*least).min(healthy(&pods));
        }
    });
    least
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_budget_and_goes_on_when_other_pods_are_healthy() {
    scenario(ClusterOptions::for_test("drain-budget").unwrap().nodes(2), async |cluster| {
        let (node, other) = (cluster.node(0).name(), cluster.node(1).name());
        for name in ["a", "b"] {
            start(cluster, name, Some(node)).await;
        }
        cluster.apply(BUDGET).await.unwrap();
        counted(cluster, 2, 0).await;
        let shown = ok(cluster, "get pdb").await;
        for words in ["MIN AVAILABLE", "MAX UNAVAILABLE", "ALLOWED DISRUPTIONS", "N/A"] {
            assert!(shown.contains(words), "{words} is missing in {shown}");
        }
        assert!(ok(cluster, "describe pdb web").await.contains("Allowed disruptions:  0"));
        let least = fewest(cluster).await;

        let mut drain = Running::start(cluster, &format!("drain {node} --force --timeout=170s"));
        drain.says(VIOLATED).await;
        assert_eq!(
            ok(cluster, &format!("get node {node} -o jsonpath={{.spec.unschedulable}}")).await,
            "true"
        );
        for name in ["a", "b"] {
            let ends =
                ok(cluster, &format!("get pod {name} -o jsonpath={{.metadata.deletionTimestamp}}")).await;
            assert_eq!(ends, "", "{name} stays");
        }
        // The scheduler passes the drained node over. One pod more lets one go, and only one.
        let third = start(cluster, "c", None).await;
        assert_eq!(third.spec.unwrap().node_name.as_deref(), Some(other));
        drain.says("evicted").await;
        counted(cluster, 2, 0).await;
        drain.says(VIOLATED).await;
        start(cluster, "d", None).await;
        drain.ends_well().await;
        assert!(drain.said.iter().any(|line| line == &format!("node/{node} drained")), "{:#?}", drain.said);
        assert_eq!(ok(cluster, "get pods -o name").await, "pod/c\npod/d\n");
        assert_eq!(*least.lock().unwrap(), 2, "there were always as many as the budget wants");

        ok(cluster, &format!("uncordon {node}")).await;
        let told = || async {
            let events = ok(cluster, "get events -o custom-columns=R:.reason,N:.involvedObject.name").await;
            let has = |reason: &str| events.lines().any(|line| line.split_whitespace().eq([reason, node]));
            let all = has("NodeNotSchedulable") && has("NodeSchedulable");
            if all { Look::There(()) } else { Look::NotYet(events) }
        };
        wait::until("the node's events", LIMIT, told).await.unwrap();
        start(cluster, "e", Some(node)).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_tells_first_what_it_would_do_and_leaves_static_pods() {
    scenario(ClusterOptions::for_test("drain-kinds").unwrap(), async |cluster| {
        let node = cluster.node(0).name();
        start(cluster, "a", Some(node)).await;
        let manifest = web("fixed", None).replace("app: web", "app: fixed");
        std::fs::write(cluster.node(0).manifests().join("fixed.yaml"), manifest).unwrap();
        let mirror = format!("fixed-{node}");
        cluster.wait_ready(&mirror, LIMIT).await.unwrap();

        let said = refused(cluster, &format!("drain {node}")).await;
        assert!(said.contains("cannot delete Pods that declare no controller"), "{said}");
        ok(cluster, &format!("uncordon {node}")).await;
        let said = ok(cluster, &format!("drain {node} --force --dry-run=server")).await;
        assert!(said.contains("drained (server dry run)"), "{said}");
        assert_eq!(ok(cluster, &format!("get node {node} -o jsonpath={{.spec.unschedulable}}")).await, "");
        cluster.wait_ready("a", LIMIT).await.unwrap();

        // Percentages refer to what made the pods, which nobody knows here: nothing is let go.
        cluster.apply(&BUDGET.replace("minAvailable: 2", "maxUnavailable: 50%")).await.unwrap();
        counted(cluster, 1, 0).await;
        let said = refused(cluster, &format!("drain {node} --force --timeout=3s")).await;
        assert!(said.contains(VIOLATED), "{said}");
        ok(cluster, "delete pdb web").await;
        ok(cluster, &format!("drain {node} --force --grace-period=1 --timeout=90s")).await;
        assert_eq!(ok(cluster, "get pods -o name").await, format!("pod/{mirror}\n"));
    })
    .await;
}
