//! Static pods from a URL: one manifest, or a `PodList` (behaviour.md 1.4).
//!
//! It is asked for each `httpCheckFrequency`. What cannot be had, or says nothing, changes nothing but for the first answer: an
//! empty one is an empty list of pods. Certificates are checked against the machine's own authorities.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::manifest::{self, Context};
use super::mirror::Mirrors;
use super::{Source, Update};
use crate::cause::chain;
use crate::kubeconfig::tls::{self, TlsError, Trust, Versions};

const MAX_BODY_BYTES: usize = 10 << 20;
/// For one answer, from the connection to its last byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the source needs.
#[derive(Debug, Clone)]
pub struct UrlSource {
    /// `staticPodURL`.
    pub url: String,
    /// `staticPodURLHeader`; may hold credentials and is never logged.
    pub headers: BTreeMap<String, Vec<String>>,
    /// `httpCheckFrequency`.
    pub check_frequency: Duration,
    /// Completes the pods' names.
    pub node_name: String,
    /// Gate `PreventStaticPodAPIReferences`.
    pub refuse_references: bool,
}

/// Why there are no pods from the URL.
#[derive(Debug, Error)]
enum UrlError {
    #[error("it is no URL with a host: {0}")]
    Url(String),
    #[error("header {0:?} cannot be sent")]
    Header(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("it cannot be asked for")]
    Ask(#[source] hyper_util::client::legacy::Error),
    #[error("the answer has code {0} instead of 200")]
    Code(StatusCode),
    #[error("the answer is larger than {MAX_BODY_BYTES} bytes")]
    Large,
    #[error("the answer breaks off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no whole answer within {PATIENCE:?}")]
    Late,
    #[error("the answer is empty")]
    Empty,
    #[error("the answer is no UTF-8 text")]
    Text,
    #[error("{0}")]
    Manifest(String),
}

/// Asks until `stop`, or until nobody takes updates any more.
pub async fn run(
    source: UrlSource,
    updates: mpsc::Sender<Update>,
    mirrors: Mirrors,
    mut stop: watch::Receiver<bool>,
) {
    let mut before: Option<Vec<u8>> = None;
    let mut complaint = String::new();
    loop {
        let asked = tokio::select! {
            // Cancel-safe: a level.
            _ = stop.wait_for(|stop| *stop) => return,
            asked = fetch(&source) => asked,
        };
        let read = asked.and_then(|body| match before.as_ref() == Some(&body) {
            true => Ok(None),
            false => pods(&source, &body).map(|pods| Some((body, pods))),
        });
        let told = match read {
            Ok(told) => {
                complaint.clear();
                told
            }
            Err(error) => {
                let text = chain(&error);
                if text != complaint {
                    tracing::error!(url = source.url, "static pods cannot be had: {text}");
                    complaint = text;
                }
                matches!(error, UrlError::Empty).then(|| (Vec::new(), Vec::new()))
            }
        };
        if let Some((body, pods)) = told
            && before.as_ref() != Some(&body)
        {
            for pod in &pods {
                mirrors.ensure(pod);
            }
            if updates.send(Update::Listed { source: Source::Http, pods }).await.is_err() {
                return;
            }
            if before.is_none() {
                mirrors.source_listed();
            }
            before = Some(body);
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            // Cancel-safe: only a time.
            () = sleep(source.check_frequency) => {}
        }
    }
}

async fn fetch(source: &UrlSource) -> Result<Vec<u8>, UrlError> {
    timeout(PATIENCE, ask(source)).await.unwrap_or(Err(UrlError::Late))
}

async fn ask(source: &UrlSource) -> Result<Vec<u8>, UrlError> {
    let uri: Uri = source.url.parse().map_err(|e: http::uri::InvalidUri| UrlError::Url(e.to_string()))?;
    if uri.scheme().is_none() || uri.host().is_none() {
        return Err(UrlError::Url(source.url.clone()));
    }
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    let connector = tls::connector(Trust::Machine, None, None, Versions::Http1, connector)?;
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let mut request =
        Request::get(uri).body(Empty::<Bytes>::new()).map_err(|_| UrlError::Url(source.url.clone()))?;
    for (name, values) in &source.headers {
        let wrong = || UrlError::Header(name.clone());
        let key: HeaderName = name.parse().map_err(|_| wrong())?;
        for value in values {
            let value: HeaderValue = value.parse().map_err(|_| wrong())?;
            request.headers_mut().append(key.clone(), value);
        }
    }
    request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static("nodelet"));
    let answer = client.request(request).await.map_err(UrlError::Ask)?;
    if answer.status() != StatusCode::OK {
        return Err(UrlError::Code(answer.status()));
    }
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| UrlError::Broken(Box::new(e)))?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > MAX_BODY_BYTES {
                return Err(UrlError::Large);
            }
            bytes.extend_from_slice(data);
        }
    }
    if bytes.is_empty() { Err(UrlError::Empty) } else { Ok(bytes) }
}

/// The pods of an answer: of a single manifest, or of a list. One that cannot be run costs the whole answer, so that a
/// mistake in it ends no pod that runs.
fn pods(source: &UrlSource, body: &[u8]) -> Result<Vec<Arc<Pod>>, UrlError> {
    let text = std::str::from_utf8(body).map_err(|_| UrlError::Text)?;
    let texts = match list(text) {
        Some(items) => items,
        None => vec![text.to_owned()],
    };
    let context = Context {
        node_name: &source.node_name,
        refuse_references: source.refuse_references,
        source: Source::Http,
    };
    let mut pods: Vec<Arc<Pod>> = Vec::new();
    for text in texts {
        let manifest = manifest::read(&text, Path::new(&source.url), context)
            .map_err(|error| UrlError::Manifest(error.to_string()))?;
        for field in &manifest.unknown_fields {
            tracing::warn!("manifest {field}; it is ignored");
        }
        let name = (&manifest.pod.metadata.namespace, &manifest.pod.metadata.name);
        if pods.iter().any(|pod| (&pod.metadata.namespace, &pod.metadata.name) == name) {
            let name = manifest.pod.metadata.name.unwrap_or_default();
            return Err(UrlError::Manifest(format!("two pods are named {name}")));
        }
        pods.push(Arc::new(manifest.pod));
    }
    Ok(pods)
}

/// The items of a `PodList` in JSON, each as a manifest of its own.
fn list(text: &str) -> Option<Vec<String>> {
    let mut value: Value = serde_json::from_str(text).ok()?;
    if value.get("kind")?.as_str()? != "PodList" {
        return None;
    }
    let Value::Array(items) = value.get_mut("items")?.take() else { return None };
    let whole = items.into_iter().map(|mut item| {
        if let Value::Object(fields) = &mut item {
            fields.entry("apiVersion").or_insert_with(|| Value::from("v1"));
            fields.entry("kind").or_insert_with(|| Value::from("Pod"));
        }
        item.to_string()
    });
    Some(whole.collect())
}

#[cfg(test)]
mod tests;
