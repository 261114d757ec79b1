//! What went over the network, as `/proc/PID/net/dev` has it for the namespace of a process.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::bounded::read;
use super::figures::{Interface, Network};

/// What a pod's own interface is called by every network plugin.
const POD_INTERFACE: &str = "eth0";
/// Interfaces of one namespace that are taken in.
const MAX_INTERFACES: usize = 256;
/// Names of interfaces that lead to pods and nowhere else, as a kubelet leaves them out.
const INSIDE: [&str; 4] = ["lo", "veth", "docker", "nerdctl"];

/// The network of the pod whose sandbox has this process.
///
/// # Errors
/// The process is gone.
pub(super) fn of_process(proc: &Path, pid: u32) -> io::Result<Network> {
    let text = read(&proc.join(pid.to_string()).join("net/dev"))?;
    let (time, interfaces) = (Timestamp::now(), interfaces(&text));
    let default = interfaces.iter().find(|i| i.name == POD_INTERFACE).map(|i| i.name.clone());
    Ok(Network { time, default, interfaces })
}

/// The node's own.
///
/// # Errors
/// It cannot be read.
pub(super) fn of_node(proc: &Path) -> io::Result<Network> {
    // What `/proc/net` leads to, of the thread's namespace.
    let interfaces = interfaces(&read(&proc.join("self/net/dev"))?);
    let routes = read(&proc.join("self/net/route")).unwrap_or_default();
    let way_out = default_route(&routes);
    let named = |name: &str| interfaces.iter().find(|i| i.name == name).map(|i| i.name.clone());
    let default = way_out.and_then(named).or_else(|| named(POD_INTERFACE));
    Ok(Network { time: Timestamp::now(), default, interfaces })
}

/// The interface of the first default route in `/proc/net/route`.
fn default_route(routes: &str) -> Option<&str> {
    routes.lines().skip(1).find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let name = columns.next()?;
        let (destination, mask) = (columns.next()?, columns.nth(5)?);
        (destination == "00000000" && mask == "00000000").then_some(name)
    })
}

/// The lines of a `net/dev` that are no interfaces of the inside.
fn interfaces(text: &str) -> Vec<Interface> {
    let lines = text.lines().filter_map(|line| {
        let (name, figures) = line.split_once(':')?;
        let name = name.trim();
        let figures: Vec<u64> = figures.split_ascii_whitespace().map_while(|f| f.parse().ok()).collect();
        if name.is_empty() || INSIDE.iter().any(|begin| name.starts_with(begin)) || figures.is_empty() {
            return None;
        }
        let figure = |at: usize| figures.get(at).copied();
        Some(Interface {
            name: name.to_owned(),
            rx_bytes: figure(0),
            rx_packets: figure(1),
            rx_errors: figure(2),
            rx_dropped: figure(3),
            tx_bytes: figure(8),
            tx_packets: figure(9),
            tx_errors: figure(10),
            tx_dropped: figure(11),
        })
    });
    lines.take(MAX_INTERFACES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 2000 20 1 2 0 0 0 0 3000 30 3 4 0 0 0 0
  sit0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
veth12:       9       9    0    0    0     0          0         0        9       9    0    0    0     0       0          0
";

    #[test]
    fn the_interfaces_of_a_namespace_are_read_without_its_inside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("7/net")).unwrap();
        std::fs::write(dir.path().join("7/net/dev"), RECORDED).unwrap();
        let network = of_process(dir.path(), 7).unwrap();
        let names: Vec<_> = network.interfaces.iter().map(|i| i.name.as_str()).collect();
        assert_eq!((names, network.default.as_deref()), (vec!["eth0", "sit0"], Some("eth0")));
        let eth0 = &network.interfaces[0];
        assert_eq!(
            (eth0.rx_bytes, eth0.rx_packets, eth0.rx_errors, eth0.rx_dropped),
            (Some(2000), Some(20), Some(1), Some(2))
        );
        assert_eq!(
            (eth0.tx_bytes, eth0.tx_packets, eth0.tx_errors, eth0.tx_dropped),
            (Some(3000), Some(30), Some(3), Some(4))
        );
        assert!(of_process(dir.path(), 8).is_err());
    }

    #[test]
    fn the_nodes_interface_is_the_one_of_the_default_route() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                      br0\t0000580A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                      sit0\t00000000\t0100400A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(default_route(routes), Some("sit0"));
        assert_eq!(default_route(""), None);
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            let _ = (interfaces(&text), default_route(&text));
        });
    }
}
