use rustls::pki_types::pem::PemObject as _;

use super::*;

/// Made with openssl: `req -x509 -newkey ec`, and its hash by
/// `x509 -pubkey -noout | pkey -pubin -outform der | dgst -sha256`.
const CERTIFICATE: &str = include_str!("openssl.crt");
const HASH: &str = include_str!("openssl.hash");

#[test]
fn the_hash_is_the_one_that_openssl_gives() {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let pin = Pin::of(&certificate).unwrap();
    assert_eq!(pin.to_string(), HASH.trim());
    assert_eq!(HASH.trim().parse(), Ok(pin));
    assert_eq!(HASH.trim().to_uppercase().replace("SHA256", "sha256").parse(), Ok(pin));
}

#[test]
fn what_is_no_hash_is_refused() {
    let digits = "0".repeat(64);
    for text in
        ["", "sha256:", "sha256:00", &digits, &format!("sha512:{digits}"), &format!("sha256:{digits}0")]
    {
        assert_eq!(text.parse::<Pin>(), Err(PinError), "{text:?}");
    }
    assert_eq!(format!("sha256:{}g", &digits[1..]).parse::<Pin>(), Err(PinError));
    assert_eq!(format!("sha256:{}é", &digits[2..]).parse::<Pin>(), Err(PinError));
}

#[test]
fn any_bytes_are_a_certificate_with_a_hash_or_none() {
    let real = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    bolero::check!().with_type::<(Vec<(u16, u8)>, String)>().for_each(|(changes, text)| {
        let mut bytes = real.to_vec();
        for (at, byte) in changes {
            let at = usize::from(*at) % bytes.len();
            bytes[at] = *byte;
        }
        if let Ok(pin) = Pin::of(&CertificateDer::from(bytes)) {
            assert_eq!(pin.to_string().parse(), Ok(pin));
        }
        let _ = text.parse::<Pin>();
    });
}
