//! Who is let in, and what for.

use kube::config::AuthInfo;

use super::*;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

async fn ask(client: &Client, path: &str) -> Reply {
    send(client, request(Method::GET, path, "", "")).await
}

#[tokio::test]
async fn who_shows_nothing_is_anonymous_and_gets_no_objects() {
    let world = World::start().await;
    let admin = world.server.as_ref().unwrap().admin_kubeconfig();
    let anonymous = client_of(&admin, |config| config.auth_info = AuthInfo::default()).await;
    let refused = ask(&anonymous, SECRETS).await.expect(403);
    assert_eq!(
        refused.message(),
        "secrets is forbidden: User \"system:anonymous\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\""
    );
    ask(&anonymous, "/readyz").await.expect(200);
    ask(&anonymous, "/version").await.expect(200);
}

#[tokio::test]
async fn a_token_of_the_file_is_let_in_and_another_is_not() {
    let world = World::start_with(Limits::default(), |options, dir| {
        let file = dir.path().join("tokens.csv");
        std::fs::write(&file, "the-token,somebody,1,\"system:masters\"\nplain,nobody-special,2\n").unwrap();
        options.token_auth_file = Some(file);
    })
    .await;
    let admin = world.server.as_ref().unwrap().admin_kubeconfig();
    let with = async |token: &str| {
        let token = token.to_owned();
        client_of(&admin, |config| {
            config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
        })
        .await
    };
    ask(&with("the-token").await, SECRETS).await.expect(200);
    let refused = ask(&with("wrong").await, SECRETS).await.expect(401);
    assert_eq!((refused.reason(), refused.message()), ("Unauthorized", "Unauthorized"));
    let refused = ask(&with("plain").await, SECRETS).await.expect(403);
    assert!(refused.message().contains("User \"nobody-special\" cannot list"), "{refused:?}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_no_certificate() {
    let (world, other) = (World::start().await, World::start().await);
    let stranger = other.server.as_ref().unwrap().admin_kubeconfig();
    let address = world.server.as_ref().unwrap().address();
    let client = client_of(&stranger, |config| {
        config.cluster_url = format!("https://{address}").parse().unwrap();
        config.accept_invalid_certs = true;
    })
    .await;
    // Either the handshake fails or the answer is a refusal.
    if let Ok(response) = client.send(request(Method::GET, SECRETS, "", "")).await {
        assert_eq!(response.status(), 401);
    }
}

#[tokio::test]
async fn a_node_writes_its_own_status_and_no_other_nodes() {
    let world = World::start().await;
    for name in ["n1", "n2"] {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name } });
        world.post("/api/v1/nodes", &node).await.expect(201);
    }
    let node = world.client_as("system:node:n1", "system:nodes").await;
    let patch = r#"{"status":{"capacity":{"cpu":"4"}}}"#;
    let media = "application/strategic-merge-patch+json";
    let status = |name: &str| request(Method::PATCH, &format!("/api/v1/nodes/{name}/status"), media, patch);
    send(&node, status("n1")).await.expect(200);
    send(&node, status("n2")).await.expect(403);
}

#[tokio::test]
async fn a_path_does_not_climb_and_odd_headers_are_answered() {
    let world = World::start().await;
    world.get("/api/v1/namespaces/kube-system/pods/..%2f..%2fnamespaces%2fdefault").await.expect(404);
    world.get("/api/v1/namespaces/default/pods/a/b/c/d").await.expect(400);
    let odd = Request::get(MAPS).header("Accept", b"\xff\xfe".as_slice()).body(Body::empty()).unwrap();
    world.send(odd).await.expect(200);
    let picky = Request::get(MAPS).header("Accept", "image/png").body(Body::empty()).unwrap();
    world.send(picky).await.expect(406);
    for path in ["/healthz", MAPS, "/nothing"] {
        let head = world.send(request(Method::HEAD, path, "", "")).await;
        assert_eq!(head.body, Value::String(String::new()), "{path}");
    }
}

#[tokio::test]
async fn a_client_without_tls_is_told_so() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let world = World::start().await;
    let address = world.server.as_ref().unwrap().address();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /api HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, async {
        // The server waits for the client to have said all.
        stream.read_to_string(&mut answer).await.unwrap()
    })
    .await
    .expect("an answer");
    assert!(answer.starts_with("HTTP/1.0 400 Bad Request"), "{answer}");
    assert!(answer.ends_with("Client sent an HTTP request to an HTTPS server.\n"), "{answer}");
    world.get("/readyz").await.expect(200);
}
