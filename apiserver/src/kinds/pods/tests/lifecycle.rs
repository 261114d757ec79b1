//! What a pod says about the life of its containers: restarts, hooks, probes, deadlines.

use super::*;

fn container(fields: Value) -> Vec<String> {
    wrong(|p| p["spec"]["containers"][0].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone()))
}

fn init(fields: Value) -> Vec<String> {
    wrong(|p| {
        let mut container = json!({ "name": "i", "image": "i" });
        container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        p["spec"]["initContainers"] = json!([container]);
    })
}

#[test]
fn a_container_may_have_a_restart_policy_and_rules() {
    let rule = json!({ "action": "Restart", "exitCodes": { "operator": "In", "values": [42] } });
    let all =
        json!({ "action": "RestartAllContainers", "exitCodes": { "operator": "NotIn", "values": [0] } });
    let fine = json!({ "restartPolicy": "Never", "restartPolicyRules": [rule, all] });
    assert!(container(fine.clone()).is_empty() && init(fine).is_empty());
    for policy in ["Always", "OnFailure", "Never"] {
        assert!(container(json!({ "restartPolicy": policy })).is_empty());
        assert!(init(json!({ "restartPolicy": policy })).is_empty());
    }
    let at = |field: &str, problem: &str| format!("spec.containers[0].{field}: {problem}");
    let rules = |rules: Value| container(json!({ "restartPolicy": "Never", "restartPolicyRules": rules }));
    assert_eq!(
        container(json!({ "restartPolicy": "Sometimes" })),
        [at(
            "restartPolicy",
            "Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\""
        )]
    );
    assert_eq!(
        container(json!({ "restartPolicyRules": [rule] })),
        [at("restartPolicy", "Required value: must specify restartPolicy when restart rules are used")]
    );
    assert_eq!(
        rules(json!([{ "action": "Stop", "exitCodes": { "operator": "Is", "values": [1] } }])),
        [
            at(
                "restartPolicyRules[0].action",
                "Unsupported value: \"Stop\": supported values: \"Restart\", \"RestartAllContainers\""
            ),
            at(
                "restartPolicyRules[0].exitCodes.operator",
                "Unsupported value: \"Is\": supported values: \"In\", \"NotIn\""
            ),
        ]
    );
    assert_eq!(
        rules(json!([{ "action": "Restart" }])),
        [at("restartPolicyRules[0].exitCodes", "Required value: must be specified")]
    );
    assert_eq!(
        rules(vec![rule; 21].into()),
        [at("restartPolicyRules", "Too many: 21: must have at most 20 items")]
    );
    let codes: Vec<i32> = (0..256).collect();
    assert_eq!(
        rules(json!([{ "action": "Restart", "exitCodes": { "operator": "In", "values": codes } }])),
        [at("restartPolicyRules[0].exitCodes.values", "Too many: 256: must have at most 255 items")]
    );
}

#[test]
fn of_init_containers_only_sidecars_are_probed_and_have_hooks() {
    let exec = json!({ "exec": { "command": ["x"] } });
    for (field, value) in [
        ("lifecycle", json!({ "preStop": exec })),
        ("livenessProbe", exec.clone()),
        ("readinessProbe", exec.clone()),
        ("startupProbe", exec.clone()),
    ] {
        assert!(init(json!({ "restartPolicy": "Always", field: value })).is_empty(), "{field}");
        let refused = format!(
            "spec.initContainers[0].{field}: Forbidden: may not be set for init containers without restartPolicy=Always"
        );
        assert_eq!(init(json!({ field: value })), [refused.as_str()]);
        assert_eq!(init(json!({ field: value, "restartPolicy": "OnFailure" })), [refused.as_str()]);
    }
}

#[test]
fn a_hook_has_one_handler_that_can_be_carried_out() {
    let hook = |hook: Value| container(json!({ "lifecycle": { "preStop": hook } }));
    let at = |problem: &str| [format!("spec.containers[0].lifecycle.preStop{problem}")];
    for fine in [
        json!({ "exec": { "command": ["x"] } }),
        json!({ "httpGet": { "port": 80 } }),
        json!({ "tcpSocket": { "port": "http" } }),
        json!({ "sleep": { "seconds": 0 } }),
        json!({ "sleep": { "seconds": 30 } }),
    ] {
        assert!(hook(fine.clone()).is_empty(), "{fine}");
    }
    assert_eq!(hook(json!({})), at(": Required value: must specify a handler type"));
    assert_eq!(hook(json!({ "exec": {} })), at(".exec.command: Required value"));
    assert_eq!(
        hook(json!({ "exec": { "command": ["x"] }, "sleep": { "seconds": 1 } })),
        at(".sleep: Forbidden: may not specify more than 1 handler type")
    );
    assert_eq!(
        hook(json!({ "httpGet": { "port": 0 } })),
        at(".httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive")
    );
    assert_eq!(
        hook(json!({ "httpGet": { "port": 80, "httpHeaders": [{ "name": "a b", "value": "c" }] } })),
        at(
            ".httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')"
        )
    );
    for seconds in [-1, 31] {
        let problem = format!(
            ".sleep: Invalid value: {seconds}: must be non-negative and less than terminationGracePeriodSeconds (30)"
        );
        assert_eq!(hook(json!({ "sleep": { "seconds": seconds } })), at(&problem));
    }
}

#[test]
fn probes_keep_to_their_bounds() {
    let probe = |name: &str, field: &str, value: i64| {
        container(json!({ name: { "exec": { "command": ["x"] }, field: value } }))
    };
    let at = |name: &str, problem: &str| [format!("spec.containers[0].{name}.{problem}")];
    assert!(probe("readinessProbe", "successThreshold", 3).is_empty());
    for name in ["livenessProbe", "startupProbe"] {
        assert!(probe(name, "terminationGracePeriodSeconds", 1).is_empty());
        let problem = "successThreshold: Invalid value: 3: must be 1";
        assert_eq!(probe(name, "successThreshold", 3), at(name, problem));
        let problem = "terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0";
        assert_eq!(probe(name, "terminationGracePeriodSeconds", 0), at(name, problem));
    }
    let problem = "terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes";
    assert_eq!(probe("readinessProbe", "terminationGracePeriodSeconds", 5), at("readinessProbe", problem));
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold"] {
        let problem = format!("{field}: Invalid value: -1: must be greater than or equal to 0");
        assert_eq!(probe("readinessProbe", field, -1), at("readinessProbe", &problem));
    }
}

#[test]
fn a_resize_policy_fits_the_pod_and_the_container() {
    let policy =
        |resource: &str, restart: &str| json!({ "resourceName": resource, "restartPolicy": restart });
    let of = |policies: Value| container(json!({ "resizePolicy": policies }));
    let at = |problem: &str| [format!("spec.containers[0].resizePolicy{problem}")];
    let restart = policy("memory", "RestartContainer");
    assert!(of(json!([policy("cpu", "NotRequired"), restart])).is_empty());
    assert_eq!(of(json!([restart, restart])), at("[1]: Duplicate value: \"memory\""));
    assert_eq!(
        of(json!([policy("disk", "NotRequired")])),
        at(": Unsupported value: \"disk\": supported values: \"cpu\", \"memory\"")
    );
    let never = wrong(|p| {
        p["spec"]["restartPolicy"] = "Never".into();
        p["spec"]["containers"][0]["resizePolicy"] = json!([restart]);
    });
    assert_eq!(
        never,
        at(
            ": Invalid value: \"RestartContainer\": must be 'NotRequired' when pod `restartPolicy` is 'Never'"
        )
    );
    assert_eq!(
        init(json!({ "resizePolicy": [restart] })),
        [
            "spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: \"RestartContainer\": must not be set to 'RestartContainer' for non-sidecar initContainers"
        ]
    );
    assert!(init(json!({ "resizePolicy": [restart], "restartPolicy": "Always" })).is_empty());
}

#[test]
fn the_pods_own_resources_hold_those_of_its_containers() {
    let pod = |own: Value| {
        wrong(|p| {
            p["spec"]["resources"] = own;
            p["spec"]["containers"][0]["resources"] =
                json!({ "requests": { "cpu": "1" }, "limits": { "cpu": "2" } });
        })
    };
    assert!(pod(json!({ "requests": { "cpu": "1" }, "limits": { "cpu": "2" } })).is_empty());
    assert_eq!(
        pod(json!({ "requests": { "cpu": "500m" } })),
        [
            "spec.resources.requests[cpu]: Invalid value: \"500m\": must be greater than or equal to aggregate container requests of 1"
        ]
    );
    assert_eq!(
        pod(json!({ "requests": { "cpu": "1" }, "limits": { "cpu": "1" } })),
        [
            "spec.resources.containers[0][cpu].limits: Invalid value: \"2\": must be less than or equal to pod limits of 1"
        ]
    );
}

#[test]
fn deadlines_are_only_shortened() {
    let with = |seconds: Value| admitted(|p| p["spec"]["activeDeadlineSeconds"] = seconds).unwrap();
    let set = |old: &Value, seconds: Value| {
        changed(old, Part::Main, |p| p["spec"]["activeDeadlineSeconds"] = seconds).1
    };
    let at = |problem: &str| [format!("spec.activeDeadlineSeconds: Invalid value: {problem}")];
    assert!(set(&with(Value::Null), json!(60)).is_empty());
    assert!(set(&with(json!(60)), json!(30)).is_empty());
    assert_eq!(set(&with(json!(60)), json!(61)), at("61: must be less than or equal to previous value"));
    assert_eq!(
        set(&with(json!(60)), Value::Null),
        at("null: must not update from a positive integer to nil value")
    );
    assert_eq!(
        wrong(|p| p["spec"]["activeDeadlineSeconds"] = 0.into()),
        at("0: must be between 1 and 2147483647, inclusive")
    );
}

#[test]
fn a_negative_grace_period_is_one_second() {
    let pod = admitted(|p| p["spec"]["terminationGracePeriodSeconds"] = (-5).into()).unwrap();
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 1);
    // One that was stored when it was still let in.
    let mut old = pod;
    old["spec"]["terminationGracePeriodSeconds"] = (-5).into();
    let set = |seconds: i64| {
        changed(&old, Part::Main, |p| p["spec"]["terminationGracePeriodSeconds"] = seconds.into()).1
    };
    assert!(set(1).is_empty() && set(-5).is_empty());
    assert!(set(2)[0].contains("changed: spec.terminationGracePeriodSeconds"));
}

#[test]
fn host_ports_are_taken_once_but_by_init_containers_in_turn() {
    let port = |inner: i64, outer: i64| json!([{ "containerPort": inner, "hostPort": outer }]);
    let errors = wrong(|p| {
        p["spec"]["containers"][0]["ports"] = port(80, 8080);
        p["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "name": "d", "image": "i", "ports": port(81, 8080) }));
        p["spec"]["initContainers"] = json!([{ "name": "i", "image": "i", "ports": port(82, 8080) }]);
    });
    assert_eq!(errors, ["spec.containers[1].ports[0].hostPort: Duplicate value: \"TCP//8080\""]);
    let errors = wrong(|p| {
        p["spec"]["hostNetwork"] = true.into();
        p["spec"]["containers"][0]["ports"] = port(80, 8080);
    });
    assert_eq!(
        errors,
        [
            "spec.containers[0].ports[0].hostPort: Invalid value: 8080: must match `containerPort` when `hostNetwork` is true"
        ]
    );
}
