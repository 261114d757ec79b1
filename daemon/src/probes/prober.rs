//! The task that owns the schedule and starts what is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cri_client::Client;
use k8s_openapi::api::core::v1::{Container as ContainerSpec, Pod as ApiPod, Probe};
use lifecycle::{ContainerKind, ProbeKind, ProbeTarget};
use probes::{Bounds, Due, Handler, Lane, Outcome, Periods, Purpose, Schedule, Timing, Worker, drivers};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::Wanted;
use super::desk::Desk;
use super::exec::RuntimeExec;
use super::series::Series;
use crate::clock;
use crate::events::Recorder;
use crate::flags;
use crate::pods::Mailbox;
use crate::runtime::expanded_by_static;
use crate::stop::stopped;

/// Containers that ran before the daemon did are first probed spread over a period, but over no more than this.
const SPREAD: Duration = Duration::from_secs(1);

/// One probe of one run of a container: the runtime's id, and what it is for.
type Key = (Arc<str>, Purpose);

/// What is known of a pod that has something probed.
#[derive(Debug)]
struct OfPod {
    pod: Arc<ApiPod>,
    pod_ip: Option<String>,
    mailbox: Mailbox,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Target {
    uid: Arc<str>,
    container: String,
    /// For events.
    field_path: String,
    /// What is done, or why nothing can be.
    handler: Result<Arc<Handler>, String>,
    /// The start under way, and how it is given up.
    running: Option<(u64, AbortHandle)>,
}

/// The end of a start.
type Done = (Key, u64, Outcome, Duration);

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Prober {
    desk: Desk,
    series: Series,
    exec: RuntimeExec,
    recorder: Recorder,
    agent: Arc<str>,
    /// Boot time of the daemon's start.
    begun: Duration,
    schedule: Schedule<Key>,
    targets: HashMap<Key, Target>,
    pods: HashMap<Arc<str>, OfPod>,
    attempts: JoinSet<Done>,
}

impl Prober {
    pub(super) fn new(desk: Desk, series: Series, cri: Client, recorder: Recorder, bounds: Bounds) -> Self {
        Self {
            desk,
            series,
            exec: RuntimeExec(cri),
            recorder,
            agent: format!("kube-probe/{}", flags::minor_version()).into(),
            begun: clock::boot(),
            schedule: Schedule::new(bounds),
            targets: HashMap::new(),
            pods: HashMap::new(),
            attempts: JoinSet::new(),
        }
    }

    /// Runs until `stop`; what is under way then is given up.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            while let Some(due) = self.schedule.start(clock::boot()) {
                self.start(due);
            }
            let next = self.schedule.next().map(clock::instant_of);
            tokio::select! {
                // Results before words and deadlines: they may take a probe out of the way.
                biased;
                // Cancel-safe: a level.
                () = stopped(&mut stop) => return,
                // Cancel-safe: as JoinSet says.
                Some(done) = self.attempts.join_next(), if !self.attempts.is_empty() => match done {
                    Ok(done) => self.finish(done),
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => tracing::error!(%error, "a probe has ended by itself"),
                },
                // Cancel-safe: see Desk::taken.
                words = self.desk.taken() => {
                    for (uid, wanted) in words {
                        self.take(uid.into(), wanted);
                    }
                }
                // Cancel-safe: a deadline.
                () = sleep_until(next), if next.is_some() => {}
            }
        }
    }

    fn start(&mut self, due: Due<Key>) {
        let Due { key, start, late } = due;
        let (Some(target), Some(worker)) = (self.targets.get_mut(&key), self.schedule.worker(&key)) else {
            return;
        };
        tracing::trace!(container = target.container, purpose = key.1.name(), ?late, "a probe begins");
        let (timeout, agent, exec) = (worker.timeout(), Arc::clone(&self.agent), self.exec.clone());
        let handler = target.handler.clone();
        let started = key.clone();
        let attempt = self.attempts.spawn(async move {
            let begun = tokio::time::Instant::now();
            let outcome = match handler {
                Ok(handler) => drivers::probe(&handler, &key.0, timeout, &agent, &exec).await,
                Err(why) => Outcome::unknown(why),
            };
            (key, start, outcome, begun.elapsed())
        });
        if let Some(target) = self.targets.get_mut(&started) {
            target.running = Some((start, attempt));
        }
    }

    fn finish(&mut self, (key, start, outcome, took): Done) {
        let Some(target) = self.targets.get_mut(&key) else { return };
        if target.running.as_ref().is_none_or(|(running, _)| *running != start) {
            return;
        }
        target.running = None;
        let Some(pod) = self.pods.get(&target.uid) else { return };
        let purpose = key.1;
        if let Some((reason, message)) = outcome.event(purpose.name()) {
            self.recorder.pod_event(&pod.pod, Some(&target.field_path), true, reason, message);
        }
        if let Some(success) = outcome.result() {
            self.series.count(&target.uid, &target.container, purpose, success, took);
        }
        if let Some(success) = self.schedule.finish(&key, start, outcome.result(), clock::boot()) {
            pod.mailbox.probed(&key.0, kind(purpose), success);
        }
    }

    /// Probes what the pod wants now, and nothing else of it. What is probed already goes on.
    fn take(&mut self, uid: Arc<str>, wanted: Option<Wanted>) {
        let Some(wanted) = wanted else {
            self.series.end(&uid);
            for key in self.pods.remove(&uid).map(|pod| pod.keys).unwrap_or_default() {
                self.drop_target(&key);
            }
            return;
        };
        let Wanted { pod, pod_ip, targets, mailbox } = wanted;
        let before = self.pods.remove(&uid);
        let moved = before.as_ref().is_some_and(|before| before.pod_ip != pod_ip);
        let mut keys = Vec::with_capacity(targets.len());
        for target in &targets {
            let key = (Arc::from(target.id.as_str()), purpose(target.kind));
            if let Some(known) = self.targets.get_mut(&key) {
                if moved && let Some((_, spec)) = spec_named(&pod, &known.container) {
                    known.handler = handler(spec, key.1, pod_ip.as_deref());
                }
            } else {
                self.add(&uid, &pod, pod_ip.as_deref(), target, key.clone());
            }
            keys.push(key);
        }
        for key in before.map(|before| before.keys).unwrap_or_default() {
            if !keys.contains(&key) {
                self.drop_target(&key);
            }
        }
        if !keys.is_empty() {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            self.series.begin(&uid, &part(&pod.metadata.namespace), &part(&pod.metadata.name));
            self.pods.insert(uid, OfPod { pod, pod_ip, mailbox, keys });
        }
    }

    fn add(&mut self, uid: &Arc<str>, pod: &ApiPod, pod_ip: Option<&str>, target: &ProbeTarget, key: Key) {
        let Some((container, spec)) = spec_named(pod, &target.container) else { return };
        let purpose = key.1;
        let Some(probe) = probe(spec, purpose) else { return };
        let mut timing = Timing::of(probe, purpose);
        match Periods::of(pod) {
            Ok(periods) => {
                timing.period = periods.get(&target.container, purpose).unwrap_or(timing.period);
            }
            Err(error) => {
                self.recorder.pod_event(pod, None, true, "InvalidProbePeriods", error.to_string());
            }
        }
        let now = clock::now();
        let age = now.wall.as_nanosecond().saturating_sub(i128::from(target.started_at)).max(0);
        let started = now.boot.saturating_sub(Duration::from_nanos(u64::try_from(age).unwrap_or(u64::MAX)));
        // Many are taken up at once when the daemon starts, and nobody waits for them.
        let spread = if started < self.begun { spread(&key, timing.period) } else { Duration::ZERO };
        let worker = Worker::new(purpose, timing, started, now.boot, spread);
        let handler = handler(spec, purpose, pod_ip);
        let lane = handler.as_ref().map_or(Lane::Network, |handler| handler.lane());
        let known = Target {
            uid: Arc::clone(uid),
            container: target.container.clone(),
            field_path: container.field_path(&target.container),
            handler,
            running: None,
        };
        self.targets.insert(key.clone(), known);
        self.schedule.add(key, lane, worker);
    }

    fn drop_target(&mut self, key: &Key) {
        self.schedule.remove(key);
        if let Some((_, attempt)) = self.targets.remove(key).and_then(|target| target.running) {
            attempt.abort();
        }
    }
}

/// What the probe does, or why nothing can be done.
fn handler(spec: &ContainerSpec, purpose: Purpose, pod_ip: Option<&str>) -> Result<Arc<Handler>, String> {
    let Some(probe) = probe(spec, purpose) else { return Err("the container has no such probe".to_owned()) };
    match Handler::of(probe, spec, pod_ip) {
        Ok(Handler::Exec { command }) => {
            // behaviour.md 16.3
            Ok(Arc::new(Handler::Exec { command: expanded_by_static(&command, spec) }))
        }
        Ok(handler) => Ok(Arc::new(handler)),
        Err(error) => Err(error.to_string()),
    }
}

/// A part of `period` that is each probe's own.
fn spread(key: &Key, period: Duration) -> Duration {
    let hash = podspec::deep_hash32(format!("{}/{}", key.0, key.1.name()).as_bytes());
    period.min(SPREAD).mul_f64(f64::from(hash) / f64::from(u32::MAX))
}

fn spec_named<'a>(pod: &'a ApiPod, name: &str) -> Option<(ContainerKind, &'a ContainerSpec)> {
    let (kind, spec) = podspec::containers(pod.spec.as_ref()?).find(|(_, spec)| spec.name == name)?;
    let kind = match kind {
        podspec::ContainerKind::Init => ContainerKind::Init,
        podspec::ContainerKind::Sidecar => ContainerKind::Sidecar,
        podspec::ContainerKind::Regular => ContainerKind::Regular,
    };
    Some((kind, spec))
}

fn probe(spec: &ContainerSpec, purpose: Purpose) -> Option<&Probe> {
    match purpose {
        Purpose::Startup => spec.startup_probe.as_ref(),
        Purpose::Liveness => spec.liveness_probe.as_ref(),
        Purpose::Readiness => spec.readiness_probe.as_ref(),
    }
}

fn purpose(kind: ProbeKind) -> Purpose {
    match kind {
        ProbeKind::Startup => Purpose::Startup,
        ProbeKind::Liveness => Purpose::Liveness,
        ProbeKind::Readiness => Purpose::Readiness,
    }
}

fn kind(purpose: Purpose) -> ProbeKind {
    match purpose {
        Purpose::Startup => ProbeKind::Startup,
        Purpose::Liveness => ProbeKind::Liveness,
        Purpose::Readiness => ProbeKind::Readiness,
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
