//! Sockets, limits, and the end of connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepIdle, TcpKeepInterval};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::access::{Access, User, Wish};
use super::endpoint::Door;
use super::ongoing::{Connection, Ongoing, hold};
use super::patient::Patient;
use super::reply::Reply;
use super::{Asked, Context, endpoint, reply, route};
use crate::stop::stopped;

/// Connections to port 10250 at most; further ones wait in the kernel's queue. Those that a stream has taken over are bounded as places.
const CONNECTIONS: usize = 512;
/// The same of the read-only port and of the healthz port, each.
const PLAIN_CONNECTIONS: usize = 32;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take to send the head of a request.
const HEADER: Duration = Duration::from_secs(90);
/// Of a head; a kubelet takes 1 MiB, and what is sent is far below either.
const HEADER_BYTES: u32 = 64 * 1024;
/// Of a request; all that is ever sent is a number.
const BODY_BYTES: usize = 64 * 1024;
/// What is kept of a body that nobody reads, and of an answer that its caller does not read.
const STREAM_BYTES: u32 = 64 * 1024;
/// Requests at once over one HTTP/2 connection.
const STREAMS: u32 = 100;
/// A connection over which nothing goes on ends.
const IDLE: Duration = Duration::from_secs(90);
/// An HTTP/2 peer that does not answer pings is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING: Duration = Duration::from_secs(15);
/// Between probes of a quiet connection, and before the first one.
const KEEP_ALIVE_SECONDS: u32 = 30;
/// After an error of accept, such as too many open files.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the kubelet's API until `stop`; streams under way are cut then.
pub(super) async fn tls(
    socket: TcpListener,
    newest: watch::Receiver<Arc<ServerConfig>>,
    context: Context,
    stop: watch::Receiver<bool>,
) {
    accept(socket, CONNECTIONS, stop, move |stream, permit, stop| {
        let (acceptor, context) = (TlsAcceptor::from(Arc::clone(&newest.borrow())), context.clone());
        tokio::spawn(until(stop, serve_tls(stream, acceptor, context, permit)));
    })
    .await;
}

/// Serves the read-only port or the healthz port, without TLS, until `stop`.
pub(super) async fn plain(socket: TcpListener, context: Context, door: Door, stop: watch::Receiver<bool>) {
    accept(socket, PLAIN_CONNECTIONS, stop, move |stream, permit, stop| {
        let context = context.clone();
        tokio::spawn(until(stop, serve(stream, context, door, None, permit)));
    })
    .await;
}

async fn accept(
    socket: TcpListener,
    limit: usize,
    stop: watch::Receiver<bool>,
    serve: impl Fn(TcpStream, OwnedSemaphorePermit, watch::Receiver<bool>),
) {
    let permits = Arc::new(Semaphore::new(limit));
    let accepting = async {
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match socket.accept().await {
                Ok((stream, _)) => {
                    // Log lines are small and are waited for.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "a connection without TCP_NODELAY");
                    }
                    // A client that is gone without a word, while nothing is sent to it, is found out so.
                    let keep_alive = setsockopt(&stream, KeepAlive, &true)
                        .and_then(|()| setsockopt(&stream, TcpKeepIdle, &KEEP_ALIVE_SECONDS))
                        .and_then(|()| setsockopt(&stream, TcpKeepInterval, &KEEP_ALIVE_SECONDS));
                    if let Err(error) = keep_alive {
                        tracing::debug!(%error, "a connection without keep-alive");
                    }
                    serve(stream, permit, stop.clone());
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    until(stop.clone(), accepting).await;
}

/// Runs `work`, at most until `stop`.
pub(super) async fn until(mut stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stopped(&mut stop) => {}
        () = work => {}
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER).max_buf_size(HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES)
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(STREAM_BYTES as usize)
        .initial_stream_window_size(STREAM_BYTES)
        .initial_connection_window_size(STREAM_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING);
    builder
}

pub(super) async fn serve_tls<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    acceptor: TlsAcceptor,
    context: Context,
    permit: OwnedSemaphorePermit,
) {
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake"),
        Err(_) => return tracing::debug!("TLS handshake not done in {HANDSHAKE:?}"),
    };
    let certificate = Access::of_certificate(stream.get_ref().1.peer_certificates());
    serve(stream, context, Door::ReadWrite, certificate, permit).await;
}

/// Answers what comes over one connection until it ends or is idle.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    context: Context,
    door: Door,
    certificate: Option<User>,
    _permit: OwnedSemaphorePermit,
) {
    let connection = Connection::new();
    let certificate = Arc::new(certificate);
    let here = Arc::clone(&connection);
    let service = service_fn(move |request: Request<Incoming>| {
        let (certificate, context, here) = (Arc::clone(&certificate), context.clone(), Arc::clone(&here));
        async move {
            let asked = request.map(|body| Limited::new(body, BODY_BYTES).boxed());
            let certificate = certificate.as_ref().as_ref();
            Ok::<_, Infallible>(answer(&context, door, certificate, asked, here).await)
        }
    });
    let builder = builder();
    let io = TokioIo::new(Patient::new(stream, Arc::clone(&connection)));
    let mut served = std::pin::pin!(builder.serve_connection_with_upgrades(io, service));
    let ended = tokio::select! {
        // Both borrow what lives on after this: the other is simply polled no more, or goes on below.
        ended = served.as_mut() => ended,
        () = connection.idle(IDLE) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to {door:?}");
    }
}

/// The answer to a request, which counts until its answer has ended.
pub(super) async fn answer(
    context: &Context,
    door: Door,
    certificate: Option<&User>,
    mut asked: Asked,
    connection: Arc<Connection>,
) -> Reply {
    let found = endpoint::find(asked.uri().path());
    let lasts = found.as_ref().is_some_and(|found| found.endpoint.target.lasts());
    let kind = endpoint::kind(asked.uri().path(), found.as_ref(), door);
    let inflight = kind.map(|kind| context.metrics.http().begin(asked.method().as_str(), kind));
    let ongoing = Ongoing::new(connection, lasts, inflight);
    asked.extensions_mut().insert(ongoing.clone());
    let wish = Wish::of(asked.method(), found.as_ref().map(|found| found.endpoint));
    if door == Door::ReadWrite
        && let Err(refusal) = context.access.check(certificate, wish, asked.headers()).await
    {
        return hold(refusal, ongoing);
    }
    // Only after the question who it is: nobody else's requests keep a place.
    if !ongoing.take_place(&context.places) {
        let busy = reply::error(StatusCode::SERVICE_UNAVAILABLE, "too many requests are being answered");
        return hold(busy, ongoing);
    }
    hold(route::answer(context, door, found, asked).await, ongoing)
}

#[cfg(test)]
mod tests;
