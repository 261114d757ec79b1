//! The API server as a program: callers, conflicts, watches over its death, lists while others write, a full disk.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures::StreamExt as _;
use futures::TryStreamExt as _;
use harness::cluster::Programs;
use harness::wait::{self, Look};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions, WatchEvent, WatchParams,
};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;
use tokio::process::{Child, Command};

const LIMIT: Duration = Duration::from_secs(30);

struct Server {
    data: PathBuf,
    port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl Server {
    async fn start(data: &Path, arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        let mut server = Self { data: data.to_owned(), port, arguments, process: None };
        server.resume().await;
        server
    }

    async fn resume(&mut self) {
        let log = self.data.with_extension("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let process = Command::new(Programs::from_environment().unwrap().apiserver)
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--secure-port", &self.port.to_string()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.process = Some(process);
        let look = || async {
            let ready = async {
                let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
                self.client().await?.request_text(request).await.map_err(|e| e.to_string())
            };
            ready.await.map_or_else(Look::NotYet, |_| Look::There(()))
        };
        wait::until("the API server to be ready", LIMIT, look).await.unwrap();
    }

    async fn kill(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    async fn config(&self) -> Result<Config, String> {
        let kubeconfig =
            Kubeconfig::read_from(self.data.join("admin.kubeconfig")).map_err(|e| e.to_string())?;
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|e| e.to_string())
    }

    async fn client(&self) -> Result<Client, String> {
        Client::try_from(self.config().await?).map_err(|e| e.to_string())
    }

    async fn config_maps(&self) -> Api<ConfigMap> {
        Api::default_namespaced(self.client().await.unwrap())
    }
}

fn config_map(name: &str, text: &str) -> ConfigMap {
    serde_json::from_value(json!({ "metadata": { "name": name }, "data": { "text": text } })).unwrap()
}

fn version(map: &ConfigMap) -> String {
    map.metadata.resource_version.clone().unwrap()
}

fn code<T: std::fmt::Debug>(outcome: Result<T, kube::Error>) -> (u16, String) {
    match outcome {
        Err(kube::Error::Api(status)) => (status.code, status.message.clone()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_shows_a_good_certificate_or_token_is_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens.csv");
    std::fs::write(&tokens, "a-secret-token,somebody,1,\"system:masters\"\n").unwrap();
    let server =
        Server::start(&dir.path().join("data"), &["--token-auth-file", tokens.to_str().unwrap()]).await;
    let mut config = server.config().await.unwrap();
    config.auth_info = AuthInfo::default();
    let ask = async |config: &Config, path: &str| {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        Client::try_from(config.clone()).unwrap().request_text(request).await
    };
    let (refused, why) = code(ask(&config, "/api/v1/secrets").await);
    assert!(
        refused == 403 && why.contains("User \"system:anonymous\" cannot list resource \"secrets\""),
        "{refused} {why}"
    );
    config.auth_info.token = Some("another-token".to_owned().into());
    assert_eq!(code(ask(&config, "/api/v1/secrets").await).0, 401);
    config.auth_info.token = Some("a-secret-token".to_owned().into());
    ask(&config, "/api/v1/secrets").await.unwrap();
    // A certificate of another authority ends in the handshake or with 401, never with an answer.
    let other = Server::start(&dir.path().join("other"), &[]).await;
    let mut stranger = other.config().await.unwrap();
    stranger.cluster_url = server.config().await.unwrap().cluster_url;
    stranger.accept_invalid_certs = true;
    match ask(&stranger, "/api/v1/secrets").await {
        Err(kube::Error::Api(status)) => assert_eq!(status.code, 401),
        Err(_) => {}
        Ok(text) => panic!("a stranger was answered: {text}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_does_not_know_the_newest_version_conflicts() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &[]).await;
    let maps = server.config_maps().await;
    let first = maps.create(&PostParams::default(), &config_map("m", "1")).await.unwrap();
    let mut change = first.clone();
    change.data.as_mut().unwrap().insert("text".to_owned(), "2".to_owned());
    let second = maps.replace("m", &PostParams::default(), &change).await.unwrap();
    assert!(version(&second).parse::<u64>().unwrap() > version(&first).parse::<u64>().unwrap());
    let (refused, why) = code(maps.replace("m", &PostParams::default(), &change).await);
    assert_eq!(refused, 409);
    assert!(
        why.contains("Operation cannot be fulfilled on configmaps \"m\": the object has been modified"),
        "{why}"
    );
    let unchanged = maps.replace("m", &PostParams::default(), &second).await.unwrap();
    assert_eq!(version(&unchanged), version(&second), "a write that changes nothing is none");
    let (refused, _) = code(maps.create(&PostParams::default(), &config_map("m", "3")).await);
    assert_eq!(refused, 409);
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some("another".to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    assert_eq!(code(maps.delete("m", &params).await).0, 409);
    let mut generated = config_map("", "4");
    generated.metadata.name = None;
    generated.metadata.generate_name = Some("made-".to_owned());
    let name = maps.create(&PostParams::default(), &generated).await.unwrap().metadata.name.unwrap();
    assert!(name.starts_with("made-") && name.len() == "made-".len() + 5, "{name}");
}

/// What a watcher that resumes where it was sees, until it has seen `last`.
async fn watch_until(server: &Server, from: &str, seen: &mut Vec<String>, last: &str) -> String {
    let maps = server.config_maps().await;
    let mut at = from.to_owned();
    let params = WatchParams::default();
    let mut events = maps.watch(&params, &at).await.unwrap().boxed();
    loop {
        match events.try_next().await {
            Ok(Some(WatchEvent::Modified(map))) => {
                at = version(&map);
                seen.push(map.data.unwrap()["text"].clone());
                if seen.last().is_some_and(|text| text == last) {
                    return at;
                }
            }
            Ok(Some(WatchEvent::Bookmark(mark))) => at = mark.metadata.resource_version,
            Ok(Some(WatchEvent::Error(error))) => panic!("{error:?}"),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return at,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_resumes_after_a_kill_of_the_server_has_missed_and_doubled_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(&dir.path().join("data"), &[]).await;
    let maps = server.config_maps().await;
    let made = maps.create(&PostParams::default(), &config_map("m", "0")).await.unwrap();
    let write = async |maps: &Api<ConfigMap>, numbers: std::ops::Range<u32>| {
        for number in numbers {
            let patch = Patch::Merge(json!({ "data": { "text": number.to_string() } }));
            maps.patch("m", &PatchParams::default(), &patch).await.unwrap();
        }
    };
    let (mut seen, mut at) = (Vec::new(), version(&made));
    for round in 0..3u32 {
        let (begin, end) = (round * 100 + 1, round * 100 + 101);
        let maps = server.config_maps().await;
        write(&maps, begin..begin + 50).await;
        at = watch_until(&server, &at, &mut seen, &(begin + 40).to_string()).await;
        write(&maps, begin + 50..end).await;
        server.kill().await;
        server.resume().await;
    }
    watch_until(&server, &at, &mut seen, "300").await;
    let expected: Vec<String> = (1..=300).map(|n| n.to_string()).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_pieces_is_one_moment_while_others_write() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &[]).await;
    let maps = server.config_maps().await;
    for i in 0..50 {
        maps.create(&PostParams::default(), &config_map(&format!("m-{i:02}"), "x")).await.unwrap();
    }
    let first = maps.list(&ListParams::default().limit(20)).await.unwrap();
    // The certificate of the cluster is the one more.
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (20, Some(31)));
    maps.delete("m-40", &DeleteParams::default()).await.unwrap();
    maps.create(&PostParams::default(), &config_map("m-30a", "new")).await.unwrap();
    let mut names: BTreeSet<String> = first.items.iter().map(|m| m.metadata.name.clone().unwrap()).collect();
    let mut token = first.metadata.continue_.clone();
    while let Some(next) = token.filter(|t| !t.is_empty()) {
        let page = maps.list(&ListParams::default().limit(20).continue_token(&next)).await.unwrap();
        assert_eq!(page.metadata.resource_version, first.metadata.resource_version);
        names.extend(page.items.iter().map(|m| m.metadata.name.clone().unwrap()));
        token = page.metadata.continue_;
    }
    assert!(names.contains("m-40") && !names.contains("m-30a"), "{names:?}");
    let (refused, _) = code(maps.list(&ListParams::default().limit(20).continue_token("garbage")).await);
    assert_eq!(refused, 400);
    assert_eq!(maps.list(&ListParams::default().fields("metadata.name=m-30a")).await.unwrap().items.len(), 1);
}

/// A file system of a given size, gone with the test.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path, size: &str) -> Self {
        std::fs::create_dir_all(path).unwrap();
        let options = format!("size={size}");
        mount(Some("small"), path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
        Self(path.to_owned())
    }

    fn resize(&self, size: &str) {
        let options = format!("size={size}");
        mount(None::<&str>, &self.0, None::<&str>, MsFlags::MS_REMOUNT, Some(options.as_str())).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_to_the_writer_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = Small::mount(&dir.path().join("small"), "6m");
    let mut server = Server::start(&small.0.join("data"), &[]).await;
    let maps = server.config_maps().await;
    let text = "x".repeat(200 * 1024);
    let mut written = 0;
    let (refused, why) = loop {
        assert!(written < 100, "the disk does not get full");
        match maps.create(&PostParams::default(), &config_map(&format!("m-{written}"), &text)).await {
            Ok(_) => written += 1,
            Err(error) => break code(Err::<(), _>(error)),
        }
    };
    assert!(refused >= 500 && why.to_lowercase().contains("space"), "{refused} {why}");
    // Reading goes on, and what was acknowledged is there.
    assert_eq!(maps.list(&ListParams::default().fields("metadata.name=m-0")).await.unwrap().items.len(), 1);
    small.resize("64m");
    let look = || async {
        match maps.create(&PostParams::default(), &config_map("after", &text)).await {
            Ok(_) => Look::There(()),
            Err(error) => Look::NotYet(error.to_string()),
        }
    };
    wait::until("writes to be taken again", LIMIT, look).await.unwrap();
    server.kill().await;
    server.resume().await;
    let names: BTreeSet<String> = server
        .config_maps()
        .await
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|m| m.metadata.name.unwrap())
        .collect();
    for i in 0..written {
        assert!(names.contains(&format!("m-{i}")), "m-{i} was lost");
    }
    assert!(names.contains("after"));
}
