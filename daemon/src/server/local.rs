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
