//! Container logs are rotated here (behaviour.md 38.7).
//!
//! ```text
//!  pods' running containers ──> one entry a log: Pace (pure: size, time -> look, watch, rotate)
//!                                │        ^
//!               first write: inotify      └── looks: size, in batches
//!                                │
//!                                └─ full ─> rotate: Plan (pure: names -> steps) ─ rename ─ ReopenContainerLog
//!                                                                                  └─> compress, on threads of low priority
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `pace` | when a log is looked at |
//! | `plan` | what a rotation does to its files |
//! | `rotate` | a rotation's steps, and what a kill in the midst of them leaves |
//! | `compress` | gzip |
//!
//! One task. A log that nobody writes to has a watch for one event and is looked at once a minute besides, so that a lost event costs
//! time only. Nothing survives a restart: names and sizes are on the disk.

mod compress;
mod pace;
mod plan;
mod rotate;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cri_client::Client;
use futures::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use podspec::Quantity;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::compress::Compressor;
use self::pace::{Next, Pace};
use self::rotate::{Found, Log, RotateError, Rotation, blocking};
use crate::cause::chain;
use crate::config::Config;
use crate::pods::Shown;
use crate::stop::stopped;

/// Looks that are due within that time are taken together.
const BATCH: Duration = Duration::from_millis(5);
/// Containers start in swarms; the list of them is compared at most so often.
const SETTLE: Duration = Duration::from_millis(50);
/// A log that is watched is looked at so often all the same.
const AUDIT: Duration = Duration::from_secs(60);
/// Without a watch, a log that does not grow is looked at so often.
const POLL: Duration = Duration::from_secs(1);
/// Rotations of one log are so far apart, so that the times of its files differ.
const APART: Duration = Duration::from_millis(20);
/// The first wait after a rotation that failed; it doubles up to the monitor interval.
const RETRY: Duration = Duration::from_secs(1);
/// Rotations under way at once: a runtime that hangs holds up no more than these.
const AT_ONCE: usize = 32;
const EVENT_BUFFER_BYTES: usize = 4096;

/// How logs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// A log of so many bytes is rotated.
    limit_bytes: u64,
    /// With the current one.
    files: usize,
    /// Files that are compressed at once.
    workers: usize,
    /// Between two looks at a log that is missing, and at most between two tries.
    interval: Duration,
}

impl Policy {
    /// As the configuration says; `None` where its size is negative, which turns rotation off.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        let size = config.container_log_max_size.parse::<Quantity>().ok()?.value();
        Some(Self {
            limit_bytes: u64::try_from(size).ok()?.max(1),
            files: usize::try_from(config.container_log_max_files).unwrap_or(2),
            workers: usize::try_from(config.container_log_max_workers).unwrap_or(1),
            interval: config.container_log_monitor_interval.to_std(),
        })
    }
}

type Id = Arc<str>;

/// One log.
#[derive(Debug)]
struct Entry {
    log: Log,
    pace: Pace,
    /// When it is looked at; `None` while it is rotated.
    due: Option<Instant>,
    watch: Option<WatchDescriptor>,
    /// What an earlier daemon left was cleared away.
    recovered: bool,
    missing_since: Option<Instant>,
    failures: u32,
}

/// What a job on a log has come to.
enum Done {
    Rotated(Rotation),
    Reopened,
}

/// The task's state.
struct Rotator {
    policy: Policy,
    client: Client,
    shown: Shown,
    pod_logs: PathBuf,
    /// What `Pace` counts from.
    began: Instant,
    entries: HashMap<Id, Entry>,
    due: BTreeSet<(Instant, Id)>,
    watched: HashMap<WatchDescriptor, Id>,
    /// `None` where inotify is not to be had.
    watches: Option<Watches>,
    compressor: Compressor,
    slots: Arc<Semaphore>,
    jobs: JoinSet<(Id, Result<Done, RotateError>)>,
}

/// Rotates the logs of all containers that run, until `stop`; a rotation that has begun is finished.
pub(crate) async fn run(
    policy: Policy,
    client: Client,
    shown: Shown,
    pod_logs: PathBuf,
    mut stop: watch::Receiver<bool>,
) {
    let mut events = match listen() {
        Ok(events) => Some(events),
        Err(error) => {
            tracing::warn!(%error, "logs are polled each second: inotify is not to be had");
            None
        }
    };
    let mut changed = shown.running_changed();
    let mut rotator = Rotator {
        policy,
        client,
        shown,
        pod_logs,
        began: Instant::now(),
        entries: HashMap::new(),
        due: BTreeSet::new(),
        watched: HashMap::new(),
        watches: events.as_ref().map(|(watches, _)| watches.clone()),
        compressor: Compressor::new(policy.workers),
        slots: Arc::new(Semaphore::new(AT_ONCE)),
        jobs: JoinSet::new(),
    };
    let mut compare_at = Some(Instant::now());
    let mut looked = Instant::now();
    loop {
        let next = rotator.due.first().map(|(at, _)| (*at).max(looked + BATCH));
        let next = [compare_at, next].into_iter().flatten().min();
        tokio::select! {
            // Cancel-safe, all of them: levels, a queue that keeps what is not taken, and a point in time.
            () = stopped(&mut stop) => break,
            gone = changed.changed() => {
                if gone.is_err() {
                    break;
                }
                compare_at.get_or_insert_with(|| Instant::now() + SETTLE);
            }
            event = next_event(&mut events) => match event {
                Some(Ok(event)) => rotator.told(&event.wd, event.mask),
                Some(Err(error)) => tracing::debug!(%error, "events of logs are lost"),
                None => {
                    events = None;
                    rotator.watches = None;
                }
            },
            Some(done) = rotator.jobs.join_next() => {
                if let Ok((id, outcome)) = done {
                    rotator.done(&id, outcome);
                }
            }
            () = sleep_until(next) => {
                if compare_at.is_some_and(|at| at <= Instant::now()) {
                    compare_at = None;
                    rotator.compare();
                }
                rotator.look().await;
                looked = Instant::now();
            }
        }
    }
    while rotator.jobs.join_next().await.is_some() {}
}

type Events = (Watches, EventStream<Vec<u8>>);

fn listen() -> io::Result<Events> {
    let inotify = Inotify::init()?;
    Ok((inotify.watches(), inotify.into_event_stream(vec![0; EVENT_BUFFER_BYTES])?))
}

async fn next_event(events: &mut Option<Events>) -> Option<io::Result<inotify::EventOwned>> {
    match events {
        Some((_, events)) => events.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Rotator {
    fn clock(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes in what has begun to run, and forgets what runs no more.
    fn compare(&mut self) {
        let mut running: HashSet<Id> = HashSet::with_capacity(self.entries.len());
        let mut begun = Vec::new();
        let (entries, pod_logs) = (&self.entries, &self.pod_logs);
        self.shown.each_running(|pod, container| {
            if let Some((id, _)) = entries.get_key_value(container.id.as_str()) {
                running.insert(Arc::clone(id));
                return;
            }
            let dir = pod_logs.join(podspec::log_dir_name(pod)).join(&container.container);
            let name = format!("{}.log", container.restart_count);
            begun.push(Log { id: container.id.clone(), dir, name });
        });
        let ended: Vec<Id> = self.entries.keys().filter(|id| !running.contains(*id)).cloned().collect();
        for id in ended {
            self.forget(&id);
        }
        for log in begun {
            let id: Id = log.id.as_str().into();
            let entry = Entry {
                log,
                pace: Pace::new(self.policy.limit_bytes),
                due: None,
                watch: None,
                recovered: false,
                missing_since: None,
                failures: 0,
            };
            self.entries.insert(Arc::clone(&id), entry);
            self.set_due(&id, Some(Instant::now()));
        }
    }

    fn forget(&mut self, id: &Id) {
        self.set_due(id, None);
        let Some(entry) = self.entries.remove(id) else { return };
        if let Some(descriptor) = entry.watch {
            self.watched.remove(&descriptor);
            if let Some(watches) = &mut self.watches {
                // It went by itself if the file did.
                let _ = watches.remove(descriptor);
            }
        }
    }

    fn set_due(&mut self, id: &Id, at: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(before) = entry.due.take() {
            self.due.remove(&(before, Arc::clone(id)));
        }
        entry.due = at;
        if let Some(at) = at {
            self.due.insert((at, Arc::clone(id)));
        }
    }

    /// Something was written to a watched log, or it was moved away; the watch is gone with that.
    fn told(&mut self, descriptor: &WatchDescriptor, mask: EventMask) {
        if mask.contains(EventMask::Q_OVERFLOW) {
            let all: Vec<Id> =
                self.entries.values().filter(|e| e.due.is_some()).map(|e| e.log.id.as_str().into()).collect();
            for id in all {
                self.set_due(&id, Some(Instant::now()));
            }
            return;
        }
        let Some(id) = self.watched.remove(descriptor) else { return };
        let clock = self.clock();
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.watch = None;
        // While it is rotated, the job's end decides.
        if entry.due.is_some() {
            let moved = !mask.contains(EventMask::MODIFY);
            let patience = if moved { Duration::ZERO } else { entry.pace.written(clock) };
            self.set_due(&id, Some(Instant::now() + patience));
        }
    }

    /// Looks at all logs that are due.
    async fn look(&mut self) {
        let now = Instant::now();
        let due: Vec<Id> =
            self.due.iter().take_while(|(at, _)| *at <= now + BATCH).map(|(_, id)| Arc::clone(id)).collect();
        if due.is_empty() {
            return;
        }
        let logs: Vec<(Id, Log, bool)> = due
            .iter()
            .filter_map(|id| self.entries.get(id).map(|e| (Arc::clone(id), e.log.clone(), e.recovered)))
            .collect();
        let (most, compressor) = (self.policy.files, self.compressor.clone());
        let (known, new): (Vec<_>, Vec<_>) = logs.into_iter().partition(|(.., recovered)| *recovered);
        // A size is there at once, and a fast log has no time for other threads.
        let mut looked: Vec<_> = known.into_iter().map(|(id, log, _)| (id, rotate::look(&log))).collect();
        if !new.is_empty() {
            let recovered = blocking(move || {
                let recovered = new.into_iter().map(|(id, log, _)| {
                    recover(&log, most, &compressor);
                    (id, rotate::look(&log))
                });
                Ok(recovered.collect::<Vec<_>>())
            });
            match recovered.await {
                Ok(new) => looked.extend(new),
                Err(error) => tracing::warn!("logs cannot be looked at: {}", chain(&error)),
            }
        }
        let mut to_watch = Vec::new();
        for (id, found) in looked {
            if let Some(size) = self.found(&id, found) {
                to_watch.push((id, size));
            }
        }
        self.watch(to_watch).await;
    }

    /// What one look says; a size where the log is to be watched.
    fn found(&mut self, id: &Id, found: Result<Found, RotateError>) -> Option<u64> {
        let (clock, now) = (self.clock(), Instant::now());
        let entry = self.entries.get_mut(id)?;
        entry.recovered = true;
        let due = match found {
            Ok(Found::Size(size)) => {
                entry.missing_since = None;
                match entry.pace.seen(clock, size) {
                    Next::Rotate => {
                        self.rotate(id);
                        return None;
                    }
                    Next::Look(after) => now + after,
                    Next::Watch => {
                        let is_watched = entry.watch.is_some();
                        self.set_due(id, Some(now + AUDIT.max(self.policy.interval)));
                        return (!is_watched).then_some(size);
                    }
                }
            }
            Ok(Found::Missing { rotated }) => {
                let since = *entry.missing_since.get_or_insert(now);
                // A runtime may make the file a moment after it says that the container runs.
                if rotated || now >= since + self.policy.interval {
                    entry.missing_since = None;
                    self.reopen(id);
                    return None;
                }
                now + self.policy.interval
            }
            Err(error) => {
                entry.failures += 1;
                tell(entry.failures, &entry.log, &error);
                now + self.policy.interval
            }
        };
        self.set_due(id, Some(due));
        None
    }

    /// Watches logs for their next write. One that was written to meanwhile is looked at again.
    async fn watch(&mut self, logs: Vec<(Id, u64)>) {
        if logs.is_empty() {
            return;
        }
        let Some(mut watches) = self.watches.clone() else {
            for (id, _) in logs {
                self.set_due(&id, Some(Instant::now() + POLL));
            }
            return;
        };
        let paths: Vec<(Id, Log, u64)> = logs
            .into_iter()
            .filter_map(|(id, size)| self.entries.get(&id).map(|e| (Arc::clone(&id), e.log.clone(), size)))
            .collect();
        let set = blocking(move || {
            let mask = WatchMask::MODIFY | WatchMask::MOVE_SELF | WatchMask::ATTRIB | WatchMask::ONESHOT;
            Ok(paths
                .into_iter()
                .map(|(id, log, size)| {
                    let descriptor = watches.add(log.path(), mask);
                    let quiet = matches!(rotate::look(&log), Ok(Found::Size(now)) if now == size);
                    (id, descriptor, quiet)
                })
                .collect::<Vec<_>>())
        });
        for (id, descriptor, quiet) in set.await.unwrap_or_default() {
            let (clock, now) = (self.clock(), Instant::now());
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            let due = match descriptor {
                Ok(descriptor) if quiet => {
                    self.watched.insert(descriptor.clone(), Arc::clone(&id));
                    entry.watch = Some(descriptor);
                    continue;
                }
                Ok(descriptor) => {
                    self.watched.insert(descriptor.clone(), Arc::clone(&id));
                    entry.watch = Some(descriptor);
                    entry.pace.written(clock)
                }
                Err(error) => {
                    tracing::debug!(%error, path = %entry.log.path().display(), "a log is polled, no watch is to be had");
                    POLL
                }
            };
            self.set_due(&id, Some(now + due));
        }
    }

    fn rotate(&mut self, id: &Id) {
        let Some(entry) = self.entries.get(id) else { return };
        let (client, log, most) = (self.client.clone(), entry.log.clone(), self.policy.files);
        let (compressor, slots) = (self.compressor.clone(), Arc::clone(&self.slots));
        let own = Arc::clone(id);
        self.jobs.spawn(async move {
            // The semaphore is never closed.
            let _slot = slots.acquire().await;
            let busy = compressor.busy_in(&log.dir);
            let reopen = client.reopen_container_log(&log.id);
            (own, rotate::rotate(&log, most, busy, reopen).await.map(Done::Rotated))
        });
        self.set_due(id, None);
    }

    fn reopen(&mut self, id: &Id) {
        let Some(entry) = self.entries.get(id) else { return };
        let (client, log, slots) = (self.client.clone(), entry.log.clone(), Arc::clone(&self.slots));
        let own = Arc::clone(id);
        self.jobs.spawn(async move {
            let _slot = slots.acquire().await;
            (own, rotate::reopen(&client, &log).await.map(|()| Done::Reopened))
        });
        self.set_due(id, None);
    }

    fn done(&mut self, id: &Id, outcome: Result<Done, RotateError>) {
        let (clock, now) = (self.clock(), Instant::now());
        if let Ok(Done::Rotated(rotation)) = &outcome {
            rotation.compress.iter().for_each(|path| self.compressor.add(path.clone()));
        }
        let Some(entry) = self.entries.get_mut(id) else {
            if let Err(error) = outcome {
                tracing::debug!("the container has ended: {}", chain(&error));
            }
            return;
        };
        let due = match outcome {
            Ok(Done::Rotated(rotation)) => {
                match rotation.left {
                    Some(error) => {
                        entry.failures += 1;
                        tell(entry.failures, &entry.log, &error);
                    }
                    None => entry.failures = 0,
                }
                entry.pace.rotated(clock).max(APART)
            }
            Ok(Done::Reopened) => {
                entry.failures = 0;
                entry.pace.rotated(clock)
            }
            Err(error) => {
                entry.pace.failed();
                entry.failures += 1;
                tell(entry.failures, &entry.log, &error);
                let doubled = RETRY.saturating_mul(1 << entry.failures.min(10) >> 1);
                doubled.min(self.policy.interval.max(RETRY))
            }
        };
        self.set_due(id, Some(now + due));
    }
}

/// What goes on is told once.
fn tell(failures: u32, log: &Log, error: &RotateError) {
    let (id, path) = (&log.id, log.path());
    if failures == 1 {
        tracing::warn!(id, path = %path.display(), "a log is not rotated as it should be: {}", chain(error));
    } else {
        tracing::debug!(id, path = %path.display(), failures, "a log is not rotated as it should be: {}", chain(error));
    }
}

fn recover(log: &Log, most: usize, compressor: &Compressor) {
    match rotate::recover(log, most, &compressor.busy_in(&log.dir)) {
        Ok(left) => left.into_iter().for_each(|path| compressor.add(path)),
        Err(error) => tell(1, log, &error),
    }
}

#[cfg(test)]
mod tests;
