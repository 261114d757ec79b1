//! The roles and bindings that every cluster has: upstream's, as far as there is something here to use them for.

use serde_json::{Value, json};

use crate::authorize::nodes;
use crate::kinds::Kind;
use crate::kinds::rbac::{CLUSTERROLEBINDINGS, CLUSTERROLES, GROUP, ROLEBINDINGS, ROLES};
use crate::pki::KUBELET_CLIENT;
use crate::tokens::discovery::{CONFIGURATION, KEYS};

/// Marks what comes with the server.
const LABEL: &str = "kubernetes.io/bootstrapping";
/// Says that missing rights and subjects are put back at a start; `false` leaves an object as it is.
pub(super) const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const CERTIFICATES: &str = "certificates.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const COORDINATION: &str = "coordination.k8s.io";
const EVENTS: &str = "events.k8s.io";
const POLICY: &str = "policy";
const DISCOVERY: &str = "discovery.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const METRICS: &str = "metrics.k8s.io";

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({ "verbs": verbs, "apiGroups": [group], "resources": resources })
}

fn named(verbs: &[&str], group: &str, resource: &str, names: &[&str]) -> Value {
    json!({ "verbs": verbs, "apiGroups": [group], "resources": [resource], "resourceNames": names })
}

fn paths(paths: &[&str]) -> Value {
    json!({ "verbs": ["get"], "nonResourceURLs": paths })
}

fn events() -> [Value; 2] {
    [
        rule(&["create", "patch", "update"], "", &["events"]),
        rule(&["create", "patch", "update"], EVENTS, &["events"]),
    ]
}

fn cluster_role(name: &str, rules: Vec<Value>) -> Value {
    json!({
        "metadata": {
            "name": name,
            "labels": { LABEL: "rbac-defaults" },
            "annotations": { AUTOUPDATE: "true" },
        },
        "rules": rules,
    })
}

/// A part of the roles for people that are made of parts.
fn part(of: &str, rules: Vec<Value>) -> Value {
    let mut role = cluster_role(&format!("system:aggregate-to-{of}"), rules);
    role["metadata"]["labels"][format!("{AGGREGATE}{of}")] = "true".into();
    role
}

/// A role for people; whatever is labelled for it belongs to it. Each contains the one below it.
fn aggregated(name: &str, contains: &[&str]) -> Value {
    let mut role = cluster_role(name, Vec::new());
    let selector = |of: &&str| json!({ "matchLabels": { format!("{AGGREGATE}{of}"): "true" } });
    role["aggregationRule"] =
        json!({ "clusterRoleSelectors": contains.iter().map(selector).collect::<Vec<_>>() });
    role
}

fn cluster_roles() -> Vec<Value> {
    let any = rule(&["*"], "*", &["*"]);
    let any_path = json!({ "verbs": ["*"], "nonResourceURLs": ["*"] });
    let mut roles = vec![
        cluster_role("cluster-admin", vec![any, any_path]),
        cluster_role(
            "system:discovery",
            vec![paths(&[
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ])],
        ),
        cluster_role(
            "system:public-info-viewer",
            vec![paths(&["/healthz", "/livez", "/readyz", "/version", "/version/"])],
        ),
        cluster_role(
            "system:monitoring",
            vec![paths(&[
                "/healthz",
                "/healthz/*",
                "/livez",
                "/livez/*",
                "/metrics",
                "/readyz",
                "/readyz/*",
            ])],
        ),
        cluster_role(
            "system:basic-user",
            vec![
                rule(&["create"], AUTHORIZATION, &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
                rule(&["create"], AUTHENTICATION, &["selfsubjectreviews"]),
            ],
        ),
        cluster_role(
            "system:auth-delegator",
            vec![
                rule(&["create"], AUTHENTICATION, &["tokenreviews"]),
                rule(&["create"], AUTHORIZATION, &["subjectaccessreviews"]),
            ],
        ),
    ];
    roles.extend(node_roles());
    roles.extend(signer_roles());
    roles.push(scheduler());
    roles.push(cluster_role(
        "system:service-account-issuer-discovery",
        vec![paths(&[CONFIGURATION, &format!("{CONFIGURATION}/"), KEYS, &format!("{KEYS}/")])],
    ));
    roles.push(volume_scheduler());
    roles.extend(people());
    roles
}

fn node_roles() -> Vec<Value> {
    let mut node: Vec<Value> =
        nodes::RULES.iter().map(|(verbs, group, resources)| rule(verbs, group, resources)).collect();
    node.extend([
        rule(&["create", "get", "list", "patch", "update", "watch"], "", &["nodes"]),
        rule(&["patch", "update"], "", &["nodes/status"]),
        rule(&["create", "delete", "get", "list", "watch"], "", &["pods"]),
        rule(&["patch", "update"], "", &["pods/status"]),
        rule(&["create"], "", &["pods/eviction"]),
        rule(READ, "", &["configmaps", "secrets"]),
        rule(&["get"], "", &["persistentvolumeclaims", "persistentvolumes"]),
        rule(&["get"], "", &["serviceaccounts"]),
        rule(&["create"], "", &["serviceaccounts/token"]),
        rule(&["create", "delete", "get", "patch", "update"], COORDINATION, &["leases"]),
    ]);
    vec![
        cluster_role("system:node", node),
        cluster_role(
            "system:node-bootstrapper",
            vec![rule(&["create", "get", "list", "watch"], CERTIFICATES, &["certificatesigningrequests"])],
        ),
        // What the API server may ask of nodes.
        cluster_role(
            "system:kubelet-api-admin",
            vec![
                rule(READ, "", &["nodes"]),
                rule(&["proxy"], "", &["nodes"]),
                rule(
                    &["*"],
                    "",
                    &[
                        "nodes/checkpoint",
                        "nodes/configz",
                        "nodes/healthz",
                        "nodes/log",
                        "nodes/metrics",
                        "nodes/pods",
                        "nodes/proxy",
                        "nodes/stats",
                    ],
                ),
            ],
        ),
    ]
}

fn signer_roles() -> Vec<Value> {
    let approves = |what: &str, signer: &str| {
        cluster_role(
            &format!("system:certificates.k8s.io:{what}"),
            vec![named(&["approve"], CERTIFICATES, "signers", &[signer])],
        )
    };
    let makes = |subresource: &str| {
        cluster_role(
            &format!("system:certificates.k8s.io:certificatesigningrequests:{subresource}"),
            vec![rule(&["create"], CERTIFICATES, &[&format!("certificatesigningrequests/{subresource}")])],
        )
    };
    vec![
        makes("nodeclient"),
        makes("selfnodeclient"),
        approves("kube-apiserver-client-approver", "kubernetes.io/kube-apiserver-client"),
        approves("kube-apiserver-client-kubelet-approver", "kubernetes.io/kube-apiserver-client-kubelet"),
        approves("kubelet-serving-approver", "kubernetes.io/kubelet-serving"),
    ]
}

fn scheduler() -> Value {
    let mut rules = events().to_vec();
    rules.extend([
        rule(&["create", "get", "list", "patch", "update", "watch"], COORDINATION, &["leases"]),
        rule(READ, "", &["namespaces", "nodes", "services"]),
        rule(&["delete", "get", "list", "watch"], "", &["pods"]),
        rule(&["create"], "", &["bindings", "pods/binding"]),
        rule(&["patch", "update"], "", &["pods/status"]),
        rule(READ, "scheduling.k8s.io", &["priorityclasses"]),
        rule(READ, "node.k8s.io", &["runtimeclasses"]),
        rule(&["create"], AUTHENTICATION, &["tokenreviews"]),
        rule(&["create"], AUTHORIZATION, &["subjectaccessreviews"]),
    ]);
    cluster_role("system:kube-scheduler", rules)
}

/// What binding volumes with the pods that use them needs.
fn volume_scheduler() -> Value {
    let write = [READ, &["patch", "update"]].concat();
    let rules = vec![
        rule(&write, "", &["persistentvolumes"]),
        rule(READ, STORAGE, &["storageclasses"]),
        rule(&write, "", &["persistentvolumeclaims"]),
    ];
    cluster_role("system:volume-scheduler", rules)
}

/// What nodes and pods use, for everybody who may read pods, under the name that it has with metrics-server.
fn metrics_reader() -> Value {
    let rules = vec![rule(READ, METRICS, &["nodes", "pods"])];
    let mut role = cluster_role("system:aggregated-metrics-reader", rules);
    for of in ["view", "edit", "admin"] {
        role["metadata"]["labels"][format!("{AGGREGATE}{of}")] = "true".into();
    }
    role
}

/// Roles that are given to people, for a namespace or for all.
fn people() -> Vec<Value> {
    vec![
        aggregated("admin", &["admin", "edit", "view"]),
        aggregated("edit", &["edit", "view"]),
        aggregated("view", &["view"]),
        metrics_reader(),
        part(
            "view",
            vec![
                rule(
                    READ,
                    "",
                    &[
                        "bindings",
                        "configmaps",
                        "endpoints",
                        "events",
                        "namespaces",
                        "namespaces/status",
                        "persistentvolumeclaims",
                        "persistentvolumeclaims/status",
                        "pods",
                        "pods/log",
                        "pods/status",
                        "serviceaccounts",
                        "services",
                        "services/status",
                    ],
                ),
                rule(READ, DISCOVERY, &["endpointslices"]),
                rule(READ, EVENTS, &["events"]),
                rule(READ, POLICY, &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
            ],
        ),
        part(
            "edit",
            vec![
                rule(
                    READ,
                    "",
                    &[
                        "pods/attach",
                        "pods/exec",
                        "pods/portforward",
                        "pods/proxy",
                        "secrets",
                        "services/proxy",
                    ],
                ),
                rule(&["impersonate"], "", &["serviceaccounts"]),
                rule(
                    WRITE,
                    "",
                    &[
                        "configmaps",
                        "events",
                        "persistentvolumeclaims",
                        "pods",
                        "pods/attach",
                        "pods/exec",
                        "pods/portforward",
                        "pods/proxy",
                        "secrets",
                        "serviceaccounts",
                        "services",
                        "services/proxy",
                    ],
                ),
                rule(&["create"], "", &["pods/eviction", "serviceaccounts/token"]),
                rule(&["patch", "update"], "", &["pods/ephemeralcontainers", "pods/resize"]),
                rule(&[READ, WRITE].concat(), COORDINATION, &["leases"]),
                rule(WRITE, POLICY, &["poddisruptionbudgets"]),
            ],
        ),
        part(
            "admin",
            vec![
                rule(&["create"], AUTHORIZATION, &["localsubjectaccessreviews"]),
                rule(&[READ, WRITE].concat(), GROUP, &["rolebindings", "roles"]),
            ],
        ),
    ]
}

const DEFAULT_NODE_TOKEN: &str = "system:bootstrappers:kubeadm:default-node-token";
const NODES: &str = "system:nodes";

/// `Group`s or `User`s.
fn subjects(kind: &str, names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "apiGroup": GROUP, "kind": kind, "name": name })).collect()
}

fn binding(name: &str, role_kind: &str, role: &str, subjects: &Value) -> Value {
    json!({
        "metadata": { "name": name },
        "roleRef": { "apiGroup": GROUP, "kind": role_kind, "name": role },
        "subjects": subjects,
    })
}

/// With the marks of what comes with the server.
fn default_binding(role: &str, subjects: &Value) -> Value {
    let mut binding = binding(role, "ClusterRole", role, subjects);
    binding["metadata"]["labels"] = json!({ LABEL: "rbac-defaults" });
    binding["metadata"]["annotations"] = json!({ AUTOUPDATE: "true" });
    binding
}

fn cluster_role_bindings() -> Vec<Value> {
    let everybody = subjects("Group", &["system:authenticated", "system:unauthenticated"]);
    let authenticated = subjects("Group", &["system:authenticated"]);
    vec![
        default_binding("cluster-admin", &subjects("Group", &["system:masters"])),
        default_binding("system:discovery", &authenticated),
        default_binding("system:basic-user", &authenticated),
        default_binding("system:public-info-viewer", &everybody),
        default_binding("system:monitoring", &subjects("Group", &["system:monitoring"])),
        default_binding("system:kube-scheduler", &subjects("User", &["system:kube-scheduler"])),
        default_binding("system:volume-scheduler", &subjects("User", &["system:kube-scheduler"])),
        default_binding(
            "system:service-account-issuer-discovery",
            &subjects("Group", &["system:serviceaccounts"]),
        ),
        // As upstream: there, but given to nobody. What a node may do, the Node authorizer says.
        default_binding("system:node", &json!([])),
        default_binding("system:kubelet-api-admin", &subjects("User", &[KUBELET_CLIENT])),
    ]
}

/// What kubeadm writes for nodes that join: all of it is for the group of its tokens, or for nodes.
fn kubeadm() -> Vec<(&'static Kind, Value)> {
    let joining = subjects("Group", &[DEFAULT_NODE_TOKEN]);
    let everyone = subjects("Group", &[DEFAULT_NODE_TOKEN, NODES]);
    let request =
        |subresource: &str| format!("system:certificates.k8s.io:certificatesigningrequests:{subresource}");
    let cluster_binding = |name: &str, role: &str, subjects: &Value| {
        (&CLUSTERROLEBINDINGS, binding(name, "ClusterRole", role, subjects))
    };
    let mut objects = vec![
        cluster_binding(
            "kubeadm:cluster-admins",
            "cluster-admin",
            &subjects("Group", &["kubeadm:cluster-admins"]),
        ),
        cluster_binding("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", &joining),
        cluster_binding("kubeadm:node-autoapprove-bootstrap", &request("nodeclient"), &joining),
        cluster_binding(
            "kubeadm:node-autoapprove-certificate-rotation",
            &request("selfnodeclient"),
            &subjects("Group", &[NODES]),
        ),
        cluster_binding("kubeadm:get-nodes", "kubeadm:get-nodes", &joining),
        (
            &CLUSTERROLES,
            json!({ "metadata": { "name": "kubeadm:get-nodes" }, "rules": [rule(&["get"], "", &["nodes"])] }),
        ),
    ];
    let public = [
        (
            "kube-public",
            "kubeadm:bootstrap-signer-clusterinfo",
            "cluster-info",
            subjects("User", &["system:anonymous"]),
        ),
        ("kube-system", "kubeadm:nodes-kubeadm-config", "kubeadm-config", everyone.clone()),
        ("kube-system", "kubeadm:kubelet-config", "kubelet-config", everyone),
    ];
    for (namespace, name, map, readers) in public {
        let metadata = json!({ "name": name, "namespace": namespace });
        let rules = json!([named(&["get"], "", "configmaps", &[map])]);
        objects.push((&ROLES, json!({ "metadata": metadata, "rules": rules })));
        let mut binding = binding(name, "Role", name, &readers);
        binding["metadata"] = metadata;
        objects.push((&ROLEBINDINGS, binding));
    }
    objects
}

/// All of them, roles before the bindings that name them.
pub(super) fn all() -> Vec<(&'static Kind, Value)> {
    let roles = cluster_roles().into_iter().map(|role| (&CLUSTERROLES, role));
    let bindings = cluster_role_bindings().into_iter().map(|binding| (&CLUSTERROLEBINDINGS, binding));
    let kinds: Vec<(&'static Kind, Value)> = roles.chain(bindings).chain(kubeadm()).collect();
    kinds
}
