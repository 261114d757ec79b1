//! Owners and what they own.

use super::*;

/// A map that these own.
async fn owned(world: &World, name: &str, owners: &[(&Reply, bool)]) -> Reply {
    let reference = |(owner, blocks): &(&Reply, bool)| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "name": owner.metadata("name"), "uid": owner.metadata("uid"),
            "blockOwnerDeletion": blocks,
        })
    };
    let mut object = map(name, "1");
    object["metadata"]["ownerReferences"] = owners.iter().map(reference).collect();
    world.post(MAPS, &object).await.expect(201)
}

/// Waits until this is so.
async fn until(world: &World, name: &str, wanted: impl Fn(&Reply) -> bool) -> Reply {
    world.until(&format!("{MAPS}/{name}"), wanted).await
}

async fn gone(world: &World, name: &str) {
    until(world, name, |reply| reply.code == 404).await;
}

#[tokio::test]
async fn what_is_owned_goes_after_its_last_owner_down_to_the_last() {
    let world = World::start().await;
    let (a, b) = (world.post(MAPS, &map("a", "1")).await, world.post(MAPS, &map("b", "1")).await);
    let child = owned(&world, "child", &[(&a, false)]).await;
    owned(&world, "grandchild", &[(&child, false)]).await;
    owned(&world, "shared", &[(&a, false), (&b, false)]).await;
    world.delete(&format!("{MAPS}/a"), &json!({})).await.expect(200);
    gone(&world, "grandchild").await;
    gone(&world, "child").await;
    let kept =
        until(&world, "shared", |r| r.body["metadata"]["ownerReferences"].as_array().unwrap().len() == 1)
            .await;
    assert_eq!(kept.body["metadata"]["ownerReferences"][0]["name"], "b");
    world.delete(&format!("{MAPS}/b"), &json!({})).await.expect(200);
    gone(&world, "shared").await;
}

#[tokio::test]
async fn an_owner_that_is_not_there_owns_nothing() {
    let world = World::start().await;
    let real = world.post(MAPS, &map("a", "1")).await;
    let mut other = Reply { code: 200, warnings: Vec::new(), body: real.body.clone() };
    other.body["metadata"]["uid"] = "another".into();
    owned(&world, "lost", &[(&other, false)]).await;
    gone(&world, "lost").await;
    // Of kinds that this server does not have it knows nothing.
    let mut foreign = map("foreign", "1");
    foreign["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "r" }]);
    world.post(MAPS, &foreign).await.expect(201);
    owned(&world, "later", &[(&other, false)]).await;
    gone(&world, "later").await;
    world.get(&format!("{MAPS}/foreign")).await.expect(200);
}

#[tokio::test]
async fn orphans_stay_and_forget_their_owner() {
    let world = World::start().await;
    let a = world.post(MAPS, &map("a", "1")).await;
    owned(&world, "child", &[(&a, true)]).await;
    world.delete(&format!("{MAPS}/a"), &json!({ "propagationPolicy": "Orphan" })).await.expect(200);
    gone(&world, "a").await;
    let child = world.get(&format!("{MAPS}/child")).await.expect(200);
    assert_eq!(child.body["metadata"].get("ownerReferences"), None);
}

#[tokio::test]
async fn in_the_foreground_the_owner_waits_for_those_that_block() {
    let world = World::start().await;
    let a = world.post(MAPS, &map("a", "1")).await;
    let mut held = map("child", "1");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    held["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": a.metadata("uid"), "blockOwnerDeletion": true,
    }]);
    world.post(MAPS, &held).await.expect(201);
    owned(&world, "plain", &[(&a, false)]).await;
    let options = json!({ "propagationPolicy": "Foreground" });
    let marked = world.delete(&format!("{MAPS}/a"), &options).await.expect(200);
    assert_eq!(marked.body["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    until(&world, "child", |child| !child.metadata("deletionTimestamp").is_empty()).await;
    gone(&world, "plain").await;
    world.get(&format!("{MAPS}/a")).await.expect(200);
    world
        .patch(&format!("{MAPS}/child"), "merge", &json!({ "metadata": { "finalizers": null } }))
        .await
        .expect(200);
    gone(&world, "child").await;
    gone(&world, "a").await;
}

#[tokio::test]
async fn a_server_that_starts_again_finds_what_was_lost_meanwhile() {
    let mut world = World::start().await;
    let a = world.post(MAPS, &map("a", "1")).await;
    owned(&world, "child", &[(&a, true)]).await;
    let options = json!({ "propagationPolicy": "Foreground" });
    world.delete(&format!("{MAPS}/a"), &options).await.expect(200);
    world.restart().await;
    gone(&world, "child").await;
    gone(&world, "a").await;
}
