//! One request from its head to its response: who, what, may he, and then the verb.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::answer::{Answer, Body, Presentation, encode, refuse, response, whole};
use crate::api::{Api, Call, Received};
use crate::authenticate::{User, authenticate};
use crate::authorize::{Attributes, On};
use crate::impersonate::impersonate;
use crate::kinds::{self, Kind, Part, lookup};
use crate::patch::PatchType;
use crate::pki::Subject;
use crate::request::media::{Accepted, body_syntax, media_type};
use crate::request::{Query, ResourcePath, Target, URI_LIMIT_BYTES, Verb};
use crate::schema::Syntax;
use crate::selector::FieldSelector;
use crate::status::ApiError;
use crate::verbs::{PATCH_TYPES, is_watch};
use crate::{bindings, connect, discovery, evictions, logs, metrics, namespaces, reviews, tokens, verbs};

/// Largest body that is read, in bytes (as upstream).
pub(crate) const BODY_LIMIT_BYTES: usize = 3 * 1024 * 1024;
/// How long a client may take to send a body.
const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);
const APPLY_TYPES: &[&str] = &["application/apply-patch+yaml", "application/apply-patch+cbor"];

/// Everything in these groups is a question.
const REVIEW_GROUPS: &[&str] = &["authentication.k8s.io", "authorization.k8s.io"];

/// The Kubernetes version whose API this is, as `kubeadm` writes it.
pub(crate) const VERSION: &str = "v1.36.2";

/// Answers a request. `certificate` is the client's, already verified.
pub(crate) async fn serve(
    api: Arc<Api>,
    certificate: Option<Arc<Subject>>,
    request: Request<Incoming>,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();
    let accept = joined(&head.headers, ACCEPT.as_str());
    let errors_as = Accepted::negotiate_error(accept.as_deref());
    let result = async {
        let caller = authenticate(certificate.as_deref(), &head.headers, Timestamp::now(), |token| {
            api.user_of_token(token, &api.issuer.settings.audiences).ok().map(|(user, _)| user)
        })?;
        let user = impersonate(caller, &head.headers, &api.authorizer)?;
        if head.uri.path_and_query().is_some_and(|p| p.as_str().len() > URI_LIMIT_BYTES) {
            return Err(ApiError::new(414, "BadRequest", "the path and the query are too long"));
        }
        let target = Target::parse(head.uri.path()).map_err(|e| ApiError::bad_request(e.to_string()))?;
        // The query of a proxied request belongs to somebody else.
        let proxied =
            matches!(&target, Target::Resource(path) if path.subresource.as_deref() == Some("proxy"));
        let query = if proxied { "" } else { head.uri.query().unwrap_or("") };
        let query = Query::parse(query)?;
        match target {
            Target::Resource(path) if connect::is_connect(&path) => {
                Box::pin(connected(&api, &user, &path, &query, &mut head, body)).await
            }
            Target::Resource(path) => {
                let log = path.subresource.as_deref() == Some("log");
                let websocket = if log { logs::websocket::Asked::of(&mut head)? } else { None };
                let request =
                    ResourceRequest { user, path, query, headers: &head.headers, accept: accept.as_deref() };
                // Boxed: the futures of all verbs together would make every connection's task large.
                let response = Box::pin(request.serve(&api, &head.method, body)).await?;
                match websocket {
                    Some(websocket) => websocket.answer(&api, response),
                    None => Ok(response),
                }
            }
            Target::Other => other(&api, &user, &head.method, head.uri.path(), &query, accept.as_deref()),
        }
    }
    .await;
    let mut response = result.unwrap_or_else(|refusal: ApiError| {
        tracing::debug!(method = %head.method, uri = %head.uri, code = refusal.code, message = %refusal, "refused");
        if refusal.code >= 500 {
            tracing::warn!(method = %head.method, path = %head.uri.path(), code = refusal.code, "{refusal}");
        }
        refuse(&refusal, errors_as)
    });
    if head.headers.contains_key(UPGRADE) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // What follows was meant for another protocol; none of it may be taken for a request.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if head.method == Method::HEAD {
        *response.body_mut() = whole(Bytes::new());
    }
    response
}

/// A header that may be given several times, as one list.
fn joined(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect();
    if values.is_empty() { None } else { Some(values.join(",")) }
}

/// A request for a sub-resource that is a connection.
async fn connected(
    api: &Arc<Api>,
    user: &User,
    path: &ResourcePath,
    query: &Query,
    head: &mut Parts,
    body: Incoming,
) -> Result<Response<Body>, ApiError> {
    let verb = connect::verb(&head.method);
    authorize(api, user, path, query, verb)?;
    let kind = kind_of(path)?;
    let subresource = path.subresource.as_deref().unwrap_or("");
    if path.name.is_none() || !kind.subresource(subresource).is_some_and(|sub| sub.connects()) {
        return Err(ApiError::no_such_resource());
    }
    if !connect::allows(subresource, &head.method) {
        return Err(ApiError::method_not_supported(&path.group, &path.resource, verb));
    }
    if connect::creates(subresource) && verb != "create" {
        authorize(api, user, path, query, "create")?;
    }
    connect::Connect { api, kind, path, query, head }.serve(body).await
}

fn authorize(api: &Api, user: &User, path: &ResourcePath, query: &Query, verb: &str) -> Result<(), ApiError> {
    let collection = matches!(verb, "list" | "watch" | "deletecollection");
    // One that cannot be read selects nothing here, and is refused by the verb.
    let selector = query.get("fieldSelector").filter(|_| collection);
    let fields = selector.and_then(|s| FieldSelector::parse(s).ok());
    // A list of the one object of a name is authorized like a read of it (as upstream).
    let name = path.name.as_deref().or_else(|| fields.as_ref()?.required("metadata.name"));
    let namespace = match (&path.namespace, path.resource.as_str()) {
        (Some(namespace), _) => namespace.as_str(),
        // A namespace is looked at as if it were in itself.
        (None, "namespaces") => path.name.as_deref().unwrap_or(""),
        (None, _) => "",
    };
    let on = On::Resource {
        group: &path.group,
        resource: &path.resource,
        subresource: path.subresource.as_deref(),
        namespace,
        name: name.unwrap_or(""),
    };
    api.authorizer.authorize(user, &Attributes { verb, on, fields: fields.as_ref() })
}

fn kind_of(path: &ResourcePath) -> Result<&'static Kind, ApiError> {
    let kind = lookup(&path.group, &path.version, &path.resource).ok_or_else(ApiError::no_such_resource)?;
    if path.namespace.is_some() != kind.namespaced() {
        // Lists and watches may span all namespaces.
        let spans = path.namespace.is_none() && path.name.is_none();
        if !(kind.namespaced() && spans) {
            return Err(ApiError::no_such_resource());
        }
    }
    Ok(kind)
}

struct ResourceRequest<'a> {
    user: User,
    path: ResourcePath,
    query: Query,
    headers: &'a HeaderMap,
    accept: Option<&'a str>,
}

impl ResourceRequest<'_> {
    async fn serve(
        self,
        api: &Arc<Api>,
        method: &Method,
        body: Incoming,
    ) -> Result<Response<Body>, ApiError> {
        let named = self.path.name.is_some();
        let verb = Verb::of(method, named, is_watch(&self.query)).ok_or_else(ApiError::method_not_allowed)?;
        authorize(api, &self.user, &self.path, &self.query, verb.as_str())?;
        let kind = kind_of(&self.path)?;
        self.check_verb(kind, verb)?;
        let mut accepted = if self.path.subresource.as_deref() == Some("log") {
            Accepted::JSON
        } else {
            Accepted::negotiate(self.accept)?
        };
        accepted.pretty |= self.query.flag("pretty").unwrap_or(false);
        let content_type = self.headers.get(CONTENT_TYPE).and_then(|h| h.to_str().ok()).unwrap_or("");
        let patch_type = if verb == Verb::Patch { Some(patch_type(content_type)?) } else { None };
        let body = self.read_body(verb, content_type, body).await?;
        let Self { user, path, query, .. } = self;
        let call = Call { user, kind, path, query, accepted };
        let presentation = Presentation { kind, accepted, include: verbs::watch::include(&call)? };
        let answer = carry_out(api, &call, verb, patch_type, &body).await?;
        Ok(presentation.respond(answer))
    }

    fn check_verb(&self, kind: &Kind, verb: Verb) -> Result<(), ApiError> {
        let path = &self.path;
        let not_supported = || ApiError::method_not_supported(&path.group, &path.resource, verb.as_str());
        match path.subresource.as_deref() {
            None => {
                let needs_namespace = kind.namespaced() && verb == Verb::Create && path.namespace.is_none();
                if !kind.allows(verb.as_str()) || needs_namespace {
                    return Err(not_supported());
                }
                match (verb, path.name.is_some()) {
                    (Verb::Create, true) | (Verb::Update | Verb::Patch, false) => {
                        Err(ApiError::method_not_allowed())
                    }
                    _ => Ok(()),
                }
            }
            Some("finalize") if kind.plural == "namespaces" && verb == Verb::Update => Ok(()),
            Some(name) => match kind.subresource(name) {
                Some(sub) if sub.verbs.contains(&verb.as_str()) => Ok(()),
                Some(_) => Err(not_supported()),
                None => Err(ApiError::no_such_resource()),
            },
        }
    }

    /// Reads the body of the verbs that have one.
    async fn read_body(&self, verb: Verb, content_type: &str, body: Incoming) -> Result<Received, ApiError> {
        let syntax = match verb {
            Verb::Get | Verb::List | Verb::Watch => {
                return Ok(Received { bytes: Bytes::new(), syntax: Syntax::Json });
            }
            // Its type has been looked at.
            Verb::Patch => Syntax::Json,
            Verb::Create | Verb::Update | Verb::Delete | Verb::DeleteCollection => {
                body_syntax(Some(content_type))?
            }
        };
        let declared = self.headers.get(CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
        if declared.is_some_and(|l| l > BODY_LIMIT_BYTES as u64) {
            return Err(ApiError::body_too_large(BODY_LIMIT_BYTES));
        }
        let read = timeout(BODY_TIMEOUT, Limited::new(body, BODY_LIMIT_BYTES).collect()).await;
        let bytes = match read {
            Ok(Ok(collected)) => collected.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                return Err(ApiError::body_too_large(BODY_LIMIT_BYTES));
            }
            Ok(Err(error)) => {
                return Err(ApiError::bad_request(format!("the body could not be read: {error}")));
            }
            Err(_) => return Err(ApiError::new(408, "Timeout", "the body was not sent in time")),
        };
        Ok(Received { bytes, syntax })
    }
}

fn patch_type(content_type: &str) -> Result<PatchType, ApiError> {
    let media = media_type(content_type);
    if APPLY_TYPES.contains(&media) {
        let message = "server-side apply is not supported by this server yet: use client-side apply (without --server-side)";
        return Err(ApiError::new(415, "UnsupportedMediaType", message));
    }
    PatchType::from_content_type(media).ok_or_else(|| ApiError::unsupported_media_type(PATCH_TYPES))
}

async fn carry_out(
    api: &Arc<Api>,
    call: &Call,
    verb: Verb,
    patch_type: Option<PatchType>,
    body: &Received,
) -> Result<Answer, ApiError> {
    match (call.kind.plural, call.subresource()) {
        ("pods", Some("log")) => logs::logs(api, call).await,
        ("pods", Some("binding")) | ("bindings", None) => bindings::bind(api, call, body).await,
        ("pods", Some("eviction")) => evictions::evict(api, call, body).await,
        ("serviceaccounts", Some("token")) => tokens::request::create(api, call, body).await,
        ("namespaces", Some("finalize")) => namespaces::finalize(api, call, body).await,
        (_, None) if call.kind.body.group == kinds::metrics::GROUP => metrics::read(api, call, verb).await,
        (_, None) if REVIEW_GROUPS.contains(&call.kind.body.group) => reviews::review(api, call, body),
        (_, subresource) if Part::of(subresource).is_some() => match patch_type {
            Some(patch_type) => verbs::update::patch(api, call, body, patch_type).await,
            None => verbs::carry_out(api, call, verb, body).await,
        },
        _ => Err(ApiError::no_such_resource()),
    }
}

/// Everything that is no resource.
fn other(
    api: &Api,
    user: &User,
    method: &Method,
    path: &str,
    query: &Query,
    accept: Option<&str>,
) -> Result<Response<Body>, ApiError> {
    let verb = method.as_str().to_ascii_lowercase();
    let verb = if verb == "head" { "get" } else { verb.as_str() };
    let trimmed = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
    api.authorizer.authorize(user, &Attributes { verb, on: On::Path(trimmed), fields: None })?;
    if verb != "get" {
        return Err(ApiError::method_not_allowed());
    }
    match trimmed {
        "/version" => Ok(document(&version(), query)),
        _ if is_health(trimmed) => {
            let text =
                if query.flag("verbose").unwrap_or(false) { health_report(trimmed) } else { "ok".to_owned() };
            Ok(response(200, whole(text), "text/plain; charset=utf-8"))
        }
        _ => match tokens::discovery::serve(api, trimmed) {
            Some(document) => Ok(document),
            None => discovery::serve(trimmed, query, accept),
        },
    }
}

/// The health endpoints, and their checks one by one. A server that answers is healthy: the store has been read before it listens, and a store that fails
/// is told by each write.
fn is_health(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    matches!(parts.next(), Some("healthz" | "livez" | "readyz"))
        && matches!((parts.next(), parts.next()), (None | Some("ping" | "store"), None))
}

fn health_report(path: &str) -> String {
    let name = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    format!("[+]ping ok\n[+]store ok\n{name} check passed\n")
}

/// A JSON document, pretty if asked for.
pub(crate) fn document(value: &Value, query: &Query) -> Response<Body> {
    let pretty = query.flag("pretty").unwrap_or(false);
    response(200, whole(encode(value, Accepted { pretty, ..Accepted::JSON })), "application/json")
}

/// The Kubernetes version whose API this is.
pub(crate) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": concat!("v1.36.2+nodelet.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, architecture()),
    })
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
