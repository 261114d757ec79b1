//! Containers that the kernel killed for want of memory, by the runtime's word (behaviour.md 31.1).

use super::*;

/// The runtime says that the container that runs has ended in this way.
fn killed(world: &mut World, name: &str, exit_code: i32) {
    let now = world.now().wall.as_nanosecond();
    let running = world.runtime.containers.iter_mut();
    let c = running.filter(|c| c.name == name).find(|c| c.state == ContainerState::Running).expect("it runs");
    c.state = ContainerState::Exited;
    c.exit_code = exit_code;
    c.reason = "OOMKilled".to_owned();
    c.finished_at = i64::try_from(now).expect("a time of this century");
    world.deliver(Input::RuntimeChanged);
}

fn init_spec(policy: &str) -> Value {
    spec(policy, vec![container("i")], vec![container("c")])
}

#[test]
fn row_31_1_an_init_container_that_lost_a_process_has_failed_even_with_exit_code_0() {
    let mut world = world(init_spec("Never"));
    world.until(secs(5), "the init container", |w| w.starts("i") == 1);
    world.run(secs(1));
    killed(&mut world, "i", 0);
    world.until(secs(10), "failed", |w| w.phase() == "Failed");
    assert_eq!(world.starts("c"), 0);
    let ended = world.container("i").state.clone().unwrap_or_default().terminated.expect("terminated");
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (0, Some("OOMKilled")));
}

#[test]
fn row_31_1_such_an_init_container_is_run_again_where_the_policy_allows_it() {
    for policy in ["OnFailure", "Always"] {
        let mut world = world(init_spec(policy));
        world.until(secs(5), "the init container", |w| w.starts("i") == 1);
        world.run(secs(1));
        killed(&mut world, "i", 0);
        behave(&mut world, "i", [exits(10, 0)]);
        world.until(secs(30), "running", running);
        assert_eq!((world.starts("i"), world.starts("c")), (2, 1), "{policy}");
    }
}

#[test]
fn row_31_1_a_sidecar_that_was_killed_is_started_again_and_the_pod_goes_on() {
    let mut world = world(spec("Never", vec![sidecar("side")], vec![container("c")]));
    world.until(secs(5), "running", running);
    killed(&mut world, "side", 137);
    world.until(secs(30), "a second run of the sidecar", |w| w.starts("side") == 2);
    world.run(secs(2));
    let last =
        world.container("side").last_state.clone().unwrap_or_default().terminated.expect("a run before");
    assert_eq!((last.exit_code, last.reason.as_deref()), (137, Some("OOMKilled")));
    assert_eq!((world.phase(), world.starts("c")), ("Running", 1));
}

#[test]
fn row_31_1_a_container_that_was_killed_has_failed_and_one_that_lost_a_child_ends_as_its_code_says() {
    for (exit_code, phase) in [(137, "Failed"), (0, "Succeeded")] {
        let mut world = world(one("Never"));
        world.until(secs(5), "running", running);
        killed(&mut world, "c", exit_code);
        world.until(secs(10), "the end", |w| w.phase() == phase);
        let ended = world.container("c").state.clone().unwrap_or_default().terminated.expect("terminated");
        assert_eq!(ended.reason.as_deref(), Some("OOMKilled"));
    }
}
