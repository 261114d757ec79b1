//! Signatures are those that kubeadm makes, and no others verify.

use super::{sign, verify};

#[test]
fn a_signature_is_the_same_for_the_same_and_verifies() {
    let signed = sign("abcdef", "0123456789abcdef", "content");
    // {"alg":"HS256","kid":"abcdef"}, as kubeadm writes it: it compares the whole text.
    assert!(signed.starts_with("eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9.."), "{signed}");
    assert_eq!(signed, sign("abcdef", "0123456789abcdef", "content"));
    assert!(verify("abcdef", "0123456789abcdef", "content", &signed));
    for (id, secret, content) in [
        ("abcdeg", "0123456789abcdef", "content"),
        ("abcdef", "0123456789abcdeg", "content"),
        ("abcdef", "0123456789abcdef", "content2"),
    ] {
        assert!(!verify(id, secret, content, &signed), "{id} {secret} {content}");
    }
}

/// Against one that another implementation of HMAC made.
#[test]
fn a_signature_is_hmac_sha_256() {
    let signed = sign("joshua", "f518aa8828e3fa27", "{\"a\":1}");
    assert_eq!(signed, KNOWN);
}

const KNOWN: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9.._BUrVfH8yvd6A4LmQNVnAfSQRx-QCPUwficLf45XtVE";

#[test]
fn no_signature_makes_it_panic() {
    bolero::check!().with_type::<(String, String, String)>().for_each(|(id, content, given)| {
        assert!(
            !verify(id, "0123456789abcdef", content, given)
                || *given == sign(id, "0123456789abcdef", content)
        );
        assert!(verify(id, content, given, &sign(id, content, given)));
    });
}
