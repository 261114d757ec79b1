//! What the headers ask for.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{service_account, wanted};

fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
    all.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

#[test]
fn the_headers_name_a_whole_user() {
    assert_eq!(wanted(&headers(&[("accept", "x")])).unwrap(), None);
    let asked = wanted(&headers(&[
        ("impersonate-user", "bob"),
        ("impersonate-group", "dev"),
        ("impersonate-group", "ops"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-example.com%2fscope", "a"),
    ]));
    let user = asked.unwrap().unwrap();
    assert_eq!(
        (user.name.as_str(), user.uid.as_str(), user.groups.as_slice()),
        ("bob", "7", &["dev".to_owned(), "ops".to_owned()][..])
    );
    assert_eq!(user.extra["example.com/scope"], ["a"]);
    let nobody = wanted(&headers(&[("impersonate-group", "system:masters")])).unwrap_err();
    assert!(nobody.message.contains("without impersonating a user"), "{nobody}");
}

#[test]
fn a_service_account_is_one_by_its_whole_name() {
    assert_eq!(service_account("system:serviceaccount:a:s"), Some(("a", "s")));
    assert_eq!(service_account("system:serviceaccount:a:"), None);
    assert_eq!(service_account("bob"), None);
}
