//! What the machine of the tests and the agent in a node say to each other: one connection for each command.
//!
//! ```text
//! machine -> agent   request, then any of: input, end of input, signal
//! agent -> machine   any of: output, error output; then the end, which is the last frame
//! ```
//!
//! A request to connect is answered by one frame; what follows it in both directions is not framed any more. A connection that
//! the machine closes ends its command, with all that belongs to the command's process group.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// Where the agent listens.
pub const PORT: u16 = 2049;
/// The longest content of a frame; requests hold command lines, which the kernel bounds as well.
pub const MAX_FRAME: usize = 1024 * 1024;
/// The most that is put into one frame of input or output.
pub const CHUNK: usize = 64 * 1024;
/// Kind and length.
pub const HEADER: usize = 5;

/// What is asked of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Run a program; its working directory is root's home.
    Run {
        /// The program, looked up in the usual directories, and its arguments.
        argv: Vec<String>,
    },
    /// Pass everything on to a socket of the node.
    Connect {
        /// Of the Unix socket.
        path: String,
    },
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`Request`].
    Request,
    /// For the command's standard input.
    Input,
    /// The command's standard input ends.
    EndOfInput,
    /// A signal for the command's process group: its number as text.
    Signal,
    /// The command's standard output.
    Output,
    /// The command's standard error.
    ErrorOutput,
    /// How the command ended: what `wait` says, as text.
    End,
    /// The socket is connected.
    Connected,
    /// It cannot be done; why.
    Refused,
}

const KINDS: [(Kind, u8); 9] = [
    (Kind::Request, b'R'),
    (Kind::Input, b'I'),
    (Kind::EndOfInput, b'Z'),
    (Kind::Signal, b'S'),
    (Kind::Output, b'O'),
    (Kind::ErrorOutput, b'E'),
    (Kind::End, b'X'),
    (Kind::Connected, b'C'),
    (Kind::Refused, b'N'),
];

/// Kind and length of the frame that follows.
///
/// # Errors
/// There is no such kind, or the length is beyond [`MAX_FRAME`].
pub fn header(bytes: [u8; HEADER]) -> io::Result<(Kind, usize)> {
    let [kind, length @ ..] = bytes;
    let known = KINDS.iter().find(|(_, byte)| *byte == kind);
    let length = u32::from_be_bytes(length) as usize;
    match known {
        Some((kind, _)) if length <= MAX_FRAME => Ok((*kind, length)),
        Some(_) => Err(invalid(format!("a frame of {length} bytes"))),
        None => Err(invalid(format!("a frame of unknown kind {kind}"))),
    }
}

/// A whole frame. `content` is at most [`MAX_FRAME`] long.
#[must_use]
pub fn frame(kind: Kind, content: &[u8]) -> Vec<u8> {
    assert!(content.len() <= MAX_FRAME, "a frame of {} bytes", content.len());
    let (_, byte) = KINDS.iter().find(|(known, _)| *known == kind).expect("all kinds are in the table");
    let mut bytes = Vec::with_capacity(HEADER + content.len());
    bytes.push(*byte);
    bytes.extend((content.len() as u32).to_be_bytes());
    bytes.extend(content);
    bytes
}

/// Reads one frame; `None` where the other side has closed in order.
///
/// # Errors
/// The connection breaks, or something else than a frame comes.
pub fn read(from: &mut impl Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut bytes = [0; HEADER];
    let first = loop {
        match from.read(&mut bytes[..1]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if first == 0 {
        return Ok(None);
    }
    from.read_exact(&mut bytes[1..])?;
    let (kind, length) = header(bytes)?;
    let mut content = vec![0; length];
    from.read_exact(&mut content)?;
    Ok(Some((kind, content)))
}

/// Writes one frame.
///
/// # Errors
/// The connection breaks.
pub fn write(to: &mut impl Write, kind: Kind, content: &[u8]) -> io::Result<()> {
    to.write_all(&frame(kind, content))
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_was_written_is_read() {
        for (kind, _) in KINDS {
            let bytes = frame(kind, b"some bytes\0\xff");
            let mut from = bytes.as_slice();
            assert_eq!(read(&mut from).expect("whole"), Some((kind, b"some bytes\0\xff".to_vec())));
            assert_eq!(read(&mut from).expect("end"), None);
        }
    }

    #[test]
    fn a_frame_that_is_cut_off_or_too_long_is_an_error() {
        let bytes = frame(Kind::Output, b"12345");
        for end in 1..bytes.len() {
            assert!(read(&mut &bytes[..end]).is_err(), "after {end} bytes");
        }
        let mut long = bytes.clone();
        long[1..HEADER].copy_from_slice(&(MAX_FRAME as u32 + 1).to_be_bytes());
        assert!(read(&mut long.as_slice()).is_err());
    }

    #[test]
    fn whatever_comes_is_a_frame_or_an_error() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut from = bytes;
            while let Ok(Some((kind, content))) = read(&mut from) {
                if kind == Kind::Request {
                    let _ = serde_json::from_slice::<Request>(&content);
                }
            }
        });
    }
}
