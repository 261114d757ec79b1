//! Questions to the daemon over its local socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use streams::websocket;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::server;

/// How long the daemon may take to begin its answer, and how long to end it where it is read as a whole.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of an answer that is read as a whole: the pods of a full node are a few MiB.
const ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// Of a refusal.
const REFUSAL_BYTES: usize = 16 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum AskError {
    #[error(
        "nodelet cannot be asked at {path}: is it running with this --root-dir, and is this root?",
        path = path.display()
    )]
    Connect { path: PathBuf, source: io::Error },
    #[error("asking nodelet for {what}")]
    Broken { what: String, source: hyper::Error },
    #[error("nodelet did not answer {what} within {PATIENCE:?}")]
    Late { what: String },
    /// In the daemon's own words.
    #[error("{}", words(*.status, .why))]
    Refused { status: StatusCode, why: String },
    #[error("the answer to {what} cannot be understood: {why}")]
    Answer { what: String, why: String },
}

fn words(status: StatusCode, why: &str) -> String {
    match why.trim() {
        "" => format!("nodelet answered {status}"),
        why => why.to_owned(),
    }
}

/// A connection on which no HTTP is spoken any more.
pub(super) type Connection = TokioIo<Upgraded>;

/// Where the daemon is asked.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Of the daemon with this root directory.
    pub(super) fn below(root_dir: &Path) -> Self {
        Self { path: server::socket(root_dir) }
    }

    async fn connect(&self) -> Result<UnixStream, AskError> {
        let connected = UnixStream::connect(&self.path).await;
        connected.map_err(|source| AskError::Connect { path: self.path.clone(), source })
    }

    /// The daemon's process, as the kernel says.
    ///
    /// # Errors
    /// Nobody answers.
    pub(super) async fn process(&self) -> Result<Option<i32>, AskError> {
        let stream = self.connect().await?;
        Ok(stream.peer_cred().ok().and_then(|credentials| credentials.pid()))
    }

    /// Sends a request, each over a connection of its own.
    async fn send(&self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, AskError> {
        let what = request.uri().path().to_owned();
        let stream = self.connect().await?;
        let asking = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // It ends with the answer, or lives on as what it was upgraded to.
            tokio::spawn(connection.with_upgrades());
            sender.send_request(request).await
        };
        match timeout(PATIENCE, asking).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(AskError::Broken { what, source }),
            Err(_) => Err(AskError::Late { what }),
        }
    }

    /// The answer's body, which is still to be read.
    ///
    /// # Errors
    /// See [`AskError`]; a refusal is one.
    pub(super) async fn get(&self, path: &str) -> Result<Incoming, AskError> {
        let answer = self.send(request(path)?).await?;
        if !answer.status().is_success() {
            return Err(refused(answer).await);
        }
        Ok(answer.into_body())
    }

    /// An answer in JSON.
    ///
    /// # Errors
    /// As of [`Socket::get`].
    pub(super) async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        let body = self.whole(path, ANSWER_BYTES).await?;
        serde_json::from_slice(&body)
            .map_err(|error| AskError::Answer { what: path.to_owned(), why: error.to_string() })
    }

    /// An answer of at most so many bytes.
    ///
    /// # Errors
    /// As of [`Socket::get`]; or it is longer, or does not end.
    pub(super) async fn whole(&self, path: &str, limit: usize) -> Result<Bytes, AskError> {
        let what = path.to_owned();
        let body = Limited::new(self.get(path).await?, limit).collect();
        match timeout(PATIENCE, body).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) => Err(AskError::Answer { what, why: error.to_string() }),
            Err(_) => Err(AskError::Late { what }),
        }
    }

    /// A WebSocket with this sub-protocol.
    ///
    /// # Errors
    /// As of [`Socket::get`].
    pub(super) async fn websocket(&self, path: &str, protocol: &'static str) -> Result<Connection, AskError> {
        let mut request = request(path)?;
        let headers = request.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        if let Ok(key) = HeaderValue::from_str(&websocket::request_key()) {
            headers.insert(SEC_WEBSOCKET_KEY, key);
        }
        let answer = self.send(request).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(refused(answer).await);
        }
        let upgraded = hyper::upgrade::on(answer).await;
        let upgraded = upgraded.map_err(|source| AskError::Broken { what: path.to_owned(), source })?;
        Ok(TokioIo::new(upgraded))
    }
}

fn request(path: &str) -> Result<Request<Empty<Bytes>>, AskError> {
    let request = Request::get(path).header(HOST, "nodelet").body(Empty::new());
    request.map_err(|error| AskError::Answer { what: path.to_owned(), why: error.to_string() })
}

async fn refused(answer: Response<Incoming>) -> AskError {
    let status = answer.status();
    let body = timeout(PATIENCE, Limited::new(answer.into_body(), REFUSAL_BYTES).collect()).await;
    // The status says enough.
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    AskError::Refused { status, why: String::from_utf8_lossy(&body).into_owned() }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_begins_and_does_not_end_is_late() {
        let dir = tempfile::tempdir().unwrap();
        for status in ["200 OK", "503 Service Unavailable"] {
            let path = dir.path().join(status);
            let listener = UnixListener::bind(&path).unwrap();
            let daemon = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await.unwrap();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: 10\r\n\r\n[");
                stream.write_all(head.as_bytes()).await.unwrap();
                std::future::pending::<()>().await;
            });
            let begun = Instant::now();
            let failed = Socket { path }.json::<serde_json::Value>("/pods").await.unwrap_err();
            let is_right = match status {
                "200 OK" => matches!(&failed, AskError::Late { what } if what == "/pods"),
                _ => matches!(&failed, AskError::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }),
            };
            assert!(is_right, "{failed:?}");
            assert!(begun.elapsed() >= PATIENCE);
            daemon.abort();
        }
    }
}
