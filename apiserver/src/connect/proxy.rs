//! `proxy`: plain requests to a port of a pod or a node.
//!
//! As upstream but for one thing: pages are passed on as they are. Upstream rewrites the links in HTML, for which it holds the whole page.

use http::header::{HOST, HeaderValue, LOCATION};
use http::uri::Uri;
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::upgrade::{Target, Upgrade};
use super::{Connect, Peer, headers};
use crate::answer::{Body, whole};
use crate::backend::{self, Address, AtBreak};
use crate::status::ApiError;

const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// A request that goes on to an address.
pub(super) struct Proxied<'a> {
    pub(super) connect: Connect<'a>,
    pub(super) address: Address,
    pub(super) permit: OwnedSemaphorePermit,
}

impl Proxied<'_> {
    pub(super) async fn serve(self, body: Incoming) -> Result<Response<Body>, ApiError> {
        let Self { connect: Connect { api, path, head, .. }, address, permit } = self;
        let upgrade = Upgrade::asked_for(head, &body)?;
        let query = head.uri.query().map_or(String::new(), |query| format!("?{query}"));
        let below = resolved(&path.rest);
        let target = format!("{}{query}", if below.is_empty() { "/" } else { below.as_str() });
        // A client of HTTP/2 names the host elsewhere.
        let host = head.headers.get(HOST).cloned();
        let host = host.or_else(|| HeaderValue::try_from(head.uri.authority()?.as_str()).ok());
        if let Some(upgrade) = upgrade {
            let target = Target { address, path: target, host, of_node: false };
            return upgrade.carry_out(api, head, target, permit).await;
        }
        // A page's relative links need the slash.
        if below.is_empty() && matches!(head.method, Method::GET | Method::HEAD) {
            return redirect(&format!("{}/{query}", head.uri.path()));
        }
        let peer = head.extensions.get::<Peer>().map(|peer| peer.0);
        let mut fields = headers::of_request(&head.headers, peer);
        let host = match host {
            Some(host) => host,
            None => HeaderValue::try_from(address.authority()).map_err(ApiError::internal)?,
        };
        fields.insert(HOST, host.clone());
        fields.extend(HeaderValue::try_from(head.uri.path()).ok().map(|uri| (X_FORWARDED_URI, uri)));
        let mut request = Request::new(body.boxed_unsync());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = target.parse().map_err(|e| ApiError::bad_request(format!("the path: {e}")))?;
        *request.headers_mut() = fields;
        let unreachable = |e| ApiError::unavailable(format!("error trying to reach service: {e}"));
        let answer = api.backends.exchange(&address, request, None).await.map_err(unreachable)?;
        let (answered, body) = answer.into_parts();
        if answered.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(ApiError::new(502, "", "the backend switched protocols without being asked"));
        }
        let mut response = Response::new(backend::pass_on(body, api.stop.clone(), AtBreak::Break, permit));
        *response.status_mut() = answered.status;
        *response.headers_mut() = headers::of_answer(&answered.headers);
        if let Some(location) = answered.headers.get(LOCATION).and_then(|l| l.to_str().ok()) {
            let prefix = head.uri.path().strip_suffix(path.rest.as_str()).unwrap_or_default();
            let hosts = [address.authority(), host.to_str().unwrap_or_default().to_owned()];
            if let Some(rewritten) = rewritten(location, prefix, &hosts) {
                response.headers_mut().insert(LOCATION, rewritten);
            }
        }
        Ok(response)
    }
}

fn redirect(location: &str) -> Result<Response<Body>, ApiError> {
    let mut response = Response::new(whole(""));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = HeaderValue::try_from(location).map_err(ApiError::internal)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// The path below the backend's root: without empty parts, `.` and `..`, also where they are encoded. Empty for nothing at all.
fn resolved(rest: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in rest.split('/') {
        match part.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    let mut path: String = parts.iter().flat_map(|part| ["/", part]).collect();
    if rest.ends_with('/') {
        path.push('/');
    }
    path
}

/// Where a redirect of the backend to itself leads for the client: below `prefix`. `None` for one that leads elsewhere or is relative, which
/// stays. A backend knows itself by its address or by the name that the client used.
fn rewritten(location: &str, prefix: &str, hosts: &[String; 2]) -> Option<HeaderValue> {
    if location.starts_with("//") {
        // Another host under the same scheme.
        return None;
    }
    let uri: Uri = location.split('#').next().unwrap_or_default().parse().ok()?;
    let host = uri.authority().map(http::uri::Authority::as_str);
    let itself = host.is_none_or(|host| hosts.iter().any(|known| known.eq_ignore_ascii_case(host)));
    if !itself || !uri.path().starts_with('/') {
        return None;
    }
    let fragment = location.split_once('#').map_or(String::new(), |(_, fragment)| format!("#{fragment}"));
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let below = path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(['/', '?']));
    let path = if below { path.to_owned() } else { format!("{prefix}{path}") };
    HeaderValue::try_from(format!("{path}{fragment}")).ok()
}

#[cfg(test)]
mod tests;
