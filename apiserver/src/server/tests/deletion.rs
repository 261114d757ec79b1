//! Deletion: grace, preconditions, finalizers, eviction, namespaces.

use super::*;

#[tokio::test]
async fn a_pod_on_a_node_is_marked_and_goes_when_the_node_says_so() {
    let world = World::start().await;
    world.bound_pod("a").await;
    let marked = world.delete(&format!("{PODS}/a"), &json!({})).await.expect(200);
    assert_eq!(marked.body["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(!marked.metadata("deletionTimestamp").is_empty());
    assert_eq!(marked.body["metadata"]["generation"], 2);
    let again = world.post(PODS, &pod("a")).await.expect(409);
    assert_eq!(again.message(), "object is being deleted: pods \"a\" already exists");
    let final_delete = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": marked.metadata("uid") } });
    world.delete(&format!("{PODS}/a"), &final_delete).await.expect(200);
    world.get(&format!("{PODS}/a")).await.expect(404);
}

#[tokio::test]
async fn a_second_delete_shortens_the_grace_and_never_lengthens_it() {
    let world = World::start().await;
    world.bound_pod("a").await;
    let delete = async |seconds: i64| {
        let reply =
            world.delete(&format!("{PODS}/a"), &json!({ "gracePeriodSeconds": seconds })).await.expect(200);
        let metadata = reply.body["metadata"].clone();
        (
            metadata["deletionGracePeriodSeconds"].as_i64().unwrap(),
            metadata["deletionTimestamp"].clone(),
            metadata["generation"].clone(),
        )
    };
    let first = delete(600).await;
    assert_eq!(delete(1000).await, first);
    let shorter = delete(5).await;
    assert_eq!(shorter.0, 5);
    assert!(shorter.1.as_str() < first.1.as_str(), "{shorter:?} {first:?}");
    assert_eq!(shorter.2, first.2);
    assert_eq!(delete(30).await, shorter);
}

#[tokio::test]
async fn a_pod_that_no_node_has_goes_at_once() {
    let world = World::start().await;
    world.post(PODS, &pod("a")).await.expect(201);
    world.delete(&format!("{PODS}/a"), &json!({})).await.expect(200);
    world.get(&format!("{PODS}/a")).await.expect(404);
}

#[tokio::test]
async fn a_delete_with_a_condition_that_does_not_hold_is_refused() {
    let world = World::start().await;
    let made = world.post(MAPS, &map("a", "1")).await.expect(201);
    for wrong in [json!({ "uid": "another" }), json!({ "resourceVersion": "1" })] {
        let refused =
            world.delete(&format!("{MAPS}/a"), &json!({ "preconditions": wrong })).await.expect(409);
        assert!(refused.message().contains("Precondition failed"), "{refused:?}");
    }
    let right = json!({ "uid": made.metadata("uid"), "resourceVersion": made.metadata("resourceVersion") });
    world.delete(&format!("{MAPS}/a"), &json!({ "preconditions": right })).await.expect(200);
    world.delete(&format!("{MAPS}/a"), &json!({})).await.expect(404);
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let world = World::start().await;
    let mut held = map("a", "1");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post(MAPS, &held).await.expect(201);
    let marked = world.delete(&format!("{MAPS}/a"), &json!({})).await.expect(200);
    assert!(!marked.metadata("deletionTimestamp").is_empty());
    let more = json!({ "metadata": { "finalizers": ["example.com/hold", "example.com/more"] } });
    world.patch(&format!("{MAPS}/a"), "merge", &more).await.expect(422);
    let none = json!({ "metadata": { "finalizers": null } });
    world.patch(&format!("{MAPS}/a"), "merge", &none).await.expect(200);
    world.get(&format!("{MAPS}/a")).await.expect(404);
}

#[tokio::test]
async fn an_eviction_deletes_with_grace() {
    let world = World::start().await;
    world.bound_pod("a").await;
    let eviction =
        |name: &str| json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
    world.post(&format!("{PODS}/a/eviction"), &eviction("b")).await.expect(400);
    world.post(&format!("{PODS}/a/eviction"), &eviction("a")).await.expect(201);
    let evicted = world.get(&format!("{PODS}/a")).await.body;
    assert_eq!(evicted["metadata"]["deletionGracePeriodSeconds"], 30);
    let condition = &evicted["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["reason"]),
        (&json!("DisruptionTarget"), &json!("EvictionByEvictionAPI"))
    );
    world.post(&format!("{PODS}/nope/eviction"), &eviction("nope")).await.expect(404);
}

#[tokio::test]
async fn an_eviction_of_another_version_marks_nothing_and_of_the_right_one_deletes() {
    let world = World::start().await;
    world.post(PODS, &pod("a")).await.expect(201);
    let before = world.get(&format!("{PODS}/a")).await;
    let version = before.metadata("resourceVersion").to_owned();
    let eviction = |key: &str, value: &str| {
        json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": "a" },
            "deleteOptions": { "preconditions": { key: value } },
        })
    };
    let path = format!("{PODS}/a/eviction");
    world.post(&path, &eviction("resourceVersion", "1")).await.expect(409);
    world.post(&path, &eviction("uid", "another")).await.expect(409);
    assert_eq!(world.get(&format!("{PODS}/a")).await.body, before.body);
    world.post(&path, &eviction("resourceVersion", &version)).await.expect(201);
    // On no node yet, so nothing is to be waited for.
    world.get(&format!("{PODS}/a")).await.expect(404);
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let world = World::start().await;
    for (name, app) in [("a", "web"), ("b", "db")] {
        let mut map = map(name, "1");
        map["metadata"]["labels"] = json!({ "app": app });
        world.post(MAPS, &map).await.expect(201);
    }
    world.delete(&format!("{MAPS}?labelSelector=app%3Dweb"), &json!({})).await.expect(200);
    world.get(&format!("{MAPS}/a")).await.expect(404);
    world.get(&format!("{MAPS}/b")).await.expect(200);
}

/// Waits for the namespace to go.
async fn gone(world: &World, path: &str) {
    let version = world.get("/api/v1/namespaces").await.metadata("resourceVersion").to_owned();
    let mut watch =
        Watch::start(world, &format!("/api/v1/namespaces?watch=true&resourceVersion={version}")).await;
    while world.get(path).await.code != 404 {
        watch.next().await.expect("the namespace goes");
    }
}

#[tokio::test]
async fn a_namespace_goes_with_its_contents_and_takes_nothing_new_meanwhile() {
    let world = World::start().await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "x" } });
    world.post("/api/v1/namespaces", &namespace).await.expect(201);
    let mut held = map("a", "1");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    world.post("/api/v1/namespaces/x/configmaps", &held).await.expect(201);
    let marked = world.delete("/api/v1/namespaces/x", &json!({})).await.expect(200);
    assert_eq!(marked.body["status"]["phase"], "Terminating");
    let refused = world.post("/api/v1/namespaces/x/configmaps", &map("b", "1")).await.expect(403);
    assert!(refused.message().contains("because it is being terminated"), "{refused:?}");
    let said = |namespace: &Reply| {
        let conditions = namespace.body["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let waits = |c: &&Value| c["type"] == "NamespaceFinalizersRemaining" && c["status"] == "True";
        conditions.iter().find(waits).map(|c| c["message"].as_str().unwrap_or_default().to_owned())
    };
    let waits = world.until("/api/v1/namespaces/x", |namespace| said(namespace).is_some()).await;
    let said = said(&waits).unwrap();
    assert!(said.ends_with("finalizers remaining: example.com/hold in 1 resource instances"), "{said}");
    let none = json!({ "metadata": { "finalizers": null } });
    world.patch("/api/v1/namespaces/x/configmaps/a", "merge", &none).await.expect(200);
    gone(&world, "/api/v1/namespaces/x").await;
    world.get("/api/v1/namespaces/x/configmaps/a").await.expect(404);
}

#[tokio::test]
async fn the_namespaces_of_the_cluster_itself_stay_or_come_back() {
    let world = World::start().await;
    for name in ["default", "kube-system", "kube-public"] {
        let refused = world.delete(&format!("/api/v1/namespaces/{name}"), &json!({})).await.expect(403);
        let message = format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted");
        assert_eq!(refused.message(), message);
    }
    let path = "/api/v1/namespaces/kube-node-lease";
    let before = world.get(path).await.metadata("uid").to_owned();
    let version = world.get("/api/v1/namespaces").await.metadata("resourceVersion").to_owned();
    world.delete(path, &json!({})).await.expect(200);
    let mut watch =
        Watch::start(&world, &format!("/api/v1/namespaces?watch=true&resourceVersion={version}")).await;
    while watch.next().await.expect("it comes back")["type"] != "ADDED" {}
    assert_ne!(world.get(path).await.expect(200).metadata("uid"), before);
}
