//! Service accounts and their tokens, as programs in pods see them.

use kube::config::AuthInfo;

use super::*;

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// A client with this token and nothing else.
async fn with_token(world: &World, token: &str) -> Client {
    let admin = world.server.as_ref().unwrap().admin_kubeconfig();
    let token = token.to_owned();
    client_of(&admin, |config| {
        config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    })
    .await
}

async fn ask(client: &Client, path: &str) -> Reply {
    send(client, request(Method::GET, path, "", "")).await
}

async fn token(world: &World, account: &str, spec: Value) -> Reply {
    world.post(&format!("{ACCOUNTS}/{account}/token"), &json!({ "spec": spec })).await
}

async fn review(world: &World, token: &str, audiences: Value) -> Value {
    let spec = json!({ "token": token, "audiences": audiences });
    world.post(REVIEWS, &json!({ "spec": spec })).await.expect(201).body["status"].clone()
}

/// Waits until there is such an object.
async fn appears(world: &World, path: &str, wanted: impl Fn(&Reply) -> bool) -> Reply {
    world.until(path, |reply| reply.code == 200 && wanted(reply)).await
}

#[tokio::test]
async fn every_namespace_has_an_account_and_the_certificate_and_both_come_again() {
    let world = World::start().await;
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "x" } });
    world.post("/api/v1/namespaces", &namespace).await.expect(201);
    let account = "/api/v1/namespaces/x/serviceaccounts/default";
    let map = format!("/api/v1/namespaces/x/configmaps/{ROOT}");
    let first = appears(&world, account, |_| true).await;
    let right = appears(&world, &map, |_| true).await.body["data"].clone();
    assert!(right["ca.crt"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    world.delete(account, &json!({})).await.expect(200);
    appears(&world, account, |again| again.metadata("uid") != first.metadata("uid")).await;
    world.patch(&map, "merge", &json!({ "data": { "ca.crt": "wrong" } })).await.expect(200);
    appears(&world, &map, |again| again.body["data"] == right).await;
    world.delete(&map, &json!({})).await.expect(200);
    appears(&world, &map, |again| again.body["data"] == right).await;
}

#[tokio::test]
async fn a_token_lets_in_as_its_account_and_says_whose_it_is() {
    let world = World::start().await;
    let made = token(&world, "default", json!({})).await.expect(201).body;
    assert_eq!((&made["kind"], &made["spec"]["expirationSeconds"]), (&json!("TokenRequest"), &json!(3600)));
    assert_eq!(made["spec"]["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
    let secret = made["status"]["token"].as_str().unwrap();
    let client = with_token(&world, secret).await;
    let refused = ask(&client, MAPS).await.expect(403);
    assert!(
        refused.message().contains("User \"system:serviceaccount:default:default\" cannot list"),
        "{refused:?}"
    );
    let status = review(&world, secret, Value::Null).await;
    assert_eq!(status["authenticated"], true);
    let groups = json!(["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]);
    assert_eq!(
        (&status["user"]["username"], &status["user"]["groups"]),
        (&json!("system:serviceaccount:default:default"), &groups)
    );
    assert_eq!(status["audiences"], json!(["https://kubernetes.default.svc.cluster.local"]));
    assert!(
        status["user"]["extra"]["authentication.kubernetes.io/credential-id"][0]
            .as_str()
            .unwrap()
            .starts_with("JTI=")
    );
    token(&world, "nobody", json!({})).await.expect(404);
    token(&world, "default", json!({ "expirationSeconds": 599 })).await.expect(422);
    world.post(REVIEWS, &json!({ "spec": {} })).await.expect(400);
}

#[tokio::test]
async fn a_token_for_somebody_else_does_not_let_in_here() {
    let world = World::start().await;
    let made = token(&world, "default", json!({ "audiences": ["vault"] })).await.expect(201).body;
    let secret = made["status"]["token"].as_str().unwrap();
    ask(&with_token(&world, secret).await, "/version").await.expect(401);
    let status = review(&world, secret, json!(["vault", "other"])).await;
    assert_eq!((&status["authenticated"], &status["audiences"]), (&json!(true), &json!(["vault"])));
    let status = review(&world, secret, Value::Null).await;
    let said = status["error"].as_str().unwrap();
    assert!(said.starts_with("[invalid bearer token, token audiences [\"vault\"] is invalid"), "{said}");
    assert_eq!(status.get("authenticated"), None);
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_pod_ends_with_it() {
    let world = World::start().await;
    world.bound_pod("a").await;
    let made = world.get(&format!("{PODS}/a")).await.expect(200);
    assert!(made.body["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"].is_object());
    let uid = made.metadata("uid");
    let bound = |uid: &str| json!({ "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "a", "uid": uid } });
    token(&world, "default", bound("other")).await.expect(409);
    let secret = token(&world, "default", bound(uid)).await.expect(201).body["status"]["token"].clone();
    let secret = secret.as_str().unwrap();
    let extra = review(&world, secret, Value::Null).await["user"]["extra"].clone();
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], json!(["a"]));
    assert_eq!(extra["authentication.kubernetes.io/node-name"], json!(["n1"]));
    world.delete(&format!("{PODS}/a"), &json!({ "gracePeriodSeconds": 0 })).await.expect(200);
    ask(&with_token(&world, secret).await, "/version").await.expect(401);
    world.bound_pod("a").await;
    ask(&with_token(&world, secret).await, "/version").await.expect(401);
}

#[tokio::test]
async fn tokens_are_good_after_a_restart_and_not_after_their_account() {
    let mut world = World::start().await;
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "robot" } });
    world.post(ACCOUNTS, &account).await.expect(201);
    let made = token(&world, "robot", json!({})).await.expect(201).body;
    let secret = made["status"]["token"].as_str().unwrap();
    world.restart().await;
    ask(&with_token(&world, secret).await, "/version").await.expect(200);
    world.delete(&format!("{ACCOUNTS}/robot"), &json!({})).await.expect(200);
    ask(&with_token(&world, secret).await, "/version").await.expect(401);
    world.post(ACCOUNTS, &account).await.expect(201);
    ask(&with_token(&world, secret).await, "/version").await.expect(401);
}

#[tokio::test]
async fn a_service_account_finds_the_key_that_tokens_are_checked_with() {
    let world = World::start().await;
    let made = token(&world, "default", json!({})).await.expect(201).body;
    let client = with_token(&world, made["status"]["token"].as_str().unwrap()).await;
    let configuration = ask(&client, "/.well-known/openid-configuration").await.expect(200).body;
    assert_eq!(configuration["issuer"], "https://kubernetes.default.svc.cluster.local");
    assert_eq!(configuration["id_token_signing_alg_values_supported"], json!(["ES256"]));
    assert!(configuration["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"));
    let keys = ask(&client, "/openid/v1/jwks").await.expect(200).body;
    assert_eq!((&keys["keys"][0]["kty"], &keys["keys"][0]["crv"]), (&json!("EC"), &json!("P-256")));
    let stranger = world.client_as("somebody", "nobodies").await;
    ask(&stranger, "/openid/v1/jwks").await.expect(403);
}

#[tokio::test]
async fn a_node_gets_tokens_for_its_own_pods_only() {
    let world = World::start().await;
    for name in ["n1", "n2"] {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        world.post("/api/v1/nodes", &node).await.expect(201);
    }
    world.bound_pod("a").await;
    let uid = world.get(&format!("{PODS}/a")).await.metadata("uid").to_owned();
    let body = json!({ "spec": { "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "a", "uid": uid } } });
    let asked = |audiences: Value| {
        let mut body = body.clone();
        body["spec"]["audiences"] = audiences;
        request(Method::POST, &format!("{ACCOUNTS}/default/token"), "application/json", &body.to_string())
    };
    let (own, other) = (
        world.client_as("system:node:n1", "system:nodes").await,
        world.client_as("system:node:n2", "system:nodes").await,
    );
    send(&own, asked(Value::Null)).await.expect(201);
    send(&other, asked(Value::Null)).await.expect(403);
    let refused = send(&own, asked(json!(["vault"]))).await.expect(403);
    assert!(refused.message().contains("audience \"vault\" not found in pod spec volume"), "{refused:?}");
}

#[tokio::test]
async fn a_pod_of_an_account_that_is_missing_is_refused() {
    let world = World::start().await;
    let mut lost = pod("a");
    lost["spec"]["serviceAccountName"] = "nobody".into();
    let refused = world.post(PODS, &lost).await.expect(403);
    assert_eq!(
        refused.message(),
        "pods \"a\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"
    );
    let off = World::start_with(Limits::default(), |options, _| {
        options.disable_admission_plugins = vec!["ServiceAccount".to_owned()];
    })
    .await;
    let made = off.post(PODS, &lost).await.expect(201);
    assert_eq!(made.body["spec"].get("volumes"), None);
}

#[tokio::test]
async fn the_service_of_the_server_leads_to_it() {
    let world = World::start().await;
    let port = world.server.as_ref().unwrap().address().port();
    let endpoints = world.get("/api/v1/namespaces/default/endpoints/kubernetes").await.expect(200).body;
    assert_eq!(endpoints["subsets"][0]["addresses"], json!([{ "ip": "127.0.0.1" }]));
    assert_eq!(endpoints["subsets"][0]["ports"][0]["port"], port);
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let slice = world.get(&format!("{slices}/kubernetes")).await.expect(200).body;
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["127.0.0.1"]));
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "kubernetes");
}
