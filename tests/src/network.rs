//! The network of a cluster: one bridge on this machine, and a range of addresses for each node.
//!
//! The bridge is the claim. Its name tells which of the blocks below is taken, its alias tells by whom, and the kernel lets
//! only one process make it. All nodes of a cluster share the bridge, so that their pods reach each other without routing;
//! nothing leads out of the machine.
//!
//! ```text
//! 10.88.0.0/13   cut into 128 blocks of /20, one a cluster
//!   block 3:     10.88.48.0/20 on bridge nodelet3
//!     node 0:    10.88.48.1, its pods 10.88.48.2 to .254
//!     node 1:    10.88.49.1, its pods 10.88.49.2 to .254
//! ```

use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;

use crate::command::{self, CommandError, command};
use crate::machine;

/// How many nodes have a range in a block.
pub const MAX_NODES: usize = 16;
const BLOCKS: u8 = 128;
/// Ports that a block has. All lie below those that the kernel gives to outgoing connections, so that no connection holds
/// one of them.
const PORTS: u16 = 64;
const FIRST_PORT: u16 = 20_000;
const INTERFACES: &str = "/sys/class/net";
const PREFIX: &str = "nodelet";
const LIMIT: Duration = Duration::from_secs(30);

/// Why a cluster gets no network.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// All are taken.
    #[error("all {BLOCKS} bridges ({PREFIX}0 and so on) are there already")]
    NoBlock,
    /// `ip` failed.
    #[error("setting up bridge {bridge} (needs root and the program ip of package iproute2)")]
    Bridge {
        /// Its name.
        bridge: String,
        /// What went wrong.
        source: CommandError,
    },
}

/// A claimed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    block: u8,
}

impl Network {
    /// Takes the block that this owner has already, else the one that it had, else a free one, and gives the bridge the
    /// addresses of the nodes.
    pub(crate) async fn claim(owner: &str, nodes: usize, had: Option<u8>) -> Result<Self, NetworkError> {
        let network = match Self::of(owner) {
            Some(network) => network,
            None => Self::make(owner, had).await?,
        };
        for node in 0..nodes {
            let address = format!("{}/20", network.node_ip(node));
            network.ip(&["address", "replace", &address, "dev", &network.bridge()]).await?;
        }
        network.ip(&["link", "set", &network.bridge(), "up"]).await?;
        Ok(network)
    }

    /// The block that this owner has.
    pub(crate) fn of(owner: &str) -> Option<Self> {
        (0..BLOCKS).map(|block| Self { block }).find(|network| network.owner().as_deref() == Some(owner))
    }

    /// Whether any cluster has a bridge on this machine.
    pub(crate) fn any() -> bool {
        (0..BLOCKS).any(|block| Self { block }.exists())
    }

    /// Gives it back.
    pub(crate) async fn release(self) -> Result<(), NetworkError> {
        self.ip(&["link", "delete", &self.bridge()]).await
    }

    async fn make(owner: &str, had: Option<u8>) -> Result<Self, NetworkError> {
        for block in had.filter(|block| *block < BLOCKS).into_iter().chain(0..BLOCKS) {
            let network = Self { block };
            let bridge = network.bridge();
            if network.exists() {
                continue;
            }
            match network.ip(&["link", "add", &bridge, "type", "bridge"]).await {
                Ok(()) => {
                    network.ip(&["link", "set", &bridge, "alias", owner]).await?;
                    return Ok(network);
                }
                // Somebody else was quicker.
                Err(_) if network.exists() => {}
                Err(error) => return Err(error),
            }
        }
        Err(NetworkError::NoBlock)
    }

    #[cfg(test)]
    pub(crate) fn with_block(block: u8) -> Self {
        Self { block }
    }

    /// Its number, 0 to 127.
    pub(crate) fn block(&self) -> u8 {
        self.block
    }

    /// Ports of this machine that no other cluster takes.
    pub(crate) fn ports(&self) -> Range<u16> {
        let first = FIRST_PORT + u16::from(self.block) * PORTS;
        first..first + PORTS
    }

    /// Name of the bridge.
    #[must_use]
    pub fn bridge(&self) -> String {
        format!("{PREFIX}{}", self.block)
    }

    /// Address of a node, which is the gateway of its pods too.
    #[must_use]
    pub fn node_ip(&self, node: usize) -> Ipv4Addr {
        let [a, b, c] = self.range(node);
        Ipv4Addr::new(a, b, c, 1)
    }

    /// What the bridge plugin is told for a node. Leases are kept in `leases`.
    pub(crate) fn cni(&self, name: &str, node: usize, leases: &Path) -> Value {
        let [a, b, c] = self.range(node);
        let gateway = self.node_ip(node);
        let [d, e, f] = self.range(0);
        let mut plugins = vec![json!({
            "type": "bridge",
            "bridge": self.bridge(),
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "dataDir": leases,
                "ranges": [[{
                    "subnet": format!("{d}.{e}.{f}.0/20"),
                    "rangeStart": format!("{a}.{b}.{c}.2"),
                    "rangeEnd": format!("{a}.{b}.{c}.254"),
                    "gateway": gateway,
                }]],
                "routes": [{ "dst": "0.0.0.0/0", "gw": gateway }],
            },
        })];
        if machine::has_packet_filter() {
            plugins.push(json!({ "type": "portmap", "capabilities": { "portMappings": true } }));
        }
        json!({ "cniVersion": "1.0.0", "name": name, "plugins": plugins })
    }

    fn range(&self, node: usize) -> [u8; 3] {
        assert!(node < MAX_NODES, "a cluster has at most {MAX_NODES} nodes");
        [10, 88 + self.block / 16, (self.block % 16) * 16 + node as u8]
    }

    fn exists(&self) -> bool {
        Path::new(INTERFACES).join(self.bridge()).exists()
    }

    fn owner(&self) -> Option<String> {
        let alias =
            std::fs::read_to_string(Path::new(INTERFACES).join(self.bridge()).join("ifalias")).ok()?;
        Some(alias.trim().to_owned())
    }

    async fn ip(&self, arguments: &[&str]) -> Result<(), NetworkError> {
        let done = command::run(command(Path::new("ip")).args(arguments), LIMIT).await;
        done.map(drop).map_err(|source| NetworkError::Bridge { bridge: self.bridge(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_and_nodes_have_addresses_apart_from_each_other() {
        let mut seen = std::collections::BTreeSet::new();
        for block in 0..BLOCKS {
            for node in 0..MAX_NODES {
                let ip = Network { block }.node_ip(node);
                assert!(seen.insert(ip), "{ip} twice");
                assert!((88..96).contains(&ip.octets()[1]), "{ip} is outside");
            }
        }
    }

    #[test]
    fn clusters_have_ports_apart_from_each_other_and_from_outgoing_connections() {
        let mut last = 0;
        for block in 0..BLOCKS {
            let ports = Network { block }.ports();
            assert!(last <= ports.start && ports.end <= 30_000, "{ports:?}");
            last = ports.end;
        }
    }

    #[test]
    fn a_pod_gets_an_address_of_its_nodes_range_and_its_node_as_gateway() {
        let cni = Network { block: 17 }.cni("n", 2, Path::new("/leases"));
        let ipam = &cni["plugins"][0]["ipam"];
        assert_eq!(ipam["ranges"][0][0]["subnet"], "10.89.16.0/20");
        assert_eq!(ipam["ranges"][0][0]["rangeStart"], "10.89.18.2");
        assert_eq!(ipam["routes"][0]["gw"], "10.89.18.1");
    }
}
