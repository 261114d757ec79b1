//! Callers are who their certificate or token says, and nobody else.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;

use super::{ANONYMOUS, Tokens, User, authenticate};
use crate::pki::Subject;

const FILE: &str = "t1,alice,1,\"dev,ops\"\nt2,\"Bob \"\"B\"\"\",2\n\n";

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn headers(value: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(value) = value {
        headers.insert(AUTHORIZATION, value.parse().unwrap());
    }
    headers
}

fn caller(certificate: Option<&Subject>, header: Option<&str>) -> Option<User> {
    let tokens = Tokens::parse(FILE).unwrap();
    authenticate(certificate, &headers(header), now(), |token| tokens.user(token).cloned()).ok()
}

#[test]
fn a_certificate_names_user_and_groups_and_comes_before_a_token() {
    let subject = Subject::new("system:node:n", &["system:nodes"]);
    let user = caller(Some(&subject), Some("Bearer t1")).unwrap();
    assert_eq!(
        (user.name.as_str(), user.in_group("system:nodes"), user.in_group("system:authenticated")),
        ("system:node:n", true, true)
    );
    assert_eq!(
        caller(Some(&Subject::new("", &["system:masters"])), None),
        None,
        "a certificate without a name"
    );
}

#[test]
fn a_certificate_that_expires_while_the_connection_lasts_is_none_any_more() {
    let subject = |seconds: i64| {
        let expires = Timestamp::from_second(now().as_second() + seconds).ok();
        Subject { expires, ..Subject::new("system:node:n", &["system:nodes"]) }
    };
    assert!(caller(Some(&subject(0)), None).is_some());
    assert_eq!(caller(Some(&subject(-1)), Some("Bearer t1")), None);
}

#[test]
fn what_was_shown_is_known_and_nobody_is_authenticated_twice() {
    let subject = Subject { fingerprint: "ab12".to_owned(), ..Subject::new("u", &["system:authenticated"]) };
    let user = caller(Some(&subject), None).unwrap();
    assert_eq!(user.groups, ["system:authenticated"]);
    let shown = user.to_object();
    assert_eq!(shown["extra"]["authentication.kubernetes.io/credential-id"][0], "X509SHA256=ab12");
    assert_eq!((&shown["username"], shown.get("uid")), (&"u".into(), None));
}

#[test]
fn a_token_names_its_user_and_a_wrong_one_is_refused() {
    let alice = caller(None, Some("bearer t1")).unwrap();
    assert_eq!((alice.name.as_str(), alice.uid.as_str()), ("alice", "1"));
    assert!(alice.in_group("dev") && alice.in_group("ops"));
    assert_eq!(caller(None, Some("Bearer t2")).unwrap().name, "Bob \"B\"");
    for wrong in ["Bearer t3", "Bearer ", "Basic dDE6", "t1"] {
        assert_eq!(caller(None, Some(wrong)), None, "{wrong}");
    }
    assert_eq!(caller(None, None).unwrap().name, ANONYMOUS);
}

#[test]
fn a_browser_may_send_its_token_as_a_protocol_beside_another() {
    let caller = |fields: &[&str]| {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append("Sec-WebSocket-Protocol", field.parse().unwrap());
        }
        let tokens = Tokens::parse(FILE).unwrap();
        authenticate(None, &headers, now(), |token| tokens.user(token).cloned()).ok().map(|u| u.name)
    };
    // "t1"
    const TOKEN: &str = "base64url.bearer.authorization.k8s.io.dDE";
    let both = format!("{TOKEN}, v5.channel.k8s.io");
    assert_eq!(caller(&[&both]).as_deref(), Some("alice"));
    assert_eq!(caller(&["v4.channel.k8s.io", TOKEN]).as_deref(), Some("alice"));
    assert_eq!(caller(&["v4.channel.k8s.io"]).as_deref(), Some(ANONYMOUS));
    for wrong in [
        &[TOKEN][..],
        &[&both, TOKEN],
        &["a, base64url.bearer.authorization.k8s.io.d+E="],
        &["a", "base64url.bearer.authorization.k8s.io.dDM"],
    ] {
        assert_eq!(caller(wrong), None, "{wrong:?}");
    }
}

#[test]
fn a_wrong_token_file_is_refused_with_its_line() {
    for (text, line) in [("a,b,c\nd,e", 2), ("a,\"b,c", 1), (",b,c", 1), ("a,b,c\na,d,e", 2)] {
        assert_eq!(Tokens::parse(text).unwrap_err().0, line, "{text:?}");
    }
}
