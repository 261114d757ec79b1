//! HTTP probes (behaviour.md 19.10): HTTP/1.1, a connection for each request, no proxy, no compression.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::location::Location;
use super::{Http, MAX_BODY, Scheme, dial, tls};
use crate::outcome::Outcome;

/// Requests of one attempt: the first, and those that redirects lead to.
const MOST_REQUESTS: usize = 10;

/// What a server has said.
struct Answer {
    status: StatusCode,
    /// Where to, if it is a redirect that leads anywhere.
    location: Option<String>,
    /// At most [`MAX_BODY`].
    body: Vec<u8>,
}

/// Why there is no answer.
enum Failed {
    /// Nobody has answered, or not in HTTP.
    Transport(String),
    /// The answer broke off.
    Body(String),
}

/// One attempt.
pub(super) async fn get(request: &Http, timeout: Duration, agent: &str) -> Outcome {
    let mut at = Location::new(request.scheme, &request.host, request.port, &request.path);
    match tokio::time::timeout(timeout, follow(request, &mut at, agent)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
            Outcome::Failure(format!("Get {:?}: {why}", at.url()))
        }
    }
}

/// Asks, and asks on where a redirect stays on the host; `at` is always where it is.
async fn follow(request: &Http, at: &mut Location, agent: &str) -> Outcome {
    let failed = |at: &Location, why: &str| Outcome::Failure(format!("Get {:?}: {why}", at.url()));
    let (mut headers, mut host) = match headers(&request.headers, agent) {
        Ok(headers) => headers,
        Err(why) => return failed(at, &why),
    };
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for requests in 1.. {
        let answer = match ask(at, &headers, host.as_ref()).await {
            Ok(answer) => answer,
            Err(Failed::Transport(why)) => return failed(at, &why),
            // The status may be anything: without its body the answer is none.
            Err(Failed::Body(message)) => return Outcome::Error { state: "failure", message },
        };
        let Some(location) = answer.location.as_deref() else { return judged(&answer) };
        let (next, named) = match at.follow(location) {
            Ok(next) => next,
            Err(why) => return failed(at, &why),
        };
        if !next.host.eq_ignore_ascii_case(&request.host) {
            return judged(&answer);
        }
        *at = next;
        if requests == MOST_REQUESTS {
            return failed(at, &format!("stopped after {MOST_REQUESTS} redirects"));
        }
        if named {
            host = None;
        }
    }
    // Not reached: the loop ends by itself.
    failed(at, "no answer")
}

fn judged(answer: &Answer) -> Outcome {
    let status = answer.status.as_u16();
    match status {
        200..300 => Outcome::Success,
        300..400 => {
            let body = String::from_utf8_lossy(&answer.body);
            Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
        }
        // Not the body: events can be read by more people than the container's answers.
        _ => Outcome::Failure(format!("HTTP probe failed with statuscode: {status}")),
    }
}

/// The headers of each request, and what the pod wants for `Host`.
fn headers(given: &[(String, String)], agent: &str) -> Result<(HeaderMap, Option<HeaderValue>), String> {
    let mut all = HeaderMap::new();
    for (name, value) in given {
        let wrong = |what| format!("net/http: invalid header field {what} {name:?}");
        let name: HeaderName = name.parse().map_err(|_| wrong("name"))?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong("value for"))?;
        all.append(name, value);
    }
    let host = all.remove(HOST).filter(|host| !host.is_empty());
    for (name, usual) in [(USER_AGENT, agent), (ACCEPT, "*/*")] {
        match all.get(&name) {
            // An empty one says that there is to be none.
            Some(value) if value.is_empty() => drop(all.remove(&name)),
            Some(_) => {}
            None => drop(all.insert(name, HeaderValue::from_str(usual).map_err(|e| e.to_string())?)),
        }
    }
    Ok((all, host))
}

async fn ask(at: &Location, headers: &HeaderMap, host: Option<&HeaderValue>) -> Result<Answer, Failed> {
    let wrong = |why: String| Failed::Transport(why);
    let uri: Uri = at.path.parse().map_err(|e: http::uri::InvalidUri| wrong(e.to_string()))?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers.clone();
    let host = match host {
        Some(host) => host.clone(),
        None => HeaderValue::from_str(&at.authority()).map_err(|e| wrong(e.to_string()))?,
    };
    request.headers_mut().insert(HOST, host);
    let stream = dial::connect(&at.host, at.port).await.map_err(Failed::Transport)?;
    match at.scheme {
        Scheme::Http => exchange(stream, request).await,
        Scheme::Https => {
            let stream = tls::connect(&at.host, stream).await.map_err(|e| {
                let plain = "http: server gave HTTP response to HTTPS client";
                wrong(if tls::is_not_tls(&e) { plain.to_owned() } else { dial::plain(&e) })
            })?;
            exchange(stream, request).await
        }
    }
}

/// One request and its answer over a connection that is given up after it.
async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Answer, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|e| Failed::Transport(told(&e)))?;
    let asked = async move {
        let answer = sender.send_request(request).await.map_err(|e| Failed::Transport(told(&e)))?;
        let (head, mut rest) = answer.into_parts();
        let leads = matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = head.headers.get(LOCATION).filter(|_| leads);
        let location = location.map(|l| String::from_utf8_lossy(l.as_bytes()).into_owned());
        let mut body = Vec::new();
        while body.len() < MAX_BODY
            && let Some(frame) = rest.frame().await
        {
            match frame {
                Ok(frame) => body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
                // What a redirect says beside where to goes into a warning at most.
                Err(_) if location.is_some() => break,
                Err(error) => return Err(Failed::Body(told(&error))),
            }
        }
        body.truncate(MAX_BODY);
        Ok(Answer { status: head.status, location, body })
    };
    let (mut asked, mut connection) = (pin!(asked), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut asked => return answer,
        // The connection makes the answer progress; where it has ended, all that comes is there.
        _ended = &mut connection => {}
    }
    asked.await
}

fn told(error: &hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "EOF".to_owned();
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return dial::plain(io);
        }
        cause = inner.source();
    }
    if error.is_parse() {
        return format!("net/http: HTTP/1.x transport connection broken: {error}");
    }
    error.to_string()
}

#[cfg(test)]
mod tests;
