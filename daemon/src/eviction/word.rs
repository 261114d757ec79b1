//! What the kernel tells by itself, before the next look is due: that work waits for memory (PSI), and that the pods together have
//! reached their limit of it (`memory.events.local` of their top cgroup, by inotify).

use std::io;
use std::path::{Path, PathBuf};

use ::eviction::drivers::pressure::Trigger;
use ::eviction::{Resource, Signal, Threshold};
use futures::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask, Watches};

use crate::cause::chain;

/// Events that say nothing but "look": a few at a time do.
const BUFFER_BYTES: usize = 1024;

/// Of either kind there is word only where a threshold could need it and the kernel has it.
#[derive(Debug)]
pub(super) struct Word {
    stalls: Option<Trigger>,
    limits: Option<Limits>,
}

#[derive(Debug)]
struct Limits {
    watches: Watches,
    events: EventStream<Vec<u8>>,
    files: Vec<PathBuf>,
    has_failed: bool,
}

impl Word {
    /// Listens to the node's file of memory pressure, and to these top cgroups as soon as they are there.
    pub(super) fn new(thresholds: &[Threshold], pressure: &Path, tops: &[PathBuf]) -> Self {
        let is_about_memory = |t: &Threshold| t.signal.resource() == Resource::Memory;
        let stalls = thresholds.iter().any(is_about_memory).then(|| {
            Trigger::new(pressure).inspect_err(|error| {
                tracing::info!(
                    error = chain(error),
                    "the kernel does not tell of memory pressure; memory is looked at more often the less is left"
                );
            })
        });
        let is_about_pods = |t: &Threshold| t.signal == Signal::AllocatableMemoryAvailable;
        let limits = thresholds.iter().any(is_about_pods).then(|| {
            Limits::of(tops).inspect_err(|error| {
                tracing::info!(%error, "the kernel's word of the pods' limit of memory is not to be had");
            })
        });
        Self { stalls: stalls.and_then(Result::ok), limits: limits.and_then(Result::ok) }
    }

    /// Listens to cgroups that were not there before; to be called at each look.
    pub(super) fn listen(&mut self) {
        if let Some(limits) = &mut self.limits {
            limits.listen();
        }
    }

    /// Until the kernel has told something. Cancel-safe: what was not returned is seen by the next call, and only says "look".
    pub(super) async fn told(&mut self) {
        let Self { stalls, limits } = self;
        let stalled = async {
            match stalls {
                Some(trigger) => trigger.fired().await,
                None => std::future::pending().await,
            }
        };
        let reached = async {
            match limits {
                Some(limits) => limits.events.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            fired = stalled => {
                if let Err(error) = fired {
                    tracing::warn!(%error, "the kernel tells no more of memory pressure");
                    self.stalls = None;
                }
            }
            event = reached => {
                if !matches!(event, Some(Ok(_))) {
                    tracing::warn!(?event, "the kernel tells no more of the pods' limit of memory");
                    self.limits = None;
                }
            }
        }
    }
}

impl Limits {
    fn of(tops: &[PathBuf]) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let watches = inotify.watches();
        let events = inotify.into_event_stream(vec![0; BUFFER_BYTES])?;
        // Without those of the cgroups below it, which reach limits of their own.
        let files = tops.iter().map(|top| top.join("memory.events.local")).collect();
        Ok(Self { watches, events, files, has_failed: false })
    }

    /// A file that is watched already stays watched.
    fn listen(&mut self) {
        for file in &self.files {
            match self.watches.add(file, WatchMask::MODIFY) {
                Err(error) if error.kind() != io::ErrorKind::NotFound && !self.has_failed => {
                    self.has_failed = true;
                    let path = file.display();
                    tracing::info!(%error, %path, "the kernel's word of the pods' limit of memory is not to be had");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::time::Duration;

    use ::eviction::Amount;
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_pods_limit_is_told_of_as_often_as_it_is_reached_also_by_a_cgroup_that_comes_later() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("kubepods");
        // One event each.
        let reach = || {
            let file = File::options().create(true).append(true).open(top.join("memory.events.local"));
            file.unwrap().write_all(b"max 1\n").unwrap();
        };
        let amount = Amount::parse("1").unwrap().unwrap();
        let threshold = |signal| Threshold { signal, amount, grace: None, reclaim: None };
        let nowhere = place.path().join("none");
        let tops = [nowhere.clone(), top.clone()];
        let mut word = Word::new(&[threshold(Signal::AllocatableMemoryAvailable)], &nowhere, &tops);
        word.listen();
        for _ in 0..2 {
            std::fs::create_dir(&top).unwrap();
            reach();
            word.listen();
            for _ in 0..2 {
                reach();
                timeout(LIMIT, word.told()).await.expect("a word");
            }
            std::fs::remove_dir_all(&top).unwrap();
            timeout(LIMIT, word.told()).await.expect("the end of the file");
        }
        let word = Word::new(&[threshold(Signal::NodefsAvailable)], &nowhere, &tops);
        assert!(word.limits.is_none(), "a descriptor that nobody needs");
    }
}
