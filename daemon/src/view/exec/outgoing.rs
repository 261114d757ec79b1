//! What is still to be sent to the daemon, which may take it slowly.

use std::collections::VecDeque;
use std::future::pending;
use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Messages that wait at most; input waits only when it is alone.
const MESSAGES: usize = 8;

/// Messages in their order.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    messages: VecDeque<Vec<u8>>,
    /// Bytes of the first that are sent.
    sent: usize,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.messages.len() >= MESSAGES
    }

    pub(super) fn push(&mut self, message: Vec<u8>) {
        self.messages.push_back(message);
    }

    /// Sends some of it; where nothing waits, this does not resolve. Cancel-safe: only what the connection has taken counts as sent.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) async fn send(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let Some(first) = self.messages.front() else { return pending().await };
        let count = to.write(&first[self.sent..]).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.sent += count;
        if self.sent == first.len() {
            self.messages.pop_front();
            self.sent = 0;
        }
        Ok(())
    }
}
