//! In-place resize of a pod's cgroup: what is written before the containers are resized and what after
//! (behaviour.md 27.6).

use crate::cpu::CpuMax;
use crate::memory::{Kept, Limit};
use crate::values::Values;

/// Which resource is resized; memory goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `memory.max`, and what is kept from reclaim.
    Memory,
    /// Weight and `cpu.max`.
    Cpu,
}

/// The two writes around the containers' resize. Either may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodResize {
    /// What grows: the pod has to have it before a container is given it.
    pub before: Values,
    /// What shrinks: no container may have more than the pod.
    pub after: Values,
}

/// What to write to the pod's cgroup, which holds `held`, so that it holds `wanted` of one resource. What is the same is
/// not written.
pub fn pod_resize(held: &Values, wanted: &Values, resource: Resource) -> PodResize {
    let mut resize = PodResize::default();
    match resource {
        Resource::Memory => {
            let kept = |values: &Values| values.memory_kept;
            sort(
                &mut resize,
                held,
                wanted,
                |v| v.memory_max.unwrap_or(Limit::Max),
                Limit::is_above,
                |to, v| {
                    to.memory_max = Some(v);
                },
            );
            let more = |new: Option<Kept>, old: Option<Kept>| {
                let (new, old) = (new.unwrap_or_default(), old.unwrap_or_default());
                new.min_bytes.saturating_add(new.low_bytes) > old.min_bytes.saturating_add(old.low_bytes)
            };
            sort(&mut resize, held, wanted, kept, more, |to, v| to.memory_kept = v);
        }
        Resource::Cpu => {
            let quota = |values: &Values| values.cpu_max.unwrap_or(NO_QUOTA);
            sort(&mut resize, held, wanted, quota, is_more_time, |to, v| to.cpu_max = Some(v));
            let shares = |values: &Values| values.cpu_shares;
            sort(&mut resize, held, wanted, shares, |new, old| new > old, |to, v| to.cpu_shares = v);
        }
    }
    resize
}

const NO_QUOTA: CpuMax = CpuMax { quota_us: None, period_us: crate::cpu::DEFAULT_CPU_PERIOD_US };

fn is_more_time(new: CpuMax, old: CpuMax) -> bool {
    match (new.quota_us, old.quota_us) {
        (None, _) => true,
        (Some(_), None) => false,
        // Quotas of unequal periods are compared as shares of a processor.
        (Some(new_quota), Some(old_quota)) => {
            u128::from(new_quota) * u128::from(old.period_us)
                > u128::from(old_quota) * u128::from(new.period_us)
        }
    }
}

fn sort<T: Copy + PartialEq>(
    resize: &mut PodResize,
    held: &Values,
    wanted: &Values,
    get: impl Fn(&Values) -> T,
    is_more: impl Fn(T, T) -> bool,
    set: impl Fn(&mut Values, T),
) {
    let (old, new) = (get(held), get(wanted));
    if old != new {
        set(if is_more(new, old) { &mut resize.before } else { &mut resize.after }, new);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(shares: u64, quota_us: Option<u64>, memory: Option<u64>) -> Values {
        Values {
            cpu_shares: Some(shares),
            cpu_max: quota_us.map(|quota| CpuMax { quota_us: Some(quota), period_us: 100_000 }),
            memory_max: memory.map(Limit::At),
            ..Values::default()
        }
    }

    #[test]
    fn row_27_6_limits_grow_before_the_containers_and_shrink_after_them() {
        let (small, large) = (values(100, Some(10_000), Some(64)), values(200, Some(20_000), Some(128)));
        let up = pod_resize(&small, &large, Resource::Memory);
        assert_eq!((up.before.memory_max, up.after.is_empty()), (Some(Limit::At(128)), true));
        let down = pod_resize(&large, &small, Resource::Memory);
        assert_eq!((down.before.is_empty(), down.after.memory_max), (true, Some(Limit::At(64))));
        let up = pod_resize(&small, &large, Resource::Cpu);
        assert_eq!((up.before.cpu_shares, up.before.cpu_max), (Some(200), large.cpu_max));
        assert!(up.after.is_empty() && up.before.memory_max.is_none());
    }

    #[test]
    fn a_quota_may_grow_while_the_weight_shrinks() {
        let resize =
            pod_resize(&values(200, Some(10_000), None), &values(100, Some(20_000), None), Resource::Cpu);
        assert_eq!((resize.before.cpu_shares, resize.before.cpu_max.unwrap().quota_us), (None, Some(20_000)));
        assert_eq!((resize.after.cpu_shares, resize.after.cpu_max), (Some(100), None));
    }

    #[test]
    fn a_limit_that_goes_away_is_taken_away_first_and_a_new_one_comes_last() {
        let (limited, free) = (values(2, Some(10_000), Some(64)), values(2, None, None));
        assert_eq!(pod_resize(&limited, &free, Resource::Memory).before.memory_max, Some(Limit::Max));
        assert_eq!(pod_resize(&limited, &free, Resource::Cpu).before.cpu_max, Some(NO_QUOTA));
        assert_eq!(pod_resize(&free, &limited, Resource::Cpu).after.cpu_max, limited.cpu_max);
    }

    proptest! {
        #[test]
        fn both_writes_together_are_the_whole_difference(
            a in (2_u64..500, proptest::option::of(1000_u64..99_000), proptest::option::of(1_u64..999)),
            b in (2_u64..500, proptest::option::of(1000_u64..99_000), proptest::option::of(1_u64..999)),
        ) {
            let (held, wanted) = (values(a.0, a.1, a.2), values(b.0, b.1, b.2));
            let mut now = held.clone();
            for resource in [Resource::Memory, Resource::Cpu] {
                let resize = pod_resize(&held, &wanted, resource);
                for part in [resize.before, resize.after] {
                    now.cpu_shares = part.cpu_shares.or(now.cpu_shares);
                    now.cpu_max = part.cpu_max.or(now.cpu_max);
                    now.memory_max = part.memory_max.or(now.memory_max);
                }
            }
            prop_assert_eq!(now.cpu_shares, wanted.cpu_shares);
            prop_assert_eq!(now.cpu_max.unwrap_or(NO_QUOTA), wanted.cpu_max.unwrap_or(NO_QUOTA));
            prop_assert_eq!(now.memory_max.unwrap_or(Limit::Max), wanted.memory_max.unwrap_or(Limit::Max));
        }
    }
}
