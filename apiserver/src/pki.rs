//! The certificates that the cluster runs on: one authority, made at the first start, and what it signs.
//!
//! ```text
//! DIR/pki/ca.{crt,key}               signs everything below; ten years
//! DIR/pki/apiserver.{crt,key}        serving certificate; issued again when its names change
//! DIR/pki/kubelet-client.{crt,key}   how this server introduces itself to nodes
//! DIR/pki/{admin,scheduler}.{crt,key}
//! DIR/pki/sa.key                     signs tokens of service accounts
//! DIR/{admin,scheduler}.kubeconfig   the same two with everything embedded
//! ```
//!
//! [`request`] reads what others ask the authority for, [`signing`] signs it.
//!
//! Files are replaced one by one and atomically. After a crash between a key and its certificate the two do not match, and the
//! pair is issued again; only the authority's own is never replaced once its certificate exists. Leaf certificates last a
//! year and are issued again at a start in their last three months.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::tokens::key::{KeyError, SigningKey};

mod files;
mod kubeconfig;
pub(crate) mod request;
pub(crate) mod signing;

pub(crate) use files::{FileError, create_directory};
pub(crate) use kubeconfig::Kubeconfig;

const CA_YEARS: i64 = 10;
const LEAF_YEARS: i64 = 1;
/// A certificate with less than this left is issued again.
const RENEW_DAYS: i64 = 90;
/// Largest file that is read, in bytes.
const FILE_LIMIT_BYTES: u64 = 64 * 1024;
/// CN of the certificate that this server shows to nodes.
pub(crate) const KUBELET_CLIENT: &str = "kube-apiserver-kubelet-client";

/// Why there are no certificates to serve with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PkiError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path}: not usable as the cluster's authority: {reason}")]
    Authority { path: PathBuf, reason: String },
    #[error("issuing the certificate of {subject}")]
    Issue { subject: String, source: rcgen::Error },
    #[error("the name {name:?} cannot be put into a certificate: {reason}")]
    Name { name: String, reason: String },
    #[error("{path}: not usable for signing tokens")]
    TokenKey { path: PathBuf, source: KeyError },
}

/// A certificate with its key, both PEM.
#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl std::fmt::Debug for Credential {
    /// The key stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").finish_non_exhaustive()
    }
}

/// Who a client certificate names: CN is the user, each O a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
    /// SHA-256 of the certificate that said so, in hexadecimal; empty where none did.
    pub(crate) fingerprint: String,
    /// When that certificate expires: a connection may last longer.
    pub(crate) expires: Option<Timestamp>,
}

impl Subject {
    pub(crate) fn new(user: &str, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        Self { user: user.to_owned(), groups, fingerprint: String::new(), expires: None }
    }
}

impl Subject {
    /// Of a certificate whose signature has been checked. Values that are not text count as absent.
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        let subject = certificate.subject();
        let user =
            subject.iter_common_name().next().and_then(|cn| cn.as_str().ok()).unwrap_or_default().to_owned();
        let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
        Self { user, groups, fingerprint: String::new(), expires: None }
    }
}

/// What a leaf certificate is for.
enum Purpose<'a> {
    Client(&'a Subject),
    /// Names and addresses that the server is reached by.
    Server(&'a BTreeSet<String>),
}

/// The authority and where its files are.
pub(crate) struct Pki {
    directory: PathBuf,
    ca_pem: String,
    /// When the authority expires.
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Pki {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pki").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Pki {
    /// Opens the authority below a data directory, and makes it if there is none.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, PkiError> {
        let directory = data_dir.join("pki");
        create_directory(data_dir)?;
        create_directory(&directory)?;
        // `apiserver credentials` may run at the same time as the first start.
        let _lock = files::lock(&directory.join(".lock"))?;
        let (crt, key) = (directory.join("ca.crt"), directory.join("ca.key"));
        let (ca_pem, key_pem) = match files::read(&crt)? {
            Some(certificate) => match files::read(&key)? {
                Some(key) => (certificate, key),
                None => {
                    let reason = "the certificate exists, its key does not".to_owned();
                    return Err(PkiError::Authority { path: key, reason });
                }
            },
            None => {
                let authority = new_authority()?;
                files::write(&key, authority.key_pem.as_bytes())?;
                files::write(&crt, authority.certificate_pem.as_bytes())?;
                (authority.certificate_pem, authority.key_pem)
            }
        };
        let unusable = |reason: String| PkiError::Authority { path: crt.clone(), reason };
        let key_pair = KeyPair::from_pem(&key_pem).map_err(|e| unusable(format!("the key: {e}")))?;
        let inspected =
            Inspected::read(&ca_pem).ok_or_else(|| unusable("no certificate in PEM form".to_owned()))?;
        if inspected.public_key != key_pair.public_key_raw() {
            return Err(unusable("the key belongs to another certificate".to_owned()));
        }
        if inspected.not_after <= Timestamp::now() {
            return Err(unusable(format!("it expired at {}", inspected.not_after)));
        }
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key_pair).map_err(|e| unusable(e.to_string()))?;
        Ok(Self { directory, ca_pem, not_after: inspected.not_after, issuer })
    }

    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The serving certificate for these names and addresses.
    pub(crate) fn server(&self, names: &BTreeSet<String>) -> Result<Credential, PkiError> {
        self.kept("apiserver", &Purpose::Server(names))
    }

    /// A client certificate that is kept in the directory under `file`.
    pub(crate) fn client(&self, file: &str, subject: &Subject) -> Result<Credential, PkiError> {
        self.kept(file, &Purpose::Client(subject))
    }

    /// A client certificate that is kept nowhere here.
    pub(crate) fn issue_client(&self, subject: &Subject) -> Result<Credential, PkiError> {
        self.issue(&Purpose::Client(subject))
    }

    /// The key that signs tokens of service accounts, made if there is none. As long as it is there, tokens are good that it has signed.
    pub(crate) fn token_key(&self) -> Result<SigningKey, PkiError> {
        let path = self.directory.join("sa.key");
        let pem = match files::read(&path)? {
            Some(pem) => pem,
            None => {
                let made = KeyPair::generate();
                let subject = "tokens of service accounts".to_owned();
                let pem = made.map_err(|source| PkiError::Issue { subject, source })?.serialize_pem();
                files::write(&path, pem.as_bytes())?;
                pem
            }
        };
        SigningKey::from_pem(&pem).map_err(|source| PkiError::TokenKey { path, source })
    }

    fn kept(&self, file: &str, purpose: &Purpose<'_>) -> Result<Credential, PkiError> {
        let (crt, key) =
            (self.directory.join(format!("{file}.crt")), self.directory.join(format!("{file}.key")));
        if let (Some(certificate_pem), Some(key_pem)) = (files::read(&crt)?, files::read(&key)?) {
            let credential = Credential { certificate_pem, key_pem };
            if self.serves(&credential, purpose) {
                return Ok(credential);
            }
            tracing::info!(path = %crt.display(), "issuing the certificate again");
        }
        let credential = self.issue(purpose)?;
        files::write(&key, credential.key_pem.as_bytes())?;
        files::write(&crt, credential.certificate_pem.as_bytes())?;
        Ok(credential)
    }

    /// Whether a kept certificate is still what would be issued now.
    fn serves(&self, credential: &Credential, purpose: &Purpose<'_>) -> bool {
        let (Some(found), Ok(key)) =
            (Inspected::read(&credential.certificate_pem), KeyPair::from_pem(&credential.key_pem))
        else {
            return false;
        };
        let about_it = match purpose {
            Purpose::Client(subject) => found.subject == **subject,
            Purpose::Server(names) => found.names == **names,
        };
        let soon = Timestamp::now() + (RENEW_DAYS * 24).hours();
        about_it
            && found.public_key == key.public_key_raw()
            && found.not_after > soon
            && Inspected::signed_by(&credential.certificate_pem, &self.ca_pem)
    }

    fn issue(&self, purpose: &Purpose<'_>) -> Result<Credential, PkiError> {
        let mut parameters = CertificateParams::default();
        let subject = match purpose {
            Purpose::Client(subject) => {
                parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
                (*subject).clone()
            }
            Purpose::Server(names) => {
                parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                parameters.subject_alt_names =
                    names.iter().map(|n| alternative_name(n)).collect::<Result<_, _>>()?;
                Subject::new("kube-apiserver", &[])
            }
        };
        parameters.distinguished_name = DistinguishedName::new();
        for group in &subject.groups {
            parameters.distinguished_name.push(DnType::OrganizationName, group.as_str());
        }
        parameters.distinguished_name.push(DnType::CommonName, subject.user.as_str());
        if subject.groups.len() > 1 {
            // rcgen keeps one value of a type.
            let reason = "only one group fits into a certificate".to_owned();
            return Err(PkiError::Name { name: subject.groups.join(","), reason });
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.use_authority_key_identifier_extension = true;
        set_validity(&mut parameters, LEAF_YEARS);
        let issued = KeyPair::generate().and_then(|key| Ok((parameters.signed_by(&key, &self.issuer)?, key)));
        let (certificate, key) =
            issued.map_err(|source| PkiError::Issue { subject: subject.user.clone(), source })?;
        Ok(Credential { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

fn new_authority() -> Result<Credential, PkiError> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "kubernetes");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut parameters, CA_YEARS);
    let made = KeyPair::generate().and_then(|key| Ok((parameters.self_signed(&key)?, key)));
    let (certificate, key) =
        made.map_err(|source| PkiError::Issue { subject: "kubernetes".to_owned(), source })?;
    Ok(Credential { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

fn alternative_name(name: &str) -> Result<SanType, PkiError> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => name
            .to_owned()
            .try_into()
            .map(SanType::DnsName)
            .map_err(|e: rcgen::Error| PkiError::Name { name: name.to_owned(), reason: e.to_string() }),
    }
}

/// From yesterday, so that a clock which is a little behind accepts it, for so many years.
fn set_validity(parameters: &mut CertificateParams, years: i64) {
    let today = Zoned::new(Timestamp::now(), TimeZone::UTC).date();
    let at = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    parameters.not_before = at(today.saturating_sub(1.day()));
    parameters.not_after = at(today.saturating_add(years.years()));
}

/// What matters about a certificate that was kept.
struct Inspected {
    subject: Subject,
    names: BTreeSet<String>,
    public_key: Vec<u8>,
    not_after: Timestamp,
}

impl Inspected {
    fn read(pem: &str) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
        let names = match certificate.subject_alternative_name().ok()? {
            Some(extension) => extension.value.general_names.iter().filter_map(general_name).collect(),
            None => BTreeSet::new(),
        };
        Some(Self {
            subject: Subject::of(&certificate),
            names,
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
            not_after: Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?,
        })
    }

    fn signed_by(pem: &str, ca_pem: &str) -> bool {
        let (Ok(der), Ok(ca_der)) = (
            CertificateDer::from_pem_slice(pem.as_bytes()),
            CertificateDer::from_pem_slice(ca_pem.as_bytes()),
        ) else {
            return false;
        };
        match (x509_parser::parse_x509_certificate(&der), x509_parser::parse_x509_certificate(&ca_der)) {
            (Ok((_, certificate)), Ok((_, ca))) => {
                certificate.verify_signature(Some(ca.public_key())).is_ok()
            }
            _ => false,
        }
    }
}

/// Whether bytes are PEM with a certificate, and with nothing but certificates.
pub(crate) fn is_certificate(pem: &[u8]) -> bool {
    let mut found = 0;
    for section in rustls::pki_types::pem::PemObject::pem_slice_iter(pem) {
        let section: Result<CertificateDer<'_>, _> = section;
        match section {
            Ok(der) if x509_parser::parse_x509_certificate(&der).is_ok() => found += 1,
            _ => return false,
        }
    }
    found > 0
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(IpAddr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
