//! Bytes from each of two connections to the other, unread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until, timeout};

use crate::block::read;

/// How long a client may take to read what is left and to close, after the server has closed. Closing on it earlier would cut off
/// what is on its way to a slow one.
pub(crate) const FINISH: Duration = Duration::from_secs(15 * 60);

/// How a relayed connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client closed or went away.
    Client,
    /// The server closed, and the client has got everything, or did not take it within a quarter of an hour.
    Server,
    /// Nothing moved for as long as the caller allows.
    Idle,
}

/// When something last moved.
#[derive(Debug)]
pub(crate) struct Activity {
    begin: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self { begin: Instant::now(), last: AtomicU64::new(0) }
    }

    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Resolves when nothing has moved for `limit`; never where that is zero.
    pub(crate) async fn ceased(&self, limit: Duration) {
        if limit.is_zero() {
            return std::future::pending().await;
        }
        loop {
            let end = self.begin + Duration::from_millis(self.last.load(Ordering::Relaxed)) + limit;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// Passes bytes both ways until either side closes, or nothing has moved either way for `idle` (zero: for ever).
///
/// Holds at most a block of 64 KiB for each direction, and none while there is nothing to pass on; a side that does not read stops the
/// reading from the other. Whatever is left of the connections is closed at the return.
pub async fn relay<C, S>(client: C, server: S, idle: Duration) -> Ended
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = split(client);
    let activity = Activity::new();
    let ended = {
        let (mut from_server, mut to_server) = split(server);
        let up = async {
            match copy(&mut from_client, &mut to_server, &activity).await {
                Copied::Unreadable => Ended::Client,
                // What the server has sent before it closed is still to be read: the other direction comes to that end.
                Copied::Unwritable => std::future::pending().await,
            }
        };
        let down = async {
            match copy(&mut from_server, &mut to_client, &activity).await {
                Copied::Unreadable => Ended::Server,
                Copied::Unwritable => Ended::Client,
            }
        };
        tokio::select! {
            ended = up => ended,
            ended = down => ended,
            () = activity.ceased(idle) => Ended::Idle,
        }
    };
    if ended == Ended::Server {
        drain(from_client, to_client, FINISH).await;
    }
    ended
}

/// Why a direction stopped.
enum Copied {
    /// Its source has ended, or broke.
    Unreadable,
    /// Its sink takes nothing any more.
    Unwritable,
}

async fn copy<R, W>(from: &mut ReadHalf<R>, to: &mut WriteHalf<W>, activity: &Activity) -> Copied
where
    R: AsyncRead,
    W: AsyncWrite,
{
    loop {
        let Ok(Some(mut block)) = read(from).await else { return Copied::Unreadable };
        activity.touch();
        let left = block.left();
        if to.write_all(&block.memory()[left]).await.is_err() || to.flush().await.is_err() {
            return Copied::Unwritable;
        }
        activity.touch();
    }
}

/// Closes towards a client and waits, bounded, until it has closed too.
pub(crate) async fn drain<C: AsyncRead + AsyncWrite>(
    mut from: ReadHalf<C>,
    mut to: WriteHalf<C>,
    limit: Duration,
) {
    let closing = async {
        if to.shutdown().await.is_ok() {
            while let Ok(Some(_)) = read(&mut from).await {}
        }
    };
    let _ = timeout(limit, closing).await;
}
