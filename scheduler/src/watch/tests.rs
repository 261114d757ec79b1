//! What follows the server goes on whatever the server does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Mutex;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;

/// A code and a body.
type Answer = (u16, String);

/// A server that gives these answers in turn, and then the last one for ever; keeps the queries that it was asked.
#[derive(Clone)]
struct Server(Arc<Mutex<(VecDeque<Answer>, Vec<String>)>>);

impl Server {
    fn new(answers: &[Answer]) -> Self {
        Self(Arc::new(Mutex::new((answers.iter().cloned().collect(), Vec::new()))))
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().1.clone()
    }

    fn api(&self) -> Api<Node> {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let mut state = server.0.lock().unwrap();
            state.1.push(request.uri().query().unwrap_or_default().to_owned());
            let (code, body) = state.0.pop_front().unwrap_or((500, "over".to_owned()));
            if state.0.is_empty() {
                state.0.push_back((code, body.clone()));
            }
            let response = Response::builder().status(code).body(Body::from(body.into_bytes())).unwrap();
            async move { Ok::<_, Infallible>(response) }
        });
        Api::all(Client::new(service, "default"))
    }
}

fn node(name: &str, version: u32) -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "resourceVersion": version.to_string() } })
}

fn list(names: &[&str], version: u32) -> Answer {
    let items: Vec<Value> = names.iter().map(|name| node(name, 1)).collect();
    let list = json!({
        "apiVersion": "v1", "kind": "NodeList", "metadata": { "resourceVersion": version.to_string() }, "items": items,
    });
    (200, list.to_string())
}

fn events(events: &[(&str, Value)]) -> Answer {
    let line = |(kind, object): &(&str, Value)| format!("{}\n", json!({ "type": kind, "object": object }));
    (200, events.iter().map(line).collect())
}

fn gone() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old" })
}

/// What the core is told by these answers, in short.
async fn told(server: &Server, count: usize) -> Vec<String> {
    let (sender, mut inputs) = mpsc::channel(1);
    let following = tokio::spawn(follow(server.api(), sender));
    let mut told = Vec::new();
    while told.len() < count {
        told.push(match inputs.recv().await.unwrap() {
            Input::Nodes(nodes) => {
                format!("all {}", nodes.iter().map(|n| &*n.name).collect::<Vec<_>>().join(","))
            }
            Input::Node(node) => format!("node {}", node.name),
            Input::NodeGone(name) => format!("gone {name}"),
            other => panic!("{other:?}"),
        });
    }
    drop(inputs);
    following.abort();
    told
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_begun_again_where_it_was() {
    let server = Server::new(&[
        list(&["a"], 5),
        events(&[("ADDED", node("b", 6)), ("BOOKMARK", node("", 9))]),
        events(&[("DELETED", node("a", 10)), ("MODIFIED", node("b", 11))]),
        events(&[("ADDED", node("c", 12))]),
    ]);
    assert_eq!(told(&server, 5).await, ["all a", "node b", "gone a", "node b", "node c"]);
    let asked = server.asked();
    for (query, version) in asked[1..4].iter().zip(["5", "9", "11"]) {
        assert!(query.contains(&format!("resourceVersion={version}")), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_too_old_is_followed_by_a_list() {
    let server = Server::new(&[
        list(&["a"], 5),
        events(&[("ERROR", gone())]),
        list(&["b"], 50),
        events(&[("ADDED", node("c", 51))]),
    ]);
    assert_eq!(told(&server, 3).await, ["all a", "all b", "node c"]);
    assert!(server.asked()[3].contains("resourceVersion=50"), "{:?}", server.asked());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_asked_again_with_a_back_off() {
    let down = || (500, json!({ "kind": "Status", "code": 500, "message": "away" }).to_string());
    let mut answers = vec![down(); 12];
    answers.push(list(&["a"], 5));
    let server = Server::new(&answers);
    let begin = Instant::now();
    assert_eq!(told(&server, 1).await, ["all a"]);
    let waited = begin.elapsed();
    // Doubled from 200 ms to 5 s, and no longer.
    assert!((Duration::from_secs(30)..Duration::from_secs(60)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_every_watch_at_once_is_not_asked_in_a_loop() {
    let server = Server::new(&[list(&["a"], 5), events(&[])]);
    let (sender, mut inputs) = mpsc::channel(1);
    let following = tokio::spawn(follow(server.api(), sender));
    inputs.recv().await.unwrap();
    sleep(Duration::from_secs(10)).await;
    following.abort();
    let asked = server.asked().len();
    assert!((10..=60).contains(&asked), "{asked}");
}

#[test]
fn an_outage_ends_with_the_first_answer() {
    let mut outage = Outage::new("nodes");
    assert_eq!(outage.failed(&WatchError::NoAnswer), FIRST_RETRY);
    assert_eq!(outage.failed(&WatchError::NoAnswer), FIRST_RETRY * 2);
    assert!(outage.failing);
    outage.answered();
    assert!(!outage.failing);
    assert_eq!(outage.failed(&WatchError::NoAnswer), FIRST_RETRY);
}
