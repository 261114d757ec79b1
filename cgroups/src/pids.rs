//! Processes: what `pids.max` is told (behaviour.md 21.8).

/// The limit of each pod as `podPidsLimit` says; zero and less are none.
pub(crate) fn pod_limit(pod_pids_limit: i64) -> Option<u64> {
    u64::try_from(pod_pids_limit).ok().filter(|limit| *limit > 0)
}

/// How many tasks the node can have: the smaller of `kernel.pid_max` and `kernel.threads-max`, as their files say.
pub fn node_capacity(pid_max: &str, threads_max: &str) -> Option<u64> {
    let numbers = [pid_max, threads_max].map(|text| text.trim().parse::<u64>().ok().filter(|n| *n > 0));
    numbers.into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_21_8_only_a_positive_number_limits_a_pod() {
        assert_eq!([-1, 0, 1, 500].map(pod_limit), [None, None, Some(1), Some(500)]);
    }

    #[test]
    fn the_node_has_the_smaller_of_the_kernels_two_limits() {
        assert_eq!(node_capacity("4194304\n", "12071\n"), Some(12_071));
        assert_eq!(node_capacity("32768\n", "12071000\n"), Some(32_768));
        assert_eq!(node_capacity("", "7"), Some(7));
        assert_eq!(node_capacity("x", ""), None);
    }
}
