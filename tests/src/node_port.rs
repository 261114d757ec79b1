//! A client of a node's port 10250, and of the URLs that its runtime gives out. Its WebSockets are another implementation than the one
//! that is tested.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, HOST, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{Error as SocketError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::cluster::{Cluster, Node};

/// How long anything here may take that is not waiting for a container.
const LIMIT: Duration = Duration::from_secs(60);
const BODY_BYTES: usize = 1 << 20;

/// A request that came to nothing.
#[derive(Debug, Error)]
pub enum PortError {
    /// It was answered, but not as wanted.
    #[error("answered with {status}: {body}")]
    Answered {
        /// The answer's.
        status: StatusCode,
        /// The answer's.
        body: String,
    },
    /// There was no answer.
    #[error("no answer: {0}")]
    Unanswered(String),
}

fn unanswered(error: impl std::fmt::Display) -> PortError {
    PortError::Unanswered(error.to_string())
}

/// Who asks: the cluster's administrator, with a certificate, or nobody.
#[derive(Clone, Debug)]
pub struct NodePort {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

/// A connection on which no HTTP is spoken any more.
pub type Connection = TokioIo<Upgraded>;

impl NodePort {
    /// As the administrator.
    ///
    /// # Errors
    /// The cluster's kubeconfig cannot be used.
    pub async fn of(cluster: &Cluster, node: &Node) -> Result<Self, PortError> {
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).map_err(unanswered)?;
        Self::at(kubeconfig, SocketAddr::from((node.ip(), 10_250))).await
    }

    /// As the administrator of this kubeconfig, at a node's address and port.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub async fn at(kubeconfig: Kubeconfig, address: SocketAddr) -> Result<Self, PortError> {
        let options = KubeConfigOptions::default();
        let mut config =
            kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(unanswered)?;
        // The node's certificate is its own.
        config.accept_invalid_certs = true;
        let mut tls = config.rustls_client_config().map_err(unanswered)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { address, tls: Some(Arc::new(tls)) })
    }

    /// Of a URL without TLS: a runtime's.
    ///
    /// # Errors
    /// It has no address.
    pub fn of_url(url: &Uri) -> Result<Self, PortError> {
        let authority = url.authority().ok_or_else(|| unanswered(url))?;
        Ok(Self { address: authority.as_str().parse().map_err(unanswered)?, tls: None })
    }

    /// A plain request; status and body of the answer.
    ///
    /// # Errors
    /// There was none.
    pub async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, String), PortError> {
        match self.exchange(method, path, HeaderMap::new()).await {
            Ok(_) => Err(unanswered("an upgrade that was not asked for")),
            Err(PortError::Answered { status, body }) => Ok((status, body)),
            Err(error) => Err(error),
        }
    }

    /// A connection that speaks `protocol` from now on, and the headers of the answer.
    ///
    /// # Errors
    /// It was refused.
    pub async fn upgrade(
        &self,
        method: Method,
        path: &str,
        protocol: &'static str,
        mut headers: HeaderMap,
    ) -> Result<(HeaderMap, Connection), PortError> {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(protocol));
        self.exchange(method, path, headers).await
    }

    /// A WebSocket whose messages begin with a channel.
    ///
    /// # Errors
    /// It was refused, or has another sub-protocol.
    pub async fn socket(&self, path: &str, protocol: &'static str) -> Result<Socket, PortError> {
        let connection = self.raw_socket(path, protocol).await?;
        Ok(Socket(WebSocketStream::from_raw_socket(connection, Role::Client, None).await))
    }

    /// The same before anything reads its frames.
    ///
    /// # Errors
    /// As [`Self::socket`].
    pub async fn raw_socket(&self, path: &str, protocol: &'static str) -> Result<Connection, PortError> {
        let mut headers = HeaderMap::new();
        let fixed = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-version", "13")];
        for (name, value) in fixed {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        let (answer, connection) = self.upgrade(Method::GET, path, "websocket", headers).await?;
        let header = |name: &str| answer.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if header("sec-websocket-protocol") != protocol
            || header("sec-websocket-accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        {
            return Err(unanswered(format!("a handshake with {answer:?}")));
        }
        Ok(connection)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
    ) -> Result<(HeaderMap, Connection), PortError> {
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(unanswered)?;
        *request.headers_mut() = headers;
        let host = HeaderValue::from_str(&self.address.to_string()).map_err(unanswered)?;
        request.headers_mut().insert(HOST, host);
        let answered = async {
            let stream = TcpStream::connect(self.address).await.map_err(unanswered)?;
            stream.set_nodelay(true).map_err(unanswered)?;
            match &self.tls {
                None => over(TokioIo::new(stream), request).await,
                Some(tls) => {
                    let name = ServerName::from(self.address.ip());
                    let stream = TlsConnector::from(Arc::clone(tls))
                        .connect(name, stream)
                        .await
                        .map_err(unanswered)?;
                    over(TokioIo::new(stream), request).await
                }
            }
        };
        tokio::time::timeout(LIMIT, answered).await.map_err(unanswered)?
    }
}

async fn over<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<(HeaderMap, Connection), PortError>
where
    S: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(stream).await.map_err(unanswered)?;
    let exchange = async move {
        let mut response = sender.send_request(request).await.map_err(unanswered)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded = hyper::upgrade::on(&mut response).await.map_err(unanswered)?;
            return Ok((response.headers().clone(), TokioIo::new(upgraded)));
        }
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES).collect().await.map_err(unanswered)?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Err(PortError::Answered { status, body })
    };
    tokio::join!(exchange, connection.with_upgrades()).0
}

/// A WebSocket with channels.
#[derive(Debug)]
pub struct Socket(WebSocketStream<Connection>);

/// What a session came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Channel 1.
    pub stdout: Vec<u8>,
    /// Channel 2.
    pub stderr: Vec<u8>,
    /// Channel 3.
    pub status: String,
    /// The code of the closing frame.
    pub code: Option<u16>,
}

impl Socket {
    /// Sends a message in a channel.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<(), PortError> {
        let mut message = BytesMut::with_capacity(1 + bytes.len());
        message.put_u8(channel);
        message.put_slice(bytes);
        self.0.send(Message::Binary(message.freeze())).await.map_err(unanswered)
    }

    /// Nothing more comes in a channel: v5.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn end(&mut self, channel: u8) -> Result<(), PortError> {
        self.send(255, &[channel]).await
    }

    /// Sends a message as it is.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send_raw(&mut self, message: Message) -> Result<(), PortError> {
        self.0.send(message).await.map_err(unanswered)
    }

    /// The next message as it is; `None` at the end of the connection.
    ///
    /// # Errors
    /// It broke, or the other side does not keep to the protocol.
    pub async fn next_raw(&mut self) -> Result<Option<Message>, PortError> {
        match self.0.next().await {
            None
            | Some(Err(
                SocketError::ConnectionClosed
                | SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake),
            )) => Ok(None),
            Some(message) => message.map(Some).map_err(unanswered),
        }
    }

    /// The next message that has a channel, with it.
    ///
    /// # Errors
    /// The connection ended or broke.
    pub async fn next(&mut self) -> Result<(u8, Bytes), PortError> {
        loop {
            match self.next_raw().await? {
                Some(Message::Binary(mut bytes)) if !bytes.is_empty() => {
                    let rest = bytes.split_off(1);
                    return Ok((bytes[0], rest));
                }
                Some(Message::Close(frame)) => return Err(unanswered(format!("closed: {frame:?}"))),
                None => return Err(unanswered("the connection has ended")),
                Some(_) => {}
            }
        }
    }

    /// Collects what comes in `channel` until `end` is in it.
    ///
    /// # Errors
    /// The connection ended or broke before that.
    pub async fn until(&mut self, channel: u8, end: &str) -> Result<String, PortError> {
        let mut got = Vec::new();
        loop {
            let (from, bytes) = self.next().await?;
            if from == channel {
                got.extend_from_slice(&bytes);
                let text = String::from_utf8_lossy(&got);
                if text.contains(end) {
                    return Ok(text.into_owned());
                }
            }
        }
    }

    /// Everything until the other side closes.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn finish(mut self) -> Result<Outcome, PortError> {
        let mut outcome = Outcome::default();
        let mut status = Vec::new();
        while let Some(message) = self.next_raw().await? {
            match message {
                Message::Binary(bytes) => match bytes.split_first() {
                    Some((1, bytes)) => outcome.stdout.extend_from_slice(bytes),
                    Some((2, bytes)) => outcome.stderr.extend_from_slice(bytes),
                    Some((3, bytes)) => status.extend_from_slice(bytes),
                    _ => {}
                },
                Message::Close(frame) => outcome.code = frame.map(|frame| frame.code.into()),
                _ => {}
            }
        }
        outcome.status = String::from_utf8_lossy(&status).into_owned();
        Ok(outcome)
    }

    /// Sends while receiving: two halves.
    pub fn split(
        self,
    ) -> (
        futures::stream::SplitSink<WebSocketStream<Connection>, Message>,
        futures::stream::SplitStream<WebSocketStream<Connection>>,
    ) {
        self.0.split()
    }
}
