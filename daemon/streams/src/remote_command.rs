//! Exec and attach: the streams of a process, for a client with a WebSocket (behaviour.md 37).
//!
//! | channel | carries |
//! |---|---|
//! | 0 | stdin |
//! | 1 | stdout |
//! | 2 | stderr; not with a terminal |
//! | 3 | how it ended: a `v1.Status` as JSON since v4, before that an error's text or nothing |
//! | 4 | the terminal's size, as JSON |
//! | 255 | since v5: the next byte is a channel in which nothing more comes |
//!
//! Towards the runtime each is a SPDY stream, whose end can be told too. A runtime that refuses SPDY is spoken to with a WebSocket of v4,
//! which cannot tell it: such a process does not see the end of its input.

use std::time::Duration;

use http::header::{
    HeaderMap, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use http::{Method, Uri};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::bridge::{self, Access, Channels, Plan, Session, SessionEnd, Streams, ToChannels, ToStreams};
use crate::upgrade::{self, ConnectError, Connection, STREAM_PROTOCOL};
use crate::websocket::{self, Role};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Which streams there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The client sends input.
    pub stdin: bool,
    /// The client wants the output.
    pub stdout: bool,
    /// The client wants the errors; never together with a terminal, which mixes both.
    pub stderr: bool,
    /// There is a terminal, whose size the client may tell.
    pub tty: bool,
}

/// A sub-protocol of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocol {
    name: &'static str,
    version: u8,
    is_text: bool,
}

/// What is spoken, as clients name it. Without a name it is the first one.
const PROTOCOLS: [Protocol; 6] = [
    Protocol { name: "channel.k8s.io", version: 1, is_text: false },
    Protocol { name: "base64.channel.k8s.io", version: 1, is_text: true },
    Protocol { name: "v4.channel.k8s.io", version: 4, is_text: false },
    Protocol { name: "v4.base64.channel.k8s.io", version: 4, is_text: true },
    Protocol { name: "v5.channel.k8s.io", version: 5, is_text: false },
    Protocol { name: "v5.base64.channel.k8s.io", version: 5, is_text: true },
];

impl Protocol {
    /// The first of the client's names that is spoken, with that name; a client that names none gets the oldest, without a name.
    #[must_use]
    pub fn choose(offered: &[String]) -> Option<(Self, Option<&'static str>)> {
        if offered.is_empty() {
            return Some((PROTOCOLS[0], None));
        }
        let known = |name: &String| PROTOCOLS.iter().find(|protocol| protocol.name == name);
        offered.iter().find_map(known).map(|protocol| (*protocol, Some(protocol.name)))
    }

    /// Every name, for a refusal.
    #[must_use]
    pub fn names() -> [&'static str; PROTOCOLS.len()] {
        PROTOCOLS.map(|protocol| protocol.name)
    }

    /// What the streams are spoken with towards a runtime: how an end is told is what differs.
    fn spdy_name(self) -> &'static str {
        if self.version >= 4 { "v4.channel.k8s.io" } else { "v3.channel.k8s.io" }
    }

    fn websocket_name(self) -> &'static str {
        if self.version >= 4 { "v4.channel.k8s.io" } else { "channel.k8s.io" }
    }

    /// Why a client was cut off, in the error channel.
    fn failure(self, why: &str) -> Vec<u8> {
        if self.version < 4 {
            return why.as_bytes().to_vec();
        }
        let status = json!({ "metadata": {}, "status": "Failure", "message": why, "reason": "InternalError", "code": 500 });
        status.to_string().into_bytes()
    }
}

/// A runtime's side of a session.
#[derive(Debug)]
pub struct Runtime<R = Connection>(Spoken<R>);

#[derive(Debug)]
enum Spoken<R> {
    Spdy(R),
    WebSocket(R),
}

/// Connects with SPDY to the URL that the runtime has given for a process.
///
/// # Errors
/// It cannot be reached, or refuses. Where it refuses the protocol, [`connect_websocket`] may do, with another URL: each is good for one try.
pub async fn connect(url: &Uri, protocol: Protocol) -> Result<Runtime, ConnectError> {
    let mut headers = HeaderMap::new();
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol.spdy_name()));
    let (_, connection) = upgrade::connect(Method::POST, url, "SPDY/3.1", &headers).await?;
    Ok(Runtime(Spoken::Spdy(connection)))
}

/// Connects with a WebSocket, in which the end of the input cannot be told.
///
/// # Errors
/// It cannot be reached, or refuses.
pub async fn connect_websocket(url: &Uri, protocol: Protocol) -> Result<Runtime, ConnectError> {
    let connection = websocket(url, protocol.websocket_name()).await?;
    Ok(Runtime(Spoken::WebSocket(connection)))
}

/// Asks a runtime for a WebSocket.
pub(crate) async fn websocket(url: &Uri, protocol: &'static str) -> Result<Connection, ConnectError> {
    let mut headers = HeaderMap::new();
    if let Ok(key) = HeaderValue::from_str(&websocket::request_key()) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    upgrade::connect(Method::GET, url, "websocket", &headers).await.map(|(_, connection)| connection)
}

/// Passes a session on until it has ended; `idle` (zero: for ever) is how long nothing may move either way. Pings of the client are
/// traffic, its answers to ours are not.
pub async fn serve<C, R>(
    client: C,
    runtime: Runtime<R>,
    protocol: Protocol,
    options: Options,
    idle: Duration,
) -> SessionEnd
where
    C: AsyncRead + AsyncWrite,
    R: AsyncRead + AsyncWrite,
{
    let outputs = [(STDOUT, options.stdout), (STDERR, options.stderr), (ERROR, true)];
    let outputs = outputs.into_iter().filter(|(_, wanted)| *wanted).map(|(channel, _)| channel);
    let from_client = Channels::new(Role::Server, protocol.is_text, protocol.version >= 5);
    let mut for_client = ToChannels::new(Role::Server, protocol.is_text, outputs.clone());
    // An empty message in the first channel that the client reads tells it that the session is there.
    let greeting = outputs.clone().next().map(|channel| for_client.message(channel, &[])).unwrap_or_default();
    let failure = move |why: &str| {
        let mut encoder = ToChannels::new(Role::Server, protocol.is_text, [ERROR]);
        Some(encoder.message(ERROR, &protocol.failure(why)))
    };
    let opening = Vec::new();
    let mut session =
        Session { idle, greeting, opening, awaits_ready: false, input: Some(STDIN), failure: &failure };
    match runtime.0 {
        Spoken::Spdy(runtime) => {
            let (plan, opening) = streams(options);
            (session.opening, session.awaits_ready) = (opening, true);
            let (from_runtime, for_runtime) = (Streams::new(plan.clone()), ToStreams::new(plan));
            bridge::run(client, runtime, from_client, for_client, from_runtime, for_runtime, session).await
        }
        Spoken::WebSocket(runtime) => {
            let from_runtime = Channels::new(Role::Client, false, false);
            let inputs = [(STDIN, options.stdin), (RESIZE, options.tty)];
            let inputs = inputs.into_iter().filter(|(_, wanted)| *wanted).map(|(channel, _)| channel);
            let for_runtime = ToChannels::new(Role::Client, false, inputs);
            bridge::run(client, runtime, from_client, for_client, from_runtime, for_runtime, session).await
        }
    }
}

/// The streams that a runtime waits for, in the order in which clients of Kubernetes open them.
fn streams(options: Options) -> (Plan, Vec<u8>) {
    let streams = [
        (true, ERROR, Access::Read, "error"),
        (options.stdin, STDIN, Access::Write, "stdin"),
        (options.stdout, STDOUT, Access::Read, "stdout"),
        (options.stderr, STDERR, Access::Read, "stderr"),
        (options.tty, RESIZE, Access::Write, "resize"),
    ];
    let wanted = || streams.iter().filter(|(wanted, ..)| *wanted);
    let plan = Plan::new(wanted().map(|(_, channel, access, _)| (*channel, *access)).collect());
    let headers: Vec<_> = wanted().map(|(.., kind)| vec![("streamtype", *kind)]).collect();
    let opening = plan.opening(&headers);
    (plan, opening)
}

#[cfg(test)]
mod tests;
