use proptest::prelude::*;

use super::*;

fn full() -> Values {
    Values {
        cpu_shares: Some(204),
        cpu_max: Some(CpuMax { quota_us: Some(30_000), period_us: 100_000 }),
        memory_max: Some(Limit::At(100_663_296)),
        memory_kept: Some(Kept { min_bytes: 0, low_bytes: 4096 }),
        pids_max: Some(Limit::At(500)),
        huge_pages: [(2 << 20, 0)].into(),
        cpus: Some(vec![0, 1, 2, 3, 8]),
    }
}

#[test]
fn each_value_has_its_file() {
    let lines: Vec<String> = full().settings().iter().map(|s| format!("{}={}", s.file, s.content)).collect();
    assert_eq!(
        lines,
        [
            "cpuset.cpus=0-3,8",
            "cpu.weight=8",
            "cpu.max=30000 100000",
            "memory.min=0",
            "memory.low=4096",
            "memory.max=100663296",
            "pids.max=500",
            "hugetlb.2MB.max=0",
        ]
    );
    assert!(Values::default().settings().is_empty() && Values::default().is_empty());
    assert_eq!(Values::reduced().settings()[0].content, "1");
}

#[test]
fn each_value_that_systemd_knows_has_its_property() {
    let all: Vec<(&str, PropertyValue)> =
        full().properties().into_iter().map(|p| (p.name, p.value)).collect();
    let number = PropertyValue::Number;
    assert_eq!(
        all,
        [
            ("AllowedCPUs", PropertyValue::Mask(vec![0b1111, 1])),
            ("CPUWeight", number(8)),
            ("CPUQuotaPeriodUSec", number(100_000)),
            ("CPUQuotaPerSecUSec", number(300_000)),
            ("MemoryMin", number(0)),
            ("MemoryLow", number(4096)),
            ("MemoryMax", number(100_663_296)),
            ("TasksMax", number(500)),
        ]
    );
}

#[test]
fn no_limit_is_the_kernels_max_and_systemds_infinity() {
    let values = Values { memory_max: Some(Limit::Max), pids_max: Some(Limit::Max), ..Values::default() };
    assert!(values.settings().iter().all(|s| s.content == "max"));
    assert!(values.properties().iter().all(|p| p.value == PropertyValue::Number(u64::MAX)));
}

proptest! {
    #[test]
    fn a_list_of_processors_is_read_again_as_it_was(cpus in proptest::collection::btree_set(0_u32..300, 0..40)) {
        let cpus: Vec<u32> = cpus.into_iter().collect();
        prop_assert_eq!(cpuset::parse_list(&list(&cpus)), Some(cpus));
    }
}
