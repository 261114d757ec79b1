//! Channels as SPDY streams, of the side that opens them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::{Decode, Encode, Item, Malformed};
use crate::block::Block;
use crate::spdy::{self, DATA_HEAD, Decoder, Event, headers};

/// Who sends in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only the runtime.
    Read,
    /// Only we.
    Write,
    /// Both.
    Both,
}

/// The streams of a session, in the order in which they are opened: the first has number 1, the second 3.
#[derive(Clone, Debug)]
pub(crate) struct Plan(Arc<[(u8, Access)]>);

impl Plan {
    pub(crate) fn new(streams: Vec<(u8, Access)>) -> Self {
        Self(streams.into())
    }

    /// The frames that open the streams, with the headers of each.
    pub(crate) fn opening(&self, headers: &[Vec<(&str, &str)>]) -> Vec<u8> {
        let (mut frames, mut blocks) = (Vec::new(), headers::Writer::default());
        for (index, headers) in headers.iter().enumerate() {
            spdy::syn_stream(&mut frames, number(index), false, &blocks.block(headers));
        }
        frames
    }

    fn index(&self, number: u32) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(1)? / 2).ok()?;
        (number % 2 == 1 && index < self.0.len()).then_some(index)
    }
}

fn number(index: usize) -> u32 {
    index as u32 * 2 + 1
}

/// Reads streams; done when all have ended that the runtime sends in.
#[derive(Debug)]
pub(crate) struct Streams {
    frames: Decoder,
    plan: Plan,
    replied: u64,
    ended: u64,
    is_ready: bool,
    found: VecDeque<Item>,
}

impl Streams {
    /// Of a plan with at most 64 streams.
    pub(crate) fn new(plan: Plan) -> Self {
        Self { frames: Decoder::new(), plan, replied: 0, ended: 0, is_ready: false, found: VecDeque::new() }
    }

    fn replied(&mut self, index: usize) {
        self.replied |= 1 << index;
        if !self.is_ready && self.replied == all(self.plan.0.len()) {
            self.is_ready = true;
            self.found.push_back(Item::Ready);
        }
    }

    fn ended(&mut self, index: usize) {
        let (channel, access) = self.plan.0[index];
        if access == Access::Write || self.ended >> index & 1 == 1 {
            return;
        }
        self.ended |= 1 << index;
        self.found.push_back(Item::End(channel));
        if self.may_end() {
            self.found.push_back(Item::Done);
        }
    }
}

fn all(count: usize) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

impl Decode for Streams {
    fn next(&mut self, block: &mut Block) -> Result<Option<Item>, Malformed> {
        loop {
            if let Some(item) = self.found.pop_front() {
                return Ok(Some(item));
            }
            let left = block.left();
            if left.is_empty() {
                return Ok(None);
            }
            let (at, event) = self.frames.next(&block.memory()[..left.end], left.start)?;
            block.take_to(at);
            match event {
                Some(Event::Data { stream, part, fin }) => {
                    let Some(index) = self.plan.index(stream) else { continue };
                    if fin {
                        self.ended(index);
                    }
                    let (channel, access) = self.plan.0[index];
                    if access != Access::Write && !part.is_empty() {
                        return Ok(Some(Item::Data { channel, part }));
                    }
                }
                Some(Event::SynReply { stream, fin }) => {
                    let Some(index) = self.plan.index(stream) else { continue };
                    self.replied(index);
                    if fin {
                        self.ended(index);
                    }
                }
                Some(Event::Reset { stream, .. }) => {
                    let Some(index) = self.plan.index(stream) else { continue };
                    self.replied(index);
                    self.ended(index);
                }
                // Ours are odd, and we send none.
                Some(Event::Ping(number)) if number % 2 == 0 => {
                    return Ok(Some(Item::Answer(spdy::ping(number))));
                }
                _ => {}
            }
        }
    }

    fn may_end(&self) -> bool {
        let reading = self.plan.0.iter().enumerate().filter(|(_, (_, access))| *access != Access::Write);
        reading.into_iter().all(|(index, _)| self.ended >> index & 1 == 1)
    }
}

/// Writes streams.
#[derive(Debug)]
pub(crate) struct ToStreams {
    plan: Plan,
    /// Bit n: something was sent in the nth stream.
    begun: u64,
    /// Bit n: nothing more is.
    ended: u64,
}

impl ToStreams {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, begun: 0, ended: 0 }
    }

    fn open(&self, channel: u8) -> Option<usize> {
        let index = self.plan.0.iter().position(|(of, access)| *of == channel && *access != Access::Read)?;
        (self.ended >> index & 1 == 0).then_some(index)
    }
}

impl Encode for ToStreams {
    fn data<'a>(&'a mut self, channel: u8, memory: &'a mut [u8], part: Range<usize>) -> Option<&'a [u8]> {
        let index = self.open(channel)?;
        self.begun |= 1 << index;
        let head = spdy::data_head(number(index), part.len(), false);
        let start = part.start - DATA_HEAD;
        memory[start..part.start].copy_from_slice(&head);
        Some(&memory[start..part.end])
    }

    fn is_untouched(&self, channel: u8) -> bool {
        self.open(channel).is_some_and(|index| self.begun >> index & 1 == 0)
    }

    fn end(&mut self, channel: u8) -> Option<Vec<u8>> {
        let index = self.open(channel)?;
        self.ended |= 1 << index;
        Some(spdy::data_head(number(index), 0, true).to_vec())
    }

    fn end_all(&mut self) -> Vec<u8> {
        let channels: Vec<u8> = self.plan.0.iter().map(|(channel, _)| *channel).collect();
        channels.into_iter().filter_map(|channel| self.end(channel)).flatten().collect()
    }
}
