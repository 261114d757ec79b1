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

fn node() -> BTreeMap<String, Quantity> {
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
fn row_16_6_resources_are_told_in_whole_divisors_and_what_is_not_limited_is_the_nodes() {
    let of = |container: &str, name: &str, divisor: &str| {
        let selector: Value = json!({"containerName": container, "resource": name, "divisor": divisor});
        resource(&pod(), &serde_json::from_value(selector).expect("a selector"), &node())
    };
    for (container, name, divisor, text) in [
        ("c", "limits.cpu", "1", "2"),
        ("c", "limits.cpu", "1m", "1500"),
        ("c", "limits.cpu", "0", "2"),
        ("c", "requests.cpu", "1m", "250"),
        ("c", "requests.cpu", "1", "1"),
        ("c", "limits.memory", "1", "200000000"),
        ("c", "limits.memory", "1Mi", "191"),
        ("c", "requests.memory", "1Mi", "100"),
        ("c", "requests.ephemeral-storage", "1Gi", "1"),
        ("c", "limits.ephemeral-storage", "1Gi", "10"),
        ("c", "limits.hugepages-2Mi", "1Mi", "4"),
        ("i", "limits.cpu", "1", "3"),
        ("free", "limits.cpu", "1", "4"),
        ("free", "limits.memory", "1Gi", "8"),
        ("free", "requests.memory", "1", "0"),
        ("free", "requests.cpu", "1", "0"),
    ] {
        assert_eq!(of(container, name, divisor).as_deref(), Ok(text), "{container} {name} {divisor}");
    }
    for (container, name, divisor) in [
        ("gone", "limits.cpu", "1"),
        ("c", "limits.gpu", "1"),
        ("c", "cpu", "1"),
        ("c", "limits.cpu", "-1"),
        ("c", "limits.cpu", "x"),
        ("c", "limits.cpu", "1n"),
    ] {
        // A billionth of a processor is rounded up to a thousandth.
        let told = of(container, name, divisor);
        assert!(told.is_err() || divisor == "1n", "{container} {name} {divisor}: {told:?}");
    }
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
