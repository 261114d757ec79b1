use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::memory::MemoryQos;
use crate::node::Enforced;

const GI: u64 = 1 << 30;

fn pod(cpu: &str, memory: &str, limited: bool) -> Pod {
    let asked = json!({"cpu": cpu, "memory": memory});
    let limits = if limited { asked.clone() } else { json!({}) };
    serde_json::from_value(json!({"spec": {"containers": [
        {"name": "a", "resources": {"requests": asked, "limits": limits}},
    ]}}))
    .unwrap()
}

fn capacity() -> Capacity {
    Capacity {
        cpu_millis: 4000,
        memory_bytes: 8 * GI,
        pids: Some(32_768),
        huge_pages: [(2 << 20, 64 << 20)].into(),
        cpus: vec![0, 1, 2, 3],
        ..Capacity::default()
    }
}

fn reserving() -> Policy {
    let system = Reserved { cpu_millis: Some(500), memory_bytes: Some(GI), pids: Some(1000) };
    let kube = Reserved { cpu_millis: Some(500), memory_bytes: None, pids: None };
    Policy { system_reserved: system, kube_reserved: kube, ..Policy::default() }
}

fn demand() -> Demand {
    Demand::of(&[
        pod("1", "1Gi", true),
        pod("500m", "2Gi", false),
        pod("64m", "512Mi", false),
        pod("0", "0", false),
    ])
}

#[test]
fn row_21_3_burstable_weighs_what_its_pods_ask_for_and_besteffort_the_least() {
    let values = tier_values(&demand(), &capacity(), &reserving());
    assert_eq!((values.burstable.cpu_shares, values.best_effort.cpu_shares), (Some(577), Some(2)));
    let empty = tier_values(&Demand::default(), &capacity(), &reserving());
    assert_eq!(empty.burstable.cpu_shares, Some(2));
    assert_eq!(
        (empty.burstable.memory_max, empty.burstable.cpu_max, empty.burstable.pids_max),
        (None, None, None)
    );
}

#[test]
fn row_21_7_tiers_do_not_limit_huge_pages() {
    let values = tier_values(&demand(), &capacity(), &reserving());
    assert_eq!(values.burstable.huge_pages, [(2 << 20, 1 << 62)].into());
    assert_eq!(values.best_effort.huge_pages, values.burstable.huge_pages);
    assert_eq!(values.top.huge_pages, capacity().huge_pages);
}

/// The recorded node holds 36, 1437863936 and 12071.
#[test]
fn row_23_2_the_top_is_limited_to_what_the_reservations_leave() {
    let recorded = Capacity {
        cpu_millis: 1000,
        memory_bytes: 1_535_236 * 1024,
        pids: Some(12_071),
        cpus: vec![0],
        ..Capacity::default()
    };
    let reserved = Reserved { cpu_millis: Some(50), memory_bytes: Some(64 << 20), pids: None };
    let policy = Policy { system_reserved: reserved, kube_reserved: reserved, ..Policy::default() };
    let lines: Vec<String> = tier_values(&Demand::default(), &recorded, &policy)
        .top
        .settings()
        .iter()
        .map(|s| format!("{}={}", s.file, s.content))
        .collect();
    assert_eq!(lines, ["cpuset.cpus=0", "cpu.weight=36", "memory.max=1437863936", "pids.max=12071"]);
    let top = tier_values(&demand(), &capacity(), &reserving()).top;
    assert_eq!(top.cpu_shares, Some(3072));
    assert_eq!((top.memory_max, top.pids_max), (Some(Limit::At(7 * GI)), Some(Limit::At(31_768))));
}

#[test]
fn row_23_2_without_enforcement_the_top_has_all_there_is() {
    let policy = Policy { enforced: Enforced::default(), all_cpus: false, ..reserving() };
    let top = tier_values(&demand(), &capacity(), &policy).top;
    assert_eq!((top.cpu_shares, top.memory_max), (Some(4096), Some(Limit::At(8 * GI))));
    assert_eq!((top.pids_max, top.cpus), (Some(Limit::At(32_768)), None));
}

#[test]
fn row_23_2_reserved_cgroups_are_held_to_their_reservation() {
    let reserved = Reserved { cpu_millis: Some(500), memory_bytes: Some(GI), pids: Some(1000) };
    let whole = reserved_values(&reserved, Enforcement::Whole, false);
    assert_eq!(whole.cpu_shares, Some(512));
    assert_eq!((whole.memory_max, whole.pids_max), (Some(Limit::At(GI)), Some(Limit::At(1000))));
    assert_eq!(whole.memory_kept, None);
    let kept = reserved_values(&reserved, Enforcement::Whole, true).memory_kept;
    assert_eq!(kept, Some(Kept { min_bytes: GI, low_bytes: 0 }));
    let compressible = reserved_values(&reserved, Enforcement::Compressible, true);
    assert_eq!(compressible, Values { cpu_shares: Some(512), ..Values::default() });
    assert!(reserved_values(&Reserved::default(), Enforcement::Whole, true).is_empty());
}

#[test]
fn row_21_10_tiers_keep_what_their_pods_ask_for() {
    let with = |reservation| Policy {
        memory_qos: Some(MemoryQos { throttling_factor: 0.9, reservation }),
        ..reserving()
    };
    let kept = |values: &Values| values.memory_kept.map(|kept| (kept.min_bytes, kept.low_bytes));
    let tiered = tier_values(&demand(), &capacity(), &with(Reservation::Tiered));
    assert_eq!(kept(&tiered.top), Some((3 * GI + GI / 2, 0)));
    assert_eq!(kept(&tiered.burstable), Some((0, 2 * GI + GI / 2)));
    assert_eq!(kept(&tiered.best_effort), Some((0, 0)));
    let none = tier_values(&demand(), &capacity(), &with(Reservation::None));
    assert_eq!((kept(&none.top), kept(&none.burstable)), (Some((0, 0)), Some((0, 0))));
    assert_eq!(kept(&tier_values(&demand(), &capacity(), &reserving()).top), None);
}

#[test]
fn row_21_11_memory_of_better_tiers_is_held_back_by_percent() {
    let policy = Policy { qos_reserved_memory_percent: Some(50), ..reserving() };
    let values = tier_values(&demand(), &capacity(), &policy);
    assert_eq!(values.burstable.memory_max, Some(Limit::At(7 * GI - GI / 2)));
    assert_eq!(values.best_effort.memory_max, Some(Limit::At(7 * GI - GI / 2 - GI - GI / 4)));
}

proptest! {
    #[test]
    fn limits_of_tiers_never_exceed_the_top_and_fall_with_the_percentage(
        guaranteed in 0_u64..16 * GI, burstable in 0_u64..16 * GI, a in 0_u64..=100, b in 0_u64..=100,
    ) {
        let demand = Demand {
            burstable_cpu_millis: 0,
            burstable_memory_bytes: burstable,
            guaranteed_memory_bytes: guaranteed,
        };
        let limits = |percent| {
            let policy = Policy { qos_reserved_memory_percent: Some(percent), ..reserving() };
            let values = tier_values(&demand, &capacity(), &policy);
            [values.best_effort, values.burstable, values.top].map(|v| match v.memory_max {
                Some(Limit::At(bytes)) => bytes,
                _ => u64::MAX,
            })
        };
        let (less, more) = (limits(a.min(b)), limits(a.max(b)));
        prop_assert!(less.is_sorted() && more.is_sorted());
        prop_assert!(more[0] <= less[0] && more[1] <= less[1]);
    }
}
