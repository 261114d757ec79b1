use std::sync::Arc;

use cri_client::Timeouts;
use cri_client::fake::{Effect, FakeRuntime, Rule, Server};
use tokio::time::timeout;

use super::*;
use crate::node::NodeView;

const LIMIT: Duration = Duration::from_secs(30);

struct Setup {
    runtime: FakeRuntime,
    client: Client,
    _server: Server,
    _dir: tempfile::TempDir,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cri.sock");
    let runtime = FakeRuntime::new();
    let server = runtime.serve(&socket).unwrap();
    let client = Client::new(socket, None, Timeouts { request: LIMIT });
    Setup { runtime, client, _server: server, _dir: dir }
}

impl Setup {
    /// Waits until the runtime was told so many times, and gives what.
    async fn told(&self, times: usize) -> Vec<String> {
        let all = || {
            let calls = self.runtime.calls().into_iter().filter(|call| call.call == "UpdateRuntimeConfig");
            calls.map(|call| call.subject).collect::<Vec<_>>()
        };
        let wait = async {
            while all().len() < times {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, wait).await.expect("so many calls");
        all()
    }
}

fn seen(cidrs: &[&str]) -> Option<Arc<NodeView>> {
    let pod_cidrs = cidrs.iter().map(|cidr| (*cidr).to_owned()).collect();
    Some(Arc::new(NodeView { pod_cidrs, ..NodeView::default() }))
}

#[tokio::test]
async fn the_runtime_is_told_each_change_once() {
    let node = setup();
    let (view, receiver) = watch::channel(None);
    let (_stop, stop) = watch::channel(false);
    tokio::spawn(run(node.client.clone(), Some(receiver), "192.0.2.0/24".to_owned(), stop));
    view.send_replace(seen(&[]));
    view.send_replace(seen(&["10.0.1.0/24", "2001:db8::/64"]));
    assert_eq!(node.told(1).await, ["10.0.1.0/24,2001:db8::/64"]);
    view.send_replace(None);
    view.send_replace(seen(&["10.0.1.0/24", "2001:db8::/64"]));
    view.send_replace(seen(&["10.0.2.0/24"]));
    assert_eq!(node.told(2).await, ["10.0.1.0/24,2001:db8::/64", "10.0.2.0/24"]);
}

#[tokio::test]
async fn without_an_api_server_the_configuration_says_it_and_a_refusal_is_tried_again() {
    let node = setup();
    node.runtime.add_rule(Rule::next("UpdateRuntimeConfig", 1, Effect::refused("not yet")));
    let (_stop, stop) = watch::channel(false);
    tokio::spawn(run(node.client.clone(), None, "192.0.2.0/24".to_owned(), stop));
    assert_eq!(node.told(2).await, ["192.0.2.0/24", "192.0.2.0/24"]);
}
