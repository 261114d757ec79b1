//! What was changed is put back, and nothing else is touched.

use serde_json::json;

use super::restore;

#[test]
fn a_certificate_that_was_changed_is_put_back() {
    let content = json!({ "ca.crt": "right" });
    let mut right = json!({ "metadata": { "labels": { "a": "b" } }, "data": { "ca.crt": "right" } });
    let before = right.clone();
    assert!(!restore(&mut right, &content));
    assert_eq!(right, before);
    for data in [json!({ "ca.crt": "wrong" }), json!({ "ca.crt": "right", "more": "x" }), json!(null)] {
        let mut map = json!({ "metadata": { "labels": { "a": "b" } }, "data": data, "immutable": true });
        assert!(restore(&mut map, &content));
        assert_eq!((&map["data"], map.get("immutable")), (&content, None));
        assert_eq!(map["metadata"]["labels"]["a"], "b");
        assert!(map["metadata"]["annotations"]["kubernetes.io/description"].is_string());
    }
}
