use futures::FutureExt;
use http::Method;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::*;
use crate::kubeconfig::fake::{self, FakeApi};

type Ips = Followed<Service, String>;

/// The one service of these tests, as it is kept.
const KEPT: &str = r#"[[["n","a"],"1"]]"#;

struct Rig {
    followed: Ips,
    api: FakeApi,
    dir: tempfile::TempDir,
    stop: watch::Sender<bool>,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().expect("a directory");
    let (client, api) = fake::api();
    let (stop, stopping) = watch::channel(false);
    let followed = Ips::new(Some(client), "services", ip, dir.path().join("kept/services"), stopping);
    Rig { followed, api, dir, stop }
}

fn ip(service: &Service) -> Option<String> {
    service.spec.as_ref()?.cluster_ip.clone()
}

fn service(name: &str, ip: Option<&str>) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "n", "resourceVersion": "9"},
           "spec": {"clusterIP": ip}})
}

/// The clock is paused, and the file is written by another thread.
async fn until_kept(file: &Path, text: &str) {
    while std::fs::read_to_string(file).ok().as_deref() != Some(text) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        std::thread::yield_now();
    }
}

fn named(all: &BTreeMap<Name, String>) -> Vec<(&str, &str)> {
    all.iter().map(|((_, name), ip)| (name.as_str(), ip.as_str())).collect()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_before_somebody_needs_it_and_then_changes_come_by_themselves() {
    let Rig { followed, mut api, dir: _dir, stop: _stop } = rig();
    tokio::task::yield_now().await;
    assert!(api.is_idle());
    assert_eq!(followed.clone().read().now_or_never(), None, "nothing is known yet");
    let list = api.next().await;
    list.is(&Method::GET, "/api/v1/services");
    list.list("10", json!([service("a", Some("1")), service("none", None)]));
    assert_eq!(named(&followed.read().await.expect("read")), [("a", "1")]);
    let watch = api.next().await.watch();
    let mut news = followed.news();
    for (kind, object) in [
        ("ADDED", service("b", Some("2"))),
        ("MODIFIED", service("a", Some("3"))),
        ("DELETED", service("b", None)),
        ("MODIFIED", service("a", None)),
    ] {
        news.borrow_and_update();
        watch.send(kind, object).await;
        news.changed().await.expect("told");
    }
    assert_eq!(named(&followed.known()), []);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_serves_the_next_daemon_while_the_api_server_is_away() {
    let Rig { followed, mut api, dir, stop } = rig();
    let reading = followed.clone();
    let read = tokio::spawn(async move { reading.read().await });
    api.next().await.list("10", json!([service("a", Some("1"))]));
    let before = read.await.expect("ended").expect("read");
    let file = dir.path().join("kept/services");
    until_kept(&file, KEPT).await;
    let (client, mut api) = fake::api();
    let stopping = stop.subscribe();
    let next = Ips::new(Some(client), "services", ip, file.clone(), stopping.clone());
    let reading = next.clone();
    let read = tokio::spawn(async move { reading.read().await });
    api.next().await.fail(503, "away");
    assert_eq!(read.await.expect("ended").expect("kept"), before);
    // What the API server says later replaces it.
    let mut news = next.news();
    news.borrow_and_update();
    api.next().await.list("11", json!([]));
    news.changed().await.expect("told");
    assert!(next.known().is_empty());
    until_kept(&file, "[]").await;
    // One that does not answer is not waited for as long.
    // Files of their own: the others go on writing theirs.
    let whole = dir.path().join("whole");
    std::fs::write(&whole, KEPT).expect("written");
    let (client, _silent) = fake::api();
    let silent = Ips::new(Some(client), "services", ip, whole, stopping.clone());
    assert_eq!(silent.read().await.expect("kept"), before);
    // Damage costs the copy only.
    let broken = dir.path().join("broken");
    std::fs::write(&broken, "[[").expect("written");
    let (client, mut api) = fake::api();
    let damaged = Ips::new(Some(client), "services", ip, broken, stopping);
    let reading = damaged.clone();
    let read = tokio::spawn(async move { reading.read().await });
    api.next().await.fail(503, "away");
    assert_eq!(read.await.expect("ended"), Err(NotRead));
}

#[tokio::test(start_paused = true)]
async fn without_an_api_server_there_is_nothing_and_nobody_waits() {
    let (_stop, stopping) = watch::channel(false);
    let followed = Ips::new(None, "services", ip, PathBuf::from("/nowhere/services"), stopping);
    assert_eq!(followed.read().now_or_never(), Some(Ok(Arc::default())));
}
