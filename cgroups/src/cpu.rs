//! Processor time: shares, weight and quota (behaviour.md 21.3 to 21.5).

/// The least shares that a cgroup has.
pub const MIN_CPU_SHARES: u64 = 2;
/// The most shares that a cgroup has.
pub const MAX_CPU_SHARES: u64 = 262_144;
/// The period of the quota in microseconds, unless the configuration says otherwise.
pub const DEFAULT_CPU_PERIOD_US: u64 = 100_000;
/// The kernel takes no smaller quota, in microseconds.
const MIN_QUOTA_US: u64 = 1000;
/// systemd counts a quota in hundredths of a processor: microseconds a second.
const SYSTEMD_QUOTA_STEP_US: u64 = 10_000;

/// `cpu.max`: so much time in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuMax {
    /// Microseconds in each period; none is no limit.
    pub quota_us: Option<u64>,
    /// The period in microseconds.
    pub period_us: u64,
}

impl CpuMax {
    /// What is written to `cpu.max`.
    pub fn content(&self) -> String {
        match self.quota_us {
            Some(quota) => format!("{quota} {}", self.period_us),
            None => format!("max {}", self.period_us),
        }
    }

    /// `CPUQuotaPerSecUSec` of systemd: microseconds a second, rounded up to the hundredth of a processor that systemd
    /// counts in; its infinity is no limit. The exact value is written to the file afterwards.
    pub fn systemd_quota_per_second_us(&self) -> u64 {
        let Some(quota) = self.quota_us else { return u64::MAX };
        let per_second = u128::from(quota) * 1_000_000 / u128::from(self.period_us.max(1));
        let per_second = u64::try_from(per_second).unwrap_or(u64::MAX - SYSTEMD_QUOTA_STEP_US);
        per_second.div_ceil(SYSTEMD_QUOTA_STEP_US).saturating_mul(SYSTEMD_QUOTA_STEP_US)
    }
}

/// Shares of a request in thousandths of a processor: 1024 for each processor, within the bounds.
pub fn cpu_shares(milli_cpu: u64) -> u64 {
    (milli_cpu.saturating_mul(1024) / 1000).clamp(MIN_CPU_SHARES, MAX_CPU_SHARES)
}

/// `cpu.weight` of tiers and pods, 1 to 10000: linear in the shares.
///
/// This is what a kubelet 1.36 was seen to write for all cgroups of its own (200m are weight 8, 900m are 36), though
/// behaviour.md 21.4 names the curve of newer runtimes for them.
pub fn cpu_weight(shares: u64) -> u64 {
    1 + (shares.clamp(MIN_CPU_SHARES, MAX_CPU_SHARES) - MIN_CPU_SHARES) * 9999
        / (MAX_CPU_SHARES - MIN_CPU_SHARES)
}

/// The shares of a `cpu.weight` that was read, by the linear way back (behaviour.md 50.10).
pub fn cpu_shares_of_weight(weight: u64) -> u64 {
    (weight.clamp(1, 10_000) - 1) * (MAX_CPU_SHARES - MIN_CPU_SHARES) / 9999 + MIN_CPU_SHARES
}

/// `cpu.weight` that newer runtimes make of a container's shares, 1 to 10000: the curve by which 1024 shares are the
/// kernel's default weight of 100. Older runtimes do as [`cpu_weight`] does; whoever reads a container's weight has to
/// expect either.
///
/// With l = log2(shares) it is ceil(10^((l^2 + 125 l) / 612 - 7/34)).
pub fn curved_cpu_weight(shares: u64) -> u64 {
    if shares <= MIN_CPU_SHARES {
        return 1;
    }
    if shares >= MAX_CPU_SHARES {
        return 10_000;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    // Bounded by the two cases above.
    10_f64.powf(exponent).ceil() as u64
}

/// Microseconds of processor time in each period for a limit in thousandths of a processor; `None` is no limit.
pub fn cpu_quota_us(milli_cpu: u64, period_us: u64) -> Option<u64> {
    (milli_cpu > 0).then(|| (milli_cpu.saturating_mul(period_us) / 1000).max(MIN_QUOTA_US))
}

#[cfg(test)]
mod tests;
