//! A runtime's streaming server that a test drives by hand: take the next session, see what comes in its streams, answer.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::block::{Block, read};
use crate::spdy::{self, Decoder, Event, headers};
use crate::upgrade::{Connection, STREAM_PROTOCOL, asks_for};

/// Sessions that wait to be taken.
const WAITING: usize = 2048;

/// A server on 127.0.0.1; it ends with this value, the sessions do not.
#[derive(Debug)]
pub struct Runtime {
    address: SocketAddr,
    sessions: mpsc::Receiver<(HeaderMap, Connection)>,
    accepts: JoinHandle<()>,
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

impl Runtime {
    /// Serves at any path.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (give, sessions) = mpsc::channel(WAITING);
        let accepts = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let give = give.clone();
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let service = service_fn(|request| answer(request, give.clone()));
                    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    let _ = connection.with_upgrades().await;
                });
            }
        });
        Ok(Self { address, sessions, accepts })
    }

    /// What a runtime would give as the URL of a session.
    #[must_use]
    pub fn url(&self, path: &str) -> http::Uri {
        let url = format!("http://{}{path}", self.address);
        url.parse().unwrap_or_default()
    }

    /// The next session that was asked for, with the headers of its request.
    pub async fn next(&mut self) -> Option<(HeaderMap, Session<Connection>)> {
        let (headers, connection) = self.sessions.recv().await?;
        Some((headers, Session::new(connection)))
    }
}

async fn answer(
    mut request: Request<Incoming>,
    give: mpsc::Sender<(HeaderMap, Connection)>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::default());
    let headers = request.headers().clone();
    let protocol = headers.get(STREAM_PROTOCOL).cloned();
    let (Some(protocol), true) = (protocol, asks_for(&headers, "SPDY/3.1")) else {
        *response.status_mut() = StatusCode::FORBIDDEN;
        return Ok(response);
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let _ = give.send((headers, TokioIo::new(upgraded))).await;
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    response.headers_mut().insert(STREAM_PROTOCOL, protocol);
    Ok(response)
}

/// What a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    /// It has opened a stream, with these headers.
    Opened {
        /// Its number.
        stream: u32,
        /// By their names.
        headers: BTreeMap<String, String>,
    },
    /// Bytes, and whether they are the last ones.
    Data {
        /// In which stream.
        stream: u32,
        /// As many as there were.
        bytes: Vec<u8>,
        /// Nothing more comes.
        fin: bool,
    },
    /// It has given a stream up.
    Reset(u32),
    /// A ping, or the answer to one.
    Ping(u32),
}

/// The runtime's side of one connection. What is not read is not taken off the wire.
#[derive(Debug)]
pub struct Session<C> {
    connection: C,
    frames: Decoder,
    blocks: headers::Reader,
    answers: headers::Writer,
    block: Option<Block>,
    /// The stream whose header block is being read, and what of it is there.
    opening: Option<(u32, Vec<u8>)>,
    found: VecDeque<Got>,
    streams: BTreeMap<String, u32>,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Session<C> {
    /// Over any connection.
    pub fn new(connection: C) -> Self {
        Self {
            connection,
            frames: Decoder::new(),
            blocks: headers::Reader::default(),
            answers: headers::Writer::default(),
            block: None,
            opening: None,
            found: VecDeque::new(),
            streams: BTreeMap::new(),
        }
    }

    /// What comes next; `None` when the client has closed.
    ///
    /// # Errors
    /// The connection broke, or the client does not speak SPDY.
    pub async fn next(&mut self) -> io::Result<Option<Got>> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Ok(Some(found));
            }
            if self.block.is_none() {
                self.block = read(&mut self.connection).await?;
            }
            let Some(mut block) = self.block.take() else { return Ok(None) };
            let left = block.left();
            let (at, event) =
                self.frames.next(&block.memory()[..left.end], left.start).map_err(io::Error::other)?;
            block.take_to(at);
            match event {
                None | Some(Event::SynReply { .. } | Event::GoAway) => {}
                Some(Event::Data { stream, part, fin }) => {
                    let bytes = block.memory()[part].to_vec();
                    self.found.push_back(Got::Data { stream, bytes, fin });
                }
                Some(Event::SynStream { stream, .. }) => self.opening = Some((stream, Vec::new())),
                Some(Event::Block { part, last }) => {
                    if let Some((stream, mut bytes)) = self.opening.take() {
                        bytes.extend_from_slice(&block.memory()[part]);
                        if last {
                            let headers: BTreeMap<_, _> =
                                self.blocks.block(&bytes).map_err(io::Error::other)?.into_iter().collect();
                            self.found.push_back(Got::Opened { stream, headers });
                        } else {
                            self.opening = Some((stream, bytes));
                        }
                    }
                }
                Some(Event::Reset { stream, .. }) => self.found.push_back(Got::Reset(stream)),
                Some(Event::Ping(number)) => self.found.push_back(Got::Ping(number)),
            }
            self.block = (!block.left().is_empty()).then_some(block);
        }
    }

    /// Takes `count` streams that are opened, and replies to each; their numbers are then known by their `streamtype`.
    ///
    /// # Errors
    /// Something else came, or the end.
    pub async fn accept(&mut self, count: usize) -> io::Result<Vec<BTreeMap<String, String>>> {
        let mut opened = Vec::new();
        while opened.len() < count {
            match self.next().await? {
                Some(Got::Opened { stream, headers }) => {
                    let mut reply = Vec::new();
                    spdy::syn_reply(&mut reply, stream, false, &self.answers.block(&[]));
                    self.write(&reply).await?;
                    if let Some(kind) = headers.get("streamtype") {
                        self.streams.insert(kind.clone(), stream);
                    }
                    opened.push(headers);
                }
                other => return Err(io::Error::other(format!("{other:?} instead of a stream"))),
            }
        }
        Ok(opened)
    }

    /// The stream of a kind, of those accepted; 0 where there is none.
    #[must_use]
    pub fn stream(&self, kind: &str) -> u32 {
        self.streams.get(kind).copied().unwrap_or_default()
    }

    /// Sends bytes in a stream.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn send(&mut self, stream: u32, bytes: &[u8], fin: bool) -> io::Result<()> {
        self.write(&spdy::data_head(stream, bytes.len(), fin)).await?;
        self.write(bytes).await
    }

    /// Sends frames as they are.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        self.connection.write_all(frames).await?;
        self.connection.flush().await
    }
}
