//! WebSocket (RFC 6455), as far as streams need it: frames that are passed on in pieces, and the opening handshake of both sides.
//!
//! Nothing here reads or writes a connection, and no frame is ever held: of a message that is larger than what was read, the part
//! that is there is given out. Extensions are not negotiated.

mod frame;
mod handshake;

pub use self::frame::{Decoder, Event, FrameError, Opcode, Role, close, control, head, mask};
pub use self::handshake::{HandshakeError, Offer, accept_key, offer, request_key};
