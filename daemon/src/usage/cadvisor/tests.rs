use super::super::figures::{
    ContainerUsage, Cpu, DeviceIo, Fs, Interface, Io, Memory, Processes, Psi, SandboxUsage, Stall,
    SystemUsage, Throttling,
};
use super::*;

fn group(cgroup: &str) -> Group {
    let time = Timestamp::from_second(1000).unwrap();
    Group {
        cpu: Some(Cpu {
            time,
            usage_core_nanos: Some(1_500_000_000),
            throttling: Some(Throttling {
                quota_us: 50_000,
                period_us: 100_000,
                periods: 3,
                throttled_periods: 2,
                throttled_nanos: 1,
            }),
            psi: Some(Psi {
                some: Stall { total_micros: 4, avg10: 0.0, avg60: 0.0, avg300: 0.0 },
                full: None,
            }),
            ..Cpu::default()
        }),
        memory: Some(Memory { working_set: Some(64), page_faults: Some(7), ..Memory::at(time) }),
        io: Some(Io {
            time,
            devices: Some(vec![DeviceIo {
                major: 999,
                minor: 1,
                read_bytes: 5,
                written_bytes: 6,
                reads: 7,
                writes: 8,
            }]),
            psi: None,
        }),
        processes: Some(Processes { time, tasks: Some(4), processes: Some(2), limit: None }),
        cgroup: (!cgroup.is_empty()).then(|| cgroup.to_owned()),
        ..Group::default()
    }
}

fn scrape(known: bool) -> String {
    let at = |path: &str| group(if known { path } else { "" });
    let interface = Interface { name: "eth0".into(), rx_bytes: Some(9), ..Interface::default() };
    let time = Timestamp::from_second(1000).unwrap();
    let network = Network { time, default: None, interfaces: vec![interface] };
    let pod = PodUsage {
        namespace: "ns".into(),
        name: "p".into(),
        group: at("/kubepods/podu"),
        network: Some(network),
        sandbox: Some(SandboxUsage { id: "s1".into(), group: at("/kubepods/podu/s1") }),
        containers: vec![ContainerUsage {
            name: "c".into(),
            id: "c1".into(),
            image: "registry/image:1".into(),
            start_time: Timestamp::from_second(900).ok(),
            group: at("/kubepods/podu/c1"),
            ..ContainerUsage::default()
        }],
        ..PodUsage::default()
    };
    let shared = |name| SystemUsage { name, start_time: None, group: group("/system.slice/both.service") };
    let node = NodeUsage {
        group: at("/"),
        tiers: if known { vec![group("/kubepods")] } else { Vec::new() },
        fs: Some(Fs { time, used: Some(3), ..Fs::default() }),
        fs_device: Some("/dev/vda1".into()),
        system: if known { ["kubelet", "runtime", "misc"].map(shared).into() } else { Vec::new() },
        ..NodeUsage::default()
    };
    let machine = Machine { cpus: 2, memory_bytes: 1024, boot_id: "b".into(), ..Machine::default() };
    let scrape = Scrape::new(Arc::new(node), Arc::new(vec![pod]), Arc::new(machine));
    scrape.map(|chunk| String::from_utf8(chunk.to_vec()).unwrap()).collect()
}

fn assert_has(text: &str, line: &str) {
    assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
}

#[test]
fn row_44_6_samples_have_the_names_and_labels_that_dashboards_know() {
    let text = scrape(true);
    let labels = "container=\"c\",id=\"/kubepods/podu/c1\",image=\"registry/image:1\",name=\"c1\",namespace=\"ns\",pod=\"p\"";
    assert_has(&text, &format!("container_cpu_usage_seconds_total{{{labels},cpu=\"total\"}} 1.5 1000000"));
    assert_has(&text, &format!("container_memory_working_set_bytes{{{labels}}} 64 1000000"));
    assert_has(&text, &format!("container_cpu_cfs_throttled_seconds_total{{{labels}}} 0.000000001 1000000"));
    assert_has(&text, &format!("container_spec_cpu_quota{{{labels}}} 50000 1000000"));
    assert_has(&text, &format!("container_spec_memory_limit_bytes{{{labels}}} 0 1000000"));
    assert_has(&text, &format!("container_start_time_seconds{{{labels}}} 900 1000000"));
    assert_has(&text, &format!("container_fs_reads_total{{{labels},device=\"\"}} 7 1000000"));
    let faults = "failure_type=\"pgfault\",scope=\"hierarchy\"";
    assert_has(&text, &format!("container_memory_failures_total{{{labels},{faults}}} 7 1000000"));
    let blocks = "device=\"\",major=\"999\",minor=\"1\",operation=\"Write\"";
    assert_has(&text, &format!("container_blkio_device_usage_total{{{labels},{blocks}}} 6 1000000"));
    let pod = "container=\"\",id=\"/kubepods/podu\",image=\"\",name=\"\",namespace=\"ns\",pod=\"p\"";
    assert_has(&text, &format!("container_memory_working_set_bytes{{{pod}}} 64 1000000"));
    let sandbox = "container=\"\",id=\"/kubepods/podu/s1\",image=\"\",name=\"s1\",namespace=\"ns\",pod=\"p\"";
    assert_has(
        &text,
        &format!("container_network_receive_bytes_total{{{sandbox},interface=\"eth0\"}} 9 1000000"),
    );
    let tier = "container=\"\",id=\"/kubepods\",image=\"\",name=\"\",namespace=\"\",pod=\"\"";
    assert_has(&text, &format!("container_threads{{{tier}}} 4 1000000"));
    let root = "container=\"\",id=\"/\",image=\"\",name=\"\",namespace=\"\",pod=\"\"";
    assert_has(&text, &format!("container_fs_usage_bytes{{{root},device=\"/dev/vda1\"}} 3 1000000"));
    assert_has(&text, "machine_cpu_cores{boot_id=\"b\",machine_id=\"\",system_uuid=\"\"} 2");
    assert_has(&text, "container_scrape_error 0");
    assert_has(&text, &format!("container_pressure_cpu_waiting_seconds_total{{{tier}}} 0.000004 1000000"));
    assert!(!text.contains("container_pressure_cpu_stalled"), "the kernel does not say it");
    let both =
        "container=\"\",id=\"/system.slice/both.service\",image=\"\",name=\"\",namespace=\"\",pod=\"\"";
    assert_has(&text, &format!("container_threads{{{both}}} 4 1000000"));
    assert!(!text.contains("container_memory_rss"), "nobody knows it");
}

#[test]
fn every_sample_has_a_name_of_its_own_below_one_heading_and_none_is_there_twice() {
    for known in [true, false] {
        let text = scrape(known);
        let mut headings = std::collections::HashSet::new();
        let mut series = std::collections::HashSet::new();
        let mut current = "";
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("# TYPE ") {
                current = heading.split(' ').next().unwrap();
                assert!(headings.insert(current), "{current} has two headings");
            } else if !line.starts_with('#') {
                let series_of = line.rsplit_once('}').map_or(line, |(series, _)| series);
                assert_eq!(line.split(['{', ' ']).next(), Some(current), "{line}");
                assert!(series.insert(series_of), "{line} is there twice");
            }
        }
    }
}

#[test]
fn where_figures_are_the_runtimes_limits_are_unknown() {
    let text = scrape(false);
    assert!(text.contains("container_memory_working_set_bytes{container=\"c\",id=\"\""), "{text}");
    assert!(!text.contains("container_spec_memory_limit_bytes"), "{text}");
}
