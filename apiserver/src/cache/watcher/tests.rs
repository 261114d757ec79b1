use std::path::Path;

use serde_json::json;

use super::super::tests::after;
use super::super::{EventKind, Limits};
use super::*;
use crate::store::Embedded;

async fn open(dir: &Path, limits: Limits) -> Arc<Cache> {
    Cache::open(Arc::new(Embedded::open(&dir.join("store.redb")).unwrap()), limits).await.unwrap()
}

async fn create(cache: &Cache, key: &str) {
    cache.create(key, json!({"metadata": {"name": key}})).await.unwrap();
}

/// Items in a form that is easy to compare.
fn told(items: &[WatchItem]) -> Vec<String> {
    items
        .iter()
        .map(|item| match item {
            WatchItem::Initial(object) => format!("initial {object:?}"),
            WatchItem::InitialEnd { revision } => format!("end of initial @{revision}"),
            WatchItem::Event(event) => format!("{event:?}"),
            WatchItem::Bookmark { revision } => format!("bookmark @{revision}"),
        })
        .collect()
}

fn state(end_marker: bool) -> WatchQuery {
    let start = WatchStart::State { freshness: Freshness::Latest, end_marker };
    WatchQuery { prefix: "pods/a/".to_owned(), start, bookmark_every: None }
}

#[tokio::test]
async fn a_watch_of_the_state_tells_what_is_there_then_what_changes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), Limits::default()).await;
    for key in ["pods/a/1", "pods/a/2", "pods/b/1"] {
        create(&cache, key).await;
    }
    let mut plain = cache.watch(state(false)).await.unwrap();
    let mut list = cache.watch(state(true)).await.unwrap();
    create(&cache, "pods/b/2").await;
    create(&cache, "pods/a/3").await;
    cache.delete("pods/a/1", 1).await.unwrap();
    let initial = ["initial pods/a/1@1", "initial pods/a/2@2"].map(str::to_owned);
    let events = ["ADDED pods/a/3@5", "DELETED pods/a/1@6"].map(str::to_owned);
    assert_eq!(told(&plain.next_batch().await.unwrap()), [initial.clone(), events.clone()].concat());
    let end = ["end of initial @3".to_owned()];
    assert_eq!(told(&list.next_batch().await.unwrap()), [&initial[..], &end, &events].concat());
    assert!(plain.ready().unwrap().is_empty());
    assert_eq!(plain.position(), 6);
}

#[tokio::test]
async fn an_empty_state_still_has_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), Limits::default()).await;
    let mut watcher = cache.watch(state(true)).await.unwrap();
    assert_eq!(told(&watcher.next_batch().await.unwrap()), ["end of initial @0"]);
}

#[tokio::test]
async fn a_watch_from_now_tells_nothing_that_was() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), Limits::default()).await;
    create(&cache, "pods/a/1").await;
    let query = WatchQuery { start: WatchStart::Now, ..after(0) };
    let mut watcher = cache.watch(query).await.unwrap();
    create(&cache, "pods/a/2").await;
    assert_eq!(told(&watcher.next_batch().await.unwrap()), ["ADDED pods/a/2@2"]);
}

#[tokio::test]
async fn a_watch_resumes_across_a_restart_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    {
        let cache = open(dir.path(), Limits::default()).await;
        create(&cache, "pods/a/1").await;
        create(&cache, "pods/a/2").await;
        cache.update("pods/a/1", json!({"metadata": {"name": "x"}}), 1).await.unwrap();
        cache.delete("pods/a/1", 3).await.unwrap();
    }
    let cache = open(dir.path(), Limits::default()).await;
    let mut watcher = cache.watch(after(1)).await.unwrap();
    create(&cache, "pods/a/3").await;
    let items = watcher.next_batch().await.unwrap();
    assert_eq!(
        told(&items),
        ["ADDED pods/a/2@2", "MODIFIED pods/a/1@3", "DELETED pods/a/1@4", "ADDED pods/a/3@5"]
    );
    let WatchItem::Event(deleted) = &items[2] else { panic!("{items:?}") };
    assert_eq!(deleted.object().value()["metadata"], json!({"name": "x", "resourceVersion": "4"}));
}

#[tokio::test]
async fn a_watch_from_before_the_window_is_refused_and_one_that_falls_behind_ends() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), Limits { events: 4, bytes: usize::MAX }).await;
    create(&cache, "pods/a/1").await;
    let mut slow = cache.watch(after(1)).await.unwrap();
    let mut nodes = cache.watch(WatchQuery { prefix: "nodes/".to_owned(), ..after(0) }).await.unwrap();
    for i in 2..10 {
        create(&cache, &format!("pods/a/{i}")).await;
    }
    let refused = cache.watch(after(4)).await.unwrap_err();
    assert_eq!(refused.to_string(), "too old resource version: 4 (5)");
    assert_eq!(slow.next_batch().await.unwrap_err(), WatchEnd::Expired { position: 1, floor: 5 });
    let mut edge = cache.watch(after(5)).await.unwrap();
    assert_eq!(edge.next_batch().await.unwrap().len(), 4);
    // Another resource's traffic ages nobody.
    create(&cache, "nodes/n").await;
    assert_eq!(told(&nodes.next_batch().await.unwrap()), ["ADDED nodes/n@10"]);
}

#[tokio::test]
async fn a_large_state_comes_in_batches_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), Limits::default()).await;
    let keys: Vec<String> = (0..BATCH + 10).map(|i| format!("pods/a/{i:04}")).collect();
    futures::future::join_all(keys.iter().map(|key| create(&cache, key))).await;
    let mut watcher = cache.watch(state(true)).await.unwrap();
    let first = watcher.next_batch().await.unwrap();
    assert_eq!(first.len(), BATCH);
    let second = watcher.next_batch().await.unwrap();
    assert_eq!(second.len(), 11);
    assert!(matches!(second.last(), Some(WatchItem::InitialEnd { .. })));
    let mut resumed = cache.watch(after(0)).await.unwrap();
    let mut seen = 0;
    while seen < BATCH + 10 {
        seen += resumed.next_batch().await.unwrap().len();
    }
    assert!(resumed.ready().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_tells_how_far_it_is_although_only_others_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), Limits::default()).await;
    create(&cache, "pods/a/1").await;
    let query = WatchQuery { bookmark_every: Some(Duration::from_secs(60)), ..after(1) };
    let mut watcher = cache.watch(query).await.unwrap();
    for i in 0..3 {
        create(&cache, &format!("nodes/{i}")).await;
    }
    let start = Instant::now();
    assert_eq!(told(&watcher.next_batch().await.unwrap()), ["bookmark @4"]);
    assert_eq!(start.elapsed().as_secs(), 60);
    // What a bookmark said can be resumed from.
    create(&cache, "pods/a/2").await;
    let mut resumed = cache.watch(after(4)).await.unwrap();
    let items = resumed.next_batch().await.unwrap();
    assert!(matches!(&items[..], [WatchItem::Event(e)] if e.kind() == EventKind::Added && e.revision() == 5));
}

#[tokio::test]
async fn a_batch_that_is_not_waited_for_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path(), Limits::default()).await;
    let mut watcher = cache.watch(after(0)).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(5), watcher.next_batch()).await;
    assert!(waiting.is_err(), "there is nothing to tell yet");
    create(&cache, "pods/a/1").await;
    assert_eq!(told(&watcher.next_batch().await.unwrap()), ["ADDED pods/a/1@1"]);
}
