//! `pods/log`: finds the container and its node, asks the node's kubelet, and passes the stream on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Limited, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Body, Content};
use crate::api::{Api, Call};
use crate::kinds::field::Path;
use crate::kinds::nodes::NODES;
use crate::kinds::{FieldError, text};
use crate::pki::Credential;
use crate::status::ApiError;

mod unverified;

/// How long a node may take to accept a connection, and to begin its answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest error text of a node that is passed on, in bytes.
const ERROR_LIMIT_BYTES: usize = 64 * 1024;
/// Parameters that the node gets as they are.
const PASSED_ON: &[&str] =
    &["follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"];
/// Kinds of addresses of a node, best first.
const ADDRESS_TYPES: &[&str] = &["InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS"];
const DEFAULT_KUBELET_PORT: u16 = 10250;

/// How this server talks to nodes.
#[derive(Clone)]
pub(crate) struct NodeClient {
    tls: Arc<rustls::ClientConfig>,
}

impl std::fmt::Debug for NodeClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeClient").finish_non_exhaustive()
    }
}

/// The certificate for nodes cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the client certificate for nodes: {0}")]
pub(crate) struct NodeClientError(String);

impl NodeClient {
    /// Nodes are shown this certificate. Theirs is not verified: until the cluster signs serving certificates they sign their own (as
    /// upstream without `--kubelet-certificate-authority`).
    pub(crate) fn new(credential: &Credential) -> Result<Self, NodeClientError> {
        let failed = |e: &dyn std::fmt::Display| NodeClientError(e.to_string());
        let certificate =
            CertificateDer::from_pem_slice(credential.certificate_pem.as_bytes()).map_err(|e| failed(&e))?;
        let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).map_err(|e| failed(&e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(&e))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(unverified::AnyCertificate::new(provider)))
            .with_client_auth_cert(vec![certificate], key)
            .map_err(|e| failed(&e))?;
        Ok(Self { tls: Arc::new(tls) })
    }

    async fn get(&self, host: &str, port: u16, path: &str) -> Result<Response<Incoming>, String> {
        let url = || format!("Get \"https://{}:{port}{path}\"", bracketed(host));
        let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", url());
        let connect = async {
            let tcp = TcpStream::connect((host, port))
                .await
                .map_err(|e| failed(&format!("dial tcp {}:{port}: {e}", bracketed(host))))?;
            let name = ServerName::try_from(host.to_owned()).map_err(|e| failed(&e))?;
            let tls =
                TlsConnector::from(self.tls.clone()).connect(name, tcp).await.map_err(|e| failed(&e))?;
            hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(|e| failed(&e))
        };
        let (mut sender, connection) = timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| failed(&"the node did not accept the connection in time"))??;
        // Ends when the response has been read or dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a node");
            }
        });
        let request = Request::get(path)
            .header(http::header::HOST, format!("{}:{port}", bracketed(host)))
            .body(Empty::<Bytes>::new())
            .map_err(|e| failed(&e))?;
        timeout(RESPONSE_TIMEOUT, sender.send_request(request))
            .await
            .map_err(|_| failed(&"the node did not answer in time"))?
            .map_err(|e| failed(&e))
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

pub(crate) async fn logs(api: &Api, call: &Call) -> Result<Answer, ApiError> {
    check_options(call)?;
    let pod = api.stored(call.kind, call.namespace(), call.name()).await?.value();
    let container = choose_container(&pod, call.query.text("container"))?;
    let node = text(&pod, "/spec/nodeName");
    if node.is_empty() {
        // Nothing runs yet, nothing is logged yet.
        return Ok(Answer::new(200, Content::Stream(crate::answer::whole(Bytes::new()), "text/plain")));
    }
    let (host, port) = node_endpoint(api, node).await?;
    let path = node_path(call, &container);
    let unreachable = |message| ApiError::new(500, "InternalError", message);
    let response = api.nodes.get(&host, port, &path).await.map_err(unreachable)?;
    let code = response.status().as_u16();
    if !(200..=206).contains(&code) {
        return Err(of_node(call, code, response.into_body()).await);
    }
    let body = pass_on(response.into_body(), api.stop.clone());
    Ok(Answer::new(200, Content::Stream(body, "text/plain")))
}

/// What `PodLogOptions` forbids.
fn check_options(call: &Call) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    for (name, least) in [("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1)] {
        let Some(value) = call.query.number(name)? else { continue };
        if value < least {
            let detail = format!("must be greater than {}", if least == 0 { "or equal to 0" } else { "0" });
            errors.push(FieldError::invalid(&Path::new(name), value, &detail));
        }
    }
    if call.query.text("sinceSeconds").is_some() && call.query.text("sinceTime").is_some() {
        let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(FieldError::forbidden(&Path::root(), detail));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid_kind("", "PodLogOptions", call.name(), &errors))
}

fn container_names(pod: &Value, list: &str) -> Vec<String> {
    let containers = pod.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
    containers.into_iter().flatten().map(|c| text(c, "/name").to_owned()).collect()
}

/// The container that was asked for, or the only one.
fn choose_container(pod: &Value, asked: Option<&str>) -> Result<String, ApiError> {
    let name = text(pod, "/metadata/name");
    let containers = container_names(pod, "containers");
    let init = container_names(pod, "initContainers");
    let ephemeral = container_names(pod, "ephemeralContainers");
    let Some(asked) = asked else {
        if let [only] = containers.as_slice() {
            return Ok(only.clone());
        }
        // As Go prints a list of strings.
        let list = |names: &[String]| format!("[{}]", names.join(" "));
        let mut message = format!(
            "a container name must be specified for pod {name}, choose one of: {}",
            list(&containers)
        );
        if !init.is_empty() {
            message += &format!(" or one of the init containers: {}", list(&init));
        }
        if !ephemeral.is_empty() {
            message += &format!(" or one of the ephemeral containers: {}", list(&ephemeral));
        }
        return Err(ApiError::bad_request(message));
    };
    if [containers, init, ephemeral].iter().flatten().any(|c| c == asked) {
        return Ok(asked.to_owned());
    }
    Err(ApiError::bad_request(format!("container {asked} is not valid for pod {name}")))
}

/// Where the kubelet of a node listens.
async fn node_endpoint(api: &Api, name: &str) -> Result<(String, u16), ApiError> {
    let node = api.stored(&NODES, "", name).await?.value();
    let port = node.pointer("/status/daemonEndpoints/kubeletEndpoint/Port").and_then(Value::as_u64);
    let port = port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0).unwrap_or(DEFAULT_KUBELET_PORT);
    let addresses = node.pointer("/status/addresses").and_then(Value::as_array);
    let address = ADDRESS_TYPES.iter().find_map(|wanted| {
        let found = addresses?.iter().find(|a| text(a, "/type") == *wanted)?;
        Some(text(found, "/address").to_owned()).filter(|a| !a.is_empty())
    });
    match address {
        Some(host) => Ok((host, port)),
        None => Err(ApiError::internal(format!(
            "no preferred addresses found; known addresses of node {name}: none"
        ))),
    }
}

fn node_path(call: &Call, container: &str) -> String {
    let segment =
        |s: &str| percent_encoding::utf8_percent_encode(s, percent_encoding::NON_ALPHANUMERIC).to_string();
    // Names need no escapes but for their dots and dashes, which may stay.
    let plain = |s: &str| segment(s).replace("%2D", "-").replace("%2E", ".");
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in PASSED_ON {
        if let Some(value) = call.query.text(name) {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    format!(
        "/containerLogs/{}/{}/{}{mark}{query}",
        plain(call.namespace()),
        plain(call.name()),
        plain(container)
    )
}

/// A node's refusal, as upstream passes it on.
async fn of_node(call: &Call, code: u16, body: Incoming) -> ApiError {
    let collected = timeout(RESPONSE_TIMEOUT, Limited::new(body, ERROR_LIMIT_BYTES).collect()).await;
    let text = match collected {
        Ok(Ok(collected)) => String::from_utf8_lossy(&collected.to_bytes()).trim_end().to_owned(),
        _ => "the node's answer could not be read".to_owned(),
    };
    match code {
        400 => ApiError::bad_request(text),
        500 => ApiError::internal(text),
        404 => {
            let message =
                format!("the server could not find the requested resource ( pods/log {})", call.name());
            ApiError::new(404, "NotFound", message).with_cause("UnexpectedServerResponse", &text)
        }
        401 | 403 => ApiError::internal(format!("the node refused this server's certificate: {text}")),
        _ => ApiError::internal(format!("the node answered with status {code}: {text}")),
    }
}

/// The node's stream, until it or this server ends.
fn pass_on(body: Incoming, stop: CancellationToken) -> Body {
    let frames = stream::unfold((body, stop), |(mut body, stop)| async move {
        let frame = tokio::select! {
            // Cancel-safe: nothing is read any more after the server has been told to stop.
            biased;
            () = stop.cancelled() => None,
            frame = body.frame() => frame,
        };
        match frame? {
            Ok(frame) => {
                let data = frame.into_data().unwrap_or_default();
                Some((Ok::<_, Infallible>(Frame::data(data)), (body, stop)))
            }
            Err(error) => {
                tracing::debug!(%error, "reading logs from a node");
                None
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests;
