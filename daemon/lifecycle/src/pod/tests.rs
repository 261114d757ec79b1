mod rows;
mod sequences;
mod world;

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::json;
use world::{Behaviour, Faults, World, pod};

use crate::{Call, ContainerState, Input};

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn one(policy: &str) -> serde_json::Value {
    json!({"restartPolicy": policy, "terminationGracePeriodSeconds": 7, "containers": [{"name": "c", "image": "img"}]})
}

fn exits(after_millis: u64, code: i32) -> Behaviour {
    Behaviour { exits: Some((Duration::from_millis(after_millis), code)), ..Behaviour::default() }
}

fn running(world: &World) -> bool {
    world.phase() == "Running"
}

fn reasons(world: &World) -> Vec<&str> {
    world.events.iter().map(|e| e.reason.as_ref()).collect()
}

#[test]
fn a_pod_with_one_container_goes_from_pending_to_running() {
    let mut world = World::new(pod(one("Always")), 1);
    world.until(secs(5), "running", running);
    let phases: Vec<_> = world.published.iter().filter_map(|s| s.phase.clone()).collect();
    assert_eq!(phases.first().map(String::as_str), Some("Pending"));
    assert_eq!(reasons(&world), ["Pulled", "Created", "Started"]);
    let status = world.last();
    assert_eq!(status.pod_ip.as_deref(), Some("10.88.0.0"));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.2"));
    assert_eq!(status.qos_class.as_deref(), Some("BestEffort"));
    let all = status.conditions.clone().unwrap_or_default();
    let kinds: Vec<_> = all.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
    assert_eq!(
        kinds,
        [
            ("PodReadyToStartContainers", "True"),
            ("Initialized", "True"),
            ("Ready", "True"),
            ("ContainersReady", "True"),
            ("PodScheduled", "True")
        ]
    );
}

#[test]
fn the_first_status_says_that_the_container_is_being_created() {
    let mut world = World::new(pod(one("Always")), 1);
    world.until(secs(5), "a status", |w| !w.published.is_empty());
    let first = &world.published[0];
    let container = &first.container_statuses.as_ref().expect("containers")[0];
    let waiting = container.state.as_ref().and_then(|s| s.waiting.as_ref()).expect("waiting");
    assert_eq!(waiting.reason.as_deref(), Some("ContainerCreating"));
    let ready = first.conditions.iter().flatten().find(|c| c.type_ == "Ready").expect("Ready");
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [c]"));
}

#[test]
fn a_failing_container_is_restarted_at_once_and_then_with_growing_delays() {
    let mut world = World::new(pod(one("Always")), 2);
    world.behaviours.insert("c".into(), VecDeque::from([exits(10, 1)]));
    world.until(secs(120), "five starts", |w| w.starts("c") == 5);
    let starts: Vec<_> =
        world.runtime.containers_named("c").iter().map(|c| c.started_at / 1_000_000_000).rev().collect();
    assert!(starts.len() >= 2, "the last two containers are kept");
    let crashed = world.published.iter().find_map(|s| {
        s.container_statuses.as_ref()?[0]
            .state
            .as_ref()?
            .waiting
            .clone()
            .filter(|w| w.reason.as_deref() == Some("CrashLoopBackOff"))
    });
    let message = crashed.and_then(|w| w.message).expect("a message");
    assert!(message.starts_with("back-off 10s restarting failed container=c pod=web_ns(u-1)"), "{message}");
    // 0 + 10 + 20 + 40 seconds of delay.
    let took = world.boot - secs(1000);
    assert!(took >= secs(70) && took < secs(75), "{took:?}");
    assert!(
        world.published.iter().any(|s| s
            .container_statuses
            .as_ref()
            .is_some_and(|c| c[0].state.as_ref().is_some_and(|s| s.terminated.is_some()))),
        "the exit itself was shown"
    );
}

#[test]
fn a_job_that_succeeds_is_succeeded_and_its_sandbox_is_stopped() {
    let mut world = World::new(pod(one("Never")), 3);
    world.behaviours.insert("c".into(), VecDeque::from([exits(100, 0)]));
    world.until(secs(10), "succeeded", |w| w.phase() == "Succeeded");
    world.run(secs(5));
    assert!(world.runtime.sandboxes.iter().all(|s| !s.ready));
    assert_eq!(world.starts("c"), 1);
    assert_eq!(world.runtime.containers.len(), 1, "kept for its logs");
    let ready = world.last().conditions.iter().flatten().find(|c| c.type_ == "Ready").expect("Ready");
    assert_eq!(ready.reason.as_deref(), Some("PodCompleted"));
    assert_eq!(world.last().pod_ip.as_deref(), Some("10.88.0.0"), "the address is kept");
}

#[test]
fn on_failure_restarts_failures_only() {
    let mut world = World::new(pod(one("OnFailure")), 4);
    world.behaviours.insert("c".into(), VecDeque::from([exits(10, 1), exits(10, 0)]));
    world.until(secs(60), "succeeded", |w| w.phase() == "Succeeded");
    assert_eq!(world.starts("c"), 2);
}

#[test]
fn inits_run_in_order_before_the_containers() {
    let spec = json!({
        "initContainers": [{"name": "i1", "image": "img"}, {"name": "i2", "image": "img"}],
        "containers": [{"name": "c", "image": "img"}],
    });
    let mut world = World::new(pod(spec), 5);
    world.behaviours.insert("i1".into(), VecDeque::from([exits(10, 0)]));
    world.behaviours.insert("i2".into(), VecDeque::from([exits(10, 1), exits(10, 0)]));
    world.until(secs(60), "running", running);
    let started: Vec<_> = world
        .calls
        .iter()
        .filter_map(|c| match c {
            Call::StartContainer { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(started, ["i1", "i2", "i2", "c"]);
    let first = world.published[0]
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "Initialized")
        .expect("Initialized");
    assert_eq!(first.message.as_deref(), Some("containers with incomplete status: [i1 i2]"));
}

#[test]
fn a_failed_init_fails_a_pod_that_is_never_restarted() {
    let spec = json!({"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "img"}], "containers": [{"name": "c", "image": "img"}]});
    let mut world = World::new(pod(spec), 6);
    world.behaviours.insert("i".into(), VecDeque::from([exits(10, 3)]));
    world.until(secs(60), "failed", |w| w.phase() == "Failed");
    assert_eq!(world.starts("c"), 0);
}

#[test]
fn a_deleted_pod_is_stopped_reported_and_removed() {
    let mut world = World::new(pod(one("Always")), 7);
    world.until(secs(5), "running", running);
    world.delete(7);
    world.until(secs(20), "finished", |w| w.finished);
    assert!(world.deleted);
    assert_eq!(world.phase(), "Failed");
    assert!(world.runtime.containers.is_empty() && world.runtime.sandboxes.is_empty());
    let stop = world.calls.iter().find_map(|c| match c {
        Call::StopContainer { grace, .. } => Some(*grace),
        _ => None,
    });
    assert_eq!(stop, Some(secs(7)));
    let order: Vec<_> = world
        .calls
        .iter()
        .filter_map(|c| match c {
            Call::StopContainer { .. } => Some("stop container"),
            Call::StopSandbox { .. } => Some("stop sandbox"),
            Call::DeleteObject => Some("delete object"),
            Call::RemoveSandbox { .. } => Some("remove sandbox"),
            _ => None,
        })
        .collect();
    assert_eq!(order, ["stop container", "stop sandbox", "delete object", "remove sandbox"]);
    assert_eq!(reasons(&world).last(), Some(&"Killing"));
}

#[test]
fn a_second_delete_with_less_grace_issues_the_stop_again() {
    let mut world = World::new(pod(one("Always")), 8);
    world.behaviours.insert("c".into(), VecDeque::from([Behaviour { exits: None, on_term: None }]));
    world.until(secs(5), "running", running);
    world.delete(600);
    world.run(secs(5));
    world.delete(0);
    world.until(secs(10), "finished", |w| w.finished);
    let graces: Vec<_> = world
        .calls
        .iter()
        .filter_map(|c| match c {
            Call::StopContainer { grace, .. } => Some(grace.as_secs()),
            _ => None,
        })
        .collect();
    assert_eq!(graces, [600, 2]);
}

#[test]
fn a_pod_deleted_while_its_image_is_pulled_does_not_wait_for_the_pull() {
    let mut spec = one("Always");
    spec["containers"][0]["image"] = json!("slow");
    let mut world = World::new(pod(spec), 9);
    world.until(secs(5), "a pull", |w| w.calls.iter().any(|c| matches!(c, Call::PullImage { .. })));
    world.delete(30);
    world.until(secs(3), "finished", |w| w.finished);
    assert_eq!(world.phase(), "Failed");
    assert_eq!(world.starts("c"), 0);
}

#[test]
fn an_image_that_cannot_be_pulled_is_tried_again_with_back_off() {
    let mut spec = one("Always");
    spec["containers"][0]["image"] = json!("missing:1");
    let mut world = World::new(pod(spec), 10);
    world.run(secs(9));
    let reasons: Vec<_> = world
        .published
        .iter()
        .filter_map(|s| s.container_statuses.as_ref()?[0].state.as_ref()?.waiting.as_ref()?.reason.clone())
        .collect();
    assert!(reasons.ends_with(&["ErrImagePull".to_owned(), "ImagePullBackOff".to_owned()]), "{reasons:?}");
    world.run(secs(100));
    let pulls = world.calls.iter().filter(|c| matches!(c, Call::PullImage { .. })).count();
    assert_eq!(pulls, 4, "at 0, 10, 30 and 70 seconds");
}

#[test]
fn a_changed_image_restarts_only_that_container_even_under_never() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "img"}, {"name": "b", "image": "img"}]});
    let mut world = World::new(pod(spec), 11);
    world.until(secs(5), "running", running);
    world.images.push("img2".into());
    world.assign(|p| {
        p.metadata.generation = Some(2);
        if let Some(spec) = &mut p.spec {
            spec.containers[0].image = Some("img2".into());
        }
    });
    world.until(secs(20), "restarted", |w| w.starts("a") == 2);
    world.run(secs(5));
    assert_eq!(world.starts("b"), 1);
    assert_eq!(world.phase(), "Running");
    assert!(world.events.iter().any(|e| e.message == "Container a definition changed, will be restarted"));
}

#[test]
fn a_sandbox_that_died_is_replaced_and_its_containers_start_again() {
    let mut world = World::new(pod(one("Always")), 12);
    world.until(secs(5), "running", running);
    world.runtime.sandboxes[0].ready = false;
    world.runtime.containers[0].state = ContainerState::Exited;
    world.runtime.containers[0].exit_code = 137;
    world.deliver(Input::RuntimeChanged);
    world.until(secs(20), "a second start", |w| w.starts("c") == 2);
    world.run(secs(3));
    assert!(reasons(&world).contains(&"SandboxChanged"));
    assert_eq!(world.last().pod_ip.as_deref(), Some("10.88.0.1"));
    let container = &world.last().container_statuses.as_ref().expect("containers")[0];
    assert_eq!(container.restart_count, 1);
    assert!(container.state.as_ref().is_some_and(|s| s.running.is_some()));
}

#[test]
fn a_pod_that_uses_a_field_which_is_not_carried_out_waits_and_names_it() {
    let mut spec = one("Always");
    spec["resourceClaims"] = json!([{"name": "gpu"}]);
    let mut world = World::new(pod(spec), 13);
    world.run(secs(5));
    assert!(!world.calls.iter().any(|c| matches!(c, Call::RunSandbox { .. })));
    let waiting = world.last().container_statuses.as_ref().expect("containers")[0].state.clone();
    let waiting = waiting.and_then(|s| s.waiting).expect("waiting");
    assert_eq!(waiting.reason.as_deref(), Some("CreateContainerConfigError"));
    assert!(waiting.message.is_some_and(|m| m.contains("spec.resourceClaims")));
    assert_eq!(reasons(&world), ["Failed"]);
    world.delete(30);
    world.until(secs(5), "gone", |w| w.finished);
}

#[test]
fn a_restart_of_the_daemon_restarts_nothing_and_publishes_nothing() {
    let mut world = World::new(pod(one("Always")), 14);
    world.until(secs(5), "running", running);
    world.run(secs(2));
    let published = world.published.len();
    world.restart_daemon();
    world.run(secs(30));
    assert_eq!(world.starts("c"), 1);
    assert_eq!(world.published.len(), published);
}

#[test]
fn a_status_that_an_earlier_daemon_could_not_send_is_sent_when_the_api_server_shows_an_older_one() {
    let mut world = World::new(pod(one("Always")), 14);
    world.until(secs(5), "running", running);
    world.run(secs(2));
    // What was kept on disk has everything that the earlier daemon wanted to tell.
    world.restart_daemon();
    world.run(secs(2));
    let published = world.published.len();
    let told = PodStatus::clone(world.last());
    world.assign(|object| {
        object.status = Some(PodStatus { phase: Some("Pending".into()), ..Default::default() })
    });
    world.run(secs(2));
    assert_eq!(world.published.len(), published + 1);
    assert_eq!(*world.last(), told);
    world.assign(|object| object.status = Some(told.clone()));
    world.run(secs(2));
    assert_eq!(world.published.len(), published + 1, "now it is known");
}

#[test]
fn an_end_that_an_earlier_daemon_could_not_send_is_sent_though_the_api_server_shows_a_beginning_before_the_first_look()
 {
    let mut world = World::new(pod(one("Never")), 14);
    world.behaviours.insert("c".into(), VecDeque::from([exits(100, 0)]));
    world.until(secs(5), "ended", |w| w.phase() == "Succeeded");
    world.run(secs(2));
    let published = world.published.len();
    world.restart_daemon();
    world.assign(|object| {
        object.status = Some(PodStatus { phase: Some("Pending".into()), ..Default::default() })
    });
    world.run(secs(5));
    assert_eq!(world.published.len(), published + 1);
    assert_eq!(world.phase(), "Succeeded");
}

#[test]
fn a_start_that_was_cut_off_by_a_kill_of_the_daemon_counts_as_none() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "img"}]});
    let mut world = World::new(pod(spec), 1);
    world.until(secs(5), "made", |w| w.runtime.containers.len() == 1);
    let id = world.runtime.containers[0].id.clone();
    world.restart_daemon();
    world.cut_start(&id);
    world.until(secs(5), "running", |w| w.phase() == "Running");
    assert_eq!(world.last().container_statuses.as_ref().unwrap()[0].restart_count, 0);
    assert_eq!(world.runtime.containers.len(), 1);
}

#[test]
fn a_deadline_ends_the_pod_with_its_reason() {
    let mut spec = one("Always");
    spec["activeDeadlineSeconds"] = json!(5);
    let mut world = World::new(pod(spec), 15);
    world.until(secs(20), "failed", |w| w.phase() == "Failed");
    assert_eq!(world.last().reason.as_deref(), Some("DeadlineExceeded"));
    assert!(reasons(&world).contains(&"DeadlineExceeded"));
}

#[test]
fn a_pod_deleted_before_anything_started_reaches_failed_before_it_goes() {
    let mut world = World::new(pod(one("Always")), 16);
    world.delete(30);
    world.until(secs(5), "finished", |w| w.finished);
    assert_eq!(world.phase(), "Failed");
    assert!(world.deleted);
    assert_eq!(world.starts("c"), 0);
}

/// What was recorded, written out and read back, brings the same effects again.
fn replays(world: &World) {
    let text = serde_json::to_vec(&world.recording).expect("a recording can be written");
    let read: crate::Recording = serde_json::from_slice(&text).expect("and read");
    let effects = |all: &[Vec<crate::Effect>]| serde_json::to_value(all).expect("effects can be written");
    let played = read.play();
    assert_eq!(effects(&played.effects), effects(&world.effects));
    assert_eq!(
        serde_json::to_value(&played.pod).expect("a machine can be written"),
        serde_json::to_value(&world.pod).expect("a machine can be written"),
    );
}

#[test]
fn a_recording_tells_the_story_and_what_the_pod_waits_for() {
    let mut world = World::new(pod(one("Always")), 21);
    world.behaviours.insert("c".into(), VecDeque::from([exits(10, 1)]));
    world.until(secs(60), "a back-off", |w| w.starts("c") == 3);
    world.run(secs(2));
    let told: Vec<String> = world.recording.play().lines.into_iter().map(|l| l.text).collect();
    let story = told.join("\n");
    for part in
        ["the node admits the pod", "run sandbox, attempt 0", "create c#0", "c#0 exited 1", "create c#2"]
    {
        assert!(story.contains(part), "{part:?} is not told:\n{story}");
    }
    let waits = world.pod.waits();
    assert!(waits[0].what.starts_with("container c: CrashLoopBackOff: back-off 20s"), "{waits:?}");
    let left = waits[0].until.expect("an end") - world.boot;
    assert!(left > secs(15) && left < secs(20), "{left:?}");
}

/// Seeded runs with faults of every kind: the pod converges, and the invariants that `World::check` names hold throughout.
#[test]
fn pods_converge_through_faults_and_restarts_of_the_daemon() {
    for seed in 0..500 {
        let policy = ["Always", "OnFailure", "Never"][usize::try_from(seed % 3).expect("small")];
        let spec = json!({
            "restartPolicy": policy, "terminationGracePeriodSeconds": 3,
            "initContainers": [{"name": "i", "image": "img"}],
            "containers": [{"name": "a", "image": "img"}, {"name": "b", "image": "other"}],
        });
        let mut world = World::new(pod(spec), seed);
        world.faults =
            Faults { refused: 3, unavailable: 5, lost_answer: 5, lost_event: 20, ..Faults::default() };
        world.behaviours.insert("i".into(), VecDeque::from([exits(50, 0)]));
        let lives = [exits(300, 1), exits(2000, 0), Behaviour::default()];
        let pick = usize::try_from(seed / 3 % 3).expect("small");
        world.behaviours.insert("b".into(), VecDeque::from([lives[pick].clone(), Behaviour::default()]));
        for _ in 0..world.random(4) {
            let span = Duration::from_millis(world.random(3000));
            world.run(span);
            if !world.finished {
                world.restart_daemon();
            }
        }
        let settled = |w: &World| {
            matches!(w.phase(), "Succeeded" | "Failed")
                || (w.phase() == "Running" && w.last().container_statuses.iter().flatten().any(|c| c.ready))
        };
        world.until(secs(120), "settled", settled);
        replays(&world);
        world.delete(3);
        world.until(secs(120), "gone", |w| w.finished);
        replays(&world);
        assert!(
            world.runtime.containers.is_empty() && world.runtime.sandboxes.is_empty(),
            "seed {seed} leaks"
        );
    }
}
