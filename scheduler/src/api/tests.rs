use serde_json::json;

use super::*;

fn pod() -> PodRef {
    PodRef {
        uid: "b22d96f7".into(),
        namespace: "fx".into(),
        name: "plain".into(),
        resource_version: "649".into(),
        generation: 1,
    }
}

/// The shape that upstream's scheduler 1.36 writes.
#[test]
fn a_scheduled_event_has_upstreams_shape() {
    let now: Timestamp = "2026-11-23T00:06:30.190989Z".parse().expect("a time");
    let note = "Successfully assigned fx/plain to node1";
    let event = event(&pod(), "default-scheduler-vm", ["Normal", "Scheduled", "Binding", note], now);
    let mut value = serde_json::to_value(event).expect("JSON");
    let name = value["metadata"]["name"].take();
    let (stem, suffix) = name.as_str().and_then(|n| n.rsplit_once('.')).expect("a suffix");
    assert_eq!((stem, suffix.len()), ("plain", 16));
    value["metadata"].as_object_mut().expect("an object").remove("name");
    assert_eq!(
        value,
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": "fx"},
            "action": "Binding",
            "eventTime": "2026-11-23T00:06:30.190989Z",
            "note": note,
            "reason": "Scheduled",
            "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "plain", "namespace": "fx",
                "resourceVersion": "649", "uid": "b22d96f7"},
            "reportingController": "default-scheduler",
            "reportingInstance": "default-scheduler-vm",
            "type": "Normal",
        })
    );
}

#[test]
fn the_time_of_transition_is_set_once() {
    let now: Timestamp = "2026-11-23T00:06:30.190989Z".parse().expect("a time");
    let mut report = Report {
        pod: pod(),
        reason: ReportReason::Unschedulable,
        message: "no".to_owned(),
        condition: true,
        known_false: false,
        event: true,
    };
    let patch = condition(&report, now);
    assert_eq!(
        patch,
        json!({"metadata": {"uid": "b22d96f7"}, "status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no",
            "lastProbeTime": null, "lastTransitionTime": "2026-11-23T00:06:30Z", "observedGeneration": 1}]}})
    );
    report.known_false = true;
    assert!(condition(&report, now)["status"]["conditions"][0].get("lastTransitionTime").is_none());
}

#[test]
fn a_long_note_is_cut_at_a_character() {
    let cut = cut(&"ä".repeat(2000));
    assert!(cut.len() <= MOST_NOTE && cut.ends_with("ä ..."), "{cut}");
}

#[test]
fn answers_to_a_binding_are_told_apart() {
    let answer = |code: u16| {
        let status = kube::core::Status { code, message: "why".to_owned(), ..kube::core::Status::default() };
        bind_end(&CallError::Api(kube::Error::Api(Box::new(status))))
    };
    assert_eq!(answer(404), BindEnd::Overtaken);
    assert_eq!(answer(409), BindEnd::Overtaken);
    assert_eq!(answer(403), BindEnd::Refused("why".to_owned()));
    assert_eq!(answer(429), BindEnd::Unavailable);
    assert_eq!(answer(500), BindEnd::Unavailable);
    assert_eq!(bind_end(&CallError::NoAnswer), BindEnd::Unavailable);
}
