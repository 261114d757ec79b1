//! A signed certificate says what was asked for, for as long as the signer says.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::super::request::Requested;
use super::super::request::tests::request;
use super::super::{Inspected, Pki};
use super::{SignError, end_of};

const HOUR: Duration = Duration::from_secs(3600);
const CLIENT: &[&str] = &["digital signature", "client auth"];

#[test]
fn it_names_the_subject_and_serves_the_usages_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    let asked = Requested::read(
        request(|p| {
            p.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            p.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
            p.subject_alt_names = vec![SanType::IpAddress("192.0.2.1".parse().unwrap())];
        })
        .as_bytes(),
    )
    .unwrap();
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
    let pem = pki.sign(&asked, CLIENT, HOUR, now).unwrap();
    assert!(Inspected::signed_by(&pem, pki.ca_pem()));
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    assert!(!certificate.is_ca(), "whatever was asked for");
    let usage = certificate.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_cert_sign() && !usage.key_encipherment());
    let extended = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth && !extended.any);
    let found = Inspected::read(&pem).unwrap();
    assert_eq!((found.subject.user.as_str(), found.names.len()), ("system:node:n", 1));
    let validity = certificate.validity();
    assert_eq!(validity.not_before.timestamp(), now.as_second() - 300);
    assert_eq!(validity.not_after.timestamp(), now.as_second() + 3600);
    assert_eq!(end_of(&pem).unwrap(), now + HOUR);
}

#[test]
fn it_ends_with_the_authority_at_the_latest() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    let asked = Requested::read(request(|_| ()).as_bytes()).unwrap();
    let pem = pki.sign(&asked, CLIENT, Duration::MAX, Timestamp::now()).unwrap();
    assert_eq!(end_of(&pem).unwrap(), pki.not_after);
    let late = pki.sign(&asked, CLIENT, HOUR, pki.not_after);
    assert!(matches!(late, Err(SignError::Expired(_))), "{late:?}");
}

#[test]
fn it_holds_the_key_of_the_request_whatever_its_kind() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let pem = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let asked = Requested::read(pem.as_bytes()).unwrap();
        let pem = pki.sign(&asked, CLIENT, HOUR, Timestamp::now()).unwrap();
        assert_eq!(Inspected::read(&pem).unwrap().public_key, key.public_key_raw());
    }
}

#[test]
fn what_it_could_not_say_is_not_signed() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    let second = request(|p| {
        p.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 10]), "another");
    });
    let asked = Requested::read(second.as_bytes()).unwrap();
    assert_eq!(asked.organizations.len(), 2);
    let refused = pki.sign(&asked, CLIENT, HOUR, Timestamp::now()).unwrap_err().to_string();
    assert!(refused.contains("only one organization"), "{refused}");
    let asked = Requested::read(request(|_| ()).as_bytes()).unwrap();
    let refused = pki.sign(&asked, &["cert sign"], HOUR, Timestamp::now()).unwrap_err().to_string();
    assert_eq!(refused, "the usage \"cert sign\" is not supported by this signer");
}
