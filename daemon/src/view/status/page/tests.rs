use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use super::*;
use crate::logging::recent::Said;
use crate::overview::{Amounts, Condition, Overview, Pods};
use crate::view::summary::{Node, Psi};

fn at(second: i64) -> Timestamp {
    Timestamp::constant(1_800_000_000, 0) + jiff::SignedDuration::from_secs(second)
}

fn node() -> Shown {
    let amounts = |capacity: &str, allocatable: &str, requested: &str| Amounts {
        capacity: capacity.to_owned(),
        allocatable: allocatable.to_owned(),
        requested: requested.to_owned(),
    };
    let overview = Overview {
        now: at(0),
        node: Own {
            name: "n1".to_owned(),
            addresses: vec!["10.0.0.1".to_owned(), "fd00::1".to_owned()],
            machine_id: "abc".to_owned(),
            os_image: "Debian GNU/Linux 13".to_owned(),
            kernel_version: "6.12.1".to_owned(),
            architecture: "amd64".to_owned(),
            ..Own::default()
        },
        daemon: Daemon {
            version: "v1.36.2+nodelet.0.1.0".to_owned(),
            process: 7,
            started: at(-200),
            config: "/etc/nodelet/config.yaml".to_owned(),
            root_dir: PathBuf::from("/var/lib/kubelet"),
            ..Daemon::default()
        },
        conditions: vec![
            Condition {
                kind: "MemoryPressure".to_owned(),
                status: "False".to_owned(),
                since: Some(at(-180)),
                reason: "KubeletHasSufficientMemory".to_owned(),
                message: "kubelet has sufficient memory available".to_owned(),
            },
            Condition { kind: "Ready".to_owned(), status: "True".to_owned(), ..Condition::default() },
        ],
        resources: BTreeMap::from([
            ("cpu".to_owned(), amounts("2", "1900m", "950m")),
            ("memory".to_owned(), amounts("4Gi", "3Gi", "0")),
            ("pods".to_owned(), amounts("110", "110", "11")),
            ("ephemeral-storage".to_owned(), amounts("100Gi", "90Gi", "0")),
            ("hugepages-2Mi".to_owned(), amounts("0", "0", "0")),
        ]),
        pods: Pods { total: 12, running: 11 },
        runtime: Runtime {
            name: "containerd".to_owned(),
            version: "2.1.0".to_owned(),
            endpoint: "unix:///run/containerd/containerd.sock".to_owned(),
            answered: Some(at(-3)),
            ..Runtime::default()
        },
        certificates: vec![Certificate {
            name: "serving".to_owned(),
            path: PathBuf::from("/var/lib/kubelet/pki/kubelet.crt"),
            until: Some(at(30 * 86_400)),
            problem: None,
        }],
        api_server: None,
        said: vec![],
    };
    let usage = Node {
        fs: Some(Disk {
            capacity_bytes: Some(100 << 30),
            available_bytes: Some(75 << 30),
            inodes: Some(1000),
            inodes_free: Some(900),
        }),
        ..serde_json::from_value(json!({
            "cpu": { "usageNanoCores": 500_000_000_u64 },
            "memory": { "workingSetBytes": 1 << 30 },
        }))
        .unwrap()
    };
    let some =
        "some avg10=1.50 avg60=0.00 avg300=0.25 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    Shown { overview, usage: Some(usage), pressure: BTreeMap::from([("memory", Psi::parse(some))]) }
}

#[test]
fn a_node_that_is_well_is_shown_on_a_page() {
    let expected = "\
Node         n1
Machine      Debian GNU/Linux 13, Linux 6.12.1, amd64, id abc
Addresses    10.0.0.1, fd00::1
Daemon       nodelet v1.36.2+nodelet.0.1.0, process 7, up 3m20s
Configured   /etc/nodelet/config.yaml; state in /var/lib/kubelet
Health       ok
Runtime      containerd 2.1.0 at unix:///run/containerd/containerd.sock: ready, network ready, answered 3s ago
API server   none: this node runs its static pods alone

CONDITION        STATUS   SINCE   REASON                       MESSAGE
MemoryPressure   False    3m      KubeletHasSufficientMemory   kubelet has sufficient memory available
Ready            True     -

RESOURCE            CAPACITY   ALLOCATABLE   REQUESTED    USED
cpu                 2          1900m         950m (50%)   500m (25%)
memory              4.0Gi      3.0Gi         0 (0%)       1.0Gi (25%)
pods                110        110           11 (10%)     12 here, 11 running
ephemeral-storage   100Gi      90Gi          0 (0%)       25Gi (25%)

FILE SYSTEM   SIZE    AVAILABLE    INODES   FREE
node          100Gi   75Gi (75%)   1000     900 (90%)

PRESSURE   SOME 10S     1M     5M   ALL 10S     1M     5M
memory         1.5%   0.0%   0.2%      0.0%   0.0%   0.0%

CERTIFICATE   ENDS                           FILE
serving       2027-02-14 08:00 UTC, in 30d   /var/lib/kubelet/pki/kubelet.crt

No warning and no error has been logged since the start.
";
    let shown = page(&node());
    assert_eq!(shown, expected, "\n{shown}");
}

#[test]
fn what_is_wrong_catches_the_eye_and_what_is_not_known_is_not_made_up() {
    let mut shown = node();
    shown.usage = None;
    shown.pressure.clear();
    let overview = &mut shown.overview;
    overview.daemon.ill = Some("the tasks of the pods have not answered".to_owned());
    overview.runtime.not_ready = Some("refused".to_owned());
    overview.runtime.answered = None;
    overview.certificates[0].until = Some(at(-7200));
    overview.api_server = Some(ApiServer {
        address: "https://10.0.0.9:6443/".to_owned(),
        answered: Some(at(-90)),
        failed: Some(at(-5)),
        failure: "connection refused".to_owned(),
        ..ApiServer::default()
    });
    overview.said = vec![
        Said { at: at(-60), is_error: false, times: 1, line: "first".to_owned() },
        Said { at: at(-10), is_error: true, times: 4, line: "second\x1b[2J".to_owned() },
    ];
    let text = page(&shown);
    for part in [
        "Health       NOT WELL: the tasks of the pods have not answered\n",
        ": NOT READY: refused\n",
        "https://10.0.0.9:6443/: NOT REACHABLE, last answer 90s ago, last error 5s ago: connection refused\n",
        ", ENDED 120m ago ",
        "cpu                 2          1900m         950m (50%)   -\n",
        "Last warnings and errors:\n  10s ago  error    second [2J (4 times)\n  60s ago  warning  first\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains("PRESSURE ") && !text.contains("FILE SYSTEM"), "{text}");
    assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
}
