//! Options, verbs and methods.

use http::Method;

use super::{Streams, allows, ports, stream_options, verb};
use crate::request::Query;

#[test]
fn a_kubelet_reads_the_options_under_its_own_names() {
    let query = Query::parse(
        "command=sh&command=-c&command=a+b%26c&stdin=true&stdout=1&stderr=false&tty=0&container=c",
    );
    let query = query.unwrap();
    assert_eq!(stream_options(&query, true), "input=1&output=1&command=sh&command=-c&command=a+b%26c");
    assert_eq!(stream_options(&query, false), "input=1&output=1");
}

#[test]
fn ports_are_numbers_and_not_too_many() {
    let of = |query: &str| ports(&Query::parse(query).unwrap());
    assert_eq!(of(""), Ok(String::new()));
    assert_eq!(of("ports=80&ports=443"), Ok("port=80%2C443".to_owned()));
    assert_eq!(of("ports=x").unwrap_err().code, 400);
    assert_eq!(of(&"ports=1&".repeat(200)).unwrap_err().code, 400);
}

#[test]
fn every_method_has_the_verb_that_rules_name() {
    for (method, named, stream, proxy) in [
        (Method::GET, "get", true, true),
        (Method::HEAD, "get", false, true),
        (Method::POST, "create", true, true),
        (Method::PUT, "update", false, true),
        (Method::PATCH, "patch", false, true),
        (Method::DELETE, "delete", false, true),
        (Method::OPTIONS, "", false, true),
        (Method::TRACE, "", false, false),
        (Method::CONNECT, "", false, false),
    ] {
        assert_eq!(
            (verb(&method), allows("exec", &method), allows("proxy", &method)),
            (named, stream, proxy),
            "{method}"
        );
    }
}

#[test]
fn one_stream_too_many_is_told_to_come_again() {
    let streams = Streams::limited(1);
    let first = streams.permit().unwrap();
    let refused = streams.permit().unwrap_err();
    assert_eq!((refused.code, refused.reason, refused.retry_after()), (429, "TooManyRequests", Some(1)));
    drop(first);
    assert!(streams.permit().is_ok());
}
