//! Section 27: other resources for what runs.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};

use super::{reasons, running, secs, spec, with, world};
use crate::pod::tests::world::World;
use crate::{Input, ResizeVerdict};

#[test]
fn row_27_a_resize_brings_memory_before_cpu_and_less_before_more() {
    let has = |cpu: &str, memory: &str| {
        let list = json!({"cpu": cpu, "memory": memory});
        json!({"resources": {"requests": list, "limits": list}})
    };
    let containers = vec![with("a", has("1", "64Mi")), with("b", has("1", "64Mi"))];
    let mut world = world(spec("Always", vec![], containers));
    world.until(secs(5), "running", running);
    world.resize = ResizeVerdict::Deferred { message: "there is no room".into() };
    let wants = |world: &mut World, a: Value, b: Value| {
        world.assign(|pod| {
            let containers = &mut pod.spec.as_mut().expect("a spec").containers;
            for (c, wanted) in containers.iter_mut().zip([a, b]) {
                c.resources = Some(serde_json::from_value(wanted["resources"].clone()).expect("resources"));
            }
            pod.metadata.generation = Some(2);
        });
    };
    wants(&mut world, has("2", "128Mi"), has("500m", "32Mi"));
    world.run(secs(2));
    assert_eq!(world.condition("PodResizePending"), Some(("True".into(), "Deferred".into())));
    let allocated =
        |w: &World, c: &str| w.container(c).allocated_resources.clone().unwrap_or_default()["cpu"].0.clone();
    assert_eq!(allocated(&world, "a"), "1");
    world.restart_daemon();
    world.run(secs(2));
    assert_eq!(allocated(&world, "a"), "1", "what was allowed outlives the daemon");
    world.deliver(Input::Resized(ResizeVerdict::Allowed));
    world.run(secs(2));
    let given: Vec<_> = world.told().into_iter().filter(|t| t.starts_with("give ")).collect();
    let in_order = [
        "give the pod other Memory",
        "give b other Memory",
        "give a other Memory",
        "give the pod other Cpu",
        "give b other Cpu",
        "give a other Cpu",
    ];
    assert_eq!(given, in_order, "the pod as a whole grows before its containers do");
    assert_eq!(world.condition("PodResizePending"), None);
    assert_eq!(world.condition("PodResizeInProgress"), None);
    assert_eq!((allocated(&world, "a"), world.starts("a")), ("2".to_owned(), 1));
    let told: Vec<_> = reasons(&world).into_iter().filter(|r| r.starts_with("Resize")).collect();
    assert_eq!(told, ["ResizeDeferred", "ResizeDeferred", "ResizeStarted", "ResizeCompleted"]);
}

#[test]
fn row_27_6_the_pod_as_a_whole_shrinks_after_its_containers() {
    let of = |memory: &str| json!({"resources": {"limits": {"memory": memory}}});
    let mut world = world(spec("Always", vec![], vec![with("a", of("64Mi")), with("b", of("64Mi"))]));
    world.until(secs(5), "running", running);
    world.assign(|pod| {
        let wanted = of("32Mi")["resources"].clone();
        pod.spec.as_mut().expect("a spec").containers[0].resources =
            Some(serde_json::from_value(wanted).expect("resources"));
    });
    world.run(secs(2));
    let given: Vec<_> = world.told().into_iter().filter(|t| t.starts_with("give ")).collect();
    assert_eq!(given, ["give a other Memory", "give the pod other Memory"]);
    let limit =
        |w: &World| w.last().resources.clone().and_then(|r| r.limits).unwrap_or_default()["memory"].0.clone();
    assert_eq!(limit(&world), "96Mi");
}

#[test]
fn row_27_10_what_the_spec_says_of_the_whole_pod_is_changed_with_what_has_no_limit_of_its_own() {
    let level = |cpu: &str| json!({"limits": {"cpu": cpu, "memory": "128Mi"}, "requests": {"cpu": cpu}});
    let own = json!({"resources": {"limits": {"cpu": "500m"}}});
    let mut object = spec("Never", vec![], vec![with("a", json!({})), with("b", own)]);
    object["resources"] = level("1");
    let mut world = world(object);
    world.until(secs(5), "running", running);
    world.resize = ResizeVerdict::Deferred { message: "there is no room".into() };
    world.assign(|pod| {
        pod.spec.as_mut().expect("a spec").resources =
            Some(serde_json::from_value(level("2")).expect("resources"));
    });
    world.run(secs(2));
    let cpu = |of: Option<BTreeMap<String, Quantity>>| of.unwrap_or_default()["cpu"].0.clone();
    let allowed = |w: &World| cpu(w.last().allocated_resources.clone());
    assert_eq!(
        (allowed(&world), world.condition("PodResizePending").map(|c| c.1)),
        ("1".into(), Some("Deferred".into()))
    );
    world.restart_daemon();
    world.run(secs(2));
    assert_eq!(allowed(&world), "1", "what was allowed outlives the daemon");
    world.deliver(Input::Resized(ResizeVerdict::Allowed));
    world.run(secs(2));
    let given: Vec<_> = world.told().into_iter().filter(|t| t.starts_with("give ")).collect();
    assert_eq!(given, ["give the pod other Cpu", "give a other Cpu"]);
    assert_eq!(allowed(&world), "2");
    assert_eq!(cpu(world.last().resources.clone().and_then(|r| r.limits)), "2");
    assert_eq!((world.condition("PodResizePending"), world.condition("PodResizeInProgress")), (None, None));
    assert_eq!(world.starts("a"), 1);
}

#[test]
fn row_27_4_memory_that_may_be_swapped_is_not_changed_without_a_restart() {
    let of = |cpu: &str, memory: &str, more: Value| {
        let amounts = json!({"requests": {"cpu": cpu, "memory": memory}});
        let mut all = json!({"resources": amounts});
        all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        all
    };
    let restarts = json!({"resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]});
    let containers =
        vec![with("a", of("1", "64Mi", json!({}))), with("b", of("1", "64Mi", restarts.clone()))];
    let mut world = world(spec("Always", vec![], containers));
    world.until(secs(5), "running", running);
    let wants = |world: &mut World, index: usize, wanted: Value| {
        world.assign(|pod| {
            pod.spec.as_mut().expect("a spec").containers[index].resources =
                Some(serde_json::from_value(wanted["resources"].clone()).expect("resources"));
        });
        world.run(secs(40));
    };
    wants(&mut world, 0, of("1", "96Mi", json!({})));
    assert_eq!(world.condition("PodResizePending"), Some(("True".into(), "Infeasible".into())));
    assert!(!world.told().iter().any(|t| t.starts_with("give ")), "nothing has changed");
    wants(&mut world, 0, of("2", "64Mi", json!({})));
    assert_eq!((world.condition("PodResizePending"), world.starts("a")), (None, 1));
    assert!(world.told().contains(&"give a other Cpu".to_owned()));
    wants(&mut world, 1, of("1", "96Mi", restarts));
    assert_eq!((world.condition("PodResizePending"), world.starts("b")), (None, 2));
}

#[test]
fn row_27_8_a_resource_that_needs_it_restarts_the_container() {
    let of = |cpu: &str| {
        json!({"resources": {"requests": {"cpu": cpu}},
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]})
    };
    let mut world = world(spec("Never", vec![], vec![with("c", of("1"))]));
    world.until(secs(5), "running", running);
    world.assign(|pod| {
        let wanted = of("2")["resources"].clone();
        pod.spec.as_mut().expect("a spec").containers[0].resources =
            Some(serde_json::from_value(wanted).expect("resources"));
    });
    world.until(secs(10), "a second run", |w| w.starts("c") == 2 && w.container("c").restart_count == 1);
    assert!(world.told().contains(&"stop c-s0-0 within 30s".to_owned()));
    world.run(secs(2));
    assert_eq!(world.condition("PodResizeInProgress"), None);
    assert_eq!(
        reasons(&world).iter().filter(|r| r.starts_with("Resize")).count(),
        2,
        "started and completed"
    );
    let early = world.published.iter().any(|s| {
        let c = &s.container_statuses.as_ref().expect("containers")[0];
        let shown = c.resources.as_ref().and_then(|r| r.requests.clone()).unwrap_or_default();
        c.restart_count == 0 && shown.get("cpu").is_some_and(|q| q.0 == "2")
    });
    assert!(!early, "what runs is not said to have what it has not");
}
