//! Facts from the machine. Nothing is decided here, nothing is changed, and nothing is waited for long.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cgroups::{Mount, mount_at};
use cri_client::{Client, Timeouts, v1};
use jiff::Timestamp;
use nix::sys::statvfs::{FsFlags, statvfs};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::checks::SYSCTLS;
use super::facts::{
    Answer, Cgroups, Clock, Configuration, Directory, Disk, Facts, Host, Owner, Port, RootDir, Runtime, Space,
};
use crate::cause::chain;
use crate::config::Config;
use crate::flags::Flags;
use crate::kubeconfig;
use crate::node::name::node_name;
use crate::overview;
use crate::server;

const CGROUPS: &str = "/sys/fs/cgroup";
/// Where network plugins put their configuration, unless the runtime is told otherwise.
const NETWORK_CONFIGURATIONS: &str = "/etc/cni/net.d";
/// Of each call to a runtime, a bus or a server.
const PATIENCE: Duration = Duration::from_secs(5);
/// What keeps clocks right, as the kernel names processes: 15 characters.
const CLOCK_SERVICES: [(&str, &str); 4] = [
    ("systemd-timesyn", "systemd-timesyncd"),
    ("chronyd", "chronyd"),
    ("ntpd", "ntpd"),
    ("openntpd", "openntpd"),
];
/// State of a socket that listens, in /proc/net/tcp.
const LISTENS: &str = "0A";

/// Everything that the checks look at.
pub(super) async fn facts(flags: &Flags, daemon: Option<i32>) -> Facts {
    let configuration = configuration(flags);
    let config = &configuration.config;
    let runtime = runtime(&config.container_runtime_endpoint).await;
    let images = image_directory(&config.container_runtime_endpoint).await;
    let requested = config.server_tls_bootstrap && flags.kubeconfig.is_some();
    let serving = server::certificate_path(config, &flags.cert_dir, requested);
    let serving = config.enable_server.then_some(serving);
    let process = daemon.and_then(|process| u32::try_from(process).ok());
    Facts {
        now: Timestamp::now(),
        daemon: process,
        is_root: nix::unistd::geteuid().is_root(),
        kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
        cgroups: cgroups(Path::new(CGROUPS)),
        pressure: Path::new("/proc/pressure/memory").exists(),
        overlay: text("/proc/filesystems")
            .is_some_and(|all| all.lines().any(|line| line.ends_with("\toverlay"))),
        seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        sysctls: SYSCTLS.iter().map(|path| (*path, sysctl(path))).collect(),
        threads: threads(),
        swap: swap(),
        clock: Clock { is_synchronized: synchronized().await, service: clock_service() },
        disks: disks(&flags.root_dir, images, Path::new(&config.pod_logs_dir)),
        ports: ports(config, process),
        host: host(flags.hostname_override.clone()).await,
        root_dir: RootDir { path: flags.root_dir.clone(), found: directory(&flags.root_dir) },
        certificates: overview::certificates(flags.kubeconfig.as_deref(), serving.as_deref()).await,
        runtime,
        api_server: match &flags.kubeconfig {
            Some(path) => api_server(path).await,
            None => None,
        },
        configuration,
    }
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn sysctl(path: &str) -> Option<u64> {
    text(Path::new("/proc/sys").join(path))?.parse().ok()
}

fn configuration(flags: &Flags) -> Configuration {
    let given = [&flags.config, &flags.config_dir].into_iter().flatten();
    let given: Vec<String> = given.map(|path| path.display().to_string()).collect();
    let from =
        if given.is_empty() { "none is given: the defaults hold".to_owned() } else { given.join(" and ") };
    match flags.load_config() {
        Ok(loaded) => Configuration { from, config: loaded.config, error: None, warnings: loaded.warnings },
        Err(error) => Configuration { from, error: Some(chain(&error)), ..Configuration::default() },
    }
}

fn cgroups(mount: &Path) -> Cgroups {
    let is_unified = match mount_at(mount) {
        Ok(Mount::Unified) => Ok(()),
        Ok(Mount::Other(magic)) => Err(format!("a file system of type {magic:#x}")),
        Err(error) => Err(chain(&error)),
    };
    let controllers = text(mount.join("cgroup.controllers")).unwrap_or_default();
    let controllers = controllers.split_whitespace().map(str::to_owned).collect();
    Cgroups { is_unified: Some(is_unified), controllers }
}

/// The fourth word of /proc/loadavg is `RUNNABLE/ALL`.
fn threads() -> Option<u64> {
    text("/proc/loadavg")?.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

fn swap() -> Vec<String> {
    let swaps = text("/proc/swaps").unwrap_or_default();
    let names = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

/// What the kernel knows of it, by systemd's word: no file tells it.
async fn synchronized() -> Option<bool> {
    let ask = async {
        let bus = zbus::Connection::system().await.ok()?;
        let name = ("org.freedesktop.timedate1", "NTPSynchronized");
        let answer = bus
            .call_method(
                Some("org.freedesktop.timedate1"),
                "/org/freedesktop/timedate1",
                Some("org.freedesktop.DBus.Properties"),
                "Get",
                &name,
            )
            .await
            .ok()?;
        let value: zbus::zvariant::OwnedValue = answer.body().deserialize().ok()?;
        bool::try_from(value).ok()
    };
    timeout(PATIENCE, ask).await.ok().flatten()
}

fn processes() -> impl Iterator<Item = (u32, PathBuf)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn clock_service() -> Option<String> {
    let names = processes().filter_map(|(_, path)| text(path.join("comm")));
    let known = |name: String| CLOCK_SERVICES.iter().find(|(short, _)| *short == name);
    names.filter_map(known).map(|(_, name)| (*name).to_owned()).next()
}

fn disks(root_dir: &Path, images: Option<PathBuf>, logs: &Path) -> Vec<Disk> {
    let wanted =
        [("nodefs", Some(root_dir.to_owned())), ("imagefs", images), ("logs", Some(logs.to_owned()))];
    let mut seen = Vec::new();
    let mut disks = Vec::new();
    for (name, path) in wanted.into_iter().filter_map(|(name, path)| Some((name, path?))) {
        // What is not there yet will lie where its parent does.
        let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned();
        let device = fs::metadata(&there).map(|found| found.dev()).ok();
        if name != "nodefs" && device.is_some() && seen.contains(&device) {
            continue;
        }
        seen.push(device);
        let space =
            statvfs(&there).map_err(|error| format!("{}: {error}", there.display())).map(|found| Space {
                available: found.blocks_available() * found.fragment_size(),
                capacity: found.blocks() * found.fragment_size(),
                inodes_free: found.files_available(),
                inodes: found.files(),
            });
        disks.push(Disk { name, path, space });
    }
    disks
}

fn ports(config: &Config, daemon: Option<u32>) -> Vec<Port> {
    let wanted = [
        (config.enable_server, &config.address, config.port, "port"),
        (true, &config.healthz_bind_address, config.healthz_port, "healthzPort"),
        (true, &config.address, config.read_only_port, "readOnlyPort"),
    ];
    let wanted = wanted.into_iter().filter(|(is_on, _, number, _)| *is_on && *number != 0);
    let wanted = wanted.filter_map(|(_, address, number, setting)| {
        Some((SocketAddr::new(address.parse().ok()?, u16::try_from(number).ok()?), setting))
    });
    let tables = [text("/proc/net/tcp"), text("/proc/net/tcp6")].map(Option::unwrap_or_default);
    let listening: Vec<_> = tables.iter().flat_map(|table| listening(table)).collect();
    let taken = |wanted: SocketAddr| {
        let theirs = listening.iter().filter(|(address, _)| are_in_each_others_way(wanted, *address));
        let mut owners: Vec<Owner> = theirs.map(|(_, inode)| owner(*inode)).collect();
        // The daemon's own socket first: who else listens there may do so by agreement.
        owners.sort_by_key(|owner| owner.process != daemon);
        owners.into_iter().next()
    };
    wanted.map(|(address, setting)| Port { number: address.port(), setting, taken: taken(address) }).collect()
}

/// Whether only one of two sockets can listen.
fn are_in_each_others_way(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// Where somebody listens, with the inodes of the sockets, out of /proc/net/tcp or /proc/net/tcp6.
fn listening(table: &str) -> Vec<(SocketAddr, u64)> {
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        let (address, port) = local.split_once(':')?;
        let address = SocketAddr::new(address_of(address)?, u16::from_str_radix(port, 16).ok()?);
        (*state == LISTENS).then_some((address, inode.parse().ok()?))
    };
    table.lines().skip(1).filter_map(socket).collect()
}

/// An address as the kernel writes it: words of four bytes, each in the order of this machine.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            Some(IpAddr::from(<[u8; 16]>::try_from(words.concat()).ok()?).to_canonical())
        }
        _ => None,
    }
}

/// Whose socket it is.
fn owner(inode: u64) -> Owner {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let has = |path: &Path| {
        let descriptors = fs::read_dir(path.join("fd")).into_iter().flatten().flatten();
        descriptors.into_iter().any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link == wanted))
    };
    let found = processes().find(|(_, path)| has(path));
    found.map_or_else(Owner::default, |(process, path)| Owner {
        process: Some(process),
        name: text(path.join("comm")).unwrap_or_default(),
    })
}

async fn host(name: Option<String>) -> Host {
    let node_name = node_name(name.as_deref()).map_err(|error| chain(&error));
    let addresses = match &node_name {
        Ok(name) => {
            let name = name.clone();
            let resolving = tokio::task::spawn_blocking(move || resolve(&name));
            match timeout(PATIENCE, resolving).await {
                Ok(Ok(resolved)) => Some(resolved.map_err(|error| error.to_string())),
                Ok(Err(_)) | Err(_) => Some(Err(format!("no answer in {PATIENCE:?}"))),
            }
        }
        Err(_) => None,
    };
    Host { node_name: Some(node_name), addresses, has_time_zone: Path::new("/etc/localtime").exists() }
}

fn resolve(name: &str) -> io::Result<Vec<String>> {
    let mut addresses: Vec<String> =
        (name, 0).to_socket_addrs()?.map(|found| found.ip().to_string()).collect();
    addresses.dedup();
    Ok(addresses)
}

fn directory(path: &Path) -> Option<Result<Directory, String>> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(format!("{}: {error}", path.display()))),
    };
    let flags = statvfs(path).map(|found| found.flags()).unwrap_or(FsFlags::empty());
    Some(Ok(Directory {
        owner: found.uid(),
        mode: found.mode(),
        is_directory: found.is_dir(),
        read_only: flags.contains(FsFlags::ST_RDONLY),
        no_exec: flags.contains(FsFlags::ST_NOEXEC),
    }))
}

fn client(endpoint: &str) -> Option<Client> {
    let socket = cri_client::socket_path(endpoint).ok()?;
    Some(Client::new(socket, None, Timeouts { request: PATIENCE }))
}

async fn runtime(endpoint: &str) -> Runtime {
    let answer = match client(endpoint) {
        Some(client) => Some(answer(&client).await),
        None => None,
    };
    let configurations = fs::read_dir(NETWORK_CONFIGURATIONS).ok();
    let configurations = configurations.map(|entries| {
        let is_one = |name: &Path| {
            name.extension()
                .is_some_and(|kind| ["conf", "conflist", "json"].iter().any(|known| kind == *known))
        };
        entries.flatten().filter(|entry| is_one(&entry.path())).count()
    });
    Runtime { endpoint: endpoint.to_owned(), answer, network_configurations: configurations }
}

async fn answer(client: &Client) -> Result<Answer, String> {
    let version = client.version().await.map_err(|error| chain(&error))?;
    let status = client.status().await.map_err(|error| chain(&error))?;
    let conditions = status.status.map(|status| status.conditions).unwrap_or_default();
    let problem = |kind: &str| match conditions.iter().find(|condition| condition.r#type == kind) {
        Some(condition) if condition.status => None,
        Some(condition) => Some(format!("{}: {}", condition.reason, condition.message)),
        None => Some(format!("the runtime says nothing about {kind}")),
    };
    let driver = client.cgroup_driver().await.ok().flatten().map(|driver| match driver {
        v1::CgroupDriver::Systemd => "systemd".to_owned(),
        v1::CgroupDriver::Cgroupfs => "cgroupfs".to_owned(),
    });
    Ok(Answer {
        name: version.runtime_name,
        version: version.runtime_version,
        not_ready: problem("RuntimeReady"),
        network_not_ready: problem("NetworkReady"),
        cgroup_driver: driver,
    })
}

/// Where the runtime keeps images.
async fn image_directory(endpoint: &str) -> Option<PathBuf> {
    let info = client(endpoint)?.image_fs_info().await.ok()?;
    Some(PathBuf::from(info.image_filesystems.into_iter().next()?.fs_id?.mountpoint))
}

/// Whether anybody answers where the kubeconfig points.
async fn api_server(kubeconfig: &Path) -> Option<(String, Result<(), String>)> {
    // What is wrong with the file itself is told with its certificate.
    let address = kubeconfig::read(kubeconfig).await.ok()?.server();
    let uri: http::Uri = address.parse().ok()?;
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let reached = match timeout(PATIENCE, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {PATIENCE:?}")),
    };
    Some((address, reached))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_taken_where_two_sockets_cannot_both_listen() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     \x20  0: 0100007F:280A 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n\
                     \x20  1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n\
                     nonsense\n";
        let found = listening(table);
        let address: SocketAddr = "127.0.0.1:10250".parse().unwrap();
        assert_eq!(found, [(address, 4711)]);
        let taken = |other: &str| are_in_each_others_way(other.parse().unwrap(), address);
        assert!(taken("127.0.0.1:10250") && taken("0.0.0.0:10250") && taken("[::]:10250"));
        assert!(!taken("127.0.0.2:10250") && !taken("127.0.0.1:10248"));
        let six = "00000000000000000000000001000000";
        assert_eq!(address_of(six), Some("::1".parse().unwrap()));
        assert_eq!(address_of("0000000000000000FFFF00000100007F"), Some("127.0.0.1".parse().unwrap()));
        assert_eq!(address_of("xyz"), None);
    }

    #[test]
    fn whatever_the_kernel_says_is_read() {
        bolero::check!().for_each(|input: &[u8]| {
            let _ = listening(&String::from_utf8_lossy(input));
        });
    }
}
