//! What `/stats/summary` says, as far as it is shown. What is not known is not there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Use is a rate over a second at least, which takes two looks; between them where there was none before.
pub(super) const SECOND_LOOK: Duration = Duration::from_millis(1200);

/// The node and its pods.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Summary {
    pub(super) node: Node,
    pub(super) pods: Vec<Pod>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Node {
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fs: Option<Disk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runtime: Option<Runtime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rlimit: Option<Rlimit>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Runtime {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_fs: Option<Disk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container_fs: Option<Disk>,
}

/// Processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Rlimit {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) maxpid: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) curproc: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Pod {
    pub(super) pod_ref: PodRef,
    pub(super) containers: Vec<Container>,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    pub(super) io: Io,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct PodRef {
    pub(super) uid: String,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    pub(super) io: Io,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Cpu {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage_nano_cores: Option<u64>,
    #[serde(skip_serializing)]
    pub(super) psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Memory {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) working_set_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) available_bytes: Option<u64>,
    #[serde(skip_serializing)]
    pub(super) psi: Option<Psi>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Io {
    pub(super) psi: Option<Psi>,
}

/// A file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Disk {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) capacity_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) available_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inodes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inodes_free: Option<u64>,
}

/// How long processes waited for a resource: at least one of them, and all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Psi {
    pub(super) some: Stall,
    pub(super) full: Stall,
}

/// Shares of the last seconds, in percent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Stall {
    pub(super) avg10: f64,
    pub(super) avg60: f64,
    pub(super) avg300: f64,
}

impl Psi {
    /// The text of a file of /proc/pressure, whatever of it can be understood.
    pub(super) fn parse(text: &str) -> Self {
        let stall = |kind: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
            let value = |name: &str| {
                let word =
                    line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
                word.and_then(|value| value.parse().ok()).unwrap_or_default()
            };
            Stall { avg10: value("avg10"), avg60: value("avg60"), avg300: value("avg300") }
        };
        Self { some: stall("some"), full: stall("full") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pressure_file_is_read_and_nonsense_is_no_pressure() {
        let text = "some avg10=1.50 avg60=0.20 avg300=0.03 total=12345\nfull avg10=0.00 avg60=0.10 avg300=0.00 total=9\n";
        let psi = Psi::parse(text);
        assert_eq!((psi.some.avg10, psi.some.avg300, psi.full.avg60), (1.5, 0.03, 0.1));
        assert_eq!(Psi::parse("x\n\nsome avg10"), Psi::default());
    }

    #[test]
    fn what_is_not_known_is_not_there() {
        let summary: Summary = serde_json::from_str("{\"pods\":[{\"podRef\":{\"uid\":\"u\"}}]}").unwrap();
        assert_eq!(summary.pods[0].pod_ref.uid, "u");
        assert_eq!(summary.pods[0].cpu.usage_nano_cores, None);
        assert_eq!(serde_json::to_string(&summary.node).unwrap(), "{\"cpu\":{},\"memory\":{}}");
    }
}
