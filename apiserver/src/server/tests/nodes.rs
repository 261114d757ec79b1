//! Nodes that fall silent, and their pods.

use super::*;
use crate::flags::Nodes;

/// A server that does not wait long for nodes.
async fn impatient(seconds: u64) -> World {
    let grace = Duration::from_secs(seconds);
    World::start_with(Limits::default(), |options, _| {
        options.nodes =
            Nodes { period: Duration::from_millis(50), grace, startup_grace: grace, ..Nodes::default() };
    })
    .await
}

fn node(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
        "status": { "conditions": [{ "type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z" }] },
    })
}

/// Taints by key and effect.
fn taints(node: &Reply) -> Vec<String> {
    let taints = node.body["spec"]["taints"].as_array().into_iter().flatten();
    let short = |t: &Value| format!("{}:{}", t["key"].as_str().unwrap(), t["effect"].as_str().unwrap());
    taints.map(short).collect()
}

/// Renews the lease of a node until the world ends.
fn keep_alive(world: &World, name: &'static str) -> tokio::task::JoinHandle<()> {
    let client = world.client.clone();
    tokio::spawn(async move {
        let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        let lease = json!({ "metadata": { "name": name }, "spec": { "holderIdentity": name } });
        send(&client, request(Method::POST, path, "application/json", &lease.to_string())).await;
        loop {
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
            let patch = json!({ "spec": { "renewTime": now } });
            let media = "application/merge-patch+json";
            let renewal = request(Method::PATCH, &format!("{path}/{name}"), media, &patch.to_string());
            let Ok(_) = client.send(renewal).await else { return };
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
}

#[tokio::test]
async fn a_silent_node_is_unknown_and_its_pods_leave_when_they_tolerate_it_no_longer() {
    // Longer than a machine under load takes for a renewal.
    let world = impatient(8).await;
    for name in ["n1", "n2"] {
        world.post("/api/v1/nodes", &node(name)).await.expect(201);
    }
    let alive = keep_alive(&world, "n2");
    for (name, seconds) in [("leaves", json!(0)), ("stays", Value::Null)] {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = "n1".into();
        pod["spec"]["tolerations"] = json!([{ "operator": "Exists", "effect": "NoExecute" }]);
        pod["spec"]["tolerations"][0]["tolerationSeconds"] = seconds;
        world.post(PODS, &pod).await.expect(201);
        let ready = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        world.patch(&format!("{PODS}/{name}/status"), "merge", &ready).await.expect(200);
    }
    let silent = world
        .until("/api/v1/nodes/n1", |node| node.body["status"]["conditions"][0]["status"] == "Unknown")
        .await;
    let condition = &silent.body["status"]["conditions"][0];
    assert_eq!(
        (&condition["reason"], &condition["lastHeartbeatTime"]),
        (&json!("NodeStatusUnknown"), &json!("2026-01-01T00:00:00Z"))
    );
    let both = ["node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"];
    world.until("/api/v1/nodes/n1", |node| taints(node) == both).await;
    let left =
        world.until(&format!("{PODS}/leaves"), |pod| !pod.metadata("deletionTimestamp").is_empty()).await;
    let conditions = left.body["status"]["conditions"].as_array().unwrap();
    let reason = |kind: &str| {
        conditions.iter().find(|c| c["type"] == kind).map(|c| (c["status"].clone(), c["reason"].clone()))
    };
    assert_eq!(reason("Ready"), Some((json!("False"), Value::Null)));
    assert_eq!(reason("DisruptionTarget"), Some((json!("True"), json!("DeletionByTaintManager"))));
    let stayed = world
        .until(&format!("{PODS}/stays"), |pod| pod.body["status"]["conditions"][0]["status"] == "False")
        .await;
    assert_eq!(stayed.metadata("deletionTimestamp"), "");
    assert_eq!(taints(&world.get("/api/v1/nodes/n2").await), [""; 0], "who renews its lease is well");

    // It is back, and says so.
    let back = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T01:00:00Z" }] } });
    world.patch("/api/v1/nodes/n1/status", "strategic", &back).await.expect(200);
    world.until("/api/v1/nodes/n1", |node| taints(node).is_empty()).await;
    alive.abort();
}

#[tokio::test]
async fn where_no_node_speaks_no_pod_is_evicted() {
    let world = impatient(1).await;
    world.post("/api/v1/nodes", &node("n1")).await.expect(201);
    world.bound_pod("a").await;
    let unreachable = ["node.kubernetes.io/unreachable:NoSchedule"];
    world.until("/api/v1/nodes/n1", |node| taints(node) == unreachable).await;
    let events = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dn1";
    let told = world.until(events, |events| !events.body["items"].as_array().unwrap().is_empty()).await;
    assert_eq!(told.body["items"][0]["message"], "Node n1 status is now: NodeNotReady");
    assert_eq!(taints(&world.get("/api/v1/nodes/n1").await), unreachable);
    assert_eq!(world.get(&format!("{PODS}/a")).await.metadata("deletionTimestamp"), "");
}

#[tokio::test]
async fn a_taint_that_executes_takes_off_whoever_does_not_tolerate_it() {
    let world = World::start().await;
    world.post("/api/v1/nodes", &node("n1")).await.expect(201);
    world.bound_pod("a").await;
    let mut tolerant = pod("b");
    tolerant["spec"]["nodeName"] = "n1".into();
    tolerant["spec"]["tolerations"] = json!([{ "key": "example.com/broken", "operator": "Exists" }]);
    world.post(PODS, &tolerant).await.expect(201);
    let taint = json!({ "spec": { "taints": [{ "key": "example.com/broken", "effect": "NoExecute" }] } });
    world.patch("/api/v1/nodes/n1", "merge", &taint).await.expect(200);
    world.until(&format!("{PODS}/a"), |pod| !pod.metadata("deletionTimestamp").is_empty()).await;
    assert_eq!(world.get(&format!("{PODS}/b")).await.metadata("deletionTimestamp"), "");
}
