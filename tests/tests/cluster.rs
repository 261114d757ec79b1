//! The harness itself, with real containerd and real kubectl.

use std::time::Duration;

use harness::{Cluster, ClusterOptions, scenario};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_up_and_its_sample_pod_talks_to_itself() {
    let options = ClusterOptions::for_test("sample").expect("programs");
    scenario(options, async |cluster| {
        cluster.run_sample().await.expect("the sample runs");
        let pod = cluster.wait_ready("hello", SOON).await.expect("ready");
        assert_eq!(pod.spec.and_then(|spec| spec.node_name).as_deref(), Some("node-0"));
        let names = cluster.kubectl_ok(&["get", "pods", "-o", "name"]).await.expect("kubectl");
        assert_eq!(names, "pod/hello\n");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_two_nodes_reach_each_other() {
    let options = ClusterOptions::for_test("two-nodes").expect("programs").nodes(2);
    scenario(options, async |cluster| {
        let serve = "mkdir /www; echo from the other node > /www/index.html; exec httpd -f -p 80 -h /www";
        cluster.apply(&pod("server", "node-1", serve)).await.expect("applied");
        let server = cluster.wait_ready("server", SOON).await.expect("ready");
        let ip = server.status.and_then(|status| status.pod_ip).expect("an address");
        let ask = format!("until wget -q -T 5 -O - http://{ip}/; do sleep 1; done; sleep 600");
        cluster.apply(&pod("client", "node-0", &ask)).await.expect("applied");
        cluster.wait_ready("client", SOON).await.expect("ready");
        let look = || async {
            match cluster.kubectl_ok(&["logs", "client"]).await {
                Ok(log) if log.contains("from the other node") => harness::wait::Look::There(()),
                Ok(log) => harness::wait::Look::NotYet(log),
                Err(error) => harness::wait::Look::NotYet(error.to_string()),
            }
        };
        harness::wait::until("the server's answer", SOON, look).await.expect("an answer");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_taken_over_by_the_next_and_nothing_stays_after_it() {
    let mut options = ClusterOptions::for_test("taken-over").expect("programs");
    let cluster = Cluster::start(options.clone()).await.expect("a cluster");
    cluster.apply(&pod("kept", "node-0", "sleep 600")).await.expect("applied");
    cluster.wait_ready("kept", SOON).await.expect("ready");
    let dir = options.dir.canonicalize().expect("the cluster's directory");
    let socket = cluster.node(0).runtime().socket();
    // Dropped and not stopped: everything it started goes on, as after kill -9 of its supervisor.
    drop(cluster);
    assert!(!processes(&dir.to_string_lossy()).is_empty(), "programs go on");
    assert!(!processes(&socket.to_string_lossy()).is_empty(), "containers go on");

    options.resume = true;
    let cluster = Cluster::start(options).await.expect("the same cluster");
    cluster.wait_ready("kept", SOON).await.expect("its objects are there, and its pods run");
    cluster.stop().await.expect("stopped");
    assert_eq!(processes(&dir.to_string_lossy()), Vec::<String>::new());
    assert_eq!(processes(&socket.to_string_lossy()), Vec::<String>::new());
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("mounts");
    let state = socket.parent().expect("the socket's directory").to_string_lossy().into_owned();
    assert!(!mounts.lines().any(|line| line.contains(&state)), "{mounts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_stand_side_by_side_and_one_directory_holds_one_cluster() {
    let one = ClusterOptions::for_test("side-one").expect("programs");
    let again = one.clone();
    scenario(one, async |one| {
        let two = ClusterOptions::for_test("side-two").expect("programs");
        scenario(two, async |two| {
            one.apply(&pod("same", "node-0", "sleep 600")).await.expect("applied");
            one.wait_ready("same", SOON).await.expect("ready");
            let others = two.kubectl_ok(&["get", "pods", "-o", "name"]).await.expect("kubectl");
            assert_eq!(others, "", "the other cluster knows nothing of it");
            let refused = Cluster::start(again).await.expect_err("it is up already");
            assert!(refused.to_string().contains("is up already"), "{refused}");
        })
        .await;
        one.wait_ready("same", SOON).await.expect("the end of the other cluster changes nothing");
    })
    .await;
}

fn pod(name: &str, node: &str, script: &str) -> String {
    serde_json::json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main",
                "image": harness::images::BUSYBOX,
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", script],
            }],
        },
    })
    .to_string()
}

/// Command lines that contain a text.
fn processes(text: &str) -> Vec<String> {
    let all = procfs::process::all_processes().expect("/proc");
    let lines = all.filter_map(|process| Some(process.ok()?.cmdline().ok()?.join(" ")));
    lines.filter(|line| line.contains(text)).collect()
}
