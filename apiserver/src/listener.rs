//! The HTTPS listener: connections, their limits, and an end in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::api::Api;
use crate::backend::watch_over;
use crate::connect::Peer;
use crate::pki::{Credential, Subject};
use crate::service;

/// Connections at most; further ones wait in the kernel's queue.
const CONNECTIONS_LIMIT: usize = 4096;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to send the head of a request, which also ends idle HTTP/1 connections.
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);
/// Largest head of a request, in bytes.
const HEADER_LIMIT_BYTES: usize = 64 * 1024;
/// Requests that one HTTP/2 connection may have under way (watches count).
const STREAMS_LIMIT: u32 = 1000;
/// An HTTP/2 peer that does not answer pings is gone.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// How long requests under way may take to end when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after an error of accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error("listening on {address}")]
    Bind { address: SocketAddr, source: io::Error },
    #[error("setting up TLS: {0}")]
    Tls(String),
}

/// A bound socket that does not serve yet.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: TlsAcceptor,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Listener {
    pub(crate) async fn bind(
        address: SocketAddr,
        server: &Credential,
        ca_pem: &str,
    ) -> Result<Self, ListenError> {
        let tls = TlsAcceptor::from(Arc::new(tls_config(server, ca_pem)?));
        let bound = async {
            let socket = TcpListener::bind(address).await?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        };
        let (socket, address) = bound.await.map_err(|source| ListenError::Bind { address, source })?;
        Ok(Self { socket, address, tls })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the server is told to stop, and then until the requests under way have ended, or have had their time.
    pub(crate) async fn run(self, api: Arc<Api>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_LIMIT));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                // Cancel-safe: a connection that was not taken stays in the kernel's queue, a permit is given back.
                biased;
                () = api.stop.cancelled() => break,
                accepted = accept(&self.socket, &connections) => accepted,
            };
            match accepted {
                Ok((stream, peer, permit)) => {
                    let tls = self.tls.clone();
                    let connection = Connection { api: api.clone(), tls, peer, _permit: permit };
                    tokio::spawn(connection.serve(stream, graceful.watcher()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
    }
}

async fn accept(
    socket: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, address) = socket.accept().await?;
    watch_over(&stream)?;
    Ok((stream, Peer(address.ip().to_canonical()), permit))
}

/// One connection.
struct Connection {
    api: Arc<Api>,
    tls: TlsAcceptor,
    peer: Peer,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self, stream: TcpStream, watcher: hyper_util::server::graceful::Watcher) {
        let handshake = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
                refuse_plain(stream).await?;
                return Err(io::Error::other("a request without TLS"));
            }
            self.tls.accept(stream).await
        };
        let stream = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake");
                return;
            }
            Err(_) => {
                tracing::debug!("TLS handshake not done in time");
                return;
            }
        };
        let certificate = client_subject(&stream).map(Arc::new);
        let (api, peer) = (self.api, self.peer);
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (api, certificate) = (api.clone(), certificate.clone());
            request.extensions_mut().insert(peer);
            async move { Ok::<_, std::convert::Infallible>(service::serve(api, certificate, request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_LIMIT_BYTES.max(8192));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_LIMIT)
            .max_header_list_size(HEADER_LIMIT_BYTES as u32)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "connection");
        }
    }
}

/// Tells a client that speaks HTTP without TLS what is wrong, in the words of Go's server. Methods begin with a capital letter,
/// which no record of TLS does.
async fn refuse_plain(mut stream: TcpStream) -> io::Result<()> {
    const ANSWER: &[u8] =
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
    stream.write_all(ANSWER).await?;
    stream.shutdown().await?;
    // What the client has sent is read: a socket that is closed with unread bytes is reset, and the answer lost.
    let mut rest = [0; 1024];
    for _ in 0..HEADER_LIMIT_BYTES / rest.len() {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Whom the client's certificate names; it has been verified in the handshake.
fn client_subject(stream: &TlsStream<TcpStream>) -> Option<Subject> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let digest = Sha256::digest(certificate);
    let fingerprint = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let expires = Timestamp::from_second(parsed.validity().not_after.timestamp()).ok();
    Some(Subject { fingerprint, expires, ..Subject::of(&parsed) })
}

fn tls_config(server: &Credential, ca_pem: &str) -> Result<ServerConfig, ListenError> {
    let failed = |e: &dyn std::fmt::Display| ListenError::Tls(e.to_string());
    let certificate =
        CertificateDer::from_pem_slice(server.certificate_pem.as_bytes()).map_err(|e| failed(&e))?;
    let key = PrivateKeyDer::from_pem_slice(server.key_pem.as_bytes()).map_err(|e| failed(&e))?;
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|e| failed(&e))?;
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).map_err(|e| failed(&e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| failed(&e))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(&e))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate, ca], key)
        .map_err(|e| failed(&e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
