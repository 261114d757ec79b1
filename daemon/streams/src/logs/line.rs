//! One line of a log file.
//!
//! CRI: `TIME stdout|stderr TAG[:TAG...] TEXT`, where the first tag is `F`, or `P` for a part whose text goes on in the
//! next line. Docker: a JSON object with `log`, `stream` and `time`; files of that form are left by cri-dockerd.

use std::borrow::Cow;

use serde::Deserialize;
use thiserror::Error;

use super::stamp::Stamp;

/// Where a container wrote a line to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// A line, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written.
    pub stamp: Stamp,
    /// Where to.
    pub stream: Stream,
    /// Its text goes on in the next line of the file.
    pub partial: bool,
    /// What the container wrote; with its newline, if it is at the line's end and the text does not go on.
    pub text: Cow<'a, [u8]>,
}

/// Why a line is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// No RFC 3339 time at the start.
    #[error("the line has no valid time")]
    Time,
    /// Neither stdout nor stderr.
    #[error("the line has no valid stream")]
    Stream,
    /// No tag after the stream.
    #[error("the line has no tag")]
    Tag,
    /// Begins like a JSON object and is none.
    #[error("the line is no JSON object with log, stream and time")]
    Json,
}

/// Reads a line with or without its newline.
///
/// # Errors
/// What the line lacks; a reader goes on with the next line.
pub fn parse(line: &[u8]) -> Result<Line<'_>, Malformed> {
    if line.first() == Some(&b'{') { docker(line) } else { cri(line) }
}

fn cri(line: &[u8]) -> Result<Line<'_>, Malformed> {
    let (time, rest) = split_at_space(line).ok_or(Malformed::Time)?;
    let stamp = Stamp::parse(time).ok_or(Malformed::Time)?;
    let (stream, rest) = split_at_space(rest).ok_or(Malformed::Stream)?;
    let stream = stream_named(stream).ok_or(Malformed::Stream)?;
    let (tags, text) = split_at_space(rest).ok_or(Malformed::Tag)?;
    let partial = tags == b"P" || tags.starts_with(b"P:");
    let text = if partial { text.strip_suffix(b"\n").unwrap_or(text) } else { text };
    Ok(Line { stamp, stream, partial, text: Cow::Borrowed(text) })
}

#[derive(Deserialize)]
struct DockerLine<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

fn docker(line: &[u8]) -> Result<Line<'_>, Malformed> {
    let read: DockerLine<'_> = serde_json::from_slice(line).map_err(|_| Malformed::Json)?;
    let stamp = Stamp::parse(read.time.as_bytes()).ok_or(Malformed::Time)?;
    let stream = stream_named(read.stream.as_bytes()).ok_or(Malformed::Stream)?;
    let text = match read.log {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    Ok(Line { stamp, stream, partial: !text.ends_with(b"\n"), text })
}

fn stream_named(name: &[u8]) -> Option<Stream> {
    match name {
        b"stdout" => Some(Stream::Stdout),
        b"stderr" => Some(Stream::Stderr),
        _ => None,
    }
}

fn split_at_space(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| *b == b' ')?;
    Some((&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests;
