//! A tunnel: the bytes of two connections that have both changed their protocol, each carried to the other.
//!
//! What one side does not read is not read from the other: a direction holds one buffer. A side that has said its last word may still listen;
//! the tunnel then goes on in the other direction for as long as something moves. It ends at once when a connection breaks or the
//! server stops.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// One record of TLS, in bytes.
const BUFFER_BYTES: usize = 16 * 1024;
/// How long nothing may move when only one direction is left: who wanted an answer would have got some of it.
const LINGER: Duration = Duration::from_secs(30);

/// Carries bytes both ways until both sides have said all, one breaks, or the server stops.
pub(super) async fn carry<S>(client: S, backend: S, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite,
{
    let moved = AtomicU64::new(0);
    let (from_client, to_client) = split(client);
    let (from_backend, to_backend) = split(backend);
    let both = async {
        let (there, back) = (copy(from_client, to_backend, &moved), copy(from_backend, to_client, &moved));
        tokio::pin!(there, back);
        // Cancel-safe: a direction is polled on, or everything is dropped.
        let (first, rest) = tokio::select! {
            ended = &mut there => (ended, back),
            ended = &mut back => (ended, there),
        };
        if first.is_ok() {
            while_moving(rest, &moved).await;
        }
    };
    tokio::select! {
        () = both => {}
        () = stop.cancelled() => {}
    }
}

/// Waits for the end of the last direction, as long as it moves.
async fn while_moving(rest: impl Future<Output = std::io::Result<()>>, moved: &AtomicU64) {
    tokio::pin!(rest);
    loop {
        let before = moved.load(Ordering::Relaxed);
        tokio::select! {
            _ = &mut rest => return,
            () = sleep(LINGER) => {
                if moved.load(Ordering::Relaxed) == before {
                    return;
                }
            }
        }
    }
}

/// Carries one direction to its end, and tells the other side that nothing follows.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        moved.fetch_add(read as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
