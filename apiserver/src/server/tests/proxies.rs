//! `proxy` of pods, services and nodes.

use super::backends::{Backend, field};
use super::*;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";

fn head(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: cluster.example\r\n{fields}\r\n")
}

/// A pod that listens at this port, and is ready.
async fn serving(world: &World, name: &str, labels: Value, port: u16, ready: &str) {
    let mut pod = pod(name);
    pod["metadata"]["labels"] = labels;
    pod["spec"]["nodeName"] = "n1".into();
    pod["spec"]["containers"][0]["ports"] = json!([{ "name": "web", "containerPort": port }]);
    world.post(PODS, &pod).await.expect(201);
    let status = json!({ "status": {
        "phase": "Running",
        "podIP": "127.0.0.1",
        "podIPs": [{ "ip": "127.0.0.1" }],
        "conditions": [{ "type": "Ready", "status": ready }],
    } });
    world.patch(&format!("{PODS}/{name}/status"), "merge", &status).await.expect(200);
}

#[tokio::test]
async fn a_pods_port_is_reached_with_path_query_body_and_clean_fields() {
    let world = World::start().await;
    let mut backend = Backend::plain().await;
    serving(&world, "a", json!({}), backend.port, "False").await;
    let mut client = world.admin_wire().await;
    let fields =
        "Authorization: Bearer t\r\nConnection: X-Hop\r\nX-Hop: 1\r\nCookie: a=b\r\nContent-Length: 5\r\n";
    client.send(head("POST", &format!("{PODS}/a/proxy/x%2Fy/../z/?a=b&a=%20&watch=true"), fields)).await;
    client.send("hello").await;
    let mut arrived = backend.next().await;
    assert_eq!(arrived.head.lines().next(), Some("POST /z/?a=b&a=%20&watch=true HTTP/1.1"));
    for (name, value) in [
        ("Host", "cluster.example"),
        ("Cookie", "a=b"),
        ("Content-Length", "5"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Uri", &format!("{PODS}/a/proxy/x%2Fy/../z/")),
        ("Authorization", ""),
        ("X-Hop", ""),
    ] {
        assert_eq!(arrived.field(name), value, "{name}");
    }
    assert_eq!(arrived.wire.take(5).await, b"hello");
    let answer = "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nAccess-Control-Allow-Origin: *\r\nKeep-Alive: timeout=5\r\nX-Own: 1\r\nLocation: /made\r\nTransfer-Encoding: chunked\r\n\r\n";
    arrived.wire.send(answer).await;
    let head_of_answer = client.head().await;
    assert!(head_of_answer.starts_with("HTTP/1.1 201 "), "{head_of_answer}");
    for (name, value) in [
        ("content-type", "text/plain"),
        ("x-own", "1"),
        ("access-control-allow-origin", ""),
        ("keep-alive", ""),
        ("location", &format!("{PODS}/a/proxy/made")),
    ] {
        assert_eq!(field(&head_of_answer, name), value, "{name}");
    }
    // What the pod says is passed on as it comes.
    arrived.wire.send("2\r\nab\r\n").await;
    assert_eq!(client.take(7).await, b"2\r\nab\r\n");
    arrived.wire.send("0\r\n\r\n").await;
    assert_eq!(client.take(5).await, b"0\r\n\r\n");
    // The client's connection goes on, the pod's does not.
    client.send(head("GET", "/version", "")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    assert!(arrived.wire.rest().await.is_empty());
}

#[tokio::test]
async fn every_method_goes_through_and_a_bare_path_gets_its_slash() {
    let world = World::start().await;
    let mut backend = Backend::plain().await;
    serving(&world, "a", json!({}), backend.port, "True").await;
    let proxy = format!("{PODS}/a:{}/proxy", backend.port);
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let mut client = world.admin_wire().await;
        let fields = if matches!(method, "POST" | "PUT" | "PATCH") { "Content-Length: 0\r\n" } else { "" };
        client.send(head(method, &format!("{proxy}/p"), fields)).await;
        let mut arrived = backend.next().await;
        assert_eq!(arrived.head.lines().next().unwrap(), format!("{method} /p HTTP/1.1"));
        arrived.wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await;
        let answer = client.head().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{method}: {answer}");
        assert_eq!(field(&answer, "content-length"), "2", "{method}");
        if method != "HEAD" {
            arrived.wire.send("ok").await;
            assert_eq!(client.take(2).await, b"ok");
        }
    }
    let mut client = world.admin_wire().await;
    client.send(head("GET", &format!("{proxy}?a=b"), "")).await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 301 "), "{answer}");
    assert_eq!(field(&answer, "location"), format!("{proxy}/?a=b"));
    let mut client = world.admin_wire().await;
    client.send(head("TRACE", &format!("{proxy}/"), "")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 405 "));
    assert!(backend.is_quiet());
    world.send(request(Method::GET, &format!("{PODS}/ftp:a:80/proxy/"), "", "")).await.expect(400);
    let missing = world.get(&format!("{PODS}/none/proxy/")).await.expect(404);
    assert_eq!(missing.message(), "pods \"none\" not found");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client() {
    let world = World::start().await;
    let mut backend = Backend::plain().await;
    serving(&world, "a", json!({}), backend.port, "True").await;
    for length in ["Transfer-Encoding: chunked", "Content-Length: 10"] {
        let mut client = world.admin_wire().await;
        client.send(head("GET", &format!("{PODS}/a/proxy/"), "")).await;
        let mut arrived = backend.next().await;
        arrived.wire.send(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\n2\r\nab\r\n")).await;
        client.head().await;
        drop(arrived);
        let said = client.rest().await;
        assert!(!said.ends_with(b"0\r\n\r\n") && said.len() < 10, "{said:?}");
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = world.get(&format!("{PODS}/a:{port}/proxy/")).await.expect(503);
    assert_eq!(
        refused.message(),
        format!("error trying to reach service: dial tcp 127.0.0.1:{port}: connect: connection refused")
    );
}

#[tokio::test]
async fn a_service_leads_to_a_ready_pod_that_it_selects() {
    let world = World::start().await;
    let (mut ready, unready) = (Backend::plain().await, Backend::plain().await);
    serving(&world, "ready", json!({ "app": "x" }), ready.port, "True").await;
    serving(&world, "unready", json!({ "app": "x" }), unready.port, "False").await;
    serving(&world, "other", json!({ "app": "y" }), unready.port, "True").await;
    let ports = json!([{ "name": "web", "port": 80, "targetPort": "web" }, { "name": "fixed", "port": 81, "targetPort": ready.port }]);
    let service =
        json!({ "metadata": { "name": "s" }, "spec": { "selector": { "app": "x" }, "ports": ports } });
    world.post(SERVICES, &service).await.expect(201);
    for id in ["s:web", "s:80", "s:81", "http:s:fixed"] {
        for _ in 0..4 {
            let mut client = world.admin_wire().await;
            client.send(head("GET", &format!("{SERVICES}/{id}/proxy/p?q"), "")).await;
            let mut arrived = ready.next().await;
            assert_eq!(arrived.head.lines().next(), Some("GET /p?q HTTP/1.1"), "{id}");
            arrived.wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
            assert!(client.head().await.starts_with("HTTP/1.1 204 "));
        }
    }
    for (id, code, message) in [
        ("s", 503, "no endpoints available for service \"s\""),
        ("s:82", 503, "no service port 82 found for service \"s\""),
        ("none", 404, "services \"none\" not found"),
        ("a:b:c:d", 400, "invalid service request \"a:b:c:d\""),
    ] {
        let refused = world.get(&format!("{SERVICES}/{id}/proxy/")).await.expect(code);
        assert_eq!(refused.message(), message);
    }
}

#[tokio::test]
async fn kept_endpoints_count_as_far_as_they_are_pods() {
    let world = World::start().await;
    let mut backend = Backend::plain().await;
    serving(&world, "a", json!({}), backend.port, "False").await;
    let service = json!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80 }] } });
    world.post(SERVICES, &service).await.expect(201);
    let endpoints = |target: Value| {
        let mut address = json!({ "ip": "127.0.0.1" });
        if !target.is_null() {
            address["targetRef"] = target;
        }
        json!({
            "metadata": { "name": "s" },
            "subsets": [{ "addresses": [address], "ports": [{ "port": backend.port }] }],
        })
    };
    let of_pod = |name: &str| json!({ "kind": "Pod", "namespace": "default", "name": name });
    let path = "/api/v1/namespaces/default/endpoints";
    world.post(path, &endpoints(Value::Null)).await.expect(201);
    world.get(&format!("{SERVICES}/s:80/proxy/")).await.expect(503);
    world.put(&format!("{path}/s"), &endpoints(of_pod("none"))).await.expect(200);
    world.get(&format!("{SERVICES}/s:80/proxy/")).await.expect(503);
    world.put(&format!("{path}/s"), &endpoints(of_pod("a"))).await.expect(200);
    let mut client = world.admin_wire().await;
    client.send(head("GET", &format!("{SERVICES}/s/proxy/"), "")).await;
    backend.next().await;
}

#[tokio::test]
async fn a_nodes_kubelet_is_asked_with_the_servers_certificate_and_other_ports_without() {
    let world = World::start().await;
    let mut kubelet = Backend::kubelet(&world).await;
    let mut other = Backend::plain().await;
    world.node_at(kubelet.port).await;
    for id in ["n1".to_owned(), format!("n1:{}", kubelet.port), format!("https:n1:{}", kubelet.port)] {
        let mut client = world.admin_wire().await;
        client
            .send(head(
                "GET",
                &format!("/api/v1/nodes/{id}/proxy/stats/summary?only_cpu_and_memory=true"),
                "",
            ))
            .await;
        let mut arrived = kubelet.next().await;
        assert_eq!(
            arrived.head.lines().next(),
            Some("GET /stats/summary?only_cpu_and_memory=true HTTP/1.1"),
            "{id}"
        );
        assert_eq!(arrived.client.as_deref(), Some("kube-apiserver-kubelet-client"));
        arrived.wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 "));
    }
    let mut client = world.admin_wire().await;
    client.send(head("GET", &format!("/api/v1/nodes/n1:{}/proxy/healthz", other.port), "")).await;
    let arrived = other.next().await;
    assert_eq!((arrived.head.lines().next(), arrived.client), (Some("GET /healthz HTTP/1.1"), None));
    world.get("/api/v1/nodes/n1:x/proxy/").await.expect(400);
    world.get("/api/v1/nodes/n2/proxy/").await.expect(404);
}

#[tokio::test]
async fn an_upgrade_goes_through_a_proxy_and_h2c_does_not() {
    let world = World::start().await;
    let mut backend = Backend::plain().await;
    serving(&world, "a", json!({}), backend.port, "True").await;
    let path = format!("{PODS}/a/proxy/chat?room=1");
    let mut client = world.admin_wire().await;
    client.send(head("GET", &path, WEBSOCKET)).await;
    let mut arrived = backend.next().await;
    assert_eq!(arrived.head.lines().next(), Some("GET /chat?room=1 HTTP/1.1"));
    arrived
        .wire
        .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.send("ping").await;
    assert_eq!(arrived.wire.take(4).await, b"ping");
    arrived.wire.send("pong").await;
    assert_eq!(client.take(4).await, b"pong");
    // A pod's refusal is the pod's word.
    let mut client = world.admin_wire().await;
    client.send(head("GET", &path, WEBSOCKET)).await;
    let mut arrived = backend.next().await;
    arrived.wire.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 3\r\n\r\nno!").await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 426 ") && field(&answer, "connection") == "close", "{answer}");
    assert_eq!(client.rest().await, b"no!");
    let mut client = world.admin_wire().await;
    client
        .send(head(
            "GET",
            &path,
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
        ))
        .await;
    let arrived = backend.next().await;
    for name in ["Upgrade", "HTTP2-Settings", "Connection"] {
        assert_eq!(arrived.field(name), "", "{}", arrived.head);
    }
}

#[tokio::test]
async fn nothing_on_the_servers_own_machine_is_reached_through_it() {
    let mut world = World::start().await;
    let backend = Backend::plain().await;
    serving(&world, "a", json!({ "app": "x" }), backend.port, "True").await;
    world.node_at(backend.port).await;
    let service = json!({ "metadata": { "name": "s" }, "spec": { "selector": { "app": "x" }, "ports": [{ "port": 80, "targetPort": backend.port }] } });
    world.post(SERVICES, &service).await.expect(201);
    // As the program starts it.
    world.server.take().unwrap().stop().await;
    let server = Server::start(&world.options).await.unwrap();
    world.client = client_of(&server.admin_kubeconfig(), |_| ()).await;
    world.server = Some(server);
    for path in [format!("{PODS}/a/proxy/"), "/api/v1/nodes/n1/proxy/".to_owned()] {
        let refused = world.get(&path).await.expect(400);
        assert_eq!(refused.message(), "address not allowed");
    }
    world.get(&format!("{SERVICES}/s:80/proxy/")).await.expect(503);
}
