//! Watches: from the state, from a version, over a restart, from too long ago.

use super::*;

fn pairs(events: &[(&str, &str)]) -> Vec<(String, String)> {
    events.iter().map(|(kind, name)| ((*kind).to_owned(), (*name).to_owned())).collect()
}

async fn take(watch: &mut Watch, count: usize) -> Vec<(String, String)> {
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(watch.next_short().await);
    }
    events
}

#[tokio::test]
async fn a_watch_from_a_list_tells_all_that_comes_after_it() {
    let world = World::start().await;
    world.post(MAPS, &map("a", "1")).await.expect(201);
    let list = world.get(MAPS).await;
    world.post(MAPS, &map("b", "1")).await.expect(201);
    let version = list.metadata("resourceVersion");
    let mut watch = Watch::start(&world, &format!("{MAPS}?watch=true&resourceVersion={version}")).await;
    world.put(&format!("{MAPS}/b"), &map("b", "2")).await.expect(200);
    world.delete(&format!("{MAPS}/a"), &json!({})).await.expect(200);
    assert_eq!(take(&mut watch, 3).await, pairs(&[("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "a")]));
}

#[tokio::test]
async fn the_state_comes_first_and_a_bookmark_says_where_it_ends() {
    let world = World::start().await;
    world.post(MAPS, &map("a", "1")).await.expect(201);
    let path = format!(
        "{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut watch = Watch::start(&world, &path).await;
    assert_eq!(watch.next_short().await, ("ADDED".to_owned(), "a".to_owned()));
    assert_eq!(watch.next_short().await, ("ADDED".to_owned(), ROOT.to_owned()));
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    let metadata = &bookmark["object"]["metadata"];
    assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"], "true");
    let seen: u64 = metadata["resourceVersion"].as_str().unwrap().parse().unwrap();
    let after = world.post(MAPS, &map("b", "1")).await.expect(201);
    assert!(after.metadata("resourceVersion").parse::<u64>().unwrap() > seen);
    assert_eq!(watch.next_short().await, ("ADDED".to_owned(), "b".to_owned()));
}

#[tokio::test]
async fn a_watch_that_resumes_over_a_restart_misses_nothing() {
    let mut world = World::start().await;
    let start = world.get(MAPS).await;
    world.post(MAPS, &map("a", "1")).await.expect(201);
    world.restart().await;
    world.post(MAPS, &map("b", "1")).await.expect(201);
    let version = start.metadata("resourceVersion");
    let mut watch = Watch::start(&world, &format!("{MAPS}?watch=true&resourceVersion={version}")).await;
    assert_eq!(take(&mut watch, 2).await, pairs(&[("ADDED", "a"), ("ADDED", "b")]));
}

#[tokio::test]
async fn a_watch_from_before_the_history_begins_with_410_and_ends() {
    let world = World::with_history(4).await;
    let old = world.post(MAPS, &map("a", "1")).await.expect(201);
    for i in 0..10 {
        world.put(&format!("{MAPS}/a"), &map("a", &format!("v{i}"))).await.expect(200);
    }
    let version = old.metadata("resourceVersion");
    let mut watch = Watch::start(&world, &format!("{MAPS}?watch=true&resourceVersion={version}")).await;
    let error = watch.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert_eq!(error["object"]["reason"], "Expired");
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn a_selective_watch_sees_objects_come_and_go_as_they_change() {
    let world = World::start().await;
    let mut watch = Watch::start(&world, &format!("{MAPS}?watch=true&labelSelector=app%3Dweb")).await;
    world.post(MAPS, &map("a", "1")).await.expect(201);
    let label = |app: Value| json!({ "metadata": { "labels": { "app": app } } });
    for app in [json!("web"), Value::Null] {
        world.patch(&format!("{MAPS}/a"), "merge", &label(app)).await.expect(200);
    }
    assert_eq!(take(&mut watch, 2).await, pairs(&[("ADDED", "a"), ("DELETED", "a")]));
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over_or_the_server_stops() {
    let mut world = World::start().await;
    let none = "labelSelector=no%3Done";
    let mut watch = Watch::start(&world, &format!("{MAPS}?watch=true&timeoutSeconds=1&{none}")).await;
    assert_eq!(watch.next().await, None);
    let mut watch = Watch::start(&world, &format!("{MAPS}?watch=true&{none}")).await;
    world.restart().await;
    assert_eq!(watch.next().await, None);
}
