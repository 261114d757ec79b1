//! The events of one watch, line by line.
//!
//! An object is read from the text of its line and never from a tree in between: that costs less time, and each way to read a pod is a
//! tenth of a megabyte of program.

use std::marker::PhantomData;

use http::header::{ACCEPT_ENCODING, HeaderValue};
use http_body_util::BodyExt as _;
use http_body_util::Limited;
use kube::Client;
use kube::api::{Request, WatchParams};
use kube::client::Body;
use kube::core::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Longest line, in bytes. An API server keeps objects of at most 1.5 MiB, and shows fields that it keeps more than once.
const LINE_BYTES: usize = 16 << 20;
/// Longest answer that says why there is no watch, in bytes.
const REFUSAL_BYTES: usize = 1 << 20;

/// What one line says.
#[derive(Debug)]
pub(super) enum Event<K> {
    /// Added or changed.
    Applied(K),
    Deleted(K),
    /// There is nothing new up to this version.
    Bookmark(String),
    /// The server cannot go on.
    Error(Box<Status>),
}

/// Why there are no more events.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventError {
    #[error(transparent)]
    Call(kube::Error),
    #[error("the API server refuses: {}", .0.message)]
    Refused(Box<Status>),
    #[error("the watch answers with a line that is none of a watch's")]
    Line(#[source] serde_json::Error),
    #[error("the watch answers with a line of more than {LINE_BYTES} bytes")]
    Long,
}

/// A watch that was opened.
pub(super) struct Events<K> {
    body: Body,
    /// What has come and was not given out.
    buffer: Vec<u8>,
    /// So much of it was looked through for the end of a line.
    searched: usize,
    kind: PhantomData<fn() -> K>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Deserialize)]
struct BookmarkMeta {
    #[serde(rename = "resourceVersion")]
    resource_version: String,
}

impl<K: DeserializeOwned> Events<K> {
    /// Watches what is at `path` from `version` on.
    ///
    /// # Errors
    /// The API server cannot be asked, or refuses.
    pub(super) async fn open(
        client: &Client,
        path: &str,
        params: &WatchParams,
        version: &str,
    ) -> Result<Self, EventError> {
        let request = Request::new(path).watch(params, version);
        let request = request.map_err(|error| EventError::Call(kube::Error::BuildRequest(error)))?;
        let mut request = request.map(Body::from);
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let answer = client.send(request).await.map_err(EventError::Call)?;
        let code = answer.status();
        let body = answer.into_body();
        if code.is_success() {
            return Ok(Self { body, buffer: Vec::new(), searched: 0, kind: PhantomData });
        }
        let said = Limited::new(body, REFUSAL_BYTES).collect().await.map(|said| said.to_bytes());
        let said = said.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let status = serde_json::from_str(&said)
            .unwrap_or_else(|_| Status::failure(said.trim(), "no status").with_code(code.as_u16()));
        Err(EventError::Refused(Box::new(status)))
    }

    /// The next event; `None` where the watch has ended or was cut off. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Result<Event<K>, EventError>> {
        loop {
            let new = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(end) = new.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.searched + end).collect();
                self.searched = 0;
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Some(read(&line));
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES {
                return Some(Err(EventError::Long));
            }
            match self.body.frame().await? {
                Ok(frame) => self.buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Err(error) => {
                    tracing::debug!(%error, "a watch was cut off");
                    return None;
                }
            }
        }
    }
}

/// The event on a line.
fn read<K: DeserializeOwned>(line: &[u8]) -> Result<Event<K>, EventError> {
    let text = str::from_utf8(line).map_err(|error| EventError::Line(serde::de::Error::custom(error)))?;
    let Line { kind, object } = match serde_json::from_str(text) {
        Ok(line) => line,
        // A failure may stand there as it is.
        Err(error) => {
            return match serde_json::from_str::<Status>(text) {
                Ok(status) if status.code != 0 => Ok(Event::Error(Box::new(status))),
                _ => Err(EventError::Line(error)),
            };
        }
    };
    let object = object.get();
    let event = match kind.as_str() {
        "ADDED" | "MODIFIED" => serde_json::from_str(object).map(Event::Applied),
        "DELETED" => serde_json::from_str(object).map(Event::Deleted),
        "BOOKMARK" => {
            let bookmark = serde_json::from_str(object);
            bookmark.map(|bookmark: Bookmark| Event::Bookmark(bookmark.metadata.resource_version))
        }
        "ERROR" => serde_json::from_str(object).map(|status| Event::Error(Box::new(status))),
        other => Err(serde::de::Error::unknown_variant(
            other,
            &["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"],
        )),
    };
    event.map_err(EventError::Line)
}

#[cfg(test)]
mod tests;
