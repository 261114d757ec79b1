//! The command line of a kubelet: start options, flags that mirror fields of the configuration, and flags that are gone.
//!
//! The kubelet reads flags in Go's style: `--flag value` and `--flag=value`, a boolean takes its value only after `=`, the
//! last one of a repeated flag wins (lists add up), and underscores stand for dashes.

pub(crate) mod shown;
mod table;
mod values;

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::commands::{COMMANDS, Subcommand};
use crate::config::{self, ConfigError, FlagValue, Loaded};
use table::{MIRRORS, REMOVED, Syntax};

/// The Kubernetes version that the node reports; the minor version tells the API server which fields it may send.
pub const KUBERNETES_VERSION: &str = "v1.36.2";

/// `1.36`: the version without its patch, as requests of probes and hooks name it.
pub(crate) fn minor_version() -> &'static str {
    let version = KUBERNETES_VERSION.trim_start_matches('v');
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

/// What is given at start and stands in no configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub config_dir: Option<PathBuf>,
    /// Absent: the node runs its static pods alone, without an API server. behaviour.md 41.6.
    pub kubeconfig: Option<PathBuf>,
    /// Where to get a certificate when `kubeconfig` does not exist yet.
    pub bootstrap_kubeconfig: Option<PathBuf>,
    pub cert_dir: PathBuf,
    pub root_dir: PathBuf,
    pub hostname_override: Option<String>,
    /// At most two, of different families; an unspecified address names a preferred family. behaviour.md 32.6.
    pub node_ips: Vec<IpAddr>,
    pub node_labels: Vec<(String, String)>,
    /// Which programs give credentials for pulls, a file or a directory. behaviour.md 14.4.
    pub image_credential_provider_config: Option<PathBuf>,
    /// Where those programs are.
    pub image_credential_provider_bin_dir: Option<PathBuf>,
    /// `--cloud-provider=external`: addresses and the initial taint belong to the cloud's controller.
    pub external_cloud_provider: bool,
    pub lock_file: Option<PathBuf>,
    pub exit_on_lock_contention: bool,
    /// Reserved resources and thresholds: whether allocatable ignores the hard eviction thresholds.
    pub allocatable_ignores_eviction: bool,
    /// Flags that were given and change nothing, for the log.
    pub without_effect: Vec<&'static str>,
    mirrors: Vec<FlagValue>,
}

/// The command line cannot be used, or asks for a text only.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// `--help` or `--version`: print it to standard output and end with success.
    #[error("{0}")]
    Information(String),
    #[error("{0}")]
    Usage(String),
    #[error("flag --{flag} was removed from the kubelet: {instead}")]
    Removed { flag: &'static str, instead: &'static str },
    #[error("flag --{flag}: {message}")]
    Value { flag: String, message: String },
}

impl FlagError {
    /// Exit code that belongs to it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Information(_) => 0,
            _ => config::EXIT_BAD_CONFIGURATION,
        }
    }
}

impl Flags {
    /// Reads the arguments, the program's own name first.
    ///
    /// # Errors
    /// An unknown, removed or malformed flag, and the texts of `--help` and `--version`.
    pub fn parse<I: IntoIterator<Item = OsString>>(arguments: I) -> Result<Self, FlagError> {
        let arguments: Vec<OsString> = arguments.into_iter().map(with_dashes).collect();
        let program = arguments.first().cloned().unwrap_or_default();
        if let Some(error) = arguments.iter().skip(1).find_map(removed) {
            return Err(error);
        }
        let matches = command().try_get_matches_from(arguments).map_err(|error| {
            let text = error.to_string();
            if error.use_stderr() {
                FlagError::Usage(text.trim_end().to_owned())
            } else {
                FlagError::Information(text)
            }
        })?;
        if let Some(name) = matches.subcommand_name() {
            return Err(FlagError::Usage(format!(
                "{name} is a command and stands before all flags: nodelet {name} [...]"
            )));
        }
        if matches.get_flag("version") {
            return Err(FlagError::Information(version(&program)));
        }
        from_matches(&matches)
    }

    /// Reads the configuration that these flags name and lays them over it.
    ///
    /// # Errors
    /// Everything that makes the configuration unusable; see [`ConfigError`].
    pub fn load_config(&self) -> Result<Loaded, ConfigError> {
        let mut loaded = config::load(self.config.as_deref(), self.config_dir.as_deref(), &self.mirrors)?;
        for flag in &self.without_effect {
            loaded.warnings.push(format!("flag --{flag} has no effect"));
        }
        Ok(loaded)
    }
}

/// Flags that start scripts may still give and that mean nothing here.
const IGNORED: &[&str] = &[
    "experimental-mounter-path",
    "maximum-dead-containers",
    "maximum-dead-containers-per-container",
    "minimum-container-ttl-duration",
    "runtime-cgroups",
    "vmodule",
];

/// What `--version` prints. Installed as `kubelet` it is what kubeadm and others read of a kubelet.
fn version(program: &OsStr) -> String {
    match Path::new(program).file_name() {
        Some(name) if name == "kubelet" => format!("Kubernetes {KUBERNETES_VERSION}\n"),
        _ => format!("nodelet {} (Kubernetes {KUBERNETES_VERSION})\n", env!("CARGO_PKG_VERSION")),
    }
}

/// The version that the node's object shows: Kubernetes', and which nodelet it is behind the plus, which no comparison of versions looks at.
#[must_use]
pub fn node_version() -> String {
    format!("{KUBERNETES_VERSION}+nodelet.{}", env!("CARGO_PKG_VERSION"))
}

fn with_dashes(argument: OsString) -> OsString {
    match argument.to_str() {
        Some(text) if text.starts_with("--") => {
            let end = text.find('=').unwrap_or(text.len());
            format!("{}{}", text[..end].replace('_', "-"), &text[end..]).into()
        }
        _ => argument,
    }
}

fn removed(argument: &OsString) -> Option<FlagError> {
    let name = argument.to_str()?.strip_prefix("--")?.split('=').next()?;
    REMOVED
        .iter()
        .find(|(flag, _)| *flag == name)
        .map(|&(flag, instead)| FlagError::Removed { flag, instead })
}

/// All flags, for reading them and for the manual page.
#[must_use]
pub fn command() -> Command {
    let value = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).help(help).value_name("VALUE").allow_hyphen_values(true)
    };
    let mut command = Command::new("nodelet")
        .about("Runs the pods of one Kubernetes node, in place of the kubelet")
        .args_override_self(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .override_usage("nodelet [OPTIONS]\n       nodelet COMMAND [...]")
        .arg(switch("version").help("Print the Kubernetes version that the node reports, and end"))
        .arg(value("config", "File with the KubeletConfiguration"))
        .arg(value(
            "config-dir",
            "Directory with drop-ins (*.conf) that are merged over --config in lexical order",
        ))
        .arg(value(
            "kubeconfig",
            "File that tells how to reach the API server; without it only static pods run",
        ))
        .arg(value("bootstrap-kubeconfig", "File that tells how to ask for the first certificate"))
        .arg(value("cert-dir", "Directory for certificates").default_value("/var/lib/kubelet/pki"))
        .arg(value("root-dir", "Directory for all state").default_value("/var/lib/kubelet"))
        .arg(value("hostname-override", "Name of the node instead of the host's name"))
        .arg(value("node-ip", "IP address of the node, or two of different families"))
        .arg(
            value("node-labels", "Labels for the registration of the node: key=value,...")
                .action(ArgAction::Append),
        )
        .arg(value("cloud-provider", "Empty, or external"))
        .arg(value(
            "image-credential-provider-config",
            "File or directory with the CredentialProviderConfig of image pulls",
        ))
        .arg(value("image-credential-provider-bin-dir", "Directory of the credential provider plugins"))
        .arg(value("lock-file", "File that is locked so that only one runs"))
        .arg(switch("exit-on-lock-contention").help("End when another process asks for the lock file"))
        .arg(
            switch("experimental-allocatable-ignore-eviction")
                .help("Do not subtract hard eviction thresholds from allocatable"),
        )
        .arg(Arg::new("v").short('v').long("v").value_name("LEVEL").help("How much is logged, 0 to 10"));
    for flag in IGNORED {
        command = command.arg(value(flag, "Accepted, without effect").hide(true));
    }
    for Subcommand { name, about, .. } in COMMANDS {
        command = command.subcommand(Command::new(name).about(about).disable_help_flag(true));
    }
    for mirror in MIRRORS {
        let argument = match mirror.syntax {
            Syntax::Bool => switch(mirror.flag),
            Syntax::Int | Syntax::Text => value(mirror.flag, "Same as the field of the configuration"),
            _ => value(mirror.flag, "Same as the field of the configuration").action(ArgAction::Append),
        };
        command = command
            .arg(argument.help(format!("Sets {} of the configuration", mirror.field)).hide_short_help(true));
    }
    command
}

/// A boolean as Go's flags have it: alone it means true, a value comes after `=`.
fn switch(name: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .value_parser(|text: &str| values::boolean(text).ok_or("expected true or false"))
}

fn from_matches(matches: &ArgMatches) -> Result<Flags, FlagError> {
    let given = |name: &str| matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
    let text = |name: &str| matches.get_one::<String>(name).filter(|text| !text.is_empty()).cloned();
    let path = |name: &str| text(name).map(PathBuf::from);
    let wrong = |flag: &str, message: String| FlagError::Value { flag: flag.to_owned(), message };

    let mut mirrors = Vec::new();
    for mirror in MIRRORS.iter().filter(|mirror| given(mirror.flag)) {
        let value = if mirror.syntax == Syntax::Bool {
            serde_json::Value::Bool(matches.get_flag(mirror.flag))
        } else {
            let texts: Vec<&str> =
                matches.get_many::<String>(mirror.flag).into_iter().flatten().map(String::as_str).collect();
            values::read(mirror.syntax, &texts).map_err(|message| wrong(mirror.flag, message))?
        };
        let merges = mirror.syntax == Syntax::BoolMap;
        mirrors.push(FlagValue { flag: format!("--{}", mirror.flag), field: mirror.field, value, merges });
    }
    if let Some(level) = text("v") {
        let level: u32 = level.parse().map_err(|_| wrong("v", format!("{level:?} is no number")))?;
        mirrors.push(FlagValue {
            flag: "-v".to_owned(),
            field: "logging.verbosity",
            value: level.into(),
            merges: false,
        });
    }

    let external_cloud_provider = match text("cloud-provider").as_deref() {
        None => false,
        Some("external") => true,
        Some(other) => {
            return Err(wrong("cloud-provider", format!("{other:?} is not supported, only external is")));
        }
    };
    let root_dir = path("root-dir").unwrap_or_else(|| PathBuf::from("/var/lib/kubelet"));
    require_clean(&root_dir).map_err(|message| wrong("root-dir", message))?;
    let labels: Vec<&str> =
        matches.get_many::<String>("node-labels").into_iter().flatten().map(String::as_str).collect();
    Ok(Flags {
        config: path("config"),
        config_dir: path("config-dir"),
        kubeconfig: path("kubeconfig"),
        bootstrap_kubeconfig: path("bootstrap-kubeconfig"),
        cert_dir: path("cert-dir").unwrap_or_else(|| root_dir.join("pki")),
        root_dir,
        hostname_override: text("hostname-override"),
        node_ips: text("node-ip")
            .map(|ips| values::node_ips(&ips))
            .transpose()
            .map_err(|message| wrong("node-ip", message))?
            .unwrap_or_default(),
        node_labels: values::node_labels(&labels).map_err(|message| wrong("node-labels", message))?,
        image_credential_provider_config: path("image-credential-provider-config"),
        image_credential_provider_bin_dir: path("image-credential-provider-bin-dir"),
        external_cloud_provider,
        lock_file: path("lock-file"),
        exit_on_lock_contention: matches.get_flag("exit-on-lock-contention"),
        allocatable_ignores_eviction: matches.get_flag("experimental-allocatable-ignore-eviction"),
        without_effect: IGNORED.iter().copied().filter(|flag| given(flag)).collect(),
        mirrors,
    })
}

/// State below a path that the working directory or `..` changes would be lost at the next start.
fn require_clean(path: &Path) -> Result<(), String> {
    let parts_are_plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    if path.is_absolute() && parts_are_plain {
        return Ok(());
    }
    Err(format!("{} must be an absolute path without ..", path.display()))
}

#[cfg(test)]
mod tests;
