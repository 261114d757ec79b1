use std::cell::Cell;

use serde_json::json;

use super::*;
use crate::store::Record;

fn record(node: &str, revision: u64) -> Record {
    let value = json!({"metadata": {"name": "a"}, "spec": {"nodeName": node}});
    Record { value: serde_json::to_vec(&value).unwrap().into(), mod_revision: revision, create_revision: 1 }
}

fn event(before: Option<&str>, after: Option<&str>) -> Event {
    let change = Change {
        revision: 9,
        key: "pods/default/a".into(),
        before: before.map(|node| record(node, 4)),
        after: after.map(|node| record(node, 9)),
    };
    Event::new(change, None).unwrap()
}

fn on(node: &'static str) -> impl Fn(&Value) -> bool {
    move |object| object["spec"]["nodeName"] == node
}

#[test]
fn an_object_that_comes_into_sight_is_added_and_one_that_goes_is_deleted() {
    let moved = event(Some("n1"), Some("n2"));
    let gone = moved.seen_by(on("n1")).unwrap();
    assert_eq!(gone.kind, EventKind::Deleted);
    // The last version that this watcher could see, at the revision of the event.
    assert_eq!(gone.object.value()["spec"]["nodeName"], "n1");
    assert_eq!(gone.object.value()["metadata"]["resourceVersion"], "9");
    let come = moved.seen_by(on("n2")).unwrap();
    assert_eq!((come.kind, &come.object.value()["spec"]["nodeName"]), (EventKind::Added, &json!("n2")));
    assert!(moved.seen_by(on("n3")).is_none());
    assert_eq!(moved.seen_by_all().kind, EventKind::Modified);
}

#[test]
fn creation_change_and_deletion_are_seen_by_those_who_see_the_object() {
    assert_eq!(event(None, Some("n1")).seen_by(on("n1")).unwrap().kind, EventKind::Added);
    assert!(event(None, Some("n1")).seen_by(on("n2")).is_none());
    assert_eq!(event(Some("n1"), Some("n1")).seen_by(on("n1")).unwrap().kind, EventKind::Modified);
    let deleted = event(Some("n1"), None).seen_by(on("n1")).unwrap();
    assert_eq!(deleted.kind, EventKind::Deleted);
    assert_eq!(deleted.object.value()["metadata"]["resourceVersion"], "9");
    assert!(event(Some("n1"), None).seen_by(on("n2")).is_none());
}

#[test]
fn an_event_is_encoded_once_per_form_and_type_while_it_is_recent() {
    let event = event(Some("n1"), Some("n2"));
    let count = Cell::new(0);
    let encode = |sight: &Sight| {
        count.set(count.get() + 1);
        Bytes::from(sight.object.to_json())
    };
    let (all, gone) = (event.seen_by_all(), event.seen_by(on("n1")).unwrap());
    for _ in 0..3 {
        event.encoded(0, &all, encode);
        event.encoded(1, &all, encode);
        event.encoded(0, &gone, encode);
    }
    assert_eq!(count.get(), 3);
    event.cool();
    event.encoded(0, &all, encode);
    event.encoded(0, &all, encode);
    assert_eq!(count.get(), 5, "a watcher that is behind pays for itself");
    assert_eq!(event.seen_by(on("n2")).unwrap().kind, EventKind::Added);
}
