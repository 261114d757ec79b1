//! A client's WebSocket on one side, what a runtime speaks on the other: what comes from either is put into the other's frames.
//!
//! ```text
//!  client ─read 64 KiB─> decode ─part─> encode ─write─> runtime          up
//!  client <─write─ encode <─part─ decode <─read 64 KiB─ runtime          down, which sends pings too
//! ```
//!
//! A frame is never held: of what was read, each part gets its new head right before it, in the same memory, and is written at once. While
//! nothing is there to be passed on there is no memory for it either. A side that does not read stops the reading from the other.
//! What a side is to be answered itself (a pong) is left to the direction that writes to it; of several answers the last one counts.
//!
//! | module | owns |
//! |---|---|
//! | `channels` | WebSocket messages whose first byte is a channel, of both roles |
//! | `base64` | the same as text |
//! | `streams` | channels as SPDY streams, of a client |
//! | `tunnel` | WebSocket messages that are bytes of a connection |

mod base64;
mod channels;
mod streams;
mod tunnel;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use self::channels::{Channels, ToChannels};
pub(crate) use self::streams::{Access, Plan, Streams, ToStreams};
pub(crate) use self::tunnel::{FromTunnel, Plain, ToTunnel};
use crate::block::{BLOCK, Block, read};
use crate::spdy;
use crate::upgrade::{Activity, FINISH, HANDSHAKE, drain};
use crate::websocket::{self, Opcode};

/// How often a quiet client is sent a ping. That keeps what lies between alive, and finds out that a client is gone; it is no traffic.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long the last words to a client may take that did not close.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long the runtime keeps its connection after the client is gone. Its process sees the end of its input then, and ends by itself:
/// containerd, when it finds a connection closed, may leave process and input behind (it kills with a context that is cancelled).
const LINGER: Duration = Duration::from_secs(60);
/// How long an input without a byte stays open, from when the runtime has taken the streams. containerd's shim opens the pipe of the
/// input for reading as it starts the process; where everybody who writes to it is gone before that, it waits for ever and so does the
/// process. Where there is a byte the writer waits for the reader.
const EMPTY_INPUT: Duration = Duration::from_secs(1);
/// Who still sends that long after the end of its input does not care for that.
const CARES: Duration = Duration::from_secs(10);
const CLOSED: &str = "the container runtime has closed the connection";
/// A normal end.
const NORMAL: u16 = 1000;
const PROTOCOL: u16 = 1002;
const BROKEN: u16 = 1011;

/// What a decoder has found. Ranges lie in the block's memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A part of what a channel carries.
    Data { channel: u8, part: Range<usize> },
    /// Nothing more comes in this channel.
    End(u8),
    /// To be sent back.
    Answer(Vec<u8>),
    /// Everything is there that data may be sent to.
    Ready,
    /// It needs nothing, and was sent because we wanted to see it: no traffic.
    Alive,
    /// The peer is done, in good order.
    Done,
}

/// A peer that does not keep to what it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Malformed {
    #[error("WebSocket: {0}")]
    WebSocket(#[from] websocket::FrameError),
    #[error("SPDY: {0}")]
    Spdy(#[from] spdy::FrameError),
    #[error("a message is no base64 text")]
    Base64,
}

/// Reads what a peer speaks.
pub(crate) trait Decode {
    /// Takes the next thing from the block; `None` when nothing whole is left in it.
    fn next(&mut self, block: &mut Block) -> Result<Option<Item>, Malformed>;
    /// Whether the end of the connection is a good end now.
    fn may_end(&self) -> bool;
}

/// Writes what a peer speaks.
pub(crate) trait Encode {
    /// Bytes at most of a part; larger ones are cut.
    fn most(&self) -> usize {
        BLOCK
    }
    /// The frame with what `memory[part]` has, if the peer wants it. There are at least [`crate::block::HEADROOM`] bytes before it, which
    /// are overwritten, and the part itself may be.
    fn data<'a>(&'a mut self, channel: u8, memory: &'a mut [u8], part: Range<usize>) -> Option<&'a [u8]>;
    /// Whether nothing was sent in a channel that is still open.
    fn is_untouched(&self, _channel: u8) -> bool {
        false
    }
    /// Tells the peer that nothing more comes in a channel, if it can be told.
    fn end(&mut self, channel: u8) -> Option<Vec<u8>>;
    /// Tells the peer that nothing more comes at all, as far as it can be told while it still sends.
    fn end_all(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

/// What a session is told besides its connections.
pub(crate) struct Session<'a> {
    /// Nothing moves either way for longer than that: the end. Zero: never.
    pub(crate) idle: Duration,
    /// Frames that the client gets first.
    pub(crate) greeting: Vec<u8>,
    /// Frames that the runtime gets first.
    pub(crate) opening: Vec<u8>,
    /// Whether the runtime has to say that it is ready before it is sent anything.
    pub(crate) awaits_ready: bool,
    /// The channel of a process's input: if nothing comes in it, its end waits ([`EMPTY_INPUT`]).
    pub(crate) input: Option<u8>,
    /// The frame that tells a client in its protocol why it was cut off.
    pub(crate) failure: &'a (dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync),
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The runtime was done, and the client has got everything, or did not take it within a quarter of an hour.
    Done,
    /// The client closed or went away.
    Client,
    /// Nothing moved for too long.
    Idle,
    /// The runtime went away, or did not keep to its protocol; in words.
    Runtime(String),
    /// The client did not keep to its protocol; in words.
    Malformed(String),
}

/// Answers that wait for whoever writes to that side.
#[derive(Debug, Default)]
struct Answers {
    last: Mutex<Option<Vec<u8>>>,
    is_there: Notify,
}

impl Answers {
    fn put(&self, answer: Vec<u8>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        self.is_there.notify_one();
    }

    fn take(&self) -> Option<Vec<u8>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How one direction ended.
enum Way {
    Done,
    /// The side that is read from has closed without being done.
    Closed,
    Malformed(Malformed),
    /// The side that is written to takes nothing any more.
    Unwritable,
}

/// What both directions share.
struct Shared {
    activity: Activity,
    to_client: Answers,
    to_runtime: Answers,
    /// Since when the runtime takes data.
    ready: watch::Sender<Option<Instant>>,
    input: Option<u8>,
}

impl Shared {
    /// Resolves when the runtime takes data.
    async fn ready(&self) {
        // An error would mean that the sender is gone, which lives as long as this.
        let _ = self.ready.subscribe().wait_for(Option::is_some).await;
    }

    fn is_ready(&self) -> bool {
        self.ready.borrow().is_some()
    }

    /// Whether `encoder`, which writes to the runtime, has sent nothing in this channel, which is an input.
    fn is_empty_input(&self, channel: u8, encoder: &impl Encode) -> bool {
        self.input == Some(channel) && encoder.is_untouched(channel)
    }

    /// When an input may be ended; `None` before the runtime takes data.
    fn end_at(&self, is_empty: bool) -> Option<Instant> {
        let ready = *self.ready.borrow();
        ready.map(|since| if is_empty { since + EMPTY_INPUT } else { since })
    }
}

/// Passes everything between both until one of them is done or gone. What is left of the connections is closed at the return.
pub(crate) async fn run<C, R>(
    client: C,
    runtime: R,
    mut from_client: impl Decode,
    mut for_client: impl Encode,
    mut from_runtime: impl Decode,
    mut for_runtime: impl Encode,
    session: Session<'_>,
) -> SessionEnd
where
    C: AsyncRead + AsyncWrite,
    R: AsyncRead + AsyncWrite,
{
    let shared = Shared {
        activity: Activity::new(),
        to_client: Answers::default(),
        to_runtime: Answers::default(),
        ready: watch::Sender::new((!session.awaits_ready).then(Instant::now)),
        input: session.input,
    };
    let (mut client_reads, client_writes) = split(client);
    let mut client_writes = Writer { half: client_writes, is_within: false };
    // Whether a close frame of the client has come.
    let mut has_closed = false;
    let (mut runtime_reads, runtime_writes) = split(runtime);
    let mut runtime_writes = Writer { half: runtime_writes, is_within: false };
    let end = {
        let up = async {
            if !runtime_writes.write(&session.opening).await || !runtime_writes.flush().await {
                return Way::Unwritable;
            }
            let to = To { writer: &mut runtime_writes, answers: &shared.to_runtime, is_client: false };
            pump(&mut client_reads, &mut from_client, to, &mut for_runtime, &shared, &shared.to_client).await
        };
        let up = async {
            match up.await {
                // What the runtime has sent before it closed is still to be read: the other direction comes to that end.
                Way::Unwritable => std::future::pending().await,
                way => way,
            }
        };
        let down = async {
            if !client_writes.write(&session.greeting).await || !client_writes.flush().await {
                return Way::Unwritable;
            }
            let to = To { writer: &mut client_writes, answers: &shared.to_client, is_client: true };
            pump(&mut runtime_reads, &mut from_runtime, to, &mut for_client, &shared, &shared.to_runtime)
                .await
        };
        let late = async {
            if timeout(HANDSHAKE, shared.ready()).await.is_ok() {
                std::future::pending().await
            }
        };
        tokio::select! {
            way = up => match way {
                Way::Done => {
                    has_closed = true;
                    SessionEnd::Client
                }
                Way::Closed => SessionEnd::Client,
                Way::Malformed(error) => SessionEnd::Malformed(error.to_string()),
                Way::Unwritable => SessionEnd::Runtime(CLOSED.to_owned()),
            },
            way = down => match way {
                Way::Done => SessionEnd::Done,
                Way::Closed => SessionEnd::Runtime(CLOSED.to_owned()),
                Way::Malformed(error) => SessionEnd::Runtime(format!("from the container runtime: {error}")),
                Way::Unwritable => SessionEnd::Client,
            },
            () = late => SessionEnd::Runtime(format!("the container runtime has not opened the streams within {HANDSHAKE:?}")),
            () = shared.activity.ceased(session.idle) => SessionEnd::Idle,
        }
    };
    let parting = part_with(client_reads, client_writes, &end, has_closed, &session);
    if matches!(end, SessionEnd::Done | SessionEnd::Runtime(_)) {
        drop((runtime_reads, runtime_writes));
        parting.await;
    } else {
        let letting = let_go(runtime_reads, runtime_writes, from_runtime, for_runtime, &shared);
        tokio::join!(parting, timeout(LINGER, letting)).0;
    }
    end
}

/// Ends what a runtime is sent, and waits until it is done; what it still sends is thrown away.
async fn let_go<R: AsyncRead + AsyncWrite>(
    mut reads: ReadHalf<R>,
    mut writes: Writer<WriteHalf<R>>,
    mut decoder: impl Decode,
    mut encoder: impl Encode,
    shared: &Shared,
) {
    let is_empty = shared.input.is_some_and(|channel| encoder.is_untouched(channel));
    let ending = encoder.end_all();
    if ending.is_empty() || writes.is_within {
        return;
    }
    let mut told_at = None;
    loop {
        let may_tell = async {
            match (told_at, shared.end_at(is_empty)) {
                (None, Some(at)) => sleep_until(at).await,
                // Before the runtime is ready it would be thrown away.
                _ => std::future::pending().await,
            }
        };
        let mut block = tokio::select! {
            // Cancel-safe: only a time.
            () = may_tell => {
                told_at = Some(Instant::now());
                let told = writes.write(&ending).await && writes.flush().await;
                if !told {
                    return;
                }
                continue;
            }
            // Cancel-safe: nothing is taken before it is given.
            block = read(&mut reads) => match block {
                Ok(Some(block)) => block,
                Ok(None) | Err(_) => return,
            },
        };
        while let Ok(Some(item)) = decoder.next(&mut block) {
            match item {
                Item::Ready => _ = shared.ready.send_replace(Some(Instant::now())),
                Item::Data { .. } if told_at.is_some_and(|at| at.elapsed() > CARES) => return,
                Item::Done => return,
                _ => {}
            }
        }
    }
}

/// The last words to the client.
async fn part_with<C: AsyncRead + AsyncWrite>(
    reads: ReadHalf<C>,
    mut writes: Writer<WriteHalf<C>>,
    end: &SessionEnd,
    has_closed: bool,
    session: &Session<'_>,
) {
    // Within a frame nothing else can be said.
    if writes.is_within {
        return;
    }
    let (failure, code, reason) = match end {
        SessionEnd::Done => (None, NORMAL, ""),
        SessionEnd::Client if has_closed => (None, NORMAL, ""),
        SessionEnd::Client => return,
        SessionEnd::Idle => {
            let why = "the connection was idle for too long";
            ((session.failure)(why), NORMAL, why)
        }
        SessionEnd::Runtime(why) => ((session.failure)(why), BROKEN, why.as_str()),
        SessionEnd::Malformed(why) => (None, PROTOCOL, why.as_str()),
    };
    let words = async {
        let mut frames = failure.unwrap_or_default();
        frames.extend(websocket::close(code, reason, None));
        writes.write(&frames).await && writes.flush().await
    };
    // Whoever has done nothing wrong may take the end slowly.
    let limit = match end {
        SessionEnd::Done | SessionEnd::Runtime(_) => FINISH,
        _ => LAST_WORDS,
    };
    if timeout(limit, words).await == Ok(true) {
        drain(reads, writes.half, limit).await;
    }
}

/// A connection's writing half, and whether a frame was begun and not ended.
struct Writer<W> {
    half: W,
    is_within: bool,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn write(&mut self, frame: &[u8]) -> bool {
        self.is_within = true;
        let written = self.half.write_all(frame).await.is_ok();
        self.is_within = !written;
        written
    }

    async fn flush(&mut self) -> bool {
        self.half.flush().await.is_ok()
    }
}

/// The side that a direction writes to.
struct To<'a, W> {
    writer: &'a mut Writer<W>,
    answers: &'a Answers,
    /// Which is sent pings; a runtime has to say that it is ready.
    is_client: bool,
}

/// One direction.
async fn pump<R, W>(
    from: &mut R,
    decoder: &mut impl Decode,
    to: To<'_, W>,
    encoder: &mut impl Encode,
    shared: &Shared,
    back: &Answers,
) -> Way
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut ping_at = Instant::now() + PING_EVERY;
    loop {
        let ping =
            async { if to.is_client { sleep_until(ping_at).await } else { std::future::pending().await } };
        let mut block = tokio::select! {
            // Cancel-safe: nothing is taken before it is given.
            block = read(from) => match block {
                Ok(Some(block)) => block,
                Ok(None) | Err(_) if decoder.may_end() => return Way::Done,
                Ok(None) | Err(_) => return Way::Closed,
            },
            // Cancel-safe: the answer is taken only here, and a permit stays.
            () = to.answers.is_there.notified() => {
                if let Some(answer) = to.answers.take()
                    && !(to.writer.write(&answer).await && to.writer.flush().await)
                {
                    return Way::Unwritable;
                }
                continue;
            }
            // Cancel-safe: only a time.
            () = ping => {
                ping_at = Instant::now() + PING_EVERY;
                let ping = websocket::control(Opcode::Ping, &[], None);
                if !(to.writer.write(&ping).await && to.writer.flush().await) {
                    return Way::Unwritable;
                }
                continue;
            }
        };
        // Not before: so that the end of a client that goes away meanwhile is seen.
        if !to.is_client && !shared.is_ready() {
            shared.ready().await;
        }
        loop {
            let item = match decoder.next(&mut block) {
                Ok(Some(item)) => item,
                Ok(None) => break,
                Err(error) => return Way::Malformed(error),
            };
            if item != Item::Alive {
                shared.activity.touch();
            }
            match item {
                Item::Data { channel, mut part } => {
                    while !part.is_empty() {
                        let end = part.end.min(part.start.saturating_add(encoder.most()));
                        let piece = part.start..end;
                        part.start = end;
                        if let Some(frame) = encoder.data(channel, block.memory(), piece)
                            && !to.writer.write(frame).await
                        {
                            return Way::Unwritable;
                        }
                    }
                    shared.activity.touch();
                }
                Item::End(channel) => {
                    if shared.is_empty_input(channel, encoder)
                        && let Some(at) = shared.end_at(true)
                    {
                        sleep_until(at).await;
                    }
                    if let Some(frame) = encoder.end(channel)
                        && !to.writer.write(&frame).await
                    {
                        return Way::Unwritable;
                    }
                }
                Item::Answer(answer) => back.put(answer),
                Item::Ready => {
                    shared.ready.send_replace(Some(Instant::now()));
                }
                Item::Alive => {}
                Item::Done => {
                    // What was written before must not stay behind.
                    return if to.writer.flush().await { Way::Done } else { Way::Unwritable };
                }
            }
        }
        drop(block);
        if !to.writer.flush().await {
            return Way::Unwritable;
        }
        ping_at = Instant::now() + PING_EVERY;
    }
}
