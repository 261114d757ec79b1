use std::collections::BTreeMap;

use http::header::AUTHORIZATION;
use http::{Method, Request};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::kubeconfig::fake;
use crate::kubeconfig::link::tests::Authority;
use crate::server::endpoint::{self, Door, ENDPOINTS};
use crate::server::listen::serve_tls;
use crate::server::tests::{ask, asked, context, text};
use crate::server::{Asked, Context, Settings, serving};

/// Node and configuration as tests have them, and what the API server was asked.
struct World {
    context: Context,
    asked: mpsc::UnboundedReceiver<String>,
}

impl World {
    fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let (client, mut api) = fake::api();
        let (tell, asked) = mpsc::unbounded_channel();
        // A small API server: tokens are names, and what each may do is its own.
        tokio::spawn(async move {
            loop {
                let call = api.next().await;
                let spec = call.body["spec"].clone();
                let status = if call.path.ends_with("/tokenreviews") {
                    let _ = tell.send("token".to_owned());
                    match spec["token"].as_str() {
                        Some("broken") => {
                            call.fail(500, "InternalError");
                            continue;
                        }
                        Some("made-up") => json!({ "authenticated": false }),
                        name => {
                            json!({ "authenticated": true, "user": { "username": name, "groups": ["g"] } })
                        }
                    }
                } else {
                    let about = &spec["resourceAttributes"];
                    assert_eq!((&about["resource"], &about["name"]), (&json!("nodes"), &json!("n1")));
                    let wish = format!(
                        "{} {} {}",
                        spec["user"].as_str().unwrap(),
                        about["verb"].as_str().unwrap(),
                        about["subresource"].as_str().unwrap()
                    );
                    let _ = tell.send(wish.clone());
                    if wish.starts_with("undecided") {
                        call.fail(503, "ServiceUnavailable");
                        continue;
                    }
                    json!({ "allowed": may(&wish) })
                };
                let mut review: Value = call.body.clone();
                review["status"] = status;
                call.ok(&review);
            }
        });
        let context = context(Some(client), configure);
        Self { context, asked }
    }

    async fn code(&self, user: Option<&User>, token: Option<&str>, method: &Method, path: &str) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let asked = request.body(Asked::default().into_body()).unwrap();
        ask(&self.context, Door::ReadWrite, user, asked).await.status().as_u16()
    }

    fn asked(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }
}

fn may(wish: &str) -> bool {
    match wish.split(' ').collect::<Vec<_>>().as_slice() {
        ["full", ..] => true,
        // A collector of metrics.
        ["reader", "get", "metrics" | "healthz"] => true,
        // With the coarse right, as there was before there were finer ones.
        ["proxy", "get", "proxy"] => true,
        _ => false,
    }
}

fn certificate(name: &str) -> User {
    User { name: name.to_owned(), groups: vec!["g".to_owned()], ..User::default() }
}

/// An endpoint as it should be: its form in the router's table, a path of that form, its methods, the sub-resources of which one is
/// enough, and the answer to somebody who may do everything in a world without pods.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str], u16);

const READ: &[&str] = &["GET", "HEAD"];
const BOTH: &[&str] = &["GET", "POST"];
const PROXY: &[&str] = &["proxy"];
const PODS: &[&str] = &["pods", "proxy"];
const HEALTHZ: &[&str] = &["healthz", "proxy"];
const METRICS: &[&str] = &["metrics"];

/// All that is served. Whatever else the router's table has is a mistake there or here.
const TABLE: &[Row] = &[
    ("/healthz", "/healthz", READ, HEALTHZ, 200),
    ("/healthz/{check}", "/healthz/ping", READ, HEALTHZ, 200),
    ("/pods", "/pods", &["GET"], PODS, 200),
    ("/pods/", "/pods/", &["GET"], PODS, 200),
    ("/metrics", "/metrics", READ, METRICS, 200),
    ("/metrics/slis", "/metrics/slis", &["GET", "HEAD", "DELETE"], METRICS, 200),
    ("/metrics/cadvisor", "/metrics/cadvisor", READ, METRICS, 404),
    ("/metrics/resource", "/metrics/resource", READ, METRICS, 404),
    ("/metrics/probes", "/metrics/probes", READ, METRICS, 200),
    ("/stats/{path*}", "/stats/summary", BOTH, &["stats"], 404),
    ("/runningpods/", "/runningpods/", &["GET"], PODS, 500),
    ("/containerLogs/{namespace}/{pod}/{container}", "/containerLogs/ns/none/c", &["GET"], PROXY, 404),
    ("/exec/{namespace}/{pod}/{container}", "/exec/ns/none/c", BOTH, PROXY, 400),
    ("/exec/{namespace}/{pod}/{uid}/{container}", "/exec/ns/none/1/c", BOTH, PROXY, 400),
    ("/attach/{namespace}/{pod}/{container}", "/attach/ns/none/c", BOTH, PROXY, 400),
    ("/attach/{namespace}/{pod}/{uid}/{container}", "/attach/ns/none/1/c", BOTH, PROXY, 400),
    ("/run/{namespace}/{pod}/{container}", "/run/ns/none/c", &["POST"], PROXY, 404),
    ("/run/{namespace}/{pod}/{uid}/{container}", "/run/ns/none/1/c", &["POST"], PROXY, 404),
    ("/portForward/{namespace}/{pod}", "/portForward/ns/none", BOTH, PROXY, 404),
    ("/portForward/{namespace}/{pod}/{uid}", "/portForward/ns/none/1", BOTH, PROXY, 404),
    ("/logs/{path*}", "/logs/no/such/file", &["GET"], &["log"], 404),
    ("/checkpoint/{namespace}/{pod}/{container}", "/checkpoint/ns/none/c", &["POST"], &["checkpoint"], 404),
    ("/configz", "/configz", READ, &["configz", "proxy"], 200),
    ("/statusz", "/statusz", READ, &["statusz"], 200),
    ("/flagz", "/flagz", READ, &["configz"], 200),
    ("/debug/pprof/{profile*}", "/debug/pprof/no-such-profile", &["GET"], PROXY, 404),
    ("/debug/flags/v", "/debug/flags/v", &["PUT"], PROXY, 400),
];

#[test]
fn nothing_is_served_that_the_table_does_not_list() {
    let lines = |rows: &mut dyn Iterator<Item = (&str, &[&str], &[&str])>| {
        let mut lines: Vec<String> =
            rows.map(|(form, methods, rights)| format!("{form} {methods:?} {rights:?}")).collect();
        lines.sort();
        lines
    };
    let served = lines(&mut ENDPOINTS.iter().map(|row| (row.path, row.methods, row.subresources)));
    let listed = lines(&mut TABLE.iter().map(|(form, _, methods, rights, _)| (*form, *methods, *rights)));
    assert_eq!(served, listed);
}

/// The answer to a user with a name, who may do something or everything, where `answer` is what he gets who may.
fn expected(name: &str, verb: &str, rights: &[&str], answer: u16) -> u16 {
    match name {
        "undecided" => 500,
        _ if rights.iter().any(|right| may(&format!("{name} {verb} {right}"))) => answer,
        _ => 403,
    }
}

#[tokio::test]
async fn every_endpoint_answers_every_kind_of_caller_as_it_should() {
    let world = World::new(|_| {});
    for (form, path, methods, rights, answer) in TABLE {
        assert_eq!(endpoint::find(path).unwrap().endpoint.path, *form, "{path}");
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let verb = match method {
                "POST" => "create",
                "PUT" => "update",
                "PATCH" => "patch",
                "DELETE" => "delete",
                _ => "get",
            };
            let wrong = if *form == "/debug/flags/v" { 406 } else { 405 };
            let answer = if methods.contains(&method) { *answer } else { wrong };
            let method: Method = method.parse().unwrap();
            for caller in [None, Some("made-up"), Some("broken")] {
                let code = world.code(None, caller, &method, path).await;
                assert_eq!(code, 401, "{caller:?} {method} {path}");
            }
            for name in ["nobody", "undecided", "reader", "proxy", "full"] {
                let expected = expected(name, verb, rights, answer);
                let by_token = world.code(None, Some(name), &method, path).await;
                assert_eq!(by_token, expected, "{name} {method} {path}");
                let by_certificate = world.code(Some(&certificate(name)), None, &method, path).await;
                assert_eq!(by_certificate, expected, "{name} {method} {path}");
            }
        }
    }
    for path in ["/", "/nothing", "/exec", "/run/a/b", "/debug/pprof/../../pods", "/logs/..%2f..", "/pods/x"]
    {
        for (caller, code) in [(None, 401), (Some("nobody"), 403), (Some("full"), 404)] {
            assert_eq!(world.code(None, caller, &Method::GET, path).await, code, "{caller:?} {path}");
        }
    }
}

/// The answer to a caller who shows `shown`, a certificate and its key, in a handshake.
async fn over_tls(
    context: &Context,
    server: &Arc<ServerConfig>,
    authority: &Authority,
    shown: Option<&(String, String)>,
    (method, path): (&Method, &str),
) -> Result<u16, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        Some((certificate, key)) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    let (here, there) = tokio::io::duplex(64 * 1024);
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    tokio::spawn(serve_tls(there, TlsAcceptor::from(Arc::clone(server)), context.clone(), permit));
    let name = ServerName::try_from("n1").unwrap();
    let mut stream =
        TlsConnector::from(Arc::new(config)).connect(name, here).await.map_err(|e| e.to_string())?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: n1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.map_err(|e| e.to_string())?;
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split(' ').next());
    Ok(code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{answer:?} is no answer")))
}

#[tokio::test]
async fn certificates_that_do_not_count_open_no_endpoint() {
    let world = World::new(|_| {});
    let (authority, other) = (Authority::new(), Authority::new());
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = authority.issue("n1", &["n1"], (-1, 10));
    let mut config = Config {
        tls_cert_file: put("tls.crt", &certificate),
        tls_private_key_file: put("tls.key", &key),
        ..Config::default()
    };
    config.authentication.x509.client_ca_file = put("ca.crt", &authority.pem);
    let settings = Settings {
        config: Arc::new(config),
        cert_dir: dir.path().to_owned(),
        node_name: "n1".to_owned(),
        host_ips: Vec::new(),
        requested: None,
        client: None,
        root_dir: dir.path().to_owned(),
        flags: BTreeMap::new(),
    };
    let server = Arc::new(serving::tls(&settings).unwrap().0);
    let full = authority.issue("full", &[], (-1, 10));
    let nobody = authority.issue("nobody", &[], (-1, 10));
    let expired = authority.issue("full", &[], (-10, -2));
    let early = authority.issue("full", &[], (2, 10));
    let strange = other.issue("full", &[], (-1, 10));
    for (_, path, methods, _, answer) in TABLE {
        let method: Method = methods[0].parse().unwrap();
        let ask = async |shown: Option<&(String, String)>| {
            over_tls(&world.context, &server, &authority, shown, (&method, path)).await
        };
        assert_eq!(ask(Some(&full)).await, Ok(*answer), "{method} {path}");
        assert_eq!(ask(Some(&nobody)).await, Ok(403), "{method} {path}");
        assert_eq!(ask(None).await, Ok(401), "{method} {path}");
        for (shown, why) in
            [(&expired, "CertificateExpired"), (&early, "CertificateExpired"), (&strange, "DecryptError")]
        {
            let refused = ask(Some(shown)).await.unwrap_err();
            assert!(refused.contains(why), "{method} {path}: {refused}");
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_user_and_what_was_wanted() {
    let world = World::new(|_| {});
    let said = async |path: &str, name: &str| {
        let user = certificate(name);
        text(ask(&world.context, Door::ReadWrite, Some(&user), asked(&Method::GET, path)).await).await
    };
    let refused = "Forbidden (user=nobody, verb=get, resource=nodes, subresource(s)=[pods proxy])";
    assert_eq!(said("/pods", "nobody").await, refused);
    let failed = "Authorization error (user=undecided, verb=get, resource=nodes, subresource=metrics)";
    assert_eq!(said("/metrics", "undecided").await, failed);
}

#[tokio::test]
async fn an_answer_is_asked_for_once_and_an_error_again() {
    let mut world = World::new(|_| {});
    for _ in 0..3 {
        assert_eq!(world.code(None, Some("full"), &Method::GET, "/pods").await, 200);
        assert_eq!(world.code(None, Some("nobody"), &Method::GET, "/pods").await, 403);
    }
    let once = ["token", "full get pods", "token", "nobody get pods", "nobody get proxy"];
    assert_eq!(world.asked(), once);
    for _ in 0..2 {
        assert_eq!(world.code(None, Some("undecided"), &Method::GET, "/pods").await, 500);
    }
    assert_eq!(world.asked(), ["token", "undecided get pods", "undecided get pods"]);
}

#[tokio::test]
async fn the_configuration_widens_and_narrows_who_may_come() {
    let get = Method::GET;
    let mut open = World::new(|config| {
        config.authentication.anonymous.enabled = true;
        config.authorization.mode = ALWAYS_ALLOW.to_owned();
    });
    assert_eq!(open.code(None, None, &get, "/pods").await, 200);
    assert!(open.asked().is_empty());
    // Who shows something false is not nobody.
    assert_eq!(open.code(None, Some("made-up"), &get, "/pods").await, 401);

    let mut named = World::new(|config| config.authentication.anonymous.enabled = true);
    assert_eq!(named.code(None, None, &get, "/pods").await, 403);
    assert_eq!(named.asked(), ["system:anonymous get pods", "system:anonymous get proxy"]);

    let mut no_tokens = World::new(|config| config.authentication.webhook.enabled = false);
    assert_eq!(no_tokens.code(None, Some("full"), &get, "/pods").await, 401);
    assert!(no_tokens.asked().is_empty());
    assert_eq!(no_tokens.code(Some(&certificate("full")), None, &get, "/pods").await, 200);
}

#[tokio::test]
async fn without_an_api_server_nobody_may_do_anything() {
    let mut world = World::new(|_| {});
    world.context.access = Access::new(Arc::clone(&world.context.config), None, "n1".to_owned());
    assert_eq!(world.code(None, Some("full"), &Method::GET, "/pods").await, 401);
    assert_eq!(world.code(Some(&certificate("full")), None, &Method::GET, "/pods").await, 500);
}

#[test]
fn paths_and_methods_are_asked_for_as_a_kubelet_asks() {
    let wish = |method: Method, path: &str| {
        Wish::of(&method, endpoint::find(path).as_ref().map(|found| found.endpoint))
    };
    let expected: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("/stats/summary", &["stats"] as &[&str]),
        ("/stats", &["stats"]),
        ("/metrics", &["metrics"]),
        ("/metrics/cadvisor", &["metrics"]),
        ("/metricsx", &["proxy"]),
        ("/logs/syslog", &["log"]),
        ("/logs", &["log"]),
        ("/checkpoint/a/b/c", &["checkpoint"]),
        ("/statusz", &["statusz"]),
        ("/flagz", &["configz"]),
        ("/pods", &["pods", "proxy"]),
        ("/%70ods", &["pods", "proxy"]),
        ("/runningpods/", &["pods", "proxy"]),
        ("/healthz/syncloop", &["healthz", "proxy"]),
        ("/configz", &["configz", "proxy"]),
        ("/exec/a/b/c", &["proxy"]),
        ("/", &["proxy"]),
    ]);
    for (path, subresources) in expected {
        assert_eq!(wish(Method::GET, path), Wish { verb: "get", subresources }, "{path}");
    }
    let verbs =
        [("POST", "create"), ("PUT", "update"), ("PATCH", "patch"), ("DELETE", "delete"), ("HEAD", "get")];
    for (method, verb) in verbs {
        assert_eq!(wish(method.parse().unwrap(), "/run").verb, verb);
    }
}

#[test]
fn only_a_bearer_token_is_a_token() {
    let token = |value: &str| {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        caller::token(&headers).map(ToOwned::to_owned)
    };
    assert_eq!(token("Bearer t").as_deref(), Some("t"));
    assert_eq!(token("bearer  t ").as_deref(), Some("t"));
    for none in ["Bearer", "Bearer ", "Basic dTpw", "t"] {
        assert_eq!(token(none), None, "{none}");
    }
}

#[test]
fn any_bytes_are_the_certificate_of_a_caller_with_a_name_or_of_nobody() {
    let real = CertificateDer::from_pem_slice(include_bytes!("../../membership/pin/openssl.crt")).unwrap();
    bolero::check!().with_type::<(Vec<(u16, u8)>, Vec<u8>)>().for_each(|(changes, bytes)| {
        let mut changed = real.to_vec();
        for (at, byte) in changes {
            let at = usize::from(*at) % changed.len();
            changed[at] = *byte;
        }
        for certificate in [changed, bytes.clone()] {
            let user = User::of_certificate(Some(&[certificate.into()]));
            assert!(user.is_none_or(|user| !user.name.is_empty()));
        }
    });
}

#[test]
fn any_header_has_a_token_or_none() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let Ok(value) = http::HeaderValue::from_bytes(bytes) else { return };
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
        assert!(caller::token(&headers).is_none_or(|token| !token.trim().is_empty()));
    });
}
