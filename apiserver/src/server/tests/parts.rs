//! The sub-resources that are parts of a pod.

use super::*;

/// A pod of a node that has this.
async fn with_node(world: &World, allocatable: Value) {
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": "n1", "labels": { "kubernetes.io/os": "linux" } },
        "status": { "capacity": allocatable, "allocatable": allocatable },
    });
    world.post("/api/v1/nodes", &node).await.expect(201);
    world.bound_pod("a").await;
}

#[tokio::test]
async fn an_ephemeral_container_is_added_by_every_kind_of_write() {
    let world = World::start().await;
    world.bound_pod("a").await;
    let path = &format!("{PODS}/a/ephemeralcontainers");
    // As kubectl debug does it.
    let container = |name: &str| json!({ "name": name, "image": "busybox:1", "targetContainerName": "c" });
    let patch = json!({ "spec": { "ephemeralContainers": [container("d1")] } });
    let made = world.patch(path, "strategic", &patch).await.expect(200);
    assert_eq!((&made.body["kind"], &made.body["metadata"]["generation"]), (&json!("Pod"), &json!(2)));
    // Merged by name: the first stays.
    let patch = json!({ "spec": { "ephemeralContainers": [container("d2")] } });
    let made = world.patch(path, "strategic", &patch).await.expect(200);
    let names = |body: &Value| -> Vec<String> {
        let list = body["spec"]["ephemeralContainers"].as_array().unwrap();
        list.iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    let mut all = names(&made.body);
    all.sort();
    assert_eq!(all, ["d1", "d2"]);
    // A merge patch replaces the list, and so would remove one.
    let refused = world.patch(path, "merge", &patch).await.expect(422);
    assert!(
        refused.message().contains("existing ephemeral containers \"d1\" may not be removed"),
        "{refused:?}"
    );
    let mut pod = world.get(path).await.expect(200).body;
    pod["spec"]["ephemeralContainers"].as_array_mut().unwrap().push(container("d3"));
    pod["spec"]["containers"][0]["image"] = "other".into();
    let put = world.put(path, &pod).await.expect(200);
    assert_eq!((names(&put.body).len(), &put.body["metadata"]["generation"]), (3, &json!(4)));
    assert_eq!(put.body["spec"]["containers"][0]["image"], "busybox:1");
    world.put(path, &pod).await.expect(409);
    // The main resource takes none, and takes other changes as ever.
    let more = json!({ "spec": { "ephemeralContainers": [container("d4")] } });
    world.patch(&format!("{PODS}/a"), "strategic", &more).await.expect(422);
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    world.patch(&format!("{PODS}/a"), "merge", &label).await.expect(200);
    world.delete(path, &json!({})).await.expect(405);
    world.post(path, &pod).await.expect(405);
}

#[tokio::test]
async fn a_resize_is_written_if_the_node_has_that_much_and_refused_if_not() {
    let world = World::start().await;
    with_node(&world, json!({ "cpu": "4", "memory": "4Gi" })).await;
    let resources = json!({ "requests": { "cpu": "100m" } });
    let mut pod = pod("b");
    pod["spec"]["nodeName"] = "n1".into();
    pod["spec"]["containers"][0]["resources"] = resources;
    world.post(PODS, &pod).await.expect(201);
    let path = &format!("{PODS}/b/resize");
    let wish = |cpu: &str| json!({ "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }] } });
    let resized = world.patch(path, "strategic", &wish("4")).await.expect(200);
    assert_eq!(resized.body["spec"]["containers"][0]["resources"]["requests"]["cpu"], "4");
    assert_eq!(resized.body["metadata"]["generation"], 2);
    let refused = world.patch(path, "strategic", &wish("4100m")).await.expect(403);
    assert_eq!(
        (refused.reason(), refused.message()),
        (
            "Forbidden",
            "pods \"b\" is forbidden: Node didn't have enough allocatable resources: cpu, requested: 4100, allocatable: 4000"
        )
    );
    let refused = world.patch(&format!("{PODS}/b"), "strategic", &wish("1")).await.expect(422);
    assert!(refused.message().contains("pod updates may not change fields other than"), "{refused:?}");
    let best_effort = world.patch(&format!("{PODS}/a/resize"), "strategic", &wish("1")).await.expect(422);
    assert_eq!(
        best_effort.message(),
        "Pod \"a\" is invalid: spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing"
    );
    let mut whole = world.get(path).await.expect(200).body;
    whole["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1".into();
    let tried = world.put(&format!("{path}?dryRun=All"), &whole).await.expect(200);
    assert_eq!(tried.body["metadata"]["generation"], 3);
    let put = world.put(path, &whole).await.expect(200);
    assert_eq!(put.body["metadata"]["generation"], 3);
}

#[tokio::test]
async fn a_node_cannot_change_what_its_pods_are_to_be() {
    let world = World::start().await;
    with_node(&world, json!({ "cpu": "4", "memory": "4Gi" })).await;
    let node = world.client_as("system:node:n1", "system:nodes").await;
    for part in ["resize", "ephemeralcontainers"] {
        let patch = request(Method::PATCH, &format!("{PODS}/a/{part}"), "application/merge-patch+json", "{}");
        let refused = send(&node, patch).await.expect(403);
        assert!(refused.message().contains(&format!("cannot patch resource \"pods/{part}\"")), "{refused:?}");
    }
}

#[tokio::test]
async fn discovery_lists_the_parts_of_pods() {
    let world = World::start().await;
    let list = world.get("/api/v1").await.expect(200).body;
    for name in ["pods/ephemeralcontainers", "pods/resize", "pods/status"] {
        let found = list["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap();
        assert_eq!((&found["kind"], &found["verbs"]), (&json!("Pod"), &json!(["get", "patch", "update"])));
    }
    let document = world.get("/openapi/v3/api/v1").await.expect(200).body;
    for part in ["ephemeralcontainers", "resize"] {
        let path = format!("/api/v1/namespaces/{{namespace}}/pods/{{name}}/{part}");
        assert!(document["paths"][path.as_str()]["patch"].is_object(), "{path}");
    }
}
