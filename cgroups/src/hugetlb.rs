//! Huge pages: names of the files and limits for every page size (behaviour.md 21.7).

use std::collections::BTreeMap;

use podspec::ResourceList;

/// What tiers are allowed: as good as no limit, and small enough for every kernel to take.
pub(crate) const UNBOUNDED_BYTES: u64 = 1 << 62;
const PREFIX: &str = "hugepages-";

/// Bytes by page size in bytes.
pub type HugePages = BTreeMap<u64, u64>;

/// How the kernel and the runtime spell a page size: `2MB`, `1GB`, `64KB`.
pub(crate) fn page_size_name(page_bytes: u64) -> String {
    match page_bytes {
        size if size >= 1 << 30 => format!("{}GB", size >> 30),
        size if size >= 1 << 20 => format!("{}MB", size >> 20),
        size => format!("{}KB", size >> 10),
    }
}

/// The file of the limit for pages of this size.
pub(crate) fn limit_file(page_bytes: u64) -> String {
    format!("hugetlb.{}.max", page_size_name(page_bytes))
}

/// The limit for every page size of the node: what `limits` says (resources `hugepages-2Mi` and the like), 0 where it
/// says nothing. Sizes that the node does not have are left out: there is no file for them.
pub(crate) fn limits(limits: &ResourceList, node_sizes: impl IntoIterator<Item = u64>) -> HugePages {
    let wanted: HugePages = limits
        .iter()
        .filter_map(|(name, amount)| {
            let size: podspec::Quantity = name.strip_prefix(PREFIX)?.parse().ok()?;
            Some((u64::try_from(size.value()).ok()?, u64::try_from(amount.value()).unwrap_or(0)))
        })
        .collect();
    node_sizes.into_iter().map(|size| (size, wanted.get(&size).copied().unwrap_or(0))).collect()
}

/// The same limit for every page size of the node.
pub(crate) fn everywhere(node_sizes: impl IntoIterator<Item = u64>, limit_bytes: u64) -> HugePages {
    node_sizes.into_iter().map(|size| (size, limit_bytes)).collect()
}

#[cfg(test)]
mod tests {
    use podspec::Quantity;

    use super::*;

    #[test]
    fn row_21_7_every_page_size_has_a_limit_and_unknown_ones_have_none() {
        let asked: ResourceList = [("hugepages-2Mi", "64Mi"), ("hugepages-32Mi", "64Mi"), ("memory", "1Gi")]
            .map(|(name, amount)| (name.to_owned(), amount.parse::<Quantity>().unwrap()))
            .into();
        let all = limits(&asked, [2 << 20, 1 << 30]);
        assert_eq!(all, [(2 << 20, 64 << 20), (1 << 30, 0)].into());
        assert_eq!(everywhere([2 << 20], UNBOUNDED_BYTES), [(2 << 20, 4_611_686_018_427_387_904)].into());
    }

    #[test]
    fn sizes_are_spelt_as_the_kernel_spells_its_files() {
        let names = [64 << 10, 2 << 20, 32 << 20, 1 << 30, 16 << 30].map(page_size_name);
        assert_eq!(names, ["64KB", "2MB", "32MB", "1GB", "16GB"]);
        assert_eq!(limit_file(2 << 20), "hugetlb.2MB.max");
    }
}
