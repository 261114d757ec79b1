use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value as Json, json};

use super::*;

/// All that is known where a test says nothing else.
struct Rig {
    services: BTreeMap<String, String>,
    objects: Resolved,
    files: FileValues,
    allocatable: ResourceList,
}

fn rig() -> Rig {
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "cm"},
        "data": {"alpha": "one", "beta.conf": "x=1\ny=2\n", "odd key!": "z", "NAME1": "of the map"},
        "binaryData": {"raw": "AAE="},
    }))
    .expect("a config map");
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "sec"},
        "data": {"user": "Zml4dHVyZS11c2Vy", "pass": "Zml4dHVyZS1wYXNz", "binary": "/wA="},
    }))
    .expect("a secret");
    let missing = |kind, name: &str| {
        ((kind, name.to_owned()), Err(ObjectError::NotFound { kind, name: name.to_owned() }))
    };
    let objects = [
        ((Kind::ConfigMap, "cm".to_owned()), Ok(Arc::new(Object::from(map)))),
        ((Kind::Secret, "sec".to_owned()), Ok(Arc::new(Object::from(secret)))),
        missing(Kind::ConfigMap, "nope"),
        missing(Kind::Secret, "nope"),
        (
            (Kind::Secret, "forbidden".to_owned()),
            Err(ObjectError::Forbidden { message: "secrets \"forbidden\" is forbidden".to_owned() }),
        ),
    ];
    let services = [("KUBERNETES_SERVICE_HOST", "10.96.0.1"), ("NAME1", "of the service")];
    let file = |key: &str| ("v".to_owned(), "f".to_owned(), key.to_owned());
    let files = [
        (file("A"), Ok(Some(Value::from("from the file")))),
        (file("EMPTY"), Ok(Some(Value::from("")))),
        (file("NONE"), Ok(None)),
        (file("BAD"), Err("couldn't parse env file".to_owned())),
    ];
    Rig {
        services: services.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        objects: objects.into_iter().collect(),
        files: files.into_iter().collect(),
        allocatable: [("cpu".to_owned(), "2".parse().expect("a quantity"))].into(),
    }
}

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "twoc", "namespace": "fx", "uid": "u", "labels": {"tier": "front"},
                     "annotations": {"a/b": "c"}},
        "spec": {"nodeName": "node1", "serviceAccountName": "default", "containers": []},
    }))
    .expect("a pod")
}

fn resolve_of(rig: &Rig, container: Json) -> Result<Variables, String> {
    let mut container = container;
    container["name"] = json!("one");
    let container: Container = serde_json::from_value(container).expect("a container");
    let ips = ["10.88.0.20".to_owned(), "fd00::20".to_owned()];
    let sources = Sources {
        addresses: Addresses { pod_ips: &ips, host_ips: &ips[..1] },
        services: &rig.services,
        objects: &rig.objects,
        files: &rig.files,
        allocatable: &rig.allocatable,
    };
    variables(&pod(), &container, sources).map_err(|error| error.to_string())
}

/// Without the variables of services.
fn resolve(env: Json) -> Vec<(String, String)> {
    let rig = Rig { services: BTreeMap::new(), ..rig() };
    shown(&resolve_of(&rig, json!({"env": env})).expect("an environment"))
}

fn shown(variables: &Variables) -> Vec<(String, String)> {
    let text = |value: &Value| String::from_utf8_lossy(value.as_ref()).into_owned();
    variables.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: Vec<_> = list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    all.sort();
    all
}

/// Figures of kubelet-fixtures twoc/one.json.
#[test]
fn row_16_2_values_expand_what_was_defined_before_them() {
    let got = resolve(json!([
        {"name": "NAME1", "value": "plain"},
        {"name": "GREETING", "value": "hello-$(NAME1)"},
        {"name": "EARLY", "value": "$(LATER) $$(ESCAPED) $(open $5"},
        {"name": "LATER", "value": "x"},
        {"name": "EMPTY"},
        {"name": "BOTH", "value": "a value", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "SOURCE", "value": "", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]));
    assert_eq!(
        got,
        pairs(&[
            ("NAME1", "plain"),
            ("GREETING", "hello-plain"),
            ("EARLY", "$(LATER) $(ESCAPED) $(open $5"),
            ("LATER", "x"),
            ("EMPTY", ""),
            ("BOTH", "a value"),
            ("SOURCE", "twoc"),
        ])
    );
}

#[test]
fn row_16_1_env_goes_before_env_from_and_that_before_services() {
    let got = resolve_of(
        &rig(),
        json!({
            "envFrom": [{"configMapRef": {"name": "cm"}}, {"secretRef": {"name": "sec"}, "prefix": "alpha"},
                        {"secretRef": {"name": "sec"}, "prefix": ""}],
            "env": [
                {"name": "SEES", "value": "$(NAME1) $(alpha) $(KUBERNETES_SERVICE_HOST) $(alphauser)"},
                {"name": "alpha", "value": "of the container"},
                {"name": "alpha", "value": "of the container, later"},
            ],
        }),
    );
    let got = got.expect("an environment");
    let value = |name: &str| String::from_utf8_lossy(got[name].as_ref()).into_owned();
    assert_eq!(value("SEES"), "of the map one 10.96.0.1 fixture-user");
    assert_eq!(
        (value("NAME1"), value("alpha")),
        ("of the map".to_owned(), "of the container, later".to_owned())
    );
    assert_eq!(
        (value("KUBERNETES_SERVICE_HOST"), value("alphapass")),
        ("10.96.0.1".to_owned(), "fixture-pass".to_owned())
    );
    // Row 16.7: any key is a name, binary data of a map are no variables, those of a secret are passed as they are.
    assert_eq!((value("odd key!"), value("beta.conf")), ("z".to_owned(), "x=1\ny=2\n".to_owned()));
    assert!(!got.contains_key("raw"));
    assert_eq!(got["binary"].as_ref(), [0xff, 0]);
}

/// Figures of kubelet-fixtures twoc/two.json.
#[test]
fn row_16_7_keys_of_config_maps_and_secrets_are_values() {
    let rig = Rig { services: BTreeMap::new(), ..rig() };
    let got = resolve_of(
        &rig,
        json!({
            "envFrom": [{"prefix": "CM_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "nope", "optional": true}}],
            "env": [
                {"name": "FROM_CM", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "alpha"}}},
                {"name": "FROM_SEC", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "user"}}},
                {"name": "OPT", "valueFrom": {"configMapKeyRef": {"name": "nope", "key": "x", "optional": true}}},
                {"name": "OPT", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "x", "optional": true}}},
                {"name": "CM_alpha", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "x", "optional": true}}},
            ],
        }),
    );
    let expected = [
        ("CM_alpha", "one"),
        ("CM_beta.conf", "x=1\ny=2\n"),
        ("CM_odd key!", "z"),
        ("CM_NAME1", "of the map"),
        ("FROM_CM", "one"),
        ("FROM_SEC", "fixture-user"),
    ];
    assert_eq!(shown(&got.expect("an environment")), pairs(&expected));
}

#[test]
fn row_16_7_what_is_missing_is_told_in_a_kubelets_words() {
    let key = |kind: &str, name: &str, key: &str, optional: bool| json!({"env": [{"name": "X", "valueFrom": {kind: {"name": name, "key": key, "optional": optional}}}]});
    let all = |kind: &str, name: &str, optional: bool| json!({"envFrom": [{kind: {"name": name, "optional": optional}}]});
    let table = [
        (key("configMapKeyRef", "nope", "k", false), "configmap \"nope\" not found"),
        (key("secretKeyRef", "nope", "k", false), "secret \"nope\" not found"),
        (key("configMapKeyRef", "cm", "k", false), "couldn't find key k in ConfigMap fx/cm"),
        (key("configMapKeyRef", "cm", "raw", false), "couldn't find key raw in ConfigMap fx/cm"),
        (key("secretKeyRef", "sec", "k", false), "couldn't find key k in Secret fx/sec"),
        (all("configMapRef", "nope", false), "configmap \"nope\" not found"),
        (all("secretRef", "nope", false), "secret \"nope\" not found"),
        // Optional is what is not there, not what cannot be read.
        (key("secretKeyRef", "forbidden", "k", true), "secrets \"forbidden\" is forbidden"),
        (all("secretRef", "forbidden", true), "secrets \"forbidden\" is forbidden"),
    ];
    for (container, expected) in table {
        assert_eq!(resolve_of(&rig(), container.clone()), Err(expected.to_owned()), "{container}");
    }
}

#[test]
fn row_16_5_fields_of_the_pod_are_given() {
    let table = [
        ("metadata.name", "twoc"),
        ("metadata.namespace", "fx"),
        ("metadata.uid", "u"),
        ("metadata.labels['tier']", "front"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['a/b']", "c"),
        ("spec.nodeName", "node1"),
        ("spec.serviceAccountName", "default"),
        ("status.hostIP", "10.88.0.20"),
        ("status.hostIPs", "10.88.0.20"),
        ("status.podIP", "10.88.0.20"),
        ("status.podIPs", "10.88.0.20,fd00::20"),
    ];
    for (path, expected) in table {
        let got = resolve(json!([{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}]));
        assert_eq!(got, pairs(&[("X", expected)]), "{path}");
    }
}

#[test]
fn row_16_5_and_16_6_fields_without_a_value_are_named() {
    let said = |source: Json| {
        resolve_of(&rig(), json!({"env": [{"name": "X", "valueFrom": source}]})).expect_err("refused")
    };
    for path in ["spec.volumes", "metadata.labels", "metadata.labels['x'", ""] {
        assert_eq!(
            said(json!({"fieldRef": {"fieldPath": path}})),
            format!("field label not supported: {path}")
        );
    }
    assert_eq!(
        said(json!({"resourceFieldRef": {"resource": "limits.gpu"}})),
        "Unsupported container resource : limits.gpu"
    );
    let got = resolve(
        json!([{"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}]),
    );
    assert_eq!(got, pairs(&[("X", "2000")]), "what the node gives");
    let (pod, container) = (
        pod(),
        json!({"name": "c", "env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]}),
    );
    let (rig, container) = (rig(), serde_json::from_value(container).expect("a container"));
    let addresses = Addresses { pod_ips: &[], host_ips: &[] };
    let Rig { services, objects, files, allocatable } = &rig;
    let sources = Sources { addresses, services, objects, files, allocatable };
    assert_eq!(variables(&pod, &container, sources).expect_err("refused").to_string(), "host IP unknown");
}

#[test]
fn row_16_8_variables_of_files_are_values() {
    let of = |key: &str, optional: bool| {
        let source =
            json!({"fileKeyRef": {"volumeName": "v", "path": "f", "key": key, "optional": optional}});
        let got = resolve_of(&rig(), json!({"env": [{"name": "X", "valueFrom": source}]}))?;
        Ok::<_, String>(got.get("X").map(|value| String::from_utf8_lossy(value.as_ref()).into_owned()))
    };
    assert_eq!(of("A", false), Ok(Some("from the file".to_owned())));
    for key in ["NONE", "EMPTY"] {
        assert_eq!(of(key, true), Ok(None));
        assert_eq!(of(key, false), Err(format!("environment variable key {key:?} not found in file \"f\"")));
    }
    assert_eq!(of("BAD", true), Err("couldn't parse env file".to_owned()));
}

#[test]
fn what_a_container_names_is_found_once_and_not_where_a_value_stands_before_it() {
    let key = |name: &str| json!({"name": name, "key": "k"});
    let container: Container = serde_json::from_value(json!({
        "name": "c",
        "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "a"}}],
        "env": [
            {"name": "1", "valueFrom": {"configMapKeyRef": key("a")}},
            {"name": "2", "valueFrom": {"secretKeyRef": key("b")}},
            {"name": "3", "value": "x", "valueFrom": {"secretKeyRef": key("c")}},
            {"name": "4", "value": "", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}},
        ],
    }))
    .expect("a container");
    assert_eq!(named_objects(&container), [(Kind::ConfigMap, "a"), (Kind::Secret, "a"), (Kind::Secret, "b")]);
    assert_eq!(named_files(&container).count(), 1);
}

#[test]
fn row_16_3_commands_see_all_variables_and_values_show_in_no_debug_text() {
    let got = resolve_of(
        &rig(),
        json!({"envFrom": [{"secretRef": {"name": "sec"}}], "env": [{"name": "A", "value": "1"}]}),
    );
    let got = got.expect("an environment");
    let words = ["$(A)-$(user)-$(KUBERNETES_SERVICE_HOST)-$(NONE)", "$$(A)"].map(str::to_owned).to_vec();
    assert_eq!(expand_all(Some(&words), &got), ["1-fixture-user-10.96.0.1-$(NONE)", "$(A)"]);
    assert_eq!(expand_all(None, &got), Vec::<String>::new());
    let debug = format!("{got:?} {:?}", rig().objects);
    assert!(!debug.contains("fixture") && debug.contains("hidden"), "{debug}");
}
