//! Selectors mean what upstream's grammar says, and nothing makes the parsers panic.

use serde_json::{Value, json};

use super::{FieldSelector, LabelSelector};

fn labelled(labels: Value) -> Value {
    json!({ "metadata": { "labels": labels } })
}

#[test]
fn every_form_of_requirement_selects_by_label() {
    let object = labelled(json!({ "app": "web", "tier": "front", "weight": "7", "empty": "" }));
    let cases = [
        ("", true),
        ("app=web", true),
        ("app==web", true),
        ("app = web , tier = front", true),
        ("app=db", false),
        ("app!=db", true),
        ("app!=web", false),
        ("other!=web", true),
        ("app", true),
        ("!app", false),
        ("other", false),
        ("!other", true),
        ("app in (web, db)", true),
        ("app in (db)", false),
        ("app notin (db)", true),
        ("other notin (db)", true),
        ("other in (db)", false),
        ("empty=", true),
        ("empty in (,x)", true),
        ("app in (,)", false),
        ("weight>6", true),
        ("weight > 7", false),
        ("weight<8", true),
        ("app>1", false),
        ("in in (in)", false),
        ("app in (web),tier notin (back),!x", true),
    ];
    for (text, expected) in cases {
        let selector = LabelSelector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(selector.matches(&object), expected, "{text}");
    }
}

#[test]
fn an_object_without_labels_matches_only_what_asks_for_none() {
    let bare = json!({ "metadata": {} });
    for (text, expected) in [("a", false), ("!a", true), ("a!=b", true), ("a notin (b)", true), ("a=", false)]
    {
        assert_eq!(LabelSelector::parse(text).unwrap().matches(&bare), expected, "{text}");
    }
}

#[test]
fn wrong_label_selectors_are_refused_in_upstreams_words() {
    let cases = [
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("a in b", "unable to parse requirement: found 'b', expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("!!a", "unable to parse requirement: found '!', expected: identifier"),
        (
            "a in ()",
            "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty",
        ),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ];
    for (text, message) in cases {
        assert_eq!(LabelSelector::parse(text).unwrap_err().to_string(), message, "{text}");
    }
    let key = LabelSelector::parse("-a=b").unwrap_err().to_string();
    assert!(
        key.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist"),
        "{key}"
    );
    let value = LabelSelector::parse("a=-b").unwrap_err().to_string();
    assert!(value.contains("values[0][a]: Invalid value: \"-b\": a valid label must be"), "{value}");
}

fn pod_field(field: &str) -> Option<std::borrow::Cow<'static, str>> {
    match field {
        "metadata.name" => Some("web-0".into()),
        "spec.nodeName" => Some("".into()),
        "status.phase" => Some("a,b=c\\".into()),
        _ => None,
    }
}

#[test]
fn field_selectors_compare_and_unescape() {
    let cases = [
        ("", true),
        ("metadata.name=web-0", true),
        ("metadata.name==web-0", true),
        ("metadata.name!=web-0", false),
        ("spec.nodeName=", true),
        ("spec.nodeName!=,metadata.name=web-0", false),
        (r"status.phase=a\,b\=c\\", true),
        (",,", true),
    ];
    for (text, expected) in cases {
        let selector = FieldSelector::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(selector.matches(pod_field), expected, "{text}");
    }
}

#[test]
fn wrong_field_selectors_are_refused() {
    let cases = [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
        ("a=b=c", "invalid field selector: unescaped character in value: ="),
        (r"a=b\", r"invalid field selector: invalid escape sequence: \"),
    ];
    for (text, message) in cases {
        assert_eq!(FieldSelector::parse(text).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn no_text_makes_the_parsers_panic() {
    let object = labelled(json!({ "a": "b" }));
    bolero::check!().with_type::<String>().for_each(|text| {
        if let Ok(selector) = LabelSelector::parse(text) {
            selector.matches(&object);
        }
        if let Ok(selector) = FieldSelector::parse(text) {
            selector.matches(pod_field);
        }
    });
}

#[test]
fn no_arrangement_of_tokens_makes_the_parser_panic() {
    const WORDS: &[&str] = &["a", "in", "notin", "(", ")", ",", "!", "=", "!=", "==", ">", "<", " ", "1"];
    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let text: String = choices.iter().map(|c| WORDS[usize::from(*c) % WORDS.len()]).collect();
        if let Ok(selector) = LabelSelector::parse(&text) {
            selector.matches(&labelled(json!({ "a": "1" })));
        }
    });
}
