//! Where the runtime listens, and the connection to it.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// A connection that is not made in this time is tried anew (behaviour.md 47.4).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An endpoint that is not a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "container runtime endpoint {endpoint:?} is not an absolute path of a Unix socket, with or without unix:// before it"
)]
pub struct EndpointError {
    /// As configured.
    pub endpoint: String,
}

/// The path of the socket that `endpoint` (`unix:///run/x.sock` or `/run/x.sock`) names.
pub fn socket_path(endpoint: &str) -> Result<PathBuf, EndpointError> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if path.starts_with('/') && !path.contains('\0') {
        Ok(PathBuf::from(path))
    } else {
        Err(EndpointError { endpoint: endpoint.to_owned() })
    }
}

/// A channel that connects when it is first used, and again after each break.
pub(crate) fn channel(path: PathBuf) -> Channel {
    let connector = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    // The name goes into the :authority header only; runtimes expect it to be this.
    Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_TIMEOUT)
        .connect_with_connector_lazy(connector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_absolute_path_with_or_without_its_scheme() {
        assert_eq!(socket_path("unix:///run/c.sock"), Ok(PathBuf::from("/run/c.sock")));
        assert_eq!(socket_path("/run/c.sock"), Ok(PathBuf::from("/run/c.sock")));
        for wrong in ["", "run/c.sock", "unix://run/c.sock", "tcp://127.0.0.1:1", "npipe:////./pipe/x"] {
            assert!(socket_path(wrong).is_err(), "{wrong}");
        }
    }
}
