//! What port 10250 serves, as one table: routing, the rights that are asked for, the names that requests are counted under and the
//! test of access are all read from it (behaviour.md 35, 36.7).

use percent_encoding::percent_decode_str;

use crate::config::Config;
use crate::metrics::Kind;

/// One path, or all paths of one form.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Its segments: a word, `{name}` for one that is not empty, or at the end `{name*}` for all that is left.
    pub(super) path: &'static str,
    /// Others are answered with 405.
    pub(super) methods: &'static [&'static str],
    /// Of the node; the right to one of them is enough, and they are asked for in this order.
    pub(super) subresources: &'static [&'static str],
    pub(super) needs: Needs,
    pub(super) target: Target,
}

/// Where a request has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// Port 10250: TLS, and everything for whoever may have it.
    ReadWrite,
    /// `readOnlyPort`: what tells nobody's secrets, for everybody.
    ReadOnly,
    /// `healthzPort`: whether the daemon answers.
    Healthz,
    /// The socket below the root directory: everything, for root on this machine, whatever the configuration keeps from the network.
    Local,
}

/// What has to be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing; these are served on the read-only port too.
    Nothing,
    /// `enableDebuggingHandlers`, without which there is no such path.
    Debugging,
    /// The same and a feature gate.
    Gate(&'static str),
    /// `enableDebuggingHandlers`; without it the answer says so.
    Announced,
    /// The same and `enableSystemLogHandler`.
    SystemLog,
    /// The same and `enableProfilingHandler`.
    Profiling,
    /// `enableDebuggingHandlers`, without which there is no such path, and `enableDebugFlagsHandler`, without which the answer says so.
    DebugFlags,
    /// The local socket.
    Local,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Attach,
    Cadvisor,
    Checkpoint,
    Configz,
    ContainerLogs,
    Exec,
    Flagz,
    Healthz,
    HealthzPart,
    Logs,
    Metrics,
    Overview,
    Pods,
    PortForward,
    Probes,
    Profile,
    Resource,
    Run,
    RunningPods,
    Slis,
    Stats,
    Statusz,
    Verbosity,
}

/// Why an endpoint is not served as the daemon is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Off {
    /// As if there were no such path.
    Absent,
    /// With a word about it.
    Disabled(&'static str),
}

pub(super) const DEBUGGING_OFF: &str = "Debug endpoints are disabled.";
const LOGS_OFF: &str = "logs endpoint is disabled.";
const PROFILING_OFF: &str = "profiling endpoint is disabled.";
const FLAGS_OFF: &str = "flags endpoint is disabled.";

/// Buckets of requests that take as long as somebody wants them to.
const LONG_RUNNING: [&str; 4] = ["exec", "attach", "portForward", "debug"];

const READ: &[&str] = &["GET", "HEAD"];
const GET: &[&str] = &["GET"];
const GET_POST: &[&str] = &["GET", "POST"];
const POST: &[&str] = &["POST"];
const PUT: &[&str] = &["PUT"];
const RESETTABLE: &[&str] = &["GET", "HEAD", "DELETE"];

const PROXY: &[&str] = &["proxy"];
const PODS: &[&str] = &["pods", "proxy"];
const HEALTHZ: &[&str] = &["healthz", "proxy"];
const METRICS: &[&str] = &["metrics"];

/// All that is served. The first that fits counts.
pub(super) static ENDPOINTS: &[Endpoint] = &[
    row("/healthz", READ, HEALTHZ, Needs::Nothing, Target::Healthz),
    row("/healthz/{check}", READ, HEALTHZ, Needs::Nothing, Target::HealthzPart),
    row("/pods", GET, PODS, Needs::Nothing, Target::Pods),
    row("/pods/", GET, PODS, Needs::Nothing, Target::Pods),
    row("/metrics", READ, METRICS, Needs::Nothing, Target::Metrics),
    row("/metrics/slis", RESETTABLE, METRICS, Needs::Nothing, Target::Slis),
    row("/metrics/cadvisor", READ, METRICS, Needs::Nothing, Target::Cadvisor),
    row("/metrics/resource", READ, METRICS, Needs::Nothing, Target::Resource),
    row("/metrics/probes", READ, METRICS, Needs::Nothing, Target::Probes),
    row("/stats/{path*}", GET_POST, &["stats"], Needs::Nothing, Target::Stats),
    row("/runningpods/", GET, PODS, Needs::Announced, Target::RunningPods),
    row("/containerLogs/{namespace}/{pod}/{container}", GET, PROXY, Needs::Announced, Target::ContainerLogs),
    row("/exec/{namespace}/{pod}/{container}", GET_POST, PROXY, Needs::Announced, Target::Exec),
    row("/exec/{namespace}/{pod}/{uid}/{container}", GET_POST, PROXY, Needs::Announced, Target::Exec),
    row("/attach/{namespace}/{pod}/{container}", GET_POST, PROXY, Needs::Announced, Target::Attach),
    row("/attach/{namespace}/{pod}/{uid}/{container}", GET_POST, PROXY, Needs::Announced, Target::Attach),
    row("/run/{namespace}/{pod}/{container}", POST, PROXY, Needs::Announced, Target::Run),
    row("/run/{namespace}/{pod}/{uid}/{container}", POST, PROXY, Needs::Announced, Target::Run),
    row("/portForward/{namespace}/{pod}", GET_POST, PROXY, Needs::Announced, Target::PortForward),
    row("/portForward/{namespace}/{pod}/{uid}", GET_POST, PROXY, Needs::Announced, Target::PortForward),
    row("/logs/{path*}", GET, &["log"], Needs::SystemLog, Target::Logs),
    row(
        "/checkpoint/{namespace}/{pod}/{container}",
        POST,
        &["checkpoint"],
        Needs::Gate("ContainerCheckpoint"),
        Target::Checkpoint,
    ),
    row("/configz", READ, &["configz", "proxy"], Needs::Debugging, Target::Configz),
    row("/statusz", READ, &["statusz"], Needs::Gate("ComponentStatusz"), Target::Statusz),
    row("/flagz", READ, &["configz"], Needs::Gate("ComponentFlagz"), Target::Flagz),
    row("/debug/pprof/{profile*}", GET, PROXY, Needs::Profiling, Target::Profile),
    row("/debug/flags/v", PUT, PROXY, Needs::DebugFlags, Target::Verbosity),
    row("/nodelet/status", GET, PROXY, Needs::Local, Target::Overview),
];

const fn row(
    path: &'static str,
    methods: &'static [&'static str],
    subresources: &'static [&'static str],
    needs: Needs,
    target: Target,
) -> Endpoint {
    Endpoint { path, methods, subresources, needs, target }
}

impl Needs {
    /// Why this is not there, if it is not.
    pub(super) fn off(self, config: &Config, door: Door) -> Option<Off> {
        let debugging = config.enable_debugging_handlers && door == Door::ReadWrite;
        match self {
            Self::Nothing => None,
            _ if door == Door::Local => None,
            Self::Local => Some(Off::Absent),
            Self::Debugging | Self::Gate(_) | Self::DebugFlags if !debugging => Some(Off::Absent),
            Self::Gate(gate) => (!config.gate(gate)).then_some(Off::Absent),
            Self::DebugFlags => (!config.enable_debug_flags_handler).then_some(Off::Disabled(FLAGS_OFF)),
            Self::Announced | Self::SystemLog | Self::Profiling if !debugging => {
                Some(Off::Disabled(DEBUGGING_OFF))
            }
            Self::SystemLog => (!config.enable_system_log_handler).then_some(Off::Disabled(LOGS_OFF)),
            Self::Profiling => (!config.enable_profiling_handler).then_some(Off::Disabled(PROFILING_OFF)),
            Self::Debugging | Self::Announced => None,
        }
    }
}

impl Target {
    pub(super) fn is_health(self) -> bool {
        matches!(self, Self::Healthz | Self::HealthzPart)
    }

    /// Whether an answer is not whole when it begins.
    pub(super) fn lasts(self) -> bool {
        matches!(
            self,
            Self::Attach | Self::ContainerLogs | Self::Exec | Self::Logs | Self::PortForward | Self::Run
        )
    }
}

/// The endpoint of a path.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) endpoint: &'static Endpoint,
    /// The path lacks the slash at its end, and its caller is sent to the one with it.
    pub(super) lacks_slash: bool,
    values: Vec<(&'static str, String)>,
}

impl Found {
    /// What stands in the path where the endpoint has `{name}` or `{name*}`; empty where it has none.
    pub(super) fn value(&self, name: &str) -> &str {
        self.values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// The endpoint of a request's path, which is percent-encoded and without its query.
pub(super) fn find(path: &str) -> Option<Found> {
    let decoded = |segment| percent_decode_str(segment).decode_utf8().ok().map(Into::into);
    let mut segments: Vec<String> = path.strip_prefix('/')?.split('/').map(decoded).collect::<Option<_>>()?;
    if let Some(found) = fitting(&segments) {
        return Some(found);
    }
    segments.push(String::new());
    Some(Found { lacks_slash: true, ..fitting(&segments)? })
}

/// What a request is counted under; nothing is counted at the healthz port (behaviour.md 35.20) and at the local socket.
pub(super) fn kind(path: &str, found: Option<&Found>, door: Door) -> Option<Kind> {
    let wanted = bucket(found.map_or(path, |found| found.endpoint.path));
    let path = ENDPOINTS.iter().map(|endpoint| bucket(endpoint.path)).find(|known| *known == wanted);
    let path = path.unwrap_or("other");
    let server = match door {
        Door::ReadWrite => "readwrite",
        Door::ReadOnly => "readonly",
        Door::Healthz | Door::Local => return None,
    };
    Some(Kind { path, server, is_long_running: LONG_RUNNING.contains(&path) })
}

/// The path's first segment, and of metrics the second too.
fn bucket(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    let mut slashes = path.match_indices('/').map(|(at, _)| at);
    let first = slashes.next().unwrap_or(path.len());
    match &path[..first] {
        "metrics" => &path[..slashes.next().unwrap_or(path.len())],
        root => root,
    }
}

/// Whether paths that begin like this one are switched off with `enableDebuggingHandlers`.
pub(super) fn is_announced(path: &str) -> bool {
    ENDPOINTS.iter().any(|endpoint| endpoint.needs == Needs::Announced && root(endpoint.path) == root(path))
}

fn root(path: &str) -> &str {
    path.trim_start_matches('/').split('/').next().unwrap_or_default()
}

fn fitting(segments: &[String]) -> Option<Found> {
    ENDPOINTS.iter().find_map(|endpoint| {
        let values = values(endpoint.path, segments)?;
        Some(Found { endpoint, lacks_slash: false, values })
    })
}

/// What a form leaves open, if it fits.
fn values(form: &'static str, segments: &[String]) -> Option<Vec<(&'static str, String)>> {
    let mut values = Vec::new();
    let mut left = segments;
    let mut open = false;
    for part in form.trim_start_matches('/').split('/') {
        let (segment, rest) = left.split_first()?;
        let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        open = name.is_some();
        match name.map(|name| (name, name.strip_suffix('*'))) {
            Some((_, Some(name))) => {
                values.push((name, left.join("/")));
                return Some(values);
            }
            Some((name, None)) if !segment.is_empty() => values.push((name, segment.clone())),
            None if part == segment => {}
            _ => return None,
        }
        left = rest;
    }
    // A slash after a name is as good as none.
    let ends = left.is_empty() || (open && left.len() == 1 && left[0].is_empty());
    ends.then_some(values)
}

#[cfg(test)]
mod tests;
