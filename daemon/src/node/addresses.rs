//! Where the node is reached. behaviour.md 32.6.
//!
//! Order of choice: `--node-ip`; the name, if it is an address; what the name resolves to, if an interface has it; the
//! interface of the default route. An external cloud provider is told what `--node-ip` says, in an annotation, and knows the
//! addresses: those that the object has already stay, and without `--node-ip` there is only the name until then.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::NodeAddress;

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// No address can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("node IP {0} is {1}; set --node-ip to an address of an interface")]
    Unusable(IpAddr, &'static str),
    #[error("node IP {0} is on no interface of this machine")]
    NotHere(IpAddr),
    #[error(
        "no address found for node {0:?}: neither its name nor the default route's interface has one; set --node-ip"
    )]
    None(String),
}

/// What the machine has: interfaces' addresses, those of the default route's interface, what the name resolves to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Surroundings {
    interfaces: BTreeSet<IpAddr>,
    default_route: Vec<IpAddr>,
    resolved: Vec<IpAddr>,
}

/// The node's addresses now. `node_ips` are the values of `--node-ip`.
///
/// # Errors
/// A given address cannot be used, or none can be found.
pub async fn node_addresses(
    node_name: &str,
    node_ips: &[IpAddr],
    external_cloud: bool,
) -> Result<Vec<NodeAddress>, AddressError> {
    let given = specified(node_ips).next().is_some();
    let explicit = given || node_name.parse::<IpAddr>().is_ok();
    let mut surroundings = Surroundings { interfaces: interface_addresses(None), ..Surroundings::default() };
    let left_to_cloud = external_cloud && !given;
    if !explicit && !left_to_cloud {
        let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((node_name, 0))).await;
        if let Ok(Ok(found)) = lookup {
            surroundings.resolved = found.map(|socket| socket.ip()).collect();
        }
        if let Some(interface) = default_interface() {
            surroundings.default_route = interface_addresses(Some(&interface)).into_iter().collect();
        }
    }
    choose(node_name, node_ips, external_cloud, &surroundings)
}

/// What of `--node-ip` is an address, and not only the wish for a family.
pub(super) fn specified(node_ips: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    node_ips.iter().copied().filter(|ip| !ip.is_unspecified())
}

fn choose(
    node_name: &str,
    node_ips: &[IpAddr],
    external_cloud: bool,
    around: &Surroundings,
) -> Result<Vec<NodeAddress>, AddressError> {
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    let hostname = address("Hostname", node_name.to_owned());
    let given: Vec<IpAddr> = specified(node_ips).collect();
    if external_cloud && given.is_empty() {
        return Ok(vec![hostname]);
    }
    let ips = if !given.is_empty() {
        for ip in &given {
            usable(*ip).map_err(|what| AddressError::Unusable(*ip, what))?;
            if !around.interfaces.contains(ip) {
                return Err(AddressError::NotHere(*ip));
            }
        }
        given
    } else if let Ok(ip) = node_name.parse::<IpAddr>() {
        usable(ip).map_err(|what| AddressError::Unusable(ip, what))?;
        vec![ip]
    } else {
        let prefers_v6 = node_ips.iter().any(IpAddr::is_ipv6);
        let here = |ip: &&IpAddr| usable(**ip).is_ok() && around.interfaces.contains(ip);
        let of_family = |ips: &[IpAddr]| {
            let candidates: Vec<IpAddr> = ips.iter().filter(here).copied().collect();
            candidates.iter().find(|ip| ip.is_ipv6() == prefers_v6).or(candidates.first()).copied()
        };
        let found = of_family(&around.resolved).or_else(|| of_family(&around.default_route));
        vec![found.ok_or_else(|| AddressError::None(node_name.to_owned()))?]
    };
    let mut addresses: Vec<NodeAddress> =
        ips.iter().map(|ip| address("InternalIP", ip.to_string())).collect();
    addresses.push(hostname);
    Ok(addresses)
}

fn usable(ip: IpAddr) -> Result<(), &'static str> {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    match () {
        () if ip.is_loopback() => Err("a loopback address"),
        () if ip.is_multicast() => Err("a multicast address"),
        () if link_local => Err("a link-local address"),
        () if ip.is_unspecified() => Err("unspecified"),
        () => Ok(()),
    }
}

/// Addresses of all interfaces, or of one.
fn interface_addresses(name: Option<&str>) -> BTreeSet<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return BTreeSet::new() };
    interfaces
        .filter(|interface| name.is_none_or(|name| interface.interface_name == name))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect()
}

/// The interface of the default route, IPv4 first.
fn default_interface() -> Option<String> {
    let v4 = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let v6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    default_in_v4(&v4).or_else(|| default_in_v6(&v6))
}

/// Columns: interface, destination, gateway, flags, ..., mask.
fn default_in_v4(table: &str) -> Option<String> {
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_default = columns.get(1) == Some(&"00000000") && columns.get(7) == Some(&"00000000");
        is_default.then(|| columns.first().map(|name| (*name).to_owned())).flatten()
    })
}

/// Columns: destination, its prefix length, ..., interface.
fn default_in_v6(table: &str) -> Option<String> {
    table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_default = columns.first().is_some_and(|address| address.bytes().all(|b| b == b'0'))
            && columns.get(1) == Some(&"00");
        columns.last().filter(|name| is_default && **name != "lo").map(|name| (*name).to_owned())
    })
}

#[cfg(test)]
mod tests;
