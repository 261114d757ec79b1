//! The command line.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};

mod controllers;

pub use controllers::{Accounts, Nodes};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Serve(Options),
    /// Write a kubeconfig with a client certificate.
    Credentials(Credentials),
}

/// How to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    pub data_dir: PathBuf,
    pub bind_address: IpAddr,
    /// 0 for any free port.
    pub secure_port: u16,
    /// More names and addresses for the serving certificate.
    pub tls_sans: Vec<String>,
    pub token_auth_file: Option<PathBuf>,
    /// First address and prefix length.
    pub service_cluster_ip_range: (Ipv4Addr, u8),
    /// `host:port` under which nodes reach this server; what it listens on if there is none.
    pub control_plane_endpoint: Option<String>,
    /// Longest lifetime of a certificate that is signed for a request.
    pub cluster_signing_duration: Duration,
    /// Whether serving certificates of nodes are approved without a person, if their names are the node's addresses.
    pub approve_kubelet_serving: bool,
    /// Where pods reach this server, for the endpoints of the service `kubernetes`.
    pub advertise_address: Option<IpAddr>,
    /// Admission plugins that are off, by upstream's names.
    pub disable_admission_plugins: Vec<String>,
    /// Tokens of service accounts.
    pub accounts: Accounts,
    /// What becomes of nodes that fall silent, and of their pods.
    pub nodes: Nodes,
    /// 0 for normal, more for more.
    pub verbosity: u8,
}

/// The `credentials` command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub data_dir: PathBuf,
    pub user: String,
    pub group: Option<String>,
    pub server: String,
    pub output: PathBuf,
}

impl Options {
    /// Defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            bind_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            secure_port: 6443,
            tls_sans: Vec::new(),
            token_auth_file: None,
            service_cluster_ip_range: (Ipv4Addr::new(10, 96, 0, 0), 16),
            control_plane_endpoint: None,
            cluster_signing_duration: Duration::from_secs(365 * 24 * 60 * 60),
            approve_kubelet_serving: true,
            advertise_address: None,
            disable_admission_plugins: Vec::new(),
            accounts: Accounts::default(),
            nodes: Nodes::default(),
            verbosity: 0,
        }
    }
}

impl Action {
    /// Reads the arguments, the program's own name first. The error also stands for `--help` and `--version`; it knows its exit
    /// code.
    pub fn parse<I: IntoIterator<Item = OsString>>(arguments: I) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(arguments)?;
        if let Some(("credentials", matches)) = matches.subcommand() {
            return Ok(Self::Credentials(Credentials {
                data_dir: one(matches, "data-dir"),
                user: one(matches, "user"),
                group: matches.get_one("group").cloned(),
                server: one(matches, "server"),
                output: one(matches, "output"),
            }));
        }
        Ok(Self::Serve(Options {
            data_dir: one(&matches, "data-dir"),
            bind_address: one(&matches, "bind-address"),
            secure_port: one(&matches, "secure-port"),
            tls_sans: all(&matches, "tls-san"),
            token_auth_file: matches.get_one("token-auth-file").cloned(),
            service_cluster_ip_range: one(&matches, "service-cluster-ip-range"),
            control_plane_endpoint: matches.get_one("control-plane-endpoint").cloned(),
            cluster_signing_duration: one(&matches, "cluster-signing-duration"),
            approve_kubelet_serving: one(&matches, "approve-kubelet-serving"),
            advertise_address: matches.get_one("advertise-address").copied(),
            disable_admission_plugins: all(&matches, "disable-admission-plugins"),
            accounts: Accounts::of(&matches),
            nodes: Nodes::of(&matches),
            verbosity: matches.get_one("v").copied().unwrap_or(0),
        }))
    }
}

/// An argument that is required or has a default.
fn one<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> T {
    matches.get_one::<T>(name).cloned().expect("clap has refused a command line without it")
}

/// All values of an argument that may be repeated.
fn all(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many(name).into_iter().flatten().cloned().collect()
}

fn command() -> Command {
    let data_dir = || {
        Arg::new("data-dir")
            .long("data-dir")
            .value_name("DIR")
            .value_parser(clap::value_parser!(PathBuf))
            .help("Where the store, certificates and kubeconfigs are kept")
    };
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Command::new("apiserver")
        .about("A minimal Kubernetes API server with an embedded store")
        .version(env!("CARGO_PKG_VERSION"))
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .arg(data_dir().required(true))
        .arg(
            text("bind-address", "IP", "Address to listen on")
                .value_parser(clap::value_parser!(IpAddr))
                .default_value("127.0.0.1"),
        )
        .arg(
            text("secure-port", "PORT", "Port to listen on with HTTPS; 0 for any free port")
                .value_parser(clap::value_parser!(u16))
                .default_value("6443"),
        )
        .arg(
            text("tls-san", "NAME", "A further name or address in the serving certificate; may be repeated")
                .action(ArgAction::Append),
        )
        .arg(
            text("token-auth-file", "FILE", "Static tokens: lines of token,user,uid,\"group1,group2\"")
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            text("service-cluster-ip-range", "CIDR", "Where the addresses of services come from")
                .value_parser(service_range)
                .default_value("10.96.0.0/16"),
        )
        .arg(
            text(
                "control-plane-endpoint",
                "HOST:PORT",
                "How nodes reach this server, as cluster-info tells them; what it listens on if not given",
            )
            .value_parser(endpoint),
        )
        .arg(
            text(
                "cluster-signing-duration",
                "DURATION",
                "Longest lifetime of the certificates that are signed, as 8760h or 3m",
            )
            .value_parser(lifetime)
            .default_value("8760h"),
        )
        .arg(
            text(
                "approve-kubelet-serving",
                "BOOL",
                "Approve serving certificates of nodes whose names are the node's own addresses",
            )
            .value_parser(clap::value_parser!(bool))
            .default_value("true"),
        )
        .arg(
            text(
                "advertise-address",
                "IP",
                "Where pods reach this server; what it listens on if not given, or the address of --control-plane-endpoint",
            )
            .value_parser(clap::value_parser!(IpAddr)),
        )
        .arg(
            text(
                "disable-admission-plugins",
                "NAMES",
                "Admission plugins that are off, with commas between them; ServiceAccount can be",
            )
            .action(ArgAction::Append)
            .value_delimiter(',')
            .value_parser([crate::kinds::pods::ACCOUNTS_PLUGIN]),
        )
        .args(controllers::arguments())
        .arg(
            Arg::new("v")
                .short('v')
                .value_name("LEVEL")
                .value_parser(clap::value_parser!(u8))
                .help("Verbosity of the log: 2 for debugging, 4 for everything"),
        )
        .subcommand(
            Command::new("credentials")
                .about("Writes a kubeconfig with a client certificate of the cluster's authority")
                .arg(data_dir().required(true))
                .arg(text("user", "NAME", "User name, as system:node:NAME").required(true))
                .arg(text("group", "GROUP", "Group, as system:nodes"))
                .arg(
                    text("server", "URL", "Address of the API server")
                        .default_value("https://127.0.0.1:6443"),
                )
                .arg(
                    text("output", "FILE", "The kubeconfig to write")
                        .required(true)
                        .value_parser(clap::value_parser!(PathBuf)),
                ),
        )
}

/// A host that may stand in a certificate, and a port.
fn endpoint(text: &str) -> Result<String, String> {
    let wrong =
        || "expected a name or an address, and a port, as api.example:6443 or [fd00::1]:6443".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let named = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.');
    let good = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(named),
    };
    if good && port.parse::<u16>().is_ok_and(|p| p > 0) { Ok(text.to_owned()) } else { Err(wrong()) }
}

/// The lifetime of certificates.
fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a duration of a minute to 100 years, as 8760h, 3m or 1h30m".to_owned();
    let minute_to_century = 60..=100 * 365 * 24 * 3600;
    duration(text).filter(|d| minute_to_century.contains(&d.as_secs())).ok_or_else(wrong)
}

/// A duration in hours, minutes and whole seconds, as Go writes it.
fn duration(text: &str) -> Option<Duration> {
    let mut seconds = 0_u64;
    let mut number = String::new();
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        let amount: u64 = number.parse().ok()?;
        seconds = amount.checked_mul(unit)?.checked_add(seconds)?;
        number.clear();
    }
    number.is_empty().then_some(Duration::from_secs(seconds))
}

/// Between 16 addresses and 2^20 of them (as upstream allows at most).
fn service_range(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let wrong = || "expected an IPv4 range as 10.96.0.0/16, with a prefix length from 12 to 28".to_owned();
    let (address, length) = text.split_once('/').ok_or_else(wrong)?;
    let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    let length: u8 = length.parse().map_err(|_| wrong())?;
    if !(12..=28).contains(&length) {
        return Err(wrong());
    }
    let mask = u32::MAX << (32 - u32::from(length));
    Ok((Ipv4Addr::from(u32::from(address) & mask), length))
}

#[cfg(test)]
mod tests;
