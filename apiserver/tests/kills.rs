//! The program is killed while it writes: what it acknowledged is there afterwards, and revisions go on where they were.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

const ROUNDS: usize = 5;
const WRITERS: usize = 8;
/// Longer than a start or an answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Program {
    data: PathBuf,
    port: u16,
}

impl Program {
    fn start(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_apiserver"))
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--secure-port", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// A client, once the server answers.
    async fn client(&self) -> Client {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(client) = connect(&self.data.join("admin.kubeconfig")).await
                && client.apiserver_version().await.is_ok()
            {
                return client;
            }
            assert!(Instant::now() < deadline, "the server does not answer");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn connect(kubeconfig: &Path) -> Result<Client, Box<dyn std::error::Error>> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn revision(map: &ConfigMap) -> u64 {
    map.metadata.resource_version.as_ref().unwrap().parse().unwrap()
}

/// Creates objects until the server is gone; gives back what was acknowledged, names with revisions.
async fn write(client: Client, round: usize, writer: usize) -> Vec<(String, u64)> {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let mut acknowledged = Vec::new();
    for i in 0.. {
        let name = format!("r{round}-w{writer}-{i}");
        let map: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        match timeout(PATIENCE, maps.create(&PostParams::default(), &map)).await.expect("an answer or an end")
        {
            Ok(stored) => acknowledged.push((name, revision(&stored))),
            Err(_) => break,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_kill_9_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let program = Program { data: dir.path().join("data"), port };
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let mut child = program.start();
        let client = program.client().await;
        let writers: Vec<_> = (0..WRITERS).map(|w| tokio::spawn(write(client.clone(), round, w))).collect();
        // Not the same moment twice: the kill hits writes at different points of a commit.
        sleep(Duration::from_millis(150 + 37 * round as u64)).await;
        child.kill().await.unwrap();
        let newest_before = acknowledged.values().max().copied().unwrap_or(0);
        let written: Vec<(String, u64)> =
            join_all(writers).await.into_iter().flat_map(|w| w.unwrap()).collect();
        assert!(!written.is_empty(), "nothing was written in round {round}");
        for (name, revision) in written {
            assert!(revision > newest_before, "{name} has revision {revision}, {newest_before} was before");
            acknowledged.insert(name, revision);
        }
    }
    let mut child = program.start();
    let maps: Api<ConfigMap> = Api::default_namespaced(program.client().await);
    let found: BTreeMap<String, u64> = maps
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .iter()
        .map(|map| (map.metadata.name.clone().unwrap(), revision(map)))
        .collect();
    for (name, revision) in &acknowledged {
        assert_eq!(found.get(name), Some(revision), "{name} was acknowledged");
    }
    let mut revisions: Vec<u64> = found.values().copied().collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), found.len(), "a revision was given twice");
    child.kill().await.unwrap();
}
