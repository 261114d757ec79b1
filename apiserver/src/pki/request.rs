//! What a PKCS#10 request asks for. Its bytes are a stranger's.

use std::net::IpAddr;

use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

/// Largest request, in bytes of PEM. One with an RSA key of 8192 bits and a hundred names is much smaller.
const LIMIT_BYTES: usize = 64 * 1024;
/// Names and addresses of one request.
const NAMES_LIMIT: usize = 1000;

/// A request whose signature has been checked: who sent it has the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Requested {
    /// Empty if there is none.
    pub(crate) common_name: String,
    pub(crate) organizations: Vec<String>,
    /// Whether the subject says anything beside one common name and organizations.
    pub(crate) more_subject: bool,
    pub(crate) dns_names: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) emails: usize,
    pub(crate) uris: usize,
    /// Names of kinds that no signer here knows.
    pub(crate) other_names: usize,
    /// The whole request, DER.
    pub(crate) der: Vec<u8>,
    /// The public key with its algorithm, DER.
    pub(crate) public_key: Vec<u8>,
}

/// Why bytes are no request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    Pem,
    #[error("the request has more than {LIMIT_BYTES} bytes")]
    TooLarge,
    #[error("the request is no PKCS#10 of version 1: {0}")]
    Syntax(&'static str),
    #[error("the signature of the request is not that of its key")]
    Signature,
    #[error("the request has more than {NAMES_LIMIT} names")]
    TooManyNames,
}

impl Requested {
    /// Reads a request in PEM.
    pub(crate) fn read(pem: &[u8]) -> Result<Self, RequestError> {
        if pem.len() > LIMIT_BYTES {
            return Err(RequestError::TooLarge);
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem).map_err(|_| RequestError::Pem)?;
        let (rest, request) = X509CertificationRequest::from_der(&der)
            .map_err(|_| RequestError::Syntax("it does not parse"))?;
        if !rest.is_empty() {
            return Err(RequestError::Syntax("more bytes follow it"));
        }
        request.verify_signature().map_err(|_| RequestError::Signature)?;
        let mut requested = Self {
            public_key: request.certification_request_info.subject_pki.raw.to_vec(),
            ..Self::default()
        };
        requested.read_subject(&request)?;
        requested.read_names(&request)?;
        requested.der = der.to_vec();
        Ok(requested)
    }

    fn read_subject(&mut self, request: &X509CertificationRequest<'_>) -> Result<(), RequestError> {
        let subject = &request.certification_request_info.subject;
        let unreadable = || RequestError::Syntax("a part of the subject is no text");
        if let Some(name) = subject.iter_common_name().next() {
            self.common_name = name.as_str().map_err(|_| unreadable())?.to_owned();
        }
        for organization in subject.iter_organization() {
            self.organizations.push(organization.as_str().map_err(|_| unreadable())?.to_owned());
        }
        let mut attributes = 0;
        for part in subject.iter() {
            match part.iter().count() {
                0 => return Err(RequestError::Syntax("a part of the subject is empty")),
                count => attributes += count,
            }
        }
        let known = self.organizations.len() + subject.iter_common_name().count().min(1);
        self.more_subject = attributes != known;
        Ok(())
    }

    fn read_names(&mut self, request: &X509CertificationRequest<'_>) -> Result<(), RequestError> {
        let names =
            request.requested_extensions().into_iter().flatten().filter_map(|extension| match extension {
                ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
                _ => None,
            });
        for (index, name) in names.flatten().enumerate() {
            if index == NAMES_LIMIT {
                return Err(RequestError::TooManyNames);
            }
            match name {
                GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => self.addresses.push(
                    address(bytes).ok_or(RequestError::Syntax("an address has neither 4 nor 16 bytes"))?,
                ),
                GeneralName::RFC822Name(_) => self.emails += 1,
                GeneralName::URI(_) => self.uris += 1,
                _ => self.other_names += 1,
            }
        }
        Ok(())
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
pub(crate) mod tests;
