//! Processor time: shares, weight and quota (behaviour.md 21.3 to 21.5).

/// The least shares that a cgroup has.
pub const MIN_CPU_SHARES: u64 = 2;
/// The most shares that a cgroup has.
pub const MAX_CPU_SHARES: u64 = 262_144;
/// The period of the quota in microseconds, unless the configuration says otherwise.
pub const DEFAULT_CPU_PERIOD_US: u64 = 100_000;
/// The kernel takes no smaller quota, in microseconds.
const MIN_QUOTA_US: u64 = 1000;

/// Shares of a request in thousandths of a processor: 1024 for each processor, within the bounds.
pub fn cpu_shares(milli_cpu: u64) -> u64 {
    (milli_cpu.saturating_mul(1024) / 1000).clamp(MIN_CPU_SHARES, MAX_CPU_SHARES)
}

/// `cpu.weight` of so many shares, 1 to 10000: the curve by which 1024 shares are the kernel's default weight of 100.
///
/// With l = log2(shares) it is ceil(10^((l^2 + 125 l) / 612 - 7/34)).
pub fn cpu_weight(shares: u64) -> u64 {
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_follow_the_request_within_the_bounds() {
        for (milli, shares) in [(0, 2), (1, 2), (10, 10), (100, 102), (1000, 1024), (1_000_000, 262_144)] {
            assert_eq!(cpu_shares(milli), shares, "{milli}m");
        }
    }

    #[test]
    fn one_processor_has_the_kernels_default_weight() {
        for (shares, weight) in [(0, 1), (2, 1), (102, 17), (1024, 100), (262_144, 10_000), (300_000, 10_000)]
        {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
    }

    #[test]
    fn a_quota_is_never_smaller_than_the_kernel_takes() {
        assert_eq!(cpu_quota_us(0, DEFAULT_CPU_PERIOD_US), None);
        assert_eq!(cpu_quota_us(1, DEFAULT_CPU_PERIOD_US), Some(1000));
        assert_eq!(cpu_quota_us(1500, DEFAULT_CPU_PERIOD_US), Some(150_000));
    }

    proptest! {
        #[test]
        fn more_shares_never_weigh_less(a in 0_u64..300_000, b in 0_u64..300_000) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(cpu_weight(low) <= cpu_weight(high));
            prop_assert!((1..=10_000).contains(&cpu_weight(low)));
        }
    }
}
