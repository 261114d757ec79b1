//! Sockets, limits, and the end of connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepIdle, TcpKeepInterval};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::access::{Access, User, Wish};
use super::reply::Reply;
use super::{Asked, Context, endpoint, reply, route};
use crate::stop::stopped;

/// Connections at most; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 512;
const HEALTHZ_CONNECTIONS: usize = 32;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may take to send the head of a request, which also ends idle HTTP/1 connections.
const HEADER: Duration = Duration::from_secs(90);
const HEADER_BYTES: usize = 64 * 1024;
/// Of a request; all that is ever sent is a number.
const BODY_BYTES: usize = 64 * 1024;
const STREAMS: u32 = 250;
/// An HTTP/2 peer that does not answer pings is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING: Duration = Duration::from_secs(15);
/// Between probes of a quiet connection, and before the first one.
const KEEP_ALIVE_SECONDS: u32 = 30;
/// After an error of accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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

/// Serves `/healthz` without TLS until `stop`.
pub(super) async fn plain(socket: TcpListener, stop: watch::Receiver<bool>) {
    accept(socket, HEALTHZ_CONNECTIONS, stop, |stream, permit, stop| {
        tokio::spawn(until(stop, serve_plain(stream, permit)));
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
                Ok((stream, _)) => serve(stream, permit, stop.clone()),
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
async fn until(mut stop: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stopped(&mut stop) => {}
        () = work => {}
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER).max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING);
    builder
}

async fn serve_tls(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    context: Context,
    _permit: OwnedSemaphorePermit,
) {
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
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake"),
        Err(_) => return tracing::debug!("TLS handshake not done in {HANDSHAKE:?}"),
    };
    let certificate = Arc::new(Access::of_certificate(stream.get_ref().1.peer_certificates()));
    let service = service_fn(move |request: Request<Incoming>| {
        let (certificate, context) = (Arc::clone(&certificate), context.clone());
        async move {
            let asked = request.map(|body| Limited::new(body, BODY_BYTES).boxed());
            Ok::<_, Infallible>(respond(&context, certificate.as_ref().as_ref(), asked).await)
        }
    });
    if let Err(error) = builder().serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection to port 10250");
    }
}

/// The answer to a request on port 10250, which may be a refusal.
pub(super) async fn respond(context: &Context, certificate: Option<&User>, asked: Asked) -> Reply {
    let found = endpoint::find(asked.uri().path());
    let wish = Wish::of(asked.method(), found.as_ref().map(|found| found.endpoint));
    match context.access.check(certificate, wish, asked.headers()).await {
        Ok(_) => route::answer(context, found, asked).await,
        Err(refusal) => refusal,
    }
}

async fn serve_plain(stream: TcpStream, _permit: OwnedSemaphorePermit) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let reply = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/healthz") => reply::text(StatusCode::OK, "ok"),
            _ => reply::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        };
        Ok::<_, Infallible>(reply)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the healthz port");
    }
}
