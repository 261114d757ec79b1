//! Connections to the API server that can be replaced while they are used.
//!
//! A new certificate, another address or another authority makes a new [`Line`]: calls from then on take it, and what is under
//! way on the old one, a watch above all, goes on there until it ends by itself. behaviour.md 34.2.
//!
//! Connections speak HTTP/1.1: each call that outlives its deadline is dropped, and its connection with it, so that a
//! wedged connection never serves a second call. Only the many watches of single objects share some, see [`super::shared`]. A peer
//! that is gone, or a load balancer that has forgotten the connection, is found by TCP keep-alive and user timeout within
//! [`DEAD_AFTER`], also on a watch on which nothing happens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::InvalidHeaderValue;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use kube::client::{Body, ConfigExt};
use kube::config::AuthInfo;
use secrecy::ExposeSecret as _;
use tokio::sync::watch;
use tokio::time::timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt as _};

use super::shared::{Seats, Shared};
use super::tls::{self, TlsError, Trust, Versions};
use super::{Reach, user_agent};
use crate::cause::chain;
use crate::credentials::Identity;
use crate::metrics::Work;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const PROBE_EVERY: Duration = Duration::from_secs(3);
const PROBES: u32 = 3;
/// A peer that has answered nothing for this long is gone: silence, then probes.
const DEAD_AFTER: Duration = Duration::from_secs(19);
const _: () = assert!(DEAD_AFTER.as_secs() == KEEP_ALIVE.as_secs() + PROBES as u64 * PROBE_EVERY.as_secs());
const POOL_IDLE: Duration = Duration::from_secs(90);
/// Connections kept for the next call; watches hold theirs besides.
const POOL_MOST: usize = 8;
/// How long a call waits for the first certificate before it fails.
const FIRST_LINE: Duration = Duration::from_secs(5);

/// Whatever carries requests to the API server.
pub(crate) type Service = BoxCloneSyncService<Request<Body>, Response<Incoming>, BoxError>;

/// Connections to one address with one identity; cheap to clone.
#[derive(Clone)]
pub(crate) struct Line {
    /// A pool, of which each call under way has a connection.
    pub(crate) calls: Service,
    shared: Arc<SharedConnections>,
}

/// Each made when it is used first.
struct SharedConnections {
    make: Box<dyn Fn() -> Service + Send + Sync>,
    made: Mutex<Vec<Service>>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

impl Line {
    /// The shared connection of this number.
    fn shared(&self, number: usize) -> Service {
        let mut made = self.shared.made.lock().unwrap_or_else(PoisonError::into_inner);
        while made.len() <= number {
            made.push((self.shared.make)());
        }
        made.get(number).cloned().unwrap_or_else(|| self.calls.clone())
    }
}

/// There is nothing to call with.
#[derive(Debug, thiserror::Error)]
#[error("this node has no client certificate yet")]
struct NoLine;

/// The line that is in use, replaced by [`Link::set`].
#[derive(Debug)]
pub(crate) struct Link {
    line: watch::Sender<Option<Line>>,
    work: Work,
    reach: Reach,
}

impl Link {
    /// Without a line: calls wait a little for the first one, and fail then. `work` counts them, `reach` is told how they end.
    pub(crate) fn new(work: Work, reach: Reach) -> Self {
        Self { line: watch::Sender::new(None), work, reach }
    }

    /// Calls from now on take this line.
    pub(crate) fn set(&self, line: Line) {
        self.line.send_replace(Some(line));
    }

    /// A client that always takes the newest line.
    pub(crate) fn client(&self) -> kube::Client {
        self.way().client(|line| line.calls.clone())
    }

    /// Clients for many watches, which always begin on the newest line.
    pub(crate) fn seats(&self) -> Seats {
        let way = self.way();
        Seats::new(move |connection| way.client(move |line| line.shared(connection)))
    }

    fn way(&self) -> Way {
        Way { current: self.line.subscribe(), work: self.work.clone(), reach: self.reach.clone() }
    }
}

/// The way onto a link.
#[derive(Clone)]
struct Way {
    current: watch::Receiver<Option<Line>>,
    work: Work,
    reach: Reach,
}

impl Way {
    fn client(&self, pick: impl Fn(&Line) -> Service + Clone + Send + Sync + 'static) -> kube::Client {
        let way = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (Way { mut current, work, reach }, pick) = (way.clone(), pick.clone());
            async move {
                let line = match timeout(FIRST_LINE, current.wait_for(Option::is_some)).await {
                    Ok(Ok(line)) => line.as_ref().map(pick),
                    Ok(Err(_)) | Err(_) => None,
                };
                let method = request.method().clone();
                let answer = match line {
                    Some(line) => {
                        let answer = line.oneshot(request).await;
                        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
                        // Upstream's label; a node has one API server, whose address changes with the kubeconfig alone.
                        work.request(&method, "", status);
                        answer
                    }
                    None => Err(NoLine.into()),
                };
                match &answer {
                    Ok(_) => reach.answered(Timestamp::now()),
                    Err(error) => reach.failed(Timestamp::now(), chain(error.as_ref())),
                }
                answer
            }
        });
        kube::Client::new(service, "default")
    }
}

/// Why there are no connections.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the token file {path}")]
    TokenFile { path: String, source: io::Error },
    #[error("the token or password cannot be sent")]
    Credentials(#[from] InvalidHeaderValue),
    #[error(transparent)]
    Headers(#[from] kube::Error),
}

/// Connections to where `config` points, with `identity` if there is one. A token file is read now: whoever looks for changes of
/// the kubeconfig's files makes another line then.
///
/// # Errors
/// Authority, certificate or token cannot be used.
pub(crate) fn line(config: &kube::Config, identity: Option<&Identity>) -> Result<Line, LineError> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_keepalive(Some(KEEP_ALIVE));
    connector.set_keepalive_interval(Some(PROBE_EVERY));
    connector.set_keepalive_retries(Some(PROBES));
    // Of data that is not acknowledged, which keep-alive does not see.
    connector.set_tcp_user_timeout(Some(DEAD_AFTER));
    connector.set_nodelay(true);
    let tls = |versions| {
        let (trust, name) = (Trust::of(config), config.tls_server_name.as_deref());
        tls::connector(trust, identity, name, versions, connector.clone())
    };
    let shared = tls(Versions::Http2OrHttp1)?;
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(POOL_MOST)
        .build(tls(Versions::Http1)?);
    let mut config = config.clone();
    config.headers.push((header::USER_AGENT, user_agent()));
    config.headers.push((header::ACCEPT, HeaderValue::from_static("application/json")));
    if let Some(authorization) = authorization(&config.auth_info)? {
        config.headers.push((header::AUTHORIZATION, authorization));
    }
    let pool = Service::new(http.map_err(BoxError::from));
    let layers = ServiceBuilder::new().layer(config.base_uri_layer()).layer(config.extra_headers_layer()?);
    let calls = BoxCloneSyncService::new(layers.clone().service(pool.clone()));
    let make = move || {
        let shared = Arc::new(Shared::new(shared.clone(), pool.clone()));
        let service = tower::service_fn(move |request: Request<Body>| {
            let shared = Arc::clone(&shared);
            async move { shared.send(request).await }
        });
        BoxCloneSyncService::new(layers.clone().service(service))
    };
    Ok(Line { calls, shared: Arc::new(SharedConnections { make: Box::new(make), made: Mutex::default() }) })
}

/// What a kubeconfig's user says about itself, beside a certificate. The token of a file goes before one that stands there, as with
/// client-go.
fn authorization(user: &AuthInfo) -> Result<Option<HeaderValue>, LineError> {
    let from_file = match &user.token_file {
        Some(path) => match fs::read_to_string(path) {
            Ok(token) => Some(token),
            Err(error) if user.token.is_some() => {
                tracing::warn!(path, %error, "the token file cannot be read; the token beside it is taken");
                None
            }
            Err(source) => return Err(LineError::TokenFile { path: path.clone(), source }),
        },
        None => None,
    };
    let text = if let Some(token) = from_file {
        format!("Bearer {}", token.trim())
    } else if let Some(token) = &user.token {
        format!("Bearer {}", token.expose_secret())
    } else if let (Some(name), Some(password)) = (&user.username, &user.password) {
        format!("Basic {}", STANDARD.encode(format!("{name}:{}", password.expose_secret())))
    } else {
        return Ok(None);
    };
    let mut value = HeaderValue::try_from(text)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

#[cfg(test)]
pub(crate) mod tests;
