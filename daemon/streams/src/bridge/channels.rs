//! WebSocket messages whose first byte is a channel.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;

use super::base64::{FromText, TEXT_PART, ToText};
use super::{Decode, Encode, Item, Malformed};
use crate::block::{BLOCK, Block, HEADROOM};
use crate::websocket::{self, Decoder, Event, Opcode, Role};

/// In place of a channel: the peer sends nothing more in the channel that the next byte has.
const CLOSES: u8 = 255;
/// What stands for it in a text message: `0` and 255, in 8 bits.
const CLOSES_TEXT: u8 = b'/';

/// Where in a message its next byte is.
#[derive(Clone, Copy, Debug)]
enum At {
    Channel,
    Data(u8),
    Closes,
    /// Nothing that follows counts.
    Rest,
}

/// Reads channels.
#[derive(Debug)]
pub(crate) struct Channels {
    frames: Decoder,
    role: Role,
    at: At,
    text: Option<FromText>,
    /// Whether a channel can be closed by itself.
    half_close: bool,
    has_closed: bool,
}

impl Channels {
    pub(crate) fn new(role: Role, is_text: bool, half_close: bool) -> Self {
        let text = is_text.then(FromText::default);
        Self { frames: Decoder::new(role), role, at: At::Channel, text, half_close, has_closed: false }
    }

    /// What a part of a message is; `None` where nothing of it is data.
    fn part(
        &mut self,
        memory: &mut [u8],
        mut part: Range<usize>,
        last: bool,
    ) -> Result<Option<Item>, Malformed> {
        if matches!(self.at, At::Channel) && !part.is_empty() {
            let byte = memory[part.start];
            part.start += 1;
            self.at = match (byte, &self.text) {
                (CLOSES, _) if self.half_close => At::Closes,
                (CLOSES_TEXT, Some(_)) if self.half_close => At::Closes,
                (byte, Some(_)) => At::Data(byte.wrapping_sub(b'0')),
                (byte, None) => At::Data(byte),
            };
        }
        match self.at {
            At::Closes if !part.is_empty() => {
                let byte = memory[part.start];
                let channel = if self.text.is_some() && byte >= b'0' { byte - b'0' } else { byte };
                self.at = At::Rest;
                Ok(Some(Item::End(channel)))
            }
            At::Data(channel) => {
                if let Some(text) = &mut self.text {
                    part = text.decode(memory, part, last)?;
                }
                Ok((!part.is_empty()).then_some(Item::Data { channel, part }))
            }
            At::Channel | At::Closes | At::Rest => Ok(None),
        }
    }
}

impl Decode for Channels {
    fn next(&mut self, block: &mut Block) -> Result<Option<Item>, Malformed> {
        loop {
            let left = block.left();
            if left.is_empty() {
                return Ok(None);
            }
            let (at, event) = self.frames.next(&mut block.memory()[..left.end], left.start)?;
            block.take_to(at);
            match event {
                None => {}
                Some(Event::Data { part, first, last }) => {
                    if first {
                        self.at = At::Channel;
                    }
                    if let Some(item) = self.part(block.memory(), part, last)? {
                        return Ok(Some(item));
                    }
                }
                Some(Event::Ping(payload)) => return Ok(Some(Item::Answer(pong(self.role, &payload)))),
                Some(Event::Pong) => return Ok(Some(Item::Alive)),
                Some(Event::Close(_)) => {
                    self.has_closed = true;
                    return Ok(Some(Item::Done));
                }
            }
        }
    }

    fn may_end(&self) -> bool {
        self.has_closed
    }
}

/// The answer to a ping.
pub(super) fn pong(role: Role, payload: &[u8]) -> Vec<u8> {
    websocket::control(Opcode::Pong, payload, key(role))
}

/// What a client masks with: nobody has to guess it, so it stays the same for a frame only.
fn key(role: Role) -> Option<[u8; 4]> {
    (role == Role::Client).then(|| (RandomState::new().hash_one(()) as u32).to_ne_bytes())
}

/// Writes channels.
#[derive(Debug)]
pub(crate) struct ToChannels {
    role: Role,
    text: Option<ToText>,
    /// Bit n: the peer wants what channel n has.
    wanted: u64,
}

impl ToChannels {
    /// For a peer that wants these channels, each below 64.
    pub(crate) fn new(role: Role, is_text: bool, wanted: impl IntoIterator<Item = u8>) -> Self {
        let wanted =
            wanted.into_iter().filter(|channel| *channel < 64).fold(0, |bits, channel| bits | 1 << channel);
        Self { role, text: is_text.then(ToText::default), wanted }
    }

    /// A whole message of a few bytes.
    pub(crate) fn message(&mut self, channel: u8, bytes: &[u8]) -> Vec<u8> {
        let bytes = &bytes[..bytes.len().min(TEXT_PART)];
        let mut memory = vec![0; HEADROOM + bytes.len()];
        memory[HEADROOM..].copy_from_slice(bytes);
        let end = memory.len();
        self.data(channel, &mut memory, HEADROOM..end).map(<[u8]>::to_vec).unwrap_or_default()
    }
}

impl Encode for ToChannels {
    fn most(&self) -> usize {
        if self.text.is_some() { TEXT_PART } else { BLOCK }
    }

    fn data<'a>(&'a mut self, channel: u8, memory: &'a mut [u8], part: Range<usize>) -> Option<&'a [u8]> {
        if channel >= 64 || self.wanted >> channel & 1 == 0 {
            return None;
        }
        if let Some(text) = &mut self.text {
            return Some(text.frame(channel, &memory[part]));
        }
        memory[part.start - 1] = channel;
        let message = part.start - 1..part.end;
        let key = key(self.role);
        if let Some(key) = key {
            websocket::mask(&mut memory[message.clone()], key);
        }
        let head = websocket::head(&mut memory[..message.start], Opcode::Binary, message.len(), key);
        Some(&memory[message.start - head..message.end])
    }

    fn end(&mut self, _: u8) -> Option<Vec<u8>> {
        None
    }
}
