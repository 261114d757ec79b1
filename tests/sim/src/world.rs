//! The world of one run: what happens next, and to whom.
//!
//! ```text
//!   workload --> api, files --watch, lists--> daemon: mailbox -> Pod::step -> effects --calls--> runtime
//!   faults ----> everything                       ^                 |                              |
//!                                                 |                 '--> Node, writer, probes      |
//!                                                 '----------- answers, events, audits <-----------'
//! ```
//!
//! There is one queue of happenings in true time. The daemon's boot clock and wall clock follow from it: the one begins
//! anew with each boot of the node, the other jumps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lifecycle::{ContainerState, FailureKind, Now, Origin, Settings, Supported};

use crate::api::Api;
use crate::calls::InFlight;
use crate::daemon::{Daemon, Ledger};
use crate::faults::{FaultKind, Faults, Planned};
use crate::going_down::GoingDown;
use crate::invariants::{Broken, Check};
use crate::random::Random;
use crate::runtime::Runtime;
use crate::scenario::Scenario;
use crate::timeline::Timeline;
use crate::truth::Truth;
use crate::workload::{Deed, Key, Workload};

/// How long the API server may take to tell its pods before those of the last run are taken up.
const API_PATIENCE: Duration = Duration::from_secs(5);

/// How long a node has run when anything begins on it.
const BOOTED_BEFORE: Duration = Duration::from_secs(7);

/// Something that is going to happen. What belongs to one life of the daemon carries its number.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Of the workload.
    Deed(usize),
    Fault(Planned),
    FaultsEnd,
    /// A daemon that was to be killed at its next effects and has none.
    Doomed {
        life: u32,
    },
    /// The daemon begins to run.
    DaemonStart,
    RuntimeUp,
    ApiUp,
    /// The node has booted.
    Booted,
    /// Nobody wants this boot of the node to end any more.
    StayUp {
        boot: u64,
    },
    /// This boot of the node ends.
    PowerOff {
        boot: u64,
    },
    /// The files of static pods are read.
    Files {
        life: u32,
    },
    /// The API's list comes.
    Listed {
        life: u32,
    },
    /// The API has taken too long.
    TakeUpKept {
        life: u32,
    },
    /// The API tells of a change.
    Watch {
        life: u32,
        key: Key,
    },
    /// A task looks into its mailbox.
    Wake {
        life: u32,
        key: Key,
    },
    /// A call reaches the runtime.
    Arrive {
        call: u64,
    },
    /// Its work is done.
    Finish {
        call: u64,
    },
    /// Its answer is back.
    Return {
        call: u64,
    },
    /// The grace of a stop is over.
    StopKill {
        call: u64,
    },
    /// A process ends by itself.
    Exit {
        key: Key,
        id: String,
        code: i32,
        oom: bool,
    },
    /// The runtime's event reaches the daemon.
    RuntimeEvent {
        life: u32,
        key: Key,
    },
    /// The runtime is read as a whole.
    Audit {
        life: u32,
    },
    /// A probe is due.
    Probe {
        life: u32,
        key: Key,
        id: String,
        kind: lifecycle::ProbeKind,
    },
    /// The node decides about a resize.
    ResizeTold {
        life: u32,
        key: Key,
        tries: u32,
    },
    /// A status reaches the API.
    Write {
        life: u32,
        key: Key,
    },
    /// Its answer is back: taken, gone or failed.
    Written {
        life: u32,
        key: Key,
        taken: bool,
        gone: bool,
    },
    /// The next try of a write.
    SendAgain {
        life: u32,
        key: Key,
    },
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    /// True time since the run began.
    pub(crate) time: Duration,
    boot_began: Duration,
    /// Counts the boots of the node.
    pub(crate) boot_number: u64,
    wall_shift_millis: i64,
    /// Whether the wall clock has jumped since the daemon began to run.
    pub(crate) wall_jumped: bool,
    queue: BTreeMap<(Duration, u64), Happening>,
    next: u64,
    pub(crate) faults: Faults,
    /// Delays that are no faults.
    pub(crate) random: Random,
    pub(crate) workload: Workload,
    pub(crate) api: Api,
    pub(crate) runtime: Runtime,
    pub(crate) calls: BTreeMap<u64, InFlight>,
    pub(crate) next_call: u64,
    pub(crate) daemon: Option<Daemon>,
    pub(crate) life: u32,
    pub(crate) ledger: Ledger,
    /// Whether the node is on its way down in order.
    pub(crate) going_down: Option<GoingDown>,
    /// Static pods whose files are there.
    pub(crate) files: BTreeSet<Key>,
    pub(crate) truths: BTreeMap<Key, Truth>,
    /// Effects until the daemon is killed, and how long it stays away.
    pub(crate) doom: Option<(u64, Duration)>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) timeline: Timeline,
    pub(crate) steps: u64,
    /// What the node machine did wrong, until the event is over.
    pub(crate) broken: Option<Broken>,
    audit_every: Duration,
    /// Writes that changed an object, and calls that changed the runtime, since the last restart of a daemon at rest.
    pub(crate) changes_made: u64,
    /// Processes that have ended since then.
    pub(crate) exits: u64,
    /// Whether everything has been taken away, and nothing comes any more.
    pub(crate) emptied: bool,
}

impl World {
    pub(crate) fn new(scenario: Scenario, recorded: bool) -> Self {
        let seed = scenario.seed;
        let faults = Faults::new(seed, scenario.faults, scenario.faults_until);
        let mut mood = Random::new(seed, &[20]);
        let workload = scenario.workload();
        let settings = Settings {
            max_restart_period: Duration::from_secs(mood.pick(&[1, 10, 300])),
            runtime_name: "containerd".to_owned(),
            supported: Supported { volumes: true, pod_cgroups: true },
            limited_swap: false,
            dead_containers: lifecycle::DeadContainers {
                kept: Random::new(seed, &[22]).pick(&[0, 1, 3]),
                ..Default::default()
            },
        };
        let mut world = Self {
            time: Duration::ZERO,
            boot_began: Duration::ZERO,
            boot_number: 0,
            wall_shift_millis: 0,
            wall_jumped: false,
            queue: BTreeMap::new(),
            next: 0,
            faults,
            random: Random::new(seed, &[21]),
            api: Api::new(),
            runtime: Runtime::default(),
            calls: BTreeMap::new(),
            next_call: 0,
            daemon: None,
            life: 0,
            ledger: Ledger::default(),
            going_down: None,
            files: BTreeSet::new(),
            truths: workload.pods.iter().map(|p| (p.key, Truth::default())).collect(),
            workload,
            doom: None,
            settings: Arc::new(settings),
            timeline: Timeline::new(recorded),
            steps: 0,
            broken: None,
            audit_every: Duration::from_secs(mood.pick(&[10, 60])),
            changes_made: 0,
            exits: 0,
            emptied: false,
            scenario,
        };
        for (index, deed) in world.workload.deeds.clone().iter().enumerate() {
            if world.scenario.wants(index, deed.key) {
                world.at(deed.at, Happening::Deed(index));
            }
        }
        for (at, planned) in std::mem::take(&mut world.faults.planned) {
            world.at(at, Happening::Fault(planned));
        }
        world.at(world.scenario.faults_until, Happening::FaultsEnd);
        world.at(Duration::from_millis(1), Happening::DaemonStart);
        world
    }

    pub(crate) fn boot(&self) -> Duration {
        self.time.saturating_sub(self.boot_began) + BOOTED_BEFORE
    }

    pub(crate) fn now(&self) -> Now {
        let millis = i64::try_from(self.time.as_millis()).unwrap_or(i64::MAX);
        let wall = 1_700_000_000_000_i64 + millis + self.wall_shift_millis;
        Now { boot: self.boot(), wall: Timestamp::from_millisecond(wall).unwrap_or_default() }
    }

    pub(crate) fn wall_nanos(&self) -> i64 {
        i64::try_from(self.now().wall.as_nanosecond()).unwrap_or(i64::MAX)
    }

    /// The true time of a boot time.
    pub(crate) fn time_of(&self, boot: Duration) -> Duration {
        (boot + self.boot_began).saturating_sub(BOOTED_BEFORE)
    }

    fn at(&mut self, time: Duration, what: Happening) {
        self.next += 1;
        self.queue.insert((time, self.next), what);
    }

    pub(crate) fn after(&mut self, delay: Duration, what: Happening) {
        self.at(self.time + delay, what);
    }

    pub(crate) fn truth(&mut self, key: Key) -> &mut Truth {
        self.truths.entry(key).or_default()
    }

    pub(crate) fn note(&mut self, words: impl FnOnce() -> String) {
        self.timeline.note(self.time, words);
    }

    /// Takes the next thing that happens, if it is due by `end`; tells whether there was one.
    pub(crate) fn advance(&mut self, end: Duration) -> Result<bool, Broken> {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        let wake = self.next_wake();
        let Some(next) = [queued, wake.map(|(at, _)| at)].into_iter().flatten().min() else {
            return Ok(false);
        };
        if next > end {
            return Ok(false);
        }
        self.time = self.time.max(next);
        self.steps += 1;
        match wake {
            Some((at, who)) if queued.is_none_or(|q| at < q) => self.tick(who)?,
            _ => {
                if let Some((_, what)) = self.queue.pop_first() {
                    self.happen(what)?;
                }
            }
        }
        self.check_after_each_event()?;
        match self.broken.take() {
            Some(broken) => Err(broken),
            None => Ok(true),
        }
    }

    /// Runs everything until `end`.
    pub(crate) fn run_until(&mut self, end: Duration) -> Check {
        while self.advance(end)? {}
        self.time = self.time.max(end);
        Ok(())
    }

    fn is_now(&self, life: u32) -> bool {
        self.daemon.is_some() && self.life == life
    }

    fn happen(&mut self, what: Happening) -> Check {
        match what {
            Happening::Deed(index) => self.do_deed(index),
            Happening::Fault(planned) => self.fault(planned),
            Happening::FaultsEnd => self.end_faults(),
            Happening::Doomed { life } if self.is_now(life) => match self.doom {
                Some((_, down)) => self.kill_daemon(down),
                None => Ok(()),
            },
            Happening::DaemonStart => self.start_daemon(),
            Happening::RuntimeUp => self.runtime_up(),
            Happening::ApiUp => {
                self.api.up = true;
                self.note(|| "the API server can be reached again".to_owned());
                let life = self.life;
                let delay = self.random.millis(5, 500);
                self.after(delay, Happening::Listed { life });
                Ok(())
            }
            Happening::Booted => self.booted(),
            Happening::StayUp { boot } => {
                self.stay_up(boot);
                Ok(())
            }
            Happening::PowerOff { boot } => self.power_off(boot),
            Happening::Files { life } if self.is_now(life) => self.files_read(),
            Happening::Listed { life } if self.is_now(life) => self.listed(),
            Happening::TakeUpKept { life } if self.is_now(life) => self.take_up_kept(),
            Happening::Watch { life, key } if self.is_now(life) => self.watched(key),
            Happening::Wake { life, key } if self.is_now(life) => self.wake_task(key),
            Happening::Arrive { call } => self.arrive(call),
            Happening::Finish { call } => self.finish(call),
            Happening::Return { call } => self.return_answer(call),
            Happening::StopKill { call } => self.stop_kill(call),
            Happening::Exit { key, id, code, oom } => self.exit(key, &id, code, oom),
            Happening::RuntimeEvent { life, key } if self.is_now(life) => {
                self.post(key, |letters| letters.runtime_changed = true);
                Ok(())
            }
            Happening::Audit { life } if self.is_now(life) => self.audit(),
            Happening::Probe { life, key, id, kind } if self.is_now(life) => self.probe(key, id, kind),
            Happening::ResizeTold { life, key, tries } if self.is_now(life) => {
                self.tell_resize(key, tries);
                Ok(())
            }
            Happening::Write { life, key } if self.is_now(life) => self.write(key),
            Happening::Written { life, key, taken, gone } if self.is_now(life) => {
                self.written(key, taken, gone);
                Ok(())
            }
            Happening::SendAgain { life, key } if self.is_now(life) => {
                self.begin_sending(key);
                Ok(())
            }
            // Of a daemon that is gone.
            _ => Ok(()),
        }
    }

    fn fault(&mut self, planned: Planned) -> Check {
        match planned {
            Planned::DaemonKill(effects, down) => {
                self.doom = Some((effects, down));
                // At the latest when nothing happens for a while.
                let life = self.life;
                self.after(Duration::from_secs(3), Happening::Doomed { life });
                Ok(())
            }
            Planned::RuntimeRestart(down) => self.runtime_down(down),
            Planned::ClockJump(millis) => {
                self.wall_shift_millis += millis;
                self.wall_jumped = true;
                self.note(|| format!("the wall clock jumps by {millis} ms"));
                Ok(())
            }
            Planned::Reboot(down) => self.reboot(down),
            Planned::Shutdown(off, cancelled) => {
                self.go_down(off, cancelled);
                Ok(())
            }
            Planned::ApiAway(down) => {
                self.api.up = false;
                self.note(|| "the API server cannot be reached".to_owned());
                self.after(down, Happening::ApiUp);
                Ok(())
            }
        }
    }

    fn end_faults(&mut self) -> Check {
        self.note(|| "no more faults from here on".to_owned());
        self.doom = None;
        // Whoever hangs is cut off: the runtime is restarted once more.
        let up = self.runtime.up;
        for call in self.calls.values_mut().filter(|_| up) {
            call.hang_up();
        }
        self.runtime_down(Duration::from_millis(100))
    }

    pub(crate) fn kill_daemon(&mut self, down: Duration) -> Check {
        self.doom = None;
        if self.daemon.take().is_none() {
            return Ok(());
        }
        self.note(|| "*** the daemon is killed".to_owned());
        for call in self.calls.keys().copied().collect::<Vec<_>>() {
            self.abandon(call, true)?;
        }
        let began = self.boot_began;
        let time_of = |boot: Duration| (boot + began).saturating_sub(BOOTED_BEFORE);
        for (key, truth) in &mut self.truths {
            // What the API was not told, nobody else knows; and who was not told of an end by the API goes on.
            let object = self.api.get(*key).map(|o| &o.pod);
            truth.published = object.and_then(|pod| pod.status.clone()).map(Arc::new);
            truth.over = crate::api::is_terminal(truth.published.as_deref());
            truth.deadline = self.ledger.deadline(*key).map(time_of);
            for run in truth.runs.values_mut().filter(|r| r.is_running()) {
                run.daemon_killed |= run.stop_began.is_some();
                if run.post_start == crate::truth::PostStart::Running {
                    run.post_start = crate::truth::PostStart::Unknown;
                }
            }
        }
        self.after(down, Happening::DaemonStart);
        Ok(())
    }

    fn start_daemon(&mut self) -> Check {
        if self.daemon.is_some() || !self.node_is_up() {
            return Ok(());
        }
        self.life += 1;
        self.wall_jumped = false;
        self.daemon = Some(Daemon::new(self.scenario.seed));
        for truth in self.truths.values_mut() {
            truth.told_end = false;
            truth.observed = false;
            truth.blind = false;
        }
        let life = self.life;
        self.note(|| format!("daemon {life} begins"));
        let delay = self.random.millis(1, 50);
        self.after(delay, Happening::Files { life });
        let delay = self.random.millis(5, 500);
        self.after(delay, Happening::Listed { life });
        self.after(API_PATIENCE, Happening::TakeUpKept { life });
        let delay = self.random.millis(1, 300);
        self.after(delay, Happening::Audit { life });
        if self.going_down.is_some() {
            self.tell_going_down();
        }
        Ok(())
    }

    pub(crate) fn node_is_up(&self) -> bool {
        self.boot_began <= self.time
    }

    pub(crate) fn reboot(&mut self, down: Duration) -> Check {
        self.note(|| "*** the node goes down".to_owned());
        self.going_down = None;
        self.kill_daemon(down + Duration::from_millis(1))?;
        for call in self.calls.keys().copied().collect::<Vec<_>>() {
            self.drop_call(call);
        }
        self.runtime.up = false;
        let keys: Vec<Key> = self.runtime.pods.keys().copied().collect();
        for key in keys {
            self.runtime.pod(key).volumes_mounted = false;
            self.runtime.pod(key).has_cgroup = false;
            let running: Vec<String> = self.runtime.pod(key).running().map(|c| c.id.clone()).collect();
            for id in running {
                self.end_process(key, &id, 255, "Unknown");
            }
            let pod = self.runtime.pod(key);
            let lost: Vec<String> = pod.sandboxes.iter().filter(|s| s.ready).map(|s| s.id.clone()).collect();
            for sandbox in &mut pod.sandboxes {
                sandbox.ready = false;
            }
            self.truth(key).lost_sandboxes.extend(lost);
        }
        self.boot_number += 1;
        self.boot_began = self.time + down;
        self.after(down, Happening::Booted);
        Ok(())
    }

    fn booted(&mut self) -> Check {
        self.note(|| "the node has booted".to_owned());
        self.runtime.up = true;
        self.after(Duration::from_millis(1), Happening::DaemonStart);
        Ok(())
    }

    fn runtime_down(&mut self, down: Duration) -> Check {
        if !self.runtime.up {
            return Ok(());
        }
        self.note(|| "the runtime is killed".to_owned());
        self.runtime.up = false;
        for call in self.calls.keys().copied().collect::<Vec<_>>() {
            if self.calls.get(&call).is_some_and(|c| c.arrived && c.outcome.is_none()) {
                self.cut_off(call)?;
            }
        }
        let keys: Vec<Key> = self.runtime.pods.keys().copied().collect();
        for key in keys {
            let running: Vec<String> = self.runtime.pod(key).running().map(|c| c.id.clone()).collect();
            for id in running {
                if self.faults.strikes(FaultKind::UnknownState, self.time) {
                    self.end_process(key, &id, 255, "Unknown");
                    if let Some(c) = self.runtime.pod(key).container_mut(&id) {
                        c.state = ContainerState::Unknown;
                        c.finished_at = 0;
                    }
                }
            }
        }
        self.after(down, Happening::RuntimeUp);
        Ok(())
    }

    fn runtime_up(&mut self) -> Check {
        if !self.node_is_up() {
            return Ok(());
        }
        self.runtime.up = true;
        self.note(|| "the runtime is back".to_owned());
        let keys: Vec<Key> = self.daemon.iter().flat_map(|d| d.tasks.keys().copied()).collect();
        for key in keys {
            self.post(key, |letters| letters.runtime_back = true);
        }
        Ok(())
    }

    fn audit(&mut self) -> Check {
        let life = self.life;
        if !self.runtime.up {
            self.after(Duration::from_millis(500), Happening::Audit { life });
            return Ok(());
        }
        let found: BTreeMap<Key, u64> = self
            .runtime
            .pods
            .iter()
            .filter(|(_, p)| !p.sandboxes.is_empty() || !p.containers.is_empty())
            .map(|(key, p)| (*key, p.changes))
            .collect();
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let before = daemon.audited.replace(found.clone());
        let changed = |key: &Key| before.as_ref().and_then(|b| b.get(key)) != found.get(key);
        let keys: Vec<Key> = daemon.tasks.keys().copied().filter(changed).collect();
        for key in keys {
            self.post(key, |letters| letters.runtime_changed = true);
        }
        let every = self.audit_every;
        self.after(every, Happening::Audit { life });
        self.take_orphans()
    }

    fn do_deed(&mut self, index: usize) -> Check {
        let planned = self.workload.deeds[index];
        let key = planned.key;
        let object = self.workload.pods[key].object.clone();
        let origin = self.workload.pods[key].origin;
        let now = self.now().wall;
        if planned.deed == Deed::Create && self.emptied {
            return Ok(());
        }
        if planned.deed == Deed::Create
            && origin == Origin::Api
            && self.api.has_name(object.metadata.name.as_deref())
        {
            // The name is still taken: whoever makes it tries again.
            self.after(Duration::from_millis(300), Happening::Deed(index));
            return Ok(());
        }
        self.note(|| format!("pod {key}: {:?}", planned.deed));
        match planned.deed {
            Deed::Create if origin == Origin::Static => {
                self.files.insert(key);
                self.file_appeared(key)?;
            }
            Deed::Create => self.api.create(key, object),
            Deed::Delete(grace) => {
                let _ = self.api.delete(key, grace, now);
            }
            Deed::ForceDelete => {
                self.api.remove(key);
            }
            Deed::Evict(grace) => {
                let message = "The node was low on resource: memory.".to_owned();
                self.post(key, |letters| letters.kill("Evicted".to_owned(), message, grace));
            }
            Deed::ChangeImage(which) => {
                self.api.change_spec(key, |pod| crate::workload::pods::change_image(pod, which));
            }
            Deed::AddEphemeral => {
                self.api.change_spec(key, crate::workload::pods::add_ephemeral);
            }
            Deed::Resize(which, amount) => {
                self.api.change_spec(key, |pod| crate::workload::pods::resize(pod, which, amount));
            }
            Deed::SetGate(value) => {
                self.api.change(key, |pod| crate::workload::pods::set_gate(pod, value));
            }
            Deed::Relabel => {
                self.api.change(key, |pod| {
                    pod.metadata.labels.get_or_insert_default().insert("seen".to_owned(), "yes".to_owned());
                });
            }
            Deed::Vanish => {
                self.files.remove(&key);
                self.file_vanished(key);
            }
            Deed::Return => {
                self.files.insert(key);
                self.file_appeared(key)?;
            }
        }
        self.tell_watch(key);
        Ok(())
    }

    /// The API tells the daemon of a change, where it can.
    pub(crate) fn tell_watch(&mut self, key: Key) {
        if self.api.up {
            let life = self.life;
            let delay = self.random.millis(1, 20);
            self.after(delay, Happening::Watch { life, key });
        }
    }

    /// The node machine's and the pods' next deadline: the sooner one.
    fn next_wake(&self) -> Option<(Duration, Option<Key>)> {
        let daemon = self.daemon.as_ref()?;
        let pods =
            daemon.tasks.iter().filter_map(|(key, task)| Some((task.machine.next_wake()?, Some(*key))));
        let node = daemon.node.next_wake().map(|at| (at, None));
        let (at, who) = pods.chain(node).min_by_key(|(at, _)| *at)?;
        Some((self.time_of(at).max(self.time), who))
    }

    /// What the runtime does by itself, and what calls do to it, shows in an event, mostly.
    pub(crate) fn runtime_changed(&mut self, key: Key) {
        self.runtime.pod(key).changes += 1;
        let life = self.life;
        if self.faults.strikes(FaultKind::LostEvent, self.time) {
            return;
        }
        let delay = self.random.millis(1, 4);
        self.after(delay, Happening::RuntimeEvent { life, key });
        if self.faults.strikes(FaultKind::OddEvent, self.time) {
            let late = self.faults.random(FaultKind::OddEvent).millis(10, 20_000);
            self.after(late, Happening::RuntimeEvent { life, key });
        }
    }

    pub(crate) fn unavailable() -> lifecycle::Failure {
        crate::runtime::failure(FailureKind::Unavailable, "the runtime is away")
    }
}
