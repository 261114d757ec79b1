//! The command lines of `nodelet join` and `nodelet leave`.

use std::ffi::OsString;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::discovery::Wanted;
use super::join::{self, join};
use super::leave::{self, leave};
use super::pin::Pin;
use super::place::{Place, Service};
use super::settings::Own;
use super::token::Token;
use super::unit::Systemd;
use crate::cause::chain;
use crate::config::GoDuration;
use crate::flags::Flags;
use crate::node::name::node_name;

const EXIT_BAD_USAGE: u8 = 2;
const PORT: u16 = 6443;

/// All flags of `nodelet join`, for reading them and for the manual page.
#[must_use]
pub fn join_command() -> Command {
    Command::new("nodelet join")
        .about("Makes this machine a node of a cluster, in the manner of kubeadm join")
        .arg(
            Arg::new("address")
                .value_name("ADDRESS")
                .required(true)
                .value_parser(address)
                .help("The API server, as HOST or HOST:PORT; the port is 6443 if none is given"),
        )
        .arg(
            value("token", "TOKEN", "Bootstrap token, of the form abcdef.0123456789abcdef")
                .required(true)
                .value_parser(|text: &str| text.parse::<Token>()),
        )
        .arg(
            value(
                "discovery-token-ca-cert-hash",
                "HASH",
                "Hash of the cluster's authority, of the form sha256:HEX; of several one has to fit",
            )
            .action(ArgAction::Append)
            .value_parser(|text: &str| text.parse::<Pin>())
            .required_unless_present("discovery-token-unsafe-skip-ca-verification"),
        )
        .arg(
            Arg::new("discovery-token-unsafe-skip-ca-verification")
                .long("discovery-token-unsafe-skip-ca-verification")
                .action(ArgAction::SetTrue)
                .conflicts_with("discovery-token-ca-cert-hash")
                .help("Trust whoever knows the token"),
        )
        .arg(value("node-name", "NAME", "Name of the node instead of the host's name"))
        .arg(value("node-ip", "IP", "Address of the node, or two of different families"))
        .arg(value("node-labels", "LABELS", "Labels for the registration of the node: key=value,..."))
        .arg(value(
            "register-with-taints",
            "TAINTS",
            "Taints for the registration of the node: key=value:effect,...",
        ))
        .arg(value(
            "cri-socket",
            "ENDPOINT",
            "The container runtime, as unix:///run/containerd/containerd.sock",
        ))
        .arg(duration(
            "discovery-timeout",
            "1m",
            "How long an API server that does not answer is asked again",
        ))
        .arg(duration("timeout", "5m", "How long the node's certificate is waited for"))
        .arg(service())
}

/// All flags of `nodelet leave`.
#[must_use]
pub fn leave_command() -> Command {
    Command::new("nodelet leave")
        .about("Takes this machine out of its cluster: evicts its pods, ends the daemon, removes its credentials")
        .arg(
            value("kubeconfig", "FILE", "Credentials to drain and remove the node with, instead of the node's own")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(value("node-name", "NAME", "Name of the node instead of the one in its certificate"))
        .arg(duration("timeout", "5m", "How long evicted pods and disruption budgets are waited for"))
        .arg(
            Arg::new("force")
                .long("force")
                .action(ArgAction::SetTrue)
                .help("Evict pods that nobody would make again, too, and leave although not all pods have gone"),
        )
        .arg(
            Arg::new("pods")
                .long("pods")
                .action(ArgAction::SetTrue)
                .help("Stop and remove all pods that are left, static ones and those of DaemonSets among them"),
        )
        .arg(value("cri-socket", "ENDPOINT", "The container runtime for --pods, instead of the configured one"))
        .arg(service())
}

fn value(name: &'static str, shown: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(shown).help(help)
}

fn duration(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    let parse = |text: &str| text.parse::<GoDuration>().map(GoDuration::to_std);
    value(name, "DURATION", help).default_value(default).value_parser(parse)
}

fn service() -> Arg {
    value("service", "NAME", "Unit of the daemon; kubelet where the package nodelet-kubelet is installed")
        .value_parser(["nodelet", "kubelet"])
}

/// `HOST:PORT`, also of an `https://` address; a port is added where there is none.
fn address(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no address: HOST or HOST:PORT");
    let host = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
    if host.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{host}]:{PORT}"));
    }
    let authority: http::uri::Authority = host.parse().map_err(|_| wrong())?;
    // Names of users have no place in it.
    if authority.host().is_empty() || host.contains('@') {
        return Err(wrong());
    }
    let port = host.strip_prefix(authority.host()).unwrap_or_default();
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => PORT,
        given => given.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?,
    };
    Ok(format!("{}:{port}", authority.host()))
}

/// Runs `nodelet join` with its arguments, the command's name first.
pub fn main_join(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    run(join_command(), arguments, "join", |matches| async move {
        let text = |name: &str| matches.get_one::<String>(name).filter(|text| !text.is_empty()).cloned();
        let place = place(&matches);
        let own = Own {
            node_name: text("node-name"),
            node_ip: text("node-ip"),
            node_labels: text("node-labels"),
            taints: text("register-with-taints"),
            runtime: text("cri-socket"),
        };
        let options = join::Options {
            wanted: Wanted {
                address: one(&matches, "address"),
                token: one(&matches, "token"),
                pins: matches
                    .get_many("discovery-token-ca-cert-hash")
                    .into_iter()
                    .flatten()
                    .copied()
                    .collect(),
                patience: one(&matches, "discovery-timeout"),
            },
            node_name: node_name(own.node_name.as_deref()).map_err(|error| chain(&error))?,
            own,
            timeout: one(&matches, "timeout"),
        };
        join(&options, &place, &Systemd, &mut tell).await.map_err(|error| chain(&error))
    })
}

/// Runs `nodelet leave` with its arguments, the command's name first.
pub fn main_leave(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    run(leave_command(), arguments, "leave", |matches| async move {
        let place = place(&matches);
        let pods = if matches.get_flag("pods") {
            Some(runtime(&place, matches.get_one::<String>("cri-socket")).map_err(|error| chain(&error))?)
        } else {
            None
        };
        let host_name =
            nix::unistd::gethostname().map_err(|error| format!("reading the host name: {error}"))?;
        let options = leave::Options {
            kubeconfig: matches.get_one::<PathBuf>("kubeconfig").cloned(),
            node_name: matches.get_one::<String>("node-name").cloned(),
            host_name: host_name.to_string_lossy().to_lowercase(),
            timeout: one(&matches, "timeout"),
            force: matches.get_flag("force"),
            pods,
        };
        leave(&options, &place, &Systemd, &mut tell).await.map_err(|error| chain(&error))
    })
}

fn run<F: Future<Output = Result<(), String>>>(
    command: Command,
    arguments: impl IntoIterator<Item = OsString>,
    name: &str,
    work: impl FnOnce(ArgMatches) -> F,
) -> ExitCode {
    let matches = match command.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help goes to standard output, a mistake to standard error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_BAD_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = if nix::unistd::geteuid().is_root() {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(work(matches)),
            Err(error) => Err(format!("the asynchronous runtime cannot be started: {error}")),
        }
    } else {
        Err("only root can do that".to_owned())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nodelet {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell(line: &str) {
    println!("{line}");
}

fn place(matches: &ArgMatches) -> Place {
    let service = matches.get_one::<String>("service").and_then(|name| Service::named(name));
    Place::new(Path::new("/"), service)
}

/// An argument that is required or has a default.
fn one<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> T {
    matches.get_one::<T>(name).cloned().expect("clap has refused a command line without it")
}

/// The runtime that the daemon uses, or the usual one where its configuration cannot be read any more.
fn runtime(place: &Place, given: Option<&String>) -> Result<cri_client::Client, cri_client::EndpointError> {
    let configured = || {
        let arguments = std::iter::once("nodelet".to_owned()).chain(place.configuration_words());
        let loaded = Flags::parse(arguments.map(OsString::from)).ok()?.load_config().ok()?;
        Some(loaded.config.container_runtime_endpoint.clone())
    };
    let endpoint = given.cloned().or_else(configured);
    let endpoint = endpoint.unwrap_or_else(|| crate::config::Config::default().container_runtime_endpoint);
    let socket = cri_client::socket_path(&endpoint)?;
    Ok(cri_client::Client::new(socket, None, cri_client::Timeouts { request: Duration::from_secs(120) }))
}

#[cfg(test)]
mod tests;
