//! Which pods' cgroups are nobody's (behaviour.md 39.7, 40.6).

use std::collections::BTreeMap;

use crate::names::{Cgroup, Layout, Tier};

/// The cgroup of a pod, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCgroup {
    /// Whose it is, by its name.
    pub uid: String,
    /// Where it was found.
    pub tier: Tier,
    /// The cgroup.
    pub cgroup: Cgroup,
    /// Whether there are processes in or below it.
    pub populated: bool,
}

/// The pods' cgroups among the directories of a tier; what is no pod's is left out.
pub fn pods_of_tier<'a>(
    layout: &'a Layout,
    tier: Tier,
    directories: impl IntoIterator<Item = (String, bool)> + 'a,
) -> impl Iterator<Item = PodCgroup> + 'a {
    directories.into_iter().filter_map(move |(name, populated)| {
        let uid = layout.pod_uid(tier, &name)?;
        let cgroup = layout.pod(tier, &uid).ok()?;
        Some(PodCgroup { uid, tier, cgroup, populated })
    })
}

/// Those that are to be removed: of pods that nobody knows, and of known pods those that are empty and not in the pod's
/// tier. A known pod's cgroup with processes stays wherever it is: whoever made it, its containers run.
pub fn orphans(found: impl IntoIterator<Item = PodCgroup>, known: &BTreeMap<String, Tier>) -> Vec<PodCgroup> {
    let is_orphan = |pod: &PodCgroup| match known.get(&pod.uid) {
        None => true,
        Some(tier) => *tier != pod.tier && !pod.populated,
    };
    found.into_iter().filter(is_orphan).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Driver;

    fn found(layout: &Layout, tier: Tier, names: &[(&str, bool)]) -> Vec<PodCgroup> {
        pods_of_tier(layout, tier, names.iter().map(|(name, populated)| ((*name).to_owned(), *populated)))
            .collect()
    }

    #[test]
    fn only_cgroups_of_unknown_pods_and_empty_ones_in_the_wrong_tier_are_orphans() {
        let layout = Layout::new(Driver::Cgroupfs, "/").unwrap();
        let mut all = found(
            &layout,
            Tier::Guaranteed,
            &[("burstable", true), ("podknown", true), ("podlost", true), ("other", false)],
        );
        all.extend(found(&layout, Tier::Burstable, &[("podknown", false), ("podrunning", true)]));
        let known = [("known".to_owned(), Tier::Guaranteed), ("running".to_owned(), Tier::BestEffort)].into();
        let removed: Vec<String> = orphans(all, &known).iter().map(|pod| pod.cgroup.path()).collect();
        assert_eq!(removed, ["/kubepods/podlost", "/kubepods/burstable/podknown"]);
    }

    #[test]
    fn slices_of_the_runtime_and_of_tiers_are_no_pods() {
        let layout = Layout::new(Driver::Systemd, "/").unwrap();
        let names = [
            ("kubepods-burstable.slice", true),
            ("kubepods-poda_b.slice", false),
            ("cri-containerd-1.scope", true),
        ];
        let pods = found(&layout, Tier::Guaranteed, &names);
        assert_eq!(pods.iter().map(|p| p.uid.as_str()).collect::<Vec<_>>(), ["a-b"]);
        assert_eq!(orphans(pods, &BTreeMap::new()).len(), 1);
    }
}
