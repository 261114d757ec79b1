//! Evictions under disruption budgets.

use super::*;

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

fn budget(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": name }, "spec": spec })
}

fn keep(least: i64) -> Value {
    json!({ "minAvailable": least, "selector": { "matchLabels": { "app": "web" } } })
}

/// A pod of the application on a node, in this phase, ready or not.
async fn web(world: &World, name: &str, phase: &str, ready: bool) {
    let mut pod = pod(name);
    pod["spec"]["nodeName"] = "n1".into();
    pod["metadata"]["labels"] = json!({ "app": "web" });
    world.post(PODS, &pod).await.expect(201);
    state(world, name, phase, ready).await;
}

async fn state(world: &World, name: &str, phase: &str, ready: bool) {
    let ready = if ready { "True" } else { "False" };
    let status =
        json!({ "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] } });
    world.patch(&format!("{PODS}/{name}/status"), "strategic", &status).await.expect(200);
}

async fn evict(world: &World, name: &str, query: &str, options: Value) -> Reply {
    let eviction = json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name }, "deleteOptions": options,
    });
    world.post(&format!("{PODS}/{name}/eviction{query}"), &eviction).await
}

/// Waits until the budget is counted as it should be: healthy and allowed.
async fn counted(world: &World, name: &str, healthy: i64, allowed: i64) {
    let path = format!("{BUDGETS}/{name}");
    let found = world.get(&path).await.expect(200);
    let is = |budget: &Value| {
        let status = &budget["status"];
        status["observedGeneration"] == budget["metadata"]["generation"]
            && (&status["currentHealthy"], &status["disruptionsAllowed"])
                == (&json!(healthy), &json!(allowed))
    };
    if is(&found.body) {
        return;
    }
    let version = found.metadata("resourceVersion");
    let query = format!("?watch=1&fieldSelector=metadata.name={name}&resourceVersion={version}");
    let mut watch = Watch::start(world, &format!("{BUDGETS}{query}")).await;
    while !is(&watch.next().await.expect("an event")["object"]) {}
}

fn is_ending(pod: &Reply) -> bool {
    !pod.metadata("deletionTimestamp").is_empty()
}

#[tokio::test]
async fn a_budget_lets_go_what_it_can_spare_and_no_more() {
    let world = World::start().await;
    for name in ["a", "b", "c"] {
        web(&world, name, "Running", true).await;
    }
    world.post(BUDGETS, &budget("web", keep(2))).await.expect(201);
    counted(&world, "web", 3, 1).await;

    evict(&world, "a", "", json!({})).await.expect(201);
    counted(&world, "web", 2, 0).await;
    let refused = evict(&world, "b", "", json!({})).await.expect(429);
    assert_eq!(
        (refused.reason(), refused.message()),
        ("TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.")
    );
    let cause = &refused.body["details"]["causes"][0];
    assert_eq!(cause["reason"], "DisruptionBudget");
    assert_eq!(cause["message"], "The disruption budget web needs 2 healthy pods and has 2 currently");
    assert!(!is_ending(&world.get(&format!("{PODS}/b")).await));
    let evicted = world.get(&format!("{PODS}/a")).await.expect(200);
    assert!(is_ending(&evicted));
    let conditions = evicted.body["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|c| c["reason"] == "EvictionByEvictionAPI"), "{conditions:?}");

    // Another pod has come in the place of the first.
    web(&world, "d", "Running", true).await;
    counted(&world, "web", 3, 1).await;
    evict(&world, "b", "", json!({})).await.expect(201);
    // One that ends or has ended costs the budget nothing.
    evict(&world, "b", "", json!({})).await.expect(201);
    state(&world, "c", "Succeeded", false).await;
    evict(&world, "c", "", json!({})).await.expect(201);
}

#[tokio::test]
async fn an_unhealthy_pod_goes_where_the_budget_is_kept_without_it_or_does_not_mind() {
    let world = World::start().await;
    web(&world, "good", "Running", true).await;
    for name in ["bad", "worse", "worst"] {
        web(&world, name, "Running", false).await;
    }
    world.post(BUDGETS, &budget("web", keep(1))).await.expect(201);
    counted(&world, "web", 1, 0).await;
    evict(&world, "good", "", json!({})).await.expect(429);
    evict(&world, "bad", "", json!({})).await.expect(201);

    let spec = json!({ "spec": { "minAvailable": 2 } });
    world.patch(&format!("{BUDGETS}/web"), "merge", &spec).await.expect(200);
    counted(&world, "web", 1, 0).await;
    evict(&world, "worse", "", json!({})).await.expect(429);
    let spec = json!({ "spec": { "unhealthyPodEvictionPolicy": "AlwaysAllow" } });
    world.patch(&format!("{BUDGETS}/web"), "merge", &spec).await.expect(200);
    counted(&world, "web", 1, 0).await;
    evict(&world, "worse", "", json!({})).await.expect(201);
    // A pod that has not begun is nobody's loss.
    state(&world, "worst", "Pending", false).await;
    evict(&world, "worst", "", json!({})).await.expect(201);
}

#[tokio::test]
async fn a_dry_run_asks_and_takes_nothing() {
    let world = World::start().await;
    web(&world, "a", "Running", true).await;
    web(&world, "b", "Running", true).await;
    world.post(BUDGETS, &budget("web", keep(1))).await.expect(201);
    counted(&world, "web", 2, 1).await;
    let before = world.get(&format!("{BUDGETS}/web")).await.body;
    evict(&world, "a", "?dryRun=All", json!({})).await.expect(201);
    evict(&world, "a", "", json!({ "dryRun": ["All"] })).await.expect(201);
    assert!(!is_ending(&world.get(&format!("{PODS}/a")).await));
    assert_eq!(world.get(&format!("{BUDGETS}/web")).await.body, before);
    evict(&world, "a", "", json!({})).await.expect(201);
    evict(&world, "b", "?dryRun=All", json!({})).await.expect(429);
}

#[tokio::test]
async fn options_of_the_deletion_are_kept() {
    let world = World::start().await;
    web(&world, "a", "Running", true).await;
    world.post(BUDGETS, &budget("web", keep(0))).await.expect(201);
    counted(&world, "web", 1, 1).await;
    let uid = json!({ "preconditions": { "uid": "another" } });
    evict(&world, "a", "", uid).await.expect(409);
    counted(&world, "web", 1, 1).await;
    evict(&world, "a", "", json!({ "gracePeriodSeconds": 7 })).await.expect(201);
    let ending = world.get(&format!("{PODS}/a")).await.expect(200);
    assert_eq!(ending.body["metadata"]["deletionGracePeriodSeconds"], 7);
}

#[tokio::test]
async fn a_pod_of_two_budgets_stays() {
    let world = World::start().await;
    web(&world, "a", "Running", true).await;
    world.post(BUDGETS, &budget("web", keep(0))).await.expect(201);
    let all = json!({ "minAvailable": 0, "selector": {} });
    world.post(BUDGETS, &budget("all", all)).await.expect(201);
    // Without a selector, or with another, a budget is about other pods.
    world.post(BUDGETS, &budget("none", json!({ "minAvailable": 9 }))).await.expect(201);
    let refused = evict(&world, "a", "", json!({})).await.expect(500);
    assert_eq!(
        refused.message(),
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    );
    world.delete(&format!("{BUDGETS}/all"), &json!({})).await.expect(200);
    counted(&world, "web", 1, 1).await;
    evict(&world, "a", "", json!({})).await.expect(201);
}

#[tokio::test]
async fn many_at_once_get_no_more_than_is_allowed() {
    let world = World::start().await;
    let names: Vec<String> = (0..12).map(|i| format!("p{i}")).collect();
    for name in &names {
        web(&world, name, "Running", true).await;
    }
    world.post(BUDGETS, &budget("web", keep(7))).await.expect(201);
    counted(&world, "web", 12, 5).await;
    let evictions = names.iter().map(|name| evict(&world, name, "", json!({})));
    let replies = futures::future::join_all(evictions).await;
    let let_go = replies.iter().filter(|reply| reply.code == 201).count();
    // Whoever met others over and over is told to try again later; nobody is let go beyond what may.
    assert!((1..=5).contains(&let_go), "{replies:?}");
    assert!(replies.iter().all(|reply| matches!(reply.code, 201 | 429 | 504)), "{replies:?}");
    let pods = world.get(PODS).await.expect(200).body;
    let stay = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    assert_eq!(pods["items"].as_array().unwrap().iter().filter(stay).count(), 12 - let_go);
}

#[tokio::test]
async fn budgets_are_shown_with_what_they_allow() {
    let world = World::start().await;
    web(&world, "a", "Running", true).await;
    world.post(BUDGETS, &budget("web", keep(0))).await.expect(201);
    counted(&world, "web", 1, 1).await;
    let table = Request::builder()
        .uri(BUDGETS)
        .header("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Body::from(Vec::new()))
        .unwrap();
    let table = world.send(table).await.expect(200).body;
    assert_eq!(
        table["rows"][0]["cells"].as_array().unwrap()[..4],
        json!(["web", "0", "N/A", 1]).as_array().unwrap()[..]
    );
    let both = json!({ "minAvailable": 1, "maxUnavailable": 1 });
    world.post(BUDGETS, &budget("both", both)).await.expect(422);
}
