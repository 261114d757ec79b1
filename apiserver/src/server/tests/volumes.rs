//! Claims, volumes and their classes.

use super::*;

const VOLUMES: &str = "/api/v1/persistentvolumes";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";

fn volume(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": name },
        "spec": {
            "capacity": { "storage": "2Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
            "hostPath": { "path": "/data" },
        },
    })
}

fn claim(name: &str, class: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": name },
        "spec": {
            "resources": { "requests": { "storage": "1Gi" } }, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
        },
    })
}

async fn phase(world: &World, path: &str, phase: &str) -> Reply {
    world.until(path, |reply| reply.body["status"]["phase"] == phase).await
}

#[tokio::test]
async fn a_claim_gets_a_volume_and_each_holds_the_other() {
    let world = World::start().await;
    world.post(VOLUMES, &volume("v", "s")).await.expect(201);
    phase(&world, &format!("{VOLUMES}/v"), "Available").await;
    world.post(CLAIMS, &claim("c", "s")).await.expect(201);
    let bound = phase(&world, &format!("{CLAIMS}/c"), "Bound").await;
    assert_eq!(bound.body["spec"]["volumeName"], "v");
    phase(&world, &format!("{VOLUMES}/v"), "Bound").await;

    // A pod on a node uses the claim: it stays until the pod is gone.
    let mut user = pod("p");
    user["spec"]["nodeName"] = "n1".into();
    user["spec"]["volumes"] = json!([{ "name": "d", "persistentVolumeClaim": { "claimName": "c" } }]);
    world.post(PODS, &user).await.expect(201);
    world.delete(&format!("{CLAIMS}/c"), &json!({})).await.expect(200);
    world.delete(&format!("{VOLUMES}/v"), &json!({})).await.expect(200);
    let held = world.get(&format!("{CLAIMS}/c")).await.expect(200);
    assert_eq!(held.body["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    world.delete(&format!("{PODS}/p"), &json!({ "gracePeriodSeconds": 0 })).await.expect(200);
    world.until(&format!("{CLAIMS}/c"), |reply| reply.code == 404).await;
    world.until(&format!("{VOLUMES}/v"), |reply| reply.code == 404).await;
}

#[tokio::test]
async fn a_volume_stays_with_its_data_when_its_claim_goes() {
    let world = World::start().await;
    world.post(VOLUMES, &volume("v", "s")).await.expect(201);
    world.post(CLAIMS, &claim("c", "s")).await.expect(201);
    phase(&world, &format!("{CLAIMS}/c"), "Bound").await;
    world.delete(&format!("{CLAIMS}/c"), &json!({})).await.expect(200);
    phase(&world, &format!("{VOLUMES}/v"), "Released").await;
    world.post(CLAIMS, &claim("c", "s")).await.expect(201);
    let events = "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dc";
    let told = world.until(events, |events| !events.body["items"].as_array().unwrap().is_empty()).await;
    assert_eq!(told.body["items"][0]["reason"], "ProvisioningFailed");
    assert_eq!(world.get(&format!("{CLAIMS}/c")).await.body["status"]["phase"], "Pending");
    // Who takes the reference away gives it free.
    world.patch(&format!("{VOLUMES}/v"), "merge", &json!({ "spec": { "claimRef": null } })).await.expect(200);
    phase(&world, &format!("{CLAIMS}/c"), "Bound").await;
}

#[tokio::test]
async fn tables_of_volumes_say_what_is_bound_to_what() {
    let world = World::start().await;
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "kubernetes.io/no-provisioner",
        "metadata": { "name": "s", "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } },
    });
    world.post(CLASSES, &class).await.expect(201);
    world.post(VOLUMES, &volume("v", "s")).await.expect(201);
    let mut unsaid = claim("c", "");
    unsaid["spec"].as_object_mut().unwrap().remove("storageClassName");
    world.post(CLAIMS, &unsaid).await.expect(201);
    phase(&world, &format!("{CLAIMS}/c"), "Bound").await;
    phase(&world, &format!("{VOLUMES}/v"), "Bound").await;
    let cells = async |path: &str| {
        let accept = "application/json;as=Table;g=meta.k8s.io;v=v1";
        let request = Request::get(path).header("Accept", accept).body(Body::empty()).unwrap();
        let cells = world.send(request).await.expect(200).body["rows"][0]["cells"].clone();
        let texts = cells.as_array().unwrap().iter().map(|c| c.as_str().map_or(c.to_string(), str::to_owned));
        texts.collect::<Vec<_>>()
    };
    let volumes = cells(VOLUMES).await;
    assert_eq!(volumes[..8], ["v", "2Gi", "RWO", "Retain", "Bound", "default/c", "s", "<unset>"]);
    let claims = cells(CLAIMS).await;
    assert_eq!(claims[..7], ["c", "Bound", "v", "2Gi", "RWO", "s", "<unset>"]);
    let classes = cells(CLASSES).await;
    assert_eq!(classes[..5], ["s (default)", "kubernetes.io/no-provisioner", "Delete", "Immediate", "false"]);
}
