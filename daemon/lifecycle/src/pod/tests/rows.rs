//! The rows of behaviour.md that speak of decisions about one pod, one test each, named by the row.

mod resize;
mod volumes;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Behaviour, World, pod};
use super::{exits, one, reasons, running, secs};
use crate::{Call, ContainerKind, ContainerState, Failure, FailureKind, Input, ProbeKind};

fn container(name: &str) -> Value {
    json!({"name": name, "image": "img"})
}

/// A container with more fields.
fn with(name: &str, more: Value) -> Value {
    let mut all = container(name);
    all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    all
}

fn sidecar(name: &str) -> Value {
    with(name, json!({"restartPolicy": "Always"}))
}

fn spec(policy: &str, inits: Vec<Value>, containers: Vec<Value>) -> Value {
    json!({"restartPolicy": policy, "terminationGracePeriodSeconds": 30, "initContainers": inits, "containers": containers})
}

fn world(spec: Value) -> World {
    World::new(pod(spec), 7)
}

fn behave(world: &mut World, name: &str, lives: impl IntoIterator<Item = Behaviour>) {
    world.behaviours.insert(name.to_owned(), VecDeque::from_iter(lives));
}

fn stays() -> Behaviour {
    Behaviour::default()
}

fn deaf() -> Behaviour {
    Behaviour { exits: None, on_term: None }
}

fn place(told: &[String], text: &str) -> usize {
    let found = told.iter().position(|t| t.starts_with(text));
    found.unwrap_or_else(|| panic!("{text:?} is not among {told:#?}"))
}

fn code(world: &World, name: &str) -> Option<i32> {
    world.published.last()?;
    world.container(name).state.as_ref()?.terminated.as_ref().map(|t| t.exit_code)
}

fn waiting(world: &World, name: &str) -> String {
    if world.published.is_empty() {
        return String::new();
    }
    let state = world.container(name).state.clone().unwrap_or_default();
    state.waiting.and_then(|w| w.reason).unwrap_or_default()
}

#[test]
fn row_4_5_a_grace_period_only_shrinks_and_is_a_second_at_least() {
    let mut world = world(one("Always"));
    behave(&mut world, "c", [deaf()]);
    world.until(secs(5), "running", running);
    world.delete(20);
    world.run(secs(1));
    world.delete(60);
    world.run(secs(1));
    world.delete(0);
    world.until(secs(10), "gone", |w| w.finished);
    let stops: Vec<_> = world.told().into_iter().filter(|t| t.starts_with("stop c-")).collect();
    assert_eq!(stops, ["stop c-s0-0 within 20s", "stop c-s0-0 within 2s"]);
}

#[test]
fn row_4_3_a_pod_that_is_over_when_it_comes_is_only_cleared_away() {
    let mut object = pod(one("Never"));
    object.status = serde_json::from_value(json!({"phase": "Succeeded"})).expect("a status");
    let mut world = World::new(object, 7);
    world.run(secs(5));
    assert_eq!(world.told(), ["remove the pod's cgroup"]);
    assert!(world.published.iter().all(|s| s.phase.as_deref() == Some("Succeeded")));
    world.delete(30);
    world.until(secs(5), "gone", |w| w.finished);
}

#[test]
fn row_4_17_a_pod_that_is_deleted_before_anything_started_fails_and_goes() {
    let mut spec = one("Always");
    spec["containers"][0]["image"] = json!("missing");
    let mut world = world(spec);
    world.until(secs(10), "a pull that failed", |w| waiting(w, "c") == "ErrImagePull");
    world.delete(30);
    world.until(secs(5), "gone", |w| w.finished);
    assert_eq!(world.phase(), "Failed");
    assert!(world.deleted);
    let ended = world.container("c").state.clone().and_then(|s| s.terminated).expect("it has ended");
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
}

#[test]
fn row_4_16_a_pod_that_outlives_its_deadline_fails() {
    let mut spec = one("Always");
    spec["activeDeadlineSeconds"] = json!(5);
    let mut world = world(spec);
    world.until(secs(20), "failed", |w| w.phase() == "Failed");
    assert_eq!(world.last().reason.as_deref(), Some("DeadlineExceeded"));
    assert!(reasons(&world).contains(&"DeadlineExceeded"));
    assert!(world.boot >= secs(1005));
}

#[test]
fn row_5_1_the_phase_follows_from_what_the_containers_did() {
    // policy, behaviour of the containers a and b, phase once they have done it
    let done = || exits(100, 0);
    let bad = || exits(100, 1);
    let cases = [
        ("Always", stays(), stays(), "Running"),
        ("Always", done(), stays(), "Running"),
        ("Always", bad(), bad(), "Running"),
        ("OnFailure", done(), done(), "Succeeded"),
        ("OnFailure", done(), bad(), "Running"),
        ("OnFailure", done(), stays(), "Running"),
        ("Never", done(), done(), "Succeeded"),
        ("Never", done(), bad(), "Failed"),
        ("Never", bad(), stays(), "Running"),
    ];
    for (policy, a, b, phase) in cases {
        let told = format!("{policy} {a:?} {b:?}");
        let mut world = world(spec(policy, vec![], vec![container("a"), container("b")]));
        behave(&mut world, "a", [a]);
        behave(&mut world, "b", [b]);
        world.run(secs(5));
        assert_eq!(world.phase(), phase, "{told}");
    }
}

#[test]
fn row_5_19_a_container_that_vanished_is_told_as_lost_and_counted() {
    let mut world = world(one("Always"));
    world.until(secs(5), "running", running);
    world.runtime.containers.clear();
    world.deliver(Input::RuntimeChanged);
    world.until(secs(5), "another run", |w| w.container("c").restart_count == 1 && running(w));
    let last = world.container("c").last_state.clone().and_then(|s| s.terminated).expect("a last state");
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
}

#[test]
fn row_5_21_and_5_22_started_and_ready_follow_the_probes_and_outlive_the_daemon() {
    let probe = json!({"exec": {"command": ["true"]}});
    let probed = with("c", json!({"startupProbe": probe, "readinessProbe": probe}));
    let mut world = world(spec("Always", vec![], vec![probed]));
    world.until(secs(5), "running", running);
    let seen = |w: &World| (w.container("c").started, w.container("c").ready);
    assert_eq!(seen(&world), (Some(false), false));
    let kinds = |w: &World| w.probed.iter().map(|t| t.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&world), [ProbeKind::Startup]);
    world.probe("c", ProbeKind::Startup, true);
    world.until(secs(1), "started", |w| w.container("c").started == Some(true));
    assert_eq!(seen(&world), (Some(true), false));
    assert_eq!(kinds(&world), [ProbeKind::Readiness]);
    world.probe("c", ProbeKind::Readiness, true);
    world.until(secs(1), "ready", |w| w.condition("Ready").is_some_and(|(status, _)| status == "True"));
    let published = world.published.len();
    world.restart_daemon();
    world.run(secs(5));
    assert_eq!(world.published.len(), published, "a restart of the daemon says nothing new");
    assert_eq!(kinds(&world), [ProbeKind::Readiness]);
    world.probe("c", ProbeKind::Readiness, false);
    world.until(secs(1), "not ready", |w| !w.container("c").ready);
}

#[test]
fn row_7_3_a_pod_that_never_restarts_is_not_begun_again_in_a_new_sandbox() {
    let mut world = world(spec("Never", vec![container("i")], vec![container("c")]));
    behave(&mut world, "i", [exits(100_000, 0)]);
    world.until(secs(5), "the init runs", |w| w.running("i").is_some());
    for sandbox in &mut world.runtime.sandboxes {
        sandbox.ready = false;
    }
    for c in &mut world.runtime.containers {
        c.state = ContainerState::Exited;
        c.exit_code = 0;
        c.finished_at = c.started_at;
    }
    world.deliver(Input::RuntimeChanged);
    world.until(secs(20), "failed", |w| w.phase() == "Failed");
    assert_eq!(world.starts("c"), 0);
}

#[test]
fn row_10_3_the_next_container_waits_for_the_post_start_hook() {
    let hook = json!({"lifecycle": {"postStart": {"exec": {"command": ["true"]}}}});
    let mut world = world(spec("Always", vec![], vec![with("a", hook), container("b")]));
    world.hooks.insert(("a".into(), "postStart"), (secs(3), true));
    world.until(secs(10), "both run", |w| w.running("b").is_some());
    let waited = world.times("create b")[0] - world.times("run the postStart hook of a")[0];
    assert!(waited >= secs(3), "{waited:?}");
}

#[test]
fn row_10_8_another_image_restarts_the_container_whatever_the_policy() {
    let mut world = world(spec("Never", vec![container("i")], vec![container("a"), container("b")]));
    behave(&mut world, "i", [exits(10, 0)]);
    world.until(secs(5), "running", running);
    world.assign(|pod| {
        let spec = pod.spec.as_mut().expect("a spec");
        spec.containers[0].image = Some("other".into());
        // An init container that has done its work is let be (row 11.5).
        spec.init_containers.as_mut().expect("inits")[0].image = Some("other".into());
    });
    world.until(secs(10), "a runs again", |w| w.starts("a") == 2 && running(w));
    assert_eq!((world.starts("i"), world.starts("b")), (1, 1));
    assert!(world.events.iter().any(|e| e.message == "Container a definition changed, will be restarted"));
}

#[test]
fn row_11_1_inits_run_one_after_the_other_before_everything_else() {
    let mut world = world(spec("Always", vec![container("i"), container("j")], vec![container("c")]));
    behave(&mut world, "i", [exits(500, 0)]);
    behave(&mut world, "j", [exits(500, 0)]);
    world.until(secs(10), "running", running);
    let told = world.told();
    assert!(place(&told, "start i") < place(&told, "create j"));
    assert!(place(&told, "start j") < place(&told, "create c"));
    assert_eq!(world.condition("Initialized"), Some(("True".into(), String::new())));
    let first = world.published[0].conditions.clone().unwrap_or_default();
    let initialized = first.iter().find(|c| c.type_ == "Initialized").expect("Initialized");
    assert_eq!(initialized.reason.as_deref(), Some("ContainersNotInitialized"));
    assert_eq!(initialized.message.as_deref(), Some("containers with incomplete status: [i j]"));
}

#[test]
fn row_11_2_an_init_that_fails_is_tried_again_or_fails_the_pod() {
    for (policy, phase, starts) in
        [("Never", "Failed", 1), ("OnFailure", "Pending", 3), ("Always", "Pending", 3)]
    {
        let mut world = world(spec(policy, vec![container("i")], vec![container("c")]));
        behave(&mut world, "i", [exits(100, 1)]);
        world.run(secs(15));
        assert_eq!((world.phase(), world.starts("i"), world.starts("c")), (phase, starts, 0), "{policy}");
    }
}

#[test]
fn row_11_6_what_follows_a_sidecar_waits_until_it_has_started() {
    let probe = json!({"restartPolicy": "Always", "startupProbe": {"exec": {"command": ["true"]}}});
    let mut world = world(spec("Never", vec![with("s", probe), container("i")], vec![container("c")]));
    behave(&mut world, "i", [exits(100, 0)]);
    world.run(secs(5));
    assert_eq!((world.starts("s"), world.starts("i"), world.phase()), (1, 0, "Pending"));
    world.probe("s", ProbeKind::Startup, true);
    world.until(secs(5), "running", running);
    assert_eq!((world.starts("i"), world.starts("c")), (1, 1));
}

#[test]
fn row_11_6_a_sidecar_is_started_again_also_where_nothing_else_is() {
    let mut world = world(spec("Never", vec![sidecar("s")], vec![container("c")]));
    behave(&mut world, "s", [exits(1000, 1), stays()]);
    world.until(secs(10), "a second run", |w| w.starts("s") == 2);
    world.run(secs(2));
    assert_eq!((world.phase(), world.starts("c")), ("Running", 1));
    assert!(world.container("s").ready);
}

#[test]
fn row_11_8_and_11_9_when_the_work_is_done_sidecars_end_in_reverse_and_do_not_count() {
    let mut world = world(spec("Never", vec![sidecar("s"), sidecar("t")], vec![container("c")]));
    behave(&mut world, "c", [exits(1000, 0)]);
    let slow = |code| Behaviour { exits: None, on_term: Some((secs(4), code)) };
    behave(&mut world, "s", [slow(3)]);
    behave(&mut world, "t", [slow(4)]);
    world.until(secs(30), "succeeded", |w| w.phase() == "Succeeded");
    let (s, t) = (world.times("stop s-")[0], world.times("stop t-")[0]);
    assert!(s >= t + secs(4), "{s:?} {t:?}");
    assert_eq!((code(&world, "s"), code(&world, "t"), code(&world, "c")), (Some(3), Some(4), Some(0)));
    let stops: Vec<_> = world.told().into_iter().filter(|t| t.starts_with("stop s-s0-0")).collect();
    assert_eq!(stops, ["stop s-s0-0 within 26s"], "sidecars share the grace period");
}

#[test]
fn row_11_9_a_sidecar_whose_turn_does_not_come_gets_the_least_at_the_end() {
    let mut spec = spec("Always", vec![sidecar("s")], vec![container("c")]);
    spec["terminationGracePeriodSeconds"] = json!(5);
    let mut world = world(spec);
    behave(&mut world, "c", [deaf()]);
    behave(&mut world, "s", [deaf()]);
    world.until(secs(5), "running", running);
    let deleted = world.boot;
    world.delete(5);
    world.until(secs(20), "gone", |w| w.finished);
    assert!(world.times("stop s-")[0] >= deleted + secs(5));
    assert!(world.told().contains(&"stop s-s0-0 within 2s".to_owned()));
}

#[test]
fn row_11_13_an_ephemeral_container_starts_at_any_time_and_once() {
    let mut world = world(spec("Always", vec![container("i")], vec![container("c")]));
    behave(&mut world, "i", [exits(100_000, 0)]);
    world.until(secs(5), "the init runs", |w| w.running("i").is_some());
    behave(&mut world, "e", [exits(500, 1)]);
    world.assign(|pod| {
        let debug =
            json!([{"name": "e", "image": "img"}, {"name": "f", "image": "img", "targetContainerName": "c"}]);
        pod.spec.as_mut().expect("a spec").ephemeral_containers =
            Some(serde_json::from_value(debug).expect("ephemeral containers"));
    });
    world.run(secs(60));
    assert_eq!(world.starts("e"), 1);
    assert_eq!(code(&world, "e"), Some(1));
    assert_eq!(waiting(&world, "f"), "CreateContainerConfigError");
    assert_eq!(world.phase(), "Pending", "it has no say in the phase");
}

#[test]
fn row_11_16_and_11_17_a_containers_own_policy_and_rules_go_before_the_pods() {
    let rules = |operator: &str| {
        json!({"restartPolicy": "Never", "restartPolicyRules":
            [{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]})
    };
    // fields of the container, exit code, starts within the first seconds
    let cases = [
        (json!({"restartPolicy": "Never"}), 1, 1),
        (json!({"restartPolicy": "OnFailure"}), 1, 2),
        (json!({"restartPolicy": "OnFailure"}), 0, 1),
        (rules("In"), 42, 2),
        (rules("In"), 1, 1),
        (rules("NotIn"), 1, 2),
        (rules("NotIn"), 42, 1),
    ];
    for (fields, exit, starts) in cases {
        let mut world = world(spec("Always", vec![], vec![with("c", fields.clone()), container("other")]));
        behave(&mut world, "c", [exits(100, exit)]);
        world.run(secs(5));
        assert_eq!(world.starts("c"), starts, "{fields} {exit}");
    }
}

#[test]
fn row_11_18_a_rule_restarts_all_containers_in_the_same_sandbox() {
    let source = json!({"restartPolicy": "Never", "restartPolicyRules":
        [{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [7]}}]});
    let mut world =
        world(spec("Never", vec![container("i"), sidecar("s")], vec![with("a", source), container("b")]));
    behave(&mut world, "i", [exits(10, 0)]);
    behave(&mut world, "a", [exits(2000, 7), stays()]);
    world.until(secs(20), "all run again", |w| {
        w.starts("a") == 2 && running(w) && ["a", "b", "s"].iter().all(|c| w.container(c).ready)
    });
    for name in ["i", "s", "a", "b"] {
        assert_eq!((world.starts(name), world.container(name).restart_count), (2, 1), "{name}");
    }
    let told = world.told();
    let removed = |name: &str| place(&told, &format!("remove {name}#0"));
    assert!(removed("b") < removed("s").min(removed("i")) && removed("s").max(removed("i")) < removed("a"));
    assert_eq!(told.iter().filter(|t| t.starts_with("run sandbox")).count(), 1);
    let conditions: Vec<bool> = world
        .published
        .iter()
        .map(|s| s.conditions.iter().flatten().any(|c| c.type_ == "AllContainersRestarting"))
        .collect();
    assert!(conditions.contains(&true) && conditions.last() == Some(&false));
    let last = world.container("a").last_state.clone().and_then(|s| s.terminated).expect("a last state");
    assert_eq!(last.exit_code, 7);
}

#[test]
fn row_12_3_a_container_that_ran_for_more_than_ten_minutes_begins_a_new_back_off() {
    let mut world = world(one("Always"));
    behave(&mut world, "c", [exits(10, 1), exits(10, 1), exits(10, 1), exits(601_000, 1), exits(10, 1)]);
    world.until(secs(2000), "six starts", |w| w.starts("c") == 6);
    let starts = world.times("start c");
    let gap = |n: usize| (starts[n] - starts[n - 1]).as_secs();
    assert_eq!([gap(1), gap(2), gap(3), gap(4), gap(5)], [0, 10, 20, 601, 10]);
}

#[test]
fn row_12_4_another_image_begins_a_new_back_off() {
    let mut world = world(one("Always"));
    behave(&mut world, "c", [exits(10, 1)]);
    world.until(secs(100), "four starts", |w| w.starts("c") == 4);
    world.assign(|pod| pod.spec.as_mut().expect("a spec").containers[0].image = Some("other".into()));
    let at = world.boot;
    world.until(secs(5), "another start at once", |w| w.starts("c") == 5);
    assert!(world.boot < at + secs(2));
}

#[test]
fn row_18_1_a_post_start_hook_that_fails_ends_the_container() {
    let hook = json!({"lifecycle": {"postStart": {"exec": {"command": ["false"]}}}});
    let mut world = world(spec("Always", vec![], vec![with("c", hook)]));
    world.hooks.insert(("c".into(), "postStart"), (secs(1), false));
    world.until(secs(20), "a back-off", |w| waiting(w, "c") == "PostStartHookError" || w.starts("c") > 2);
    assert!(reasons(&world).contains(&"FailedPostStartHook"));
    assert!(world.told().contains(&"stop c-s0-0 within 30s".to_owned()));
}

#[test]
fn row_18_2_and_18_5_what_a_pre_stop_hook_takes_is_off_the_grace_period() {
    let hook = json!({"lifecycle": {"preStop": {"exec": {"command": ["true"]}}}});
    // how long the hook takes, what is left for the stop, grace period 10
    for (millis, left) in [(1, 10), (3700, 7), (9500, 2), (60_000, 2)] {
        let mut world = world(spec("Always", vec![], vec![with("c", hook.clone())]));
        behave(&mut world, "c", [deaf()]);
        world.hooks.insert(("c".into(), "preStop"), (Duration::from_millis(millis), true));
        world.until(secs(5), "running", running);
        world.delete(10);
        world.until(secs(30), "gone", |w| w.finished);
        let told = world.told();
        assert!(told.contains(&format!("stop c-s0-0 within {left}s")), "{millis} ms: {told:#?}");
        assert!(place(&told, "run the preStop hook of c") < place(&told, "stop c-"));
    }
}

#[test]
fn row_4_14_what_no_source_has_is_stopped_within_a_second_and_cleared_away_without_a_word_to_the_api() {
    let mut world = world(spec("Always", vec![sidecar("side")], vec![container("c")]));
    world.until(secs(5), "running", running);
    let published = world.published.len();
    let events = world.events.len();
    world.calls.clear();
    world.called_at.clear();
    world.restart_daemon_without_the_object();
    world.until(secs(10), "gone", |w| w.finished);
    let told = world.told();
    // Nobody knows any more which of them was the sidecar; the runtime is never given less than two seconds.
    assert!(told.contains(&"stop c-s0-0 within 2s".to_owned()), "{told:#?}");
    assert!(told.contains(&"stop side-s0-0 within 2s".to_owned()), "{told:#?}");
    assert_eq!((world.runtime.containers.len(), world.runtime.sandboxes.len()), (0, 0));
    for step in ["remove the pod's directories", "remove the pod's logs"] {
        assert_eq!(told.iter().filter(|t| t.starts_with(step)).count(), 1, "{step}: {told:#?}");
    }
    assert_eq!((world.published.len(), world.events.len(), world.deleted), (published, events, false));
}

#[test]
fn row_18_9_the_hook_of_an_orphan_runs_and_is_waited_for_until_its_second_is_over() {
    let hook = json!({"lifecycle": {"preStop": {"exec": {"command": ["true"]}}}});
    for hook_takes in [Duration::from_millis(300), secs(60)] {
        let mut world = world(spec("Always", vec![], vec![with("c", hook.clone()), container("plain")]));
        world.hooks.insert(("c".into(), "preStop"), (hook_takes, true));
        world.until(secs(5), "running", running);
        let found = world.boot;
        world.restart_daemon_without_the_object();
        world.until(secs(10), "gone", |w| w.finished);
        let hooks = world.times("run the preStop hook");
        assert_eq!(hooks, world.times("run the preStop hook of c"), "only the one that has a handler");
        let [begun] = hooks[..] else { panic!("{:#?}", world.told()) };
        // The end of the hook is known a millisecond later.
        let ended = begun + hook_takes + Duration::from_millis(1);
        assert_eq!(world.times("stop c-"), [ended.min(found + secs(1))]);
        assert_eq!(world.times("stop plain-"), [begun], "there is no hook to wait for");
        assert!(world.told().contains(&"stop c-s0-0 within 2s".to_owned()));
    }
}

#[test]
fn row_18_9_a_hook_of_an_orphan_that_fails_holds_up_nothing_and_is_no_event() {
    let hook = json!({"lifecycle": {"preStop": {"exec": {"command": ["false"]}}}});
    let mut world = world(spec("Always", vec![], vec![with("c", hook)]));
    world.hooks.insert(("c".into(), "preStop"), (Duration::from_millis(10), false));
    world.until(secs(5), "running", running);
    world.restart_daemon_without_the_object();
    world.until(secs(10), "gone", |w| w.finished);
    assert!(!reasons(&world).contains(&"FailedPreStopHook"));
    assert!(!reasons(&world).contains(&"Killing"));
}

#[test]
fn row_18_11_a_shorter_grace_period_ends_the_wait_for_a_hook_and_is_told_to_the_runtime() {
    let hook = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 50}}}});
    let mut world = world(spec("Always", vec![], vec![with("c", hook)]));
    world.hooks.insert(("c".into(), "preStop"), (secs(50), true));
    world.until(secs(5), "running", running);
    world.delete(60);
    world.run(secs(3));
    let at = world.boot;
    world.delete(1);
    world.until(secs(10), "gone", |w| w.finished);
    let stopped = world.times("stop c-")[0] - at;
    assert!(stopped >= secs(1) && stopped < secs(2), "{stopped:?}");
    assert_eq!(world.times("run the preStop hook of c").len(), 1);
}

#[test]
fn row_18_10_and_18_12_while_a_pod_ends_only_readiness_is_probed_and_the_dead_have_no_hooks() {
    let probe = json!({"exec": {"command": ["true"]}});
    let all = json!({"livenessProbe": probe, "readinessProbe": probe,
        "lifecycle": {"preStop": {"exec": {"command": ["true"]}}}});
    let mut spec = spec("Always", vec![], vec![with("a", all.clone()), with("b", all)]);
    spec["restartPolicy"] = json!("Never");
    let mut world = world(spec);
    behave(&mut world, "a", [exits(1000, 0)]);
    behave(&mut world, "b", [Behaviour { exits: None, on_term: Some((secs(5), 0)) }]);
    world.until(secs(10), "a has ended", |w| code(w, "a").is_some());
    world.delete(30);
    world.run(secs(2));
    let probed: Vec<_> = world.probed.iter().map(|t| (t.container.as_str(), t.kind)).collect();
    assert_eq!(probed, [("b", ProbeKind::Readiness)]);
    world.until(secs(30), "gone", |w| w.finished);
    assert_eq!(world.times("run the preStop hook of a").len(), 0);
    assert!(world.probed.is_empty());
}

#[test]
fn row_19_13_a_failed_liveness_probe_restarts_the_container_with_the_probes_own_grace() {
    let probe =
        json!({"livenessProbe": {"exec": {"command": ["true"]}, "terminationGracePeriodSeconds": 45}});
    let mut world = world(spec("Always", vec![], vec![with("c", probe)]));
    world.until(secs(5), "running", running);
    world.probe("c", ProbeKind::Liveness, false);
    world.until(secs(5), "a second run", |w| w.starts("c") == 2 && running(w));
    assert!(world.told().contains(&"stop c-s0-0 within 45s".to_owned()));
    let message = "Container c failed liveness probe, will be restarted";
    assert!(world.events.iter().any(|e| e.reason == "Killing" && e.message == message));
}

#[test]
fn row_30_and_3_4_a_pod_that_the_node_ends_has_failed_and_says_why() {
    let mut world = world(one("Always"));
    world.until(secs(5), "running", running);
    let (reason, message) = ("Evicted".to_owned(), "The node was low on resource: memory.".to_owned());
    world.deliver(Input::Kill { reason, message, grace: Some(secs(3)) });
    world.until(secs(10), "failed", |w| w.phase() == "Failed");
    assert_eq!(world.last().reason.as_deref(), Some("Evicted"));
    assert_eq!(world.condition("DisruptionTarget"), Some(("True".into(), "TerminationByKubelet".into())));
    assert!(world.told().contains(&"stop c-s0-0 within 3s".to_owned()));
    let told_early =
        world.published.iter().any(|s| s.phase.as_deref() == Some("Running") && s.reason.is_some());
    assert!(!told_early, "nothing is said before nothing can run any more");
}

#[test]
fn row_41_5_after_a_reboot_inits_run_again_and_containers_count_one_restart() {
    let mut world = world(spec("Always", vec![container("i")], vec![container("c")]));
    behave(&mut world, "i", [exits(10, 0)]);
    world.until(secs(5), "running", running);
    for sandbox in &mut world.runtime.sandboxes {
        sandbox.ready = false;
    }
    for c in world.runtime.containers.iter_mut().filter(|c| c.state == ContainerState::Running) {
        c.state = ContainerState::Exited;
        c.exit_code = 255;
        c.finished_at = c.started_at + 1;
    }
    world.restart_daemon();
    world.until(secs(20), "running again", |w| w.starts("c") == 2 && w.container("c").restart_count == 1);
    assert_eq!((world.starts("i"), world.phase()), (2, "Running"));
    assert!(reasons(&world).contains(&"SandboxChanged"));
}

#[test]
fn row_13_9_an_image_volume_is_pulled_before_its_container_starts() {
    let mut spec =
        spec("Always", vec![], vec![with("c", json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))]);
    spec["volumes"] = json!([{"name": "v", "image": {"reference": "data"}}, {"name": "w", "image": {"reference": "unused"}}]);
    let mut world = world(spec.clone());
    world.until(secs(5), "running", running);
    let told = world.told();
    assert!(place(&told, "pull image data") < place(&told, "create c"));
    assert!(!told.iter().any(|t| t.contains("unused") || t.contains("volumes")), "{told:?}");
    let given = world.calls.iter().find_map(|c| match c {
        crate::Call::CreateContainer { image_id, volume_images, .. } => Some((image_id, volume_images)),
        _ => None,
    });
    let (image, volumes) = given.expect("it was made");
    assert_eq!((image.as_str(), volumes["v"].as_str()), ("sha256:img", "sha256:data"));

    spec["volumes"][0]["image"]["reference"] = json!("missing");
    let mut world = self::world(spec);
    world.run(secs(5));
    assert_eq!((waiting(&world, "c").as_str(), world.starts("c")), ("ImagePullBackOff", 0));
}

#[test]
fn row_5_10_a_readiness_gate_is_met_by_what_somebody_else_writes_later() {
    let mut spec = spec("Always", vec![], vec![container("c")]);
    spec["readinessGates"] = json!([{"conditionType": "example.com/gate"}]);
    let mut world = world(spec);
    world.until(secs(5), "running", running);
    assert_eq!(world.condition("Ready"), Some(("False".into(), "ReadinessGatesNotReady".into())));
    assert_eq!(world.condition("ContainersReady"), Some(("True".into(), String::new())));
    let published = world.last().clone();
    world.assign(|pod| {
        let mut status = published;
        let gate = json!({"type": "example.com/gate", "status": "True"});
        status.conditions.get_or_insert_default().push(serde_json::from_value(gate).expect("a condition"));
        pod.status = Some(status);
    });
    world.until(secs(1), "ready", |w| w.condition("Ready") == Some(("True".into(), String::new())));
    assert!(world.condition("example.com/gate").is_some(), "what others write stays");
}

#[test]
fn an_ephemeral_container_that_cannot_be_carried_out_holds_up_no_other() {
    let mut world = world(one("Always"));
    world.until(secs(5), "running", running);
    world.assign(|pod| {
        let debug =
            json!([{"name": "e", "image": "img", "volumeDevices": [{"name": "v", "devicePath": "/d"}]}]);
        pod.spec.as_mut().expect("a spec").ephemeral_containers =
            Some(serde_json::from_value(debug).expect("ephemeral containers"));
    });
    world.run(secs(2));
    assert_eq!((waiting(&world, "e").as_str(), world.starts("e")), ("CreateContainerConfigError", 0));
    for c in &mut world.runtime.containers {
        c.state = ContainerState::Exited;
        c.exit_code = 1;
        c.finished_at = c.started_at + 1;
    }
    world.deliver(Input::RuntimeChanged);
    world.until(secs(5), "a second run", |w| w.starts("c") == 2);
    let told = reasons(&world).iter().filter(|r| **r == "Failed").count();
    assert_eq!(told, 1, "it is told once");
}

#[test]
fn row_10_18_what_waits_for_an_object_is_tried_at_once_when_it_appears() {
    let mut world = world(one("Always"));
    let missing = || Failure { kind: FailureKind::Config, message: "configmap \"m\" not found".to_owned() };
    world.refused_creates.extend((0..20).map(|_| missing()));
    world.run(secs(40));
    assert_eq!(waiting(&world, "c"), "CreateContainerConfigError");
    let told: Vec<&str> =
        world.events.iter().filter(|e| e.reason == "Failed").map(|e| e.message.as_str()).collect();
    assert!((4..15).contains(&told.len()), "{told:?}");
    assert_eq!(told[0], "Error: configmap \"m\" not found");
    world.refused_creates.clear();
    world.deliver(Input::ObjectsChanged);
    world.until(Duration::from_millis(500), "running", running);
}

#[test]
fn row_7_6_a_sandbox_that_waits_for_its_runtime_class_is_tried_at_once_when_there_is_another() {
    let mut world = world(one("Always"));
    let missing = || Failure {
        kind: FailureKind::Refused,
        message: "runtimeclass.node.k8s.io \"fast\" not found".to_owned(),
    };
    world.refused_sandboxes.extend((0..20).map(|_| missing()));
    world.run(secs(40));
    let told = world.events.iter().find(|e| e.reason == "FailedCreatePodSandBox").expect("an event");
    assert_eq!(told.message, "Failed to create pod sandbox: runtimeclass.node.k8s.io \"fast\" not found");
    assert_eq!(world.phase(), "Pending");
    world.refused_sandboxes.clear();
    world.deliver(Input::ObjectsChanged);
    world.until(Duration::from_millis(500), "running", running);
}

#[test]
fn a_container_that_an_earlier_daemon_made_while_a_slot_was_waited_for_is_started_and_not_doubled() {
    let mut world = world(one("Always"));
    world.until(secs(5), "a sandbox", |w| !w.runtime.sandboxes.is_empty());
    world.faults.slots_withheld = true;
    world.until(secs(5), "the wait for a slot", |w| !w.asked.is_empty());
    let op = world.asked[0];
    let call = Call::CreateContainer {
        name: "c".to_owned(),
        kind: ContainerKind::Regular,
        restart_count: 0,
        sandbox_id: world.runtime.sandboxes[0].id.clone(),
        image_id: "img".to_owned(),
        volume_images: BTreeMap::new(),
        pod_ips: Vec::new(),
        target_id: None,
        allocated: None,
    };
    world.carry_out(op, call).expect("an answer").expect("made");
    world.deliver(Input::RuntimeChanged);
    world.run(secs(1));
    world.faults.slots_withheld = false;
    world.deliver(Input::Slot { op });
    world.until(secs(5), "running", running);
    let runs: Vec<u32> = world.runtime.containers.iter().map(|c| c.restart_count).collect();
    assert_eq!(runs, [0]);
}
