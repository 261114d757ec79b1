use proptest::prelude::*;

use super::*;

#[test]
fn row_21_3_shares_follow_the_request_within_the_bounds() {
    for (milli, shares) in [
        (0, 2),
        (1, 2),
        (3, 3),
        (10, 10),
        (100, 102),
        (1000, 1024),
        (1_000_000, 262_144),
        (u64::MAX, 262_144),
    ] {
        assert_eq!(cpu_shares(milli), shares, "{milli}m");
    }
}

/// Requests and weights of kubelet-fixtures/cgroup-v2.
#[test]
fn row_21_4_a_kubelets_own_cgroups_weigh_in_proportion_to_the_request() {
    for (milli, weight) in [
        (0, 1),
        (3, 1),
        (10, 1),
        (100, 4),
        (150, 6),
        (200, 8),
        (564, 22),
        (900, 36),
        (1000, 39),
        (300_000, 10_000),
    ] {
        assert_eq!(cpu_weight(cpu_shares(milli)), weight, "{milli}m");
    }
}

#[test]
fn row_21_4_newer_runtimes_give_one_processor_the_kernels_default_weight() {
    for (shares, weight) in [(0, 1), (2, 1), (102, 17), (1024, 100), (262_144, 10_000), (300_000, 10_000)] {
        assert_eq!(curved_cpu_weight(shares), weight, "{shares}");
    }
}

#[test]
fn row_21_5_a_quota_is_never_smaller_than_the_kernel_takes() {
    assert_eq!(cpu_quota_us(0, DEFAULT_CPU_PERIOD_US), None);
    assert_eq!(cpu_quota_us(1, DEFAULT_CPU_PERIOD_US), Some(1000));
    assert_eq!(cpu_quota_us(5, DEFAULT_CPU_PERIOD_US), Some(1000));
    assert_eq!(cpu_quota_us(1500, DEFAULT_CPU_PERIOD_US), Some(150_000));
    assert_eq!(cpu_quota_us(1500, 10_000), Some(15_000));
}

#[test]
fn systemd_is_told_hundredths_of_a_processor_rounded_up() {
    let max = |quota_us, period_us| CpuMax { quota_us, period_us };
    assert_eq!(max(None, 100_000).systemd_quota_per_second_us(), u64::MAX);
    assert_eq!(max(Some(1000), 100_000).systemd_quota_per_second_us(), 10_000);
    assert_eq!(max(Some(1500), 100_000).systemd_quota_per_second_us(), 20_000);
    assert_eq!(max(Some(30_000), 100_000).systemd_quota_per_second_us(), 300_000);
    assert_eq!(max(Some(30_000), 100_000).content(), "30000 100000");
    assert_eq!(max(None, 5000).content(), "max 5000");
}

proptest! {
    #[test]
    fn more_shares_never_weigh_less(a in 0_u64..300_000, b in 0_u64..300_000) {
        let (low, high) = (a.min(b), a.max(b));
        for weight in [cpu_weight, curved_cpu_weight] {
            prop_assert!(weight(low) <= weight(high));
            prop_assert!((1..=10_000).contains(&weight(low)));
        }
    }

    #[test]
    fn the_way_back_is_off_by_less_than_one_step_of_the_weight(shares in 2_u64..=262_144) {
        let back = cpu_shares_of_weight(cpu_weight(shares));
        prop_assert!(back <= shares && shares - back <= 27, "{} {}", shares, back);
        prop_assert!(cpu_weight(back) <= cpu_weight(shares));
    }

    #[test]
    fn a_larger_limit_never_gets_less_time(a: u64, b: u64, period in 1000_u64..=1_000_000) {
        let (low, high) = (a.min(b).max(1), a.max(b).max(1));
        prop_assert!(cpu_quota_us(low, period) <= cpu_quota_us(high, period));
        let max = CpuMax { quota_us: cpu_quota_us(low, period), period_us: period };
        prop_assert!(max.systemd_quota_per_second_us() >= 10_000);
    }
}
