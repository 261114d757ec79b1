//! Against a TLS server that tells who came.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::{Timestamp, ToSpan as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::kubeconfig::{self, Seat};
use crate::metrics::Metrics;

type Answer = StreamBody<futures::stream::BoxStream<'static, Result<Frame<Bytes>, std::convert::Infallible>>>;

/// Signs what tests need; its certificate is good for servers and clients.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate, PEM, and its key.
    pub(crate) fn issue(&self, common_name: &str, names: &[&str], days: (i64, i64)) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        last(&mut params, days);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Signs a request as it stands in a CertificateSigningRequest.
    pub(crate) fn sign(&self, object: &Value, days: (i64, i64)) -> Value {
        let request = STANDARD.decode(object["spec"]["request"].as_str().unwrap()).unwrap();
        let mut asked =
            CertificateSigningRequestParams::from_pem(&String::from_utf8(request).unwrap()).unwrap();
        last(&mut asked.params, days);
        let pem = asked.signed_by(&self.issuer).unwrap().pem();
        let mut signed = object.clone();
        signed["status"] = json!({ "conditions": [{ "type": "Approved", "status": "True" }], "certificate": STANDARD.encode(pem) });
        signed
    }
}

/// Sets from when to when it counts, in days from now.
fn last(params: &mut CertificateParams, (from, to): (i64, i64)) {
    let date = |days: i64| {
        let date = (Timestamp::now() + (days * 24).hours()).to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (date(from), date(to));
}

/// A request, who sent it, and where the answer goes.
pub(crate) struct Visit {
    pub(crate) method: http::Method,
    pub(crate) path: String,
    /// CN of the client's certificate, or the `Authorization` header, or nothing.
    pub(crate) caller: String,
    pub(crate) body: Value,
    answer: tokio::sync::oneshot::Sender<Response<Answer>>,
}

impl Visit {
    pub(crate) fn ok(self, body: &Value) {
        self.reply(StatusCode::OK, body);
    }

    pub(crate) fn reply(self, status: StatusCode, body: &Value) {
        let frame = Frame::data(Bytes::from(body.to_string()));
        self.stream(status, futures::stream::iter([Ok(frame)]).boxed());
    }

    fn stream(
        self,
        status: StatusCode,
        stream: futures::stream::BoxStream<'static, Result<Frame<Bytes>, std::convert::Infallible>>,
    ) {
        let response = Response::builder().status(status).header("content-type", "application/json");
        let _ = self.answer.send(response.body(StreamBody::new(stream)).unwrap());
    }

    /// A failure as an API server tells it.
    pub(crate) fn fail(self, code: u16, reason: &str) {
        let body = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
            "message": reason, "code": code, "metadata": {} });
        self.reply(StatusCode::from_u16(code).unwrap(), &body);
    }
}

/// An API server of TLS connections, driven by hand.
pub(crate) struct Server {
    pub(crate) url: String,
    visits: mpsc::Receiver<Visit>,
    accepting: tokio::task::JoinHandle<()>,
    /// Connections so far.
    connections: Arc<AtomicUsize>,
    /// All connections up to now end with a new value.
    cut: watch::Sender<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    /// One that speaks HTTP/1.1 alone.
    pub(crate) async fn start(authority: &Authority) -> Self {
        Self::speaking(authority, &["http/1.1"]).await
    }

    async fn speaking(authority: &Authority, protocols: &[&str]) -> Self {
        let (certificate, key) = authority.issue("server", &["127.0.0.1"], (-1, 10));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        tls.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (sender, visits) = mpsc::channel(16);
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let (connections, cut) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(()));
        let accepting = tokio::spawn({
            let (count, cut) = (Arc::clone(&connections), cut.clone());
            async move {
                let mut connections = tokio::task::JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    count.fetch_add(1, Ordering::Relaxed);
                    let (serving, mut cut) =
                        (serve(acceptor.clone(), stream, sender.clone()), cut.subscribe());
                    connections.spawn(async move {
                        tokio::select! {
                            () = serving => {}
                            _ = cut.changed() => {}
                        }
                    });
                }
            }
        });
        Self { url, visits, accepting, connections, cut }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) async fn next(&mut self) -> Visit {
        let limit = Duration::from_secs(30);
        timeout(limit, self.visits.recv()).await.expect("somebody comes").unwrap()
    }
}

async fn serve(acceptor: TlsAcceptor, stream: tokio::net::TcpStream, visits: mpsc::Sender<Visit>) {
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|first| {
        let (_, parsed) = x509_parser::parse_x509_certificate(first).unwrap();
        parsed.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned()
    });
    let service = service_fn(move |request: Request<Incoming>| {
        let (visits, shown) = (visits.clone(), shown.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
            let header = head.headers.get("authorization").map(|h| h.to_str().unwrap().to_owned());
            let (answer, answered) = tokio::sync::oneshot::channel();
            let visit = Visit {
                method: head.method,
                path: head.uri.path().to_owned(),
                caller: shown.or(header).unwrap_or_default(),
                body: serde_json::from_slice(&body).unwrap_or(Value::Null),
                answer,
            };
            let _ = visits.send(visit).await;
            answered.await.map_err(std::io::Error::other)
        }
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

/// A kubeconfig for a server: `user` is what stands behind `user:`, as JSON.
pub(crate) fn kubeconfig_text(authority: &Authority, url: &str, user: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{ "name": "c", "context": { "cluster": "k", "user": "u" } }],
        "clusters": [{ "name": "k", "cluster": { "server": url, "certificate-authority-data": STANDARD.encode(&authority.pem) } }],
        "users": [{ "name": "u", "user": user }],
    })
    .to_string()
}

/// A user of a kubeconfig with an embedded certificate.
pub(crate) fn embedded((certificate, key): &(String, String)) -> Value {
    json!({ "client-certificate-data": STANDARD.encode(certificate), "client-key-data": STANDARD.encode(key) })
}

async fn line_of(authority: &Authority, url: &str, name: &str) -> Line {
    let user = embedded(&authority.issue(name, &[], (-1, 10)));
    let text = kubeconfig_text(authority, url, &user);
    let access = kubeconfig::parse(&text, Path::new("/k.conf")).await.unwrap();
    access.line(access.identity.as_ref()).unwrap()
}

async fn call(client: kube::Client) -> Result<String, kube::Error> {
    client.request_text(Request::get("/x").body(Vec::new()).unwrap()).await
}

#[tokio::test]
async fn new_calls_take_the_new_certificate_while_a_watch_goes_on() {
    let authority = Authority::new();
    let mut server = Server::start(&authority).await;
    let link = Link::new(Metrics::new().unwrap().work(), Reach::default());
    link.set(line_of(&authority, &server.url, "old").await);
    let client = link.client();

    let request = Request::get("/watch").body(Body::empty()).unwrap();
    let watching = tokio::spawn({
        let client = client.clone();
        async move { client.send(request).await.unwrap() }
    });
    let visit = server.next().await;
    assert_eq!((visit.path.as_str(), visit.caller.as_str()), ("/watch", "old"));
    let (events, received) = mpsc::channel::<&'static str>(4);
    let frames = tokio_stream_of(received);
    visit.stream(StatusCode::OK, frames);
    let mut watch = watching.await.unwrap().into_body();

    // An idle connection of the old line is not taken any more.
    let first = tokio::spawn(call(client.clone()));
    let visit = server.next().await;
    assert_eq!(visit.caller, "old");
    visit.ok(&json!({}));
    first.await.unwrap().unwrap();
    link.set(line_of(&authority, &server.url, "new").await);
    let second = tokio::spawn(call(client.clone()));
    let visit = server.next().await;
    assert_eq!(visit.caller, "new");
    visit.ok(&json!({}));
    second.await.unwrap().unwrap();

    events.send("still here").await.unwrap();
    let frame = watch.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&*frame, b"still here");
}

fn tokio_stream_of(
    received: mpsc::Receiver<&'static str>,
) -> futures::stream::BoxStream<'static, Result<Frame<Bytes>, std::convert::Infallible>> {
    futures::stream::unfold(received, |mut received| async move {
        let event = received.recv().await?;
        Some((Ok(Frame::data(Bytes::from_static(event.as_bytes()))), received))
    })
    .boxed()
}

#[tokio::test(start_paused = true)]
async fn without_a_certificate_calls_wait_a_little_and_say_what_is_missing() {
    let link = Link::new(Metrics::new().unwrap().work(), Reach::default());
    let error = crate::cause::chain(&call(link.client()).await.unwrap_err());
    assert!(error.contains("this node has no client certificate yet"), "{error}");
}

#[tokio::test]
async fn a_call_that_waits_goes_out_with_the_first_certificate() {
    let authority = Authority::new();
    let mut server = Server::start(&authority).await;
    let link = Link::new(Metrics::new().unwrap().work(), Reach::default());
    let waiting = tokio::spawn(call(link.client()));
    link.set(line_of(&authority, &server.url, "first").await);
    let visit = server.next().await;
    assert_eq!(visit.caller, "first");
    visit.ok(&json!({}));
    waiting.await.unwrap().unwrap();
}

/// Calls on so many seats, all of them under way.
async fn seated(seats: &Seats, server: &mut Server, number: usize) -> Vec<(Seat, Visit, Calling)> {
    let mut under_way = Vec::new();
    for _ in 0..number {
        let seat = seats.take();
        let calling = tokio::spawn(call(seat.client.clone()));
        under_way.push((seat, server.next().await, calling));
    }
    under_way
}

type Calling = tokio::task::JoinHandle<Result<String, kube::Error>>;

#[tokio::test]
async fn watches_share_connections_and_begin_anew_with_a_new_certificate_or_after_a_loss() {
    let authority = Authority::new();
    let mut server = Server::speaking(&authority, &["h2", "http/1.1"]).await;
    let link = Link::new(Metrics::new().unwrap().work(), Reach::default());
    link.set(line_of(&authority, &server.url, "old").await);
    let seats = link.seats();
    let mut under_way = seated(&seats, &mut server, 65).await;
    assert_eq!(server.connections(), 2, "64 are on the first");

    // A seat that is given back is taken again.
    under_way.remove(3);
    under_way.extend(seated(&seats, &mut server, 1).await);
    assert_eq!(server.connections(), 2);

    link.set(line_of(&authority, &server.url, "new").await);
    let (seat, _visit, _call) = &under_way[0];
    let again = tokio::spawn(call(seat.client.clone()));
    let visit = server.next().await;
    assert_eq!((visit.caller.as_str(), server.connections()), ("new", 3));
    visit.ok(&json!({}));
    again.await.unwrap().unwrap();
    for (_seat, visit, call) in under_way.split_off(1) {
        visit.ok(&json!({}));
        call.await.unwrap().unwrap();
    }

    server.cut.send_replace(());
    let (seat, _visit, lost) = under_way.pop().unwrap();
    lost.await.unwrap().unwrap_err();
    // The end of an idle connection may be seen a moment later.
    let again = tokio::spawn(async move {
        loop {
            match call(seat.client.clone()).await {
                Err(_) => tokio::task::yield_now().await,
                Ok(answer) => return answer,
            }
        }
    });
    server.next().await.ok(&json!({}));
    again.await.unwrap();
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn a_server_of_http_1_gets_a_connection_for_each_watch() {
    let authority = Authority::new();
    let mut server = Server::start(&authority).await;
    let link = Link::new(Metrics::new().unwrap().work(), Reach::default());
    link.set(line_of(&authority, &server.url, "n").await);
    for (_seat, visit, call) in seated(&link.seats(), &mut server, 3).await {
        visit.ok(&json!({}));
        call.await.unwrap().unwrap();
    }
    // The first found out what the server speaks.
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let server = Server::start(&Authority::new()).await;
    let link = Link::new(Metrics::new().unwrap().work(), Reach::default());
    link.set(line_of(&Authority::new(), &server.url, "n").await);
    let error = crate::cause::chain(&call(link.client()).await.unwrap_err());
    assert!(error.contains("invalid peer certificate: BadSignature"), "{error}");
}

/// Who calls, with this user in the kubeconfig and this beside the server in its cluster.
async fn caller(authority: &Authority, server: &mut Server, user: &Value, cluster: &Value) -> String {
    let mut text: Value =
        serde_json::from_str(&kubeconfig_text(authority, &server.url, user)).expect("a kubeconfig");
    let known = text["clusters"][0]["cluster"].as_object_mut().unwrap();
    known.extend(cluster.as_object().unwrap().clone());
    let access = kubeconfig::parse(&text.to_string(), Path::new("/k.conf")).await.unwrap();
    let calling = tokio::spawn(call(access.client().unwrap()));
    let visit = server.next().await;
    let caller = visit.caller.clone();
    visit.ok(&json!({}));
    calling.await.unwrap().unwrap();
    caller
}

#[tokio::test]
async fn tokens_and_passwords_of_a_kubeconfig_are_sent() {
    let authority = Authority::new();
    let mut server = Server::start(&authority).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "of-the-file\n").unwrap();
    for (user, wanted) in [
        (json!({ "token": "secret" }), "Bearer secret"),
        (json!({ "tokenFile": file }), "Bearer of-the-file"),
        (json!({ "token": "secret", "tokenFile": file }), "Bearer of-the-file"),
        (json!({ "token": "secret", "tokenFile": "/nowhere" }), "Bearer secret"),
        (json!({ "username": "u", "password": "p" }), "Basic dTpw"),
        (json!({}), ""),
    ] {
        assert_eq!(caller(&authority, &mut server, &user, &json!({})).await, wanted, "{user}");
    }
    std::fs::remove_file(&file).unwrap();
    let text = kubeconfig_text(&authority, &server.url, &json!({ "tokenFile": file }));
    let access = kubeconfig::parse(&text, Path::new("/k.conf")).await.unwrap();
    let error = crate::cause::chain(&access.client().err().unwrap());
    assert!(error.contains(file.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn a_kubeconfig_may_name_the_server_otherwise_or_believe_anybody() {
    let authority = Authority::new();
    let mut server = Server::start(&authority).await;
    let user = json!({ "token": "t" });
    let cluster = json!({ "tls-server-name": "127.0.0.1" });
    assert_eq!(caller(&authority, &mut server, &user, &cluster).await, "Bearer t");
    let other = json!({ "tls-server-name": "another.example" });
    let mut text: Value = serde_json::from_str(&kubeconfig_text(&authority, &server.url, &user)).unwrap();
    text["clusters"][0]["cluster"]["tls-server-name"] = other["tls-server-name"].clone();
    let access = kubeconfig::parse(&text.to_string(), Path::new("/k.conf")).await.unwrap();
    let error = crate::cause::chain(&call(access.client().unwrap()).await.unwrap_err());
    assert!(error.contains("another.example"), "{error}");

    text["clusters"][0]["cluster"] = json!({ "server": server.url, "insecure-skip-tls-verify": true });
    let access = kubeconfig::parse(&text.to_string(), Path::new("/k.conf")).await.unwrap();
    let calling = tokio::spawn(call(access.client().unwrap()));
    let visit = server.next().await;
    assert_eq!(visit.caller, "Bearer t");
    visit.ok(&json!({}));
    calling.await.unwrap().unwrap();
}
