//! What a probe does, put together from the pod.

use std::fmt;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::schedule::Lane;

/// Why it is not known what to do. Such a probe has no result, however often it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerError {
    /// The port is neither a number from 1 to 65535 nor the name of one of the container's.
    Port(String),
    /// No host is given, and the pod has no address.
    NoAddress,
    /// The probe says nothing that could be done.
    NoHandler,
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "invalid port: {port} is no port of the container"),
            Self::NoAddress => f.write_str("the pod has no address"),
            Self::NoHandler => f.write_str("the probe has no exec, httpGet, tcpSocket or grpc"),
        }
    }
}

impl std::error::Error for HandlerError {}

/// How an HTTP server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the open.
    Http,
    /// Over TLS, whatever the certificate.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// A name or an address, without brackets.
    pub host: String,
    /// From 1.
    pub port: u16,
    /// Path and query as the pod has them: nothing is sure about them.
    pub path: String,
    /// As the pod has them: nothing is sure about them either.
    pub headers: Vec<(String, String)>,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Asks an HTTP server (behaviour.md 19.10).
    Http(Box<Http>),
    /// Connects (behaviour.md 19.11).
    Tcp {
        /// A name or an address.
        host: String,
        /// From 1.
        port: u16,
    },
    /// Asks a gRPC server for its health (behaviour.md 19.12).
    Grpc {
        /// An address.
        host: String,
        /// From 1.
        port: u16,
        /// Of which service; empty for the server as a whole.
        service: String,
    },
    /// Runs a command in the container (behaviour.md 19.9).
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
}

impl Handler {
    /// What `probe` of `container` does in a pod with the address `pod_ip`.
    ///
    /// # Errors
    /// See [`HandlerError`].
    pub fn of(probe: &Probe, container: &Container, pod_ip: Option<&str>) -> Result<Self, HandlerError> {
        let host = |given: &Option<String>| {
            let given = given.as_deref().filter(|host| !host.is_empty());
            given.or(pod_ip).map(str::to_owned).ok_or(HandlerError::NoAddress)
        };
        if let Some(exec) = &probe.exec {
            return Ok(Self::Exec { command: exec.command.clone().unwrap_or_default() });
        }
        if let Some(get) = &probe.http_get {
            let port = port(&get.port, container).ok_or_else(|| wrong(&get.port))?;
            return Ok(Self::Http(Box::new(http(get, host(&get.host)?, port))));
        }
        if let Some(tcp) = &probe.tcp_socket {
            let port = port(&tcp.port, container).ok_or_else(|| wrong(&tcp.port))?;
            return Ok(Self::Tcp { host: host(&tcp.host)?, port });
        }
        if let Some(grpc) = &probe.grpc {
            let number = u16::try_from(grpc.port).ok().filter(|port| *port > 0);
            let port = number.ok_or_else(|| HandlerError::Port(grpc.port.to_string()))?;
            let service = grpc.service.clone().unwrap_or_default();
            return Ok(Self::Grpc { host: host(&None)?, port, service });
        }
        Err(HandlerError::NoHandler)
    }

    /// Which bound it counts against.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Exec { .. } => Lane::Exec,
            Self::Http(_) | Self::Tcp { .. } | Self::Grpc { .. } => Lane::Network,
        }
    }
}

fn http(get: &HTTPGetAction, host: String, port: u16) -> Http {
    let https = get.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("https"));
    let headers = get.http_headers.iter().flatten().map(|h| (h.name.clone(), h.value.clone())).collect();
    Http {
        scheme: if https { Scheme::Https } else { Scheme::Http },
        host,
        port,
        path: get.path.clone().unwrap_or_default(),
        headers,
    }
}

/// The number of a port: itself, that of the container's port of this name, or of a number that was written as a name.
pub fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name));
            named.map(|p| p.container_port).or_else(|| name.parse().ok())
        }
    };
    number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n > 0)
}

fn wrong(port: &IntOrString) -> HandlerError {
    HandlerError::Port(match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => format!("{name:?}"),
    })
}

#[cfg(test)]
mod tests;
