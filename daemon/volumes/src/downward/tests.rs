use serde_json::{Value, json};

use super::*;

fn pod() -> Pod {
    let pod = json!({
        "metadata": {"name": "n", "namespace": "ns", "uid": "u", "labels": {"b": "2", "a": "1\"\\\n\t\u{1b}é\u{200b}"}, "annotations": {"x": "y"}},
        "spec": {
            "initContainers": [{"name": "i", "resources": {"limits": {"cpu": "3"}}}],
            "containers": [
                {"name": "c", "resources": {"requests": {"cpu": "250m", "memory": "100Mi", "ephemeral-storage": "1Gi"},
                                             "limits": {"cpu": "1500m", "memory": "200M", "hugepages-2Mi": "4Mi"}}},
                {"name": "free"},
            ],
        },
    });
    serde_json::from_value(pod).expect("a pod")
}

fn node() -> ResourceList {
    [("cpu", "4"), ("memory", "8Gi"), ("ephemeral-storage", "10Gi")]
        .map(|(name, amount)| (name.to_owned(), amount.parse().expect("a quantity")))
        .into()
}

#[test]
fn row_20_9_labels_are_sorted_lines_with_the_value_as_go_quotes_it() {
    assert_eq!(
        field(&pod(), "metadata.labels").expect("labels"),
        "a=\"1\\\"\\\\\\n\\t\\x1bé\\u200b\"\nb=\"2\""
    );
    for (path, text) in [
        ("metadata.name", "n"),
        ("metadata.namespace", "ns"),
        ("metadata.uid", "u"),
        ("metadata.annotations['x']", "y"),
        ("metadata.labels['b']", "2"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations", "x=\"y\""),
    ] {
        assert_eq!(field(&pod(), path).expect(path), text, "{path}");
    }
    assert_eq!(field(&pod(), "status.podIP"), Err(DownwardError::Field("status.podIP".to_owned())));
}

#[test]
fn row_16_6_resources_are_those_of_the_container_that_is_named() {
    let of =
        |selector: Value| resource(&pod(), &serde_json::from_value(selector).expect("a selector"), &node());
    for (container, name, text) in [
        ("c", "limits.cpu", "2"),
        ("c", "requests.memory", "104857600"),
        ("i", "limits.cpu", "3"),
        ("free", "limits.cpu", "4"),
        ("free", "requests.cpu", "0"),
    ] {
        let told = of(json!({"containerName": container, "resource": name}));
        assert_eq!(told.as_deref(), Ok(text), "{container} {name}");
    }
    let said = |selector| of(selector).expect_err("nothing to tell").to_string();
    assert_eq!(said(json!({"containerName": "gone", "resource": "limits.cpu"})), "container gone not found");
    assert_eq!(said(json!({"resource": "limits.cpu"})), "container  not found");
    assert_eq!(
        said(json!({"containerName": "c", "resource": "limits.gpu"})),
        "Unsupported container resource : limits.gpu"
    );
}

#[test]
fn all_that_is_wrong_is_told() {
    let items: Vec<DownwardAPIVolumeFile> = serde_json::from_value(json!([
        {"path": "a", "fieldRef": {"fieldPath": "spec.nodeName"}}, {"path": "/b", "fieldRef": {"fieldPath": "metadata.name"}}, {"path": "c"},
        {"path": "ok", "fieldRef": {"fieldPath": "metadata.name"}, "mode": 256},
    ]))
    .expect("items");
    let wrong = payload(&items, 0o644, &pod(), &node()).expect_err("three are wrong");
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    let right = payload(&items[3..], 0o644, &pod(), &node()).expect("right");
    assert_eq!(
        right.files().next().map(|(path, file)| (path.to_owned(), file.mode)),
        Some(("ok".to_owned(), 0o400))
    );
}
