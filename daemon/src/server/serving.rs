//! The serving certificate, and the authority that callers are checked against.
//!
//! Without `tlsCertFile` the daemon signs a certificate for itself, `kubelet.crt` and `kubelet.key` below `--cert-dir`, and
//! keeps it over restarts until it runs out.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{ServerError, Settings};

const CERTIFICATE: &str = "kubelet.crt";
const KEY: &str = "kubelet.key";
const YEARS: i64 = 1;
/// A certificate with less than this left at a start is made anew.
const RENEW_DAYS: i64 = 30;
/// Largest file that is read.
const FILE_BYTES: u64 = 1024 * 1024;

/// The server's side of the handshake. A client without a certificate is let through it, and refused with an answer that says so.
pub(super) fn tls(settings: &Settings) -> Result<ServerConfig, ServerError> {
    let config = &settings.config;
    let (certificate, key) = if config.tls_cert_file.is_empty() {
        own(settings)?
    } else {
        (PathBuf::from(&config.tls_cert_file), PathBuf::from(&config.tls_private_key_file))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(&certificate, &e))?;
    let ca = &config.authentication.x509.client_ca_file;
    let builder = if ca.is_empty() {
        builder.with_no_client_auth()
    } else {
        let path = Path::new(ca);
        let mut roots = RootCertStore::empty();
        for authority in certificates(path)? {
            roots.add(authority).map_err(|e| unusable(path, &e))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|e| unusable(path, &e))?;
        builder.with_client_cert_verifier(verifier)
    };
    let private = PrivateKeyDer::from_pem_slice(&read(&key)?).map_err(|e| unusable(&key, &e))?;
    let chain = certificates(&certificate)?;
    let mut tls = builder.with_single_cert(chain, private).map_err(|e| unusable(&certificate, &e))?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> ServerError {
    ServerError::Certificate { path: path.to_owned(), reason: error.to_string() }
}

fn read(path: &Path) -> Result<Vec<u8>, ServerError> {
    let size = fs::metadata(path).map_err(|e| unusable(path, &e))?.len();
    if size > FILE_BYTES {
        return Err(unusable(path, &format_args!("larger than {FILE_BYTES} bytes")));
    }
    fs::read(path).map_err(|e| unusable(path, &e))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let pem = read(path)?;
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|e| unusable(path, &e))?;
    if found.is_empty() {
        return Err(unusable(path, &"holds no certificate"));
    }
    Ok(found)
}

/// The daemon's own certificate, made where there is none that can be used.
fn own(settings: &Settings) -> Result<(PathBuf, PathBuf), ServerError> {
    let (certificate, key) = (settings.cert_dir.join(CERTIFICATE), settings.cert_dir.join(KEY));
    if is_usable(&certificate, &key) {
        return Ok((certificate, key));
    }
    let (certificate_pem, key_pem) = self_signed(settings).map_err(|e| unusable(&certificate, &e))?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&settings.cert_dir)
        .map_err(|e| unusable(&settings.cert_dir, &e))?;
    write(&key, key_pem.as_bytes()).map_err(|e| unusable(&key, &e))?;
    write(&certificate, certificate_pem.as_bytes()).map_err(|e| unusable(&certificate, &e))?;
    Ok((certificate, key))
}

/// The pair exists, belongs together, and lasts.
fn is_usable(certificate: &Path, key: &Path) -> bool {
    let Ok(chain) = certificates(certificate) else { return false };
    let Some(Ok((_, parsed))) = chain.first().map(|c| x509_parser::parse_x509_certificate(c)) else {
        return false;
    };
    let left = parsed.validity().not_after.timestamp() - Timestamp::now().as_second();
    if left < RENEW_DAYS * 24 * 3600 {
        return false;
    }
    let Ok(pem) = fs::read_to_string(key) else { return false };
    KeyPair::from_pem(&pem)
        .is_ok_and(|pair| pair.public_key_raw() == parsed.public_key().subject_public_key.data.as_ref())
}

fn self_signed(settings: &Settings) -> Result<(String, String), rcgen::Error> {
    let mut names = vec![settings.node_name.clone()];
    names.extend(settings.host_ips.iter().cloned());
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, settings.node_name.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let at = |date: Date| {
        rcgen::date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = at(today.saturating_sub(1.day()));
    params.not_after = at(today.saturating_add(YEARS.years()));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Whole or not at all; readable by the owner only.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)
}
