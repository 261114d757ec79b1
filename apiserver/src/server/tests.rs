//! The server as its clients see it: over TLS, in this process.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use super::Server;
use crate::backend::Reach;
use crate::cache::Limits;
use crate::flags::{Credentials, Options};

mod accounts;
mod backends;
mod callers;
mod deletion;
mod evictions;
mod garbage;
mod joining;
mod lists;
mod nodes;
mod parts;
mod proxies;
mod rights;
mod streams;
mod volumes;
mod watches;
mod writes;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that cannot be watched for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
/// The config map that every namespace has.
const ROOT: &str = "kube-root-ca.crt";

/// A server with its data in a directory of its own.
struct World {
    dir: TempDir,
    options: Options,
    history: Limits,
    server: Option<Server>,
    client: Client,
}

/// What came back.
#[derive(Debug)]
struct Reply {
    code: u16,
    warnings: Vec<String>,
    body: Value,
}

impl Reply {
    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    /// What a metadata field says; empty if it is not there.
    fn metadata(&self, field: &str) -> &str {
        self.body["metadata"][field].as_str().unwrap_or_default()
    }

    #[track_caller]
    fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

impl World {
    async fn start() -> Self {
        Self::start_with(Limits::default(), |_, _| ()).await
    }

    /// A server that remembers little of what has happened.
    async fn with_history(events: usize) -> Self {
        Self::start_with(Limits { events, ..Limits::default() }, |_, _| ()).await
    }

    async fn start_with(history: Limits, adjust: impl FnOnce(&mut Options, &TempDir)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options { secure_port: 0, ..Options::new(dir.path().join("data")) };
        adjust(&mut options, &dir);
        let server = Server::open(&options, history, Reach::Loopback).await.unwrap();
        let client = client_of(&server.admin_kubeconfig(), |_| ()).await;
        Self { dir, options, history, server: Some(server), client }
    }

    async fn restart(&mut self) {
        self.server.take().unwrap().stop().await;
        let server = Server::open(&self.options, self.history, Reach::Loopback).await.unwrap();
        self.client = client_of(&server.admin_kubeconfig(), |_| ()).await;
        self.server = Some(server);
    }

    /// A client with a certificate for somebody else.
    async fn client_as(&self, user: &str, group: &str) -> Client {
        let output = self.dir.path().join(format!("{}.kubeconfig", user.replace(':', "-")));
        let url = format!("https://{}", self.server.as_ref().unwrap().address());
        super::issue_credentials(&Credentials {
            data_dir: self.options.data_dir.clone(),
            user: user.to_owned(),
            group: Some(group.to_owned()),
            server: url,
            output: output.clone(),
        })
        .unwrap();
        client_of(&output, |_| ()).await
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        send(&self.client, request).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(request(Method::GET, path, "", "")).await
    }

    /// Asks until the answer is as wanted.
    async fn until(&self, path: &str, wanted: impl Fn(&Reply) -> bool) -> Reply {
        let look = async {
            loop {
                let reply = self.get(path).await;
                if wanted(&reply) {
                    return reply;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("{path} does not become so"))
    }

    async fn post(&self, path: &str, object: &Value) -> Reply {
        self.send(request(Method::POST, path, "application/json", &object.to_string())).await
    }

    async fn put(&self, path: &str, object: &Value) -> Reply {
        self.send(request(Method::PUT, path, "application/json", &object.to_string())).await
    }

    /// Patches by the type in short, as `merge`.
    async fn patch(&self, path: &str, short: &str, patch: &Value) -> Reply {
        let media = match short {
            "json" => "application/json-patch+json",
            "merge" => "application/merge-patch+json",
            "strategic" => "application/strategic-merge-patch+json",
            other => other,
        };
        self.send(request(Method::PATCH, path, media, &patch.to_string())).await
    }

    async fn delete(&self, path: &str, options: &Value) -> Reply {
        self.send(request(Method::DELETE, path, "application/json", &options.to_string())).await
    }

    /// Makes a pod that some node has.
    async fn bound_pod(&self, name: &str) {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = "n1".into();
        self.post(PODS, &pod).await.expect(201);
    }
}

async fn client_of(kubeconfig: &std::path::Path, adjust: impl FnOnce(&mut Config)) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    // A test sees what the server says.
    config.default_retry = false;
    adjust(&mut config);
    Client::try_from(config).unwrap()
}

fn request(method: Method, path: &str, media: &str, body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !media.is_empty() {
        request = request.header("Content-Type", media);
    }
    request.body(Body::from(body.as_bytes().to_vec())).unwrap()
}

async fn send(client: &Client, request: Request<Body>) -> Reply {
    let exchange = async {
        let response = client.send(request).await.unwrap();
        let code = response.status().as_u16();
        let header = |h: &http::HeaderValue| h.to_str().unwrap().to_owned();
        let warnings = response.headers().get_all("Warning").iter().map(header).collect();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Reply { code, warnings, body: serde_json::from_slice(&bytes).unwrap_or(Value::String(text)) }
    };
    timeout(PATIENCE, exchange).await.expect("an answer")
}

/// The lines of a watch.
struct Watch {
    body: Body,
    rest: Vec<u8>,
}

impl Watch {
    async fn start(world: &World, path: &str) -> Self {
        let response = world.client.send(request(Method::GET, path, "", "")).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), rest: Vec::new() }
    }

    /// The next event, or `None` at the end of the watch.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("an event or the end")?;
            self.rest.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    /// Type and name of the next event.
    async fn next_short(&mut self) -> (String, String) {
        let event = self.next().await.expect("an event");
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

fn map(name: &str, value: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "key": value } })
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "busybox:1" }] },
    })
}
