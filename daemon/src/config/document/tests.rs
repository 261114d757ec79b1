use serde_json::json;

use super::*;

fn file(text: &str) -> Result<Document, ParseError> {
    parse(text, Path::new("/etc/k.yaml"))
}

#[test]
fn every_field_and_list_element_knows_its_line() {
    let document = file(
        "kind: A\nauthentication:\n  x509:\n    clientCAFile: /ca\nclusterDNS:\n- 10.0.0.1\n- 10.0.0.2\n",
    )
    .unwrap();
    assert_eq!(
        document.value,
        json!({"kind": "A", "authentication": {"x509": {"clientCAFile": "/ca"}}, "clusterDNS": ["10.0.0.1", "10.0.0.2"]})
    );
    let line = |field: &str| document.origins.of(field).map(ToString::to_string);
    assert_eq!(line("authentication.x509.clientCAFile").as_deref(), Some("/etc/k.yaml:4"));
    assert_eq!(line("authentication").as_deref(), Some("/etc/k.yaml:2"));
    assert_eq!(line("clusterDNS[1]").as_deref(), Some("/etc/k.yaml:7"));
    assert_eq!(
        line("clusterDNS[9].x").as_deref(),
        Some("/etc/k.yaml:5"),
        "an unknown child is looked up at its parent"
    );
    assert_eq!(line("port"), None);
}

#[test]
fn json_is_accepted_as_well() {
    assert_eq!(
        file("{\"port\": 1,\n \"a\": {\"b\": [true, null, 1.5]}}").unwrap().value,
        json!({"port": 1, "a": {"b": [true, null, 1.5]}})
    );
}

#[test]
fn a_mode_with_a_leading_zero_is_octal() {
    let value = file("a: 0644\nb: 0o644\nc: \"0644\"\nd: 420\ne: 0\nf: 0.5\n").unwrap().value;
    assert_eq!(value, json!({"a": 420, "b": 420, "c": "0644", "d": 420, "e": 0, "f": 0.5}));
}

#[test]
fn a_key_given_twice_is_refused_with_its_line() {
    let message = file("port: 1\naddress: x\nport: 2\n").unwrap_err().to_string();
    assert!(message.starts_with("/etc/k.yaml:3: "), "{message}");
    assert!(message.contains("port"), "{message}");
}

#[test]
fn text_that_is_no_yaml_is_refused_with_its_line() {
    let message = file("port: 1\naddress: [\n").unwrap_err().to_string();
    assert!(message.starts_with("/etc/k.yaml:"), "{message}");
}

#[test]
fn a_second_document_is_refused() {
    assert!(file("port: 1\n---\nport: 2\n").is_err());
}

#[test]
fn an_overlay_forgets_the_elements_of_a_replaced_list() {
    let mut origins = file("list: [a, b]\n").unwrap().origins;
    origins.overlay(parse("\n\nlist: [c]\n", Path::new("/d.conf")).unwrap().origins);
    assert_eq!(origins.of("list[0]").map(ToString::to_string).as_deref(), Some("/d.conf:3"));
    assert_eq!(origins.of("list[1]").map(ToString::to_string).as_deref(), Some("/d.conf:3"));
}
