//! The node's orderly way down: who was told to end, when, and what must hold about it (behaviour.md 42.3).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lifecycle::{Facts, NodeInput, ShutdownGroup};

use crate::invariants::{Check, must};
use crate::workload::Key;
use crate::world::{Happening, World};

/// What the node machine may take beside the periods.
const SLACK: Duration = Duration::from_millis(10);

/// The groups of every node in these runs.
pub(crate) fn groups() -> Vec<ShutdownGroup> {
    let seconds = |priority, seconds| ShutdownGroup { priority, period: Duration::from_secs(seconds) };
    vec![seconds(0, 20), seconds(1_000, 5), seconds(2_000_000_000, 10)]
}

/// How long all of them may take together.
pub(crate) fn all_periods() -> Duration {
    groups().iter().map(|group| group.period).sum()
}

/// One way down, from the point of view of one life of the daemon.
#[derive(Debug)]
pub(crate) struct GoingDown {
    /// How long the machine is off.
    pub(crate) off: Duration,
    /// When this life of the daemon was told; `None` where it was not yet.
    began: Option<Duration>,
    told: BTreeMap<Key, Duration>,
}

impl World {
    /// Somebody wants the node to go down; it stays off for `off`, or stays up after all after `cancelled`.
    pub(crate) fn go_down(&mut self, off: Duration, cancelled: Option<Duration>) {
        if self.going_down.is_some() || !self.node_is_up() {
            return;
        }
        self.note(|| "the node is to go down".to_owned());
        self.going_down = Some(GoingDown { off, began: None, told: BTreeMap::new() });
        let boot = self.boot_number;
        match cancelled {
            Some(after) => self.after(after, Happening::StayUp { boot }),
            // systemd waits no longer, whoever holds it back.
            None => self.after(all_periods() + Duration::from_secs(2), Happening::PowerOff { boot }),
        }
        self.tell_going_down();
    }

    /// A daemon that begins meanwhile sees it too.
    pub(crate) fn tell_going_down(&mut self) {
        let Some(daemon) = &self.daemon else { return };
        let down = self.going_down.is_some();
        let facts = Facts { shutting_down: down, ..Facts::clone(&daemon.facts) };
        if let Some(going) = &mut self.going_down {
            going.began = Some(self.time);
            going.told.clear();
        }
        self.ask_node(NodeInput::Facts(Arc::new(facts)));
    }

    pub(crate) fn stay_up(&mut self, boot: u64) {
        if self.boot_number == boot && self.going_down.take().is_some() {
            self.note(|| "the node stays up after all".to_owned());
            self.tell_going_down();
        }
    }

    pub(crate) fn power_off(&mut self, boot: u64) -> Check {
        match &self.going_down {
            Some(going) if self.boot_number == boot => {
                let off = going.off;
                self.reboot(off)
            }
            _ => Ok(()),
        }
    }

    fn group_of(&self, key: Key) -> usize {
        let priority = self.workload.pods[key].object.spec.as_ref().and_then(|s| s.priority).unwrap_or(0);
        groups().iter().rposition(|group| group.priority <= priority).unwrap_or(0)
    }

    /// What others rely on ends after them: they have nothing left, or have had their time.
    pub(crate) fn groups_end_by_rising_priority(&mut self, key: Key) -> Check {
        let group = self.group_of(key);
        let Some(going) = &self.going_down else {
            return must("groups_end_by_rising_priority", false, || {
                format!("pod {key} ends without a cause")
            });
        };
        for (other, told) in going.told.iter().filter(|(other, _)| self.group_of(**other) < group) {
            let had_its_time = self.time >= *told + groups()[self.group_of(*other)].period;
            let runtime = self.runtime.pods.get(other);
            let quiet =
                runtime.is_none_or(|p| p.running().count() == 0 && !p.volumes_mounted && !p.has_cgroup);
            must("groups_end_by_rising_priority", quiet || had_its_time, || {
                format!("pod {key} ends while pod {other} still does, told at {told:?}")
            })?;
        }
        let time = self.time;
        if let Some(going) = &mut self.going_down {
            going.told.insert(key, time);
        }
        Ok(())
    }

    /// The node machine lets the node go in time, and only when nothing runs that has not had its time.
    pub(crate) fn the_way_down_is_over(&mut self) -> Check {
        let Some(going) = &self.going_down else {
            return must("the_way_down_has_an_end", false, || "nobody wants it to go down".to_owned());
        };
        let began = going.began.unwrap_or_default();
        let took = self.time.saturating_sub(began);
        must("the_way_down_has_an_end", took <= all_periods() + SLACK, || format!("it took {took:?}"))?;
        let boot = self.boot_number;
        self.after(Duration::from_millis(50), Happening::PowerOff { boot });
        Ok(())
    }
}
