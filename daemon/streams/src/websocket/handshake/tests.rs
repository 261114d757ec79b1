use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), value.parse().unwrap())
    };
    pairs.iter().map(pair).collect()
}

#[test]
fn the_example_of_the_rfc_is_answered_with_its_key() {
    let headers = headers(&[
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "chat, superchat"),
    ]);
    let accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned();
    let protocols = vec!["chat".to_owned(), "superchat".to_owned()];
    assert_eq!(offer(&headers), Some(Ok(Offer { accept, protocols })));
}

#[test]
fn what_asks_for_no_websocket_is_none_and_a_wrong_one_is_refused() {
    assert_eq!(offer(&headers(&[])), None);
    assert_eq!(offer(&headers(&[("upgrade", "websocket")])), None, "the connection is not to be upgraded");
    let asked = [("upgrade", "websocket"), ("connection", "upgrade")];
    assert_eq!(offer(&headers(&asked)), Some(Err(HandshakeError::Version)));
    let no_key = [&asked[..], &[("sec-websocket-version", "13")]].concat();
    assert_eq!(offer(&headers(&no_key)), Some(Err(HandshakeError::Key)));
    let short = [&no_key[..], &[("sec-websocket-key", "YWJj")]].concat();
    assert_eq!(offer(&headers(&short)), Some(Err(HandshakeError::Key)));
}

#[test]
fn a_key_of_ones_own_is_one() {
    let (one, other) = (request_key(), request_key());
    assert_eq!(STANDARD.decode(&one).unwrap().len(), 16);
    assert_ne!(one, other);
}
