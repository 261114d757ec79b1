use futures::FutureExt;
use http::Method;
use serde_json::{Value, json};

use super::*;
use crate::kubeconfig::fake::{self, FakeApi};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "team", "uid": "u"}, "spec": spec}))
        .expect("a pod")
}

/// Refers to the config map `m`.
fn plain() -> Pod {
    pod(json!({"containers": [], "volumes": [{"name": "v", "configMap": {"name": "m"}}]}))
}

fn map(version: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "team", "uid": "mu", "resourceVersion": version},
           "data": {"key": value}, "binaryData": {"raw": "AAE="}})
}

fn objects() -> (Objects, FakeApi) {
    let (client, api) = fake::api();
    (Objects::new(Some(Seats::new(move |_| client.clone()))), api)
}

fn file<'a>(object: &'a Object, key: &str) -> Option<&'a [u8]> {
    object.files().find(|(name, _)| *name == key).map(|(_, bytes)| bytes)
}

async fn listed(api: &mut FakeApi, items: Value) -> fake::Call {
    let list = api.next().await;
    list.is(&Method::GET, "/api/v1/namespaces/team/configmaps");
    assert_eq!(list.query["fieldSelector"], "metadata.name%3Dm");
    assert!(!list.query.contains_key("watch"));
    list.list("10", items);
    api.next().await
}

#[tokio::test(start_paused = true)]
async fn an_object_is_read_once_for_all_pods_and_its_watch_ends_with_the_last_of_them() {
    let (objects, mut api) = objects();
    let (first, second) = (
        objects.register(&plain()).expect("it refers to one"),
        objects.register(&plain()).expect("it refers to one"),
    );
    let watch = listed(&mut api, json!([map("9", "one")])).await.watch();
    for _ in 0..3 {
        let read = objects.get(Kind::ConfigMap, "team", "m").await.expect("read");
        assert_eq!(file(&read, "key"), Some(b"one".as_slice()));
        assert_eq!(file(&read, "raw"), Some([0, 1].as_slice()));
        assert_eq!(read.variable("key"), Some(b"one".as_slice()));
        assert_eq!(read.variable("raw"), None, "binary data are no variables");
    }
    drop(first);
    watch.send("MODIFIED", map("11", "two")).await;
    let mut second = second;
    second.changed().await;
    second.changed().await;
    assert_eq!(
        file(&objects.get(Kind::ConfigMap, "team", "m").await.expect("read"), "key"),
        Some(b"two".as_slice())
    );
    drop(second);
    let gone = objects.get(Kind::ConfigMap, "team", "m").await.expect_err("nobody refers to it");
    assert_eq!(gone.to_string(), "object \"team\"/\"m\" not registered");
    assert!(api.is_idle());
    assert!(objects.0.tables().watched.is_empty() && objects.0.tables().registered.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_told_by_name_and_its_appearance_at_once() {
    let (objects, mut api) = objects();
    let mut registration = objects.register(&plain()).expect("it refers to one");
    let watch = listed(&mut api, json!([])).await.watch();
    registration.changed().await;
    let missing = objects.get(Kind::ConfigMap, "team", "m").await.expect_err("there is none");
    assert_eq!(missing.to_string(), "configmap \"m\" not found");
    assert!(registration.changed().now_or_never().is_none());
    watch.send("ADDED", map("11", "one")).await;
    registration.changed().await;
    assert!(objects.get(Kind::ConfigMap, "team", "m").await.is_ok());
    watch.send("DELETED", map("12", "one")).await;
    registration.changed().await;
    assert!(objects.get(Kind::ConfigMap, "team", "m").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_immutable_object_is_not_watched() {
    let (objects, mut api) = objects();
    let mut registration = objects.register(&plain()).expect("it refers to one");
    let mut object = map("9", "one");
    object["immutable"] = json!(true);
    api.next().await.list("10", json!([object]));
    registration.changed().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(api.is_idle());
    assert!(objects.get(Kind::ConfigMap, "team", "m").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_was_read_serves_while_the_api_server_is_away() {
    let (objects, mut api) = objects();
    let _registration = objects.register(&plain()).expect("it refers to one");
    let watch = listed(&mut api, json!([map("9", "one")])).await.watch();
    drop(watch);
    for _ in 0..5 {
        drop(api.next().await);
    }
    let read = objects.get(Kind::ConfigMap, "team", "m").await.expect("what was known");
    assert_eq!(file(&read, "key"), Some(b"one".as_slice()));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_and_an_api_server_that_is_away_are_told_apart() {
    let (objects, mut api) = objects();
    let mut registration = objects.register(&plain()).expect("it refers to one");
    // Only one attempt is answered: when the next comes, the back-off says.
    api.next().await.fail(403, "configmaps \"m\" is forbidden: no relationship");
    let refused = objects.get(Kind::ConfigMap, "team", "m").await.expect_err("refused");
    assert_eq!(refused.to_string(), "configmaps \"m\" is forbidden: no relationship");
    drop(api.next().await);
    let away = objects.get(Kind::ConfigMap, "team", "m").await.expect_err("away");
    assert!(away.to_string().starts_with("failed to sync configmap cache: "), "{away}");
    let server = async { listed(&mut api, json!([map("9", "one")])).await.watch() };
    let ((), _watch) = tokio::join!(registration.changed(), server);
    assert!(objects.get(Kind::ConfigMap, "team", "m").await.is_ok());
}

#[tokio::test]
async fn without_an_api_server_a_read_fails_by_name() {
    let objects = Objects::new(None);
    let _registration = objects.register(&plain()).expect("it refers to one");
    let error = objects.get(Kind::Secret, "team", "s").await.expect_err("no server");
    assert_eq!(error.to_string(), "secret \"s\" cannot be read: this node has no API server");
}

#[test]
fn every_reference_of_a_pod_counts_and_none_of_a_static_one() {
    let spec = json!({
        "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}]}],
        "containers": [{"name": "c", "env": [
            {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
            {"name": "Y", "valueFrom": {"secretKeyRef": {"name": "d", "key": "k"}}}]}],
        "ephemeralContainers": [{"name": "e", "envFrom": [{"configMapRef": {"name": "e"}}]}],
        "volumes": [{"name": "1", "configMap": {"name": "f"}}, {"name": "2", "secret": {"secretName": "g"}},
                    {"name": "3", "projected": {"sources": [{"configMap": {"name": "h"}}, {"secret": {"name": "i"}}]}},
                    {"name": "4", "configMap": {"name": "not a name,metadata.namespace=x"}}, {"name": "5", "emptyDir": {}}],
    });
    let mut pod = pod(spec);
    let names = |pod: &Pod| references::of(pod).iter().map(|key| format!("{key:?}")).collect::<Vec<_>>();
    assert_eq!(
        names(&pod),
        [
            "configmap team/a",
            "configmap team/c",
            "configmap team/e",
            "configmap team/f",
            "configmap team/h",
            "secret team/b",
            "secret team/d",
            "secret team/g",
            "secret team/i"
        ]
    );
    pod.metadata.annotations = Some([("kubernetes.io/config.source".to_owned(), "file".to_owned())].into());
    assert!(names(&pod).is_empty());
}

#[test]
fn no_value_is_in_a_debug_text() {
    let secret: k8s_openapi::api::core::v1::Secret =
        serde_json::from_value(json!({"metadata": {"name": "s"}, "data": {"key": "aHVudGVyMg=="}}))
            .expect("a secret");
    let object = Object::from(secret);
    assert_eq!(object.variable("key"), Some(b"hunter2".as_slice()));
    let text = format!("{object:?}");
    assert!(!text.contains("hunter2") && !text.contains("104, 117"), "{text}");
}
