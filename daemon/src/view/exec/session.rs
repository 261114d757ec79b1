//! What is said over the WebSocket of an exec session, from the client's side: `v5.channel.k8s.io`. Pure.
//!
//! The first byte of a message is its channel: 0 input, 1 output, 2 errors, 3 how it ended, 4 the terminal's size, 255 that a channel
//! has ended.

use std::hash::{BuildHasher as _, RandomState};

use serde_json::{Value, json};
use streams::websocket::{Decoder, Event, Opcode, Role, control, head, mask};

use crate::view::terminal::Size;

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERRORS: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSES: u8 = 255;
/// Of what the daemon says about the end.
const STATUS_BYTES: usize = 64 * 1024;
/// Of the head of a frame.
const HEAD_BYTES: usize = 14;

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Output(Vec<u8>),
    Errors(Vec<u8>),
    /// To be sent back.
    Answer(Vec<u8>),
}

/// How the command has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exited(u8),
    /// It did not run, or nobody knows how it ended.
    Failed(String),
}

/// The daemon's side of a session, as far as it has come.
#[derive(Debug)]
pub(super) struct Session {
    frames: Decoder,
    /// Of the message that is under way.
    channel: Option<u8>,
    status: Vec<u8>,
    end: Option<End>,
}

impl Default for Session {
    fn default() -> Self {
        Self { frames: Decoder::new(Role::Client), channel: None, status: Vec::new(), end: None }
    }
}

impl Session {
    /// Takes what was read.
    ///
    /// # Errors
    /// It is not what a server says.
    pub(super) fn take(&mut self, bytes: &mut [u8]) -> Result<Vec<Told>, String> {
        let mut told = Vec::new();
        let mut at = 0;
        loop {
            let (after, event) = self.frames.next(bytes, at).map_err(|error| error.to_string())?;
            at = after;
            match event {
                None => return Ok(told),
                Some(Event::Data { mut part, first, last }) => {
                    if first {
                        self.channel = None;
                    }
                    if self.channel.is_none() && !part.is_empty() {
                        self.channel = Some(bytes[part.start]);
                        part.start += 1;
                    }
                    self.data(&bytes[part], &mut told);
                    if last && self.channel == Some(STATUS) {
                        self.end = Some(end(&self.status));
                    }
                }
                Some(Event::Ping(payload)) => {
                    told.push(Told::Answer(control(Opcode::Pong, &payload, Some(key()))));
                }
                Some(Event::Pong) => {}
                Some(Event::Close(_)) => {
                    let unknown = || End::Failed("nodelet did not say how the command ended".to_owned());
                    self.end.get_or_insert_with(unknown);
                }
            }
        }
    }

    fn data(&mut self, part: &[u8], told: &mut Vec<Told>) {
        if part.is_empty() {
            return;
        }
        match self.channel {
            Some(OUTPUT) => told.push(Told::Output(part.to_vec())),
            Some(ERRORS) => told.push(Told::Errors(part.to_vec())),
            Some(STATUS) => {
                let room = STATUS_BYTES.saturating_sub(self.status.len());
                self.status.extend_from_slice(&part[..part.len().min(room)]);
            }
            _ => {}
        }
    }

    /// How the command has ended, once that is known.
    pub(super) fn end(&self) -> Option<End> {
        self.end.clone()
    }
}

/// What a `v1.Status` says.
fn end(status: &[u8]) -> End {
    let Ok(status) = serde_json::from_slice::<Value>(status) else {
        return End::Failed(String::from_utf8_lossy(status).into_owned());
    };
    if status["status"] == "Success" {
        return End::Exited(0);
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let code =
        causes.filter(|cause| cause["reason"] == "ExitCode").find_map(|cause| cause["message"].as_str());
    match code.and_then(|code| code.parse::<i64>().ok()) {
        // As the parent of a process sees it.
        Some(code) => End::Exited((code & 0xff) as u8),
        None => End::Failed(status["message"].as_str().unwrap_or("the command has failed").to_owned()),
    }
}

/// What a client masks with: nobody has to guess it.
fn key() -> [u8; 4] {
    (RandomState::new().hash_one(()) as u32).to_ne_bytes()
}

fn message(channel: u8, bytes: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; HEAD_BYTES];
    frame.push(channel);
    frame.extend_from_slice(bytes);
    let key = key();
    mask(&mut frame[HEAD_BYTES..], key);
    let length = frame.len() - HEAD_BYTES;
    let head = head(&mut frame[..HEAD_BYTES], Opcode::Binary, length, Some(key));
    frame.split_off(HEAD_BYTES - head)
}

/// Input for the command.
pub(super) fn input(bytes: &[u8]) -> Vec<u8> {
    message(INPUT, bytes)
}

/// No more input comes.
pub(super) fn closes() -> Vec<u8> {
    message(CLOSES, &[INPUT])
}

/// The terminal's size.
pub(super) fn resize(size: Size) -> Vec<u8> {
    let size = json!({ "Width": size.columns, "Height": size.rows });
    message(RESIZE, size.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use streams::websocket::close;

    use super::*;

    /// A server's message.
    fn sent(channel: u8, bytes: &[u8]) -> Vec<u8> {
        let payload = [&[channel], bytes].concat();
        let mut room = [0; HEAD_BYTES];
        let length = head(&mut room, Opcode::Binary, payload.len(), None);
        [&room[HEAD_BYTES - length..], &payload].concat()
    }

    fn taken(pieces: &[&[u8]]) -> (Vec<Told>, Option<End>) {
        let mut session = Session::default();
        let told = pieces.iter().flat_map(|piece| session.take(&mut piece.to_vec()).unwrap()).collect();
        (told, session.end())
    }

    #[test]
    fn output_and_errors_come_apart_and_the_status_tells_the_exit_code() {
        let status = json!({ "status": "Failure", "reason": "NonZeroExitCode", "details": { "causes": [
            { "reason": "ExitCode", "message": "3" },
        ] } });
        let all = [
            sent(OUTPUT, b""),
            sent(OUTPUT, b"out"),
            sent(ERRORS, b"err"),
            control(Opcode::Ping, b"x", None),
            sent(STATUS, status.to_string().as_bytes()),
        ]
        .concat();
        let (told, end) = taken(&[&all]);
        let [Told::Output(out), Told::Errors(err), Told::Answer(pong)] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert_eq!((out.as_slice(), err.as_slice(), pong[0]), (&b"out"[..], &b"err"[..], 0x8a));
        assert_eq!(end, Some(End::Exited(3)));
        // Cut anywhere it is the same.
        let bytes: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(taken(&bytes).1, Some(End::Exited(3)));
    }

    #[test]
    fn what_did_not_run_tells_why_and_silence_is_no_success() {
        let failed = json!({ "status": "Failure", "message": "no such file", "reason": "InternalError" });
        let (_, end) = taken(&[&sent(STATUS, failed.to_string().as_bytes())]);
        assert_eq!(end, Some(End::Failed("no such file".to_owned())));
        assert_eq!(taken(&[&sent(STATUS, b"{\"status\":\"Success\"}")]).1, Some(End::Exited(0)));
        assert!(matches!(taken(&[&close(1000, "", None)]).1, Some(End::Failed(_))));
        assert_eq!(taken(&[&sent(OUTPUT, b"x")]).1, None);
    }

    #[test]
    fn what_is_sent_is_masked_and_says_what_it_is() {
        let mut frame = input(b"abc");
        let mut server = Decoder::new(Role::Server);
        let (_, event) = server.next(&mut frame, 0).unwrap();
        let Some(Event::Data { part, first: true, last: true }) = event else { panic!("{event:?}") };
        assert_eq!(&frame[part], b"\0abc");
        let mut frame = resize(Size { columns: 80, rows: 24 });
        let (_, event) = server.next(&mut frame, 0).unwrap();
        let Some(Event::Data { part, .. }) = event else { panic!("{event:?}") };
        assert_eq!(&frame[part], b"\x04{\"Height\":24,\"Width\":80}");
    }

    #[test]
    fn whatever_comes_is_taken_or_refused() {
        bolero::check!().for_each(|input: &[u8]| {
            let mut session = Session::default();
            if session.take(&mut input.to_vec()).is_ok() {
                session.end();
            }
        });
    }
}
