//! Where the tiers and the pods are in the hierarchy (behaviour.md 21.1).

/// Who manages the hierarchy; the runtime's choice is the node agent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Directories made directly.
    Cgroupfs,
    /// Slices of systemd.
    Systemd,
}

/// The QoS tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Directly below the top.
    Guaranteed,
    /// A tier of its own.
    Burstable,
    /// A tier of its own.
    BestEffort,
}

impl Tier {
    fn segment(self) -> Option<&'static str> {
        match self {
            Self::Guaranteed => None,
            Self::Burstable => Some("burstable"),
            Self::BestEffort => Some("besteffort"),
        }
    }
}

/// The cgroup of a tier below `/`.
pub fn tier_cgroup(driver: Driver, tier: Tier) -> String {
    path(driver, tier, None)
}

/// The cgroup of a pod.
pub fn pod_cgroup(driver: Driver, tier: Tier, uid: &str) -> String {
    path(driver, tier, Some(uid))
}

fn path(driver: Driver, tier: Tier, uid: Option<&str>) -> String {
    let pod = uid.map(|uid| format!("pod{uid}"));
    let parts = ["kubepods"].into_iter().chain(tier.segment()).chain(pod.as_deref());
    match driver {
        Driver::Cgroupfs => parts.map(|p| format!("/{p}")).collect(),
        Driver::Systemd => {
            // A dash in a slice's name is a level, so those of the UID are written otherwise; each level repeats its parents.
            let mut whole = String::new();
            let mut path = String::new();
            for part in parts {
                let part = part.replace('-', "_");
                whole = if whole.is_empty() { part } else { format!("{whole}-{part}") };
                path.push_str(&format!("/{whole}.slice"));
            }
            path
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_below_its_tier_in_either_drivers_way() {
        let uid = "6e03df48-7eab-45a0";
        assert_eq!(
            pod_cgroup(Driver::Cgroupfs, Tier::Burstable, uid),
            "/kubepods/burstable/pod6e03df48-7eab-45a0"
        );
        assert_eq!(pod_cgroup(Driver::Cgroupfs, Tier::Guaranteed, uid), "/kubepods/pod6e03df48-7eab-45a0");
        assert_eq!(
            pod_cgroup(Driver::Systemd, Tier::BestEffort, uid),
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod6e03df48_7eab_45a0.slice"
        );
        assert_eq!(tier_cgroup(Driver::Systemd, Tier::Guaranteed), "/kubepods.slice");
    }
}
