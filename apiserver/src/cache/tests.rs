use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::store::Embedded;

async fn open(dir: &Path) -> Arc<Cache> {
    open_with(dir, Limits::default()).await
}

async fn open_with(dir: &Path, limits: Limits) -> Arc<Cache> {
    let store = Embedded::open(&dir.join("store.redb")).unwrap();
    Cache::open(Arc::new(store), limits).await.unwrap()
}

fn pod(name: &str, node: &str) -> Value {
    json!({"kind": "Pod", "metadata": {"name": name, "resourceVersion": "999"}, "spec": {"nodeName": node}})
}

fn names(objects: &[Arc<Object>]) -> Vec<String> {
    objects.iter().map(|o| o.value()["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn all(at: ReadAt, limit: usize) -> ListQuery {
    ListQuery { prefix: "pods/".to_owned(), limit, at }
}

pub(super) fn after(revision: u64) -> WatchQuery {
    WatchQuery { prefix: "pods/".to_owned(), start: WatchStart::After(revision), bookmark_every: None }
}

#[tokio::test]
async fn a_write_is_seen_by_the_next_read_with_its_revision() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    let created = cache.create("pods/default/a", pod("a", "n1")).await.unwrap();
    assert_eq!(created.value()["metadata"]["resourceVersion"], "1", "never what the caller wrote there");
    assert!(Arc::ptr_eq(&cache.get("pods/default/a").await.unwrap().unwrap(), &created));
    let updated = cache.update("pods/default/a", pod("a", "n2"), 1).await.unwrap();
    assert_eq!((updated.revision(), updated.create_revision()), (2, 1));
    let listing = cache.list(&all(ReadAt::Latest, 0), None).await.unwrap();
    assert_eq!((listing.revision, listing.objects[0].revision()), (2, 2));
    let deleted = cache.delete("pods/default/a", 2).await.unwrap();
    assert_eq!(deleted.value()["metadata"]["resourceVersion"], "3");
    assert_eq!(deleted.value()["spec"]["nodeName"], "n2");
    assert!(cache.get("pods/default/a").await.unwrap().is_none());
    assert!(matches!(cache.delete("pods/default/a", 2).await, Err(WriteError::NotFound { .. })));
}

#[tokio::test]
async fn an_update_that_changes_nothing_keeps_the_revision() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    cache.create("pods/default/a", pod("a", "n1")).await.unwrap();
    assert_eq!(cache.update("pods/default/a", pod("a", "n1"), 1).await.unwrap().revision(), 1);
    assert_eq!(cache.revision(), 1);
    let conflict = cache.update("pods/default/a", pod("a", "n1"), 7).await.unwrap_err();
    assert!(matches!(conflict, WriteError::Conflict { .. }));
}

#[tokio::test]
async fn pages_show_one_revision_whatever_is_written_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    for name in ["a", "b", "c", "d", "e"] {
        cache.create(&format!("pods/default/{name}"), pod(name, "n1")).await.unwrap();
    }
    let first = cache.list(&all(ReadAt::Latest, 2), None).await.unwrap();
    assert_eq!((names(&first.objects), first.remaining), (vec!["a".to_owned(), "b".to_owned()], Some(3)));

    cache.delete("pods/default/c", 3).await.unwrap();
    cache.update("pods/default/d", pod("d", "moved"), 4).await.unwrap();
    cache.create("pods/default/cc", pod("cc", "n1")).await.unwrap();

    let token = Continue::parse(&first.next.unwrap()).unwrap();
    let second = cache.list(&all(ReadAt::Continue(token), 2), None).await.unwrap();
    assert_eq!((second.revision, second.remaining), (5, Some(1)));
    assert_eq!(names(&second.objects), ["c", "d"]);
    assert_eq!(second.objects[1].value()["spec"]["nodeName"], "n1");
    let token = Continue::parse(&second.next.unwrap()).unwrap();
    let third = cache.list(&all(ReadAt::Continue(token), 2), None).await.unwrap();
    assert_eq!((names(&third.objects), third.next, third.remaining), (vec!["e".to_owned()], None, None));

    let exact = cache.list(&all(ReadAt::Exact(6), 0), None).await.unwrap();
    assert_eq!(
        (exact.revision, names(&exact.objects)),
        (6, vec!["a", "b", "d", "e"].into_iter().map(str::to_owned).collect())
    );
}

#[tokio::test]
async fn a_page_is_full_of_what_the_filter_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    for (i, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        cache
            .create(&format!("pods/default/{name}"), pod(name, if i % 2 == 0 { "n1" } else { "n2" }))
            .await
            .unwrap();
    }
    let on_n1 = |object: &Value| object["spec"]["nodeName"] == "n1";
    let first = cache.list(&all(ReadAt::Any, 2), Some(&on_n1)).await.unwrap();
    assert_eq!((names(&first.objects), first.remaining), (vec!["a".to_owned(), "c".to_owned()], None));
    let token = Continue::parse(&first.next.unwrap()).unwrap();
    let second = cache.list(&all(ReadAt::Continue(token), 2), Some(&on_n1)).await.unwrap();
    assert_eq!((names(&second.objects), second.next), (vec!["e".to_owned()], None));
}

#[tokio::test]
async fn a_token_that_is_too_old_is_expired_and_the_fresh_one_gives_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open_with(dir.path(), Limits { events: 3, bytes: usize::MAX }).await;
    for name in ["a", "b", "c", "d"] {
        cache.create(&format!("pods/default/{name}"), pod(name, "n1")).await.unwrap();
    }
    let first = cache.list(&all(ReadAt::Latest, 2), None).await.unwrap();
    for revision in 4..9 {
        cache.update("pods/default/d", pod("d", &format!("n{revision}")), revision).await.unwrap();
    }
    let token = Continue::parse(&first.next.unwrap()).unwrap();
    let expired = cache.list(&all(ReadAt::Continue(token), 1), None).await.unwrap_err();
    let ListError::ContinueExpired { fresh } = expired else { panic!("{expired}") };
    let token = Continue::parse(&fresh).unwrap();
    let rest = cache.list(&all(ReadAt::Continue(token), 1), None).await.unwrap();
    assert_eq!((rest.revision, names(&rest.objects)), (9, vec!["c".to_owned()]));
    let token = Continue::parse(&rest.next.unwrap()).unwrap();
    let rest = cache.list(&all(ReadAt::Continue(token), 1), None).await.unwrap();
    assert_eq!(names(&rest.objects), ["d"]);

    let exact = cache.list(&all(ReadAt::Exact(4), 0), None).await.unwrap_err();
    assert!(matches!(exact, ListError::Expired { requested: 4, floor: 6 }), "{exact}");
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_does_not_come_is_too_large_and_one_that_comes_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    cache.create("pods/default/a", pod("a", "n1")).await.unwrap();
    let refused = cache.list(&all(ReadAt::NotOlderThan(9), 0), None).await.unwrap_err();
    assert_eq!(refused.to_string(), "Too large resource version: 9, current: 1");
    let refused = cache.watch(after(9)).await.unwrap_err();
    assert!(matches!(refused, WatchError::TooLarge { requested: 9, current: 1 }));

    let waiting = cache.clone();
    let query = all(ReadAt::NotOlderThan(2), 0);
    let (listing, _) = tokio::join!(waiting.list(&query, None), cache.state.apply_for_test(2),);
    assert_eq!(listing.unwrap().revision, 2);
}

impl Shared {
    /// A change that comes by itself, as from a store that others write to.
    async fn apply_for_test(&self, revision: u64) {
        tokio::task::yield_now().await;
        let record = Record { value: "{}".into(), mod_revision: revision, create_revision: revision };
        self.apply(vec![Change {
            revision,
            key: "pods/default/other".into(),
            before: None,
            after: Some(record),
        }]);
    }
}

/// Writers and watchers all at once, on the real store: each watcher ends with what a list shows, having seen each event once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watchers_that_join_at_any_time_see_every_event_once() {
    const WRITERS: u64 = 8;
    const WRITES: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let cache = open(dir.path()).await;
    let writers = (0..WRITERS).map(|writer| {
        let cache = cache.clone();
        tokio::spawn(async move {
            let key = format!("pods/default/{writer}");
            let mut revision = None;
            for i in 0..WRITES {
                revision = match revision {
                    None => Some(cache.create(&key, pod(&i.to_string(), "n")).await.unwrap().revision()),
                    Some(at) if i % 7 == 6 => {
                        cache.delete(&key, at).await.unwrap();
                        None
                    }
                    Some(at) => {
                        Some(cache.update(&key, pod(&i.to_string(), "n"), at).await.unwrap().revision())
                    }
                };
            }
        })
    });
    let watchers = (0..12_u64).map(|joins_at| {
        let cache = cache.clone();
        tokio::spawn(async move {
            cache.wait_for(joins_at * 30, Duration::from_secs(60)).await.unwrap();
            let start = WatchStart::State { freshness: Freshness::Any, end_marker: true };
            let query = WatchQuery { prefix: "pods/".to_owned(), start, bookmark_every: None };
            let mut watcher = cache.watch(query).await.unwrap();
            let mut view: BTreeMap<Arc<str>, u64> = BTreeMap::new();
            let mut last = 0;
            while last < WRITERS * WRITES {
                for item in watcher.next_batch().await.unwrap() {
                    match item {
                        WatchItem::Initial(object) => {
                            assert!(view.insert(object.key().clone(), object.revision()).is_none());
                        }
                        WatchItem::InitialEnd { revision } => last = revision,
                        WatchItem::Bookmark { .. } => panic!("no bookmarks were asked for"),
                        WatchItem::Event(event) => {
                            assert_eq!(event.revision(), last + 1, "no event is lost or doubled");
                            last = event.revision();
                            let before = match event.kind() {
                                EventKind::Deleted => view.remove(event.key()),
                                _ => view.insert(event.key().clone(), event.revision()),
                            };
                            assert_eq!(before, event.previous().map(|p| p.revision()));
                        }
                    }
                }
            }
            view
        })
    });
    let (writers, watchers): (Vec<_>, Vec<_>) = (writers.collect(), watchers.collect());
    for writer in writers {
        writer.await.unwrap();
    }
    let truth: BTreeMap<_, _> =
        cache.list_cached("pods/").iter().map(|o| (o.key().clone(), o.revision())).collect();
    for watcher in watchers {
        assert_eq!(watcher.await.unwrap(), truth);
    }
}
