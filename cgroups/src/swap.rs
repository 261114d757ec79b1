//! Swap: what containers may use of it (behaviour.md 28.2 to 28.4).

/// `memorySwap.swapBehavior`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwapBehavior {
    /// None, for any container.
    #[default]
    NoSwap,
    /// Burstable pods get a share by their containers' memory requests.
    LimitedSwap,
}

/// `memory.swap.max` in bytes of a container that is eligible: of the node's swap the share that its request is of the
/// node's memory; 0 where it asks for more memory than there is.
pub fn swap_limit_bytes(request_bytes: u64, node_memory_bytes: u64, node_swap_bytes: u64) -> u64 {
    if node_memory_bytes == 0 || request_bytes > node_memory_bytes {
        return 0;
    }
    // In floating point and cut, as a kubelet does it: the last digits are then the same.
    (request_bytes as f64 / node_memory_bytes as f64 * node_swap_bytes as f64) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn row_28_4_the_share_of_swap_is_the_share_of_memory() {
        assert_eq!(swap_limit_bytes(1 << 30, 4 << 30, 2 << 30), 512 << 20);
        assert_eq!(swap_limit_bytes(100, 300, 1000), 333);
        assert_eq!(swap_limit_bytes(5, 4, 1000), 0);
        assert_eq!(swap_limit_bytes(0, 4, 1000), 0);
        assert_eq!(swap_limit_bytes(4, 0, 1000), 0);
    }

    proptest! {
        #[test]
        fn nobody_gets_more_than_there_is_and_more_memory_is_never_less_swap(
            a in 0_u64..1 << 44, b in 0_u64..1 << 44, node in 1_u64..1 << 44, swap in 0_u64..1 << 44,
        ) {
            let (low, high) = (a.min(b).min(node), a.max(b).min(node));
            prop_assert!(swap_limit_bytes(low, node, swap) <= swap_limit_bytes(high, node, swap));
            prop_assert!(swap_limit_bytes(high, node, swap) <= swap);
        }
    }
}
