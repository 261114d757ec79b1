//! Where the last lines of a file begin.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::lines::Lines;
use super::rotation;
use super::selection::{LogOptions, Selection};

const BLOCK_BYTES: usize = 32 * 1024;

/// How much of a log stands for a termination message that the container did not write (behaviour.md 17.2).
const MESSAGE_LINES: u64 = 80;
const MESSAGE_BYTES: usize = 2048;
/// No more of the file than this is read for it, however long its lines are.
const MESSAGE_READ_BYTES: u64 = 2 * 1024 * 1024;

/// The offset at which the last `count` lines of the first `size` bytes of `file` begin, read from the end in blocks, and how many
/// lines there are fewer. A last line without its newline counts.
pub(super) fn start_of_last(file: &File, size: u64, count: u64) -> io::Result<(u64, u64)> {
    if count == 0 {
        return Ok((size, 0));
    }
    let mut block = vec![0; BLOCK_BYTES];
    let mut end = size;
    let mut ends_seen = 0;
    while end > 0 {
        let start = end.saturating_sub(BLOCK_BYTES as u64);
        let block = &mut block[..(end - start) as usize];
        file.read_exact_at(block, start)?;
        for at in memchr::memrchr_iter(b'\n', block) {
            let after = start + at as u64 + 1;
            // The newline at the very end belongs to the last line.
            if after == size {
                continue;
            }
            ends_seen += 1;
            if ends_seen == count {
                return Ok((after, 0));
            }
        }
        end = start;
    }
    // The first line has no end of another before it.
    let lines = if size > 0 { ends_seen + 1 } else { 0 };
    Ok((0, count - lines))
}

/// The end of a log in place of a termination message: of the last 80 lines the last 2048 bytes.
///
/// # Errors
/// The file cannot be read.
pub fn fallback_message(path: &Path) -> io::Result<String> {
    let mut log = rotation::open(path)?;
    log.keep_last(MESSAGE_LINES)?;
    // A compressed one is read from where it is; its size says nothing.
    let size = if log.plain().is_some() { log.size } else { MESSAGE_READ_BYTES };
    let mut offset = log.start.max(size.saturating_sub(MESSAGE_READ_BYTES));
    let mut lines = Lines::default();
    let mut selection = Selection::new(&LogOptions::default());
    let mut message = Vec::new();
    let mut block = vec![0; BLOCK_BYTES];
    while offset < size {
        let most = usize::try_from(size - offset).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let read = log.read(&mut block[..most], offset)?;
        if read == 0 {
            break;
        }
        offset += read as u64;
        lines.feed(&block[..read], |piece| selection.add(piece));
        keep_end(&mut message, &mut selection);
    }
    lines.finish(|piece| {
        let _ = selection.add(piece);
        ControlFlow::Continue(())
    });
    keep_end(&mut message, &mut selection);
    Ok(String::from_utf8_lossy(&message).into_owned())
}

fn keep_end(message: &mut Vec<u8>, selection: &mut Selection) {
    message.extend_from_slice(&selection.take().unwrap_or_default());
    let excess = message.len().saturating_sub(MESSAGE_BYTES);
    message.drain(..excess);
}

#[cfg(test)]
mod tests;
