//! Channels as text: the channel's digit, then base64.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Malformed;
use crate::websocket::{self, Opcode};

/// Bytes of a message's payload at most before they become text.
pub(super) const TEXT_PART: usize = 12 * 1024;
/// Bytes of a head at most.
const HEAD: usize = 14;

/// Reads the text of one message after the other, in pieces.
#[derive(Debug, Default)]
pub(super) struct FromText {
    /// Six bits a symbol, of the symbols that are not four yet.
    bits: u32,
    symbols: u8,
    is_padded: bool,
}

impl FromText {
    /// Decodes in place: where the bytes are. Up to three bytes before the part are overwritten.
    pub(super) fn decode(
        &mut self,
        memory: &mut [u8],
        part: Range<usize>,
        last: bool,
    ) -> Result<Range<usize>, Malformed> {
        // Symbols of the piece before may make up to two bytes more than this piece has.
        let start = part.start - 3;
        let mut end = start;
        for at in part {
            let value = match memory[at] {
                symbol @ b'A'..=b'Z' => symbol - b'A',
                symbol @ b'a'..=b'z' => symbol - b'a' + 26,
                symbol @ b'0'..=b'9' => symbol - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                b'\r' | b'\n' => continue,
                b'=' => {
                    self.is_padded = true;
                    continue;
                }
                _ => return Err(Malformed::Base64),
            };
            if self.is_padded {
                return Err(Malformed::Base64);
            }
            self.bits = self.bits << 6 | u32::from(value);
            self.symbols += 1;
            if self.symbols == 4 {
                memory[end..end + 3].copy_from_slice(&self.bits.to_be_bytes()[1..]);
                end += 3;
                (self.bits, self.symbols) = (0, 0);
            }
        }
        if last {
            let (bits, symbols) = (self.bits, self.symbols);
            *self = Self::default();
            match symbols {
                0 => {}
                2 => {
                    memory[end] = (bits >> 4) as u8;
                    end += 1;
                }
                3 => {
                    memory[end..end + 2].copy_from_slice(&((bits >> 2) as u16).to_be_bytes());
                    end += 2;
                }
                _ => return Err(Malformed::Base64),
            }
        }
        Ok(start..end)
    }
}

/// Writes messages of text.
#[derive(Debug, Default)]
pub(super) struct ToText {
    frame: Vec<u8>,
}

impl ToText {
    /// A server's frame.
    pub(super) fn frame(&mut self, channel: u8, bytes: &[u8]) -> &[u8] {
        let length = 1 + bytes.len().div_ceil(3) * 4;
        self.frame.clear();
        self.frame.resize(HEAD + length, 0);
        let head = websocket::head(&mut self.frame[..HEAD], Opcode::Text, length, None);
        self.frame[HEAD] = channel.wrapping_add(b'0');
        // It has exactly the room that it needs.
        let _ = STANDARD.encode_slice(bytes, &mut self.frame[HEAD + 1..]);
        &self.frame[HEAD - head..]
    }
}

#[cfg(test)]
mod tests;
