//! The only container need not be named.

use serde_json::json;

use super::choose;

#[test]
fn the_only_container_need_not_be_named_and_of_several_one_must_be() {
    let one = json!({
        "metadata": { "name": "p" },
        "spec": { "containers": [{ "name": "a" }], "initContainers": [{ "name": "i" }] },
    });
    assert_eq!(choose(&one, None).unwrap(), "a");
    let two = json!({
        "metadata": { "name": "p" },
        "spec": {
            "containers": [{ "name": "a" }, { "name": "b" }],
            "initContainers": [{ "name": "i" }],
            "ephemeralContainers": [{ "name": "e" }],
        },
    });
    let told = |asked| choose(&two, asked).unwrap_err().to_object()["message"].as_str().unwrap().to_owned();
    assert_eq!(told(None), "a container name must be specified for pod p, choose one of: [i a b e]");
    assert_eq!(told(Some("c")), "container c is not valid for pod p");
    for name in ["i", "a", "e"] {
        assert_eq!(choose(&two, Some(name)).unwrap(), name);
    }
}
