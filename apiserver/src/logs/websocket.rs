//! A log over a WebSocket, for clients that have no other streams: each piece is a message, of bytes or of base64 in text.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE,
};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use streams::websocket::{Decoder, Event, Opcode, Role, close, control, head as frame_head, offer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::time::timeout;

use crate::answer::{Body, whole};
use crate::api::Api;
use crate::status::ApiError;

const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";
/// How long the connection may take until it is free of HTTP, and the client to close after the end.
const SWITCH_TIMEOUT: Duration = Duration::from_secs(30);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest head of a frame, in bytes.
const HEAD_BYTES: usize = 14;
/// Everything went well (RFC 6455, 7.4.1).
const NORMAL: u16 = 1000;

/// A client that wants its log over a WebSocket.
#[derive(Debug)]
pub(crate) struct Asked {
    accept: String,
    /// As the client named it.
    protocol: Option<&'static str>,
    client: OnUpgrade,
}

impl Asked {
    /// What the head asks for; `None` for a plain request.
    pub(crate) fn of(head: &mut Parts) -> Result<Option<Self>, ApiError> {
        let Some(offer) = offer(&head.headers) else { return Ok(None) };
        let Some(client) = head.extensions.remove::<OnUpgrade>() else { return Ok(None) };
        let offer = offer.map_err(|e| ApiError::bad_request(e.to_string()))?;
        let known =
            offer.protocols.iter().find_map(|wanted| [BINARY, BASE64].into_iter().find(|p| p == wanted));
        if known.is_none() && !offer.protocols.is_empty() {
            let message = format!(
                "requested protocol(s) are not supported: [{}]; supports [{BINARY} {BASE64}]",
                offer.protocols.join(" ")
            );
            return Err(ApiError::bad_request(message));
        }
        Ok(Some(Self { accept: offer.accept, protocol: known, client }))
    }

    /// Sends the body of a log as messages. Any other answer stays as it is.
    pub(crate) fn answer(self, api: &Api, log: Response<Body>) -> Result<Response<Body>, ApiError> {
        if log.status() != StatusCode::OK {
            return Ok(log);
        }
        let permit = api.streams.permit()?;
        let mut response = Response::new(whole(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let mut set = |name: HeaderName, value: &str| {
            let value = HeaderValue::from_str(value).map_err(ApiError::internal)?;
            response.headers_mut().insert(name, value);
            Ok::<_, ApiError>(())
        };
        set(CONNECTION, "Upgrade")?;
        set(UPGRADE, "websocket")?;
        set(SEC_WEBSOCKET_ACCEPT, &self.accept)?;
        if let Some(protocol) = self.protocol {
            set(SEC_WEBSOCKET_PROTOCOL, protocol)?;
        }
        let (stop, body) = (api.stop.clone(), log.into_body());
        let encoding = if self.protocol == Some(BASE64) { Opcode::Text } else { Opcode::Binary };
        tokio::spawn(async move {
            if let Ok(Ok(client)) = timeout(SWITCH_TIMEOUT, self.client).await {
                tokio::select! {
                    // An error says that the client is gone: nobody is left to be told.
                    _ = send(TokioIo::new(client), body, encoding) => {}
                    () = stop.cancelled() => {}
                }
            }
            drop(permit);
        });
        Ok(response)
    }
}

/// Sends all of it; answers pings meanwhile, and ends when the client closes.
async fn send<S: AsyncRead + AsyncWrite>(client: S, mut body: Body, encoding: Opcode) -> std::io::Result<()> {
    let (mut from, mut to) = split(client);
    // An empty message says that the log begins, as upstream does.
    message(&mut to, encoding, &[]).await?;
    let (mut decoder, mut buffer) = (Decoder::new(Role::Server), vec![0; 1024]);
    loop {
        // Both are cancel-safe: what has not been taken stays.
        tokio::select! {
            read = from.read(&mut buffer) => {
                let read = read?;
                if read == 0 || !answered(&mut decoder, &mut buffer[..read], &mut to).await? {
                    return to.shutdown().await;
                }
            }
            frame = body.frame() => match frame.and_then(Result::ok) {
                Some(frame) => {
                    let data = frame.into_data().unwrap_or_default();
                    if !data.is_empty() {
                        message(&mut to, encoding, &data).await?;
                    }
                }
                None => break,
            },
        }
    }
    to.write_all(&close(NORMAL, "", None)).await?;
    to.shutdown().await?;
    // What the client still sends is read: a connection that is closed over it is reset, and the end lost.
    let _ =
        timeout(CLOSE_TIMEOUT, async { while from.read(&mut buffer).await.is_ok_and(|n| n > 0) {} }).await;
    Ok(())
}

/// Answers what the client has sent; false when it has closed or does not keep to the protocol. Its messages say nothing here.
async fn answered(
    decoder: &mut Decoder,
    bytes: &mut [u8],
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<bool> {
    let mut at = 0;
    loop {
        match decoder.next(bytes, at) {
            Ok((_, None)) => return Ok(true),
            Ok((after, Some(event))) => {
                at = after;
                let (reply, goes_on) = match event {
                    Event::Ping(payload) => (control(Opcode::Pong, &payload, None), true),
                    Event::Close(payload) => (control(Opcode::Close, &payload, None), false),
                    Event::Data { .. } | Event::Pong => continue,
                };
                to.write_all(&reply).await?;
                to.flush().await?;
                if !goes_on {
                    return Ok(false);
                }
            }
            Err(_) => return Ok(false),
        }
    }
}

async fn message(to: &mut (impl AsyncWrite + Unpin), encoding: Opcode, data: &[u8]) -> std::io::Result<()> {
    let payload = match encoding {
        Opcode::Text => Bytes::from(STANDARD.encode(data)),
        _ => Bytes::copy_from_slice(data),
    };
    let mut room = [0; HEAD_BYTES];
    let length = frame_head(&mut room, encoding, payload.len(), None);
    to.write_all(&room[HEAD_BYTES - length..]).await?;
    to.write_all(&payload).await?;
    to.flush().await
}

#[cfg(test)]
mod tests;
