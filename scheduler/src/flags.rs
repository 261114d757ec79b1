//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, Command, value_parser};

/// How the scheduler was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// File with the API server's address and the credentials.
    pub kubeconfig: PathBuf,
    /// Port of the health endpoints on 127.0.0.1; none, no endpoints.
    pub healthz_port: Option<u16>,
    /// 0 is terse, 2 tells node by node why a pod does not fit, 6 tells everything.
    pub verbosity: u8,
}

impl Flags {
    /// Reads the arguments, the program's own name first.
    ///
    /// # Errors
    /// What is wrong, or the text of `--help` or `--version`.
    pub fn parse<I: IntoIterator<Item = OsString>>(arguments: I) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(arguments)?;
        Ok(Self {
            kubeconfig: matches.get_one::<PathBuf>("kubeconfig").expect("clap requires it").clone(),
            healthz_port: matches.get_one::<u16>("healthz-port").copied(),
            verbosity: matches.get_one::<u8>("v").copied().unwrap_or(0),
        })
    }
}

fn command() -> Command {
    Command::new("scheduler")
        .about("Places the pods of a Kubernetes cluster on its nodes")
        .version(env!("CARGO_PKG_VERSION"))
        .args_override_self(true)
        .arg(
            Arg::new("kubeconfig")
                .long("kubeconfig")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("File with the API server's address and the credentials"),
        )
        .arg(
            Arg::new("healthz-port")
                .long("healthz-port")
                .value_name("PORT")
                .value_parser(value_parser!(u16).range(1..))
                .help("Serve /healthz, /livez and /readyz on this port of 127.0.0.1"),
        )
        .arg(
            Arg::new("v")
                .short('v')
                .long("v")
                .value_name("LEVEL")
                .value_parser(value_parser!(u8))
                .help("How much is logged: 2 tells node by node why a pod does not fit"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Flags, clap::Error> {
        Flags::parse(["scheduler"].iter().chain(arguments).map(OsString::from))
    }

    #[test]
    fn the_level_is_taken_as_other_components_take_it() {
        for level in [&["-v", "2"][..], &["-v=2"], &["--v=2"], &["-v2"]] {
            let arguments: Vec<&str> = ["--kubeconfig", "k"].iter().chain(level).copied().collect();
            assert_eq!(parse(&arguments).expect("flags").verbosity, 2, "{level:?}");
        }
    }

    #[test]
    fn without_a_kubeconfig_or_with_an_impossible_port_it_does_not_start() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--kubeconfig", "k", "--healthz-port", "0"]).is_err());
        assert!(parse(&["--kubeconfig", "k", "--healthz-port", "70000"]).is_err());
    }
}
