use super::*;

#[test]
fn a_token_has_two_parts_and_shows_only_the_first() {
    let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
    assert_eq!((token.id.as_str(), token.secret()), ("abcdef", &b"0123456789abcdef"[..]));
    assert_eq!(token.whole(), "abcdef.0123456789abcdef");
    assert!(!format!("{token:?}").contains("0123"));
}

#[test]
fn what_is_no_token_is_refused_without_being_shown() {
    for text in [
        "",
        "abcdef",
        "abcdef.",
        "abcdef.0123456789abcde",
        "abcdef.0123456789abcdef0",
        "abcde.0123456789abcdef",
        "ABCDEF.0123456789abcdef",
        "abcdef.0123456789abcde\n",
        "abcdef:0123456789abcdef",
        "äbcde.0123456789abcdef",
    ] {
        let error = text.parse::<Token>().unwrap_err().to_string();
        assert!(error.starts_with("a token has the form"), "{text:?}");
    }
}
