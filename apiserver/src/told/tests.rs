//! Events are of the form that the API has for them.

use serde_json::json;

use super::*;
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;

#[test]
fn an_event_about_any_object_is_valid() {
    let told =
        Told { by: "node-controller", warning: true, reason: "NodeNotReady", message: "It is silent." };
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let named = json!({ "metadata": { "name": "o", "namespace": "x", "uid": "u", "resourceVersion": "7" } });
    let without = json!({ "metadata": { "name": "o", "uid": "u" } });
    for (kind, object, kept_in) in [(&PODS, named, "x"), (&NODES, without, "default")] {
        let mut event = event(kind, &object, told, now);
        assert_eq!(EVENTS.check(&mut event).unwrap(), Vec::<String>::new());
        EVENTS.defaults(&mut event);
        assert_eq!(EVENTS.validate_create(&event), vec![]);
        assert_eq!(event["metadata"]["namespace"], kept_in);
        assert_eq!(event["reportingComponent"], "node-controller");
        assert_eq!(event["involvedObject"]["uid"], "u");
    }
}
