use super::*;

/// As whoever knows the token signs, with any header.
pub(in crate::membership) fn sign(token: &Token, header: &str, content: &str) -> String {
    let head = URL_SAFE_NO_PAD.encode(header);
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret());
    let signature = hmac::sign(&key, format!("{head}.{}", URL_SAFE_NO_PAD.encode(content)).as_bytes());
    format!("{head}..{}", URL_SAFE_NO_PAD.encode(signature))
}

fn token() -> Token {
    "abcdef.0123456789abcdef".parse().unwrap()
}

const HEADER: &str = r#"{"alg":"HS256","kid":"abcdef"}"#;

#[test]
fn a_signature_counts_for_its_token_and_its_content_only() {
    let given = sign(&token(), HEADER, "content");
    assert!(verifies(&token(), "content", &given));
    assert!(!verifies(&token(), "Content", &given));
    let other: Token = "abcdef.0123456789abcdee".parse().unwrap();
    assert!(!verifies(&other, "content", &given));
    assert!(verifies(&other, "content", &sign(&other, HEADER, "content")));
}

#[test]
fn a_signature_made_otherwise_does_not_count() {
    for header in [
        r#"{"alg":"none","kid":"abcdef"}"#,
        r#"{"alg":"HS512","kid":"abcdef"}"#,
        r#"{"alg":"HS256","kid":"other1"}"#,
        r#"{"alg":"HS256"}"#,
        "[]",
    ] {
        assert!(!verifies(&token(), "content", &sign(&token(), header, "content")), "{header}");
    }
    let whole =
        sign(&token(), HEADER, "content").replace("..", &format!(".{}.", URL_SAFE_NO_PAD.encode("content")));
    assert!(!verifies(&token(), "content", &whole), "the content stands elsewhere");
}

/// The example of RFC 7515, A.1, has another content and key; what is the same in all libraries is the construction. This one was made
/// with Python's hmac and base64.
#[test]
fn a_signature_of_another_program_is_understood() {
    let given = include_str!("python.jws").trim();
    assert!(verifies(&token(), "apiVersion: v1\nkind: Config\n", given));
}

#[test]
fn any_bytes_are_a_signature_that_does_not_count() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        assert!(!verifies(&token(), "content", &text));
        let _ = verifies(&token(), &text, &sign(&token(), &text, &text));
    });
}
