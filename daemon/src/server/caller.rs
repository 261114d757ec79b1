//! Who may use port 10250: the API server, by its client certificate, and nobody else.
//!
//! Tokens and SubjectAccessReviews (behaviour.md 36.2, 36.5) are not asked for: `authentication` and `authorization` of the
//! configuration widen nothing here.

use http::{Method, StatusCode};
use rustls::pki_types::CertificateDer;

use super::reply::{self, Reply};

/// CN of the certificate that an API server shows to nodes, from kubeadm on.
const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// The user of a certificate whose signature was checked in the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller(Option<String>);

impl Caller {
    pub(super) fn of(certificates: Option<&[CertificateDer<'_>]>) -> Self {
        let user = certificates.and_then(<[_]>::first).and_then(|certificate| {
            let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
            let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
            Some(name.to_owned())
        });
        Self(user)
    }

    /// The refusal, if this caller may not do this.
    pub(super) fn refusal(&self, method: &Method, path: &str) -> Option<Reply> {
        match self.0.as_deref() {
            Some(API_SERVER) => None,
            Some(user) => {
                let verb = verb(method);
                let subresource = subresource(path);
                let why = format!(
                    "Forbidden (user={user}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])"
                );
                Some(reply::text(StatusCode::FORBIDDEN, why))
            }
            None => Some(reply::text(StatusCode::UNAUTHORIZED, "Unauthorized")),
        }
    }
}

/// behaviour.md 36.6.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

/// behaviour.md 36.7.
fn subresource(path: &str) -> &'static str {
    match path.split('/').nth(1).unwrap_or_default() {
        "metrics" => "metrics",
        "pods" => "pods proxy",
        "healthz" => "healthz proxy",
        "configz" => "configz proxy",
        _ => "proxy",
    }
}
