use proptest::prelude::*;

use super::*;

const MI: u64 = 1 << 20;
/// Capacity of the recorded node less its two reservations.
const ALLOCATABLE: u64 = 1_437_863_936;

/// Containers of kubelet-fixtures/cgroup-v2, cgroupfs driver with MemoryQoS.
#[test]
fn row_21_10_memory_high_is_what_a_kubelet_was_seen_to_write() {
    for (name, request, limit, high) in [
        ("burst-req", 32 * MI, None, Some(1_297_432_576)),
        ("main of init-sidecar, a of podlevel", 16 * MI, None, Some(1_295_753_216)),
        ("side of init-sidecar", 24 * MI, None, Some(1_296_592_896)),
        ("critical", 8 * MI, None, Some(1_294_913_536)),
        ("burst-lim", 32 * MI, Some(128 * MI), Some(124_149_760)),
        ("a of burst-mixed", MI, Some(64 * MI), Some(60_502_016)),
        ("besteffort, burst-small", 0, None, None),
        ("guaranteed", 64 * MI, Some(64 * MI), None),
    ] {
        assert_eq!(memory_high(request, limit, ALLOCATABLE, 0.9, 4096), high, "{name}");
    }
}

#[test]
fn row_21_10_a_request_above_what_the_node_has_is_not_throttled() {
    assert_eq!(memory_high(2 * ALLOCATABLE, None, ALLOCATABLE, 0.9, 4096), None);
}

#[test]
fn row_21_10_requests_are_kept_wholly_for_guaranteed_pods_and_softly_for_others() {
    assert_eq!(Kept::of(MI, true, Reservation::Tiered), Kept { min_bytes: MI, low_bytes: 0 });
    assert_eq!(Kept::of(MI, false, Reservation::Tiered), Kept { min_bytes: 0, low_bytes: MI });
    assert_eq!(Kept::of(MI, true, Reservation::None), Kept::default());
}

proptest! {
    #[test]
    fn memory_high_is_between_request_and_limit_and_whole_pages(
        request in 0_u64..1 << 40, limit in 1_u64..1 << 40, factor in 0.01_f64..=1.0,
    ) {
        if let Some(high) = memory_high(request, Some(limit), ALLOCATABLE, factor, 4096) {
            prop_assert!(high > request && high <= limit && high.is_multiple_of(4096));
        }
    }

    #[test]
    fn any_numbers_give_an_answer(request: u64, limit: Option<u64>, node: u64, factor: f64, page: u64) {
        let high = memory_high(request, limit, node, factor, page);
        prop_assert!(high.is_none_or(|high| high > request));
    }
}
