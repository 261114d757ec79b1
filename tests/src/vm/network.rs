//! The network of a bed: nodes and this machine on one wire, and a second wire for the agents.
//!
//! The bridges lie in a network namespace of their own, so that neither a packet filter nor a routing table of this machine comes
//! between the nodes. This machine has one end of a veth to each of the two bridges in the namespace that it is in itself: a
//! test talks to nodes, and nodes to servers of a test, by plain sockets. The second wire stays whole when a test cuts the first.
//!
//! ```text
//! 10.80.0.0/13   cut into 128 blocks of /20, one a bed
//!   block 3:     10.80.48.0/20
//!     nodes      10.80.48.0/24   this machine is .1 (device nodeletvm3), node 1 is .11
//!     pods       10.80.49.0/24   of node 1, by way of that node
//!     agents     10.80.63.0/24   this machine is .1 (device nodeletvm3a), node 1 is .11
//! ```

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::process::Child;

use crate::command::{self, CommandError, command};
use crate::supervise::Identity;

use super::starter::Interface;

/// How many nodes a bed may have.
pub const MAX_NODES: usize = 8;
/// How many beds there may be on a machine.
pub(super) const BLOCKS: u8 = 128;
const AGENTS: u8 = 15;
const LIMIT: Duration = Duration::from_secs(30);
const INTERFACES: &str = "/sys/class/net";
/// What keeps the namespace: it says when it is there, and waits to be ended.
const HOLD: &str = "echo there; exec sleep infinity";

/// Why there is no network.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// No namespace.
    #[error("making a network namespace (needs root)")]
    Namespace(#[source] std::io::Error),
    /// `ip` failed.
    #[error("setting up the network {device} of virtual machines (needs root)")]
    Device {
        /// This machine's end.
        device: String,
        /// What went wrong.
        source: CommandError,
    },
}

/// Addresses of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    block: u8,
}

impl Addresses {
    /// Of block 0 to 127.
    pub(super) fn new(block: u8) -> Self {
        assert!(block < BLOCKS, "there are {BLOCKS} blocks");
        Self { block }
    }

    /// This machine's, for nodes and their pods.
    #[must_use]
    pub fn host(self) -> Ipv4Addr {
        self.address(0, 1)
    }

    /// A node's; they are counted from 1.
    #[must_use]
    pub fn node(self, node: usize) -> Ipv4Addr {
        self.address(0, 10 + number(node))
    }

    /// The range of a node's pods.
    #[must_use]
    pub fn pods(self, node: usize) -> String {
        format!("{}/24", self.address(number(node), 0))
    }

    /// A node's agent's.
    pub(super) fn agent(self, node: usize) -> Ipv4Addr {
        self.address(AGENTS, 10 + number(node))
    }

    fn agents_host(self) -> Ipv4Addr {
        self.address(AGENTS, 1)
    }

    fn address(self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 80 + self.block / 16, (self.block % 16) * 16 + third, fourth)
    }

    /// This machine's end of the nodes' wire.
    fn device(self) -> String {
        format!("nodeletvm{}", self.block)
    }

    fn agents_device(self) -> String {
        format!("{}a", self.device())
    }

    /// What a node's kernel is told, in a bed of so many.
    pub(super) fn arguments(self, node: usize, nodes: usize) -> Vec<String> {
        let others = (1..=nodes).filter(|other| *other != node);
        let routes: Vec<_> =
            others.map(|other| format!("{}={}", self.pods(other), self.node(other))).collect();
        let hosts: Vec<_> = (1..=nodes).map(|node| format!("{}={}", self.node(node), name(node))).collect();
        let mut words = vec![
            format!("nodelet.eth0={}/24,{}", self.node(node), self.host()),
            format!("nodelet.agent={}/24", self.agent(node)),
            format!("nodelet.pods={}", self.pods(node)),
            format!("nodelet.hosts={},{}=host", hosts.join(","), self.host()),
        ];
        if !routes.is_empty() {
            words.push(format!("nodelet.routes={}", routes.join(",")));
        }
        words
    }

    /// A node's ends of both wires.
    pub(super) fn interfaces(self, node: usize) -> Vec<Interface> {
        let interface = |device: String, address| Interface { device, mac: mac(address) };
        vec![interface(format!("e{node}"), self.node(node)), interface(format!("a{node}"), self.agent(node))]
    }
}

/// A node's host name.
pub(super) fn name(node: usize) -> String {
    format!("node{node}")
}

fn number(node: usize) -> u8 {
    assert!((1..=MAX_NODES).contains(&node), "nodes are counted from 1 to {MAX_NODES}");
    node as u8
}

/// A hardware address that follows from the other: nobody has to ask for it.
fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// A network that is up. It ends with the value, and with its last machine.
#[derive(Debug)]
pub struct Network {
    addresses: Addresses,
    holder: Child,
    pid: u32,
}

impl Network {
    /// Makes one with room for so many nodes.
    pub(super) async fn make(addresses: Addresses, nodes: usize) -> Result<Self, NetworkError> {
        let mut holder = command(Path::new("unshare"))
            .args(["--net", "sh", "-c", HOLD])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(NetworkError::Namespace)?;
        let mut said = holder.stdout.take().expect("it is piped");
        let read = tokio::time::timeout(LIMIT, said.read_u8()).await;
        read.unwrap_or_else(|late| Err(late.into())).map_err(NetworkError::Namespace)?;
        let pid =
            holder.id().ok_or_else(|| NetworkError::Namespace(std::io::Error::other("it has ended")))?;
        let network = Self { addresses, holder, pid };
        network.inside(&inside(nodes)).await?;
        network.remove_left().await;
        network.outside(&outside(addresses, nodes, pid)).await?;
        let joined = ["nodes", "agents"]
            .map(|bridge| format!("link set host-{bridge} addrgenmode none master {bridge} up"));
        network.inside(&joined).await?;
        Ok(network)
    }

    /// The addresses in it.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The process that keeps the namespace.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        Identity::of(self.pid)
    }

    /// Takes a node off the wire, or puts it back; its agent is reached all the same.
    ///
    /// # Errors
    /// `ip` failed.
    pub async fn set_connected(&self, node: usize, connected: bool) -> Result<(), NetworkError> {
        let state = if connected { "up" } else { "down" };
        self.inside(&[format!("link set b{} {state}", number(node))]).await
    }

    /// The kernel takes devices of a namespace away some time after its last process; the block is this bed's by now.
    async fn remove_left(&self) {
        for device in [self.addresses.device(), self.addresses.agents_device()] {
            if Path::new(INTERFACES).join(&device).exists() {
                // It may go by itself meanwhile. Making it anew tells if it does not.
                let _ = command::run(command(Path::new("ip")).args(["link", "delete", &device]), LIMIT).await;
            }
        }
    }

    async fn inside(&self, lines: &[String]) -> Result<(), NetworkError> {
        let mut ip = command(Path::new("nsenter"));
        ip.arg(format!("--net=/proc/{}/ns/net", self.pid)).args(["ip", "-batch", "-"]);
        self.batch(&mut ip, lines).await
    }

    async fn outside(&self, lines: &[String]) -> Result<(), NetworkError> {
        self.batch(command(Path::new("ip")).args(["-batch", "-"]), lines).await
    }

    async fn batch(&self, ip: &mut tokio::process::Command, lines: &[String]) -> Result<(), NetworkError> {
        let done = command::run_with(ip, &(lines.join("\n") + "\n"), LIMIT).await;
        done.map(drop).map_err(|source| NetworkError::Device { device: self.addresses.device(), source })
    }

    /// A link to the namespace, which ends with it.
    #[must_use]
    pub fn namespace(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It may have been ended by somebody else.
        let _ = self.holder.start_kill();
    }
}

/// Commands of `ip` within the namespace.
fn inside(nodes: usize) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    for bridge in ["nodes", "agents"] {
        // A port passes frames on as soon as it is up.
        lines.push(format!("link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"));
        lines.push(format!("link set {bridge} addrgenmode none up"));
    }
    for node in 1..=nodes {
        for (bridge, taken, port) in [("nodes", "e", "b"), ("agents", "a", "c")] {
            lines.push(format!("link add {taken}{node} type veth peer name {port}{node}"));
            lines.push(format!("link set {taken}{node} addrgenmode none up"));
            lines.push(format!("link set {port}{node} addrgenmode none master {bridge} up"));
        }
    }
    lines
}

/// Commands of `ip` on this machine.
fn outside(addresses: Addresses, nodes: usize, namespace: u32) -> Vec<String> {
    let mut lines = Vec::new();
    let wires = [
        (addresses.device(), "nodes", addresses.host()),
        (addresses.agents_device(), "agents", addresses.agents_host()),
    ];
    for (device, bridge, address) in wires {
        lines.push(format!("link add {device} type veth peer name host-{bridge} netns {namespace}"));
        lines.push(format!("link set {device} addrgenmode none up"));
        lines.push(format!("address add {address}/24 dev {device}"));
    }
    for node in 1..=nodes {
        let (agents, agent) = (addresses.agents_device(), addresses.agent(node));
        // Known beforehand: nobody waits for an answer of a node that has not booted yet.
        lines.push(format!("neighbour replace {agent} lladdr {} dev {agents} nud permanent", mac(agent)));
        lines.push(format!("route replace {} via {}", addresses.pods(node), addresses.node(node)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beds_and_nodes_have_addresses_apart_from_each_other() {
        let mut seen = std::collections::BTreeSet::new();
        for block in 0..BLOCKS {
            let addresses = Addresses::new(block);
            for node in 1..=MAX_NODES {
                for address in [addresses.node(node), addresses.agent(node)] {
                    assert!(seen.insert(address), "{address} twice");
                    assert!((80..88).contains(&address.octets()[1]), "{address} is outside");
                }
                assert!(!addresses.pods(node).starts_with(&addresses.host().to_string()));
            }
            assert!(seen.insert(addresses.host()) && seen.insert(addresses.agents_host()));
        }
    }

    #[test]
    fn names_of_devices_are_short_enough_for_the_kernel() {
        assert!(Addresses::new(BLOCKS - 1).agents_device().len() <= 15);
    }

    #[test]
    fn a_node_knows_the_pods_of_the_others_and_not_its_own() {
        let words = Addresses::new(17).arguments(2, 3);
        assert!(words.contains(&"nodelet.eth0=10.81.16.12/24,10.81.16.1".to_owned()), "{words:?}");
        assert!(
            words.contains(&"nodelet.routes=10.81.17.0/24=10.81.16.11,10.81.19.0/24=10.81.16.13".to_owned())
        );
        assert!(Addresses::new(17).arguments(1, 1).iter().all(|word| !word.contains("routes")));
    }
}
