//! Patches do what the same patches do upstream.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{COPIED_LIMIT, PatchError, PatchType, apply};
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;

fn strategic(current: Value, patch: Value) -> Result<Value, PatchError> {
    apply(&PODS, PatchType::Strategic, &patch, &current)
}

/// A patch of `spec`.
#[track_caller]
fn spec(current: Value, patch: Value, expected: Value) {
    let result = strategic(json!({ "spec": current }), json!({ "spec": patch })).unwrap();
    assert_eq!(result["spec"], expected);
}

#[test]
fn containers_merge_by_name_and_new_ones_are_added() {
    spec(
        json!({ "containers": [{ "name": "a", "image": "a:1", "tty": true }, { "name": "b", "image": "b:1" }] }),
        json!({ "containers": [{ "name": "b", "image": "b:2" }, { "name": "c", "image": "c:1" }, { "name": "a", "tty": null }] }),
        json!({ "containers": [{ "name": "b", "image": "b:2" }, { "name": "c", "image": "c:1" }, { "name": "a", "image": "a:1" }] }),
    );
}

#[test]
fn what_the_patch_does_not_name_keeps_its_place() {
    spec(
        json!({ "containers": [{ "name": "a" }, { "name": "b" }, { "name": "c" }] }),
        json!({ "containers": [{ "name": "c", "image": "x" }, { "name": "a", "image": "y" }] }),
        json!({ "containers": [{ "name": "b" }, { "name": "c", "image": "x" }, { "name": "a", "image": "y" }] }),
    );
}

#[test]
fn an_item_is_deleted_by_its_key() {
    spec(
        json!({ "containers": [{ "name": "a" }, { "name": "b" }] }),
        json!({ "containers": [{ "name": "a", "$patch": "delete" }, { "name": "gone", "$patch": "delete" }] }),
        json!({ "containers": [{ "name": "b" }] }),
    );
}

#[test]
fn lists_within_items_merge_by_their_own_keys() {
    spec(
        json!({ "containers": [{
            "name": "a",
            "env": [{ "name": "X", "value": "1" }],
            "ports": [{ "containerPort": 80, "protocol": "TCP" }],
            "command": ["sleep", "1"],
        }] }),
        json!({ "containers": [{
            "name": "a",
            "env": [{ "name": "Y", "value": "2" }],
            "ports": [{ "containerPort": 80, "name": "http" }, { "containerPort": 81 }],
            "command": ["sleep"],
        }] }),
        json!({ "containers": [{
            "name": "a",
            "env": [{ "name": "Y", "value": "2" }, { "name": "X", "value": "1" }],
            "ports": [{ "containerPort": 80, "protocol": "TCP", "name": "http" }, { "containerPort": 81 }],
            "command": ["sleep"],
        }] }),
    );
}

#[test]
fn a_list_can_be_replaced() {
    spec(
        json!({ "containers": [{ "name": "a" }, { "name": "b" }] }),
        json!({ "containers": [{ "$patch": "replace" }, { "name": "c", "image": null }] }),
        json!({ "containers": [{ "name": "c" }] }),
    );
    spec(
        json!({ "tolerations": [{ "key": "a" }, { "key": "b" }] }),
        json!({ "tolerations": [{ "key": "c" }] }),
        json!({ "tolerations": [{ "key": "c" }] }),
    );
}

#[test]
fn an_object_can_be_replaced_deleted_and_emptied() {
    let current = || json!({ "securityContext": { "runAsUser": 1, "fsGroup": 2 } });
    spec(
        current(),
        json!({ "securityContext": { "$patch": "replace", "runAsGroup": 3 } }),
        json!({ "securityContext": { "runAsGroup": 3 } }),
    );
    spec(current(), json!({ "securityContext": { "$patch": "delete" } }), json!({ "securityContext": {} }));
    spec(current(), json!({ "securityContext": null }), json!({}));
    spec(current(), json!({ "hostname": null }), current());
}

#[test]
fn only_retained_fields_of_a_one_of_stay() {
    spec(
        json!({ "volumes": [{ "name": "v", "emptyDir": {} }, { "name": "w", "emptyDir": {} }] }),
        json!({ "volumes": [{ "name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": { "path": "/x" } }] }),
        json!({ "volumes": [{ "name": "v", "hostPath": { "path": "/x" } }, { "name": "w", "emptyDir": {} }] }),
    );
    let stray = json!({ "spec": { "volumes": [{ "name": "v", "$retainKeys": ["name"], "hostPath": {} }] } });
    let error = strategic(json!({ "spec": { "volumes": [{ "name": "v" }] } }), stray).unwrap_err();
    let expected = "invalid strategic merge patch at spec.volumes[0]: \"hostPath\" is in the patch but not in $retainKeys";
    assert_eq!(error, PatchError::Malformed(expected.to_owned()));
}

#[test]
fn the_order_of_a_list_can_be_set() {
    spec(
        json!({ "containers": [{ "name": "a" }, { "name": "b" }, { "name": "live" }] }),
        json!({
            "$setElementOrder/containers": [{ "name": "c" }, { "name": "b" }, { "name": "a" }],
            "containers": [{ "name": "c", "image": "x" }],
        }),
        json!({ "containers": [{ "name": "c", "image": "x" }, { "name": "b" }, { "name": "a" }, { "name": "live" }] }),
    );
    spec(
        json!({ "containers": [{ "name": "a" }, { "name": "b" }] }),
        json!({ "$setElementOrder/containers": [{ "name": "b" }, { "name": "a" }] }),
        json!({ "containers": [{ "name": "b" }, { "name": "a" }] }),
    );
    let disagrees = json!({ "spec": {
        "$setElementOrder/containers": [{ "name": "b" }, { "name": "a" }],
        "containers": [{ "name": "a" }, { "name": "b" }],
    } });
    let error = strategic(json!({ "spec": {} }), disagrees).unwrap_err().to_string();
    assert!(error.contains("spec.containers: the order in patch list doesn't match"), "{error}");
}

#[test]
fn scalars_are_added_to_sets_and_taken_out() {
    let current = json!({ "metadata": { "finalizers": ["x/a", "x/b"] } });
    let added = strategic(current.clone(), json!({ "metadata": { "finalizers": ["x/c", "x/a"] } })).unwrap();
    assert_eq!(added["metadata"]["finalizers"], json!(["x/c", "x/a", "x/b"]));
    let patch = json!({ "metadata": {
        "$deleteFromPrimitiveList/finalizers": ["x/a"],
        "$setElementOrder/finalizers": ["x/c", "x/b"],
        "finalizers": ["x/c"],
    } });
    let changed = strategic(current, patch).unwrap();
    assert_eq!(changed["metadata"]["finalizers"], json!(["x/c", "x/b"]));
}

#[test]
fn conditions_of_a_status_merge_by_type_as_node_agents_patch_them() {
    let current = json!({ "status": { "conditions": [
        { "type": "Ready", "status": "True", "reason": "r" },
        { "type": "Other", "status": "False" },
    ] } });
    let patch = json!({ "status": {
        "$setElementOrder/conditions": [{ "type": "Ready" }, { "type": "Other" }],
        "conditions": [{ "type": "Ready", "status": "False" }],
    } });
    let result = apply(&NODES, PatchType::Strategic, &patch, &current).unwrap();
    let expected = json!([
        { "type": "Ready", "status": "False", "reason": "r" },
        { "type": "Other", "status": "False" },
    ]);
    assert_eq!(result["status"]["conditions"], expected);
}

#[test]
fn a_patch_without_a_merge_key_or_with_an_unknown_directive_is_refused_with_its_path() {
    let current = || json!({ "spec": { "containers": [{ "name": "a" }] } });
    let keyless = strategic(current(), json!({ "spec": { "containers": [{ "image": "x" }] } })).unwrap_err();
    assert_eq!(
        keyless.to_string(),
        "invalid strategic merge patch at spec.containers[0]: the item does not contain declared merge key: name"
    );
    let unknown = strategic(current(), json!({ "spec": { "$patch": "explode" } })).unwrap_err();
    assert_eq!(unknown.to_string(), "invalid strategic merge patch at spec: unknown patch type \"explode\"");
    assert!(strategic(current(), json!([])).is_err());
}

#[test]
fn json_patches_say_what_does_not_fit() {
    let run = |patch: Value| apply(&PODS, PatchType::Json, &patch, &json!({ "spec": { "hostname": "a" } }));
    let replaced = run(json!([
        { "op": "test", "path": "/spec/hostname", "value": "a" },
        { "op": "replace", "path": "/spec/hostname", "value": "b" },
    ]));
    assert_eq!(replaced.unwrap(), json!({ "spec": { "hostname": "b" } }));
    assert!(
        matches!(run(json!([{ "op": "remove", "path": "/spec/x" }])), Err(PatchError::Unprocessable(m)) if m.contains("/spec/x"))
    );
    assert!(matches!(
        run(json!([{ "op": "test", "path": "/spec/hostname", "value": "z" }])),
        Err(PatchError::Unprocessable(_))
    ));
    assert!(matches!(run(json!({ "op": "remove" })), Err(PatchError::Malformed(_))));
    assert!(matches!(run(json!([{ "op": "jump", "path": "/a" }])), Err(PatchError::Malformed(_))));
}

#[test]
fn copies_of_copies_are_bounded() {
    let mut patch = vec![json!({ "op": "add", "path": "/a", "value": "x".repeat(COPIED_LIMIT / 100) })];
    for step in 0..60 {
        patch.push(json!({ "op": "copy", "from": "", "path": format!("/copy{step}") }));
    }
    let result = apply(&PODS, PatchType::Json, &Value::Array(patch), &json!({}));
    assert!(matches!(result, Err(PatchError::TooLarge(_))), "{result:?}");
}

#[test]
fn merge_patches_replace_lists_and_delete_by_null() {
    let current = json!({ "spec": { "containers": [{ "name": "a" }], "hostname": "x" } });
    let patch = json!({ "spec": { "containers": [{ "name": "b" }], "hostname": null } });
    let result = apply(&PODS, PatchType::Merge, &patch, &current).unwrap();
    assert_eq!(result, json!({ "spec": { "containers": [{ "name": "b" }] } }));
    assert!(matches!(apply(&PODS, PatchType::Merge, &json!("x"), &current), Err(PatchError::Malformed(_))));
}

/// Trees with the fields and directives that matter.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..3_i64).prop_map(Value::from),
        prop::sample::select(vec!["a", "b", "delete", "replace", ""]).prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "spec",
        "metadata",
        "containers",
        "volumes",
        "name",
        "env",
        "finalizers",
        "conditions",
        "type",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "x",
    ]);
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Objects as they are stored: without directives and nulls.
fn stored() -> impl Strategy<Value = Value> {
    tree().prop_map(|mut value| {
        clean(&mut value);
        json!({ "spec": value, "metadata": {} })
    })
}

fn clean(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| !name.starts_with('$') && !value.is_null());
            fields.values_mut().for_each(clean);
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        _ => {}
    }
}

fn has_directive(value: &Value) -> bool {
    match value {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.starts_with('$') || has_directive(value))
        }
        Value::Array(items) => items.iter().any(has_directive),
        _ => false,
    }
}

/// An item that is an object inside a list that is itself an item is taken over as it is.
fn has_list_of_lists(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.values().any(has_list_of_lists),
        Value::Array(items) => items.iter().any(|i| i.is_array() || has_list_of_lists(i)),
        _ => false,
    }
}

proptest! {
    #[test]
    fn no_patch_panics_and_no_directive_reaches_the_object(current in stored(), patch in tree()) {
        let patch = json!({ "spec": patch });
        if let Ok(result) = strategic(current, patch.clone()) {
            prop_assert!(has_list_of_lists(&patch) || !has_directive(&result), "{result}");
        }
    }

    #[test]
    fn an_empty_patch_changes_nothing(current in stored()) {
        prop_assert_eq!(strategic(current.clone(), json!({})).unwrap(), current);
    }

    #[test]
    fn a_patch_applied_twice_is_a_patch_applied_once(
        before in prop::collection::btree_set("[a-d]", 0..4),
        patch in prop::collection::btree_set("[a-f]", 0..4),
        removed in prop::collection::btree_set("[a-f]", 0..3),
    ) {
        let items = |names: &std::collections::BTreeSet<String>, image: &str| -> Vec<Value> {
            names.iter().map(|n| json!({ "name": n, "image": image })).collect()
        };
        let mut changes = items(&patch, "new");
        changes.extend(removed.difference(&patch).map(|n| json!({ "name": n, "$patch": "delete" })));
        let patch_body = json!({ "spec": { "containers": changes } });
        let once = strategic(json!({ "spec": { "containers": items(&before, "old") } }), patch_body.clone()).unwrap();
        let twice = strategic(once.clone(), patch_body).unwrap();
        prop_assert_eq!(&once, &twice);
        let names: std::collections::BTreeSet<String> = once["spec"]["containers"].as_array().unwrap()
            .iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect();
        let expected: std::collections::BTreeSet<String> = before.iter().chain(&patch)
            .filter(|n| patch.contains(*n) || !removed.contains(*n)).cloned().collect();
        prop_assert_eq!(names, expected);
    }
}
