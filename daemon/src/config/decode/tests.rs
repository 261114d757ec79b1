use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Inner {
    names: Vec<String>,
    port: Option<i32>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Outer {
    inner: Inner,
    map: BTreeMap<String, bool>,
    port: i32,
}

fn error(value: Value) -> String {
    decode::<Outer>(&value).unwrap_err().to_string()
}

#[test]
fn a_wrong_type_names_its_field() {
    let message = error(json!({"inner": {"names": ["a", 5]}}));
    assert!(message.starts_with("inner.names[1]: "), "{message}");
    assert!(message.contains("expected a string"), "{message}");
    assert!(error(json!({"map": {"x": "yes"}})).starts_with("map.x: "));
    assert!(error(json!({"port": {}})).starts_with("port: "));
}

#[test]
fn an_unknown_field_names_its_path() {
    let message = error(json!({"inner": {"nmaes": []}}));
    assert!(message.starts_with("inner.nmaes: unknown field"), "{message}");
}

#[test]
fn a_number_out_of_range_is_refused() {
    assert!(error(json!({"port": 5_000_000_000_i64})).starts_with("port: "));
    assert!(error(json!({"port": 1.5})).starts_with("port: "));
}

#[test]
fn null_counts_as_absent() {
    assert_eq!(
        decode::<Outer>(&json!({"port": null, "inner": {"port": null, "names": null}})).unwrap(),
        Outer::default()
    );
}
