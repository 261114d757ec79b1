//! Connections that stop to speak HTTP: asked for at a server ([`connect`]), joined to another one ([`relay`]).
//!
//! Nothing here knows what is spoken afterwards.

mod relay;

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) use self::relay::{Activity, FINISH, drain};
pub use self::relay::{Ended, relay};

/// How long connecting and the other side's answer may take.
pub const HANDSHAKE: Duration = Duration::from_secs(30);
/// Bytes of the head of an answer at most.
const HEAD_BYTES: usize = 16 * 1024;
/// Bytes of a refusal's body at most.
const REFUSAL_BYTES: usize = 16 * 1024;
/// In which SPDY clients name the protocol that is spoken in the streams.
pub const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// A connection after its upgrade.
pub type Connection = TokioIo<Upgraded>;

/// Why there is no upgraded connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// What is connected to is no `http` URL with a host.
    #[error("{0} is no URL that can be connected to: plain http with a host is expected")]
    Url(String),
    /// Nobody answers there.
    #[error("connecting to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke before the upgrade.
    #[error("asking {address} for an upgrade to {protocol}")]
    Http {
        /// Host and port.
        address: String,
        /// As in the header `Upgrade`.
        protocol: String,
        /// Why.
        source: hyper::Error,
    },
    /// The server answered, and did not upgrade.
    #[error("{address} answered {status} instead of an upgrade to {protocol}: {body}")]
    Refused {
        /// Host and port.
        address: String,
        /// As in the header `Upgrade`.
        protocol: String,
        /// The answer's.
        status: StatusCode,
        /// The answer's, cut off where it is long.
        body: String,
    },
    /// It took longer than [`HANDSHAKE`].
    #[error("{address} did not answer within {HANDSHAKE:?}")]
    TimedOut {
        /// Host and port.
        address: String,
    },
}

/// Connects to `url` and asks for `protocol`; the server's answer and the connection behind it.
///
/// Only plain `http` is spoken. No task is left behind, whatever happens.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(
    method: Method,
    url: &Uri,
    protocol: &'static str,
    headers: &HeaderMap,
) -> Result<(Response<()>, Connection), ConnectError> {
    let unusable = || ConnectError::Url(url.to_string());
    let (Some("http"), Some(host)) = (url.scheme_str(), url.host()) else { return Err(unusable()) };
    let address = format!("{host}:{}", url.port_u16().unwrap_or(80));
    let authority = url.authority().ok_or_else(unusable)?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method;
    *request.uri_mut() = match url.path_and_query() {
        Some(path) => path.as_str().parse().map_err(|_| unusable())?,
        None => Uri::from_static("/"),
    };
    request.headers_mut().extend(headers.clone());
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str()).map_err(|_| unusable())?);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    request.headers_mut().insert(UPGRADE, HeaderValue::from_static(protocol));
    match timeout(HANDSHAKE, exchange(&address, protocol, request)).await {
        Ok(done) => done,
        Err(_) => Err(ConnectError::TimedOut { address }),
    }
}

async fn exchange(
    address: &str,
    protocol: &str,
    request: Request<Empty<Bytes>>,
) -> Result<(Response<()>, Connection), ConnectError> {
    let failed =
        |source| ConnectError::Http { address: address.to_owned(), protocol: protocol.to_owned(), source };
    let stream = TcpStream::connect(address)
        .await
        .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
        .map_err(|source| ConnectError::Connect { address: address.to_owned(), source })?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let exchange = async move {
        let mut response = sender.send_request(request).await.map_err(failed)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (status, body) = (response.status(), body_of(response).await);
            let (address, protocol) = (address.to_owned(), protocol.to_owned());
            return Err(ConnectError::Refused { address, protocol, status, body });
        }
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(failed)?;
        Ok((response.map(|_| ()), TokioIo::new(upgraded)))
    };
    // The connection ends with the upgrade, or when the exchange has let go of it. Its errors are the exchange's.
    let (done, _) = tokio::join!(exchange, connection.with_upgrades());
    done
}

async fn body_of(response: Response<Incoming>) -> String {
    match Limited::new(response.into_body(), REFUSAL_BYTES).collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned(),
        Err(_) => String::new(),
    }
}

/// Whether a request asks for an upgrade to `protocol`.
#[must_use]
pub fn asks_for(headers: &HeaderMap, protocol: &str) -> bool {
    has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, protocol)
}

/// Whether a header that is a list has this word.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// The client's side of an upgrade: its connection, after the answer with status 101 was sent.
///
/// # Errors
/// The client went away, or the upgrade did not come about within [`HANDSHAKE`]; in words.
pub async fn accepted(upgrade: OnUpgrade) -> Result<Connection, String> {
    match timeout(HANDSHAKE, upgrade).await {
        Ok(Ok(upgraded)) => Ok(TokioIo::new(upgraded)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the client's connection was not upgraded within {HANDSHAKE:?}")),
    }
}

#[cfg(test)]
mod tests;
