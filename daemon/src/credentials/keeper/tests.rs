use http::StatusCode;
use serde_json::json;

use super::super::store::CLIENT;
use super::*;
use crate::kubeconfig::link::tests::{Authority, Server, Visit, embedded, kubeconfig_text};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A node's files, an API server, and a keeper once it was started.
struct World {
    dir: tempfile::TempDir,
    authority: Authority,
    server: Server,
    stop: watch::Sender<bool>,
    metrics: Metrics,
}

impl World {
    async fn new() -> Self {
        let authority = Authority::new();
        let server = Server::start(&authority).await;
        let (dir, stop) = (tempfile::tempdir().unwrap(), watch::Sender::new(false));
        Self { dir, authority, server, stop, metrics: Metrics::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, user: &serde_json::Value) {
        fs::write(self.path(name), kubeconfig_text(&self.authority, &self.server.url, user)).unwrap();
    }

    fn settings(&self) -> Settings {
        Settings {
            kubeconfig: self.path("kubelet.conf"),
            bootstrap: Some(self.path("bootstrap.conf")),
            store: Store::new(&self.path("pki"), CLIENT),
            node_name: "n1".to_owned(),
            rotates: true,
            pace: Pace { look_every: Duration::from_millis(50), retry_first: Duration::from_millis(50) },
            metrics: self.metrics.clone(),
        }
    }

    async fn start(&self) -> Clients {
        let (clients, keeper) = open(self.settings(), Duration::from_secs(10)).await.unwrap();
        tokio::spawn(keeper.run(self.stop.subscribe()));
        clients
    }

    async fn refused(&self) -> String {
        chain(&open(self.settings(), Duration::from_secs(10)).await.err().unwrap())
    }

    /// Whom the API server sees behind a call.
    async fn caller(&mut self, clients: &Clients) -> String {
        let client = clients.general.clone();
        let calling = tokio::spawn(async move {
            client.request_text(http::Request::get("/who").body(Vec::new()).unwrap()).await
        });
        let mut visit = self.server.next().await;
        while visit.path != "/who" {
            visit.fail(500, "NotNow");
            visit = self.server.next().await;
        }
        let caller = visit.caller.clone();
        visit.reply(StatusCode::OK, &json!({}));
        calling.await.unwrap().unwrap();
        caller
    }

    /// The next request for a certificate that is posted.
    async fn posted(&mut self) -> Visit {
        let visit = self.server.next().await;
        assert_eq!((&visit.method, visit.path.as_str()), (&http::Method::POST, REQUESTS));
        visit
    }

    /// Signs the next request.
    async fn sign(&mut self) -> String {
        let visit = self.posted().await;
        let (caller, signed) = (visit.caller.clone(), self.authority.sign(&visit.body, (-1, 365)));
        visit.ok(&signed);
        caller
    }
}

fn token(token: &str) -> serde_json::Value {
    json!({ "token": token })
}

#[tokio::test]
async fn a_node_joins_with_a_token_that_is_put_right_while_it_waits() {
    let mut world = World::new().await;
    world.write("bootstrap.conf", &token("wrong"));
    let clients = world.start().await;
    let visit = world.posted().await;
    assert_eq!(visit.caller, "Bearer wrong");
    let name = visit.body["metadata"]["name"].clone();
    visit.fail(401, "Unauthorized");
    world.write("bootstrap.conf", &token("right"));
    let mut visit = world.posted().await;
    while visit.caller != "Bearer right" {
        visit.fail(401, "Unauthorized");
        visit = world.posted().await;
    }
    assert_eq!(visit.body["metadata"]["name"], name, "the same key, the same request");
    let posted = visit.body.clone();
    visit.ok(&posted);
    let visit = world.server.next().await;
    let signed = world.authority.sign(&posted, (-1, 365));
    visit.ok(&signed);
    assert_eq!(world.caller(&clients).await, "system:node:n1");
    let text = fs::read_to_string(world.path("kubelet.conf")).unwrap();
    assert!(text.contains("pki/kubelet-client-current.pem") && !text.contains("right"), "{text}");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(world.path("kubelet.conf")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn an_embedded_certificate_is_replaced_by_one_that_the_node_asks_for_with_it() {
    let mut world = World::new().await;
    world.write("kubelet.conf", &embedded(&world.authority.issue("given", &[], (-1, 10))));
    let clients = world.start().await;
    assert_eq!(world.sign().await, "given");
    while world.caller(&clients).await != "system:node:n1" {}
    assert!(world.path("pki/kubelet-client-current.pem").exists());
}

#[tokio::test]
async fn a_certificate_in_its_last_part_is_renewed_with_itself() {
    let mut world = World::new().await;
    let (certificate, key) = world.authority.issue("system:node:old", &[], (-95, 5));
    let old = Identity::read(certificate.as_bytes(), key.as_bytes()).unwrap();
    let settings = world.settings();
    settings.store.put(&old, Timestamp::now()).unwrap();
    let file = settings.store.current();
    world.write("kubelet.conf", &json!({ "client-certificate": file, "client-key": file }));
    let clients = world.start().await;
    assert_eq!(world.sign().await, "system:node:old");
    while world.caller(&clients).await != "system:node:n1" {}
    let text = world.metrics.text().unwrap();
    let left =
        text.lines().find_map(|l| l.strip_prefix("kubelet_certificate_manager_client_ttl_seconds ")).unwrap();
    assert!(left.parse::<f64>().unwrap() > 360.0 * 86_400.0, "the new one's: {left}");
}

#[tokio::test]
async fn a_certificate_that_expired_while_the_node_was_off_is_had_again_with_a_token() {
    let mut world = World::new().await;
    world.write("kubelet.conf", &embedded(&world.authority.issue("system:node:n1", &[], (-20, -10))));
    let error = world.refused().await;
    assert!(
        error.contains("the client certificate expired at ")
            && error.contains("bootstrap.conf, which does not exist"),
        "{error}"
    );
    world.write("bootstrap.conf", &token("abc"));
    let clients = world.start().await;
    assert_eq!(world.sign().await, "Bearer abc");
    assert_eq!(world.caller(&clients).await, "system:node:n1");
}

#[tokio::test]
async fn an_address_that_changes_in_the_kubeconfig_is_taken_without_a_restart() {
    let mut world = World::new().await;
    world.write("kubelet.conf", &token("t"));
    let clients = world.start().await;
    assert_eq!(world.caller(&clients).await, "Bearer t");
    let moved = Server::start(&world.authority).await;
    let old = std::mem::replace(&mut world.server, moved);
    world.write("kubelet.conf", &token("t2"));
    // Calls to the old address are refused from now on; the keeper needs a moment.
    drop(old);
    let client = clients.general.clone();
    let calling = tokio::spawn(async move {
        while client.request_text(http::Request::get("/who").body(Vec::new()).unwrap()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let visit = world.server.next().await;
    assert_eq!(visit.caller, "Bearer t2");
    visit.ok(&json!({}));
    calling.await.unwrap();
}

#[tokio::test]
async fn nothing_that_leads_to_a_certificate_ends_the_start_with_what_to_do() {
    let mut world = World::new().await;
    let error = world.refused().await;
    assert!(
        error.contains("kubelet.conf does not exist; a new one can be had with a bootstrap token in"),
        "{error}"
    );
    fs::write(world.path("bootstrap.conf"), "{").unwrap();
    assert!(world.refused().await.contains("bootstrap.conf"));
    world.write("bootstrap.conf", &token("t"));
    fs::write(world.path("kubelet.conf"), "damaged: [").unwrap();
    // A damaged kubeconfig is no reason to stay away from the cluster.
    world.start().await;
    assert_eq!(world.posted().await.caller, "Bearer t");
}
