//! Answers in the form that was asked for.

use serde_json::json;

use super::{clipped, metadata_only};

#[test]
fn a_client_of_metadata_gets_nothing_else() {
    let object = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" }, "spec": { "nodeName": "n" } });
    let expected = json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": { "name": "p" } });
    assert_eq!(metadata_only(&object), expected);
}

#[test]
fn a_warning_is_cut_between_characters() {
    assert_eq!(clipped("aäb", 2), "a");
    assert_eq!(clipped("ab", 5), "ab");
}
