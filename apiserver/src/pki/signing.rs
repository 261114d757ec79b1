//! Certificates for keys that others hold.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, date_time_ymd};
use rustls::pki_types::CertificateSigningRequestDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::request::Requested;
use super::{Inspected, Pki, Subject};

/// Certificates begin so long ago, for clocks that are behind (as upstream).
const BACKDATED: Duration = Duration::from_secs(5 * 60);

/// Why there is no certificate for a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("the usage \"{0}\" is not supported by this signer")]
    Usage(String),
    #[error("the request cannot be signed: {0}")]
    Unsupported(String),
    #[error("the authority expires at {0}")]
    Expired(Timestamp),
    #[error("the certificate would not say what was asked for: {0}")]
    Differs(&'static str),
}

impl Pki {
    /// Signs what a request asks for, with these usages and for this lifetime from now, but never beyond the authority's own end.
    /// The result is PEM.
    pub(crate) fn sign(
        &self,
        requested: &Requested,
        usages: &[&str],
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<String, SignError> {
        let unsupported = |error: rcgen::Error| SignError::Unsupported(error.to_string());
        if requested.organizations.len() > 1 {
            // rcgen keeps one value of a kind.
            return Err(SignError::Unsupported("only one organization fits into a certificate".to_owned()));
        }
        if now >= self.not_after {
            return Err(SignError::Expired(self.not_after));
        }
        let der = CertificateSigningRequestDer::from(requested.der.as_slice());
        let mut request = CertificateSigningRequestParams::from_der(&der).map_err(unsupported)?;
        let parameters = &mut request.params;
        parameters.key_usages = Vec::new();
        parameters.extended_key_usages = Vec::new();
        for usage in usages {
            match usage_of(usage) {
                Some(Usage::Key(usage)) => parameters.key_usages.push(usage),
                Some(Usage::Extended(usage)) => parameters.extended_key_usages.push(usage),
                None => return Err(SignError::Usage((*usage).to_owned())),
            }
        }
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.use_authority_key_identifier_extension = true;
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let end = now.as_second().saturating_add(seconds).min(self.not_after.as_second());
        let begin = now.as_second().saturating_sub(BACKDATED.as_secs().cast_signed());
        let at = |second: i64| date_time_ymd(1970, 1, 1) + Duration::from_secs(second.max(0).unsigned_abs());
        (parameters.not_before, parameters.not_after) = (at(begin), at(end));
        let certificate = request.signed_by(&self.issuer).map_err(unsupported)?;
        agrees(requested, certificate.der())?;
        Ok(certificate.pem())
    }
}

/// The certificate must name the subject and hold the key of the request, whatever the library made of it.
fn agrees(requested: &Requested, der: &[u8]) -> Result<(), SignError> {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Err(SignError::Differs("it does not parse"));
    };
    if certificate.public_key().raw != requested.public_key {
        return Err(SignError::Differs("the key"));
    }
    let found = Subject::of(&certificate);
    if found.user != requested.common_name || found.groups != requested.organizations {
        return Err(SignError::Differs("the subject"));
    }
    if certificate.is_ca() {
        return Err(SignError::Differs("the basic constraints"));
    }
    Ok(())
}

/// When a certificate in PEM ends.
pub(crate) fn end_of(pem: &str) -> Option<Timestamp> {
    Inspected::read(pem).map(|certificate| certificate.not_after)
}

enum Usage {
    Key(KeyUsagePurpose),
    Extended(ExtendedKeyUsagePurpose),
}

/// A usage as a certificate has it; `None` for those that a leaf certificate of a cluster is never signed for.
fn usage_of(name: &str) -> Option<Usage> {
    Some(match name {
        "digital signature" | "signing" => Usage::Key(KeyUsagePurpose::DigitalSignature),
        "content commitment" => Usage::Key(KeyUsagePurpose::ContentCommitment),
        "key encipherment" => Usage::Key(KeyUsagePurpose::KeyEncipherment),
        "data encipherment" => Usage::Key(KeyUsagePurpose::DataEncipherment),
        "key agreement" => Usage::Key(KeyUsagePurpose::KeyAgreement),
        "server auth" => Usage::Extended(ExtendedKeyUsagePurpose::ServerAuth),
        "client auth" => Usage::Extended(ExtendedKeyUsagePurpose::ClientAuth),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
