//! Which lines a reader gets, and how they look.

use std::ops::ControlFlow;

use bytes::Bytes;
use jiff::Timestamp;

use super::line::{self, Line, Malformed, Stream};
use super::lines::Piece;

/// Which of a container's streams are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// Both, in the order of the file.
    #[default]
    All,
    /// Standard output only.
    Stdout,
    /// Standard error only.
    Stderr,
}

impl Select {
    fn takes(self, stream: Stream) -> bool {
        match self {
            Self::All => true,
            Self::Stdout => stream == Stream::Stdout,
            Self::Stderr => stream == Stream::Stderr,
        }
    }
}

/// What is wanted of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on at the end of the file until the container has ended.
    pub follow: bool,
    /// Only so many lines of the file, counted from its end; parts of a line count each.
    pub tail: Option<u64>,
    /// Only lines that were not written before.
    pub since: Option<Timestamp>,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// End after so many bytes of output.
    pub limit_bytes: Option<u64>,
    /// Which streams.
    pub select: Select,
}

/// Pieces of a file in, output out.
#[derive(Debug)]
pub(super) struct Selection {
    since: Option<Timestamp>,
    timestamps: bool,
    select: Select,
    remaining_bytes: u64,
    output: Vec<u8>,
    /// What was written last ended a line; the next begins with its time.
    at_line_start: bool,
    /// What to do with the rest of a line that is too long to be kept.
    long: Long,
    /// Lines left out because they could not be read, and why the last of them was.
    pub(super) malformed: Option<(u64, Malformed)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Long {
    Skip,
    Whole,
    /// Its newline is not the container's.
    Partial,
}

impl Selection {
    pub(super) fn new(options: &LogOptions) -> Self {
        Self {
            since: options.since,
            timestamps: options.timestamps,
            select: options.select,
            remaining_bytes: options.limit_bytes.unwrap_or(u64::MAX),
            output: Vec::new(),
            at_line_start: true,
            long: Long::Skip,
            malformed: None,
        }
    }

    /// Nothing more will come out: the limit is reached.
    pub(super) fn is_full(&self) -> bool {
        self.remaining_bytes == 0
    }

    /// What came out since the last call; `None` for nothing.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output).into())
    }

    pub(super) fn add(&mut self, piece: Piece<'_>) -> ControlFlow<()> {
        match piece {
            Piece::Line(text) => {
                self.line(text);
            }
            Piece::Head(text) => {
                self.long = match self.line(text) {
                    Some(partial) => {
                        if partial {
                            Long::Partial
                        } else {
                            Long::Whole
                        }
                    }
                    None => Long::Skip,
                };
            }
            Piece::Middle(text) => {
                if self.long != Long::Skip {
                    self.write(text);
                }
            }
            Piece::Rest(text) => match std::mem::replace(&mut self.long, Long::Skip) {
                Long::Skip => {}
                Long::Whole => self.write(text),
                Long::Partial => self.write(text.strip_suffix(b"\n").unwrap_or(text)),
            },
        }
        if self.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Whether the line's text goes on in the next; `None` if it is left out.
    fn line(&mut self, text: &[u8]) -> Option<bool> {
        let line = match line::parse(text) {
            Ok(line) => line,
            Err(why) => {
                let count = self.malformed.map_or(0, |(count, _)| count);
                self.malformed = Some((count + 1, why));
                return None;
            }
        };
        if !self.wants(&line) {
            return None;
        }
        if self.timestamps && self.at_line_start {
            self.write(line.stamp.as_bytes());
            self.write(b" ");
        }
        self.write(&line.text);
        Some(line.partial)
    }

    fn wants(&self, line: &Line<'_>) -> bool {
        self.select.takes(line.stream)
            && self.since.is_none_or(|since| line.stamp.instant().is_some_and(|at| at >= since))
    }

    fn write(&mut self, text: &[u8]) {
        let most = usize::try_from(self.remaining_bytes).unwrap_or(usize::MAX);
        let text = &text[..text.len().min(most)];
        self.remaining_bytes -= text.len() as u64;
        self.output.extend_from_slice(text);
        if let Some(last) = text.last() {
            self.at_line_start = *last == b'\n';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "2026-11-23T00:00:01Z stdout P ab\n\
                        2026-11-23T00:00:02Z stdout F cd\n\
                        nonsense\n\
                        2026-11-23T00:00:03Z stderr F ef\n";

    fn selected(options: LogOptions) -> (String, u64) {
        let mut selection = Selection::new(&options);
        for line in FILE.split_inclusive('\n') {
            let _ = selection.add(Piece::Line(line.as_bytes()));
        }
        let output = selection.take().unwrap_or_default();
        let malformed = selection.malformed.map_or(0, |(count, _)| count);
        (String::from_utf8_lossy(&output).into_owned(), malformed)
    }

    #[test]
    fn parts_join_and_malformed_lines_are_left_out_and_counted() {
        assert_eq!(selected(LogOptions::default()), ("abcd\nef\n".into(), 1));
    }

    #[test]
    fn a_joined_line_has_one_time_that_of_its_first_part() {
        let (text, _) = selected(LogOptions { timestamps: true, ..LogOptions::default() });
        assert_eq!(text, "2026-11-23T00:00:01.000000000Z abcd\n2026-11-23T00:00:03.000000000Z ef\n");
    }

    #[test]
    fn lines_from_before_are_left_out_and_the_first_that_is_kept_has_its_time() {
        let since = Some("2026-11-23T00:00:02Z".parse().expect("a time"));
        let (text, _) = selected(LogOptions { since, timestamps: true, ..LogOptions::default() });
        assert!(text.starts_with("2026-11-23T00:00:02.000000000Z cd\n"), "{text}");
    }

    #[test]
    fn one_stream_alone_can_be_had() {
        assert_eq!(selected(LogOptions { select: Select::Stderr, ..LogOptions::default() }).0, "ef\n");
        assert_eq!(selected(LogOptions { select: Select::Stdout, ..LogOptions::default() }).0, "abcd\n");
    }

    #[test]
    fn the_limit_counts_what_is_sent() {
        assert_eq!(selected(LogOptions { limit_bytes: Some(3), ..LogOptions::default() }).0, "abc");
        let (text, _) =
            selected(LogOptions { limit_bytes: Some(12), timestamps: true, ..LogOptions::default() });
        assert_eq!(text, "2026-11-23T0");
    }

    #[test]
    fn a_line_too_long_to_be_kept_comes_out_whole() {
        let mut selection = Selection::new(&LogOptions::default());
        for piece in [
            Piece::Head(b"2026-11-23T00:00:01Z stdout F ab"),
            Piece::Middle(b"cd"),
            Piece::Rest(b"ef\n"),
            Piece::Head(b"{\"log\":\"x"),
            Piece::Middle(b"lost"),
            Piece::Rest(b"lost\n"),
        ] {
            let _ = selection.add(piece);
        }
        assert_eq!(selection.take().as_deref(), Some(&b"abcdef\n"[..]));
        assert_eq!(selection.malformed, Some((1, Malformed::Json)));
    }
}
