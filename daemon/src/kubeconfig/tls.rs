//! TLS towards the API server, and whoever else is asked for something over HTTP.

use std::io;
use std::sync::Arc;

use hyper_rustls::{ConfigBuilderExt as _, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::client::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ConfigBuilder, RootCertStore};

use super::any_certificate::AnyCertificate;
use crate::credentials::Identity;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the machine's certificate authorities cannot be read")]
    Machine(#[source] io::Error),
    #[error("the certificate authority cannot be used")]
    Authority(#[source] rustls::Error),
    #[error("the client certificate cannot be used")]
    Identity(#[source] rustls::Error),
    #[error("the protocol versions cannot be used")]
    Versions(#[source] rustls::Error),
    #[error("tls-server-name {0:?} is no name")]
    Name(String, #[source] InvalidDnsNameError),
}

/// Whom to believe.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust<'a> {
    /// The machine's own authorities.
    Machine,
    /// These alone, in DER.
    Authorities(&'a [Vec<u8>]),
    /// Everybody.
    Anybody,
}

impl<'a> Trust<'a> {
    /// What a kubeconfig says.
    pub(super) fn of(config: &'a kube::Config) -> Self {
        match &config.root_cert {
            _ if config.accept_invalid_certs => Self::Anybody,
            Some(authorities) => Self::Authorities(authorities),
            None => Self::Machine,
        }
    }
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    Http1,
    /// HTTP/2 where the server can, and HTTP/1.1 where it cannot.
    Http2OrHttp1,
}

/// Connections that are TLS where the address says so.
///
/// # Errors
/// An authority, the identity or the name cannot be used.
pub(crate) fn connector(
    trust: Trust<'_>,
    identity: Option<&Identity>,
    name: Option<&str>,
    versions: Versions,
    connector: HttpConnector,
) -> Result<HttpsConnector<HttpConnector>, TlsError> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls(trust, identity)?).https_or_http();
    let builder = match name {
        Some(name) => {
            let server =
                ServerName::try_from(name).map_err(|error| TlsError::Name(name.to_owned(), error))?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(server.to_owned()))
        }
        None => builder,
    };
    Ok(match versions {
        Versions::Http1 => builder.enable_http1().wrap_connector(connector),
        Versions::Http2OrHttp1 => builder.enable_all_versions().wrap_connector(connector),
    })
}

fn tls(trust: Trust<'_>, identity: Option<&Identity>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder: ConfigBuilder<ClientConfig, _> = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Versions)?;
    let builder = match trust {
        Trust::Machine => builder.with_native_roots().map_err(TlsError::Machine)?,
        Trust::Authorities(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots.add(CertificateDer::from_slice(authority)).map_err(TlsError::Authority)?;
            }
            builder.with_root_certificates(roots)
        }
        Trust::Anybody => {
            let verifier = Arc::new(AnyCertificate::new(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    };
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let (chain, key) = identity.chain_and_key();
    builder.with_client_auth_cert(chain, key).map_err(TlsError::Identity)
}
