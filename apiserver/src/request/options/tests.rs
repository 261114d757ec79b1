//! Options are read, and what upstream forbids is refused by its name.

use std::time::Duration;

use serde_json::json;

use super::{DeleteOptions, FieldValidation, ListOptions, Match, Propagation, WriteOptions};
use crate::request::Query;
use crate::status::ApiError;

fn query(text: &str) -> Query {
    Query::parse(text).unwrap()
}

fn message(error: &ApiError) -> String {
    error.to_object()["message"].as_str().unwrap().to_owned()
}

#[test]
fn list_options_are_read() {
    let text = "labelSelector=a%3Db&limit=5&resourceVersion=7&resourceVersionMatch=Exact&timeoutSeconds=3&allowWatchBookmarks=true";
    let options = ListOptions::parse(&query(text), false).unwrap();
    assert_eq!(
        (options.limit, options.resource_version, options.version_match),
        (5, Some(7), Some(Match::Exact))
    );
    assert_eq!((options.timeout, options.bookmarks), (Some(Duration::from_secs(3)), true));
    assert_eq!(ListOptions::parse(&query("resourceVersion="), false).unwrap().resource_version, None);
}

#[test]
fn what_cannot_be_combined_is_refused() {
    for (text, watch, word) in [
        ("limit=-1", false, "limit"),
        ("limit=x", false, "strconv.ParseInt"),
        ("resourceVersion=abc", false, "resourceVersion: Invalid value"),
        ("resourceVersionMatch=Exact", false, "forbidden unless resourceVersion is provided"),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            false,
            "\"Exact\" is forbidden for resourceVersion \"0\"",
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=1&continue=x",
            false,
            "forbidden when continue is provided",
        ),
        ("resourceVersionMatch=Newest&resourceVersion=1", false, "Unsupported value: \"Newest\""),
        ("resourceVersionMatch=Exact&resourceVersion=1", true, "forbidden for watch"),
        ("sendInitialEvents=true", false, "sendInitialEvents is forbidden for list"),
        ("sendInitialEvents=true", true, "requires setting resourceVersionMatch to NotOlderThan"),
        ("labelSelector=a%3D%3D%3Db", false, "unable to parse requirement"),
    ] {
        let refused = ListOptions::parse(&query(text), watch).unwrap_err();
        assert!(message(&refused).contains(word), "{text}: {}", message(&refused));
    }
}

#[test]
fn write_options_warn_about_unknown_fields_unless_told_otherwise() {
    let parse = |text: &str| WriteOptions::parse(&query(text), "CreateOptions");
    let options = parse("").unwrap();
    assert_eq!((options.dry_run, options.field_validation), (false, FieldValidation::Warn));
    let options = parse("dryRun=All&fieldValidation=Strict").unwrap();
    assert_eq!((options.dry_run, options.field_validation), (true, FieldValidation::Strict));
    assert!(message(&parse("dryRun=Some").unwrap_err()).contains("dryRun: Unsupported value: \"Some\""));
    assert!(parse(&format!("fieldManager={}", "x".repeat(129))).is_err());
}

#[test]
fn delete_options_come_from_query_or_body() {
    let of_query = DeleteOptions::of_query(&query("gracePeriodSeconds=5")).unwrap();
    assert_eq!(of_query.grace_seconds, Some(5));
    let of_body = DeleteOptions::of_body(&json!({
        "gracePeriodSeconds": -1, "preconditions": { "uid": "u" }, "dryRun": ["All"], "propagationPolicy": "Background",
    }));
    let expected = DeleteOptions {
        grace_seconds: Some(1),
        uid: Some("u".into()),
        resource_version: None,
        dry_run: true,
        propagation: Some(Propagation::Background),
    };
    assert_eq!(of_body.unwrap(), expected);
    let of_query = |text: &str| DeleteOptions::of_query(&query(text)).unwrap().propagation;
    assert_eq!(of_query(""), None);
    assert_eq!(of_query("propagationPolicy=Foreground"), Some(Propagation::Foreground));
    assert_eq!(of_query("orphanDependents=true"), Some(Propagation::Orphan));
    assert_eq!(of_query("orphanDependents=false"), Some(Propagation::Background));
    assert!(DeleteOptions::of_body(&json!({ "propagationPolicy": "Elsewhere" })).is_err());
    assert!(
        DeleteOptions::of_body(&json!({ "propagationPolicy": "Orphan", "orphanDependents": true })).is_err()
    );
}

#[test]
fn no_query_makes_the_options_panic() {
    const NAMES: [&str; 12] = [
        "limit",
        "continue",
        "resourceVersion",
        "resourceVersionMatch",
        "labelSelector",
        "fieldSelector",
        "watch",
        "timeoutSeconds",
        "sendInitialEvents",
        "gracePeriodSeconds",
        "propagationPolicy",
        "fieldValidation",
    ];
    bolero::check!().with_type::<Vec<(u8, String)>>().for_each(|pairs: &Vec<(u8, String)>| {
        let mut text = form_urlencoded::Serializer::new(String::new());
        for (name, value) in pairs {
            text.append_pair(NAMES[usize::from(*name) % NAMES.len()], value);
        }
        let Ok(query) = Query::parse(&text.finish()) else { return };
        let _ = ListOptions::parse(&query, true);
        let _ = ListOptions::parse(&query, false);
        let _ = WriteOptions::parse(&query, "CreateOptions");
        let _ = DeleteOptions::of_query(&query);
    });
}

#[test]
fn any_text_is_a_query_or_refused() {
    bolero::check!().with_type::<String>().for_each(|text: &String| {
        let _ = Query::parse(text);
    });
}
