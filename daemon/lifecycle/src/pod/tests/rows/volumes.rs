//! Section 20: when volumes are made, and made anew.

use std::time::Duration;

use serde_json::{Value, json};

use super::{place, reasons, running, secs, spec, waiting, with, world};
use crate::pod::tests::world::World;
use crate::{Answer, Failure, FailureKind, Input};

const NOT_FOUND: &str = "MountVolume.SetUp failed for volume \"v\" : configmap \"m\" not found";

fn with_volume() -> Value {
    let mut all = spec("Always", vec![], vec![with("c", json!({}))]);
    all["volumes"] = json!([{"name": "v", "configMap": {"name": "m"}}]);
    all
}

fn fails(kind: FailureKind, message: &str) -> Result<Answer, Failure> {
    Err(Failure { kind, message: message.to_owned() })
}

fn mounts(world: &World) -> usize {
    world.times("mount the volumes").len()
}

#[test]
fn row_20_1_nothing_is_started_without_the_volumes_and_their_coming_is_no_matter_of_back_off() {
    let mut world = world(with_volume());
    let two = format!("{NOT_FOUND}\nMountVolume.SetUp failed for volume \"w\" : secret \"s\" not found");
    world.mounts.extend((0..20).map(|_| fails(FailureKind::Refused, &two)));
    world.run(secs(30));
    assert_eq!(waiting(&world, "c"), "ContainerCreating");
    assert!(world.times("run sandbox").is_empty(), "{:?}", world.told());
    let events: Vec<&str> =
        world.events.iter().filter(|e| e.reason == "FailedMount").map(|e| e.message.as_str()).collect();
    assert_eq!(events[..2].join("\n"), two, "each volume is an event of its own");
    let tried = mounts(&world);
    assert!((5..9).contains(&tried), "{tried} tries in half a minute");
    assert!(world.pod.waits().iter().any(|wait| wait.what.contains("configmap") && wait.until.is_some()));
    world.mounts.clear();
    world.deliver(Input::ObjectsChanged);
    world.until(Duration::from_millis(500), "running", running);
    let told = world.told();
    assert!(place(&told, "mount the volumes") < place(&told, "run sandbox"), "{told:#?}");
}

#[test]
fn row_20_2_a_change_is_written_while_the_pod_goes_on_and_a_failure_leaves_it_running() {
    let mut world = world(with_volume());
    world.until(secs(5), "running", running);
    world.run(secs(60));
    assert_eq!(mounts(&world), 1, "nothing is made anew without a cause");
    world.deliver(Input::ObjectsChanged);
    world.run(secs(1));
    assert_eq!(mounts(&world), 2);
    world.mounts.push_back(fails(FailureKind::Refused, NOT_FOUND));
    world.deliver(Input::ObjectsChanged);
    world.run(Duration::from_millis(100));
    assert!(reasons(&world).contains(&"FailedMount"));
    assert!(running(&world) && world.container("c").ready);
    world.run(secs(5));
    assert_eq!(mounts(&world), 4, "it is tried again");
    assert_eq!(world.starts("c"), 1);
}

#[test]
fn rows_20_9_and_20_11_other_labels_and_old_tokens_make_the_files_anew() {
    let mut world = world(with_volume());
    world.mounts.push_back(Ok(Answer::Mounted { refresh_after: Some(secs(60)) }));
    world.until(secs(5), "running", running);
    world.run(secs(50));
    assert_eq!(mounts(&world), 1);
    world.run(secs(15));
    assert_eq!(mounts(&world), 2, "the token is too old");
    world.run(secs(120));
    assert_eq!(mounts(&world), 2, "nothing in it grows old any more");
    world.assign(|pod| pod.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into()));
    world.run(secs(1));
    assert_eq!(mounts(&world), 3);
    world.assign(|pod| pod.metadata.generation = Some(2));
    world.run(secs(1));
    assert_eq!(mounts(&world), 3);
}

#[test]
fn row_20_31_after_a_restart_of_the_daemon_volumes_are_found_and_nothing_is_started_again() {
    let mut world = world(with_volume());
    world.until(secs(5), "running", running);
    world.mounts.push_back(fails(FailureKind::Unavailable, "failed to sync configmap cache: away"));
    world.restart_daemon();
    world.run(secs(5));
    assert!(running(&world) && world.container("c").ready);
    assert_eq!((mounts(&world), world.starts("c")), (3, 1), "{:?}", world.told());
}

#[test]
fn row_20_32_volumes_go_when_nothing_runs_any_more_also_those_of_a_pod_that_nobody_knows() {
    let mut deleted = world(with_volume());
    deleted.until(secs(5), "running", running);
    deleted.delete(1);
    deleted.run(secs(30));
    let told = deleted.told();
    let at = place(&told, "unmount the volumes");
    assert!(at > place(&told, "stop sandbox"), "{told:#?}");
    let mut orphan = world(with_volume());
    orphan.until(secs(5), "running", running);
    orphan.restart_daemon_without_the_object();
    orphan.run(secs(30));
    place(&orphan.told(), "unmount the volumes");
}
