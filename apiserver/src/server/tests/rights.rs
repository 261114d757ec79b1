//! Roles, bindings and reviews, as people use them.

use super::*;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

fn role(name: &str, verbs: &[&str], resources: &[&str]) -> Value {
    let rule = json!({ "verbs": verbs, "apiGroups": [""], "resources": resources });
    json!({ "metadata": { "name": name }, "rules": [rule] })
}

fn binding(name: &str, kind: &str, role: &str, user: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "roleRef": { "kind": kind, "name": role },
        "subjects": [{ "kind": "User", "name": user }],
    })
}

async fn post(client: &Client, path: &str, object: &Value) -> Reply {
    send(client, request(Method::POST, path, "application/json", &object.to_string())).await
}

async fn get(client: &Client, path: &str) -> Reply {
    send(client, request(Method::GET, path, "", "")).await
}

#[tokio::test]
async fn a_binding_counts_at_once_and_so_does_its_end() {
    let world = World::start().await;
    let bob = world.client_as("bob", "dev").await;
    let refused = get(&bob, PODS).await.expect(403);
    assert_eq!(
        refused.message(),
        "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    for _ in 0..5 {
        world.post(&bindings, &binding("bob", "ClusterRole", "view", "bob")).await.expect(201);
        get(&bob, PODS).await.expect(200);
        get(&bob, "/api/v1/namespaces/kube-system/pods").await.expect(403);
        get(&bob, "/api/v1/namespaces/default/secrets").await.expect(403);
        world.delete(&format!("{bindings}/bob"), &json!({})).await.expect(200);
        get(&bob, PODS).await.expect(403);
    }
}

#[tokio::test]
async fn nobody_grants_what_he_lacks_unless_he_may() {
    let world = World::start().await;
    let bob = world.client_as("bob", "dev").await;
    let (roles, bindings) =
        (format!("{RBAC}/namespaces/default/roles"), format!("{RBAC}/namespaces/default/rolebindings"));
    world.post(&bindings, &binding("bob", "ClusterRole", "admin", "bob")).await.expect(201);
    post(&bob, &roles, &role("pods", &["get", "list"], &["pods"])).await.expect(201);
    let refused = post(&bob, &roles, &role("nodes", &["get"], &["nodes"])).await.expect(403);
    assert!(
        refused.message().starts_with("roles.rbac.authorization.k8s.io \"nodes\" is forbidden: user \"bob\" (groups=[\"dev\" \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}"),
        "{}",
        refused.message()
    );
    let refused =
        post(&bob, &bindings, &binding("all", "ClusterRole", "cluster-admin", "bob")).await.expect(403);
    assert!(refused.message().contains("not currently held"), "{refused:?}");
    post(&bob, &bindings, &binding("eve", "ClusterRole", "edit", "eve")).await.expect(201);
    post(&bob, &bindings, &binding("none", "ClusterRole", "absent", "eve")).await.expect(404);
    // A change of what is not the rules is none; widening them is.
    let pods = format!("{roles}/pods");
    let patch =
        |patch: Value| request(Method::PATCH, &pods, "application/merge-patch+json", &patch.to_string());
    send(&bob, patch(json!({ "metadata": { "labels": { "a": "b" } } }))).await.expect(200);
    let wider = json!({ "rules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }] });
    send(&bob, patch(wider.clone())).await.expect(403);
    // With the rights to escalate and to bind he may.
    let free = json!({
        "metadata": { "name": "free" },
        "rules": [{ "verbs": ["escalate", "bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "clusterroles"] }],
    });
    world.post(&roles, &free).await.expect(201);
    world.post(&bindings, &binding("free", "Role", "free", "bob")).await.expect(201);
    send(&bob, patch(wider)).await.expect(200);
    post(&bob, &bindings, &binding("all", "ClusterRole", "cluster-admin", "bob")).await.expect(201);
}

#[tokio::test]
async fn roles_for_people_are_made_of_labelled_parts() {
    let world = World::start().await;
    let rules = async |name: &str| {
        let role = world.get(&format!("{RBAC}/clusterroles/{name}")).await.expect(200).body;
        role["rules"].as_array().unwrap().len()
    };
    assert!(rules("admin").await > rules("edit").await && rules("edit").await > rules("view").await);
    let before = rules("view").await;
    let mut part = role("more", &["get"], &["nodes"]);
    part["metadata"]["labels"] = json!({ "rbac.authorization.k8s.io/aggregate-to-view": "true" });
    world.post(&format!("{RBAC}/clusterroles"), &part).await.expect(201);
    let mut waited = Duration::ZERO;
    while rules("view").await == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
        waited += Duration::from_millis(20);
        assert!(waited < PATIENCE, "the part is not taken in");
    }
    assert_eq!(rules("view").await, before + 1);
}

#[tokio::test]
async fn reviews_tell_who_somebody_is_and_what_he_may() {
    let world = World::start().await;
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    world.post(&bindings, &binding("bob", "ClusterRole", "view", "bob")).await.expect(201);
    let bob = world.client_as("bob", "dev").await;
    let who = post(&bob, "/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.expect(201);
    let info = &who.body["status"]["userInfo"];
    assert_eq!(
        (&info["username"], &info["groups"]),
        (&json!("bob"), &json!(["dev", "system:authenticated"]))
    );
    assert!(
        info["extra"]["authentication.kubernetes.io/credential-id"][0]
            .as_str()
            .unwrap()
            .starts_with("X509SHA256=")
    );
    let asks = |verb: &str, resource: &str| json!({ "spec": { "resourceAttributes": { "namespace": "default", "verb": verb, "resource": resource } } });
    let own = format!("{REVIEWS}/selfsubjectaccessreviews");
    let yes = post(&bob, &own, &asks("list", "pods")).await.expect(201);
    assert_eq!(yes.body["status"]["allowed"], true);
    assert_eq!(
        yes.body["status"]["reason"],
        "RBAC: allowed by RoleBinding \"bob/default\" of ClusterRole \"view\" to User \"bob\""
    );
    assert_eq!(post(&bob, &own, &asks("delete", "pods")).await.expect(201).body["status"]["allowed"], false);
    post(&bob, &own, &json!({ "spec": {} })).await.expect(422);
    let rules = json!({ "spec": { "namespace": "default" } });
    let rules = post(&bob, &format!("{REVIEWS}/selfsubjectrulesreviews"), &rules).await.expect(201);
    let resources = rules.body["status"]["resourceRules"].as_array().unwrap();
    assert!(resources.iter().any(|r| r["resources"].as_array().unwrap().contains(&"pods/log".into())));
    assert!(!rules.body["status"]["nonResourceRules"].as_array().unwrap().is_empty());
    // About others one asks with a right of its own.
    let mut about = asks("list", "pods");
    about["spec"]["user"] = "bob".into();
    post(&bob, &format!("{REVIEWS}/subjectaccessreviews"), &about).await.expect(403);
    let local = format!("{REVIEWS}/namespaces/default/localsubjectaccessreviews");
    for path in [&format!("{REVIEWS}/subjectaccessreviews"), &local] {
        let answer = world.post(path, &about).await.expect(201);
        assert_eq!(answer.body["status"]["allowed"], true, "{path}");
    }
    about["spec"]["user"] = "".into();
    world.post(&local, &about).await.expect(422);
    about["spec"]["groups"] = json!(["system:masters"]);
    assert_eq!(world.post(&local, &about).await.expect(201).body["status"]["allowed"], true);
}

#[tokio::test]
async fn who_may_acts_as_somebody_else() {
    let world = World::start().await;
    let as_user = |path: &str, headers: &[(&str, &str)]| {
        let mut request = request(Method::GET, path, "", "");
        for (name, value) in headers {
            request.headers_mut().append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        request
    };
    let refused = world.send(as_user(PODS, &[("Impersonate-User", "bob")])).await.expect(403);
    assert!(refused.message().contains("User \"bob\" cannot list"), "{refused:?}");
    let masters = [("Impersonate-User", "bob"), ("Impersonate-Group", "system:masters")];
    world.send(as_user(PODS, &masters)).await.expect(200);
    let bob = world.client_as("bob", "dev").await;
    let refused =
        send(&bob, as_user("/healthz", &[("Impersonate-User", "kubernetes-admin")])).await.expect(403);
    assert_eq!(
        refused.message(),
        "users \"kubernetes-admin\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
}
