//! SPDY/3.1 as container runtimes speak it (github.com/moby/spdystream): streams of data over one connection.
//!
//! There is no flow control: WINDOW_UPDATE and SETTINGS are read and mean nothing, and a stream that nobody reads stops the others. Data
//! that comes before a stream's SYN_REPLY is thrown away by the other side, so a client waits for that.
//!
//! Of header blocks only those that open streams mean anything, and only a server reads them. They are written as stored blocks
//! ([`headers::Writer`]): a compressor would hold a quarter of a megabyte for each session, to save a hundred bytes.

mod frame;
pub mod headers;

pub use self::frame::{
    DATA_HEAD, Decoder, Event, FrameError, MAX_LENGTH, data_head, ping, reset, syn_reply, syn_stream,
};
