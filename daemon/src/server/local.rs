//! The local socket: the same answers as of port 10250 for root on this machine, who needs neither a certificate nor an API server
//! that would say what he may do. The commands that look at a node (`view`) ask here.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::Context;
use super::endpoint::Door;
use super::listen::{ACCEPT_PAUSE, serve, until};

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 32;

/// Where the daemon with this root directory answers.
pub(crate) fn socket(root_dir: &Path) -> PathBuf {
    root_dir.join("nodelet/node.sock")
}

/// Serves until `stop`.
pub(super) async fn run(socket: UnixListener, context: Context, stop: watch::Receiver<bool>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let accepting = async {
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match socket.accept().await {
                Ok((stream, _)) if is_root(&stream) => {
                    let serving = serve(stream, context.clone(), Door::Local, None, permit);
                    tokio::spawn(until(stop.clone(), serving));
                }
                Ok(_) => tracing::warn!("somebody who is not root has come to the local socket"),
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection to the local socket");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    until(stop.clone(), accepting).await;
}

/// The socket's mode keeps others out; this does so too where somebody has passed it on or changed it.
fn is_root(stream: &UnixStream) -> bool {
    let caller: io::Result<u32> = stream.peer_cred().map(|credentials| credentials.uid());
    caller.is_ok_and(|uid| uid == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use http::{Method, StatusCode};

    use super::*;
    use crate::local_socket;
    use crate::server::tests::{ask, asked, context, text};

    #[tokio::test]
    async fn only_root_can_come_in_and_is_asked_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = socket(dir.path());
        let listener = local_socket::bind(&path).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let (connected, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        assert!(connected.is_ok());
        let own = nix::unistd::geteuid().is_root();
        assert_eq!(is_root(&accepted.unwrap().0), own, "the kernel tells who it is");
    }

    #[tokio::test]
    async fn what_is_switched_off_for_the_network_is_there_and_the_overview_nowhere_else() {
        let context = context(None, |config| {
            config.enable_debugging_handlers = false;
            config.authorization.mode = "AlwaysAllow".to_owned();
            config.authentication.anonymous.enabled = true;
        });
        let status = async |door, path| ask(&context, door, None, asked(&Method::GET, path)).await.status();
        assert_eq!(status(Door::Local, "/containerLogs/default/web/c").await, StatusCode::NOT_FOUND);
        assert_eq!(
            status(Door::ReadWrite, "/containerLogs/default/web/c").await,
            StatusCode::METHOD_NOT_ALLOWED
        );
        for door in [Door::ReadWrite, Door::ReadOnly, Door::Healthz] {
            assert_eq!(status(door, "/nodelet/status").await, StatusCode::NOT_FOUND, "{door:?}");
        }
        let reply = ask(&context, Door::Local, None, asked(&Method::GET, "/nodelet/status")).await;
        assert_eq!(reply.status(), StatusCode::OK);
        assert!(text(reply).await.contains("\"name\":\"n1\""));
    }
}
