//! What goes wrong, until when, and how often.

use std::time::Duration;

use crate::random::Random;

/// One kind of fault; a failing run is tried again without each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A call does nothing and is refused.
    Refused,
    /// A call does nothing and is answered only after its deadline, or never.
    Hang,
    /// A call takes up to a minute.
    Late,
    /// A call does its work, and its answer is lost.
    LostAnswer,
    /// A call that was given up does its work all the same.
    LateWork,
    /// An event of the runtime is lost.
    LostEvent,
    /// An event of the runtime comes late or twice.
    OddEvent,
    /// The runtime is killed and comes back.
    RuntimeRestart,
    /// The daemon is killed between two effects.
    DaemonKill,
    /// The wall clock jumps.
    ClockJump,
    /// The node goes down and comes up again.
    Reboot,
    /// The API server cannot be reached for a while; a new list follows.
    ApiAway,
    /// A write to the API is refused or its answer is lost.
    ApiConflict,
    /// The runtime does not know any more what became of a container.
    UnknownState,
    /// The node goes down in order, and comes up again, or stays up after all.
    Shutdown,
}

use FaultKind::*;

/// Of a long run; no short one is longer.
const STRETCH: Duration = Duration::from_secs(600);

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Refused,
        Hang,
        Late,
        LostAnswer,
        LateWork,
        LostEvent,
        OddEvent,
        RuntimeRestart,
        DaemonKill,
        ClockJump,
        Reboot,
        ApiAway,
        ApiConflict,
        UnknownState,
        Shutdown,
    ];

    fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

/// A set of kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FaultSet(u32);

impl std::fmt::Debug for FaultSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(FaultKind::ALL.iter().filter(|kind| self.has(**kind))).finish()
    }
}

impl FaultSet {
    /// Of all kinds.
    pub fn all() -> Self {
        Self(FaultKind::ALL.iter().fold(0, |set, kind| set | kind.bit()))
    }

    pub(crate) fn has(self, kind: FaultKind) -> bool {
        self.0 & kind.bit() != 0
    }

    pub(crate) fn without(self, kind: FaultKind) -> Self {
        Self(self.0 & !kind.bit())
    }
}

/// A fault with a time of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Planned {
    /// Down for this long.
    RuntimeRestart(Duration),
    /// After this many more effects; down for this long.
    DaemonKill(u64, Duration),
    /// By so many milliseconds.
    ClockJump(i64),
    /// Down for this long.
    Reboot(Duration),
    /// Down in order and off for this long, unless it stays up after all, after that long.
    Shutdown(Duration, Option<Duration>),
    /// Away for this long.
    ApiAway(Duration),
}

#[derive(Debug)]
pub(crate) struct Faults {
    until: Duration,
    on: FaultSet,
    /// In a thousand, by kind.
    chances: Vec<u64>,
    streams: Vec<Random>,
    pub(crate) planned: Vec<(Duration, Planned)>,
}

impl Faults {
    pub(crate) fn new(seed: u64, on: FaultSet, until: Duration) -> Self {
        let mut mood = Random::new(seed, &[1]);
        // Each seed has its own character: some kinds are frequent, many are absent.
        let chances = FaultKind::ALL.iter().map(|_| mood.pick(&[0, 0, 0, 5, 20, 60])).collect();
        let streams =
            FaultKind::ALL.iter().map(|kind| Random::new(seed, &[2, u64::from(kind.bit())])).collect();
        let mut faults = Self { until, on, chances, streams, planned: Vec::new() };
        faults.plan(seed);
        faults
    }

    /// Each stretch of a long run has as many faults as a short run.
    fn plan(&mut self, seed: u64) {
        let mut from = Duration::ZERO;
        for stretch in 0.. {
            let lasts = self.until.saturating_sub(from).min(STRETCH);
            self.plan_stretch(seed, stretch, from, lasts);
            from += lasts;
            if from >= self.until {
                return;
            }
        }
    }

    fn plan_stretch(&mut self, seed: u64, stretch: u64, from: Duration, lasts: Duration) {
        let end = u64::try_from(lasts.as_millis()).unwrap_or(0);
        let kinds =
            [(RuntimeRestart, 2), (DaemonKill, 4), (ClockJump, 2), (Reboot, 1), (ApiAway, 2), (Shutdown, 1)];
        for (kind, most) in kinds {
            let first = [3, u64::from(kind.bit())];
            let later = [3, u64::from(kind.bit()), stretch];
            let mut random = Random::new(seed, if stretch == 0 { &first } else { &later });
            let count = random.below(2 * most + 1).saturating_sub(most);
            for _ in 0..count {
                let at = from + random.millis(0, end);
                let planned = match kind {
                    RuntimeRestart => Planned::RuntimeRestart(random.millis(50, 8_000)),
                    DaemonKill => Planned::DaemonKill(1 + random.below(12), random.millis(20, 15_000)),
                    ClockJump => {
                        let by = random.pick(&[500, 5_000, 60_000, 3_600_000, 86_400_000]);
                        Planned::ClockJump(if random.percent(50) { by } else { -by })
                    }
                    Reboot => Planned::Reboot(random.millis(5_000, 60_000)),
                    Shutdown => {
                        let cancelled = random.percent(25).then(|| random.millis(10, 30_000));
                        Planned::Shutdown(random.millis(5_000, 60_000), cancelled)
                    }
                    _ => Planned::ApiAway(random.millis(200, 30_000)),
                };
                if self.on.has(kind) {
                    self.planned.push((at, planned));
                }
            }
        }
    }

    /// Whether this kind of fault happens now.
    pub(crate) fn strikes(&mut self, kind: FaultKind, now: Duration) -> bool {
        let index = FaultKind::ALL.iter().position(|k| *k == kind).unwrap_or(0);
        let drawn = self.streams[index].below(1000);
        now < self.until && self.on.has(kind) && drawn < self.chances[index]
    }

    /// The stream of one kind, for what else there is to draw about it.
    pub(crate) fn random(&mut self, kind: FaultKind) -> &mut Random {
        let index = FaultKind::ALL.iter().position(|k| *k == kind).unwrap_or(0);
        &mut self.streams[index]
    }
}
