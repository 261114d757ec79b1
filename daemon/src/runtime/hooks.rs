//! postStart and preStop hooks (behaviour.md 18.1 to 18.4).
//!
//! A hook has no time limit of its own: whoever does not wait for it any more drops the call, and the machine sees to it that a
//! preStop hook is not waited for beyond the grace period.

use std::net::IpAddr;
use std::time::Duration;

use cri_client::Client;
use http::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, LifecycleHandler};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use thiserror::Error;
use tokio::net::TcpStream;

use crate::cause::chain;
use probes::drivers::tls;

/// Of the answer's body; a hook's answer is of no interest.
const MAX_BODY: usize = 10 * 1024;

/// Why a hook failed.
#[derive(Debug, Error)]
pub(super) enum HookError {
    /// The command ended with another code than 0.
    #[error("command '{command}' exited with {code}: {output}")]
    Exit {
        /// As it was given.
        command: String,
        /// Of the command.
        code: i32,
        /// What it wrote, cut.
        output: String,
    },
    /// The runtime did not run it.
    #[error("command '{command}': {message}")]
    Exec {
        /// As it was given.
        command: String,
        /// The runtime's words.
        message: String,
    },
    /// The port is a name that the container has no port of, or out of range.
    #[error("port {0} is no port of the container")]
    Port(String),
    /// No host is given and the pod has no address.
    #[error("the pod has no address yet")]
    NoAddress,
    /// Path or headers cannot be sent.
    #[error("GET {uri} cannot be asked for: {message}")]
    Request {
        /// As far as it could be put together.
        uri: String,
        /// What is wrong with it.
        message: String,
    },
    /// Nobody answered.
    #[error("GET {uri}: {message}")]
    Transport {
        /// What was asked for.
        uri: String,
        /// Why not.
        message: String,
    },
    /// `tcpSocket`, or nothing at all.
    #[error("the hook has no exec, httpGet or sleep")]
    NoHandler,
}

/// What a hook is run in.
pub(super) struct Place<'a> {
    pub(super) client: &'a Client,
    pub(super) container: &'a Container,
    /// The runtime's id.
    pub(super) id: &'a str,
    /// The primary one first.
    pub(super) pod_ips: &'a [String],
}

impl Place<'_> {
    /// Runs the hook to its end.
    pub(super) async fn run(&self, hook: &LifecycleHandler) -> Result<(), HookError> {
        if let Some(exec) = &hook.exec {
            return self.exec(exec.command.as_deref().unwrap_or_default()).await;
        }
        if let Some(get) = &hook.http_get {
            return self.http_get(get).await;
        }
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).unsigned_abs())).await;
            return Ok(());
        }
        Err(HookError::NoHandler)
    }

    async fn exec(&self, command: &[String]) -> Result<(), HookError> {
        let shown = command.join(" ");
        let done = self.client.exec_sync(self.id, command.to_vec(), None).await;
        let done = done.map_err(|e| HookError::Exec { command: shown.clone(), message: chain(&e) })?;
        if done.exit_code == 0 {
            return Ok(());
        }
        let mut output = done.stdout;
        output.extend_from_slice(&done.stderr);
        output.truncate(MAX_BODY);
        let output = String::from_utf8_lossy(&output).into_owned();
        Err(HookError::Exit { command: shown, code: done.exit_code, output })
    }

    async fn http_get(&self, get: &HTTPGetAction) -> Result<(), HookError> {
        let port = self.port(&get.port)?;
        let host = match get.host.as_deref().filter(|h| !h.is_empty()) {
            Some(host) => host,
            None => self.pod_ips.first().ok_or(HookError::NoAddress)?.as_str(),
        };
        let https = get.scheme.as_deref() == Some("HTTPS");
        let asked = ask(get, host, port, https).await;
        match asked {
            // A server that speaks HTTP where the hook says HTTPS is asked again, without credentials.
            Err(Asked::NotTls) => {
                let mut plain = get.clone();
                let secret = |name: &str| name.eq_ignore_ascii_case(AUTHORIZATION.as_str());
                plain.http_headers.iter_mut().for_each(|list| list.retain(|h| !secret(&h.name)));
                ask(&plain, host, port, false).await.map_err(Asked::into_error)
            }
            other => other.map_err(Asked::into_error),
        }
    }

    fn port(&self, port: &IntOrString) -> Result<u16, HookError> {
        let wrong = || {
            HookError::Port(match port {
                IntOrString::Int(number) => number.to_string(),
                IntOrString::String(name) => name.clone(),
            })
        };
        probes::port(port, self.container).ok_or_else(wrong)
    }
}

enum Asked {
    /// The server does not speak TLS.
    NotTls,
    Error(HookError),
}

impl Asked {
    fn into_error(self) -> HookError {
        match self {
            Self::NotTls => HookError::Transport {
                uri: String::new(),
                message: "the server does not speak TLS".to_owned(),
            },
            Self::Error(error) => error,
        }
    }
}

/// Asks once; which status comes back is of no interest (behaviour.md 18.3).
async fn ask(get: &HTTPGetAction, host: &str, port: u16, https: bool) -> Result<(), Asked> {
    let bracketed = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
    let authority = if bracketed { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let scheme = if https { "https" } else { "http" };
    let path = get.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let shown = format!("{scheme}://{authority}{path}");
    let wrong = |message: String| Asked::Error(HookError::Request { uri: shown.clone(), message });
    let away = |message: String| Asked::Error(HookError::Transport { uri: shown.clone(), message });
    let uri: Uri = path.parse().map_err(|e: http::uri::InvalidUri| wrong(e.to_string()))?;
    let request = request(get, uri, &authority).map_err(wrong)?;
    let stream = TcpStream::connect((host, port)).await.map_err(|e| away(e.to_string()))?;
    let response = if https {
        let stream = tls::connect(host, stream)
            .await
            .map_err(|e| if tls::is_not_tls(&e) { Asked::NotTls } else { away(e.to_string()) })?;
        send(stream, request).await
    } else {
        send(stream, request).await
    };
    response.map_err(|e| away(chain(&e)))
}

fn request(get: &HTTPGetAction, uri: Uri, authority: &str) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    for header in get.http_headers.iter().flatten() {
        let name: HeaderName = header.name.parse().map_err(|_| format!("header name {:?}", header.name))?;
        let value: HeaderValue =
            header.value.parse().map_err(|_| format!("value of header {:?}", header.name))?;
        headers.append(name, value);
    }
    let defaults = [
        (USER_AGENT, format!("kube-lifecycle/{}", crate::flags::minor_version())),
        (ACCEPT, "*/*".to_owned()),
        (http::header::HOST, authority.to_owned()),
    ];
    for (name, value) in defaults {
        if !headers.contains_key(&name) {
            headers.insert(name, value.parse().map_err(|_| "host".to_owned())?);
        }
    }
    Ok(request)
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<(), hyper::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let asked = async move {
        let answer = sender.send_request(request).await?;
        let mut body = answer.into_body();
        let mut read = 0;
        while read < MAX_BODY
            && let Some(frame) = body.frame().await
        {
            read += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(())
    };
    tokio::select! {
        done = asked => done,
        // The connection makes the answer progress; that it ends first is an error unless the answer is there.
        ended = connection => ended,
    }
}
