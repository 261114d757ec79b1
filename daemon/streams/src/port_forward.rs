//! Port-forward for a client with a WebSocket (behaviour.md 37.8, 37.9).
//!
//! | sub-protocol | what the messages are |
//! |---|---|
//! | `SPDY/3.1+portforward.k8s.io` | bytes of a SPDY connection, which goes on to the runtime as it is |
//! | `v4.channel.k8s.io`, its text form, none | channel 2i: data of the request's i-th port, 2i+1: its errors; each begins with the port, low byte first |

use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};
use http::{Method, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::bridge::{
    self, Access, Channels, FromTunnel, Plain, Plan, Session, SessionEnd, Streams, ToChannels, ToStreams,
    ToTunnel,
};
use crate::remote_command::websocket;
use crate::upgrade::{self, ConnectError, Connection, STREAM_PROTOCOL};
use crate::websocket::Role;

/// Ports of one request at most: each is two of 64 channels.
pub const PORTS: usize = 32;
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const BINARY: &str = "v4.channel.k8s.io";
const TEXT: &str = "v4.base64.channel.k8s.io";

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A SPDY connection within messages.
    Tunnel,
    /// Channels; of text or of bytes.
    Channels {
        /// Messages are base64.
        is_text: bool,
    },
}

impl Protocol {
    /// The first of the client's names that is spoken, with that name; a client that names none gets channels, without a name.
    #[must_use]
    pub fn choose(offered: &[String]) -> Option<(Self, Option<&'static str>)> {
        if offered.is_empty() {
            return Some((Self::Channels { is_text: false }, None));
        }
        offered.iter().find_map(|name| match name.as_str() {
            TUNNEL => Some((Self::Tunnel, Some(TUNNEL))),
            BINARY => Some((Self::Channels { is_text: false }, Some(BINARY))),
            TEXT => Some((Self::Channels { is_text: true }, Some(TEXT))),
            _ => None,
        })
    }

    /// Every name, for a refusal.
    #[must_use]
    pub fn names() -> [&'static str; 3] {
        [TUNNEL, BINARY, TEXT]
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

/// Connects with SPDY to the URL that the runtime has given for a pod.
///
/// # Errors
/// It cannot be reached, or refuses. Where it refuses the protocol and the client speaks in channels, [`connect_websocket`] may do, with
/// another URL: each is good for one try.
pub async fn connect(url: &Uri) -> Result<Runtime, ConnectError> {
    let mut headers = HeaderMap::new();
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static("portforward.k8s.io"));
    let (_, connection) = upgrade::connect(Method::POST, url, "SPDY/3.1", &headers).await?;
    Ok(Runtime(Spoken::Spdy(connection)))
}

/// Connects with a WebSocket, for a client that speaks in channels.
///
/// # Errors
/// It cannot be reached, or refuses.
pub async fn connect_websocket(url: &Uri) -> Result<Runtime, ConnectError> {
    Ok(Runtime(Spoken::WebSocket(websocket(url, BINARY).await?)))
}

/// Passes a session on until it has ended. `ports` are those of the request, at most [`PORTS`]; `idle` as with
/// [`crate::remote_command::serve`].
pub async fn serve<C, R>(
    client: C,
    runtime: Runtime<R>,
    protocol: Protocol,
    ports: &[u16],
    idle: Duration,
) -> SessionEnd
where
    C: AsyncRead + AsyncWrite,
    R: AsyncRead + AsyncWrite,
{
    let ports = &ports[..ports.len().min(PORTS)];
    let mut session = Session {
        idle,
        greeting: Vec::new(),
        opening: Vec::new(),
        awaits_ready: false,
        input: None,
        failure: &|_| None,
    };
    let (is_text, runtime) = match (protocol, runtime.0) {
        (Protocol::Channels { is_text }, Spoken::WebSocket(runtime)) => {
            let from_client = Channels::new(Role::Server, is_text, false);
            let for_client =
                ToChannels::new(Role::Server, is_text, channels(ports).map(|(channel, _)| channel));
            let from_runtime = Channels::new(Role::Client, false, false);
            let data = channels(ports).map(|(channel, _)| channel).filter(|channel| channel % 2 == 0);
            let for_runtime = ToChannels::new(Role::Client, false, data);
            return bridge::run(client, runtime, from_client, for_client, from_runtime, for_runtime, session)
                .await;
        }
        (Protocol::Tunnel, Spoken::Spdy(runtime) | Spoken::WebSocket(runtime)) => {
            return bridge::run(client, runtime, FromTunnel::new(), ToTunnel, Plain, Plain, session).await;
        }
        (Protocol::Channels { is_text }, Spoken::Spdy(runtime)) => (is_text, runtime),
    };
    let from_client = Channels::new(Role::Server, is_text, false);
    let mut for_client = ToChannels::new(Role::Server, is_text, channels(ports).map(|(channel, _)| channel));
    session.greeting = channels(ports)
        .flat_map(|(channel, port)| for_client.message(channel, &port.to_le_bytes()))
        .collect();
    let (plan, opening) = streams(ports);
    (session.opening, session.awaits_ready) = (opening, true);
    let (from_runtime, for_runtime) = (Streams::new(plan.clone()), ToStreams::new(plan));
    bridge::run(client, runtime, from_client, for_client, from_runtime, for_runtime, session).await
}

/// Each channel with its port.
fn channels(ports: &[u16]) -> impl Iterator<Item = (u8, u16)> {
    ports.iter().zip(0_u8..).flat_map(|(port, index)| [(index * 2, *port), (index * 2 + 1, *port)])
}

/// For each port a stream of errors and one of data, as clients of Kubernetes open them.
fn streams(ports: &[u16]) -> (Plan, Vec<u8>) {
    let numbers: Vec<_> =
        ports.iter().enumerate().map(|(index, port)| (index.to_string(), port.to_string())).collect();
    let (mut streams, mut headers) = (Vec::new(), Vec::new());
    for ((id, port), index) in numbers.iter().zip(0_u8..) {
        for (kind, channel, access) in
            [("error", index * 2 + 1, Access::Read), ("data", index * 2, Access::Both)]
        {
            streams.push((channel, access));
            headers.push(vec![("streamtype", kind), ("port", port.as_str()), ("requestid", id.as_str())]);
        }
    }
    let plan = Plan::new(streams);
    let opening = plan.opening(&headers);
    (plan, opening)
}

#[cfg(test)]
mod tests;
