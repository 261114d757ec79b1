//! Exec, attach and port-forward: what reaches the node, what comes back, and what is left when it is over.

use super::backends::{Backend, Wire, field};
use super::*;

const EXEC: &str = "/api/v1/namespaces/default/pods/a/exec?command=sh&stdin=true&stdout=1";
const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n";
const SPDY: &str = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n";
/// More than all buffers on the way hold.
const MUCH: usize = 16 * 1024 * 1024;

fn head(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: cluster.example\r\n{fields}\r\n")
}

/// A pod and its node.
async fn world() -> (World, Backend) {
    let world = World::start().await;
    world.bound_pod("a").await;
    let node = Backend::kubelet(&world).await;
    world.node_at(node.port).await;
    (world, node)
}

/// A stream that both have agreed to.
async fn agreed(world: &World, node: &mut Backend) -> (Wire, Wire) {
    let mut client = world.admin_wire().await;
    client.send(head("GET", EXEC, WEBSOCKET)).await;
    let mut arrived = node.next().await;
    arrived.wire.send(AGREED).await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    (client, arrived.wire)
}

/// The code and the message of an answer, which ends the connection.
async fn refusal(client: &mut Wire) -> (u16, String) {
    let head = client.head().await;
    let code: u16 =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    assert_eq!(field(&head, "connection"), "close", "{head}");
    let status: Value = serde_json::from_slice(&client.rest().await).unwrap();
    assert_eq!((&status["kind"], &status["code"]), (&"Status".into(), &code.into()), "{status}");
    (code, status["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_websocket_reaches_the_node_cleaned_and_carries_bytes_both_ways() {
    let (world, mut node) = world().await;
    let mut client = world.admin_wire().await;
    let fields = format!(
        "{WEBSOCKET}Authorization: Bearer secret\r\nImpersonate-Group: system:masters\r\nImpersonate-User: kubernetes-admin\r\nX-Forwarded-For: 192.0.2.1\r\nUser-Agent: test\r\n"
    );
    client
        .send(head("GET", &format!("{EXEC}&command=-c&command=a%20b%26c&stderr=false&tty=true"), &fields))
        .await;
    let mut arrived = node.next().await;
    assert_eq!(
        arrived.head.lines().next().unwrap(),
        "GET /exec/default/a/c?input=1&output=1&tty=1&command=sh&command=-c&command=a+b%26c HTTP/1.1"
    );
    assert_eq!(arrived.client.as_deref(), Some("kube-apiserver-kubelet-client"));
    for (name, value) in [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
        ("User-Agent", "test"),
        ("X-Forwarded-For", "192.0.2.1, 127.0.0.1"),
        ("Host", &format!("127.0.0.1:{}", node.port)),
    ] {
        assert_eq!(arrived.field(name), value, "{name} in {}", arrived.head);
    }
    let lower = arrived.head.to_ascii_lowercase();
    assert!(!lower.contains("authorization") && !lower.contains("impersonate"), "{lower}");
    // The first bytes may come with the answer.
    arrived.wire.send(format!("{AGREED}first")).await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert_eq!(field(&answer, "upgrade"), "websocket");
    assert_eq!(field(&answer, "sec-websocket-accept"), "x");
    assert_eq!(client.take(5).await, b"first");
    for (from, to) in [(&mut client, &mut arrived.wire)] {
        let sent: Vec<u8> = (0..MUCH).map(|i| (i / 7) as u8).collect();
        let (_, there) = tokio::join!(from.send(&sent), to.take(MUCH));
        assert!(there == sent, "what arrived is not what was sent");
        let (_, back) = tokio::join!(to.send(&sent), from.take(MUCH));
        assert!(back == sent, "what came back is not what was sent");
    }
}

#[tokio::test]
async fn every_stream_has_its_endpoint_whatever_the_protocol() {
    let (world, mut node) = world().await;
    for (method, sub, fields, expected) in [
        ("POST", "exec?command=ls&stdout=1", SPDY, "POST /exec/default/a/c?output=1&command=ls HTTP/1.1"),
        ("GET", "attach?stdin=1&container=c", WEBSOCKET, "GET /attach/default/a/c?input=1 HTTP/1.1"),
        ("POST", "attach?stderr=1", SPDY, "POST /attach/default/a/c?error=1 HTTP/1.1"),
        ("POST", "portforward", SPDY, "POST /portForward/default/a HTTP/1.1"),
        (
            "GET",
            "portforward?ports=80&ports=81",
            WEBSOCKET,
            "GET /portForward/default/a?port=80%2C81 HTTP/1.1",
        ),
    ] {
        let mut client = world.admin_wire().await;
        client.send(head(method, &format!("{PODS}/a/{sub}"), fields)).await;
        let mut arrived = node.next().await;
        assert_eq!(arrived.head.lines().next(), Some(expected));
        let protocol = arrived.field("upgrade").to_owned();
        assert!(!arrived.head.to_ascii_lowercase().contains("content-length"), "{}", arrived.head);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
        );
        arrived.wire.send(answer).await;
        let answer = client.head().await;
        assert_eq!(field(&answer, "x-stream-protocol-version"), "v4.channel.k8s.io", "{answer}");
        client.send("ping").await;
        assert_eq!(arrived.wire.take(4).await, b"ping");
    }
}

#[tokio::test]
async fn what_cannot_be_a_stream_is_refused_before_any_node_hears_of_it() {
    let (world, mut node) = world().await;
    world.post(PODS, &pod("unbound")).await.expect(201);
    let mut two = pod("two");
    two["spec"]["containers"] =
        json!([{ "name": "x", "image": "busybox:1" }, { "name": "y", "image": "busybox:1" }]);
    two["spec"]["nodeName"] = "n1".into();
    world.post(PODS, &two).await.expect(201);
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let both = WEBSOCKET.replace("Upgrade: websocket", "Upgrade: websocket, SPDY/3.1");
    let again = format!("{WEBSOCKET}Upgrade: SPDY/3.1\r\n");
    let body = format!("{WEBSOCKET}Content-Length: 4\r\n");
    let chunked = format!("{WEBSOCKET}Transfer-Encoding: chunked\r\n");
    let specify = "a container name must be specified for pod two, choose one of: [x y]";
    for (method, path, fields, code, message) in [
        ("GET", "a/exec?command=ls", h2c, 400, "Upgrade request required"),
        ("GET", "a/exec?command=ls", &both, 400, "a request may ask for one upgrade only"),
        ("GET", "a/exec?command=ls", &again, 400, "a request may ask for one upgrade only"),
        ("POST", "a/exec?command=ls", &body, 400, "a request for an upgrade may not have a body"),
        ("POST", "a/exec?command=ls", &chunked, 400, "a request for an upgrade may not have a body"),
        ("GET", "none/exec", WEBSOCKET, 404, "pods \"none\" not found"),
        ("GET", "unbound/exec", WEBSOCKET, 400, "pod unbound does not have a host assigned"),
        ("GET", "unbound/portforward", WEBSOCKET, 400, "pod unbound does not have a host assigned"),
        ("GET", "two/exec", WEBSOCKET, 400, specify),
        ("POST", "two/attach", SPDY, 400, specify),
        ("GET", "a/exec?container=z", WEBSOCKET, 400, "container z is not valid for pod a"),
        ("GET", "a/exec?dryRun=All", WEBSOCKET, 400, "dryRun is not supported"),
        ("GET", "a/portforward?ports=x", WEBSOCKET, 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("PUT", "a/exec", WEBSOCKET, 405, "update is not supported on resources of kind \"pods\""),
    ] {
        let mut client = world.admin_wire().await;
        client.send(head(method, &format!("{PODS}/{path}"), fields)).await;
        if fields.contains("Content-Length: 4") {
            client.send("body").await;
        } else if fields.contains("chunked") {
            client.send("4\r\nbody\r\n0\r\n\r\n").await;
        }
        assert_eq!(refusal(&mut client).await, (code, message.to_owned()), "{method} {path}");
    }
    let plain = world.get(&format!("{PODS}/a/exec?command=ls")).await.expect(400);
    assert_eq!(plain.message(), "Upgrade request required");
    assert!(node.is_quiet());
}

#[tokio::test]
async fn what_follows_a_refused_upgrade_is_no_request() {
    let (world, mut node) = world().await;
    let mut client = world.admin_wire().await;
    let smuggled = head("GET", "/api/v1/namespaces/default/secrets", "");
    client.send(format!("{}{smuggled}", head("GET", EXEC, WEBSOCKET))).await;
    let mut arrived = node.next().await;
    arrived.wire.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno").await;
    let said = String::from_utf8(client.rest().await).unwrap();
    assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    // Nor does the node hear of it.
    assert!(arrived.wire.rest().await.is_empty());
}

#[tokio::test]
async fn a_nodes_refusal_is_a_status_with_its_words() {
    let (world, mut node) = world().await;
    let long = "x".repeat(1024 * 1024);
    for (answer, code, message) in [
        (
            "404 Not Found\r\nContent-Length: 18\r\n\r\npod does not exist",
            404,
            "unable to upgrade connection: pod does not exist",
        ),
        (
            "500 Oh\r\nContent-Length: 27\r\n\r\ncontainer not found (\"c\")\r\n",
            500,
            "unable to upgrade connection: container not found (\"c\")",
        ),
        (
            "302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
            500,
            "invalid upgrade response: status code 302",
        ),
        ("200 OK\r\nContent-Length: 0\r\n\r\n", 500, "invalid upgrade response: status code 200"),
        (
            "403 Forbidden\r\nContent-Length: 0\r\n\r\n",
            500,
            "Internal error occurred: the node refused this server's certificate: ",
        ),
        (
            "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
            502,
            "the backend switched to a protocol that was not asked for",
        ),
        (
            &format!("500 Oh\r\nContent-Length: {}\r\n\r\n{long}", long.len()),
            500,
            "unable to upgrade connection: its answer could not be read",
        ),
    ] {
        let mut client = world.admin_wire().await;
        client.send(head("GET", EXEC, WEBSOCKET)).await;
        let mut arrived = node.next().await;
        // What is too long is not read to its end.
        let answer = format!("HTTP/1.1 {answer}");
        let (_, refused) = tokio::join!(
            async { tokio::time::timeout(PATIENCE, arrived.wire.try_send(&answer)).await.unwrap() },
            refusal(&mut client)
        );
        assert_eq!(refused, (code, message.to_owned()));
        // Its connection is not used again.
        arrived.wire.rest().await;
    }
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let status = json!({ "status": { "daemonEndpoints": { "kubeletEndpoint": { "Port": port } } } });
    world.patch("/api/v1/nodes/n1/status", "merge", &status).await.expect(200);
    let mut client = world.admin_wire().await;
    client.send(head("GET", EXEC, WEBSOCKET)).await;
    let message = format!("error dialing backend: dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(refusal(&mut client).await, (500, message));
}

#[tokio::test]
async fn a_stream_ends_for_both_when_it_ends_for_one() {
    let (mut world, mut node) = world().await;
    let (mut client, mut at_node) = agreed(&world, &mut node).await;
    client.send("last").await;
    client.finish().await;
    assert_eq!(at_node.rest().await, b"last");
    // Who has said all still hears the answer.
    at_node.send("answer").await;
    at_node.finish().await;
    assert_eq!(client.rest().await, b"answer");

    let (client, mut at_node) = agreed(&world, &mut node).await;
    drop(client);
    at_node.rest().await;
    let (mut client, at_node) = agreed(&world, &mut node).await;
    drop(at_node);
    client.rest().await;

    let (mut client, mut at_node) = agreed(&world, &mut node).await;
    world.server.take().unwrap().stop().await;
    client.rest().await;
    at_node.rest().await;
}

#[tokio::test]
async fn a_log_comes_over_a_websocket_where_one_is_asked_for() {
    let (world, mut node) = world().await;
    let log = format!("{PODS}/a/log?follow=true&insecureSkipTLSVerifyBackend=true");
    let mut client = world.admin_wire().await;
    let fields = WEBSOCKET.replace("v5.channel.k8s.io", "base64.binary.k8s.io");
    client.send(head("GET", &log, &fields)).await;
    let mut arrived = node.next().await;
    assert_eq!(arrived.head.lines().next(), Some("GET /containerLogs/default/a/c?follow=true HTTP/1.1"));
    assert_eq!(arrived.field("upgrade"), "");
    arrived.wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
    let answer = client.head().await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert_eq!(field(&answer, "sec-websocket-accept"), "ICX+Yqv66kxgM0FcWaLWlFLwTAI=");
    assert_eq!(field(&answer, "sec-websocket-protocol"), "base64.binary.k8s.io");
    assert_eq!(client.take(8).await, b"\x81\x00\x81\x04YWJj");
    arrived.wire.send("0\r\n\r\n").await;
    assert_eq!(client.take(4).await, b"\x88\x02\x03\xe8");
    let mut client = world.admin_wire().await;
    client.send(head("GET", &log, WEBSOCKET)).await;
    let expected = "requested protocol(s) are not supported: [v5.channel.k8s.io]; supports [binary.k8s.io base64.binary.k8s.io]";
    assert_eq!(refusal(&mut client).await, (400, expected.to_owned()));
}

#[tokio::test]
async fn options_of_a_log_that_make_no_sense_are_refused() {
    let (world, _node) = world().await;
    for (query, code, message) in [
        (
            "tailLines=-1",
            422,
            "PodLogOptions \"a\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "limitBytes=0",
            422,
            "PodLogOptions \"a\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
        ),
        ("tailLines=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        (
            "sinceTime=yesterday",
            400,
            "parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": it is none",
        ),
        (
            "stream=Both",
            422,
            "PodLogOptions \"a\" is invalid: stream: Unsupported value: \"Both\": supported values: \"All\", \"Stderr\", \"Stdout\"",
        ),
    ] {
        let refused = world.get(&format!("{PODS}/a/log?{query}")).await.expect(code);
        assert_eq!(refused.message(), message, "{query}");
    }
    for query in ["sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z", "stream=Stdout&tailLines=1"] {
        world.get(&format!("{PODS}/a/log?{query}")).await.expect(422);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_node_and_only_it() {
    let (world, mut node) = world().await;
    let (mut slow, mut at_node) = agreed(&world, &mut node).await;
    let flooding = tokio::spawn(async move {
        let mut sent = 0;
        while sent < 8 * MUCH && at_node.try_send(&[0; 64 * 1024]).await {
            sent += 64 * 1024;
        }
        sent
    });
    let (mut client, mut other) = agreed(&world, &mut node).await;
    client.send("quick").await;
    assert_eq!(other.take(5).await, b"quick");
    assert!(!flooding.is_finished(), "nobody has read what was sent");
    slow.take(MUCH).await;
    drop(slow);
    assert!(flooding.await.unwrap() < 8 * MUCH);
}

/// Who may use which method on what: a right to read is not enough for a stream, which runs commands.
#[tokio::test]
async fn each_sub_resource_and_method_asks_for_its_verb() {
    let (world, mut node) = world().await;
    let service = json!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "port": 80 }] } });
    world.post("/api/v1/namespaces/default/services", &service).await.expect(201);
    const STREAMS: &[(&str, &str, &[&str])] =
        &[("GET", WEBSOCKET, &["get", "create"]), ("POST", SPDY, &["create"])];
    const PROXY: &[(&str, &str, &[&str])] = &[
        ("GET", "", &["get"]),
        ("HEAD", "", &["get"]),
        ("POST", "Content-Length: 0\r\n", &["create"]),
        ("PUT", "Content-Length: 0\r\n", &["update"]),
        ("PATCH", "Content-Length: 0\r\n", &["patch"]),
        ("DELETE", "", &["delete"]),
        ("OPTIONS", "", &["*"]),
        ("GET", WEBSOCKET, &["get"]),
    ];
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let binding = json!({
        "metadata": { "name": "bob" },
        "roleRef": { "kind": "ClusterRole", "name": "bob" },
        "subjects": [{ "kind": "User", "name": "bob" }],
    });
    let role = |verbs: &[&str], resource: &str| json!({ "metadata": { "name": "bob" }, "rules": [{ "verbs": verbs, "apiGroups": [""], "resources": [resource] }] });
    world.post(&format!("{rbac}/clusterroles"), &role(&["get"], "nothing")).await.expect(201);
    world.post(&format!("{rbac}/clusterrolebindings"), &binding).await.expect(201);
    for (resource, path, cases) in [
        ("pods/exec", "/api/v1/namespaces/default/pods/a/exec", STREAMS),
        ("pods/attach", "/api/v1/namespaces/default/pods/a/attach", STREAMS),
        ("pods/portforward", "/api/v1/namespaces/default/pods/a/portforward", STREAMS),
        ("pods/proxy", "/api/v1/namespaces/default/pods/a/proxy/", PROXY),
        ("services/proxy", "/api/v1/namespaces/default/services/s/proxy/", PROXY),
        ("nodes/proxy", "/api/v1/nodes/n1/proxy/", PROXY),
    ] {
        for (method, fields, needed) in cases {
            for left_out in std::iter::once(None).chain(needed.iter().map(Some)) {
                let verbs: Vec<&str> = needed.iter().copied().filter(|v| Some(v) != left_out).collect();
                let verbs = if verbs.is_empty() { vec!["watch"] } else { verbs };
                world.put(&format!("{rbac}/clusterroles/bob"), &role(&verbs, resource)).await.expect(200);
                let mut bob = world.wire_as("bob").await;
                bob.send(head(method, path, fields)).await;
                // Whatever comes after the authorization is not asked about here.
                let allowed = tokio::select! {
                    mut arrived = node.arrived() => {
                        arrived.wire.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
                        true
                    }
                    answer = bob.head() => !answer.starts_with("HTTP/1.1 403 "),
                };
                assert_eq!(allowed, left_out.is_none(), "{method} {resource} {fields:?} with {verbs:?}");
            }
        }
    }
}

#[tokio::test]
async fn who_edits_runs_commands_and_who_views_does_not() {
    let (world, mut node) = world().await;
    let binding = |role: &str| {
        json!({
            "metadata": { "name": role },
            "roleRef": { "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "User", "name": role }],
        })
    };
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    for (role, allowed) in [("view", false), ("edit", true), ("admin", true)] {
        world.post(bindings, &binding(role)).await.expect(201);
        for sub in ["exec", "attach", "portforward"] {
            let mut client = world.wire_as(role).await;
            client.send(head("GET", &format!("{PODS}/a/{sub}"), WEBSOCKET)).await;
            if allowed {
                node.next().await;
                continue;
            }
            let (code, message) = refusal(&mut client).await;
            let expected = format!(
                "pods \"a\" is forbidden: User \"view\" cannot get resource \"pods/{sub}\" in API group \"\" in the namespace \"default\""
            );
            assert_eq!((code, message), (403, expected));
        }
    }
}
