//! The serving certificate, and the authority that callers are checked against: read at the start, and again when their files
//! change. A connection that is there already stays. behaviour.md 34.3, 34.4.
//!
//! | configuration | certificate |
//! |---|---|
//! | `tlsCertFile` | that file's |
//! | `serverTLSBootstrap` | `kubelet-server-current.pem` below `--cert-dir`; until it is there, handshakes fail |
//! | neither | `kubelet.crt` and `kubelet.key` below `--cert-dir`, signed by the daemon itself and kept until they run out |

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{ServerError, Settings};
use crate::cause::chain;
use crate::config::Config;
use crate::credentials::{Identity, SERVER, Store, write_secret};
use crate::metrics::Metrics;
use crate::stop::stopped;

const CERTIFICATE: &str = "kubelet.crt";
const KEY: &str = "kubelet.key";
const YEARS: i64 = 1;
/// A certificate with less than this left at a start is made anew.
const RENEW_DAYS: i64 = 30;
/// Largest file that is read.
const FILE_BYTES: u64 = 1024 * 1024;
/// How often it is looked whether a file has changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What handshakes are answered with; the newest counts.
pub(super) type Tls = watch::Sender<Arc<ServerConfig>>;

/// The server's side of the handshake, and when its certificate ends, if there is one. A client without a certificate is let through it,
/// and refused with an answer that says so.
pub(super) fn tls(settings: &Settings) -> Result<(ServerConfig, Option<Timestamp>), ServerError> {
    let (certificate, key) = files(settings)?;
    let served = match (&settings.requested, certificate.exists()) {
        // A kubelet likewise fails handshakes until its certificate was issued.
        (Some(_), false) => None,
        _ => {
            let identity = Identity::read(&read(&certificate)?, &read(&key)?);
            let certified =
                identity.and_then(|identity| Ok((identity.certified()?, identity.validity.not_after)));
            Some(certified.map_err(|why| unusable(&certificate, &why))?)
        }
    };
    let (served, until) = served.map(|(certified, until)| (Arc::new(certified), until)).unzip();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(&certificate, &e))?;
    let ca = &settings.config.authentication.x509.client_ca_file;
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
    let mut tls = builder.with_cert_resolver(Arc::new(Served(served)));
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((tls, until))
}

/// Reads everything again when a file has changed or a certificate was issued, until `stop`. What cannot be used changes nothing.
pub(super) async fn follow(settings: Settings, tls: Tls, metrics: Metrics, mut stop: watch::Receiver<bool>) {
    let issued = settings.requested.clone();
    let mut seen = stamps(&settings);
    loop {
        let told = async {
            match &issued {
                Some(issued) => issued.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Cancel-safe: a level.
            () = stopped(&mut stop) => return,
            // Cancel-safe: a notice that is lost here is found by the next look.
            () = told => {}
            // Cancel-safe: only a time.
            () = sleep(LOOK_EVERY) => {}
        }
        let now = stamps(&settings);
        if now == seen {
            continue;
        }
        seen = now;
        match self::tls(&settings) {
            Ok((config, until)) => {
                metrics.serving_certificate(until);
                tracing::info!("serving certificate and client authority were read again");
                tls.send_replace(Arc::new(config));
            }
            Err(error) => tracing::warn!(
                error = chain(&error),
                "changed certificates cannot be used; the ones before them stay in use"
            ),
        }
    }
}

/// Certificate and key as the configuration has them.
fn files(settings: &Settings) -> Result<(PathBuf, PathBuf), ServerError> {
    let config = &settings.config;
    match &settings.requested {
        Some(_) => {
            let current = settings.server_store().current();
            Ok((current.clone(), current))
        }
        None if config.tls_cert_file.is_empty() => own(settings),
        None => Ok((PathBuf::from(&config.tls_cert_file), PathBuf::from(&config.tls_private_key_file))),
    }
}

/// Where the certificate is that callers are shown, whether it is there yet or not; `is_requested`: it is asked for at the API server.
pub(crate) fn certificate_path(config: &Config, cert_dir: &Path, is_requested: bool) -> PathBuf {
    match config.tls_cert_file.as_str() {
        "" if is_requested => Store::new(cert_dir, SERVER).current(),
        "" => cert_dir.join(CERTIFICATE),
        path => PathBuf::from(path),
    }
}

/// What tells one content of the files from another; links are followed.
fn stamps(settings: &Settings) -> Vec<Option<(u64, u64, i64, i64)>> {
    let config = &settings.config;
    let mut paths = vec![settings.server_store().current()];
    if config.gate("ReloadKubeletServerCertificateFile") {
        paths.extend([&config.tls_cert_file, &config.tls_private_key_file].map(PathBuf::from));
    }
    if config.gate("ReloadKubeletClientCAFile") {
        paths.push(PathBuf::from(&config.authentication.x509.client_ca_file));
    }
    let stamp = |path: &PathBuf| {
        let data = fs::metadata(path).ok()?;
        Some((data.ino(), data.size(), data.mtime(), data.mtime_nsec()))
    };
    paths.iter().map(stamp).collect()
}

/// The certificate that every client is shown, if there is one.
#[derive(Debug)]
struct Served(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
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
    write_secret(&key, key_pem.as_bytes()).map_err(|e| unusable(&key, &e))?;
    write_secret(&certificate, certificate_pem.as_bytes()).map_err(|e| unusable(&certificate, &e))?;
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

#[cfg(test)]
mod tests;
