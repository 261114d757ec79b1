//! Which images go when their file system runs full, or when nobody has used them for long (behaviour.md 15).
//!
//! ```text
//! the runtime's images, who uses them --look--> History (first seen, last used)
//!                                                  |
//!            space, Policy, what is wanted --------+--> Plan: what goes in which order, and what stays, why
//! ```
//!
//! An image that was used longest ago goes first, of those never seen in use the one that was seen first. Pinned ones, those in use
//! and those younger than the minimum age stay, whatever is wanted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// When images go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `imageGCHighThresholdPercent`: from so much use on images go; 100 is never.
    pub high_percent: u64,
    /// `imageGCLowThresholdPercent`: down to so much use.
    pub low_percent: u64,
    /// `imageMinimumGCAge`, counted from when this process saw the image first; one that was there at its start is older.
    pub min_age: Duration,
    /// `imageMaximumGCAge`: one that nobody has used for longer goes whatever room there is.
    pub max_age: Option<Duration>,
}

impl Policy {
    /// Whether no image ever goes by itself.
    pub fn is_off(&self) -> bool {
        self.high_percent >= 100 && self.max_age.is_none()
    }

    /// The bytes that are to come free; `None` below the upper threshold.
    pub fn excess(&self, space: Space) -> Option<u64> {
        if self.high_percent >= 100 || space.used_percent() < self.high_percent {
            return None;
        }
        let goal = u128::from(space.capacity) * u128::from(100 - self.low_percent.min(100)) / 100;
        Some(u64::try_from(goal).unwrap_or(u64::MAX).saturating_sub(space.available))
    }
}

/// What the images' file system has, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// In all, above 0.
    pub capacity: u64,
    /// Free for programs without rights, at most the capacity.
    pub available: u64,
}

/// The file system says that it has no room at all.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("invalid capacity 0 on image filesystem")]
pub struct NoCapacity;

impl Space {
    /// What a file system tells of itself.
    ///
    /// # Errors
    /// It has no capacity, as one that was not mounted yet.
    pub fn new(capacity: u64, available: u64) -> Result<Self, NoCapacity> {
        if capacity == 0 {
            return Err(NoCapacity);
        }
        Ok(Self { capacity, available: available.min(capacity) })
    }

    /// 0 to 100, rounded up.
    pub fn used_percent(&self) -> u64 {
        let free = u128::from(self.available) * 100 / u128::from(self.capacity.max(1));
        100 - u64::try_from(free).unwrap_or(100).min(100)
    }
}

/// An image as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The runtime's id.
    pub id: String,
    /// By the runtime's word.
    pub bytes: u64,
    /// The runtime wants it kept.
    pub is_pinned: bool,
    /// A container, running or dead, a volume, a sandbox, or a pod that is still to start has it.
    pub is_used: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// Boot time.
    first: Duration,
    /// It was there when this process began: how young it is nobody knows.
    is_older: bool,
    /// Boot time of the last look that showed it in use.
    used: Option<Duration>,
}

impl Seen {
    /// What goes first is smallest.
    fn order(&self) -> (Option<Duration>, Duration) {
        (self.used, self.first)
    }

    fn is_young(&self, policy: &Policy, now: Duration) -> bool {
        !self.is_older && now.saturating_sub(self.first) < policy.min_age
    }

    /// Since it was used, or since it could have been seen in use.
    fn idle(&self, now: Duration) -> Duration {
        now.saturating_sub(self.used.unwrap_or(self.first))
    }
}

/// Since when images are known, and when they were used.
#[derive(Clone, Debug, Default)]
pub struct History {
    seen: BTreeMap<String, Seen>,
    has_looked: bool,
}

impl History {
    /// Takes note of all images that there are at the boot time `now`; those that have gone are forgotten.
    pub fn look(&mut self, images: &[Image], now: Duration) {
        let is_older = !std::mem::replace(&mut self.has_looked, true);
        let mut before = std::mem::take(&mut self.seen);
        for image in images {
            let known = before.remove(&image.id);
            let mut seen = known.unwrap_or(Seen { first: now, is_older, used: None });
            if image.is_used {
                seen.used = Some(now);
            }
            self.seen.insert(image.id.clone(), seen);
        }
    }

    /// What is to go at the boot time `now` of `images`, which were looked at just before.
    pub fn plan(&self, images: &[Image], policy: &Policy, now: Duration, wanted: Wanted) -> Plan {
        let mut plan = Plan { kept: Kept { min_age: policy.min_age, ..Kept::default() }, ..Plan::default() };
        let mut free: Vec<(&Image, Seen)> = Vec::new();
        for image in images {
            // Not looked at: somebody was quicker.
            let seen =
                self.seen.get(&image.id).copied().unwrap_or(Seen { first: now, is_older: false, used: None });
            let tally = match image {
                Image { is_used: true, .. } => Some(&mut plan.kept.used),
                Image { is_pinned: true, .. } => Some(&mut plan.kept.pinned),
                _ if seen.is_young(policy, now) => Some(&mut plan.kept.young),
                _ => None,
            };
            match tally {
                Some(tally) => tally.add(image.bytes),
                None => free.push((image, seen)),
            }
        }
        free.sort_by(|(a, seen_a), (b, seen_b)| seen_a.order().cmp(&seen_b.order()).then(a.id.cmp(&b.id)));
        let is_old = |seen: &Seen| policy.max_age.is_some_and(|most| seen.idle(now) > most);
        let (old, others): (Vec<_>, Vec<_>) = free.into_iter().partition(|(_, seen)| is_old(seen));
        let bytes = match wanted {
            Wanted::Aged => 0,
            Wanted::Bytes(bytes) => bytes,
            Wanted::All => u64::MAX,
        };
        for (image, _) in old {
            plan.remove(image, Reason::Age);
        }
        for (image, _) in others {
            if plan.frees >= bytes {
                break;
            }
            plan.remove(image, Reason::Space);
        }
        plan
    }
}

/// How much is to go beside what is older than the maximum age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Aged,
    /// Until so many bytes are free.
    Bytes(u64),
    /// All that may go.
    All,
}

/// Why an image goes, as the metric `kubelet_image_garbage_collected_total` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody has used it for longer than the maximum age.
    Age,
    /// Its file system is too full.
    Space,
}

impl Reason {
    /// The label of the metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Space => "space",
        }
    }
}

/// An image that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The runtime's id.
    pub id: String,
    /// By the runtime's word.
    pub bytes: u64,
    /// Why.
    pub reason: Reason,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub removals: Vec<Removal>,
    /// The sum of their bytes; layers that images share count with each.
    pub frees: u64,
    /// What may not go.
    pub kept: Kept,
}

impl Plan {
    fn remove(&mut self, image: &Image, reason: Reason) {
        self.frees = self.frees.saturating_add(image.bytes);
        self.removals.push(Removal { id: image.id.clone(), bytes: image.bytes, reason });
    }
}

/// A number of images and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: usize,
    /// By the runtime's word.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The images that may not go, by the first reason that holds. Shown it is a list for people, empty where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// In use.
    pub used: Tally,
    /// Pinned.
    pub pinned: Tally,
    /// Younger than the minimum age.
    pub young: Tally,
    min_age: Duration,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let young = format!("younger than {} s", self.min_age.as_secs());
        let all = [(self.used, "in use"), (self.pinned, "pinned"), (self.young, young.as_str())];
        let mut separator = "";
        for (tally, why) in all.into_iter().filter(|(tally, _)| tally.count > 0) {
            write!(f, "{separator}{} {why} ({})", tally.count, Bytes(tally.bytes))?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Shows an amount of bytes in the largest binary unit of which there is at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.into_iter().find(|(_, shift)| self.0 >> shift > 0) {
            Some((unit, shift)) => write!(f, "{:.1} {unit}", self.0 as f64 / (1_u64 << shift) as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// How often it is told that nothing can be done: at the first, second, fourth, eighth ... failure in a row, and then at each
/// sixteenth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Complaints {
    failures: u32,
}

impl Complaints {
    /// It has failed again; whether that is to be told.
    pub fn failed(&mut self) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.failures.is_power_of_two() && self.failures < 16 || self.failures.is_multiple_of(16)
    }

    /// It went well.
    pub fn ended(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests;
