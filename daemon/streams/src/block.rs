//! Memory for what is on its way. A stream that waits holds none: a block is taken when its connection has something to read,
//! and given back when that was written.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that a block holds at most.
pub(crate) const BLOCK: usize = 64 * 1024;
/// Bytes in front of what was read, for the header of the frame that it is passed on in.
pub(crate) const HEADROOM: usize = 16;
/// Blocks that a thread keeps for the next reads.
const SPARE: usize = 2;

thread_local! {
    static SPARES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// What was read in one go: `bytes()[start..end]`, of which a decoder takes from the start.
#[derive(Debug)]
pub(crate) struct Block {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Block {
    fn new() -> Self {
        let spare = SPARES.try_with(|spares| spares.borrow_mut().pop()).ok().flatten();
        let memory = spare.unwrap_or_else(|| vec![0; HEADROOM + BLOCK].into_boxed_slice());
        Self { memory, start: HEADROOM, end: HEADROOM }
    }

    /// All of the memory: what was read, what is before it, and what was passed on already.
    pub(crate) fn memory(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// Where in the memory that lies which was read and not taken.
    pub(crate) fn left(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Takes from the start up to `at`.
    pub(crate) fn take_to(&mut self, at: usize) {
        debug_assert!((self.start..=self.end).contains(&at));
        self.start = at;
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        // A thread that ends keeps nothing.
        let _ = SPARES.try_with(|spares| {
            let mut spares = spares.borrow_mut();
            if spares.len() < SPARE {
                spares.push(memory);
            }
        });
    }
}

/// Reads what is there; `None` at the end. Cancel-safe.
pub(crate) async fn read<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Option<Block>> {
    poll_fn(|cx| {
        let mut block = Block::new();
        let mut room = ReadBuf::new(&mut block.memory[HEADROOM..]);
        ready!(Pin::new(&mut *from).poll_read(cx, &mut room))?;
        // A peer writes a frame in pieces, and TLS gives one record at a time: what is there already is taken along. An end or an
        // error is found again by the next read.
        while room.remaining() > 0 {
            let before = room.filled().len();
            match Pin::new(&mut *from).poll_read(cx, &mut room) {
                Poll::Ready(Ok(())) if room.filled().len() > before => {}
                _ => break,
            }
        }
        let length = room.filled().len();
        block.end = HEADROOM + length;
        Poll::Ready(Ok((length > 0).then_some(block)))
    })
    .await
}
