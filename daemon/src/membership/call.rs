//! One call of an API server with a deadline and a bounded answer, and whom one has to trust for it.

use std::time::Duration;

use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use kube::client::Body;
use serde_json::Value;
use tokio::time::timeout;

use crate::cause::chain;
use crate::kubeconfig::line;

/// Of one call.
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer: a list of all pods of a large node.
const ANSWER_BYTES: usize = 32 * 1024 * 1024;
/// Longest text of somebody else's that is repeated in a message.
const MESSAGE_CHARS: usize = 512;

/// Why there is no answer to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// Nobody answers, or somebody who cannot prove to be the one.
    #[error("{0}")]
    Away(String),
    #[error("{code}: {message}")]
    Refused { code: u16, message: String },
    /// What answers is no API server.
    #[error("the answer is not an API server's: {0}")]
    Strange(String),
}

impl CallError {
    /// The status of the refusal, if it is one.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// How an API server shows that it is the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    /// It does not: what it says has to prove itself.
    Nobody,
    /// With a certificate of one of these authorities, DER.
    Authorities(Vec<Vec<u8>>),
}

/// A client for `server` (`https://HOST:PORT`), with a bearer token if there is one.
///
/// # Errors
/// What is wrong with the address or an authority.
pub(super) fn client(server: &str, trust: &Trust, token: Option<String>) -> Result<kube::Client, CallError> {
    let away = |error: &dyn std::error::Error| CallError::Away(chain(error));
    let mut config = kube::Config::new(server.parse().map_err(|error: http::uri::InvalidUri| away(&error))?);
    match trust {
        Trust::Nobody => config.accept_invalid_certs = true,
        Trust::Authorities(authorities) => config.root_cert = Some(authorities.clone()),
    }
    config.auth_info.token = token.map(Into::into);
    Ok(kube::Client::new(line(&config, None).map_err(|error| away(&error))?.calls, "default"))
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) body: Value,
    /// What the server's clock shows, if it says so.
    pub(super) date: Option<Timestamp>,
}

/// Reads `path`.
///
/// # Errors
/// See [`CallError`].
pub(super) async fn get(client: &kube::Client, path: &str) -> Result<Answer, CallError> {
    call(client, Method::GET, path, None).await
}

/// Any call; a body of PATCH is a merge patch.
///
/// # Errors
/// See [`CallError`].
pub(super) async fn call(
    client: &kube::Client,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Answer, CallError> {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    let body = body.map(ToString::to_string).unwrap_or_default().into_bytes();
    let request = request.body(Body::from(body)).map_err(|error| CallError::Away(chain(&error)))?;
    let late = || CallError::Away(format!("no answer in {DEADLINE:?}"));
    timeout(DEADLINE, answer(client, request)).await.unwrap_or_else(|_| Err(late()))
}

async fn answer(client: &kube::Client, request: Request<Body>) -> Result<Answer, CallError> {
    let away = |error: &dyn std::error::Error| {
        CallError::Away(crate::credentials::connection(&chain(error), Timestamp::now()))
    };
    let response = client.send(request).await.map_err(|error| away(&error))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| away(&*error))?.to_bytes();
    let date = head.headers.get(header::DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| rfc2822::parse(date).ok()).map(|date| date.timestamp());
    let parsed = serde_json::from_slice::<Value>(&body);
    if !head.status.is_success() {
        let told = parsed.ok().and_then(|status| Some(status.get("message")?.as_str()?.to_owned()));
        let message = told.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
        return Err(CallError::Refused { code: head.status.as_u16(), message: bounded(&message) });
    }
    let body = parsed.map_err(|error| CallError::Strange(bounded(&error.to_string())))?;
    Ok(Answer { body, date })
}

fn bounded(text: &str) -> String {
    text.trim().chars().take(MESSAGE_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
