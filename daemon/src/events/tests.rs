use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::backlog::Backlog;
use super::correlate::{Correlator, Write};
use super::*;
use crate::kubeconfig::fake::{self, FakeApi};

fn pod(name: &str) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": name, "namespace": "fx", "uid": "u", "resourceVersion": "650"}}),
    )
    .unwrap()
}

fn occurrence(message: &str) -> Occurrence {
    Occurrence {
        object: ObjectReference {
            kind: Some("Pod".into()),
            name: Some("p".into()),
            namespace: Some("fx".into()),
            ..Default::default()
        },
        warning: false,
        reason: "Pulled".into(),
        message: message.into(),
        at: Timestamp::from_nanosecond(0x18ea_83de_0ea1_b0f4).unwrap(),
        annotations: BTreeMap::new(),
    }
}

fn started() -> (Recorder, FakeApi, watch::Sender<bool>) {
    let (client, api) = fake::api();
    let (recorder, sender) = Recorder::new(Some(client), "node1", Rates::default());
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(sender.run(stopped));
    (recorder, api, stop)
}

#[test]
fn an_event_has_the_shape_that_a_kubelet_gives_it() {
    let mut event = occurrence("m");
    event.object.field_path = Some("spec.containers{c}".into());
    let write = Correlator::new("node1").observe(event, Instant::now()).unwrap();
    assert_eq!(
        serde_json::to_value(&write.event).unwrap(),
        json!({
            "apiVersion": "v1", "kind": "Event", "count": 1, "message": "m", "reason": "Pulled", "type": "Normal",
            "firstTimestamp": "2026-11-23T00:06:31Z", "lastTimestamp": "2026-11-23T00:06:31Z",
            "involvedObject": {"kind": "Pod", "name": "p", "namespace": "fx", "fieldPath": "spec.containers{c}"},
            "metadata": {"name": "p.18ea83de0ea1b0f4", "namespace": "fx"},
            "source": {"component": "kubelet", "host": "node1"},
            "reportingComponent": "kubelet", "reportingInstance": "node1",
        })
    );
}

#[test]
fn repeated_events_are_counted_and_different_ones_named_apart() {
    let mut correlator = Correlator::new("node1");
    let now = Instant::now();
    let first = correlator.observe(occurrence("a"), now).unwrap();
    let again = correlator.observe(occurrence("a"), now).unwrap();
    let other = correlator.observe(occurrence("b"), now).unwrap();
    assert_eq!((first.exists, again.exists, other.exists), (false, true, false));
    assert_eq!((again.event.count, &again.event.metadata.name), (Some(2), &first.event.metadata.name));
    assert_ne!(first.event.metadata.name, other.event.metadata.name, "also within one nanosecond");
}

#[test]
fn many_similar_events_are_combined() {
    let mut correlator = Correlator::new("node1");
    let now = Instant::now();
    let writes: Vec<Write> =
        (0..13).filter_map(|i| correlator.observe(occurrence(&format!("m{i}")), now)).collect();
    assert_eq!(writes[9].event.message.as_deref(), Some("m9"));
    assert_eq!(writes[10].event.message.as_deref(), Some("(combined from similar events): m10"));
    assert_eq!((writes[12].exists, writes[12].event.count), (true, Some(3)));
}

#[test]
fn an_object_that_speaks_too_often_is_silenced_for_a_while() {
    let mut correlator = Correlator::new("node1");
    let now = Instant::now();
    let taken = (0..100).filter(|_| correlator.observe(occurrence("a"), now).is_some()).count();
    assert_eq!(taken, 25);
    assert!(correlator.observe(occurrence("a"), now + Duration::from_secs(299)).is_none());
    assert!(correlator.observe(occurrence("a"), now + Duration::from_secs(301)).is_some());
}

#[test]
fn a_backlog_keeps_the_latest_and_one_write_for_each_event() {
    let mut correlator = Correlator::new("node1");
    let mut backlog = Backlog::default();
    let write = |name: &str, correlator: &mut Correlator| {
        let mut event = occurrence("a");
        event.object.name = Some(name.to_owned());
        correlator.observe(event, Instant::now()).unwrap()
    };
    backlog.push(write("p0", &mut correlator));
    backlog.push(write("p0", &mut correlator));
    for i in 1..=BACKLOG {
        backlog.push(write(&format!("p{i}"), &mut correlator));
    }
    assert_eq!(backlog.take_dropped(), 1);
    let oldest = backlog.pop().unwrap();
    assert_eq!(oldest.event.involved_object.name.as_deref(), Some("p1"));
    backlog.put_back(oldest);
    assert_eq!(backlog.pop().unwrap().event.involved_object.name.as_deref(), Some("p1"));
}

#[tokio::test(start_paused = true)]
async fn events_are_made_and_then_counted_up() {
    let (recorder, mut api, _stop) = started();
    recorder.pod_event(&pod("p"), Some("spec.containers{c}"), true, "BackOff", "waits");
    let call = api.next().await;
    call.is(&Method::POST, "/api/v1/namespaces/fx/events");
    assert_eq!(call.body["involvedObject"]["resourceVersion"], "650");
    assert_eq!(call.body["type"], "Warning");
    let name = call.body["metadata"]["name"].as_str().unwrap().to_owned();
    let made = call.body.clone();
    call.ok(&made);
    recorder.pod_event(&pod("p"), Some("spec.containers{c}"), true, "BackOff", "waits");
    let call = api.next().await;
    call.is(&Method::PATCH, &format!("/api/v1/namespaces/fx/events/{name}"));
    assert_eq!(call.body["count"], 2);
    call.fail(404, "NotFound");
    let call = api.next().await;
    call.is(&Method::POST, "/api/v1/namespaces/fx/events");
    assert_eq!(call.body["count"], 2, "an event that the server has dropped is made again with its count");
    call.ok(&made);
}

#[tokio::test(start_paused = true)]
async fn events_wait_for_a_server_that_is_away_and_are_counted_meanwhile() {
    let (recorder, mut api, _stop) = started();
    recorder.node_event(false, "Starting", "Starting kubelet.");
    drop(api.next().await);
    for _ in 0..5 {
        recorder.pod_event(&pod("p"), None, true, "BackOff", "waits");
    }
    let call = api.next().await;
    call.is(&Method::POST, "/api/v1/namespaces/default/events");
    assert_eq!(call.body["involvedObject"]["uid"], "node1");
    let body = call.body.clone();
    call.ok(&body);
    let call = api.next().await;
    assert_eq!((call.method.clone(), call.body["count"].clone()), (Method::POST, json!(5)));
    call.ok(&body);
    sleep(Duration::from_secs(60)).await;
    assert!(api.is_idle());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_server_refuses_is_dropped() {
    let (recorder, mut api, _stop) = started();
    recorder.node_event(false, "A", "a");
    api.next().await.fail(422, "Invalid");
    recorder.node_event(false, "B", "b");
    assert_eq!(api.next().await.body["reason"], "B");
}

#[tokio::test(start_paused = true)]
async fn recording_never_waits_and_what_is_left_is_sent_at_the_end() {
    let (recorder, mut api, stop) = started();
    for i in 0..(QUEUE + 500) {
        recorder.pod_event(&pod(&format!("p{i}")), None, false, "Created", "x");
    }
    let first = api.next().await;
    stop.send_replace(true);
    let body = first.body.clone();
    first.ok(&body);
    assert_eq!(api.next().await.method, Method::POST, "the backlog is still written when the daemon ends");
}

#[tokio::test(start_paused = true)]
async fn without_a_server_events_are_logged_only() {
    let (recorder, sender) = Recorder::new(None, "node1", Rates::default());
    let (_stop, stopped) = watch::channel(false);
    let task = tokio::spawn(sender.run(stopped));
    recorder.node_event(false, "Starting", "x");
    drop(recorder);
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn calls_keep_to_the_configured_rate() {
    let (client, mut api) = fake::api();
    let (recorder, sender) = Recorder::new(Some(client), "node1", Rates { per_second: 2, burst: 1 });
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(sender.run(stopped));
    for i in 0..5 {
        recorder.pod_event(&pod(&format!("p{i}")), None, false, "Created", "x");
    }
    let began = Instant::now();
    for _ in 0..5 {
        let call = api.next().await;
        let body = call.body.clone();
        call.ok(&body);
    }
    assert!(began.elapsed() >= Duration::from_millis(1_990), "{:?}", began.elapsed());
}
