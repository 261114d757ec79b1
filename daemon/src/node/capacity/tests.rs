use super::*;

fn machine() -> Machine {
    Machine {
        cpus: 2,
        memory_bytes: 24_684_084 * 1024,
        huge_pages: [(2 << 20, 0), (1 << 30, 0)].into(),
        ..Machine::default()
    }
}

const DISK: u64 = 264_212_084 * 1024;

fn texts(amounts: &BTreeMap<String, Quantity>) -> Vec<(String, String)> {
    amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[test]
fn the_recorded_kubelets_figures_come_out() {
    let config = Config { max_pods: 250, ..Config::default() };
    let Resources { capacity, allocatable } = resources(&machine(), DISK, &config, false).unwrap();
    assert_eq!(
        texts(&capacity),
        pairs(&[
            ("cpu", "2"),
            ("ephemeral-storage", "264212084Ki"),
            ("hugepages-1Gi", "0"),
            ("hugepages-2Mi", "0"),
            ("memory", "24684084Ki"),
            ("pods", "250"),
        ])
    );
    assert_eq!(
        texts(&allocatable),
        pairs(&[
            ("cpu", "2"),
            ("ephemeral-storage", "243497856212"),
            ("hugepages-1Gi", "0"),
            ("hugepages-2Mi", "0"),
            ("memory", "24581684Ki"),
            ("pods", "250"),
        ])
    );
}

#[test]
fn reservations_thresholds_and_huge_pages_are_taken_off() {
    let amounts = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<BTreeMap<_, _>>()
    };
    let config = Config {
        system_reserved: amounts(&[("cpu", "100m"), ("memory", "1Gi")]),
        kube_reserved: amounts(&[("cpu", "150m"), ("memory", "1Gi"), ("ephemeral-storage", "1Gi")]),
        eviction_hard: amounts(&[("memory.available", "1Gi")]),
        pods_per_core: 10,
        ..Config::default()
    };
    let machine = Machine {
        cpus: 4,
        memory_bytes: 16 << 30,
        huge_pages: [(2 << 20, 1 << 30)].into(),
        ..Machine::default()
    };
    let found = resources(&machine, 10 << 30, &config, false).unwrap();
    let of = |name: &str| found.allocatable[name].to_string();
    assert_eq!(
        (of("cpu").as_str(), of("memory").as_str(), of("ephemeral-storage").as_str(), of("pods").as_str()),
        ("3750m", "12Gi", "9Gi", "40")
    );
    assert_eq!(
        resources(&machine, 10 << 30, &config, true).unwrap().allocatable["memory"].to_string(),
        "13Gi"
    );
    let with_cpus = Config { reserved_system_cpus: "0-1".into(), ..config.clone() };
    assert_eq!(resources(&machine, 10 << 30, &with_cpus, false).unwrap().allocatable["cpu"].to_string(), "2");
    let beyond = Config { reserved_system_cpus: "4".into(), ..config.clone() };
    let message = resources(&machine, 10 << 30, &beyond, false).unwrap_err().to_string();
    assert!(message.starts_with("reservedSystemCPUs: 4 names processors"), "{message}");
    let too_much = Config { kube_reserved: amounts(&[("memory", "17Gi")]), ..config };
    let message = resources(&machine, 10 << 30, &too_much, false).unwrap_err().to_string();
    assert!(message.starts_with("memory: 18Gi is reserved"), "{message}");
}
