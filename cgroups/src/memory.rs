//! Memory: what is throttled and what is kept from reclaim (behaviour.md 21.6, 21.10).

/// What a limit or a share of memory is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// None.
    Max,
    /// So many bytes, or so many tasks.
    At(u64),
}

impl Limit {
    /// What is written to the file.
    pub fn content(self) -> String {
        match self {
            Self::Max => "max".to_owned(),
            Self::At(amount) => amount.to_string(),
        }
    }

    /// What systemd is told; its infinity is no limit.
    pub fn systemd(self) -> u64 {
        match self {
            Self::Max => u64::MAX,
            Self::At(amount) => amount,
        }
    }

    /// The tighter of two comes first.
    pub(crate) fn is_above(self, other: Self) -> bool {
        self.systemd() > other.systemd()
    }
}

/// `memoryReservationPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reservation {
    /// Nothing is kept from reclaim; zeros are written.
    #[default]
    None,
    /// Requests are: wholly for guaranteed pods, as long as there is other memory for burstable ones.
    Tiered,
}

/// The feature gate `MemoryQoS` is on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MemoryQos {
    /// `memoryThrottlingFactor`, above 0 and at most 1.
    pub throttling_factor: f64,
    /// What of the requests is kept from reclaim.
    pub reservation: Reservation,
}

/// `memory.high` of a container in bytes, a whole number of pages: so far between request and limit as the factor says,
/// or between request and what the node's pods may have. None where request and limit are the same (so also where
/// neither is given), and where it would not be above the request.
pub fn memory_high(
    request_bytes: u64,
    limit_bytes: Option<u64>,
    node_allocatable_bytes: u64,
    factor: f64,
    page_bytes: u64,
) -> Option<u64> {
    if request_bytes == limit_bytes.unwrap_or(0) {
        return None;
    }
    let upper = limit_bytes.filter(|limit| *limit > 0).unwrap_or(node_allocatable_bytes);
    let exact = request_bytes as f64 + (upper as f64 - request_bytes as f64) * factor;
    // A negative or immense result is cut to the type's bounds, which the comparison below refuses or keeps.
    let page = page_bytes.max(1);
    let high = exact.floor() as u64 / page * page;
    (high > request_bytes).then_some(high)
}

/// What is kept from reclaim in a cgroup with this request: `memory.min` and `memory.low`, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Never reclaimed.
    pub min_bytes: u64,
    /// Not as long as there is other memory.
    pub low_bytes: u64,
}

impl Kept {
    /// For a pod or container of the class.
    pub fn of(request_bytes: u64, guaranteed: bool, reservation: Reservation) -> Self {
        match (reservation, guaranteed) {
            (Reservation::None, _) => Self::default(),
            (Reservation::Tiered, true) => Self { min_bytes: request_bytes, low_bytes: 0 },
            (Reservation::Tiered, false) => Self { min_bytes: 0, low_bytes: request_bytes },
        }
    }
}

#[cfg(test)]
mod tests;
