//! The flags of what upstream has as parts of its own: tokens, and the controllers of nodes and pods.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches};

use super::{all, duration, one};

/// How tokens of service accounts are made and accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// `iss` of every token.
    pub issuer: String,
    /// Whom a token is for that says nothing else; the issuer if empty.
    pub audiences: Vec<String>,
    /// Whether the usual tokens of pods are accepted for a year.
    pub extend_expiration: bool,
    /// Longest lifetime of a token.
    pub longest: Option<Duration>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { issuer: ISSUER.to_owned(), audiences: Vec::new(), extend_expiration: true, longest: None }
    }
}

/// When a node counts as lost, and what becomes of pods that nobody looks after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// How often nodes are looked at.
    pub period: Duration,
    /// How long a node may be silent.
    pub grace: Duration,
    /// How long a new one may be, before it has said anything.
    pub startup_grace: Duration,
    /// How many pods that have ended are kept; 0 for all.
    pub ended_pods: usize,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(5),
            grace: Duration::from_secs(50),
            startup_grace: Duration::from_secs(60),
            ended_pods: 12_500,
        }
    }
}

/// What `kubeadm` has too.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const ISSUER_FLAG: &str = "service-account-issuer";
const AUDIENCES: &str = "api-audiences";
const EXTEND: &str = "service-account-extend-token-expiration";
const LONGEST: &str = "service-account-max-token-expiration";
const PERIOD: &str = "node-monitor-period";
const GRACE: &str = "node-monitor-grace-period";
const STARTUP_GRACE: &str = "node-startup-grace-period";
const ENDED_PODS: &str = "terminated-pod-gc-threshold";

impl Accounts {
    pub(super) fn of(matches: &ArgMatches) -> Self {
        Self {
            issuer: one(matches, ISSUER_FLAG),
            audiences: all(matches, AUDIENCES),
            extend_expiration: one(matches, EXTEND),
            longest: matches.get_one(LONGEST).copied(),
        }
    }
}

impl Nodes {
    pub(super) fn of(matches: &ArgMatches) -> Self {
        Self {
            period: one(matches, PERIOD),
            grace: one(matches, GRACE),
            startup_grace: one(matches, STARTUP_GRACE),
            ended_pods: one(matches, ENDED_PODS),
        }
    }
}

pub(super) fn arguments() -> Vec<Arg> {
    let text = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let period =
        |name, default, help| text(name, "DURATION", help).value_parser(self::period).default_value(default);
    vec![
        text(ISSUER_FLAG, "URL", "Who signs tokens of service accounts, as the tokens name it")
            .value_parser(clap::builder::NonEmptyStringValueParser::new())
            .default_value(ISSUER),
        text(AUDIENCES, "NAMES", "Whom tokens are for that name nobody, with commas between them; the issuer if not given")
            .action(ArgAction::Append)
            .value_delimiter(','),
        text(EXTEND, "BOOL", "Accept the tokens that pods get without asking for a year, so that programs may go on that read theirs once")
            .value_parser(clap::value_parser!(bool))
            .default_value("true"),
        text(LONGEST, "DURATION", "Longest lifetime of a token, from an hour on").value_parser(longest),
        period(PERIOD, "5s", "How often nodes are looked at"),
        period(GRACE, "50s", "How long a node may be silent before it is not ready"),
        period(STARTUP_GRACE, "1m", "The same for a node that has not said anything yet"),
        text(ENDED_PODS, "COUNT", "How many pods that have ended are kept; 0 for all")
            .value_parser(clap::value_parser!(usize))
            .default_value("12500"),
    ]
}

fn period(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
    let wrong = || "expected a duration of a second to a day, as 50s or 1m".to_owned();
    duration(text).filter(|d| bounds.contains(d)).ok_or_else(wrong)
}

fn longest(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(3600)..=Duration::from_secs(1 << 32);
    let wrong = || "expected a duration of an hour to 2^32 seconds, as 24h".to_owned();
    duration(text).filter(|d| bounds.contains(d)).ok_or_else(wrong)
}
