use std::time::Duration;

use futures::FutureExt;
use http::Method;
use kube::api::Api;
use serde_json::{Value, json};

use super::watcher::{Change, Watcher};
use super::*;
use crate::kubeconfig::fake;

fn pod(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "spec": {"containers": []},
        "metadata": {"name": name, "namespace": "fx", "uid": format!("uid-{name}"), "resourceVersion": version, "managedFields": [{"manager": "x"}]},
    })
}

fn names(change: &Change<Pod>) -> Vec<String> {
    let name = |pod: &Pod| {
        assert_eq!(pod.metadata.managed_fields, None);
        pod.metadata.name.clone().unwrap()
    };
    match change {
        Change::Listed(pods) => pods.iter().map(name).collect(),
        Change::Applied(pod) | Change::Deleted(pod) => vec![name(pod)],
    }
}

fn watcher() -> (Watcher<Pod>, fake::FakeApi) {
    let (client, api) = fake::api();
    (Watcher::new(Api::all(client), "spec.nodeName=node1".to_owned(), "pods"), api)
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_where_it_was_and_bookmarks_move_it() {
    let (mut watcher, mut api) = watcher();
    let server = async {
        let list = api.next().await;
        list.is(&Method::GET, "/api/v1/pods");
        assert_eq!(list.query["fieldSelector"], "spec.nodeName%3Dnode1");
        list.list("10", json!([pod("a", "5")]));
        let call = api.next().await;
        assert_eq!(call.query["resourceVersion"], "10");
        assert_eq!(call.query["allowWatchBookmarks"], "true");
        let watch = call.watch();
        watch.send("ADDED", pod("b", "11")).await;
        watch
            .send(
                "BOOKMARK",
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"resourceVersion": "20"}}),
            )
            .await;
        drop(watch);
        let call = api.next().await;
        assert_eq!(call.query["resourceVersion"], "20");
        let watch = call.watch();
        watch.send("DELETED", pod("a", "21")).await;
        watch
    };
    let client = async {
        assert_eq!(names(&watcher.next().await), ["a"]);
        let added = watcher.next().await;
        assert!(matches!(added, Change::Applied(_)) && names(&added) == ["b"]);
        let deleted = watcher.next().await;
        assert!(matches!(deleted, Change::Deleted(_)) && names(&deleted) == ["a"]);
    };
    tokio::join!(server, client);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_too_old_is_listed_anew() {
    let (mut watcher, mut api) = watcher();
    let server = async {
        api.next().await.list("10", json!([]));
        let watch = api.next().await.watch();
        watch.send("ERROR", json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"})).await;
        let call = api.next().await;
        assert!(!call.query.contains_key("watch"));
        call.list("30", json!([pod("c", "29")]));
        let call = api.next().await;
        assert_eq!(call.query["resourceVersion"], "30");
        call.fail(410, "Expired");
        api.next().await.list("40", json!([pod("d", "39")]));
    };
    let client = async {
        assert_eq!(names(&watcher.next().await), Vec::<String>::new());
        assert_eq!(names(&watcher.next().await), ["c"]);
        assert_eq!(names(&watcher.next().await), ["d"]);
    };
    tokio::join!(server, client);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_asked_with_growing_pauses() {
    let (mut watcher, mut api) = watcher();
    let server = async {
        let began = tokio::time::Instant::now();
        for _ in 0..20 {
            drop(api.next().await);
        }
        let elapsed = began.elapsed();
        assert!(elapsed > Duration::from_secs(30) && elapsed < Duration::from_secs(100), "{elapsed:?}");
        api.next().await.list("1", json!([]));
    };
    let ((), change) = tokio::join!(server, watcher.next());
    assert_eq!(change, Change::Listed(vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_watch_on_which_nothing_comes_is_opened_again() {
    let (mut watcher, mut api) = watcher();
    let server = async {
        api.next().await.list("10", json!([]));
        let silent = api.next().await.watch();
        let call = api.next().await;
        assert_eq!(call.query["resourceVersion"], "10");
        let watch = call.watch();
        watch.send("MODIFIED", pod("a", "12")).await;
        (silent, watch)
    };
    let client = async {
        watcher.next().await;
        assert_eq!(names(&watcher.next().await), ["a"]);
    };
    tokio::join!(server, client);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_loses_no_event() {
    let (mut watcher, mut api) = watcher();
    let server = async {
        api.next().await.list("10", json!([]));
        api.next().await.watch()
    };
    let (watch, _) = tokio::join!(server, async {
        watcher.next().await;
        tokio::time::timeout(Duration::from_secs(1), watcher.next()).await.unwrap_err();
    });
    assert!(watcher.next().now_or_never().is_none());
    watch.send("ADDED", pod("a", "11")).await;
    assert_eq!(names(&watcher.next().await), ["a"]);
}

#[test]
fn static_and_mirror_pods_are_told_apart() {
    let with = |annotations: Value| -> Pod {
        serde_json::from_value(json!({"metadata": {"annotations": annotations}})).unwrap()
    };
    assert!(!is_static(&Pod::default()) && !is_mirror(&Pod::default()));
    assert!(is_static(&with(json!({CONFIG_SOURCE: "file"}))));
    assert!(!is_static(&with(json!({CONFIG_SOURCE: "api"}))));
    let mirror = with(json!({CONFIG_SOURCE: "file", CONFIG_MIRROR: "h"}));
    assert!(is_mirror(&mirror) && !is_static(&mirror));
}

#[test]
fn delays_double_up_to_their_bound_and_are_spread() {
    let mut backoff = backoff::Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    for expected in [200, 400, 800, 1600, 3200, 5000, 5000] {
        let delay = backoff.delay().as_millis();
        assert!((expected / 2..=expected).contains(&delay), "{delay} for {expected}");
    }
    backoff.reset();
    assert!(backoff.delay() <= Duration::from_millis(200));
}
