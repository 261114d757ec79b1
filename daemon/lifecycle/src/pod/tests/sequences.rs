//! The statuses that a real kubelet published of some pods, in their order, against those of the machine.
//!
//! Each line is one status: phase, then the conditions that are true (S sandbox, I initialized, R ready, C containers
//! ready), then the containers. `?` marks what either of the two may leave out: a kubelet looks once a second and sees fewer
//! steps, and writes some statuses that say only part of what is known at the time.

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState as ApiState, ContainerStatus, PodStatus};
use serde_json::json;

use super::world::{Behaviour, World, pod};
use super::{exits, secs};
use crate::ProbeKind;

fn line(status: &PodStatus) -> String {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let truth = |(kind, letter): (&str, char)| {
        let found = conditions.iter().find(|c| c.type_ == kind);
        found.filter(|c| c.status == "True").map_or('-', |_| letter)
    };
    let letters: String =
        [("PodReadyToStartContainers", 'S'), ("Initialized", 'I'), ("Ready", 'R'), ("ContainersReady", 'C')]
            .into_iter()
            .map(truth)
            .collect();
    let inits = status.init_container_statuses.iter().flatten();
    let all: Vec<String> = inits.chain(status.container_statuses.iter().flatten()).map(container).collect();
    format!("{} {letters} {}", status.phase.as_deref().unwrap_or(""), all.join(" "))
}

fn container(c: &ContainerStatus) -> String {
    let told = |state: &ApiState| {
        if state.running.is_some() {
            "running".to_owned()
        } else if let Some(ended) = &state.terminated {
            format!("{}({})", ended.reason.clone().unwrap_or_default(), ended.exit_code)
        } else {
            state.waiting.as_ref().and_then(|w| w.reason.clone()).unwrap_or_default()
        }
    };
    let state = c.state.as_ref().map(told).unwrap_or_default();
    let marks: String = [(c.ready, 'r'), (c.started == Some(true), 's')]
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, m)| *m)
        .collect();
    let last = c.last_state.as_ref().filter(|s| s.terminated.is_some()).map_or("", |_| "+");
    format!("{}#{}{last}:{state}:{marks}", c.name, c.restart_count)
}

/// The machine passes through the kubelet's statuses in their order and through no others.
fn same(world: &World, kubelet: &[&str]) {
    let mut ours: Vec<String> = world.published.iter().map(|s| line(s)).collect();
    ours.dedup();
    let mut wanted = kubelet.iter();
    for (at, line) in ours.iter().enumerate() {
        let mut passed = Vec::new();
        loop {
            let Some(next) = wanted.next() else {
                panic!("after {passed:?} nothing is like {line}\n{ours:#?}")
            };
            let (optional, text) = next.strip_prefix('?').map_or((false, *next), |text| (true, text));
            if text == line {
                break;
            }
            assert!(optional, "status {at} is\n{line}\ninstead of\n{text}\n{ours:#?}");
            passed.push(text);
        }
    }
    let left: Vec<_> = wanted.filter(|line| !line.starts_with('?')).collect();
    assert!(left.is_empty(), "not told: {left:?}\n{ours:#?}");
}

#[test]
fn a_pod_with_inits_and_a_sidecar() {
    let spec = json!({
        "restartPolicy": "Always",
        "initContainers": [
            {"name": "init", "image": "img"},
            {"name": "side", "image": "img", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["true"]}}},
            {"name": "init2", "image": "img"},
        ],
        "containers": [{"name": "main", "image": "img"}],
    });
    let mut world = World::new(pod(spec), 1);
    for name in ["init", "init2"] {
        world.behaviours.insert(name.into(), VecDeque::from([exits(500, 0)]));
    }
    world.until(secs(20), "the sidecar runs", |w| w.running("side").is_some());
    world.run(secs(1));
    world.probe("side", ProbeKind::Startup, true);
    world.run(secs(10));
    same(
        &world,
        &[
            "Pending ---- init#0:PodInitializing: side#0:PodInitializing: init2#0:PodInitializing: main#0:PodInitializing:",
            "Pending S--- init#0:PodInitializing: side#0:PodInitializing: init2#0:PodInitializing: main#0:PodInitializing:",
            "Pending S--- init#0:running:s side#0:PodInitializing: init2#0:PodInitializing: main#0:PodInitializing:",
            "Pending S--- init#0:Completed(0):r side#0:PodInitializing: init2#0:PodInitializing: main#0:PodInitializing:",
            "Pending S--- init#0:Completed(0):r side#0:running: init2#0:PodInitializing: main#0:PodInitializing:",
            "?Pending S--- init#0:Completed(0):r side#0:running:s init2#0:PodInitializing: main#0:PodInitializing:",
            "Pending S--- init#0:Completed(0):r side#0:running:rs init2#0:PodInitializing: main#0:PodInitializing:",
            "Pending S--- init#0:Completed(0):r side#0:running:rs init2#0:running:s main#0:PodInitializing:",
            "Pending SI-- init#0:Completed(0):r side#0:running:rs init2#0:Completed(0):r main#0:PodInitializing:",
            "Running SIRC init#0:Completed(0):r side#0:running:rs init2#0:Completed(0):r main#0:running:rs",
        ],
    );
}

#[test]
fn a_container_that_fails_over_and_over() {
    let spec = json!({"restartPolicy": "Always", "containers": [{"name": "c", "image": "img"}]});
    let mut world = World::new(pod(spec), 1);
    world.behaviours.insert("c".into(), VecDeque::from([exits(1000, 1)]));
    world.until(secs(60), "the third run", |w| w.starts("c") == 3 && w.running("c").is_some());
    world.run(Duration::from_millis(500));
    same(
        &world,
        &[
            "Pending -I-- c#0:ContainerCreating:",
            "Pending SI-- c#0:ContainerCreating:",
            "Running SIRC c#0:running:rs",
            "Running SI-- c#0:Error(1):",
            "Running SIRC c#1+:running:rs",
            "Running SI-- c#1+:Error(1):",
            "Running SI-- c#1+:CrashLoopBackOff:",
            "Running SIRC c#2+:running:rs",
        ],
    );
}

#[test]
fn a_pod_that_is_deleted() {
    let spec = json!({"restartPolicy": "Always", "containers": [{"name": "c", "image": "img"}, {"name": "stubborn", "image": "img"}]});
    let mut world = World::new(pod(spec), 1);
    world.behaviours.insert("stubborn".into(), VecDeque::from([Behaviour { exits: None, on_term: None }]));
    world.until(secs(20), "both run", |w| w.running("stubborn").is_some());
    world.run(secs(1));
    world.delete(5);
    world.until(secs(20), "gone", |w| w.finished);
    same(
        &world,
        &[
            "Pending -I-- c#0:ContainerCreating: stubborn#0:ContainerCreating:",
            "Pending SI-- c#0:ContainerCreating: stubborn#0:ContainerCreating:",
            "?Pending SI-- c#0:running:rs stubborn#0:ContainerCreating:",
            "Running SIRC c#0:running:rs stubborn#0:running:rs",
            "?Running SI-- c#0:Error(143): stubborn#0:running:rs",
            "?Running SI-- c#0:Error(143): stubborn#0:Error(137):",
            "?Running -I-- c#0:Error(143): stubborn#0:Error(137):",
            "Failed -I-- c#0:Error(143): stubborn#0:Error(137):",
        ],
    );
}
