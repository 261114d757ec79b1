//! What is removed of a pod while it or its object stays.

use k8s_openapi::api::core::v1::PodStatus;

use super::*;
use crate::pod::DeadContainers;
use crate::{Assignment, Call, Origin, Pod, Settings};

/// A world whose daemon keeps so many dead containers.
fn keeping(spec: Value, dead_containers: DeadContainers) -> World {
    let object = pod(spec);
    let mut world = World::new(object.clone(), 7);
    let settings = Settings { dead_containers, ..Settings::clone(&super::super::world::settings()) };
    let assignment = Assignment::new(object.into(), Origin::Api);
    world.pod = Pod::new(settings.into(), assignment, vec!["192.0.2.2".to_owned()]);
    world
}

fn ids(world: &World) -> Vec<&str> {
    let mut ids: Vec<&str> = world.runtime.containers.iter().map(|c| c.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

fn removals(world: &World) -> usize {
    world.calls.iter().filter(|call| matches!(call, Call::RemoveContainer { .. })).count()
}

#[test]
fn row_40_2_of_each_name_so_many_dead_containers_stay_beside_the_newest() {
    for (kept, left) in [(0, 1), (1, 2), (3, 4), (usize::MAX, 5)] {
        let mut world = keeping(one("Always"), DeadContainers { kept, ..DeadContainers::default() });
        behave(&mut world, "c", (0..4).map(|_| exits(10, 1)).chain([stays()]));
        world.until(secs(120), "a fifth run", |w| w.starts("c") == 5);
        world.run(secs(5));
        let counts: Vec<u32> = world.runtime.containers_named("c").iter().map(|c| c.restart_count).collect();
        assert_eq!(counts, [4, 3, 2, 1, 0][..left], "{kept}");
        let before = world.container("c").last_state.clone().unwrap_or_default().terminated;
        assert_eq!(before.map(|t| t.exit_code), Some(1), "{kept}: the status still tells of the run before");
    }
}

#[test]
fn row_40_2_a_dead_container_stays_until_it_has_the_minimum_age() {
    let limits = DeadContainers { kept: 0, min_age: secs(60) };
    let mut world = keeping(one("Always"), limits);
    behave(&mut world, "c", [exits(10, 1), stays()]);
    world.until(secs(5), "a second run", |w| w.starts("c") == 2);
    world.run(secs(55));
    assert_eq!(ids(&world), ["c-s0-0", "c-s0-1"]);
    world.run(secs(6));
    assert_eq!(ids(&world), ["c-s0-1"]);
}

#[test]
fn a_container_stays_until_its_successor_was_started() {
    let mut world = keeping(one("Always"), DeadContainers { kept: 0, ..DeadContainers::default() });
    behave(&mut world, "c", [exits(10, 1), stays()]);
    world.until(secs(5), "a second container", |w| w.runtime.containers.len() == 2);
    let (made, now) = (world.runtime.clone(), world.now());
    assert_eq!(made.containers_named("c")[0].state, ContainerState::Created);
    // Its start may be cut off yet: then the first alone knows the count.
    assert_eq!(world.pod.surplus(&made, now).map(|c| c.id.as_str()), None);
    world.run(secs(5));
    assert_eq!(ids(&world), ["c-s0-1"]);
}

#[test]
fn a_container_that_cannot_be_removed_is_tried_ever_more_rarely_and_holds_up_nothing() {
    let mut world = keeping(one("Always"), DeadContainers { kept: 0, ..DeadContainers::default() });
    behave(&mut world, "c", [exits(10, 1), stays()]);
    world.until(secs(5), "a second run", |w| w.starts("c") == 2);
    world.faults.unremovable = true;
    world.run(secs(300));
    let tried = removals(&world);
    assert!((8..20).contains(&tried), "{tried}");
    world.faults.unremovable = false;
    world.until(secs(61), "the removal", |w| w.runtime.containers.len() == 1);
    assert!(running(&world));
}

#[test]
fn row_40_3_of_an_evicted_pod_nothing_stays_but_its_object_and_what_that_says() {
    let mut world = world(spec("Always", vec![sidecar("side")], vec![container("c")]));
    world.until(secs(5), "running", running);
    let reason = "Evicted".to_owned();
    let message = "The node was low on resource: ephemeral-storage. ".to_owned();
    world.deliver(Input::Kill { reason, message, grace: Some(secs(1)), disrupts: true });
    world.run(secs(10));
    assert_eq!((world.runtime.containers.len(), world.runtime.sandboxes.len()), (0, 0));
    let told = world.told();
    assert_eq!(told.iter().filter(|t| t.starts_with("remove the pod's logs")).count(), 1, "{told:#?}");
    assert!(!told.iter().any(|t| t.starts_with("remove the pod's directories")), "{told:#?}");
    assert!(!world.deleted && !world.finished);
    assert_eq!((world.phase(), world.last().reason.as_deref()), ("Failed", Some("Evicted")));
    assert!(code(&world, "c").is_some(), "the status tells how the container ended");
    let published = world.published.len();

    // A new daemon runs nothing of it, and has nothing to add.
    world.restart_daemon();
    world.run(secs(10));
    assert_eq!((world.starts("c"), world.published.len()), (1, published));

    world.delete(30);
    world.until(secs(10), "gone", |w| w.finished);
    assert!(world.deleted);
}

#[test]
fn what_an_evicted_pod_has_goes_while_the_api_server_is_away_and_a_new_daemon_still_tells_how_it_ended() {
    let mut world = world(one("Always"));
    world.until(secs(5), "running", running);
    world.run(secs(2));
    let shown = PodStatus::clone(world.last());
    world.faults.unpublished = true;
    world.deliver(Input::Kill {
        reason: "Evicted".to_owned(),
        message: "The node was low on resource: memory. ".to_owned(),
        grace: Some(secs(1)),
        disrupts: true,
    });
    world.run(secs(10));
    assert!(world.runtime.containers.is_empty() && world.runtime.sandboxes.is_empty());
    assert!(world.pod.is_settled() && !world.pod.holds_room());
    let end = PodStatus::clone(world.last());
    assert_eq!((world.phase(), end.reason.as_deref()), ("Failed", Some("Evicted")));

    // Of the end only the node knows: the API server shows a pod that runs.
    world.restart_daemon_that_is_shown(shown);
    world.run(secs(30));
    assert_eq!(world.starts("c"), 1, "an evicted pod is not run again");
    assert_eq!(*world.last(), end, "the end is told as it was");
    assert!(!world.deleted && !world.finished);
}

#[test]
fn what_the_node_wants_the_room_of_goes_but_for_the_newest_of_each_name() {
    let mut world = world(one("Always"));
    behave(&mut world, "c", [exits(10, 1), stays()]);
    world.until(secs(5), "a second run", |w| w.starts("c") == 2);
    let wanted = || ["c-s0-0", "c-s0-1", "of another pod"].map(str::to_owned).to_vec();
    world.deliver(Input::Trim { ids: wanted() });
    world.run(secs(5));
    assert_eq!(ids(&world), ["c-s0-1"]);
    // It has ended, and waits for its restart.
    behave(&mut world, "c", [stays()]);
    world.runtime.containers[0].state = ContainerState::Exited;
    world.runtime.containers[0].exit_code = 1;
    world.runtime.containers[0].finished_at = world.runtime.containers[0].started_at + 1;
    world.deliver(Input::Trim { ids: wanted() });
    world.deliver(Input::RuntimeChanged);
    world.until(secs(60), "a third run", |w| w.starts("c") == 3);
    world.until(secs(5), "its status", |w| w.container("c").restart_count == 2);
}

#[test]
fn row_40_7_of_a_pod_that_is_over_what_the_node_wants_the_room_of_goes_and_the_sandbox_behind_it() {
    let mut world = world(spec("Never", vec![], vec![container("c"), container("d")]));
    behave(&mut world, "c", [exits(10, 0)]);
    behave(&mut world, "d", [exits(10, 0)]);
    world.until(secs(10), "succeeded", |w| w.phase() == "Succeeded");
    world.run(secs(60));
    assert_eq!(ids(&world), ["c-s0-0", "d-s0-0"], "kept for their logs");
    world.deliver(Input::Trim { ids: vec!["c-s0-0".to_owned()] });
    world.run(secs(5));
    assert_eq!((ids(&world), world.runtime.sandboxes.len()), (vec!["d-s0-0"], 1));
    world.deliver(Input::Trim { ids: vec!["d-s0-0".to_owned()] });
    world.run(secs(5));
    assert_eq!((ids(&world), world.runtime.sandboxes.len()), (vec![], 0));
    let told = world.told();
    assert!(!told.iter().any(|t| t.starts_with("remove the pod's logs")), "{told:#?}");
    assert_eq!((world.phase(), code(&world, "c"), code(&world, "d")), ("Succeeded", Some(0), Some(0)));
    world.delete(30);
    world.until(secs(10), "gone", |w| w.finished);
}
