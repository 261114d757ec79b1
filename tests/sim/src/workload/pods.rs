//! Random pods, of every shape that the lifecycle tells apart.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerResizePolicy, ContainerRestartRule, ContainerRestartRuleOnExitCodes,
    EmptyDirVolumeSource, EphemeralContainer, ExecAction, Lifecycle, LifecycleHandler, Pod as ApiPod,
    PodCondition, PodReadinessGate, PodSpec, PodStatus, Probe, ResourceRequirements, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lifecycle::Origin;

use super::{Key, uid};
use crate::random::Random;

/// The condition that a readiness gate waits for.
pub(crate) const GATE: &str = "example.com/gate";

/// `name` numbers the pod's name: a pod that follows another one of that name has another key.
pub(crate) fn pod(random: &mut Random, key: Key, name: u64, origin: Origin) -> ApiPod {
    let policy = random.pick(&["Always", "Always", "Always", "OnFailure", "OnFailure", "Never", "Never"]);
    let restarts = policy != "Never";
    let inits: Vec<Container> = (0..random.pick(&[0, 0, 0, 1, 1, 2, 3]))
        .map(|n| {
            let sidecar = random.percent(45);
            let mut c = container(
                random,
                &format!("{}{n}", if sidecar { "side" } else { "init" }),
                sidecar,
                restarts,
            );
            c.restart_policy = sidecar.then(|| "Always".to_owned());
            c
        })
        .collect();
    let containers = (0..random.pick(&[1, 1, 1, 2, 2, 3]))
        // Names of even and of odd length: see `Script`.
        .map(|n| {
            let odd = if random.percent(50) { "x" } else { "" };
            let mut c = container(random, &format!("c{n}{odd}"), true, restarts);
            if random.percent(15) {
                restart_rules(random, &mut c);
                // The API allows no resize that needs a restart where there is none.
                c.resize_policy = None;
            }
            c
        })
        .collect();
    let empty = || Volume {
        name: "v".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let volumes = random.percent(40).then(|| vec![empty()]);
    let gates = (origin == Origin::Api && random.percent(6))
        .then(|| vec![PodReadinessGate { condition_type: GATE.to_owned() }]);
    let spec = PodSpec {
        restart_policy: Some(policy.to_owned()),
        init_containers: (!inits.is_empty()).then_some(inits),
        containers,
        volumes,
        readiness_gates: gates,
        host_network: random.percent(10).then_some(true),
        termination_grace_period_seconds: Some(random.pick(&[0, 1, 2, 5, 10, 30, 30])),
        active_deadline_seconds: random.percent(8).then(|| random.pick(&[5, 30, 90])),
        ..PodSpec::default()
    };
    let over = origin == Origin::Api && random.percent(4);
    let status = over.then(|| PodStatus {
        phase: Some(random.pick(&["Succeeded", "Failed"]).to_owned()),
        ..PodStatus::default()
    });
    let metadata = ObjectMeta {
        name: Some(format!("{}-{name}", if origin == Origin::Static { "static" } else { "web" })),
        namespace: Some("ns".to_owned()),
        uid: Some(uid(key)),
        generation: Some(1),
        ..ObjectMeta::default()
    };
    ApiPod { metadata, spec: Some(spec), status }
}

fn container(random: &mut Random, name: &str, lasting: bool, restarts: bool) -> Container {
    let image = random.pick(&["img", "img", "img", "new", "slow", "flaky"]);
    let probe = |random: &mut Random, chance: u64| {
        (lasting && random.percent(chance)).then(|| Probe {
            termination_grace_period_seconds: random.percent(20).then_some(3),
            ..Probe::default()
        })
    };
    let hook = |random: &mut Random, chance: u64| {
        (lasting && random.percent(chance)).then(|| LifecycleHandler {
            exec: Some(ExecAction { command: None }),
            ..LifecycleHandler::default()
        })
    };
    let lifecycle = Lifecycle { post_start: hook(random, 12), pre_stop: hook(random, 25), stop_signal: None };
    let hooked = lifecycle.post_start.is_some() || lifecycle.pre_stop.is_some();
    let resize_policy = (restarts && random.percent(30)).then(|| {
        vec![ContainerResizePolicy {
            resource_name: "memory".to_owned(),
            restart_policy: "RestartContainer".to_owned(),
        }]
    });
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(
            random.pick(&["IfNotPresent", "IfNotPresent", "IfNotPresent", "Always"]).to_owned(),
        ),
        startup_probe: probe(random, 20),
        liveness_probe: probe(random, 20),
        readiness_probe: probe(random, 35),
        lifecycle: hooked.then_some(lifecycle),
        resources: random.percent(40).then(|| resources(100)),
        resize_policy,
        ..Container::default()
    }
}

/// So much processor time and memory.
pub(crate) fn resources(amount: i64) -> ResourceRequirements {
    let list = |cpu: i64, memory: i64| {
        let quantities = [("cpu", format!("{cpu}m")), ("memory", format!("{memory}Mi"))];
        Some(quantities.into_iter().map(|(k, v)| (k.to_owned(), Quantity(v))).collect::<BTreeMap<_, _>>())
    };
    ResourceRequirements {
        requests: list(amount, amount),
        limits: list(2 * amount, 2 * amount),
        claims: None,
    }
}

fn restart_rules(random: &mut Random, c: &mut Container) {
    c.restart_policy = Some(random.pick(&["Always", "OnFailure", "Never"]).to_owned());
    let rule = |action: &str, operator: &str, values: Vec<i32>| ContainerRestartRule {
        action: action.to_owned(),
        exit_codes: Some(ContainerRestartRuleOnExitCodes {
            operator: operator.to_owned(),
            values: Some(values),
        }),
    };
    c.restart_policy_rules = match random.below(4) {
        0 => Some(vec![rule("Restart", "In", vec![42, 2])]),
        1 => Some(vec![rule("RestartAllContainers", "In", vec![42])]),
        2 => Some(vec![rule("Restart", "In", vec![2]), rule("RestartAllContainers", "In", vec![42, 1])]),
        _ => None,
    };
}

fn nth(pod: &mut ApiPod, which: u64, wanted: impl Fn(&Container) -> bool) -> Option<&mut Container> {
    let spec = pod.spec.as_mut()?;
    let all: Vec<&mut Container> =
        spec.init_containers.iter_mut().flatten().chain(&mut spec.containers).filter(|c| wanted(c)).collect();
    let count = all.len().max(1);
    all.into_iter().nth(usize::try_from(which).unwrap_or(0) % count)
}

pub(crate) fn change_image(pod: &mut ApiPod, which: u64) {
    if let Some(c) = nth(pod, which, |_| true) {
        c.image = Some(if c.image.as_deref() == Some("other") { "img" } else { "other" }.to_owned());
    }
}

/// Other resources for one of its containers, or for the pod as a whole where its spec says what that is to have.
pub(crate) fn resize(pod: &mut ApiPod, which: u64, amount: i64) {
    if let Some(level) = pod.spec.as_mut().and_then(|spec| spec.resources.as_mut())
        && which.is_multiple_of(2)
    {
        // Room for all that its containers may ask for.
        *level = resources(amount * 8);
        return;
    }
    if let Some(c) = nth(pod, which, |c| c.resources.is_some()) {
        c.resources = Some(resources(amount));
    }
}

pub(crate) fn add_ephemeral(pod: &mut ApiPod) {
    let Some(spec) = pod.spec.as_mut() else { return };
    let list = spec.ephemeral_containers.get_or_insert_default();
    let target = spec.containers.first().map(|c| c.name.clone()).filter(|_| list.len() % 2 == 1);
    list.push(EphemeralContainer {
        name: format!("debug{}", list.len()),
        image: Some("img".to_owned()),
        target_container_name: target,
        ..EphemeralContainer::default()
    });
}

pub(crate) fn set_gate(pod: &mut ApiPod, value: bool) {
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.retain(|c| c.type_ != GATE);
    conditions.push(PodCondition {
        type_: GATE.to_owned(),
        status: if value { "True" } else { "False" }.to_owned(),
        ..PodCondition::default()
    });
}
