//! Frames.
//!
//! ```text
//!  data:    0, 31 bits of stream | 8 bits of flags, 24 bits of length | payload
//!  control: 1, 15 bits of version, 16 bits of kind | 8 bits of flags, 24 bits of length | payload
//! ```

use std::ops::Range;

use thiserror::Error;

/// Bytes of a data frame's head.
pub const DATA_HEAD: usize = 8;
/// Bytes of a frame's payload at most.
pub const MAX_LENGTH: usize = (1 << 24) - 1;
const VERSION: u16 = 3;
const FIN: u8 = 1;
/// Bytes of a control frame that are looked at, beside header blocks.
const CONTROL: usize = 10;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// Why a peer's bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Only 3 is spoken.
    #[error("version {0} of SPDY")]
    Version(u16),
    /// It is too short for what it is.
    #[error("a frame of kind {0} is too short")]
    Short(u16),
    /// Data belongs to a stream.
    #[error("a frame of stream 0")]
    Stream,
}

/// What comes out of a peer's bytes. Ranges lie in the bytes that were given.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A part of what a stream carries; it may be empty.
    Data {
        /// Of which stream.
        stream: u32,
        /// Where.
        part: Range<usize>,
        /// Nothing comes after it in this stream and this direction.
        fin: bool,
    },
    /// The peer opens a stream; its header block follows.
    SynStream {
        /// Its number.
        stream: u32,
        /// The peer will send nothing in it.
        fin: bool,
    },
    /// The peer takes a stream; a header block follows.
    SynReply {
        /// Its number.
        stream: u32,
        /// The peer will send nothing in it.
        fin: bool,
    },
    /// A part of a header block.
    Block {
        /// Where.
        part: Range<usize>,
        /// It is the last one.
        last: bool,
    },
    /// The peer has given a stream up, in both directions.
    Reset {
        /// Its number.
        stream: u32,
        /// Why, 1 to 11.
        status: u32,
    },
    /// To be sent back, if the number is the peer's kind: even of a server, odd of a client.
    Ping(u32),
    /// The peer takes no further streams.
    GoAway,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    Data { stream: u32, fin: bool, left: usize },
    Control { kind: u16, flags: u8, left: usize },
    Block { left: usize },
    Skip { left: usize },
}

/// Reads a peer's frames; bounded in memory whatever the peer sends.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// A head or the looked-at part of a control frame, as far as it is there.
    fixed: [u8; CONTROL],
    have: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the start of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Head, fixed: [0; CONTROL], have: 0 }
    }

    /// Takes from `bytes[at..]`: how far, and what was found. Without an event all was taken and more is needed.
    ///
    /// # Errors
    /// The peer does not keep to the protocol; nothing after that has a meaning.
    pub fn next(&mut self, bytes: &[u8], mut at: usize) -> Result<(usize, Option<Event>), FrameError> {
        loop {
            let there = bytes.len() - at;
            match self.state {
                State::Head => {
                    let Some(after) = self.gather(bytes, at, DATA_HEAD) else {
                        return Ok((bytes.len(), None));
                    };
                    at = after;
                    self.state = self.of_head()?;
                }
                State::Data { stream, fin, left } => {
                    if there == 0 && left > 0 {
                        return Ok((at, None));
                    }
                    let length = left.min(there);
                    let left = left - length;
                    self.state = if left == 0 { State::Head } else { State::Data { stream, fin, left } };
                    let part = at..at + length;
                    return Ok((at + length, Some(Event::Data { stream, part, fin: fin && left == 0 })));
                }
                State::Control { kind, flags, left } => {
                    let wanted = control_length(kind);
                    if left < wanted {
                        return Err(FrameError::Short(kind));
                    }
                    let Some(after) = self.gather(bytes, at, wanted) else { return Ok((bytes.len(), None)) };
                    at = after;
                    let left = left - wanted;
                    let block = matches!(kind, SYN_STREAM | SYN_REPLY | HEADERS);
                    self.state = if block { State::Block { left } } else { State::Skip { left } };
                    if let Some(event) = self.control(kind, flags)? {
                        return Ok((at, Some(event)));
                    }
                }
                State::Block { left } => {
                    if there == 0 && left > 0 {
                        return Ok((at, None));
                    }
                    let length = left.min(there);
                    let left = left - length;
                    self.state = if left == 0 { State::Head } else { State::Block { left } };
                    let part = at..at + length;
                    return Ok((at + length, Some(Event::Block { part, last: left == 0 })));
                }
                State::Skip { left } => {
                    if there == 0 && left > 0 {
                        return Ok((at, None));
                    }
                    let length = left.min(there);
                    at += length;
                    let left = left - length;
                    self.state = if left == 0 { State::Head } else { State::Skip { left } };
                }
            }
            if at == bytes.len() && matches!(self.state, State::Head) {
                return Ok((at, None));
            }
        }
    }

    /// Collects `wanted` bytes; where they end, or `None` when there are not enough yet.
    fn gather(&mut self, bytes: &[u8], at: usize, wanted: usize) -> Option<usize> {
        let there = (wanted - self.have).min(bytes.len() - at);
        self.fixed[self.have..self.have + there].copy_from_slice(&bytes[at..at + there]);
        self.have += there;
        if self.have < wanted {
            return None;
        }
        self.have = 0;
        Some(at + there)
    }

    fn word(&self, at: usize) -> u32 {
        let mut word = [0; 4];
        word.copy_from_slice(&self.fixed[at..at + 4]);
        u32::from_be_bytes(word)
    }

    fn of_head(&self) -> Result<State, FrameError> {
        let (first, second) = (self.word(0), self.word(4));
        let (flags, left) = ((second >> 24) as u8, (second & 0x00ff_ffff) as usize);
        if first >> 31 == 0 {
            if first == 0 {
                return Err(FrameError::Stream);
            }
            return Ok(State::Data { stream: first, fin: flags & FIN != 0, left });
        }
        let (version, kind) = ((first >> 16) as u16 & 0x7fff, first as u16);
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        Ok(State::Control { kind, flags, left })
    }

    fn control(&self, kind: u16, flags: u8) -> Result<Option<Event>, FrameError> {
        let (number, fin) = (self.word(0) & 0x7fff_ffff, flags & FIN != 0);
        let event = match kind {
            SYN_STREAM => Event::SynStream { stream: number, fin },
            SYN_REPLY => Event::SynReply { stream: number, fin },
            RST_STREAM => Event::Reset { stream: number, status: self.word(4) },
            PING => return Ok(Some(Event::Ping(self.word(0)))),
            GOAWAY => return Ok(Some(Event::GoAway)),
            _ => return Ok(None),
        };
        if number == 0 { Err(FrameError::Stream) } else { Ok(Some(event)) }
    }
}

/// Bytes of a control frame before its header block, or that mean something here.
fn control_length(kind: u16) -> usize {
    match kind {
        SYN_STREAM => 10,
        RST_STREAM => 8,
        SYN_REPLY | HEADERS | PING | GOAWAY => 4,
        _ => 0,
    }
}

/// The head of a frame with `length` bytes of data.
#[must_use]
pub fn data_head(stream: u32, length: usize, fin: bool) -> [u8; DATA_HEAD] {
    debug_assert!(length <= MAX_LENGTH);
    let second = u32::from(if fin { FIN } else { 0 }) << 24 | (length & MAX_LENGTH) as u32;
    let mut head = [0; DATA_HEAD];
    head[..4].copy_from_slice(&(stream & 0x7fff_ffff).to_be_bytes());
    head[4..].copy_from_slice(&second.to_be_bytes());
    head
}

/// Appends a frame that opens a stream.
pub fn syn_stream(to: &mut Vec<u8>, stream: u32, fin: bool, block: &[u8]) {
    control_head(to, SYN_STREAM, fin, 10 + block.len());
    to.extend_from_slice(&stream.to_be_bytes());
    // No associated stream, priority 0, no credential.
    to.extend_from_slice(&[0; 6]);
    to.extend_from_slice(block);
}

/// Appends a frame that takes a stream.
pub fn syn_reply(to: &mut Vec<u8>, stream: u32, fin: bool, block: &[u8]) {
    control_head(to, SYN_REPLY, fin, 4 + block.len());
    to.extend_from_slice(&stream.to_be_bytes());
    to.extend_from_slice(block);
}

/// A frame that gives a stream up.
#[must_use]
pub fn reset(stream: u32, status: u32) -> Vec<u8> {
    let mut frame = Vec::with_capacity(16);
    control_head(&mut frame, RST_STREAM, false, 8);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&status.to_be_bytes());
    frame
}

/// A ping, or the answer to one.
#[must_use]
pub fn ping(number: u32) -> Vec<u8> {
    let mut frame = Vec::with_capacity(12);
    control_head(&mut frame, PING, false, 4);
    frame.extend_from_slice(&number.to_be_bytes());
    frame
}

fn control_head(to: &mut Vec<u8>, kind: u16, fin: bool, length: usize) {
    to.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    to.extend_from_slice(&kind.to_be_bytes());
    let second = u32::from(if fin { FIN } else { 0 }) << 24 | (length & MAX_LENGTH) as u32;
    to.extend_from_slice(&second.to_be_bytes());
}

#[cfg(test)]
mod tests;
