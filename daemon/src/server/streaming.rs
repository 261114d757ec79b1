//! Exec, attach, run and port-forward: which container or sandbox is meant, where the runtime serves it, and what joins the client to that
//! (behaviour.md 35.5 to 35.8, 37).
//!
//! ```text
//!  query, pod, container ──CRI Exec, Attach, PortForward──> URL
//!  a client with SPDY       ──bytes, unread──────────────────> URL      streams::upgrade::relay
//!  a client with WebSocket  ──frames into frames─────────────> URL      streams::remote_command, streams::port_forward
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `query` | what a request asks for |
//! | `target` | the container or sandbox that it is about |
//! | `client` | what the client speaks, and the answer that makes it speak that |

mod client;
mod query;
mod target;

use std::sync::Arc;

use cri_client::{CallError, v1};
use http::header::{HeaderValue, RETRY_AFTER};
use http::{StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use streams::upgrade::{self, ConnectError, Connection};
use streams::{SessionEnd, port_forward as ports, remote_command as command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::client::{Client, Spoken};
use super::endpoint::Found;
use super::ongoing::Ongoing;
use super::reply::{self, Reply};
use super::{Asked, Context, container};
use crate::cause::chain;
use crate::stop::stopped;

/// Sessions of the node at once; further ones are refused. Each has two connections, and memory only for what is on its way.
const SESSIONS: usize = 1024;

/// The sessions that run.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    free: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Sessions {
    /// They end with `stop`.
    pub(super) fn new(stop: watch::Receiver<bool>) -> Self {
        Self { free: Arc::new(Semaphore::new(SESSIONS)), stop }
    }

    fn admit(&self, ongoing: Option<Ongoing>) -> Result<Admitted, Box<Reply>> {
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            let why = format!("this node has {SESSIONS} streaming sessions already");
            let mut refusal = reply::error(StatusCode::TOO_MANY_REQUESTS, why);
            refusal.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
            Box::new(refusal)
        })?;
        Ok(Admitted { permit, ongoing, stop: self.stop.clone() })
    }
}

#[cfg(test)]
impl Default for Sessions {
    fn default() -> Self {
        Self::new(watch::channel(false).1)
    }
}

/// A session's place.
struct Admitted {
    permit: OwnedSemaphorePermit,
    /// The request counts, and its connection, until the session ends.
    ongoing: Option<Ongoing>,
    stop: watch::Receiver<bool>,
}

impl Admitted {
    /// Runs `session` over the client's connection, once that is upgraded.
    fn run<F>(self, what: String, client: OnUpgrade, session: impl FnOnce(Connection) -> F + Send + 'static)
    where
        F: Future<Output = SessionEnd> + Send,
    {
        let Self { permit, ongoing, mut stop } = self;
        tokio::spawn(async move {
            let _places = (permit, ongoing);
            let work = async {
                match upgrade::accepted(client).await {
                    Ok(client) => match session(client).await {
                        SessionEnd::Runtime(why) => {
                            tracing::warn!(what, why, "a streaming session was cut off")
                        }
                        end => tracing::debug!(what, ?end, "a streaming session has ended"),
                    },
                    Err(why) => tracing::debug!(what, why, "a streaming session did not begin"),
                }
            };
            tokio::select! {
                // Cancel-safe: nothing comes after it.
                () = stopped(&mut stop) => {}
                () = work => {}
            }
        });
    }
}

/// What a runtime is asked to serve.
enum Wanted {
    Exec(v1::ExecRequest),
    Attach(v1::AttachRequest),
    PortForward(v1::PortForwardRequest),
}

impl Wanted {
    /// As a kubelet counts it.
    fn subresource(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Attach(_) => "attach",
            Self::PortForward(_) => "portforward",
        }
    }

    /// The runtime's URL for it, which is good for one connection.
    async fn url(&self, context: &Context) -> Result<Uri, Box<Reply>> {
        let url = match self {
            Self::Exec(request) => context.cri.exec(request.clone()).await,
            Self::Attach(request) => context.cri.attach(request.clone()).await,
            Self::PortForward(request) => context.cri.port_forward(request.clone()).await,
        };
        let url = url.map_err(|error| Box::new(failed(&error)))?;
        url.parse().map_err(|error| {
            let why = format!("the container runtime's URL {url:?} cannot be used: {error}");
            Box::new(reply::text(StatusCode::INTERNAL_SERVER_ERROR, why))
        })
    }
}

/// `/exec/...`
pub(super) async fn exec(context: &Context, found: &Found, asked: Asked) -> Reply {
    let query = asked.uri().query().unwrap_or_default();
    let (options, command) = match query::remote_command(query, None) {
        Ok(asked) => asked,
        Err(why) => return reply::text(StatusCode::BAD_REQUEST, why),
    };
    let (pod, name) = match target::pod(context, found) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    let Some(id) = container::running(&pod, name) else {
        return reply::text(StatusCode::INTERNAL_SERVER_ERROR, target::not_found(name));
    };
    let request = v1::ExecRequest {
        container_id: id,
        cmd: command,
        tty: options.tty,
        stdin: options.stdin,
        stdout: options.stdout,
        stderr: options.stderr,
    };
    remote_command(context, asked, options, &Wanted::Exec(request)).await
}

/// `/attach/...`
pub(super) async fn attach(context: &Context, found: &Found, asked: Asked) -> Reply {
    let query = asked.uri().query().unwrap_or_default();
    if let Err(why) = query::remote_command(query, None) {
        return reply::text(StatusCode::BAD_REQUEST, why);
    }
    let (pod, name) = match target::pod(context, found) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    let (Some(id), Some(has_tty)) = (container::running(&pod, name), container::has_tty(&pod, name)) else {
        let why = format!("container {name} not found in pod {}", target::full_name(&pod));
        return reply::text(StatusCode::INTERNAL_SERVER_ERROR, why);
    };
    // The process has its terminal or not, whatever the client thinks.
    let options = match query::remote_command(query, Some(has_tty)) {
        Ok((options, _)) => options,
        Err(why) => return reply::text(StatusCode::BAD_REQUEST, why),
    };
    let request = v1::AttachRequest {
        container_id: id,
        stdin: options.stdin,
        tty: options.tty,
        stdout: options.stdout,
        stderr: options.stderr,
    };
    remote_command(context, asked, options, &Wanted::Attach(request)).await
}

/// What exec and attach have in common.
async fn remote_command(
    context: &Context,
    mut asked: Asked,
    options: command::Options,
    request: &Wanted,
) -> Reply {
    let (client, admitted) = match begin(context, &mut asked, request) {
        Ok(begun) => begun,
        Err(refusal) => return *refusal,
    };
    let offer = match client.spoken {
        Spoken::Spdy => return relayed(context, &asked, client.upgrade, admitted, request).await,
        Spoken::WebSocket(offer) => offer,
    };
    let Some((protocol, name)) = command::Protocol::choose(&offer.protocols) else {
        return client::unknown_protocols(&offer.protocols, &command::Protocol::names());
    };
    let first = match request.url(context).await {
        Ok(url) => url,
        Err(refusal) => return *refusal,
    };
    let connected = match command::connect(&first, protocol).await {
        Err(error) if error.is_about_protocol() => match request.url(context).await {
            Ok(url) => command::connect_websocket(&url, protocol).await,
            Err(refusal) => return *refusal,
        },
        connected => connected,
    };
    match connected {
        Ok(runtime) => {
            let idle = context.config.streaming_connection_idle_timeout.to_std();
            admitted.run(asked.uri().path().to_owned(), client.upgrade, move |client| {
                command::serve(client, runtime, protocol, options, idle)
            });
            client::web_socket(&offer.accept, name)
        }
        Err(error) => refused(error),
    }
}

/// `/portForward/...`
pub(super) async fn port_forward(context: &Context, found: &Found, mut asked: Asked) -> Reply {
    let chosen = client::offered(asked.headers()).map(|offer| ports::Protocol::choose(&offer.protocols));
    // Only channels have to know the ports beforehand.
    let wanted = match chosen {
        Some(Some((ports::Protocol::Channels { .. }, _))) => {
            query::ports(asked.uri().query().unwrap_or_default())
        }
        _ => Ok(Vec::new()),
    };
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(why) => return reply::text(StatusCode::BAD_REQUEST, why),
    };
    let (pod, _) = match target::pod(context, found) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    if !found.value("uid").is_empty() && found.value("uid") != uid {
        return reply::text(StatusCode::NOT_FOUND, "pod not found");
    }
    let Some(sandbox) = context.pods.sandbox(uid) else {
        let why = format!("pod not found ({:?})", target::full_name(&pod));
        return reply::text(StatusCode::INTERNAL_SERVER_ERROR, why);
    };
    let port = wanted.iter().map(|port| i32::from(*port)).collect();
    let request = Wanted::PortForward(v1::PortForwardRequest { pod_sandbox_id: sandbox, port });
    let (client, admitted) = match begin(context, &mut asked, &request) {
        Ok(begun) => begun,
        Err(refusal) => return *refusal,
    };
    let offer = match client.spoken {
        Spoken::Spdy => return relayed(context, &asked, client.upgrade, admitted, &request).await,
        Spoken::WebSocket(offer) => offer,
    };
    let Some(Some((protocol, name))) = chosen else {
        return client::unknown_protocols(&offer.protocols, &ports::Protocol::names());
    };
    let first = match request.url(context).await {
        Ok(url) => url,
        Err(refusal) => return *refusal,
    };
    let connected = match ports::connect(&first).await {
        Err(error) if error.is_about_protocol() && protocol != ports::Protocol::Tunnel => {
            match request.url(context).await {
                Ok(url) => ports::connect_websocket(&url).await,
                Err(refusal) => return *refusal,
            }
        }
        connected => connected,
    };
    match connected {
        Ok(runtime) => {
            let idle = context.config.streaming_connection_idle_timeout.to_std();
            admitted.run(asked.uri().path().to_owned(), client.upgrade, move |client| async move {
                ports::serve(client, runtime, protocol, &wanted, idle).await
            });
            client::web_socket(&offer.accept, name)
        }
        Err(error) => refused(error),
    }
}

/// `/run/...`: the command's output as the whole answer.
pub(super) async fn run(context: &Context, found: &Found, uri: &Uri) -> Reply {
    let command = query::run(uri.query().unwrap_or_default());
    let (pod, name) = match target::pod(context, found) {
        Ok(found) => found,
        Err(refusal) => return *refusal,
    };
    let Some(id) = container::running(&pod, name) else {
        return reply::text(StatusCode::INTERNAL_SERVER_ERROR, target::not_found(name));
    };
    match context.cri.exec_sync(&id, command.clone(), None).await {
        Ok(done) if done.exit_code == 0 => reply::raw_json([done.stdout, done.stderr].concat()),
        Ok(done) => {
            let (command, stderr) = (command.join(" "), String::from_utf8_lossy(&done.stderr));
            let why = format!("command '{command}' exited with {}: {stderr}", done.exit_code);
            reply::text(StatusCode::INTERNAL_SERVER_ERROR, why)
        }
        Err(error) => failed(&error),
    }
}

/// A client that wants an upgrade and a place for its session.
fn begin(context: &Context, asked: &mut Asked, request: &Wanted) -> Result<(Client, Admitted), Box<Reply>> {
    let client = Client::of(asked)?;
    if matches!(client.spoken, Spoken::WebSocket(_)) {
        context.metrics.websocket_asked(request.subresource());
    }
    Ok((client, context.sessions.admit(asked.extensions_mut().remove())?))
}

/// Joins a client with SPDY to the runtime, which speaks with it as if nobody was between them.
async fn relayed(
    context: &Context,
    asked: &Asked,
    client: OnUpgrade,
    admitted: Admitted,
    request: &Wanted,
) -> Reply {
    let url = match request.url(context).await {
        Ok(url) => url,
        Err(refusal) => return *refusal,
    };
    let headers = client::passed_on(asked.headers());
    match upgrade::connect(asked.method().clone(), &url, client::SPDY, &headers).await {
        Ok((answer, runtime)) => {
            let idle = context.config.streaming_connection_idle_timeout.to_std();
            admitted.run(asked.uri().path().to_owned(), client, move |client| async move {
                match upgrade::relay(client, runtime, idle).await {
                    upgrade::Ended::Client => SessionEnd::Client,
                    upgrade::Ended::Server => SessionEnd::Done,
                    upgrade::Ended::Idle => SessionEnd::Idle,
                }
            });
            client::spdy(answer.headers())
        }
        Err(error) => refused(error),
    }
}

/// The runtime's call was refused.
fn failed(error: &CallError) -> Reply {
    let status = if error.is_not_found() { StatusCode::NOT_FOUND } else { StatusCode::INTERNAL_SERVER_ERROR };
    reply::text(status, chain(error))
}

/// The runtime's streaming server could not be joined; its own words go through.
fn refused(error: ConnectError) -> Reply {
    match error {
        ConnectError::Refused { status, body, .. } => reply::text(status, body),
        error => reply::error(StatusCode::INTERNAL_SERVER_ERROR, chain(&error)),
    }
}

#[cfg(test)]
mod tests;
