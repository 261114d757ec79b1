//! What a manifest says about environment, names, namespaces and rights, seen from inside of containers on a real containerd.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::BTreeMap;
use std::time::Duration;

use harness::cluster::{Cluster, ClusterOptions, scenario};
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(90);

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

fn state(pod: &Pod) -> ContainerState {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_deref()).unwrap_or_default();
    statuses.first().and_then(|s| s.state.clone()).unwrap_or_default()
}

/// Reason and message of a container that waits.
fn waiting(pod: &Pod) -> (String, String) {
    let waiting = state(pod).waiting.unwrap_or_default();
    (waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default())
}

/// A pod of one busybox container that runs `script` once; `fields` are those of its spec, `own` those of its container, in YAML.
fn pod(name: &str, fields: &str, own: &str, script: &str) -> String {
    let script = serde_json::to_string(script).unwrap();
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ tier: front }}, annotations: {{ note: kept }} }}\nspec:\n  restartPolicy: Never\n  terminationGracePeriodSeconds: 1\n{fields}\n  containers:\n  - name: c\n    image: {image}\n    command: [sh, -c, {script}]\n{own}\n",
        image = harness::images::BUSYBOX,
    )
}

/// What the pod's container said until it succeeded.
async fn said(cluster: &Cluster, name: &str) -> String {
    let ended = cluster
        .wait_for_pod(name, "ended", LIMIT, |p| matches!(phase(p), "Succeeded" | "Failed"))
        .await
        .unwrap();
    let log = cluster.kubectl_ok(&["logs", name, "-c", "c"]).await.unwrap();
    assert_eq!(phase(&ended), "Succeeded", "{log}");
    log
}

/// `NAME=value` lines.
fn table(log: &str) -> BTreeMap<&str, &str> {
    log.lines().filter_map(|line| line.split_once('=')).collect()
}

async fn event(cluster: &Cluster, pod: &str, text: &str) {
    let look = || async {
        let shown = cluster.kubectl_ok(&["events", &format!("--for=pod/{pod}")]).await.unwrap();
        if shown.contains(text) { Look::There(()) } else { Look::NotYet(shown) }
    };
    wait::until(&format!("an event of pod {pod} with {text:?}"), LIMIT, look).await.unwrap();
}

const OBJECTS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: { name: settings }
data: { mode: quick, color: blue, odd.key: odd }
---
apiVersion: v1
kind: Secret
metadata: { name: login }
stringData: { user: ada, password: hunter2-of-the-test }
---
apiVersion: v1
kind: Service
metadata: { name: my-db }
spec: { selector: { app: db }, ports: [{ name: sql, port: 5432 }] }
"#;

const ENVIRONMENT: &str = r#"
    resources: { requests: { cpu: 10m, memory: 8Mi }, limits: { memory: 64Mi } }
    args: [ignored, "$(WORD)-$(user)", "$(NONE)", "$$(WORD)"]
    envFrom:
    - { prefix: CM_, configMapRef: { name: settings } }
    - { secretRef: { name: login } }
    - { secretRef: { name: nowhere, optional: true } }
    env:
    - { name: WORD, value: word }
    - { name: EARLY, value: "$(LATE) $(WORD) $(CM_mode) $(MY_DB_SERVICE_PORT) $$(WORD)" }
    - { name: LATE, value: late }
    - { name: CM_color, value: green }
    - { name: MODE, valueFrom: { configMapKeyRef: { name: settings, key: mode } } }
    - { name: PASSWORD, valueFrom: { secretKeyRef: { name: login, key: password } } }
    - { name: MAYBE, valueFrom: { secretKeyRef: { name: login, key: none, optional: true } } }
    - { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
    - { name: TIER, valueFrom: { fieldRef: { fieldPath: "metadata.labels['tier']" } } }
    - { name: NOTE, valueFrom: { fieldRef: { fieldPath: "metadata.annotations['note']" } } }
    - { name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
    - { name: ACCOUNT, valueFrom: { fieldRef: { fieldPath: spec.serviceAccountName } } }
    - { name: HOST_IP, valueFrom: { fieldRef: { fieldPath: status.hostIP } } }
    - { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
    - { name: CPU, valueFrom: { resourceFieldRef: { resource: requests.cpu, divisor: 1m } } }
    - { name: MEMORY, valueFrom: { resourceFieldRef: { resource: limits.memory, divisor: 1Mi } } }
    - { name: CPUS, valueFrom: { resourceFieldRef: { resource: limits.cpu } } }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn containers_see_the_environment_of_their_manifest_and_wait_for_what_is_missing() {
    scenario(ClusterOptions::for_test("workloads-env").unwrap(), async |cluster| {
        cluster.apply(OBJECTS).await.unwrap();
        cluster.apply(&pod("all", "", ENVIRONMENT, "env; echo ARGS=$*")).await.unwrap();
        let log = said(cluster, "all").await;
        let seen = table(&log);
        let ended = cluster.wait_for_pod("all", "there", LIMIT, |_| true).await.unwrap();
        let status = ended.status.clone().unwrap();
        let node = ended.spec.as_ref().unwrap().node_name.clone().unwrap();
        let cpus = cluster.kubectl_ok(&["get", "node", &node, "-o", "jsonpath={.status.allocatable.cpu}"]).await.unwrap();
        let expected = [
            ("CM_mode", "quick"),
            ("CM_color", "green"),
            ("CM_odd.key", "odd"),
            ("user", "ada"),
            ("password", "hunter2-of-the-test"),
            ("WORD", "word"),
            ("EARLY", "$(LATE) word quick 5432 $(WORD)"),
            ("MODE", "quick"),
            ("PASSWORD", "hunter2-of-the-test"),
            ("POD_NAME", "all"),
            ("TIER", "front"),
            ("NOTE", "kept"),
            ("NODE", node.as_str()),
            ("HOST_IP", status.host_ip.as_deref().unwrap()),
            ("POD_IP", status.pod_ip.as_deref().unwrap()),
            ("CPU", "10"),
            ("MEMORY", "64"),
            ("CPUS", cpus.as_str()),
            ("MY_DB_SERVICE_PORT", "5432"),
            ("MY_DB_SERVICE_PORT_SQL", "5432"),
            ("MY_DB_PORT_5432_TCP_PROTO", "tcp"),
            ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
            ("ARGS", "word-ada $(NONE) $(WORD)"),
        ];
        for (name, value) in expected {
            assert_eq!(seen.get(name), Some(&value), "{name} in\n{log}");
        }
        assert!(!seen.contains_key("MAYBE"), "{log}");
        let ip = seen["MY_DB_SERVICE_HOST"];
        assert_eq!(seen["MY_DB_PORT"], format!("tcp://{ip}:5432"));

        cluster.apply(&pod("alone", "  enableServiceLinks: false", "", "env")).await.unwrap();
        let log = said(cluster, "alone").await;
        assert!(log.contains("KUBERNETES_SERVICE_HOST=") && !log.contains("MY_DB"), "{log}");

        // What is missing is named, and appears.
        let needs = "    envFrom: [{ configMapRef: { name: later } }]\n    env: [{ name: KEY, valueFrom: { secretKeyRef: { name: login, key: extra } } }]";
        cluster.apply(&pod("patient", "", needs, "env")).await.unwrap();
        let wants = |text: &'static str| move |p: &Pod| waiting(p) == ("CreateContainerConfigError".to_owned(), text.to_owned());
        cluster.wait_for_pod("patient", "told what is missing", LIMIT, wants("configmap \"later\" not found")).await.unwrap();
        event(cluster, "patient", "Error: configmap \"later\" not found").await;
        cluster.kubectl_ok(&["create", "configmap", "later", "--from-literal=NOW=here"]).await.unwrap();
        let no_key = wants("couldn't find key extra in Secret default/login");
        cluster.wait_for_pod("patient", "told of the key", LIMIT, no_key).await.unwrap();
        let patch = r#"{"stringData":{"extra":"came"}}"#;
        cluster.kubectl_ok(&["patch", "secret", "login", "-p", patch]).await.unwrap();
        let log = said(cluster, "patient").await;
        assert!(log.contains("NOW=here\n") && log.contains("KEY=came\n"), "{log}");

        // Values of secrets are nowhere but in the container.
        let node = cluster.layout().node(0);
        let kept = std::fs::read_to_string(node.join("nodelet.log")).unwrap();
        assert!(!kept.contains("hunter2-of-the-test"), "a secret is in the log");
    })
    .await;
}

/// What a process says about itself.
const SELF: &str = "echo uid=$(id -u); echo gid=$(id -g); echo groups=$(id -G); \
    grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t' | tr : =; \
    touch /made 2>/dev/null && echo root=writable || echo root=readonly; \
    dd if=/proc/timer_list of=/dev/null bs=1 count=1 2>/dev/null; \
    echo proc=$(head -c 1 /proc/timer_list | wc -c)";

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_named_resolved_and_confined_as_their_manifests_say() {
    let options = ClusterOptions::for_test("workloads-names")
        .unwrap()
        .kubelet("clusterDNS", json!(["10.96.0.10"]))
        .kubelet("clusterDomain", json!("cluster.local"))
        .kubelet("allowedUnsafeSysctls", json!(["kernel.msg*"]));
    scenario(options, async |cluster| {
        let names = "cat /etc/resolv.conf | sed 's/^/resolv: /'; cat /etc/hosts | sed 's/^/hosts: /'; echo name=$(hostname)";
        let all = [
            pod("dns", "  hostname: web\n  subdomain: sub\n  setHostnameAsFQDN: true\n  hostAliases: [{ ip: 10.1.2.3, hostnames: [a.example, b.example] }]\n  dnsConfig: { nameservers: [10.9.9.7, 10.9.9.8, 10.9.9.9], searches: [extra.example], options: [{ name: timeout, value: '1' }] }", "", names),
            pod("none", "  dnsPolicy: None\n  dnsConfig: { nameservers: [10.9.9.9], searches: [only.example] }", "", names),
            pod("host", "  hostNetwork: true\n  hostPID: true\n  hostIPC: true\n  hostAliases: [{ ip: 10.1.2.3, hostnames: [a.example] }]", "", &format!("{names}; ls -d /proc/[0-9]* | wc -l | sed 's/^/processes=/'; echo ipc=$(readlink /proc/self/ns/ipc); echo net=$(readlink /proc/self/ns/net)")),
            pod("sysctls", "  securityContext: { sysctls: [{ name: net.ipv4.ip_unprivileged_port_start, value: '80' }, { name: kernel/msgmax, value: '16384' }] }", "", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax"),
            pod("forbidden", "  securityContext: { sysctls: [{ name: kernel.shmmax, value: '16384' }] }", "", "true"),
            pod("plain", "", "", SELF),
            pod("strict", "  securityContext: { runAsUser: 1000, runAsGroup: 3000, fsGroup: 2000, supplementalGroups: [4000], runAsNonRoot: true, seccompProfile: { type: RuntimeDefault } }", "    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }", SELF),
            pod("added", "", "    securityContext: { capabilities: { add: [SYS_TIME], drop: [CHOWN] } }", SELF),
            pod("privileged", "", "    securityContext: { privileged: true }", SELF),
            pod("root", "  securityContext: { runAsNonRoot: true }", "", "true"),
            pod("message", "", "    terminationMessagePath: /tmp/why", "printf 'the reason' > /tmp/why"),
            pod("class", "  runtimeClassName: named", "", "echo ran"),
            pod("handler", "  runtimeClassName: wrong", "", "echo ran"),
        ];
        let class = |name: &str, handler: &str| {
            format!("---\napiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {{ name: {name} }}\nhandler: {handler}\n")
        };
        let manifests: String = [class("named", "runc"), class("wrong", "no-such-handler")].into_iter().chain(all).collect();
        cluster.apply(&manifests).await.unwrap();
        cluster.apply(&shared()).await.unwrap();

        let log = said(cluster, "dns").await;
        for line in [
            "resolv: nameserver 10.96.0.10",
            "resolv: search default.svc.cluster.local svc.cluster.local cluster.local",
            "resolv: options ndots:5 timeout:1",
            "hosts: # Kubernetes-managed hosts file.",
            "hosts: # Entries added by HostAliases.",
            "hosts: 10.1.2.3\ta.example\tb.example",
            "\tweb.sub.default.svc.cluster.local\tweb",
            "name=web.sub.default.svc.cluster.local",
        ] {
            assert!(log.contains(line), "{line} in\n{log}");
        }
        assert!(log.lines().any(|l| l.starts_with("resolv: search ") && l.ends_with(" extra.example")), "{log}");
        assert!(log.contains("resolv: nameserver 10.9.9.8\n") && !log.contains("10.9.9.9"), "{log}");
        event(cluster, "dns", "Nameserver limits were exceeded").await;
        let log = said(cluster, "none").await;
        assert!(log.contains("resolv: nameserver 10.9.9.9\n") && !log.contains("10.96.0.10"), "{log}");
        assert!(log.contains("resolv: search only.example\n") && log.contains("name=none\n"), "{log}");
        let log = said(cluster, "host").await;
        let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert!(log.contains("hosts: # Kubernetes-managed hosts file (host network).\n") && log.contains("10.1.2.3\ta.example"), "{log}");
        let seen = table(&log);
        assert!(seen["processes"].parse::<u32>().unwrap() > 20, "{log}");
        assert_eq!(seen["ipc"], own("ipc").to_str().unwrap());

        assert_eq!(said(cluster, "sysctls").await, "80\n16384\n");
        let refused = cluster.wait_for_pod("forbidden", "refused", LIMIT, |p| phase(p) == "Failed").await.unwrap();
        let status = refused.status.unwrap();
        assert_eq!(status.reason.as_deref(), Some("SysctlForbidden"));
        assert!(status.message.unwrap().contains("\"kernel.shmmax\" not allowlisted"));

        rights(cluster).await;
        let log = said(cluster, "sharing").await;
        assert!(log.contains("sees the other\n"), "{log}");

        said(cluster, "message").await;
        let ended = cluster.wait_for_pod("message", "there", LIMIT, |_| true).await.unwrap();
        assert_eq!(state(&ended).terminated.unwrap().message.as_deref(), Some("the reason"));

        assert_eq!(said(cluster, "class").await, "ran\n");
        event(cluster, "handler", "Failed to create pod sandbox: ").await;
        event(cluster, "handler", "no-such-handler").await;
        cluster.kubectl_ok(&["delete", "pod", "handler", "root", "--timeout=60s"]).await.unwrap();
    })
    .await;
}

/// Two containers that share their processes.
fn shared() -> String {
    let script = "until pidof httpd >/dev/null; do sleep 0.2; done; echo sees the other; kill $(pidof httpd)";
    let other = "  - name: other\n    image: nodelet.dev/busybox:1\n    command: [sh, -c, \"httpd -f -p 8099; true\"]\n";
    pod("sharing", "  shareProcessNamespace: true", "", script) + other
}

/// What containers may do is what their security contexts say.
async fn rights(cluster: &Cluster) {
    let get = async |name: &str| said(cluster, name).await;
    let log = get("plain").await;
    let plain = table(&log);
    assert_eq!(
        (plain["uid"], plain["gid"], plain["NoNewPrivs"], plain["Seccomp"], plain["root"]),
        ("0", "0", "0", "0", "writable"),
        "{log}"
    );
    assert_eq!(plain["proc"], "0", "hidden: {log}");
    let bits = |text: &str| u64::from_str_radix(text, 16).unwrap();
    const CHOWN: u64 = 1;
    const SYS_TIME: u64 = 1 << 25;
    assert_eq!(bits(plain["CapEff"]) & (CHOWN | SYS_TIME), CHOWN);
    let log = get("strict").await;
    let strict = table(&log);
    assert_eq!(
        (strict["uid"], strict["gid"], strict["NoNewPrivs"], strict["Seccomp"], strict["root"]),
        ("1000", "3000", "1", "2", "readonly"),
        "{log}"
    );
    let groups: Vec<&str> = strict["groups"].split(' ').collect();
    assert!(["2000", "3000", "4000"].iter().all(|g| groups.contains(g)), "{log}");
    assert_eq!((bits(strict["CapEff"]), bits(strict["CapBnd"])), (0, 0), "{log}");
    let log = get("added").await;
    assert_eq!(bits(table(&log)["CapEff"]) & (CHOWN | SYS_TIME), SYS_TIME, "{log}");
    let log = get("privileged").await;
    let all = table(&log);
    assert!(bits(all["CapEff"]) > bits(plain["CapEff"]), "{log}");
    let is_root = |p: &Pod| {
        waiting(p)
            .1
            .starts_with("container has runAsNonRoot and image will run as root (pod: \"root_default(")
    };
    let root = cluster.wait_for_pod("root", "refused", LIMIT, is_root).await.unwrap();
    assert_eq!(waiting(&root).0, "CreateContainerConfigError");
}

/// What a manifest's annotations say about its pod.
struct Expected {
    name: String,
    container: String,
    /// Parts of its log.
    says: Vec<String>,
    /// Its last phase, where it ends.
    ends: Option<String>,
    /// Whether it becomes ready.
    ready: bool,
}

fn read(text: &str) -> Result<Pod, serde_saphyr::Error> {
    let mut options = serde_saphyr::Options::default();
    options.legacy_octal_numbers = true;
    serde_saphyr::from_str_with_options(text, options)
}

fn expected() -> Vec<(String, Vec<Expected>)> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let pods = text.split("\n---\n").filter(|part| part.contains("kind: Pod\n"));
        let pods = pods.map(|part| read(part).unwrap_or_else(|e| panic!("{path:?}: {e}")));
        let pods = pods.map(|pod| {
            let annotations = pod.metadata.annotations.unwrap_or_default();
            let of = |key: &str| annotations.get(key).cloned();
            let first = || pod.spec.as_ref().unwrap().containers[0].name.clone();
            Expected {
                name: pod.metadata.name.unwrap(),
                container: of("check/container").unwrap_or_else(first),
                says: of("check/says").unwrap_or_default().lines().map(str::to_owned).collect(),
                ends: of("check/ends"),
                ready: of("check/ready").is_some(),
            }
        });
        let pods = pods.collect();
        all.push((text, pods));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_from_the_wild_do_what_they_say() {
    scenario(ClusterOptions::for_test("workloads-wild").unwrap(), async |cluster| {
        let all = expected();
        assert!(all.len() >= 40, "{} manifests", all.len());
        for (text, _) in &all {
            cluster.apply(text).await.unwrap();
        }
        for Expected { name, container, says, ends, ready } in all.iter().flat_map(|(_, pods)| pods) {
            if let Some(last) = ends {
                let over = |p: &Pod| matches!(phase(p), "Succeeded" | "Failed");
                let ended = cluster.wait_for_pod(name, "over", LIMIT, over).await.unwrap();
                let log = cluster.kubectl_ok(&["logs", name, "-c", container]).await;
                assert_eq!(phase(&ended), last, "{name} said {log:?}: {:?}", ended.status);
            }
            if *ready {
                let pod = cluster.wait_ready(name, LIMIT).await.unwrap();
                let restarts = pod.status.unwrap().container_statuses.unwrap()[0].restart_count;
                assert_eq!(restarts, 0, "{name}");
            }
            let look = || async {
                // A container that has not begun has no log to read.
                let log = cluster
                    .kubectl_ok(&["logs", name, "-c", container])
                    .await
                    .unwrap_or_else(|e| e.to_string());
                if says.iter().all(|part| log.contains(part)) { Look::There(()) } else { Look::NotYet(log) }
            };
            wait::until(&format!("{name} to say {says:?}"), LIMIT, look).await.unwrap();
        }
        let failed = cluster.wait_for_pod("job-fails-with-message", "there", LIMIT, |_| true).await.unwrap();
        assert_eq!(state(&failed).terminated.unwrap().message.as_deref(), Some("bad input\n"));
        let failed = cluster.wait_for_pod("job-fallback-to-logs", "there", LIMIT, |_| true).await.unwrap();
        assert_eq!(state(&failed).terminated.unwrap().message.as_deref(), Some("the last words\n"));
    })
    .await;
}
