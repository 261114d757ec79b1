//! Creation, changes, conflicts, field validation.

use super::*;

#[tokio::test]
async fn of_two_writers_who_read_the_same_version_the_second_conflicts() {
    let world = World::start().await;
    let first = world.post(MAPS, &map("a", "1")).await.expect(201);
    let mut change = first.body.clone();
    change["data"]["key"] = "2".into();
    let second = world.put(&format!("{MAPS}/a"), &change).await.expect(200);
    assert_ne!(first.metadata("resourceVersion"), second.metadata("resourceVersion"));
    change["data"]["key"] = "3".into();
    let refused = world.put(&format!("{MAPS}/a"), &change).await.expect(409);
    assert_eq!(refused.reason(), "Conflict");
    assert_eq!(
        refused.message(),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    // Without a version the newest is meant.
    world.put(&format!("{MAPS}/a"), &map("a", "4")).await.expect(200);
    let stale = json!({ "metadata": { "resourceVersion": first.metadata("resourceVersion") } });
    world.patch(&format!("{MAPS}/a"), "merge", &stale).await.expect(409);
    assert_eq!(world.get(&format!("{MAPS}/a")).await.body["data"]["key"], "4");
}

#[tokio::test]
async fn concurrent_patches_of_one_object_are_all_carried_out() {
    let world = World::start().await;
    world.post(MAPS, &map("a", "1")).await.expect(201);
    let (world, path) = (&world, &format!("{MAPS}/a"));
    let patches = (0..6).map(|i| async move {
        let patch = json!({ "data": { format!("k{i}"): "v" } });
        world.patch(path, "merge", &patch).await.expect(200);
    });
    futures::future::join_all(patches).await;
    let data = world.get(path).await.body["data"].as_object().unwrap().clone();
    assert_eq!(data.len(), 7, "{data:?}");
}

#[tokio::test]
async fn a_generated_name_keeps_its_prefix_and_two_differ() {
    let world = World::start().await;
    let generated =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "generateName": "gen-" } });
    let one = world.post(MAPS, &generated).await.expect(201);
    let two = world.post(MAPS, &generated).await.expect(201);
    assert!(one.metadata("name").starts_with("gen-") && one.metadata("name").len() == "gen-".len() + 5);
    assert_ne!(one.metadata("name"), two.metadata("name"));
}

#[tokio::test]
async fn what_exists_is_not_created_again_and_what_is_created_has_no_version() {
    let world = World::start().await;
    world.post(MAPS, &map("a", "1")).await.expect(201);
    let refused = world.post(MAPS, &map("a", "2")).await.expect(409);
    assert_eq!((refused.reason(), refused.message()), ("AlreadyExists", "configmaps \"a\" already exists"));
    let mut versioned = map("b", "1");
    versioned["metadata"]["resourceVersion"] = "5".into();
    let refused = world.post(MAPS, &versioned).await.expect(400);
    assert_eq!(refused.message(), "resourceVersion should not be set on objects to be created");
    let nowhere = world.post("/api/v1/namespaces/nope/configmaps", &map("a", "1")).await.expect(404);
    assert_eq!(nowhere.message(), "namespaces \"nope\" not found");
}

#[tokio::test]
async fn unknown_fields_are_refused_told_or_passed_over_as_the_client_asks_and_kept() {
    let world = World::start().await;
    let mut odd = pod("a");
    odd["spec"]["foo"] = 1.into();
    odd["spec"]["containers"][0]["imagee"] = "x".into();
    let refused = world.post(&format!("{PODS}?fieldValidation=Strict"), &odd).await.expect(400);
    assert_eq!(
        refused.message(),
        "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.containers[0].imagee\", unknown field \"spec.foo\""
    );
    world.get(&format!("{PODS}/a")).await.expect(404);
    let warned = world.post(&format!("{PODS}?fieldValidation=Warn"), &odd).await.expect(201);
    assert_eq!(
        warned.warnings,
        [
            "299 - \"unknown field \\\"spec.containers[0].imagee\\\"\"",
            "299 - \"unknown field \\\"spec.foo\\\"\""
        ]
    );
    assert_eq!(warned.body["spec"]["foo"], 1);
    odd["metadata"]["name"] = "b".into();
    let silent = world.post(&format!("{PODS}?fieldValidation=Ignore"), &odd).await.expect(201);
    assert!(silent.warnings.is_empty(), "{silent:?}");
    let doubled =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d"},"data":{"a":"1","a":"2"}}"#;
    let post = |query: &str| request(Method::POST, &format!("{MAPS}{query}"), "application/json", doubled);
    let refused = world.send(post("?fieldValidation=Strict")).await.expect(400);
    assert!(refused.message().contains("duplicate field \"data.a\""), "{refused:?}");
    assert_eq!(world.send(post("")).await.expect(201).body["data"]["a"], "2");
    world.post(&format!("{PODS}?fieldValidation=Maybe"), &odd).await.expect(422);
}

#[tokio::test]
async fn a_wrong_pod_is_refused_with_the_paths_of_all_that_is_wrong() {
    let world = World::start().await;
    let mut wrong = pod("a");
    wrong["spec"]["restartPolicy"] = "Sometimes".into();
    wrong["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 70_000 }]);
    let refused = world.post(PODS, &wrong).await.expect(422);
    let fields: Vec<&str> = refused.body["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|cause| cause["field"].as_str())
        .collect();
    assert_eq!(fields, ["spec.containers[0].ports[0].containerPort", "spec.restartPolicy"]);
    let mut wrong = pod("a");
    wrong["spec"]["containers"] = "none".into();
    let refused = world.post(PODS, &wrong).await.expect(400);
    assert!(
        refused.message().ends_with(
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container"
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_dry_run_answers_as_if_and_leaves_nothing() {
    let world = World::start().await;
    let tried = world.post(&format!("{MAPS}?dryRun=All"), &map("a", "1")).await.expect(201);
    assert!(!tried.metadata("uid").is_empty());
    world.get(&format!("{MAPS}/a")).await.expect(404);
    world.post(MAPS, &map("a", "1")).await.expect(201);
    world.post(&format!("{MAPS}?dryRun=All"), &map("a", "1")).await.expect(409);
    let patch = json!({ "data": { "key": "2" } });
    let tried = world.patch(&format!("{MAPS}/a?dryRun=All"), "merge", &patch).await.expect(200);
    assert_eq!(tried.body["data"]["key"], "2");
    world.send(request(Method::DELETE, &format!("{MAPS}/a?dryRun=All"), "", "")).await.expect(200);
    assert_eq!(world.get(&format!("{MAPS}/a")).await.expect(200).body["data"]["key"], "1");
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let world = World::start().await;
    world.bound_pod("a").await;
    let both = json!({ "metadata": { "labels": { "a": "b" } }, "status": { "phase": "Running" } });
    let main = world.patch(&format!("{PODS}/a"), "merge", &both).await.expect(200);
    assert_eq!(
        (&main.body["status"]["phase"], &main.body["metadata"]["labels"]["a"]),
        (&json!("Pending"), &json!("b"))
    );
    let both = json!({ "spec": { "nodeName": "n2" }, "status": { "phase": "Running" } });
    let status = world.patch(&format!("{PODS}/a/status"), "merge", &both).await.expect(200);
    assert_eq!(
        (&status.body["status"]["phase"], &status.body["spec"]["nodeName"]),
        (&json!("Running"), &json!("n1"))
    );
    assert_eq!(status.body["metadata"]["generation"], main.body["metadata"]["generation"]);
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let world = World::start().await;
    world.post(PODS, &pod("a")).await.expect(201);
    let binding = |node: &str| json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "a" }, "target": { "kind": "Node", "name": node } });
    world.post(&format!("{PODS}/a/binding"), &binding("n1")).await.expect(201);
    let bound = world.get(&format!("{PODS}/a")).await;
    assert_eq!(bound.body["spec"]["nodeName"], "n1");
    assert_eq!(bound.body["status"]["conditions"][0]["type"], "PodScheduled");
    assert_eq!(bound.body["status"]["conditions"][0]["status"], "True");
    let refused = world.post(&format!("{PODS}/a/binding"), &binding("n2")).await.expect(409);
    assert!(refused.message().contains("pod a is already assigned to node \"n1\""), "{refused:?}");
    world.post(&format!("{PODS}/nope/binding"), &binding("n1")).await.expect(400);
}

#[tokio::test]
async fn server_side_apply_says_that_it_is_not_there_and_what_to_do() {
    let world = World::start().await;
    let reply =
        world.patch(&format!("{MAPS}/a"), "application/apply-patch+yaml", &map("a", "1")).await.expect(415);
    assert!(reply.message().contains("use client-side apply"), "{reply:?}");
}

#[tokio::test]
async fn the_log_of_a_pod_whose_node_does_not_answer_is_a_clear_error() {
    let world = World::start().await;
    world.bound_pod("a").await;
    let missing = world.get(&format!("{PODS}/a/log")).await.expect(404);
    assert_eq!(missing.message(), "nodes \"n1\" not found");
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } });
    world.post("/api/v1/nodes", &node).await.expect(201);
    // A port that was free a moment ago: nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let status = json!({ "status": {
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
    } });
    world.patch("/api/v1/nodes/n1/status", "merge", &status).await.expect(200);
    let failed = world.get(&format!("{PODS}/a/log")).await.expect(500);
    let start =
        format!("Get \"https://127.0.0.1:{port}/containerLogs/default/a/c\": dial tcp 127.0.0.1:{port}: ");
    assert!(failed.message().starts_with(&start), "{failed:?}");
    let unknown = world.get(&format!("{PODS}/a/log?container=x")).await.expect(400);
    assert_eq!(unknown.message(), "container x is not valid for pod a");
}

#[tokio::test]
async fn a_body_that_is_too_large_or_of_no_known_type_is_refused() {
    let world = World::start().await;
    let large = "x".repeat(4 * 1024 * 1024);
    let too_large = world.post(MAPS, &map("a", &large)).await.expect(413);
    assert_eq!(too_large.reason(), "RequestEntityTooLarge");
    world.send(request(Method::POST, MAPS, "text/html", "<p>")).await.expect(415);
    world.send(request(Method::POST, MAPS, "application/json", "{\"kind\":")).await.expect(400);
    world.send(request(Method::POST, MAPS, "application/json", "[]")).await.expect(400);
    world.send(request(Method::POST, MAPS, "application/json", &"[".repeat(100_000))).await.expect(400);
    world.get(MAPS).await.expect(200);
}

const SERVICES: &str = "/api/v1/namespaces/default/services";

#[tokio::test]
async fn a_service_has_addresses_and_ports_as_its_type_needs_them() {
    let world = World::start().await;
    let service = |name: &str, spec: Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name }, "spec": spec });
    let ports = json!([{ "port": 80 }]);
    let made = world.post(SERVICES, &service("a", json!({ "ports": ports }))).await.expect(201);
    let address = made.body["spec"]["clusterIP"].clone();
    assert_eq!(address, "10.96.0.2");
    let retype = async |kind: &str| {
        let patch = json!({ "spec": { "type": kind, "externalName": "a.example" } });
        world.patch(&format!("{SERVICES}/a"), "strategic", &patch).await.expect(200).body["spec"].clone()
    };
    let spec = retype("NodePort").await;
    assert_eq!((&spec["clusterIP"], &spec["ports"][0]["nodePort"]), (&address, &json!(30000)));
    let taken = json!({ "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30000 }] });
    let refused = world.post(SERVICES, &service("b", taken)).await.expect(422);
    assert!(refused.message().contains("provided port is already allocated"), "{refused:?}");
    let outside = json!({ "spec": { "ports": [{ "port": 80, "nodePort": 1 }] } });
    let refused = world.patch(&format!("{SERVICES}/a"), "strategic", &outside).await.expect(422);
    assert!(refused.message().contains("The range of valid ports is 30000-32767"), "{refused:?}");
    assert_eq!(retype("ClusterIP").await["ports"][0].get("nodePort"), None);
    assert_eq!(retype("ExternalName").await.get("clusterIP"), None);
    assert_eq!(retype("ClusterIP").await["clusterIP"], address);
    let other = json!({ "spec": { "clusterIP": "10.96.0.77" } });
    let refused = world.patch(&format!("{SERVICES}/a"), "merge", &other).await.expect(422);
    assert!(refused.message().contains("may not change once set"), "{refused:?}");
}

#[tokio::test]
async fn an_event_of_either_group_has_the_times_that_kubectl_sorts_by() {
    let world = World::start().await;
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" },
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "example.com/me", "reportingInstance": "me-1",
        "action": "Do", "reason": "Done", "type": "Normal", "note": "It is done.",
        "regarding": { "kind": "Pod", "namespace": "default", "name": "p" },
    });
    let group = "/apis/events.k8s.io/v1/namespaces/default/events";
    let made = world.post(group, &event).await.expect(201);
    assert_eq!(made.body["deprecatedLastTimestamp"], Value::Null);
    let core = world.get("/api/v1/namespaces/default/events/e").await.expect(200).body;
    assert_eq!((&core["message"], &core["source"]), (&json!("It is done."), &json!({})));
    for field in ["firstTimestamp", "lastTimestamp"] {
        assert_eq!(core.get(field), Some(&Value::Null), "{field}");
    }
    let counted = json!({ "count": 2, "lastTimestamp": "2026-01-01T00:01:00Z" });
    let path = "/api/v1/namespaces/default/events/e";
    let patched = world.patch(path, "strategic", &counted).await.expect(200).body;
    assert_eq!((&patched["count"], &patched["firstTimestamp"]), (&json!(2), &Value::Null));
}

#[tokio::test]
async fn the_systems_priority_classes_stay_and_there_is_one_default() {
    let world = World::start().await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let system = world.delete(&format!("{classes}/system-node-critical"), &json!({})).await.expect(403);
    assert!(
        system.message().ends_with("this is a system priority class and cannot be deleted"),
        "{system:?}"
    );
    let class = |name: &str| json!({ "metadata": { "name": name }, "value": 1, "globalDefault": true });
    world.post(classes, &class("a")).await.expect(201);
    let second = world.post(classes, &class("b")).await.expect(403);
    assert_eq!(
        second.message(),
        "priorityclasses.scheduling.k8s.io \"b\" is forbidden: PriorityClass a is already marked as default. Only one default can exist"
    );
    let again = json!({ "description": "still the default" });
    world.patch(&format!("{classes}/a"), "merge", &again).await.expect(200);
    world.delete(&format!("{classes}/a"), &json!({})).await.expect(200);
}
