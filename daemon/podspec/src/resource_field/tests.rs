use serde_json::json;

use super::*;

fn pod() -> Pod {
    serde_json::from_value(json!({
        "spec": {
            "initContainers": [{"name": "init", "resources": {"limits": {"cpu": "3"}}}],
            "containers": [
                {"name": "one", "resources": {
                    "limits": {"memory": "32Mi", "hugepages-2Mi": "4Mi", "ephemeral-storage": "0"},
                    "requests": {"cpu": "10m", "memory": "16Mi", "hugepages-2Mi": "4Mi"},
                }},
                {"name": "two"},
            ],
        },
    }))
    .expect("a pod")
}

fn allocatable() -> ResourceList {
    let amounts =
        [("cpu", "2"), ("memory", "1000000001"), ("ephemeral-storage", "10Gi"), ("hugepages-2Mi", "8Mi")];
    amounts.iter().map(|(name, amount)| ((*name).to_owned(), amount.parse().expect("a quantity"))).collect()
}

fn value(pod: &Pod, own: usize, selector: serde_json::Value) -> Result<String, ResourceFieldError> {
    let selector: ResourceFieldSelector = serde_json::from_value(selector).expect("a selector");
    let own = &pod.spec.as_ref().expect("a spec").containers[own];
    resource_field(&selector, pod, own, &allocatable())
}

/// The first four are figures of kubelet-fixtures twoc/one.json.
#[test]
fn row_16_6_values_are_rounded_up_and_missing_limits_are_the_nodes() {
    let table = [
        (0, json!({"resource": "limits.cpu"}), "2"),
        (0, json!({"resource": "requests.cpu", "divisor": "1m"}), "10"),
        (0, json!({"resource": "limits.memory", "divisor": "1Mi"}), "32"),
        (0, json!({"containerName": "two", "resource": "requests.memory"}), "0"),
        (0, json!({"resource": "requests.cpu"}), "1"),
        (0, json!({"resource": "requests.cpu", "divisor": "0"}), "1"),
        (0, json!({"resource": "limits.memory"}), "33554432"),
        (0, json!({"resource": "requests.memory", "divisor": "1k"}), "16778"),
        (1, json!({"resource": "limits.memory", "divisor": "1M"}), "1001"),
        (1, json!({"resource": "limits.cpu", "divisor": "1m"}), "2000"),
        (1, json!({"containerName": "init", "resource": "limits.cpu"}), "3"),
        // A limit of nothing is none.
        (0, json!({"resource": "limits.ephemeral-storage", "divisor": "1Gi"}), "10"),
        (0, json!({"resource": "limits.hugepages-2Mi", "divisor": "1Mi"}), "4"),
        (0, json!({"resource": "requests.hugepages-2Mi"}), "4194304"),
        (1, json!({"resource": "limits.hugepages-2Mi"}), "0"),
    ];
    let pod = pod();
    for (own, selector, expected) in table {
        assert_eq!(value(&pod, own, selector.clone()).as_deref(), Ok(expected), "{selector}");
    }
}

#[test]
fn row_16_6_the_limit_of_the_pod_as_a_whole_goes_before_the_nodes() {
    let mut pod = pod();
    let level = json!({"limits": {"cpu": "1500m", "memory": "1Gi"}});
    pod.spec.as_mut().expect("a spec").resources = serde_json::from_value(level).expect("resources");
    let of =
        |resource: &str, divisor: &str| value(&pod, 1, json!({"resource": resource, "divisor": divisor}));
    assert_eq!(of("limits.cpu", "1m").as_deref(), Ok("1500"));
    assert_eq!(of("limits.memory", "1Mi").as_deref(), Ok("1024"));
    assert_eq!(of("limits.ephemeral-storage", "1Gi").as_deref(), Ok("10"));
}

#[test]
fn what_has_no_value_says_why() {
    let pod = pod();
    let said = |selector| value(&pod, 0, selector).expect_err("no value").to_string();
    assert_eq!(said(json!({"containerName": "x", "resource": "limits.cpu"})), "container x not found");
    for resource in ["limits.gpu", "cpu", "wishes.cpu", ""] {
        let expected = format!("Unsupported container resource : {resource}");
        assert_eq!(said(json!({"resource": resource})), expected);
    }
    for divisor in ["x", "-1", "-500m"] {
        let expected = format!("nothing can be divided by {divisor:?}");
        assert_eq!(said(json!({"resource": "limits.memory", "divisor": divisor})), expected);
    }
}
