use super::*;
use crate::pods::{Container, ContainerUsage, EmptyDir, Usage};

fn quantity(text: &str) -> Quantity {
    text.parse().unwrap()
}

fn bytes(bytes: u64) -> Disk {
    Disk { bytes, inodes: 1 }
}

/// A container `c` with 30 bytes of layer and 30 of logs, an emptyDir `d` with 40 on disk and `m` with 50 in memory.
fn candidate() -> Candidate {
    let container = ContainerUsage { memory: None, layer: Some(bytes(30)), logs: Some(bytes(30)) };
    Candidate {
        uid: "u".to_owned(),
        containers: vec![Container { name: "c".to_owned(), ..Container::default() }],
        usage: Some(Usage {
            containers: [("c".to_owned(), container)].into(),
            empty_dirs: [
                ("d".to_owned(), EmptyDir { used: bytes(40), in_memory: false }),
                ("m".to_owned(), EmptyDir { used: bytes(50), in_memory: true }),
            ]
            .into(),
            other_volumes: bytes(1),
            ..Usage::default()
        }),
        ..Candidate::default()
    }
}

fn says(pod: &Candidate, layout: Layout) -> Option<(Limit, String)> {
    exceeded(pod, layout)
}

#[test]
fn row_30_2_an_empty_dir_of_any_medium_may_not_exceed_its_size() {
    for (name, limit, too_much) in
        [("d", "40", false), ("d", "39", true), ("m", "49", true), ("x", "1", false)]
    {
        let pod = Candidate { size_limits: vec![(name.to_owned(), quantity(limit))], ..candidate() };
        let expected = too_much.then_some(Limit::EmptyDir);
        assert_eq!(says(&pod, Layout::default()).map(|(limit, _)| limit), expected, "{name} {limit}");
    }
    let pod = Candidate { size_limits: vec![("d".to_owned(), quantity("10"))], ..candidate() };
    let (_, message) = says(&pod, Layout::default()).unwrap();
    assert_eq!(message, "Usage of EmptyDir volume \"d\" exceeds the limit \"10\". It uses 40. ");
}

#[test]
fn row_30_3_a_containers_layer_and_logs_count_but_not_a_layer_elsewhere() {
    let with = |limit: &str| {
        let mut pod = candidate();
        pod.containers[0].storage_limit = Some(quantity(limit));
        pod
    };
    let elsewhere = Layout { images: Filesystem::Image, containers: Filesystem::Image };
    assert_eq!(says(&with("60"), Layout::default()), None);
    let (limit, message) = says(&with("59"), Layout::default()).unwrap();
    assert_eq!(limit, Limit::Container);
    assert_eq!(message, "Container c exceeded its local ephemeral storage limit \"59\". It uses 60. ");
    assert_eq!(says(&with("30"), elsewhere), None);
    assert!(says(&with("29"), elsewhere).is_some());
}

#[test]
fn row_30_4_a_pods_disk_is_its_containers_dirs_and_files_without_what_is_in_memory() {
    let with = |limit: &str| Candidate { storage_limit: Some(quantity(limit)), ..candidate() };
    assert_eq!(says(&with("101"), Layout::default()), None);
    let (limit, message) = says(&with("100"), Layout::default()).unwrap();
    assert_eq!(limit, Limit::Pod);
    let expected =
        "Pod ephemeral local storage usage exceeds the total limit of containers 100. It uses 101. ";
    assert_eq!(message, expected);
    let critical = Candidate { critical: true, ..with("1") };
    assert_eq!(says(&critical, Layout::default()), None);
    let unknown = Candidate { usage: None, ..with("1") };
    assert_eq!(says(&unknown, Layout::default()), None);
}
