//! The sub-resources that are connections: `pods/exec`, `pods/attach`, `pods/portforward`, and `proxy` of pods, services and nodes.
//!
//! ```text
//! client ── request ──> authorize ─> permit ─> location ─> headers cleaned ──> backend (kubelet, pod)
//!        <── 101 ─────────────────────────────────────────────────────── 101 ──
//!        <═════════════ tunnel: bytes both ways, nobody looks at them ════════>
//!        <── any other answer: a Status (streams), or as it is (proxies) ──────
//! ```
//!
//! [`location`] says where to, [`headers`] what of a head is passed on, [`upgrade`] changes the protocol, [`tunnel`] carries the bytes,
//! [`proxy`] passes on plain requests. Streams and proxied requests under way have a common limit; they have no time limit here.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{Method, Response};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Body;
use crate::api::Api;
use crate::backend::Address;
use crate::kinds::{Kind, text};
use crate::request::{Query, ResourcePath};
use crate::status::ApiError;

mod headers;
pub(crate) mod location;
mod proxy;
mod tunnel;
mod upgrade;

/// Streams and proxied requests under way at most.
const STREAMS_LIMIT: usize = 2048;
/// Seconds after which a client that was one too many may come again.
const RETRY_SECONDS: u32 = 1;
/// Ports that one request for port-forward may name.
const PORTS_LIMIT: usize = 128;

/// Where a connection comes from; the listener puts it into the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Whether a sub-resource is a connection.
pub(crate) fn is_connect(path: &ResourcePath) -> bool {
    matches!(path.subresource.as_deref(), Some("exec" | "attach" | "portforward" | "proxy"))
}

/// The verb of a method, for who may do it. Upstream has none for methods that no resource has.
pub(crate) fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// Whether a method can be used on a sub-resource at all.
pub(crate) fn allows(subresource: &str, method: &Method) -> bool {
    match *method {
        Method::GET | Method::POST => true,
        Method::PUT | Method::PATCH | Method::DELETE | Method::HEAD | Method::OPTIONS => {
            subresource == "proxy"
        }
        _ => false,
    }
}

/// Whether a caller needs the right to create too, whatever his method: a read of these runs commands and writes to containers.
pub(crate) fn creates(subresource: &str) -> bool {
    subresource != "proxy"
}

/// Streams and proxied requests under way.
#[derive(Debug)]
pub(crate) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self::limited(STREAMS_LIMIT)
    }
}

impl Streams {
    fn limited(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit)))
    }

    pub(crate) fn permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let full = |_| {
            let message = "too many streams are open, please try again later";
            ApiError::new(429, "TooManyRequests", message).with_retry_after(RETRY_SECONDS)
        };
        self.0.clone().try_acquire_owned().map_err(full)
    }
}

/// A request for a connection, by a caller who may make it.
pub(crate) struct Connect<'a> {
    pub(crate) api: &'a Api,
    pub(crate) kind: &'static Kind,
    pub(crate) path: &'a ResourcePath,
    pub(crate) query: &'a Query,
    pub(crate) head: &'a mut Parts,
}

impl Connect<'_> {
    pub(crate) async fn serve(self, body: Incoming) -> Result<Response<Body>, ApiError> {
        let permit = self.api.streams.permit()?;
        let (address, path) = match (self.kind.plural, self.path.subresource.as_deref()) {
            (plural, Some("proxy")) => {
                let id = self.path.name.as_deref().unwrap_or("");
                let address = match plural {
                    "pods" => location::pod(self.api, self.namespace(), id).await?,
                    "services" => location::service(self.api, self.namespace(), id).await?,
                    _ => location::node(self.api, id).await?,
                };
                return proxy::Proxied { connect: self, address, permit }.serve(body).await;
            }
            (_, Some(subresource)) => self.stream(subresource).await?,
            (_, None) => return Err(ApiError::no_such_resource()),
        };
        let Some(upgrade) = upgrade::Upgrade::asked_for(self.head, &body)? else {
            return Err(ApiError::bad_request("Upgrade request required"));
        };
        let target = upgrade::Target { address, path, host: None, of_node: true };
        upgrade.carry_out(self.api, self.head, target, permit).await
    }

    fn namespace(&self) -> &str {
        self.path.namespace.as_deref().unwrap_or("")
    }

    /// The node that has the pod, and what to ask it for.
    async fn stream(&self, subresource: &str) -> Result<(Address, String), ApiError> {
        if self.query.get("dryRun").is_some() {
            return Err(ApiError::bad_request("dryRun is not supported"));
        }
        let (endpoint, query) = match subresource {
            "portforward" => ("portForward", ports(self.query)?),
            "exec" => ("exec", stream_options(self.query, true)),
            _ => ("attach", stream_options(self.query, false)),
        };
        let name = self.path.name.as_deref().unwrap_or("");
        let pod = self.api.stored(self.kind, self.namespace(), name).await?.value();
        let container = match subresource {
            "portforward" => None,
            _ => Some(crate::containers::choose(&pod, self.query.text("container"))?),
        };
        let node = text(&pod, "/spec/nodeName");
        if node.is_empty() {
            return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
        }
        let address = location::kubelet_of(self.api, node).await?;
        let names: Vec<&str> = [self.namespace(), name].into_iter().chain(container.as_deref()).collect();
        Ok((address, location::node_path(endpoint, &names, &query)))
    }
}

/// The options of exec and attach as a kubelet reads them.
fn stream_options(query: &Query, with_command: bool) -> String {
    let mut options = form_urlencoded::Serializer::new(String::new());
    for (ours, the_nodes) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.flag(ours) == Some(true) {
            options.append_pair(the_nodes, "1");
        }
    }
    if with_command {
        for word in query.all("command") {
            options.append_pair("command", word);
        }
    }
    options.finish()
}

/// The ports of a port-forward, which only the old WebSocket protocol names in advance.
fn ports(query: &Query) -> Result<String, ApiError> {
    let mut ports = Vec::new();
    for port in query.all("ports") {
        let number: i32 = port.parse().map_err(|_| {
            ApiError::bad_request(format!("strconv.ParseInt: parsing {port:?}: invalid syntax"))
        })?;
        if ports.len() == PORTS_LIMIT {
            return Err(ApiError::bad_request(format!("more than {PORTS_LIMIT} ports")));
        }
        ports.push(number.to_string());
    }
    let mut options = form_urlencoded::Serializer::new(String::new());
    if !ports.is_empty() {
        options.append_pair("port", &ports.join(","));
    }
    Ok(options.finish())
}

#[cfg(test)]
mod tests;
