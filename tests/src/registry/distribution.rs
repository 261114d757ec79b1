//! The requests of a pull, in the OCI distribution protocol.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;

use super::content::Blob;
use super::{Effect, Seen, State, lock};

type Body = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

/// What a request is about.
#[derive(Debug, PartialEq, Eq)]
enum About<'a> {
    Manifest {
        repository: &'a str,
        reference: &'a str,
    },
    Blob {
        repository: &'a str,
        digest: &'a str,
    },
    /// Whether there is a registry at all.
    Version,
    Nothing,
}

impl<'a> About<'a> {
    fn of(path: &'a str) -> Self {
        let Some(rest) = path.strip_prefix("/v2/") else { return Self::Nothing };
        if rest.is_empty() {
            return Self::Version;
        }
        let Some((before, last)) = rest.rsplit_once('/') else { return Self::Nothing };
        match before.rsplit_once('/') {
            Some((repository, "manifests")) => Self::Manifest { repository, reference: last },
            Some((repository, "blobs")) => Self::Blob { repository, digest: last },
            _ => Self::Nothing,
        }
    }

    fn repository(&self) -> &'a str {
        match self {
            Self::Manifest { repository, .. } | Self::Blob { repository, .. } => repository,
            Self::Version | Self::Nothing => "",
        }
    }
}

/// Counts a request as long as it is being answered.
struct Open<'a>(&'a Mutex<State>);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(self.0).open -= 1;
    }
}

/// Answers one request as the state says.
pub(super) async fn answer(
    shared: &Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, _) = request.into_parts();
    let path = head.uri.path().to_owned();
    let about = About::of(&path);
    let (allowed, effect) = {
        let mut state = lock(shared);
        let user = given(&head.headers);
        let wanted =
            state.accounts.iter().find(|(prefix, _)| about.repository().starts_with(prefix.as_str()));
        let allowed = wanted.is_none_or(|(_, account)| user.as_ref() == Some(account));
        let line = format!("{} {path}", head.method);
        let others = state.open;
        state.seen.push(Seen { line, user: user.filter(|_| allowed).map(|(name, _)| name), others });
        state.open += 1;
        (allowed, effect(&mut state, &path))
    };
    let _open = Open(shared);
    let mut cut = None;
    match effect {
        Some(Effect::Delay(time)) => tokio::time::sleep(time).await,
        Some(Effect::Status(code)) => return Ok(refusal(StatusCode::from_u16(code).unwrap_or_default())),
        Some(Effect::Cut(bytes)) => cut = Some(bytes),
        None => {}
    }
    if !allowed {
        let mut refusal = refusal(StatusCode::UNAUTHORIZED);
        let challenge = header::HeaderValue::from_static("Basic realm=\"registry\"");
        refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return Ok(refusal);
    }
    let blob = {
        let state = lock(shared);
        match about {
            About::Version => return Ok(response(StatusCode::OK, Bytes::new(), None)),
            About::Manifest { repository, reference } => state.content.manifest(repository, reference),
            About::Blob { digest, .. } => state.content.blob(digest),
            About::Nothing => None,
        }
    };
    Ok(blob.map_or_else(
        || refusal(StatusCode::NOT_FOUND),
        |blob| content(&head.method, &head.headers, blob, cut),
    ))
}

fn effect(state: &mut State, path: &str) -> Option<Effect> {
    let rule = state.rules.iter_mut().find(|rule| path.contains(&rule.path) && rule.times != Some(0))?;
    if let Some(times) = &mut rule.times {
        *times -= 1;
    }
    Some(rule.effect)
}

/// User and password of a request.
fn given(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// A blob, or the rest of it that the request asks for.
fn content(method: &Method, headers: &HeaderMap, blob: Blob, cut: Option<usize>) -> Response<Body> {
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let from = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse::<usize>().ok());
    let from = from.filter(|from| *from < blob.bytes.len());
    let (status, bytes) = match from {
        Some(from) => (StatusCode::PARTIAL_CONTENT, blob.bytes.slice(from..)),
        None => (StatusCode::OK, blob.bytes.clone()),
    };
    let length = bytes.len();
    let bytes = if method == Method::HEAD { Bytes::new() } else { bytes };
    let mut response = response(status, bytes, cut);
    let text =
        |text: String| header::HeaderValue::try_from(text).expect("digests and numbers are plain text");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, text(blob.media_type));
    headers.insert(header::CONTENT_LENGTH, text(length.to_string()));
    headers.insert("docker-content-digest", text(blob.digest));
    if let Some(from) = from {
        let (last, all) = (blob.bytes.len() - 1, blob.bytes.len());
        headers.insert(header::CONTENT_RANGE, text(format!("bytes {from}-{last}/{all}")));
    }
    response
}

fn refusal(status: StatusCode) -> Response<Body> {
    let text = format!(r#"{{"errors":[{{"code":"{}","message":"as the test wants it"}}]}}"#, status.as_u16());
    response(status, Bytes::from(text), None)
}

/// A response whose body breaks off where it is cut.
fn response(status: StatusCode, bytes: Bytes, cut: Option<usize>) -> Response<Body> {
    let cut = cut.filter(|at| *at < bytes.len());
    let data = stream::iter([Ok(Frame::data(cut.map_or_else(|| bytes.clone(), |at| bytes.slice(..at))))]);
    let end = stream::iter(cut).then(|_| async {
        // What comes before has to go out first.
        tokio::task::yield_now().await;
        Err(io::ErrorKind::ConnectionReset.into())
    });
    let mut response = Response::new(StreamBody::new(data.chain(end).boxed()));
    *response.status_mut() = status;
    response
}
