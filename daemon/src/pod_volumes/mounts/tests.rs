use serde_json::{Value, json};

use super::*;

fn mount(more: Value) -> VolumeMount {
    let mut mount = json!({"name": "v", "mountPath": "/v"});
    mount.as_object_mut().expect("an object").extend(more.as_object().expect("fields").clone());
    serde_json::from_value(mount).expect("a mount")
}

#[test]
fn row_16_4_an_expression_needs_every_variable_and_none_that_is_empty() {
    let variables: Variables =
        [("A", "a"), ("B", "b/c"), ("EMPTY", "")].map(|(k, v)| (k.to_owned(), v.into())).into();
    let of = |text: &str| sub_path(&mount(json!({"subPathExpr": text})), &variables);
    assert_eq!(of("$(A)/$(B)"), Ok(Some("a/b/c".to_owned())));
    assert_eq!(of("$$(NONE)-$(A)"), Ok(Some("$(NONE)-a".to_owned())));
    assert_eq!(of("$(NONE)/$(A)/$(EMPTY)"), Err("missing value for NONE, EMPTY".to_owned()));
    assert_eq!(of("plain$"), Ok(Some("plain$".to_owned())));
    assert_eq!(sub_path(&mount(json!({})), &variables), Ok(None));
    assert_eq!(sub_path(&mount(json!({"subPath": "x"})), &variables), Ok(Some("x".to_owned())));
}

#[test]
fn row_20_20_recursive_read_only_is_had_or_refused() {
    let of = |mode: &str, propagation: &str, read_only: bool, can: bool| {
        recursive_read_only(
            &mount(json!({"recursiveReadOnly": mode, "mountPropagation": propagation})),
            read_only,
            can,
        )
    };
    for (mode, propagation, read_only, can, result) in [
        ("Disabled", "None", true, true, Ok(false)),
        ("IfPossible", "None", true, true, Ok(true)),
        ("IfPossible", "None", true, false, Ok(false)),
        ("IfPossible", "HostToContainer", true, true, Ok(false)),
        ("Enabled", "None", true, true, Ok(true)),
        ("Enabled", "None", true, false, Err("not supported by the runtime")),
        ("Enabled", "None", false, true, Err("not read-only")),
        ("Enabled", "Bidirectional", true, true, Err("not compatible with propagation \"Bidirectional\"")),
    ] {
        let expected =
            result.map_err(|why| format!("volume \"v\" requested recursive read-only mode, but it is {why}"));
        assert_eq!(of(mode, propagation, read_only, can), expected, "{mode} {propagation} {read_only} {can}");
    }
}
