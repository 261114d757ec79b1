//! Which pods come, when, and what is done to them.

mod churn;
pub(crate) mod pods;

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod as ApiPod;
use lifecycle::Origin;

use crate::random::Random;

/// Names one UID within a run.
pub(crate) type Key = usize;

/// What people and controllers do to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Its source has it.
    Create,
    /// With this grace period in seconds, or the pod's own.
    Delete(Option<i64>),
    /// The object is removed at once.
    ForceDelete,
    /// The node ends it.
    Evict(Option<Duration>),
    /// The image of one of its regular containers or sidecars changes.
    ChangeImage(u64),
    /// An ephemeral container comes.
    AddEphemeral,
    /// The resources of a container change.
    Resize(u64, i64),
    /// The condition of its readiness gate is set.
    SetGate(bool),
    /// A label changes, which nobody on the node minds.
    Relabel,
    /// A static pod's file goes away.
    Vanish,
    /// And comes back.
    Return,
}

/// Most pods have none; those from two milliards on are critical.
const PRIORITIES: [Option<i32>; 8] =
    [None, None, None, None, Some(0), Some(1_000), Some(2_000_000_000), Some(2_000_001_000)];

/// A pod of the workload.
#[derive(Clone, Debug)]
pub(crate) struct PlannedPod {
    pub(crate) key: Key,
    pub(crate) origin: Origin,
    /// As it is created.
    pub(crate) object: ApiPod,
    /// Whether the node refuses it.
    pub(crate) refused: bool,
}

/// Something that is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) key: Key,
    pub(crate) deed: Deed,
}

#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) pods: Vec<PlannedPod>,
    /// In the order of time.
    pub(crate) deeds: Vec<Planned>,
}

pub(crate) fn uid(key: Key) -> String {
    format!("u-{key}")
}

pub(crate) fn key_of(uid: &str) -> Key {
    uid.trim_start_matches("u-").parse().unwrap_or(Key::MAX)
}

impl Workload {
    pub(crate) fn new(seed: u64, span: Duration) -> Self {
        let mut random = Random::new(seed, &[10]);
        let names = 2 + random.below(4);
        let mut workload = Self { pods: Vec::new(), deeds: Vec::new() };
        for name in 0..names {
            let mut own = Random::new(seed, &[11, name]);
            workload.add(seed, &mut own, name, Duration::ZERO, span);
        }
        workload.deeds.sort_by_key(|d| d.at);
        workload
    }

    /// A further pod of this name.
    fn plan(&mut self, seed: u64, random: &mut Random, name: u64) -> (Key, Origin) {
        let key = self.pods.len();
        let origin = if random.percent(15) { Origin::Static } else { Origin::Api };
        let mut object = pods::pod(&mut Random::new(seed, &[12, key as u64]), key, name, origin);
        if let Some(spec) = &mut object.spec {
            if Random::new(seed, &[14, key as u64]).percent(15) {
                spec.resources = Some(pods::resources(1_600));
            }
            spec.priority = Random::new(seed, &[13, key as u64]).pick(&PRIORITIES);
        }
        self.pods.push(PlannedPod { key, origin, object, refused: random.percent(3) });
        (key, origin)
    }

    fn add(&mut self, seed: u64, random: &mut Random, name: u64, from: Duration, span: Duration) {
        let (key, origin) = self.plan(seed, random, name);
        let begin = from + random.millis(0, 4_000);
        self.deeds.push(Planned { at: begin, key, deed: Deed::Create });
        let mut at = begin;
        let left = u64::try_from(span.saturating_sub(begin).as_millis()).unwrap_or(0);
        for _ in 0..random.below(5) {
            at += random.millis(0, left / 3);
            let deed = if origin == Origin::Static { Self::static_deed(random) } else { Self::deed(random) };
            self.deeds.push(Planned { at, key, deed });
            match deed {
                Deed::Vanish if random.percent(60) => {
                    at += random.millis(10, 20_000);
                    self.deeds.push(Planned { at, key, deed: Deed::Return });
                }
                Deed::Delete(_) | Deed::ForceDelete => {
                    if random.percent(30) {
                        let again = at + random.millis(50, 10_000);
                        let less = random.pick(&[0, 1, 3]);
                        self.deeds.push(Planned { at: again, key, deed: Deed::Delete(Some(less)) });
                    }
                    if random.percent(40) && self.pods.len() < 9 {
                        self.add(seed, random, name, at, span);
                    }
                    return;
                }
                _ => {}
            }
        }
    }

    fn static_deed(random: &mut Random) -> Deed {
        if random.percent(70) { Deed::Vanish } else { Deed::Evict(None) }
    }

    fn deed(random: &mut Random) -> Deed {
        match random.below(20) {
            0..6 => Deed::Delete(random.pick(&[None, None, Some(0), Some(1), Some(5), Some(60)])),
            6 => Deed::ForceDelete,
            7 | 8 => Deed::Evict(random.pick(&[None, Some(Duration::ZERO), Some(Duration::from_secs(3))])),
            9..12 => Deed::ChangeImage(random.below(4)),
            12 | 13 => Deed::AddEphemeral,
            14..17 => Deed::Resize(random.below(4), random.pick(&[50, 100, 200, 400])),
            17 => Deed::SetGate(random.percent(60)),
            _ => Deed::Relabel,
        }
    }
}
