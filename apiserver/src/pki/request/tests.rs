//! Requests are read as what they are, and nothing that is sent in their place does harm.

use std::net::IpAddr;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType,
};

use super::{RequestError, Requested};

/// A request in PEM; what follows the parameters says how they differ from those of a node.
pub(crate) fn request(adjust: impl FnOnce(&mut CertificateParams)) -> String {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    parameters.distinguished_name.push(DnType::CommonName, "system:node:n");
    adjust(&mut parameters);
    let key = KeyPair::generate().unwrap();
    parameters.serialize_request(&key).unwrap().pem().unwrap()
}

#[test]
fn subject_and_names_are_those_of_the_request() {
    let pem = request(|p| {
        p.subject_alt_names = vec![
            SanType::DnsName("n.example".try_into().unwrap()),
            SanType::IpAddress("192.0.2.1".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::Rfc822Name("a@example".try_into().unwrap()),
            SanType::URI("spiffe://x".try_into().unwrap()),
        ];
    });
    let read = Requested::read(pem.as_bytes()).unwrap();
    assert_eq!(
        (read.common_name.as_str(), read.organizations.as_slice()),
        ("system:node:n", &["system:nodes".to_owned()][..])
    );
    assert!(!read.more_subject);
    assert_eq!(read.dns_names, ["n.example"]);
    let addresses: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1"].iter().map(|a| a.parse().unwrap()).collect();
    assert_eq!(read.addresses, addresses);
    assert_eq!((read.emails, read.uris, read.other_names), (1, 1, 0));
    let more = request(|p| p.distinguished_name.push(DnType::LocalityName, "here"));
    assert!(Requested::read(more.as_bytes()).unwrap().more_subject);
    let none = request(|p| p.distinguished_name = DistinguishedName::new());
    let none = Requested::read(none.as_bytes()).unwrap();
    assert!(none.common_name.is_empty() && none.organizations.is_empty() && !none.more_subject);
}

#[test]
fn keys_of_every_usual_kind_are_known() {
    for algorithm in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let pem = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        assert!(Requested::read(pem.as_bytes()).is_ok());
    }
}

#[test]
fn what_is_no_request_is_told() {
    let good = request(|_| ());
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(good.as_bytes());
    let der: rustls::pki_types::CertificateSigningRequestDer<'_> = der.unwrap();
    let armoured = |der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n")
    };
    assert!(Requested::read(armoured(&der).as_bytes()).is_ok());
    let mut forged = der.to_vec();
    // A bit of the name: the signature is another's then.
    let at = forged.windows(4).position(|w| w == b"node").unwrap();
    forged[at] = b'm';
    let longer = [&der[..], &[0]].concat();
    let cases = [
        (String::new(), RequestError::Pem),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(), RequestError::Pem),
        ("x".repeat(70_000), RequestError::TooLarge),
        (armoured(b"\x30\x03\x02\x01\x00"), RequestError::Syntax("it does not parse")),
        (armoured(&longer), RequestError::Syntax("more bytes follow it")),
        (armoured(&forged), RequestError::Signature),
    ];
    for (text, expected) in cases {
        assert_eq!(Requested::read(text.as_bytes()), Err(expected));
    }
}

/// Bytes of a real request with some of them changed, so that the parsers below are reached.
#[test]
fn a_request_with_any_bytes_changed_is_read_or_refused() {
    let pem = request(|p| p.subject_alt_names = vec![SanType::DnsName("n".try_into().unwrap())]);
    let der: rustls::pki_types::CertificateSigningRequestDer<'_> =
        rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).unwrap();
    bolero::check!().with_type::<Vec<(u16, u8)>>().for_each(|changes| {
        use base64::Engine as _;
        let mut der = der.to_vec();
        for (at, byte) in changes {
            let at = usize::from(*at) % der.len();
            der[at] = *byte;
        }
        let text = base64::engine::general_purpose::STANDARD.encode(&der);
        let text =
            format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n");
        let _ = Requested::read(text.as_bytes());
        // The same bytes with a signature that nobody checks: what follows the check sees them too.
        use x509_parser::prelude::FromDer as _;
        if let Ok((_, request)) = x509_parser::certification_request::X509CertificationRequest::from_der(&der)
        {
            let mut read = Requested::default();
            let _ = read.read_subject(&request).and_then(|()| read.read_names(&request));
        }
    });
}

#[test]
fn any_bytes_are_a_request_a_certificate_or_neither() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let _ = Requested::read(bytes);
        let _ = crate::pki::is_certificate(bytes);
    });
}
