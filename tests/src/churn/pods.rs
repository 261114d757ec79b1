//! Random pods: what their programs do, and what they have.

use serde_json::{Value, json};

use super::random::Random;
use crate::images::BUSYBOX;

/// A pod to be made.
#[derive(Debug)]
pub(super) struct Planned {
    /// Its spec.
    pub(super) spec: Value,
    /// Whether it is expected to run at all.
    pub(super) starts: bool,
    /// Whether its program ends again and again.
    pub(super) crashes: bool,
}

/// What the main program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Serves,
    Writes,
    Ignores,
    Crashes,
    Ends,
}

/// A pod for the node; `objects` is the name of a config map and of a secret that it may refer to.
pub(super) fn pod(random: &mut Random, node: &str, objects: &str) -> Planned {
    let program = match random.below(20) {
        0..8 => Program::Serves,
        8..12 => Program::Writes,
        12..14 => Program::Ignores,
        14..18 => Program::Crashes,
        _ => Program::Ends,
    };
    let policy = match program {
        Program::Crashes => random.pick(&["Always", "OnFailure", "Never"]),
        Program::Ends => random.pick(&["OnFailure", "Never"]),
        _ => "Always",
    };
    let mut main = json!({
        "name": "main",
        "image": BUSYBOX,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script(random, program)],
        "resources": resources(random),
    });
    let mut spec = json!({
        "nodeName": node,
        "restartPolicy": policy,
        // The test node knows no other resolver, and says so in an event for each pod.
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": random.pick(&[0, 1, 1, 2, 3]),
    });
    if program == Program::Serves && random.percent(60) {
        probes(random, &mut main);
    }
    if random.percent(20) {
        main["lifecycle"] = json!({
            "postStart": { "exec": { "command": ["true"] } },
            "preStop": { "exec": { "command": ["sleep", random.pick(&["0.1", "0.5", "30"])] } },
        });
    }
    if random.percent(60) {
        volumes(random, &mut spec, &mut main, objects);
    }
    if random.percent(25) {
        main["envFrom"] = json!([{ "configMapRef": { "name": objects } }]);
    }
    let mut starts = true;
    match random.below(20) {
        0 => {
            main["image"] = "nodelet.dev/nowhere:1".into();
            main["imagePullPolicy"] = "Never".into();
            starts = false;
        }
        1 => {
            main["envFrom"] = json!([{ "configMapRef": { "name": "soak-missing" } }]);
            starts = false;
        }
        // Nobody is to listen on this machine's own addresses.
        2 | 3 if program != Program::Serves => spec["hostNetwork"] = true.into(),
        _ => {}
    }
    let mut containers = vec![main];
    if random.percent(20) {
        containers.push(plain("other", "trap 'exit 0' TERM; while :; do sleep 0.2; done"));
    }
    spec["containers"] = containers.into();
    let mut inits = Vec::new();
    if random.percent(20) {
        inits.push(plain("init", random.pick(&["true", "sleep 0.3", "exit $(( $$ % 2 ))"])));
    }
    if random.percent(20) {
        let mut sidecar = plain("side", "trap 'exit 0' TERM; while :; do sleep 0.2; done");
        sidecar["restartPolicy"] = "Always".into();
        inits.push(sidecar);
    }
    spec["initContainers"] = inits.into();
    Planned { spec, starts, crashes: program == Program::Crashes && policy == "Always" }
}

/// A pod of a manifest, which refers to no object.
pub(super) fn static_pod(random: &mut Random, name: &str) -> Value {
    let word = random.below(1_000_000);
    let mut main = plain("main", &format!("trap 'exit 0' TERM; while :; do echo {word}; sleep 0.2; done"));
    main["volumeMounts"] = json!([{ "name": "v", "mountPath": "/v" }]);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [main],
            "volumes": [{ "name": "v", "emptyDir": { "medium": random.pick(&["", "Memory"]) } }],
        },
    })
}

fn plain(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": BUSYBOX, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script] })
}

fn script(random: &mut Random, program: Program) -> String {
    match program {
        Program::Serves => "mkdir -p /www; echo ok >/www/index.html; httpd -p 8080 -h /www; \
                            trap 'exit 0' TERM; while :; do sleep 0.2; done"
            .to_owned(),
        Program::Writes => {
            "trap 'exit 0' TERM; while :; do echo a line of some length to be followed; sleep 0.02; done"
                .to_owned()
        }
        Program::Ignores => "trap '' TERM; while :; do sleep 1; done".to_owned(),
        Program::Crashes => format!("echo dies; sleep 0.{}; exit {}", random.below(10), 1 + random.below(3)),
        Program::Ends => format!("echo done; sleep 0.{}", random.below(10)),
    }
}

fn resources(random: &mut Random) -> Value {
    match random.below(3) {
        0 => json!({}),
        1 => json!({ "requests": { "cpu": "1m", "memory": "1Mi" } }),
        _ => {
            json!({ "limits": { "cpu": "500m", "memory": "64Mi" }, "requests": { "cpu": "1m", "memory": "1Mi" } })
        }
    }
}

fn probes(random: &mut Random, main: &mut Value) {
    let often = |mut probe: Value| {
        probe["periodSeconds"] = 1.into();
        probe["failureThreshold"] = 3.into();
        probe
    };
    let kinds = [
        json!({ "httpGet": { "path": "/", "port": 8080 } }),
        json!({ "tcpSocket": { "port": 8080 } }),
        json!({ "exec": { "command": ["true"] } }),
    ];
    let mut kind = || kinds[usize::try_from(random.below(3)).unwrap_or(0)].clone();
    main["readinessProbe"] = often(kind());
    main["startupProbe"] = often(kind());
    // Some fail, so that the container is started again.
    main["livenessProbe"] = if random.percent(25) {
        often(json!({ "exec": { "command": ["false"] } }))
    } else {
        often(json!({ "tcpSocket": { "port": 8080 } }))
    };
}

/// One volume of each kind that is drawn, mounted at `/v/KIND`.
fn volumes(random: &mut Random, spec: &mut Value, main: &mut Value, objects: &str) {
    let field = json!([{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }]);
    let all = [
        ("disk", json!({ "emptyDir": {} })),
        ("memory", json!({ "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } })),
        ("config", json!({ "configMap": { "name": objects } })),
        ("secret", json!({ "secret": { "secretName": objects } })),
        ("downward", json!({ "downwardAPI": { "items": field } })),
        (
            "projected",
            json!({ "projected": { "sources": [
                { "serviceAccountToken": { "path": "token", "expirationSeconds": 600 } },
                { "configMap": { "name": objects } },
                { "downwardAPI": { "items": field } },
            ] } }),
        ),
    ];
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for (name, mut source) in all {
        if random.percent(50) {
            continue;
        }
        source["name"] = name.into();
        volumes.push(source);
        mounts.push(json!({ "name": name, "mountPath": format!("/v/{name}") }));
    }
    let has = |volumes: &[Value], name: &str| volumes.iter().any(|v| v["name"] == name);
    if has(&volumes, "disk") {
        mounts.push(json!({ "name": "disk", "mountPath": "/v/part", "subPath": "a/b" }));
    }
    if has(&volumes, "config") {
        mounts.push(json!({ "name": "config", "mountPath": "/v/word", "subPath": "word" }));
    }
    (spec["volumes"], main["volumeMounts"]) = (volumes.into(), mounts.into());
}
