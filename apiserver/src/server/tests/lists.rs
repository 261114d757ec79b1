//! Lists in pieces, selectors, tables.

use super::*;

fn names(reply: &Reply) -> Vec<&str> {
    let items = reply.body["items"].as_array().unwrap();
    items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn pages_are_one_moment_whatever_is_written_in_between() {
    let world = World::start().await;
    for name in ["a", "b", "c", "d"] {
        world.post(MAPS, &map(name, "1")).await.expect(201);
    }
    let first = world.get(&format!("{MAPS}?limit=2")).await.expect(200);
    assert_eq!((names(&first), &first.body["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(3)));
    world.delete(&format!("{MAPS}/c"), &json!({})).await.expect(200);
    world.post(MAPS, &map("bb", "1")).await.expect(201);
    let token = first.metadata("continue");
    let second = world.get(&format!("{MAPS}?limit=3&continue={token}")).await.expect(200);
    assert_eq!((names(&second), second.metadata("continue")), (vec!["c", "d", ROOT], ""));
    assert_eq!(first.metadata("resourceVersion"), second.metadata("resourceVersion"));
    assert_eq!(names(&world.get(MAPS).await), ["a", "b", "bb", "d", ROOT]);
}

#[tokio::test]
async fn a_token_from_too_long_ago_is_gone_and_the_fresh_one_goes_on() {
    let world = World::with_history(4).await;
    for name in ["a", "b", "c"] {
        world.post(MAPS, &map(name, "1")).await.expect(201);
    }
    let first = world.get(&format!("{MAPS}?limit=1")).await.expect(200);
    for i in 0..10 {
        world.put(&format!("{MAPS}/a"), &map("a", &format!("v{i}"))).await.expect(200);
    }
    let token = first.metadata("continue");
    let gone = world.get(&format!("{MAPS}?limit=1&continue={token}")).await.expect(410);
    assert_eq!(gone.reason(), "Expired");
    let fresh = gone.metadata("continue");
    assert!(!fresh.is_empty(), "{gone:?}");
    assert_eq!(
        names(&world.get(&format!("{MAPS}?limit=5&continue={fresh}")).await.expect(200)),
        ["b", "c", ROOT]
    );
    world.get(&format!("{MAPS}?continue=nonsense")).await.expect(400);
}

#[tokio::test]
async fn labels_and_fields_select() {
    let world = World::start().await;
    for (name, app) in [("a", "web"), ("b", "db")] {
        let mut pod = pod(name);
        pod["metadata"]["labels"] = json!({ "app": app });
        world.post(PODS, &pod).await.expect(201);
    }
    let selected = async |query: &str| {
        let reply = world.get(&format!("{PODS}?{query}")).await.expect(200);
        names(&reply).join(",")
    };
    assert_eq!(selected("labelSelector=app%3Dweb").await, "a");
    assert_eq!(selected("labelSelector=app%20notin%20(web)").await, "b");
    assert_eq!(selected("fieldSelector=metadata.name%3Db").await, "b");
    assert_eq!(selected("fieldSelector=spec.nodeName%3D,status.phase%3DPending").await, "a,b");
    let refused = world.get(&format!("{PODS}?fieldSelector=spec.foo%3D1")).await.expect(400);
    assert!(refused.message().contains("field label not supported: spec.foo"), "{refused:?}");
    world.get(&format!("{PODS}?labelSelector=app%20in%20(")).await.expect(400);
}

#[tokio::test]
async fn a_version_or_limit_that_is_no_number_is_refused() {
    let world = World::start().await;
    world.get(&format!("{MAPS}?resourceVersion=abc")).await.expect(400);
    world.get(&format!("{MAPS}?resourceVersion=0")).await.expect(200);
    world.get(&format!("{MAPS}?limit=-1")).await.expect(422);
}

#[tokio::test]
async fn kubectls_columns_come_as_a_table() {
    let world = World::start().await;
    world.bound_pod("a").await;
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let ask = Request::get(PODS).header("Accept", accept).body(Body::empty()).unwrap();
    let table = world.send(ask).await.expect(200).body;
    assert_eq!(table["kind"], "Table");
    let columns = table["columnDefinitions"].as_array().unwrap();
    let columns: Vec<&str> = columns.iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(
        columns,
        ["Name", "Ready", "Status", "Restarts", "Age", "IP", "Node", "Nominated Node", "Readiness Gates"]
    );
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..4], [json!("a"), json!("0/1"), json!("Pending"), json!("0")]);
    assert_eq!(cells[6], "n1");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}
