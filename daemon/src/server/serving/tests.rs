use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::config::Config;
use crate::kubeconfig::link::tests::Authority;

/// The files of a server, whose authorities are `Authority`s of the test.
struct World {
    dir: tempfile::TempDir,
    newest: watch::Receiver<Arc<ServerConfig>>,
    metrics: Metrics,
    _stop: watch::Sender<bool>,
}

impl World {
    /// A server that follows its files, which are there.
    fn start(serving: &Authority, clients: &Authority) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = Config {
            tls_cert_file: path("tls.crt"),
            tls_private_key_file: path("tls.key"),
            ..Config::default()
        };
        config.authentication.x509.client_ca_file = path("ca.crt");
        let settings = Settings {
            config: Arc::new(config),
            cert_dir: dir.path().to_owned(),
            node_name: "n1".to_owned(),
            host_ips: Vec::new(),
            requested: None,
            client: None,
            root_dir: dir.path().to_owned(),
            flags: std::collections::BTreeMap::new(),
        };
        put_serving(dir.path(), serving);
        put(dir.path(), "ca.crt", &clients.pem);
        let (sender, newest) = watch::channel(Arc::new(tls(&settings).unwrap().0));
        let (stop, metrics) = (watch::Sender::new(false), Metrics::new().unwrap());
        tokio::spawn(follow(settings, sender, metrics.clone(), stop.subscribe()));
        Self { dir, newest, metrics, _stop: stop }
    }

    /// A handshake of a client that trusts `server` and shows a certificate of `client`: whether either side refuses.
    async fn handshake(&self, server: &Authority, client: &Authority) -> Result<(), String> {
        let (certificate, key) = client.issue("caller", &[], (-1, 10));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(server.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let (here, there) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from("n1").unwrap();
        let acceptor = TlsAcceptor::from(Arc::clone(&self.newest.borrow()));
        let (accepted, connected) =
            tokio::join!(acceptor.accept(there), TlsConnector::from(Arc::new(config)).connect(name, here));
        connected.map_err(|error| format!("client: {error}"))?;
        accepted.map(drop).map_err(|error| format!("server: {error}"))
    }
}

/// Whole and under another inode, as whoever renews certificates writes them.
fn put(dir: &Path, name: &str, content: &str) {
    fs::write(dir.join("new"), content).unwrap();
    fs::rename(dir.join("new"), dir.join(name)).unwrap();
}

fn put_serving(dir: &Path, authority: &Authority) {
    let (certificate, key) = authority.issue("n1", &["n1"], (-1, 10));
    put(dir, "tls.key", &key);
    put(dir, "tls.crt", &certificate);
}

#[tokio::test(start_paused = true)]
async fn changed_certificates_and_authorities_count_without_a_restart() {
    let (first, second, callers, others) =
        (Authority::new(), Authority::new(), Authority::new(), Authority::new());
    let mut world = World::start(&first, &callers);
    world.handshake(&first, &callers).await.unwrap();
    assert!(world.handshake(&second, &callers).await.unwrap_err().starts_with("client: "));
    assert!(world.handshake(&first, &others).await.unwrap_err().starts_with("server: "));

    put(world.dir.path(), "ca.crt", &others.pem);
    world.newest.changed().await.unwrap();
    world.handshake(&first, &others).await.unwrap();
    assert!(world.handshake(&first, &callers).await.unwrap_err().starts_with("server: "));

    put_serving(world.dir.path(), &second);
    world.newest.changed().await.unwrap();
    world.handshake(&second, &others).await.unwrap();
    let text = world.metrics.text().unwrap();
    assert!(!text.contains("kubelet_certificate_manager_server_ttl_seconds +Inf"), "{text}");

    // What cannot be used changes nothing, and does not keep what comes after it from counting.
    put(world.dir.path(), "ca.crt", "nonsense");
    sleep(3 * LOOK_EVERY).await;
    assert!(!world.newest.has_changed().unwrap());
    world.handshake(&second, &others).await.unwrap();
    put(world.dir.path(), "ca.crt", &callers.pem);
    world.newest.changed().await.unwrap();
    world.handshake(&second, &callers).await.unwrap();
}
