//! How one run of a container behaves: what its process, its hooks and its probes do by themselves.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container as ContainerSpec;
use lifecycle::{ContainerKind, ProbeKind};

use crate::random::Random;

/// What a hook does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HookScript {
    Works(Duration),
    Fails(Duration),
    /// Until nobody waits for it any more.
    Hangs,
}

/// See the module's page; times count from the start of the run.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// Ends by itself: when, with which code, whether for want of memory.
    pub(crate) exits: Option<(Duration, i32, bool)>,
    /// Ends so long after its stop signal; `None`: only SIGKILL ends it.
    pub(crate) on_term: Option<(Duration, i32)>,
    pub(crate) post_start: HookScript,
    pub(crate) pre_stop: HookScript,
    startup: (Duration, bool),
    liveness_fails: Option<Duration>,
    /// Values with the times from which they hold, in order.
    readiness: Vec<(Duration, bool)>,
}

/// Runs of a container with this number and above do what lets the pod come to rest.
const SETTLED: u64 = 3;

impl Script {
    /// Of the `run`-th run, counted from 0; `policy` is the one that holds for the container.
    pub(crate) fn new(
        random: &mut Random,
        kind: ContainerKind,
        spec: &ContainerSpec,
        policy: &str,
        run: u64,
    ) -> Self {
        let wild = run < SETTLED;
        let code = random.pick(&[0, 0, 1, 1, 2, 42, 137]);
        let oom = code == 137 && random.percent(50);
        let exit_after = random.millis(5, 40_000);
        let exits = match (kind, policy) {
            (ContainerKind::Init, _) => {
                let after = random.millis(5, 3_000);
                let fails = wild && random.percent(30);
                Some((after, if fails { code } else { 0 }, fails && oom))
            }
            (ContainerKind::Sidecar, _) => (wild && random.percent(25)).then_some((exit_after, code, oom)),
            (ContainerKind::Ephemeral, _) => random.percent(60).then_some((exit_after, code, oom)),
            (ContainerKind::Regular, "Never") => random.percent(60).then_some((exit_after, code, oom)),
            (ContainerKind::Regular, "OnFailure") if wild => {
                random.percent(60).then_some((exit_after, code, oom))
            }
            // By the name, so that it does not change from run to run.
            (ContainerKind::Regular, "OnFailure") if spec.name.len().is_multiple_of(2) => {
                Some((exit_after, 0, false))
            }
            (ContainerKind::Regular, _) => (wild && random.percent(40)).then_some((exit_after, code, oom)),
        };
        let on_term = match random.below(20) {
            0..14 => Some((random.millis(2, 1_500), random.pick(&[143, 0, 1]))),
            14..17 => Some((random.millis(1_000, 30_000), 0)),
            _ => None,
        };
        let hook = |random: &mut Random, slowest: u64| match random.below(20) {
            0..14 => HookScript::Works(random.millis(1, slowest)),
            14..16 => HookScript::Works(random.millis(1_000, 20_000)),
            16..18 if wild => HookScript::Fails(random.millis(1, slowest)),
            18 if wild => HookScript::Hangs,
            _ => HookScript::Works(Duration::from_millis(3)),
        };
        let post_start = match hook(random, 1_000) {
            HookScript::Hangs => HookScript::Works(Duration::from_secs(45)),
            other => other,
        };
        let pre_stop = hook(random, 2_000);
        let up = random.millis(50, 4_000);
        let startup = (up, !(wild && random.percent(15)));
        let liveness_fails = (wild && random.percent(15)).then(|| up + random.millis(500, 20_000));
        let mut readiness = vec![(up + random.millis(10, 2_000), true)];
        if random.percent(35) {
            let (at, _) = readiness[0];
            let flips = at + random.millis(200, 15_000);
            readiness.push((flips, false));
            if random.percent(75) {
                readiness.push((flips + random.millis(200, 8_000), true));
            }
        }
        Self { exits, on_term, post_start, pre_stop, startup, liveness_fails, readiness }
    }

    /// What a probe says `age` after the start, and how long that holds.
    pub(crate) fn verdict(&self, kind: ProbeKind, age: Duration) -> (Option<bool>, Option<Duration>) {
        let next = |at: Duration| (at > age).then(|| at - age);
        match kind {
            ProbeKind::Startup => {
                let (at, success) = self.startup;
                ((age >= at).then_some(success), next(at))
            }
            ProbeKind::Liveness => match self.liveness_fails {
                Some(at) => (Some(age < at), next(at)),
                None => (Some(true), None),
            },
            ProbeKind::Readiness => {
                let held = self.readiness.iter().rev().find(|(at, _)| *at <= age).map(|(_, value)| *value);
                let changes = self.readiness.iter().find(|(at, _)| *at > age).map(|(at, _)| *at - age);
                (Some(held.unwrap_or(false)), changes)
            }
        }
    }
}
