//! A token is what the key has signed, to the letter.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::SigningKey;

pub(crate) fn key() -> SigningKey {
    SigningKey::from_pem(&rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap()
}

#[test]
fn what_was_signed_is_read_and_what_was_changed_is_not() {
    let (key, other) = (key(), key());
    let claims = json!({ "sub": "somebody" });
    let token = key.sign(&claims).unwrap();
    assert_eq!(key.verify(&token), Some(claims));
    assert_eq!(other.verify(&token), None);
    let parts: Vec<&str> = token.split('.').collect();
    let encoded = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let forged = encoded(json!({ "sub": "root" }));
    assert_eq!(key.verify(&format!("{}.{forged}.{}", parts[0], parts[2])), None);
    // A header that asks for no check, or for another one, gets none.
    for algorithm in ["none", "HS256", "RS256"] {
        let header = encoded(json!({ "alg": algorithm }));
        assert_eq!(key.verify(&format!("{header}.{}.{}", parts[1], parts[2])), None, "{algorithm}");
        assert_eq!(key.verify(&format!("{header}.{}.", parts[1])), None, "{algorithm}");
    }
    assert_eq!(key.verify(&format!("{token}{}", "A".repeat(20_000))), None);
}

#[test]
fn the_public_key_has_the_id_that_tokens_name() {
    let key = key();
    let token = key.sign(&json!({})).unwrap();
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let public = key.public();
    assert_eq!(header["kid"], public["kid"]);
    assert_eq!((&public["kty"], &public["alg"]), (&json!("EC"), &json!("ES256")));
    for coordinate in ["x", "y"] {
        assert_eq!(URL_SAFE_NO_PAD.decode(public[coordinate].as_str().unwrap()).unwrap().len(), 32);
    }
}

#[test]
fn a_key_of_another_kind_is_refused() {
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    for pem in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &other.serialize_pem()]
    {
        assert!(SigningKey::from_pem(pem).is_err(), "{pem}");
    }
}

#[test]
fn no_text_makes_the_reader_panic() {
    let key = key();
    bolero::check!().with_type::<String>().for_each(|text: &String| {
        assert_eq!(key.verify(text), None);
        assert_eq!(key.verify(&format!("eyJhbGciOiJFUzI1NiJ9.{text}.{text}")), None);
    });
}
