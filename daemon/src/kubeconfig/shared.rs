//! Connections that many watches share.
//!
//! A node watches each config map and each secret by itself: the API server shows it no more than what its pods refer to. With a
//! connection for each, a pod that refers to twenty would begin with twenty handshakes, and a dense node would hold a thousand
//! connections. So these watches are streams of HTTP/2 connections, [`SEATS`] to each. A server that speaks HTTP/1.1 alone gets
//! connections after all.
//!
//! ```text
//! Seats::take ──> Seat (client of connection n) ──> Link ──newest line──> Shared n ──> one HTTP/2 connection
//! ```

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use tokio::time::timeout;
use tower::{BoxError, Service as _, ServiceExt as _};

use super::link::Service;

/// Streams of one connection. Servers and load balancers allow a hundred or more.
const SEATS: usize = 64;
/// A connection on which nothing came for so long is asked whether it is alive, as client-go does. TCP's own keep-alive finds a peer
/// that is gone sooner; this finds one that is there and does nothing.
const ASK_AFTER: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// From the first packet to the end of the handshakes: everybody else waits for it.
const OPEN_WITHIN: Duration = Duration::from_secs(15);

/// Hands out clients for watches; cheap to clone.
#[derive(Clone)]
pub(crate) struct Seats(Arc<Inner>);

struct Inner {
    /// The client of the connection of this number.
    client: Box<dyn Fn(usize) -> kube::Client + Send + Sync>,
    connections: Mutex<Vec<Connection>>,
}

struct Connection {
    client: kube::Client,
    /// Seats that are taken.
    taken: usize,
}

/// A client for one watch, until it is dropped.
pub(crate) struct Seat {
    pub(crate) client: kube::Client,
    /// Of the connection.
    number: usize,
    seats: Seats,
}

impl fmt::Debug for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seats").finish_non_exhaustive()
    }
}

impl Seats {
    /// `client` makes a client of the connection of a number; numbers are used again.
    pub(crate) fn new(client: impl Fn(usize) -> kube::Client + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { client: Box::new(client), connections: Mutex::default() }))
    }

    /// A seat of the first connection that has one.
    pub(crate) fn take(&self) -> Seat {
        let mut connections = self.0.connections();
        let mut free = connections.iter_mut().enumerate().filter(|(_, connection)| connection.taken < SEATS);
        if let Some((number, connection)) = free.next() {
            connection.taken += 1;
            return Seat { client: connection.client.clone(), number, seats: self.clone() };
        }
        let number = connections.len();
        let client = (self.0.client)(number);
        connections.push(Connection { client: client.clone(), taken: 1 });
        Seat { client, number, seats: self.clone() }
    }
}

impl Inner {
    fn connections(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(connection) = self.seats.0.connections().get_mut(self.number) {
            connection.taken = connection.taken.saturating_sub(1);
        }
    }
}

/// One connection for many requests at once, opened with the first and again after it was lost.
pub(super) struct Shared {
    connector: HttpsConnector<HttpConnector>,
    /// For servers that cannot share.
    calls: Service,
    state: tokio::sync::Mutex<State>,
}

/// The connection is not there in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection to the API server within {} s", OPEN_WITHIN.as_secs())]
struct NotOpen;

enum State {
    Closed,
    Open(SendRequest<Body>),
    /// The server speaks no HTTP/2.
    Unshared,
}

impl Shared {
    pub(super) fn new(connector: HttpsConnector<HttpConnector>, calls: Service) -> Self {
        Self { connector, calls, state: tokio::sync::Mutex::new(State::Closed) }
    }

    /// `request` has an absolute address.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        match self.sender(request.uri()).await? {
            Some(mut sender) => {
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
            None => self.calls.clone().oneshot(request).await,
        }
    }

    /// The way onto the connection; whoever comes first opens it, and the others wait for that.
    async fn sender(&self, address: &Uri) -> Result<Option<SendRequest<Body>>, BoxError> {
        let mut state = self.state.lock().await;
        match &*state {
            State::Open(sender) if !sender.is_closed() => return Ok(Some(sender.clone())),
            State::Unshared => return Ok(None),
            State::Open(_) | State::Closed => *state = State::Closed,
        }
        let opened = timeout(OPEN_WITHIN, self.open(address)).await.map_err(|_| NotOpen)??;
        *state = opened.clone().map_or(State::Unshared, State::Open);
        Ok(opened)
    }

    async fn open(&self, address: &Uri) -> Result<Option<SendRequest<Body>>, BoxError> {
        let mut connector = self.connector.clone();
        std::future::poll_fn(|context| connector.poll_ready(context)).await?;
        let stream = connector.call(address.clone()).await?;
        if !stream.connected().is_negotiated_h2() {
            return Ok(None);
        }
        let mut builder = Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(ASK_AFTER).keep_alive_timeout(ANSWER_WITHIN);
        let (sender, connection) = builder.handshake(stream).await?;
        tokio::spawn(async move {
            // It ends with its last stream once nobody can send any more, or when it is lost: its watches tell of that.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection for watches was lost");
            }
        });
        Ok(Some(sender))
    }
}
