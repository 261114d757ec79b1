//! Nothing about the connection and nobody's credentials are passed on.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::{of_answer, of_request};

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        headers.append(name, value);
    }
    headers
}

#[test]
fn a_request_loses_its_credentials_and_what_is_about_the_connection() {
    let sent = headers(&[
        ("Authorization", "Bearer t"),
        ("Impersonate-User", "bob"),
        ("Impersonate-Extra-a", "b"),
        ("Connection", "keep-alive, X-Secret"),
        ("Connection", "Upgrade"),
        ("X-Secret", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic x"),
        ("Proxy-Connection", "close"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "5"),
        ("Expect", "100-continue"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io.dA, v5.channel.k8s.io"),
        ("Sec-WebSocket-Protocol", "v4.channel.k8s.io"),
        ("Cookie", "a=b"),
        ("X-Forwarded-For", "10.0.0.1"),
    ]);
    let passed = of_request(&sent, Some("10.0.0.2".parse().unwrap()));
    let expected = headers(&[
        ("Sec-WebSocket-Protocol", "v5.channel.k8s.io, v4.channel.k8s.io"),
        ("Cookie", "a=b"),
        ("X-Forwarded-For", "10.0.0.1, 10.0.0.2"),
    ]);
    assert_eq!(passed, expected);
    let only = headers(&[("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io.dA")]);
    assert!(of_request(&only, None).is_empty());
}

#[test]
fn an_answer_keeps_its_length_and_loses_what_it_allows_to_other_origins() {
    let sent = headers(&[
        ("Content-Length", "5"),
        ("Connection", "close"),
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Headers", "a"),
        ("Set-Cookie", "a=b"),
        ("Set-Cookie", "c=d"),
    ]);
    let expected = headers(&[("Content-Length", "5"), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")]);
    assert_eq!(of_answer(&sent), expected);
}
