use serde_json::{Value, json};

use super::*;
use crate::kubeconfig::fake;
use crate::sources::{CONFIG_MIRROR, CONFIG_SOURCE};

fn pod(name: &str, version: &str, annotations: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "fx", "uid": format!("uid-{name}"), "resourceVersion": version, "annotations": annotations}})
}

#[tokio::test(start_paused = true)]
async fn assignments_become_updates_and_mirrors_are_kept_apart() {
    let (client, mut api) = fake::api();
    let (updates, mut received) = mpsc::channel(8);
    let mirrors = Mirrors::new();
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(run(client, "node1", updates, mirrors.clone(), stopped));
    let mirror = json!({CONFIG_MIRROR: "h", CONFIG_SOURCE: "file"});
    api.next().await.list("10", json!([pod("a", "1", json!({"x": "y"})), pod("m", "2", mirror.clone())]));
    let Some(Update::Listed { source: Source::Api, pods }) = received.recv().await else {
        panic!("a list comes first")
    };
    assert_eq!(pods.len(), 1);
    let annotations = pods[0].metadata.annotations.as_ref().unwrap();
    assert_eq!((annotations[CONFIG_SOURCE].as_str(), annotations["x"].as_str()), ("api", "y"));
    assert_eq!(mirrors.uid_of("fx", "m").as_deref(), Some("uid-m"));

    let watch = api.next().await.watch();
    watch.send("DELETED", pod("m", "11", mirror)).await;
    watch.send("MODIFIED", pod("a", "12", json!({}))).await;
    assert!(matches!(received.recv().await, Some(Update::Applied { .. })));
    assert_eq!(mirrors.uid_of("fx", "m"), None);
    let mut gone = pod("a", "13", json!({}));
    gone["metadata"]["deletionGracePeriodSeconds"] = json!(0);
    watch.send("DELETED", gone).await;
    let Some(Update::Removed { uid, grace, .. }) = received.recv().await else { panic!("the pod is gone") };
    assert_eq!((uid.as_str(), grace), ("uid-a", Some(Duration::ZERO)));

    stop.send_replace(true);
    task.await.unwrap();
}
