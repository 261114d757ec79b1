//! Hours of pods that come and go: while they last nothing grows, and when all have gone nothing is left.

use std::time::Duration;

use crate::invariants::{Check, must};
use crate::workload::Key;
use crate::world::World;

/// How often it is looked whether anything grows.
const LOOK: Duration = Duration::from_secs(600);
/// Longer than an audit takes to come, twice over.
const REST: Duration = Duration::from_secs(150);
/// Of a pod's machine, as its debug text: several times what the largest of these pods needs.
const POD_BYTES: usize = 160 << 10;
/// The same of the node's machine, beside what each of its pods may take.
const NODE_BYTES: usize = 64 << 10;

impl World {
    /// All of it, and its end.
    pub(crate) fn outlast(&mut self, lasts: Duration) -> Check {
        while self.time < lasts {
            let next = (self.time + LOOK).min(lasts);
            self.run_until(next)?;
            self.no_machine_grows()?;
        }
        self.take_everything_away();
        // A node that goes down may be on its way still.
        let next = self.time + REST;
        self.run_until(next)?;
        self.every_pod_reaches_its_goal()?;
        let next = self.time + REST;
        self.run_until(next)?;
        self.nothing_is_left_of_pods_that_are_gone()
    }

    /// What a machine holds depends on its pod as it is, and not on how long it has been there (design.md 2.1, 2.7).
    fn no_machine_grows(&self) -> Check {
        let Some(daemon) = &self.daemon else { return Ok(()) };
        for (key, task) in &daemon.tasks {
            let bytes = format!("{:?}", task.machine).len();
            must("no_machine_grows", bytes <= POD_BYTES, || {
                format!("pod {key}: its machine has {bytes} bytes")
            })?;
        }
        let (bytes, pods) = (format!("{:?}", daemon.node).len(), daemon.tasks.len());
        must("no_machine_grows", bytes <= NODE_BYTES + pods * POD_BYTES, || {
            format!("the node's machine has {bytes} bytes for {pods} pods")
        })
    }

    fn take_everything_away(&mut self) {
        self.emptied = true;
        self.note(|| "everything is taken away".to_owned());
        let now = self.now().wall;
        for key in self.api.all().map(|(key, _)| key).collect::<Vec<Key>>() {
            let _ = self.api.delete(key, None, now);
            self.tell_watch(key);
        }
        for key in std::mem::take(&mut self.files) {
            self.file_vanished(key);
        }
    }

    fn nothing_is_left_of_pods_that_are_gone(&self) -> Check {
        let name = "nothing_is_left_of_pods_that_are_gone";
        let in_runtime: Vec<&Key> =
            self.runtime.pods.iter().filter(|(_, p)| !p.is_nothing()).map(|(key, _)| key).collect();
        must(name, in_runtime.is_empty(), || format!("the runtime has something of pods {in_runtime:?}"))?;
        must(name, self.calls.is_empty(), || format!("calls are under way: {:?}", self.calls))?;
        must(name, self.ledger.is_empty(), || format!("the ledger has records: {:?}", self.ledger))?;
        must(name, self.api.all().next().is_none(), || "the API has objects".to_owned())?;
        let Some(daemon) = &self.daemon else { return must(name, false, || "there is no daemon".to_owned()) };
        must(name, daemon.tasks.is_empty(), || format!("there are tasks of pods {:?}", daemon.tasks.keys()))?;
        must(name, daemon.known.is_empty(), || {
            format!("statuses are known of pods {:?}", daemon.known.keys())
        })?;
        let audited = daemon.audited.iter().flatten().count();
        must(name, audited == 0, || format!("the last audit has {audited} pods"))?;
        // Whatever it is that the node's machine still has of a pod, its UID is with it.
        let node = format!("{:?}", daemon.node);
        must(name, !node.contains("\"u-"), || format!("the node's machine knows a pod: {node}"))?;
        let wake = daemon.node.next_wake();
        must(name, wake.is_none(), || format!("the node's machine is to be woken at {wake:?}"))
    }
}
