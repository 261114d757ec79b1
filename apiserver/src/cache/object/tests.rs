use proptest::prelude::*;
use serde_json::json;

use super::*;

fn object(value: &Value, revision: u64) -> Object {
    let record = Record {
        value: serde_json::to_vec(value).unwrap().into(),
        mod_revision: revision,
        create_revision: 1,
    };
    Object::new("pods/default/a".into(), record)
}

fn parsed(object: &Object) -> Value {
    serde_json::from_slice(&object.to_json()).unwrap()
}

#[test]
fn the_revision_is_put_into_the_objects_own_metadata_only() {
    let value = json!({
        "apiVersion": "v1",
        "data": {"metadata": {"x": 1}, "text": "\"metadata\":{ \\", "list": [{"metadata": {}}]},
        "kind": "metadata",
        "metadata": {"name": "a", "labels": {"metadata": "metadata"}},
    });
    let object = object(&value, 42);
    let mut expected = value;
    expected["metadata"]["resourceVersion"] = json!("42");
    assert_eq!(parsed(&object), expected);
    assert_eq!(*object.value(), expected);
}

#[test]
fn the_tree_is_parsed_once_for_all_who_hold_it() {
    let object = object(&json!({"metadata": {"name": "a"}}), 1);
    let first = object.value();
    assert!(Arc::ptr_eq(&first, &object.value()));
}

#[test]
fn a_debug_line_shows_no_content() {
    let object = object(&json!({"metadata": {"name": "a"}, "data": {"password": "hunter2"}}), 3);
    assert_eq!(format!("{object:?}"), "pods/default/a@3");
}

#[test]
fn what_is_not_an_object_is_written_as_it_is() {
    for text in ["", "null", "[1]", "{", "\"metadata", "{\"metadata\":{"] {
        let record = Record { value: text.into(), mod_revision: 1, create_revision: 1 };
        let _ = Object::new("pods/a".into(), record).to_json();
    }
}

fn tree() -> impl Strategy<Value = Value> {
    let text = prop_oneof![Just("metadata".to_owned()), "[a-z\"\\\\{}:,]{0,6}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        text.clone().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(text.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn bytes_and_tree_agree(mut value in tree(), metadata in proptest::option::of(tree())) {
        if let (Some(object), Some(metadata @ Value::Object(_))) = (value.as_object_mut(), metadata) {
            object.insert("metadata".to_owned(), metadata);
        }
        // What is stored has metadata that is an object, or none.
        prop_assume!(value.get("metadata").is_none_or(Value::is_object));
        remove_resource_version(&mut value);
        let object = object(&value, 7);
        prop_assert_eq!(parsed(&object), (*object.value()).clone());
    }

    #[test]
    fn no_bytes_make_writing_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let record = Record { value: bytes.into(), mod_revision: 1, create_revision: 1 };
        let object = Object::new("pods/a".into(), record);
        let _ = (object.to_json(), object.value());
    }
}
