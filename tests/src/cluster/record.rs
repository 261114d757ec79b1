//! What a cluster's directory remembers between runs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cache::CacheError;
use crate::network::Network;
use crate::supervise::Identity;

/// `cluster.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// Number of its block of addresses and ports.
    pub(crate) block: Option<u8>,
    /// Of each listener by its name, so that a second run has the same.
    pub(crate) ports: BTreeMap<String, u16>,
    /// The most nodes that there have been.
    pub(crate) nodes: usize,
    /// Who has the cluster up; absent when nobody has.
    pub(crate) supervisor: Option<Identity>,
    /// A setting of the kernel before this cluster raised it.
    pub(crate) inotify_instances: Option<u32>,
    /// The client that fits.
    pub(crate) kubectl: Option<std::path::PathBuf>,
}

impl Record {
    /// What is remembered; nothing where there is no file or none that can be read.
    pub(crate) fn read(path: &Path) -> Self {
        std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Replaces the file in one step.
    pub(crate) fn write(&self, path: &Path) -> Result<(), CacheError> {
        let unfinished = path.with_extension("new");
        let text = serde_json::to_vec_pretty(self).expect("numbers and names can be written");
        std::fs::write(&unfinished, text).map_err(CacheError::file("writing", &unfinished))?;
        std::fs::rename(&unfinished, path).map_err(CacheError::file("replacing", path))
    }

    /// The port of a listener: the one that it had, else the usual one, else a free one of the cluster's own.
    ///
    /// Only the cluster with the first block has the usual ones: of two that start at once neither can see yet which port
    /// the other is about to take.
    pub(crate) fn port(&mut self, network: &Network, name: &str, usual: u16) -> Result<u16, CacheError> {
        if self.block.replace(network.block()) != Some(network.block()) {
            self.ports.clear();
        }
        let taken: Vec<u16> =
            self.ports.iter().filter(|(other, _)| *other != name).map(|(_, port)| *port).collect();
        let had = self.ports.get(name).copied();
        let usual = Some(usual).filter(|_| network.block() == 0);
        let mut candidates = had.into_iter().chain(usual).chain(network.ports());
        let port = candidates.find(|port| !taken.contains(port) && is_free(*port)).ok_or_else(|| {
            let none = std::io::Error::from(std::io::ErrorKind::AddrInUse);
            CacheError::file("finding a free port on", Path::new("127.0.0.1"))(none)
        })?;
        self.ports.insert(name.to_owned(), port);
        Ok(port)
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_somebody_else_has_is_not_chosen_and_a_chosen_one_is_kept() {
        let network = Network::with_block(0);
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("port");
        let usual = other.local_addr().expect("address").port();
        let mut record = Record::default();
        let chosen = record.port(&network, "apiserver", usual).expect("port");
        assert!(network.ports().contains(&chosen), "{chosen}");
        drop(other);
        assert_eq!(record.port(&network, "apiserver", usual).expect("port"), chosen);
        assert_ne!(record.port(&network, "scheduler", chosen).expect("port"), chosen);
    }

    #[test]
    fn with_another_block_the_ports_are_others_and_never_the_usual_ones() {
        let mut record = Record::default();
        record.port(&Network::with_block(1), "apiserver", 6443).expect("port");
        let network = Network::with_block(2);
        let chosen = record.port(&network, "apiserver", 6443).expect("port");
        assert!(network.ports().contains(&chosen), "{chosen}");
    }

    #[test]
    fn a_file_that_is_damaged_is_as_none() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("cluster.json");
        std::fs::write(&path, "{\"ports\": 3").expect("file");
        assert!(Record::read(&path).ports.is_empty());
    }
}
