//! Which container's log is meant.

use serde_json::json;

use super::{bracketed, choose_container};

#[test]
fn the_only_container_need_not_be_named_and_of_several_one_must_be() {
    let one = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "a" }] } });
    assert_eq!(choose_container(&one, None).unwrap(), "a");
    let two = json!({
        "metadata": { "name": "p" },
        "spec": { "containers": [{ "name": "a" }, { "name": "b" }], "initContainers": [{ "name": "i" }] },
    });
    let told = |asked| {
        choose_container(&two, asked).unwrap_err().to_object()["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        told(None),
        "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
    );
    assert_eq!(told(Some("c")), "container c is not valid for pod p");
    assert_eq!(choose_container(&two, Some("i")).unwrap(), "i");
}

#[test]
fn an_ipv6_address_stands_in_brackets() {
    assert_eq!((bracketed("::1"), bracketed("10.0.0.1")), ("[::1]".to_owned(), "10.0.0.1".to_owned()));
}
