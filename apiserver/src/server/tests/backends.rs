//! Backends that are driven by hand, and clients that send what they are told to.

use std::sync::Arc;

use base64::Engine as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// Largest head that is read here, in bytes.
const HEAD_LIMIT: usize = 64 * 1024;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One end of a connection.
pub(super) struct Wire(Box<dyn Io>);

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

impl Wire {
    pub(super) async fn send(&mut self, text: impl AsRef<[u8]>) {
        let sending = async {
            self.0.write_all(text.as_ref()).await?;
            self.0.flush().await
        };
        timeout(PATIENCE, sending).await.expect("to be read").unwrap();
    }

    /// Sends unless the other end has gone, or does not read any more; whether it went.
    pub(super) async fn try_send(&mut self, text: impl AsRef<[u8]>) -> bool {
        self.0.write_all(text.as_ref()).await.is_ok() && self.0.flush().await.is_ok()
    }

    /// Says that nothing follows.
    pub(super) async fn finish(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// So many bytes.
    pub(super) async fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        timeout(PATIENCE, self.0.read_exact(&mut bytes)).await.expect("bytes").unwrap();
        bytes
    }

    /// A head, or nothing but the end.
    pub(super) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        let reading = async {
            while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_LIMIT {
                match self.0.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
        };
        timeout(PATIENCE, reading).await.expect("a head");
        String::from_utf8(head).unwrap()
    }

    /// Everything until the connection ends, in order or not.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("an end");
        rest
    }
}

/// A request at a backend.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) head: String,
    /// CN of the client's certificate.
    pub(super) client: Option<String>,
    pub(super) wire: Wire,
}

impl Arrived {
    /// The value of a field; empty if there is none.
    pub(super) fn field(&self, name: &str) -> &str {
        field(&self.head, name)
    }
}

/// The value of a field of a head; empty if there is none.
pub(super) fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).next().unwrap_or_default()
}

/// Somebody on this machine that requests are passed on to.
pub(super) struct Backend {
    pub(super) port: u16,
    arrivals: mpsc::Receiver<Arrived>,
}

impl Backend {
    /// A pod.
    pub(super) async fn plain() -> Self {
        Self::start(None).await
    }

    /// A kubelet, which asks for a certificate of the world's authority.
    pub(super) async fn kubelet(world: &World) -> Self {
        let ca = std::fs::read(world.options.data_dir.join("pki/ca.crt")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let own = rcgen::generate_simple_self_signed(["node".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        Self::start(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, arrivals) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, sender) = (tls.clone(), sender.clone());
                tokio::spawn(async move {
                    let (client, mut wire) = match tls {
                        None => (None, Wire(Box::new(stream))),
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            let shown = &stream.get_ref().1.peer_certificates().unwrap()[0];
                            let (_, shown) = x509_parser::parse_x509_certificate(shown).unwrap();
                            let client = crate::pki::Subject::of(&shown).user;
                            (Some(client), Wire(Box::new(stream)))
                        }
                    };
                    let head = wire.head().await;
                    // The test may have ended.
                    let _ = sender.send(Arrived { head, client, wire }).await;
                });
            }
        });
        Self { port, arrivals }
    }

    pub(super) async fn next(&mut self) -> Arrived {
        timeout(PATIENCE, self.arrived()).await.expect("a request")
    }

    /// The next request, however long it takes. Cancel-safe.
    pub(super) async fn arrived(&mut self) -> Arrived {
        self.arrivals.recv().await.expect("the listener lives as long as the test")
    }

    /// Whether nothing has come that was not looked at.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.arrivals.try_recv().is_err()
    }
}

impl World {
    /// A connection to the server, as the administrator or whose kubeconfig it is.
    pub(super) async fn wire(&self, kubeconfig: &std::path::Path) -> Wire {
        let config: Value = serde_saphyr::from_str(&std::fs::read_to_string(kubeconfig).unwrap()).unwrap();
        let user = &config["users"][0]["user"];
        let decode =
            |text: &Value| base64::engine::general_purpose::STANDARD.decode(text.as_str().unwrap()).unwrap();
        let (certificate, key) = (decode(&user["client-certificate-data"]), decode(&user["client-key-data"]));
        let ca = decode(&config["clusters"][0]["cluster"]["certificate-authority-data"]);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(&certificate).unwrap()],
                PrivateKeyDer::from_pem_slice(&key).unwrap(),
            )
            .unwrap();
        let address = self.server.as_ref().unwrap().address();
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        Wire(Box::new(TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.unwrap()))
    }

    pub(super) async fn admin_wire(&self) -> Wire {
        self.wire(&self.server.as_ref().unwrap().admin_kubeconfig()).await
    }

    /// A connection of somebody who has a certificate and no rights but those that were given to him.
    pub(super) async fn wire_as(&self, user: &str) -> Wire {
        drop(self.client_as(user, "dev").await);
        self.wire(&self.dir.path().join(format!("{user}.kubeconfig"))).await
    }

    /// The node of [`World::bound_pod`], with its kubelet at this port.
    pub(super) async fn node_at(&self, port: u16) {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" } });
        self.post("/api/v1/nodes", &node).await.expect(201);
        let status = json!({ "status": {
            "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
        } });
        self.patch("/api/v1/nodes/n1/status", "merge", &status).await.expect(200);
    }
}
