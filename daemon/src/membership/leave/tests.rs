use std::fs;

use http::StatusCode;
use serde_json::{Value, json};

use super::super::place::{self, Service};
use super::super::runtime::tests::World as Runtime;
use super::super::unit::tests::FakeUnits;
use super::*;
use crate::kubeconfig::link::tests::{Authority, Server, embedded, kubeconfig_text};

/// A node of a cluster, with all its files.
struct World {
    root: tempfile::TempDir,
    server: Server,
}

/// What the API server has, and what it was asked.
#[derive(Default)]
struct Cluster {
    pods: Vec<Value>,
    may_delete: bool,
    calls: Vec<String>,
}

impl World {
    async fn new() -> Self {
        let authority = Authority::new();
        let server = Server::start(&authority).await;
        let world = Self { root: tempfile::tempdir().unwrap(), server };
        let place = world.place();
        let user = embedded(&authority.issue("system:node:n1", &[], (-1, 10)));
        let kubeconfig = kubeconfig_text(&authority, &world.server.url, &user);
        place::write(&place.kubeconfig(), 0o600, &kubeconfig).unwrap();
        for path in [place.authority(), place.bootstrap(), place.configuration(), place.flags()] {
            place::write(&path, 0o600, "").unwrap();
        }
        place::write(&place.cert_dir().join("kubelet-client-current.pem"), 0o600, "").unwrap();
        world
    }

    fn place(&self) -> Place {
        Place::new(self.root.path(), Some(Service::Nodelet))
    }

    async fn leave(
        &mut self,
        options: &Options,
        units: &FakeUnits<'_>,
        cluster: &mut Cluster,
    ) -> (Result<(), LeaveError>, Vec<String>) {
        let place = self.place();
        let mut lines = Vec::new();
        let mut tell = |line: &str| lines.push(line.to_owned());
        let serving = async {
            loop {
                let visit = self.server.next().await;
                assert_eq!(visit.caller, "system:node:n1");
                cluster.calls.push(format!("{} {}", visit.method, visit.path));
                match (visit.method.as_str(), visit.path.as_str()) {
                    ("GET", "/api/v1/pods") => visit.ok(&json!({ "items": cluster.pods })),
                    ("POST", _) => {
                        cluster.pods.clear();
                        visit.reply(StatusCode::CREATED, &json!({}));
                    }
                    ("DELETE", _) if !cluster.may_delete => visit.fail(403, "Forbidden"),
                    _ => visit.ok(&json!({})),
                }
            }
        };
        let outcome = tokio::select! {
            outcome = leave(options, &place, units, &mut tell) => outcome,
            () = serving => unreachable!(),
        };
        (outcome, lines)
    }
}

fn options() -> Options {
    Options {
        kubeconfig: None,
        node_name: None,
        host_name: "host".to_owned(),
        timeout: Duration::from_secs(20),
        force: false,
        pods: None,
    }
}

fn pod(owner: &str) -> Value {
    json!({ "metadata": { "namespace": "default", "name": "web", "uid": "u",
        "ownerReferences": [{ "kind": owner, "controller": !owner.is_empty() }] } })
}

#[tokio::test]
async fn a_node_is_drained_and_loses_its_files_and_a_second_time_nothing_happens() {
    let mut world = World::new().await;
    let units = FakeUnits::new(|_| true);
    let mut cluster = Cluster { pods: vec![pod("ReplicaSet")], ..Cluster::default() };
    let (outcome, lines) = world.leave(&options(), &units, &mut cluster).await;
    outcome.unwrap();
    assert_eq!(*units.told.borrow(), ["stop nodelet.service", "disable nodelet.service"]);
    let evicted = cluster.calls.iter().position(|call| call.ends_with("/pods/web/eviction")).unwrap();
    let deleted = cluster.calls.iter().position(|call| call == "DELETE /api/v1/nodes/n1").unwrap();
    assert!(evicted < deleted, "{:?}", cluster.calls);
    assert!(lines.iter().any(|line| line.contains("kubectl delete node n1")), "{lines:?}");
    let place = world.place();
    assert!(place.secrets().is_empty() && place.settings().is_empty());

    let units = FakeUnits::new(|_| true);
    let (outcome, lines) = world.leave(&options(), &units, &mut Cluster::default()).await;
    outcome.unwrap();
    assert_eq!(lines, ["this machine is in no cluster"]);
    assert!(units.told.borrow().is_empty());
}

#[tokio::test]
async fn a_node_whose_pods_cannot_go_stays_as_it_is_unless_it_is_forced() {
    let mut world = World::new().await;
    let units = FakeUnits::new(|_| true);
    let mut cluster = Cluster { pods: vec![pod("")], may_delete: true, ..Cluster::default() };
    let (outcome, _) = world.leave(&options(), &units, &mut cluster).await;
    let error = crate::cause::chain(&outcome.unwrap_err());
    assert!(error.contains("default/web"), "{error}");
    assert!(units.told.borrow().is_empty() && world.place().secrets().len() == 4);
    assert!(!cluster.calls.iter().any(|call| call.starts_with("PATCH")), "{:?}", cluster.calls);

    let (outcome, lines) = world.leave(&Options { force: true, ..options() }, &units, &mut cluster).await;
    outcome.unwrap();
    assert!(lines.iter().any(|line| line.contains("is removed from the cluster")), "{lines:?}");
    assert!(world.place().secrets().is_empty());
}

#[tokio::test]
async fn without_its_api_server_a_node_leaves_by_force_only() {
    let world = World::new().await;
    let place = world.place();
    let World { root: _root, server } = world;
    drop(server);
    let units = FakeUnits::new(|_| true);
    let error = leave(&options(), &place, &units, &mut |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("--force"), "{error}");
    assert!(!place.secrets().is_empty());
    leave(&Options { force: true, ..options() }, &place, &units, &mut |_| {}).await.unwrap();
    assert!(place.secrets().is_empty() && place.settings().is_empty());
}

#[tokio::test]
async fn with_pods_everything_that_runs_is_ended_and_its_directories_removed() {
    let mut world = World::new().await;
    let runtime = Runtime::new().await;
    let place = world.place();
    let dir = place.state().join("pods/uid-a/volumes");
    let kept = place.state().join("nodelet/pods");
    for dir in [&dir, &kept] {
        fs::create_dir_all(dir).unwrap();
    }
    fs::write(kept.join("uid-a"), "").unwrap();
    let units = FakeUnits::new(|_| true);
    let options = Options { pods: Some(runtime.cri.clone()), ..options() };
    let (outcome, _) = world.leave(&options, &units, &mut Cluster::default()).await;
    outcome.unwrap();
    assert_eq!(runtime.runtime.counts(), (0, 0));
    assert!(!dir.exists() && !kept.exists());
    assert_eq!(units.told.borrow().last().map(String::as_str), Some("stop kubepods.slice"));
    // Without a cluster it ends pods all the same.
    let (outcome, _) = world.leave(&options, &units, &mut Cluster::default()).await;
    outcome.unwrap();
}
