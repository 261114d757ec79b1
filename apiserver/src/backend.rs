//! What requests are passed on to: the kubelets of nodes, and the ports of pods.
//!
//! Every request has a connection of its own, which ends with its answer: nothing that one caller has sent or left unread can become part
//! of another's request.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Limited, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::answer::{Body, Broken};
use crate::pki::Credential;

mod unverified;

/// How long a backend may take to accept a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most that is read ahead of a slow reader, in bytes; also the largest head of an answer.
const BUFFER_LIMIT_BYTES: usize = 64 * 1024;
/// Largest error text that is passed on, in bytes, and how long it may take.
const ERROR_LIMIT_BYTES: usize = 64 * 1024;
const ERROR_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that has gone without a word is noticed: after so many seconds without traffic it is asked, so many times, so often.
const KEEPALIVE_IDLE_SECONDS: u32 = 30;
const KEEPALIVE_EVERY_SECONDS: u32 = 10;
const KEEPALIVE_PROBES: u32 = 3;

/// How a connection to a backend is secured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    Plain,
    /// TLS without a certificate of ours, and without a look at the backend's (as upstream towards pods).
    Tls,
    /// TLS with this server's certificate for nodes.
    Kubelet,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: Security,
}

impl Address {
    /// `host:port`, as URLs and the `Host` header have it.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", bracketed(&self.host), self.port)
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Which addresses of pods and nodes the proxies connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those that other machines may have too: none of the API server's own machine can be reached through it (as upstream).
    Unicast,
    /// This machine too.
    #[cfg(test)]
    Loopback,
}

impl Reach {
    pub(crate) fn allows(self, ip: IpAddr) -> bool {
        match self {
            Self::Unicast => is_global_unicast(ip),
            #[cfg(test)]
            Self::Loopback => ip.is_loopback() || is_global_unicast(ip),
        }
    }
}

/// As Go's `IsGlobalUnicast`: private ranges count.
fn is_global_unicast(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(local || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast())
}

/// Why there is no answer. The message begins with what was done, in the words of Go's clients: `dial tcp 10.0.0.1:80: ...`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unreachable(String);

/// The certificate for nodes cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the client certificate for nodes: {0}")]
pub(crate) struct CredentialError(String);

/// A request's body on its way to a backend.
pub(crate) type Outgoing = UnsyncBoxBody<Bytes, hyper::Error>;

/// Nothing.
pub(crate) fn empty() -> Outgoing {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// How this server talks to nodes and pods.
#[derive(Clone)]
pub(crate) struct Backends {
    kubelet_tls: Arc<rustls::ClientConfig>,
    pod_tls: Arc<rustls::ClientConfig>,
    pub(crate) reach: Reach,
}

impl std::fmt::Debug for Backends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backends").field("reach", &self.reach).finish_non_exhaustive()
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Backends {
    /// Nodes are shown this certificate. Theirs is not verified (as upstream without `--kubelet-certificate-authority`).
    pub(crate) fn new(credential: &Credential, reach: Reach) -> Result<Self, CredentialError> {
        let failed = |e: &dyn std::fmt::Display| CredentialError(e.to_string());
        let certificate =
            CertificateDer::from_pem_slice(credential.certificate_pem.as_bytes()).map_err(|e| failed(&e))?;
        let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).map_err(|e| failed(&e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = || {
            let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .map_err(|e| failed(&e))?;
            let verifier = Arc::new(unverified::AnyCertificate::new(provider.clone()));
            Ok::<_, CredentialError>(builder.dangerous().with_custom_certificate_verifier(verifier))
        };
        let kubelet_tls = builder()?.with_client_auth_cert(vec![certificate], key).map_err(|e| failed(&e))?;
        let pod_tls = builder()?.with_no_client_auth();
        Ok(Self { kubelet_tls: Arc::new(kubelet_tls), pod_tls: Arc::new(pod_tls), reach })
    }

    /// Sends a request over a connection of its own. The connection ends when the answer has been read or dropped; an answer with
    /// status 101 can be upgraded. Without a `limit` the answer may take as long as its reader waits.
    pub(crate) async fn exchange(
        &self,
        address: &Address,
        request: Request<Outgoing>,
        limit: Option<Duration>,
    ) -> Result<Response<Incoming>, Unreachable> {
        let authority = address.authority();
        let dialing = |what: &dyn std::fmt::Display| Unreachable(format!("dial tcp {authority}: {what}"));
        let stream = timeout(CONNECT_TIMEOUT, self.connect(address))
            .await
            .map_err(|_| dialing(&"i/o timeout"))?
            .map_err(|e| dialing(&told(&e)))?;
        let failed = |e: hyper::Error| Unreachable(format!("{authority}: {}", chain(&e)));
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(BUFFER_LIMIT_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        // Ends when the answer has been read or dropped, or handed its connection over.
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to a backend");
            }
        });
        let answer = sender.send_request(request);
        match limit {
            None => answer.await,
            Some(limit) => timeout(limit, answer)
                .await
                .map_err(|_| Unreachable(format!("{authority}: no answer within {} s", limit.as_secs())))?,
        }
        .map_err(failed)
    }

    async fn connect(&self, address: &Address) -> io::Result<Box<dyn Stream>> {
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
        watch_over(&tcp)?;
        let tls = match address.security {
            Security::Plain => return Ok(Box::new(tcp)),
            Security::Tls => &self.pod_tls,
            Security::Kubelet => &self.kubelet_tls,
        };
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(tls.clone()).connect(name, tcp).await?))
    }
}

/// What becomes of an answer that breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtBreak {
    /// It ends, as if it were whole: what has come is all there is to say.
    End,
    /// The client sees that it is not whole.
    Break,
}

/// An answer's body on its way to the client, until it or this server ends. `kept` is dropped with it.
pub(crate) fn pass_on(
    body: Incoming,
    stop: CancellationToken,
    at_break: AtBreak,
    kept: impl Send + 'static,
) -> Body {
    let frames = stream::unfold(Some((body, stop, kept)), move |state| async move {
        let (mut body, stop, kept) = state?;
        let frame = tokio::select! {
            // Cancel-safe: nothing is read any more after the server has been told to stop.
            biased;
            () = stop.cancelled() => return Some((Err(Broken("the server ends".to_owned())), None)),
            frame = body.frame() => frame?,
        };
        match frame {
            // Trailers are between the backend and this server.
            Ok(frame) => {
                let data = frame.into_data().unwrap_or_default();
                Some((Ok(Frame::data(data)), Some((body, stop, kept))))
            }
            Err(error) => Some((Err(Broken(chain(&error))), None)),
        }
    });
    match at_break {
        AtBreak::Break => StreamBody::new(frames).boxed_unsync(),
        AtBreak::End => {
            let whole = frames.take_while(|frame| std::future::ready(frame.is_ok()));
            StreamBody::new(whole).boxed_unsync()
        }
    }
}

/// What a backend says about a refusal, as far as it is short.
pub(crate) async fn error_text(body: Incoming) -> String {
    match timeout(ERROR_TIMEOUT, Limited::new(body, ERROR_LIMIT_BYTES).collect()).await {
        Ok(Ok(collected)) => String::from_utf8_lossy(&collected.to_bytes()).trim().to_owned(),
        _ => "its answer could not be read".to_owned(),
    }
}

/// Sends small writes at once, and has the kernel notice a peer that is gone.
pub(crate) fn watch_over(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &KEEPALIVE_IDLE_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &KEEPALIVE_EVERY_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepCount, &KEEPALIVE_PROBES)?;
    Ok(())
}

/// As Go's clients tell it, where people look for the words.
fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        _ => error.to_string(),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
