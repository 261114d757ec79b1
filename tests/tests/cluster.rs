//! The harness itself, with real containerd and real kubectl.

use std::time::Duration;

use harness::{ClusterOptions, scenario};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_comes_up_and_its_sample_pod_talks_to_itself() {
    let options = ClusterOptions::for_test("sample").expect("programs");
    scenario(options, async |cluster| {
        cluster.run_sample().await.expect("the sample runs");
        let pod = cluster.wait_ready("hello", Duration::from_secs(10)).await.expect("ready");
        assert_eq!(pod.spec.and_then(|spec| spec.node_name).as_deref(), Some("node-0"));
        let names = cluster.kubectl_ok(&["get", "pods", "-o", "name"]).await.expect("kubectl");
        assert_eq!(names, "pod/hello\n");
    })
    .await;
}
