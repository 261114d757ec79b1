//! Blocks of a file to its lines.

use std::ops::ControlFlow;

/// A line that is longer is handed on in pieces. containerd's own limit is 16 KiB unless it is switched off.
pub(super) const MAX_LINE_BYTES: usize = 256 * 1024;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A line with its newline; without one only at the end of the file.
    Line(&'a [u8]),
    /// The beginning of a line that is too long to be kept.
    Head(&'a [u8]),
    /// More of it.
    Middle(&'a [u8]),
    /// The rest of it, with its newline.
    Rest(&'a [u8]),
}

/// Keeps what a block leaves unfinished: at most [`MAX_LINE_BYTES`] and one block.
#[derive(Debug, Default)]
pub(super) struct Lines {
    unfinished: Vec<u8>,
    in_long_line: bool,
}

impl Lines {
    /// Whether the last line is not at its end yet.
    pub(super) fn is_unfinished(&self) -> bool {
        self.in_long_line || !self.unfinished.is_empty()
    }

    /// Hands each piece of `block` to `take`, until it says that it is enough.
    pub(super) fn feed(&mut self, mut block: &[u8], mut take: impl FnMut(Piece<'_>) -> ControlFlow<()>) {
        while let Some(at) = memchr::memchr(b'\n', block) {
            let (line, rest) = block.split_at(at + 1);
            block = rest;
            let flow = if self.in_long_line {
                self.in_long_line = false;
                take(Piece::Rest(line))
            } else if self.unfinished.is_empty() {
                take(Piece::Line(line))
            } else {
                self.unfinished.extend_from_slice(line);
                let flow = take(Piece::Line(&self.unfinished));
                self.unfinished.clear();
                flow
            };
            if flow.is_break() {
                return;
            }
        }
        if block.is_empty() {
            return;
        }
        if self.in_long_line {
            let _ = take(Piece::Middle(block));
            return;
        }
        self.unfinished.extend_from_slice(block);
        if self.unfinished.len() > MAX_LINE_BYTES {
            self.in_long_line = true;
            let _ = take(Piece::Head(&self.unfinished));
            self.unfinished = Vec::new();
        }
    }

    /// Hands on what is left at the end of the file.
    pub(super) fn finish(&mut self, mut take: impl FnMut(Piece<'_>) -> ControlFlow<()>) {
        self.in_long_line = false;
        let last = std::mem::take(&mut self.unfinished);
        if !last.is_empty() {
            let _ = take(Piece::Line(&last));
        }
    }

    /// Forgets what is unfinished: its file was cut.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests;
