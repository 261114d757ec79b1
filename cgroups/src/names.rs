//! Where the tiers and the pods are in the hierarchy, in either driver's way (behaviour.md 21.1, 21.13).

use std::fmt;

use podspec::QosClass;
use thiserror::Error;

/// The longest UID that becomes a name; a file's name ends at 255 bytes and systemd repeats the parents in it.
const MAX_UID: usize = 128;
/// The longest `cgroupRoot`, in levels.
const MAX_ROOT_LEVELS: usize = 8;

/// Who manages the hierarchy; the runtime's choice is the node agent's (behaviour.md 47.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Directories made directly.
    Cgroupfs,
    /// Slices of systemd.
    Systemd,
}

/// The QoS tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Directly below the top.
    Guaranteed,
    /// A tier of its own.
    Burstable,
    /// A tier of its own.
    BestEffort,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Guaranteed, Self::Burstable, Self::BestEffort];

    fn segment(self) -> Option<&'static str> {
        match self {
            Self::Guaranteed => None,
            Self::Burstable => Some("burstable"),
            Self::BestEffort => Some("besteffort"),
        }
    }
}

impl From<QosClass> for Tier {
    fn from(class: QosClass) -> Self {
        match class {
            QosClass::Guaranteed => Self::Guaranteed,
            QosClass::Burstable => Self::Burstable,
            QosClass::BestEffort => Self::BestEffort,
        }
    }
}

/// A text that cannot be part of a cgroup's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// A pod's UID. Manifests on the node may bring their own, and a name is a path: nothing may lead out of the tier.
    #[error(
        "a pod's cgroup cannot be named after the UID {0:?}: it must be 1 to 128 letters, digits, '-' or '.'"
    )]
    Uid(String),
    /// `cgroupRoot` or the cgroup of a reservation.
    #[error("{0:?} is no cgroup: it must be a path of at most 8 levels such as /system.slice or /a/b")]
    Path(String),
}

/// A cgroup by its levels below the mount, as a driver spells them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cgroup {
    systemd: bool,
    /// Without systemd's spelling: dashes as they are, no repeated parents, no `.slice`.
    levels: Vec<String>,
}

impl Cgroup {
    /// The cgroup that a setting names, such as `systemReservedCgroup`; systemd's names may be written with or without
    /// `.slice`, and as a path or as the last slice alone.
    ///
    /// # Errors
    /// It is no path below the root.
    pub fn parse(driver: Driver, text: &str) -> Result<Self, NameError> {
        let error = || NameError::Path(text.chars().take(MAX_UID).collect());
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let plain = |part: &&str| {
            part.len() <= MAX_UID
                && !part.starts_with('.')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@'))
        };
        if parts.len() > MAX_ROOT_LEVELS || !parts.iter().all(plain) {
            return Err(error());
        }
        let systemd = driver == Driver::Systemd;
        let levels = match (systemd, parts.last()) {
            // Each slice's name repeats its parents, so the last says all.
            (true, Some(last)) if last.ends_with(".slice") => {
                let name = last.trim_end_matches(".slice");
                name.split('-')
                    .filter(|level| !level.is_empty())
                    .map(|level| level.replace('_', "-"))
                    .collect()
            }
            _ => parts.into_iter().map(str::to_owned).collect(),
        };
        Ok(Self { systemd, levels })
    }

    /// The path below the mount, beginning with `/`. The runtime is given this as the sandbox's `cgroup_parent`, in
    /// either driver; a runtime that uses systemd takes the last name of it.
    pub fn path(&self) -> String {
        self.directories().fold(String::new(), |path, directory| path + "/" + &directory)
    }

    /// The names of the directories from the mount down.
    pub fn directories(&self) -> impl Iterator<Item = String> {
        let mut whole = String::new();
        self.levels.iter().map(move |level| {
            if !self.systemd {
                return level.clone();
            }
            // A dash in a slice's name is a level, so those of the level itself are written otherwise.
            if !whole.is_empty() {
                whole.push('-');
            }
            whole.push_str(&level.replace('-', "_"));
            format!("{whole}.slice")
        })
    }

    /// The unit of systemd, `-.slice` for the root; none where directories are made directly.
    pub fn unit(&self) -> Option<String> {
        let last = self.directories().last();
        self.systemd.then(|| last.unwrap_or_else(|| "-.slice".to_owned()))
    }

    /// The cgroup above; none for the root.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.levels.split_last()?;
        Some(Self { systemd: self.systemd, levels: above.to_vec() })
    }

    /// Whether this is the root of the hierarchy.
    pub fn is_root(&self) -> bool {
        self.levels.is_empty()
    }

    fn below(&self, level: impl Into<String>) -> Self {
        let mut levels = self.levels.clone();
        levels.push(level.into());
        Self { systemd: self.systemd, levels }
    }
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str("/") } else { f.write_str(&self.path()) }
    }
}

/// Where the node's pods are: below `cgroupRoot`, in one driver's spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    driver: Driver,
    top: Cgroup,
}

impl Layout {
    /// The layout below `cgroup_root` (the setting `cgroupRoot`; empty and `/` are the root).
    ///
    /// # Errors
    /// `cgroup_root` is no path.
    pub fn new(driver: Driver, cgroup_root: &str) -> Result<Self, NameError> {
        Ok(Self { driver, top: Cgroup::parse(driver, cgroup_root)?.below("kubepods") })
    }

    /// Whose spelling it is.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// What holds all pods.
    pub fn top(&self) -> &Cgroup {
        &self.top
    }

    /// The cgroup of a tier; that of guaranteed pods is the top itself.
    pub fn tier(&self, tier: Tier) -> Cgroup {
        tier.segment().map_or_else(|| self.top.clone(), |segment| self.top.below(segment))
    }

    /// The cgroup of a pod.
    ///
    /// # Errors
    /// The UID cannot be part of a path.
    pub fn pod(&self, tier: Tier, uid: &str) -> Result<Cgroup, NameError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        if uid.is_empty() || uid.len() > MAX_UID || !uid.bytes().all(plain) {
            return Err(NameError::Uid(uid.chars().take(MAX_UID).collect()));
        }
        Ok(self.tier(tier).below(format!("pod{uid}")))
    }

    /// The UID of the pod whose cgroup is the directory `name` of a tier; none where it is no pod's.
    pub fn pod_uid(&self, tier: Tier, name: &str) -> Option<String> {
        let uid = match self.driver {
            Driver::Cgroupfs => name.strip_prefix("pod")?.to_owned(),
            Driver::Systemd => {
                let unit = self.tier(tier).unit()?;
                let parents = unit.strip_suffix(".slice")?;
                let own = name.strip_prefix(parents)?.strip_prefix("-pod")?.strip_suffix(".slice")?;
                own.replace('_', "-")
            }
        };
        // Only what this layout would have named so.
        let again = self.pod(tier, &uid).ok()?;
        (again.directories().last()? == name).then_some(uid)
    }
}

#[cfg(test)]
mod tests;
