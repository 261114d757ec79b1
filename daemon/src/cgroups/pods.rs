//! The cgroups of top, tiers and pods, for as long as the daemon runs.
//!
//! Whoever carries out a pod's effects calls this: `ensure` before the sandbox is made, `update` around a resize, `remove`
//! after the sandbox is gone. The tiers follow from the pods that are here, and are written when that changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use ::cgroups::{
    Cgroup, Demand, Held, Layout, Limit, NameError, PodCgroup, Removal, Resource, Tier, TierValues, Tree,
    TreeError, Values, orphans, pod_resize, pod_tier, pod_values, tier_values,
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use thiserror::Error;
use tokio::sync::Mutex;

use super::reservations::{Reservation, reservations};
use super::{Limits, Told};
use crate::config::Config;

/// From this wait on a removal that hangs is told, and then each time it has waited twice as often.
const TELL_FROM_ROUND: u32 = 8;
/// Removals of orphans at once.
const ORPHANS_AT_ONCE: usize = 8;

/// The cgroup of a pod could not be made, changed or read.
#[derive(Debug, Error)]
pub enum PodCgroupError {
    /// Its name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The hierarchy, or systemd.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The cgroup of a reservation has to be there already (behaviour.md 23.2).
    #[error("{setting}: the cgroup {cgroup} does not exist")]
    NoSuchCgroup {
        /// The setting that names it.
        setting: &'static str,
        /// Its path.
        cgroup: String,
    },
    /// A memory limit below what is in use (behaviour.md 27.7).
    #[error("attempting to set pod memory limit ({limit}) below current usage ({used})")]
    MemoryInUse {
        /// Bytes.
        limit: u64,
        /// Bytes.
        used: u64,
    },
}

/// Which part of a resize: what grows goes before the containers, what shrinks after them (behaviour.md 27.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Before the containers are resized.
    Before,
    /// After they were.
    After,
}

/// A pod that an earlier daemon, or a kubelet, has left running.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// With the resources that it is allowed.
    pub pod: Pod,
    /// Whether its cgroup, or one of its containers, does not have them yet.
    pub is_resizing: bool,
}

/// The pods' cgroups; cheap to clone.
#[derive(Clone, Debug)]
pub struct PodCgroups(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tree: Tree,
    limits: Arc<Limits>,
    reserved: Vec<Reservation>,
    tiers: Mutex<Tiers>,
}

#[derive(Debug, Default)]
struct Tiers {
    /// What each pod asks for, by UID.
    pods: BTreeMap<String, Demand>,
    written: Option<TierValues>,
    /// Whether the pods that an earlier daemon has left running are among `pods`.
    gathered: bool,
}

impl PodCgroups {
    /// In the unified hierarchy at `mount`.
    ///
    /// # Errors
    /// It is not there, or a setting names no cgroup.
    pub fn open(
        mount: &Path,
        driver: ::cgroups::Driver,
        config: &Config,
        limits: Arc<Limits>,
    ) -> Result<Self, PodCgroupError> {
        let layout = Layout::new(driver, &config.cgroup_root)?;
        Self::with(Tree::open(mount, layout)?, config, limits)
    }

    /// In a tree that was opened already.
    ///
    /// # Errors
    /// A setting names no cgroup.
    pub fn with(tree: Tree, config: &Config, limits: Arc<Limits>) -> Result<Self, PodCgroupError> {
        let reserved = reservations(&tree, config, &limits)?;
        Ok(Self(Arc::new(Inner { tree, limits, reserved, tiers: Mutex::default() })))
    }

    /// Makes top and tiers, and writes what they are to hold as far as it has changed, or all of it with `again`: at the
    /// start, and each minute in case somebody else wrote there.
    ///
    /// # Errors
    /// One of them cannot be made or written.
    pub async fn refresh(&self, again: bool) -> Result<(), PodCgroupError> {
        let mut tiers = self.0.tiers.lock().await;
        if again {
            tiers.written = None;
        }
        self.write_tiers(&mut tiers).await
    }

    async fn write_tiers(&self, tiers: &mut Tiers) -> Result<(), PodCgroupError> {
        let limits = &self.0.limits;
        let demand = tiers.pods.values().copied().sum();
        let mut wanted = tier_values(&demand, &limits.capacity, &limits.policy);
        if !tiers.gathered {
            self.keep_running(&mut wanted)?;
        }
        let written = tiers.written.as_ref();
        let layout = self.0.tree.layout();
        for (tier, values, before) in [
            (Tier::Guaranteed, &wanted.top, written.map(|w| &w.top)),
            (Tier::Burstable, &wanted.burstable, written.map(|w| &w.burstable)),
            (Tier::BestEffort, &wanted.best_effort, written.map(|w| &w.best_effort)),
        ] {
            if before != Some(values) {
                self.0.tree.ensure(&layout.tier(tier), values).await?;
            }
        }
        tiers.written = Some(wanted);
        Ok(())
    }

    /// Leaves alone what follows from pods that are not known yet but run: they keep the processor time that an earlier
    /// daemon has given them.
    fn keep_running(&self, wanted: &mut TierValues) -> Result<(), PodCgroupError> {
        for values in [&mut wanted.top, &mut wanted.burstable, &mut wanted.best_effort] {
            values.memory_kept = None;
        }
        for values in [&mut wanted.burstable, &mut wanted.best_effort] {
            values.memory_max = None;
        }
        let held = self.0.tree.held(&self.0.tree.layout().tier(Tier::Burstable))?.unwrap_or_default();
        if held.values().cpu_shares > wanted.burstable.cpu_shares {
            wanted.burstable.cpu_shares = None;
        }
        Ok(())
    }

    /// Counts the pods that an earlier daemon has left running, so that from now on the tiers hold what follows from the
    /// pods; then has the cgroup of each hold what a new one would, whatever other settings or somebody else have left in
    /// it. A memory limit below what is in use is left out, a pod that is being resized is left to that, and a cgroup that
    /// is gone stays so. Each is tried, whatever becomes of the others; returned is what could not be done.
    pub async fn adopt(&self, running: Vec<Adopted>) -> Vec<PodCgroupError> {
        let mut errors = Vec::new();
        let demand = running.iter().map(|adopted| (uid(&adopted.pod).to_owned(), Demand::of([&adopted.pod])));
        errors.extend(self.gathered(demand.collect()).await.err());
        for Adopted { pod, .. } in running.iter().filter(|adopted| !adopted.is_resizing) {
            errors.extend(self.renew(pod).await.err());
        }
        errors
    }

    async fn gathered(&self, running: BTreeMap<String, Demand>) -> Result<(), PodCgroupError> {
        let mut tiers = self.0.tiers.lock().await;
        for (uid, demand) in running {
            // What was told since is newer.
            tiers.pods.entry(uid).or_insert(demand);
        }
        tiers.gathered = true;
        self.write_tiers(&mut tiers).await
    }

    async fn renew(&self, pod: &Pod) -> Result<(), PodCgroupError> {
        let cgroup = self.cgroup(pod)?;
        let values = self.values_beside(&cgroup, self.values(pod).whole())?;
        Ok(self.0.tree.renew(&cgroup, &values).await?)
    }

    /// Without a memory limit that is below what is in use.
    fn values_beside(&self, cgroup: &Cgroup, mut values: Values) -> Result<Values, PodCgroupError> {
        let used = self.0.tree.held(cgroup)?.and_then(|held| held.memory_bytes).unwrap_or(0);
        if matches!(values.memory_max, Some(Limit::At(limit)) if limit <= used) {
            values.memory_max = None;
        }
        Ok(values)
    }

    /// Holds the cgroups of the reservations to them (behaviour.md 23.2). Each is tried, whatever becomes of the other; told
    /// in the same order each time.
    pub async fn enforce_reserved(&self) -> Vec<Told> {
        let mut told = Vec::new();
        for reservation in &self.0.reserved {
            told.push(reservation.enforce(&self.0.tree).await);
        }
        told
    }

    /// The hierarchy itself, for accounting.
    pub fn tree(&self) -> &Tree {
        &self.0.tree
    }

    /// The name of the pod's cgroup for the runtime, whether it is there or not: it takes it from the configuration of the
    /// sandbox at each container anew.
    ///
    /// # Errors
    /// The UID makes no name.
    pub fn path(&self, pod: &Pod) -> Result<String, PodCgroupError> {
        Ok(self.cgroup(pod)?.path())
    }

    /// Makes the pod's cgroup, or has the one that is there hold what it should. The spec has to be the allocated one. A memory limit that is below what is in
    /// use is left for [`Self::update`].
    ///
    /// # Errors
    /// It cannot be made; the next attempt goes on from where this one ended.
    pub async fn ensure(&self, pod: &Pod) -> Result<(), PodCgroupError> {
        let cgroup = self.cgroup(pod)?;
        {
            let mut tiers = self.0.tiers.lock().await;
            tiers.pods.insert(uid(pod).to_owned(), Demand::of([pod]));
            self.write_tiers(&mut tiers).await?;
        }
        let values = self.values_beside(&cgroup, self.values(pod))?;
        Ok(self.0.tree.ensure(&cgroup, &values).await?)
    }

    /// Carries one half of a resize of one resource to the pod's cgroup; `pod` has the new resources.
    ///
    /// # Errors
    /// The cgroup is not there or cannot be written, or as much memory is in use.
    pub async fn update(&self, pod: &Pod, resource: Resource, half: Half) -> Result<(), PodCgroupError> {
        let cgroup = self.cgroup(pod)?;
        let held = self.0.tree.held(&cgroup)?.unwrap_or_default();
        let resize = pod_resize(&held.values(), &self.values(pod), resource);
        let values = match half {
            Half::Before => resize.before,
            Half::After => resize.after,
        };
        if let (Half::After, Some(Limit::At(limit)), Some(used)) =
            (half, values.memory_max, held.memory_bytes)
            && used >= limit
        {
            return Err(PodCgroupError::MemoryInUse { limit, used });
        }
        self.0.tree.set(&cgroup, &values).await?;
        let mut tiers = self.0.tiers.lock().await;
        tiers.pods.insert(uid(pod).to_owned(), Demand::of([pod]));
        self.write_tiers(&mut tiers).await
    }

    /// What the pod's cgroup holds; none where it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn held(&self, pod: &Pod) -> Result<Option<Held>, PodCgroupError> {
        Ok(self.0.tree.held(&self.cgroup(pod)?)?)
    }

    /// Leaves a pod that cannot be removed yet the least processor time (behaviour.md 21.12).
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn reduce(&self, uid: &str) -> Result<(), PodCgroupError> {
        for pod in self.found(uid)? {
            self.0.tree.set(&pod.cgroup, &Values::reduced()).await?;
        }
        Ok(())
    }

    /// Kills what is left of a pod, and returns when none of its cgroups is there any more. Dropping the future stops the
    /// removal; nothing is lost, another call goes on.
    ///
    /// # Errors
    /// The tiers cannot be read.
    pub async fn remove(&self, uid: &str) -> Result<(), PodCgroupError> {
        for pod in self.found(uid)? {
            self.remove_cgroup(&pod).await;
        }
        let mut tiers = self.0.tiers.lock().await;
        if tiers.pods.remove(uid).is_some() {
            self.write_tiers(&mut tiers).await?;
        }
        Ok(())
    }

    /// Removes the cgroups of pods that nobody knows (behaviour.md 39.7), and says whose they were. `known` has to be
    /// complete: every source has spoken, and the runtime too.
    ///
    /// # Errors
    /// The tiers cannot be read.
    pub async fn remove_orphans(
        &self,
        known: &BTreeMap<String, Tier>,
    ) -> Result<BTreeSet<String>, PodCgroupError> {
        let lost = self.orphans(known)?;
        self.remove_found(&lost).await;
        Ok(lost.into_iter().map(|pod| pod.uid).collect())
    }

    /// The cgroups of pods that are not among `known`, as [`Self::remove_orphans`] finds them.
    ///
    /// # Errors
    /// The hierarchy cannot be read.
    pub fn orphans(&self, known: &BTreeMap<String, Tier>) -> Result<Vec<PodCgroup>, PodCgroupError> {
        Ok(orphans(self.0.tree.pods()?, known))
    }

    /// Removes what [`Self::orphans`] has found.
    pub async fn remove_found(&self, lost: &[PodCgroup]) {
        for some in lost.chunks(ORPHANS_AT_ONCE) {
            join_all(some.iter().map(|pod| self.remove_cgroup(pod))).await;
        }
    }

    async fn remove_cgroup(&self, pod: &PodCgroup) {
        let tell = |removal: &Removal| {
            let rounds = removal.rounds();
            if rounds >= TELL_FROM_ROUND && rounds.is_power_of_two() {
                let reason = removal.stuck().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(uid = pod.uid, cgroup = %pod.cgroup, reason, "a pod's cgroup cannot be removed yet");
            }
        };
        self.0.tree.remove(&pod.cgroup, tell).await;
    }

    fn found(&self, uid: &str) -> Result<Vec<PodCgroup>, PodCgroupError> {
        Ok(self.0.tree.pods()?.into_iter().filter(|pod| pod.uid == uid).collect())
    }

    fn cgroup(&self, pod: &Pod) -> Result<Cgroup, NameError> {
        self.0.tree.layout().pod(pod_tier(pod), uid(pod))
    }

    fn values(&self, pod: &Pod) -> Values {
        pod_values(pod, &self.0.limits.capacity, &self.0.limits.policy, false)
    }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests;
