//! WebSocket messages that are bytes of a connection, and the connection itself.

use std::ops::Range;

use super::channels::pong;
use super::{Decode, Encode, Item, Malformed};
use crate::block::Block;
use crate::websocket::{self, Decoder, Event, Opcode, Role};

/// Reads a client's messages.
#[derive(Debug)]
pub(crate) struct FromTunnel {
    frames: Decoder,
    has_closed: bool,
}

impl FromTunnel {
    pub(crate) fn new() -> Self {
        Self { frames: Decoder::new(Role::Server), has_closed: false }
    }
}

impl Decode for FromTunnel {
    fn next(&mut self, block: &mut Block) -> Result<Option<Item>, Malformed> {
        loop {
            let left = block.left();
            if left.is_empty() {
                return Ok(None);
            }
            let (at, event) = self.frames.next(&mut block.memory()[..left.end], left.start)?;
            block.take_to(at);
            match event {
                Some(Event::Data { part, .. }) if !part.is_empty() => {
                    return Ok(Some(Item::Data { channel: 0, part }));
                }
                Some(Event::Data { .. }) | None => {}
                Some(Event::Ping(payload)) => return Ok(Some(Item::Answer(pong(Role::Server, &payload)))),
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

/// Writes messages to a client.
#[derive(Debug)]
pub(crate) struct ToTunnel;

impl Encode for ToTunnel {
    fn data<'a>(&'a mut self, _: u8, memory: &'a mut [u8], part: Range<usize>) -> Option<&'a [u8]> {
        let head = websocket::head(&mut memory[..part.start], Opcode::Binary, part.len(), None);
        Some(&memory[part.start - head..part.end])
    }

    fn end(&mut self, _: u8) -> Option<Vec<u8>> {
        None
    }
}

/// A connection, read and written as it is.
#[derive(Debug)]
pub(crate) struct Plain;

impl Decode for Plain {
    fn next(&mut self, block: &mut Block) -> Result<Option<Item>, Malformed> {
        let part = block.left();
        block.take_to(part.end);
        Ok((!part.is_empty()).then_some(Item::Data { channel: 0, part }))
    }

    fn may_end(&self) -> bool {
        true
    }
}

impl Encode for Plain {
    fn data<'a>(&'a mut self, _: u8, memory: &'a mut [u8], part: Range<usize>) -> Option<&'a [u8]> {
        Some(&memory[part])
    }

    fn end(&mut self, _: u8) -> Option<Vec<u8>> {
        None
    }
}
