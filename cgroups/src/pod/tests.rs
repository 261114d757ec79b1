use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::memory::{MemoryQos, Reservation};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap()
}

fn one(requests: Value, limits: Value) -> Value {
    json!({"containers": [{"name": "a", "resources": {"requests": requests, "limits": limits}}]})
}

fn full(cpu: &str, memory: &str) -> Pod {
    let both = json!({"cpu": cpu, "memory": memory});
    pod(one(both.clone(), both))
}

fn values(pod: &Pod, policy: &Policy) -> Values {
    pod_values(pod, &Capacity::default(), policy, false)
}

#[test]
fn row_21_5_the_configured_period_is_used_and_quotas_can_be_switched_off() {
    let policy = Policy { cpu_period_us: Some(10_000), ..Policy::default() };
    let quota = |quota_us, period_us| Some(CpuMax { quota_us, period_us });
    assert_eq!(values(&full("1500m", "1Gi"), &policy).cpu_max, quota(Some(15_000), 10_000));
    let off = Policy { cpu_period_us: None, ..Policy::default() };
    assert_eq!(values(&full("1500m", "1Gi"), &off).cpu_max, quota(None, 100_000));
    let exclusive = pod_values(&full("2", "1Gi"), &Capacity::default(), &Policy::default(), true);
    assert_eq!((exclusive.cpu_max, exclusive.cpu_shares), (quota(None, 100_000), Some(2048)));
}

#[test]
fn row_21_6_a_limit_of_the_pod_stands_where_a_container_has_none() {
    let spec = json!({
        "resources": {"limits": {"memory": "1Gi"}},
        "containers": [{"name": "a", "resources": {"limits": {"cpu": "1"}}}, {"name": "b"}],
    });
    let values = values(&pod(spec), &Policy::default());
    assert_eq!((values.memory_max, values.cpu_max), (Some(Limit::At(1 << 30)), None));
}

#[test]
fn row_21_7_huge_pages_are_limited_for_every_size_of_the_node() {
    let capacity = Capacity { huge_pages: [(2 << 20, 64 << 20), (1 << 30, 0)].into(), ..Capacity::default() };
    let huge = json!({"hugepages-2Mi": "4Mi", "memory": "1Gi"});
    let spec = json!({"containers": [
        {"name": "a", "resources": {"requests": huge, "limits": huge}},
        {"name": "b"},
    ]});
    let values = pod_values(&pod(spec), &capacity, &Policy::default(), false);
    assert_eq!(values.huge_pages, [(2 << 20, 4 << 20), (1 << 30, 0)].into());
    let none = pod_values(&pod(one(json!({}), json!({}))), &capacity, &Policy::default(), false);
    assert_eq!(none.huge_pages, [(2 << 20, 0), (1 << 30, 0)].into());
}

#[test]
fn row_21_10_requests_are_kept_from_reclaim_by_class_and_zeros_are_written_without_a_policy() {
    let with = |reservation| Policy {
        memory_qos: Some(MemoryQos { throttling_factor: 0.9, reservation }),
        ..Policy::default()
    };
    let burstable = pod(one(json!({"memory": "1Mi"}), json!({})));
    let kept = |pod: &Pod, reservation| {
        let kept = values(pod, &with(reservation)).memory_kept.unwrap();
        (kept.min_bytes, kept.low_bytes)
    };
    assert_eq!(kept(&full("1", "1Mi"), Reservation::Tiered), (1 << 20, 0));
    assert_eq!(kept(&burstable, Reservation::Tiered), (0, 1 << 20));
    assert_eq!(kept(&burstable, Reservation::None), (0, 0));
    assert_eq!(values(&burstable, &Policy::default()).memory_kept, None);
}

#[test]
fn row_7_15_overhead_gives_a_besteffort_pod_no_more_time() {
    let mut spec = one(json!({}), json!({}));
    spec["overhead"] = json!({"cpu": "1", "memory": "1Gi"});
    let values = values(&pod(spec), &Policy::default());
    assert_eq!(values, Values { cpu_shares: Some(2), ..Values::default() });
}

proptest! {
    /// Whatever is asked for, the values are such as the kernel takes; and more never gets less.
    #[test]
    fn values_are_within_the_kernels_bounds_and_grow_with_the_request(
        a in 0_u64..400_000_000, more in 0_u64..400_000_000, memory in 0_u64..1 << 50, period in 1000_u64..=1_000_000,
    ) {
        let policy = Policy { cpu_period_us: Some(period), ..Policy::default() };
        let of = |millis: u64| {
            let asked = json!({"cpu": format!("{millis}m"), "memory": memory.to_string()});
            values(&pod(one(asked.clone(), asked)), &policy)
        };
        let (low, high) = (of(a), of(a + more));
        for v in [&low, &high] {
            prop_assert!((2..=262_144).contains(&v.cpu_shares.unwrap()));
            if let Some(CpuMax { quota_us: Some(quota), .. }) = v.cpu_max {
                prop_assert!(quota >= 1000);
            }
            prop_assert!(v.memory_max != Some(Limit::At(0)), "a limit of nothing kills the pod");
        }
        prop_assert!(low.cpu_shares <= high.cpu_shares);
        if let (Some(low), Some(high)) = (low.cpu_max, high.cpu_max) {
            prop_assert!(low.quota_us <= high.quota_us);
        }
    }
}
