//! Which processors: lists as the kernel writes them, and the bit mask that systemd takes.

/// The most processors that a list may name: what a kernel can be built for.
const MAX_CPUS: u32 = 8192;

/// The processors of a list such as `0-3,8`, ascending; none where it is no list.
pub fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MAX_CPUS {
            return None;
        }
        cpus.extend(first..=last);
        // A long list of ranges must not grow without end.
        if cpus.len() > 2 * MAX_CPUS as usize {
            cpus.sort_unstable();
            cpus.dedup();
        }
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

/// `AllowedCPUs` of systemd: one bit for each processor, the lowest in the first byte.
pub(crate) fn bit_mask(cpus: &[u32]) -> Vec<u8> {
    let bytes = cpus.iter().max().map_or(0, |last| last / 8 + 1);
    let mut mask = vec![0_u8; bytes.min(MAX_CPUS / 8) as usize];
    for cpu in cpus {
        if let Some(byte) = mask.get_mut(*cpu as usize / 8) {
            *byte |= 1 << (cpu % 8);
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_list("\n"), Some(vec![]));
        assert_eq!(parse_list("2,0-1,1"), Some(vec![0, 1, 2]));
        for wrong in ["a", "3-1", "-1", "1-", "9000", "0-4294967295"] {
            assert_eq!(parse_list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_mask_has_a_bit_for_each_processor() {
        assert_eq!(bit_mask(&[0]), [1]);
        assert_eq!(bit_mask(&[0, 1, 2, 3, 8]), [0b1111, 1]);
        assert_eq!(bit_mask(&[]), [0_u8; 0]);
    }

    #[test]
    fn any_text_is_a_bounded_list_or_none() {
        bolero::check!().with_type::<String>().for_each(|text| {
            if let Some(cpus) = parse_list(text) {
                assert!(cpus.len() <= MAX_CPUS as usize && cpus.is_sorted());
                assert!(bit_mask(&cpus).len() <= MAX_CPUS as usize / 8);
            }
        });
    }
}
