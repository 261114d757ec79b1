use proptest::prelude::*;

use super::*;

#[test]
fn a_token_says_where_a_list_goes_on() {
    let token = Continue { revision: Some(7), after: "default/a".to_owned() };
    assert_eq!(Continue::parse(&token.encode()), Ok(token.clone()));
    let json = URL_SAFE_NO_PAD.decode(token.encode()).unwrap();
    assert_eq!(String::from_utf8(json).unwrap(), r#"{"v":"meta.k8s.io/v1","rv":7,"start":"default/a"}"#);
    let fresh = Continue { revision: None, after: "default/a".to_owned() };
    assert_eq!(Continue::parse(&fresh.encode()), Ok(fresh));
}

#[test]
fn a_token_that_was_not_made_here_is_refused() {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    for (token, reason) in [
        ("!", "it is not base64"),
        (&*encode("{}"), "it has an unknown form"),
        (&*encode(r#"{"v":"v2","rv":1,"start":"a"}"#), "server does not recognize this encoded version"),
        (&*encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":""}"#), "it has no start key"),
        (&*encode(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#), "incorrect resource version"),
        (&*encode(r#"{"v":"meta.k8s.io/v1","rv":-2,"start":"a"}"#), "incorrect resource version"),
        (&*"a".repeat(10_000), "it is too long"),
    ] {
        assert_eq!(Continue::parse(token), Err(ContinueError(reason)));
    }
}

proptest! {
    #[test]
    fn no_token_makes_parsing_panic(token in ".{0,200}") {
        let _ = Continue::parse(&token);
    }
}
