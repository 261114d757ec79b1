//! Frames.
//!
//! ```text
//!  byte 0: FIN, three reserved bits, opcode    byte 1: masked, length 0..125, or 126: 2 bytes follow, or 127: 8 bytes
//!  then 4 bytes of mask where it is masked (a client's frames always are), then the payload
//! ```

use std::ops::Range;

use thiserror::Error;

/// Whose frames are read or written: a client's are masked, a server's are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We are the client.
    Client,
    /// We are the server.
    Server,
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further part of a message.
    Continuation,
    /// A message of UTF-8 text.
    Text,
    /// A message of bytes.
    Binary,
    /// The last frame of a side.
    Close,
    /// Wants a pong with the same payload.
    Ping,
    /// Answers a ping, or nothing.
    Pong,
}

impl Opcode {
    fn of(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        self.bits() >= 8
    }
}

/// Bytes of a control frame's payload at most.
const CONTROL: usize = 125;
/// Bytes of a head at most.
const HEAD: usize = 14;

/// Why a peer's bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A reserved bit is set, though no extension was agreed on.
    #[error("a reserved bit is set")]
    Reserved,
    /// No such opcode.
    #[error("opcode {0} is not known")]
    Opcode(u8),
    /// A client has to mask, a server must not.
    #[error("the frame is masked where it must not be, or is not where it must be")]
    Mask,
    /// A control frame that is cut in pieces or longer than 125 bytes.
    #[error("a control frame is fragmented or too long")]
    Control,
    /// More than a length can be.
    #[error("the length has more than 63 bits")]
    Length,
    /// A message begins in another one, or goes on where none is.
    #[error("a frame continues no message, or begins one within another")]
    Continuation,
}

/// What comes out of a peer's bytes. Ranges lie in the bytes that were given.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A part of a message, unmasked; it may be empty.
    Data {
        /// Where.
        part: Range<usize>,
        /// It begins a message.
        first: bool,
        /// It ends a message.
        last: bool,
    },
    /// Wants a pong with this payload, of at most 125 bytes.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// Nothing comes after this; the payload is to be sent back in a closing frame.
    Close(Vec<u8>),
}

#[derive(Debug)]
enum State {
    Head,
    Payload { opcode: Opcode, fin: bool, left: u64, masked: Option<[u8; 4]>, begun: bool },
}

/// Reads a peer's frames; bounded in memory whatever the peer sends.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    state: State,
    /// The head as far as it is there.
    head: [u8; HEAD],
    have: usize,
    /// A message has begun and not ended.
    in_message: bool,
    /// The payload of a control frame as far as it is there.
    control: Vec<u8>,
}

impl Decoder {
    /// Of a side that has this role.
    #[must_use]
    pub fn new(role: Role) -> Self {
        Self { role, state: State::Head, head: [0; HEAD], have: 0, in_message: false, control: Vec::new() }
    }

    /// Takes from `bytes[at..]`, unmasking in place: how far, and what was found. Without an event all was taken and more is needed.
    ///
    /// # Errors
    /// The peer does not keep to the protocol; nothing after that has a meaning.
    pub fn next(&mut self, bytes: &mut [u8], mut at: usize) -> Result<(usize, Option<Event>), FrameError> {
        loop {
            if matches!(self.state, State::Head) {
                let Some(after) = self.head(bytes, at)? else { return Ok((bytes.len(), None)) };
                at = after;
            }
            let State::Payload { opcode, fin, left, masked, begun } = &mut self.state else { continue };
            let there = bytes.len() - at;
            if there == 0 && *left > 0 {
                return Ok((at, None));
            }
            let length = usize::try_from(*left).map_or(there, |left| left.min(there));
            let part = at..at + length;
            if let Some(key) = masked {
                mask(&mut bytes[part.clone()], *key);
                key.rotate_left(length % 4);
            }
            *left -= length as u64;
            let ended = *left == 0;
            at += length;
            let event = if opcode.is_control() {
                self.control.extend_from_slice(&bytes[part]);
                if !ended {
                    return Ok((at, None));
                }
                let payload = std::mem::take(&mut self.control);
                match opcode {
                    Opcode::Ping => Event::Ping(payload),
                    Opcode::Pong => Event::Pong,
                    _ => Event::Close(payload),
                }
            } else {
                let first = !*begun && *opcode != Opcode::Continuation;
                *begun = true;
                let last = ended && *fin;
                self.in_message = !last;
                Event::Data { part, first, last }
            };
            if ended {
                self.state = State::Head;
            }
            return Ok((at, Some(event)));
        }
    }

    /// Where the payload begins; `None` where the head is not whole yet.
    fn head(&mut self, bytes: &[u8], mut at: usize) -> Result<Option<usize>, FrameError> {
        loop {
            let wanted = self.head_length();
            let missing = wanted - self.have;
            let there = missing.min(bytes.len() - at);
            self.head[self.have..self.have + there].copy_from_slice(&bytes[at..at + there]);
            self.have += there;
            at += there;
            if there < missing {
                return Ok(None);
            }
            if self.head_length() == wanted {
                break;
            }
        }
        let [first, second, ..] = self.head;
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        let opcode = Opcode::of(first & 0x0f).ok_or(FrameError::Opcode(first & 0x0f))?;
        let (fin, is_masked) = (first & 0x80 != 0, second & 0x80 != 0);
        if is_masked != (self.role == Role::Server) {
            return Err(FrameError::Mask);
        }
        let (left, mask_at) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes([self.head[2], self.head[3]])), 4),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&self.head[2..10]);
                (u64::from_be_bytes(length), 10)
            }
            short => (u64::from(short), 2),
        };
        if left >> 63 != 0 {
            return Err(FrameError::Length);
        }
        if opcode.is_control() {
            if !fin || left > CONTROL as u64 {
                return Err(FrameError::Control);
            }
        } else if self.in_message != (opcode == Opcode::Continuation) {
            return Err(FrameError::Continuation);
        }
        let masked = is_masked.then(|| {
            let mut key = [0; 4];
            key.copy_from_slice(&self.head[mask_at..mask_at + 4]);
            key
        });
        self.have = 0;
        self.state = State::Payload { opcode, fin, left, masked, begun: false };
        Ok(Some(at))
    }

    /// Bytes of the head, as far as that can be known from what is there.
    fn head_length(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let second = self.head[1];
        let length = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & 0x80 == 0 { 0 } else { 4 }
    }
}

/// Applies a mask, or takes it off again.
pub fn mask(bytes: &mut [u8], key: [u8; 4]) {
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(eight) ^ wide).to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Writes the head of a whole frame with a payload of `length` bytes to the end of `room`; how many bytes it has, at most 14. With a key
/// it is a client's, whose payload has to be masked with [`mask`].
///
/// # Panics
/// `room` is shorter than the head.
pub fn head(room: &mut [u8], opcode: Opcode, length: usize, key: Option<[u8; 4]>) -> usize {
    let mut head = [0; HEAD];
    head[0] = 0x80 | opcode.bits();
    let mut bytes = match length {
        0..126 => {
            head[1] = length as u8;
            2
        }
        126..=0xffff => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            head[1] = 127;
            head[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    if let Some(key) = key {
        head[1] |= 0x80;
        head[bytes..bytes + 4].copy_from_slice(&key);
        bytes += 4;
    }
    let at = room.len() - bytes;
    room[at..].copy_from_slice(&head[..bytes]);
    bytes
}

/// A whole frame with a short payload; what is beyond 125 bytes is left out.
#[must_use]
pub fn control(opcode: Opcode, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let payload = &payload[..payload.len().min(CONTROL)];
    let mut room = [0; HEAD];
    let length = head(&mut room, opcode, payload.len(), key);
    let mut frame = room[HEAD - length..].to_vec();
    frame.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut frame[length..], key);
    }
    frame
}

/// A closing frame with a code and a reason, which is cut where it is long.
#[must_use]
pub fn close(code: u16, reason: &str, key: Option<[u8; 4]>) -> Vec<u8> {
    let mut end = reason.len().min(CONTROL - 2);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    control(Opcode::Close, &payload, key)
}

#[cfg(test)]
mod tests;
