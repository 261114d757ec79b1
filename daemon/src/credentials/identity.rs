//! A certificate with its key, and how long it lasts.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// From when to when a certificate counts, both ends as they stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

/// A certificate (with those that lead to its authority) and its key. They belong together.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) validity: Validity,
    /// User that the certificate names.
    pub(crate) common_name: String,
    /// DNS names and addresses that it is made out to.
    pub(crate) names: Vec<String>,
    /// From 0 to below 1, different for each certificate and the same after a restart: spreads renewals.
    pub(crate) spread: f64,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl std::fmt::Debug for Identity {
    /// The key stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("common_name", &self.common_name)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads PEM; both may be the same text.
    ///
    /// # Errors
    /// What is wrong, without any of the text.
    pub(crate) fn read(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("the certificate is no PEM: {error}"))?;
        let first = chain.first().ok_or("holds no certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("the key: {error}"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(first)
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let validity = validity(&parsed)?;
        let common_name = parsed
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .unwrap_or_default()
            .to_owned();
        let names = match parsed.subject_alternative_name() {
            Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name).collect(),
            _ => Vec::new(),
        };
        let digest = Sha256::digest(first);
        let spread = digest.iter().take(4).fold(0.0, |sum, byte| (sum * 256.0) + f64::from(*byte))
            / (f64::from(u32::MAX) + 1.0);
        let identity = Self { validity, common_name, names, spread, chain, key: Arc::new(key) };
        identity.certified()?;
        Ok(identity)
    }

    /// When the first certificate of a PEM ends, without its key.
    ///
    /// # Errors
    /// What is wrong, without any of the text.
    pub(crate) fn ends(certificates: &[u8]) -> Result<Timestamp, String> {
        let first = CertificateDer::pem_slice_iter(certificates).next().ok_or("holds no certificate")?;
        let first = first.map_err(|error| format!("the certificate is no PEM: {error}"))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&first)
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        validity(&parsed).map(|validity| validity.not_after)
    }

    /// For a TLS server.
    ///
    /// # Errors
    /// The key is of a kind that is not supported, or belongs to another certificate.
    pub(crate) fn certified(&self) -> Result<CertifiedKey, String> {
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider)
            .map_err(|error| format!("certificate and key: {error}"))
    }

    /// For a TLS client.
    pub(crate) fn chain_and_key(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }

    /// The certificates, PEM.
    pub(crate) fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect()
    }

    /// The key, PEM.
    pub(crate) fn key_pem(&self) -> String {
        let label = match &*self.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem(label, self.key.secret_der())
    }
}

fn validity(certificate: &X509Certificate<'_>) -> Result<Validity, String> {
    let time = |seconds: i64| {
        Timestamp::from_second(seconds).map_err(|error| format!("the certificate's time: {error}"))
    };
    Ok(Validity {
        not_before: time(certificate.validity().not_before.timestamp())?,
        not_after: time(certificate.validity().not_after.timestamp())?,
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from))
                .ok()
                .map(|ip| ip.to_string())
        }
        _ => None,
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let body = STANDARD.encode(der);
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
pub(crate) mod tests;
