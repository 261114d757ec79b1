use jiff::ToSpan as _;
use rcgen::{CertificateParams, DnType, KeyPair};

use super::*;

/// A certificate of `common_name` for `names`, valid from `not_before` to `not_after`, and its key, PEM.
pub(crate) fn issue(
    common_name: &str,
    names: &[&str],
    (not_before, not_after): (Timestamp, Timestamp),
) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (certificate(&key, common_name, names, (not_before, not_after)), key.serialize_pem())
}

/// The same for a key that is there.
pub(crate) fn certificate(
    key: &KeyPair,
    common_name: &str,
    names: &[&str],
    (not_before, not_after): (Timestamp, Timestamp),
) -> String {
    let mut params =
        CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let date = |at: Timestamp| {
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = date(not_before);
    params.not_after = date(not_after);
    params.self_signed(key).unwrap().pem()
}

/// Yesterday and in a year.
pub(crate) fn usual() -> (Timestamp, Timestamp) {
    let now = Timestamp::now();
    (now - 24.hours(), now + (365 * 24).hours())
}

#[test]
fn a_certificate_and_its_key_are_read_and_written_again() {
    let (certificate, key) = issue("system:node:n1", &["n1", "192.0.2.1", "2001:db8::1"], usual());
    let both = format!("{certificate}{key}");
    let identity = Identity::read(both.as_bytes(), both.as_bytes()).unwrap();
    assert_eq!(identity.common_name, "system:node:n1");
    assert_eq!(identity.names, ["n1", "192.0.2.1", "2001:db8::1"]);
    assert!((0.0..1.0).contains(&identity.spread));
    let again = Identity::read(identity.chain_pem().as_bytes(), identity.key_pem().as_bytes()).unwrap();
    assert_eq!(again.validity, identity.validity);
    assert_eq!(again.chain_pem(), identity.chain_pem());
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused_and_not_shown() {
    let (certificate, _) = issue("a", &[], usual());
    let (_, key) = issue("b", &[], usual());
    let error = Identity::read(certificate.as_bytes(), key.as_bytes()).unwrap_err();
    assert!(error.starts_with("certificate and key: "), "{error}");
    assert!(Identity::read(b"", key.as_bytes()).unwrap_err().contains("holds no certificate"));
    let (certificate, key) = issue("a", &[], usual());
    let identity = Identity::read(certificate.as_bytes(), key.as_bytes()).unwrap();
    let body = key.lines().nth(1).unwrap();
    assert!(!format!("{identity:?}").contains(body));
}

#[test]
fn any_bytes_are_a_certificate_or_an_error() {
    let (certificate, key) = issue("a", &["x"], usual());
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = Identity::read(bytes, key.as_bytes());
        let _ = Identity::read(certificate.as_bytes(), bytes);
        let wrapped = pem("CERTIFICATE", bytes);
        let _ = Identity::read(wrapped.as_bytes(), key.as_bytes());
    });
}
