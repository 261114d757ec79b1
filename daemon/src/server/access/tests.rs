use std::collections::BTreeMap;

use cri_client::Timeouts;
use http::Request;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::kubeconfig::fake;
use crate::metrics::Metrics;
use crate::pods::Shown;
use crate::probes::Probing;
use crate::server::Context;
use crate::server::listen::respond;

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
        let mut config = Config::default();
        configure(&mut config);
        let config = Arc::new(config);
        let context = Context {
            access: Access::new(Arc::clone(&config), Some(client), "n1".to_owned()),
            config,
            cri: cri_client::Client::new("/nowhere".into(), None, Timeouts::default()),
            pods: Shown::default(),
            metrics: Metrics::new().unwrap(),
            probing: Probing::default(),
        };
        Self { context, asked }
    }

    async fn code(&self, user: Option<&User>, token: Option<&str>, method: &Method, path: &str) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        respond(&self.context, user, &head).await.status().as_u16()
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

/// All that is served, and what the answer to somebody who may do everything is.
const ENDPOINTS: [(&str, u16); 9] = [
    ("/healthz", 200),
    ("/healthz/ping", 200),
    ("/healthz/log", 200),
    ("/healthz/syncloop", 200),
    ("/pods", 200),
    ("/pods/", 200),
    ("/metrics", 200),
    ("/configz", 200),
    ("/containerLogs/default/none/c", 404),
];

#[tokio::test]
async fn every_endpoint_answers_every_kind_of_caller_as_it_should() {
    let world = World::new(|_| {});
    let (get, post) = (Method::GET, Method::POST);
    for (path, answer) in ENDPOINTS {
        let reads = path.starts_with("/metrics") || path.starts_with("/healthz");
        let table = [
            (None, 401),
            (Some("made-up"), 401),
            (Some("broken"), 401),
            (Some("nobody"), 403),
            (Some("undecided"), 500),
            (Some("reader"), if reads { answer } else { 403 }),
            (Some("proxy"), if path == "/metrics" { 403 } else { answer }),
            (Some("full"), answer),
        ];
        for (caller, code) in table {
            assert_eq!(world.code(None, caller, &get, path).await, code, "{caller:?} {path}");
        }
        for name in ["nobody", "undecided", "reader", "proxy", "full"] {
            let by_token = world.code(None, Some(name), &get, path).await;
            let by_certificate = world.code(Some(&certificate(name)), None, &get, path).await;
            assert_eq!(by_certificate, by_token, "{name} {path}");
        }
        // Reading is no right to anything else, and there is nothing else.
        assert_eq!(world.code(None, Some("proxy"), &post, path).await, 403, "{path}");
        assert_eq!(world.code(None, Some("full"), &post, path).await, 405, "{path}");
        assert_eq!(world.code(None, None, &post, path).await, 401, "{path}");
    }
    for path in ["/", "/nothing", "/exec", "/run/a/b/c", "/debug/pprof/heap", "/logs/", "/metrics/cadvisor"] {
        for (caller, code) in [(None, 401), (Some("nobody"), 403), (Some("full"), 404)] {
            assert_eq!(world.code(None, caller, &get, path).await, code, "{caller:?} {path}");
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_user_and_what_was_wanted() {
    let world = World::new(|_| {});
    let said = async |path: &str, name: &str| {
        let (head, ()) = Request::get(path).body(()).unwrap().into_parts();
        let reply = respond(&world.context, Some(&certificate(name)), &head).await;
        let body = http_body_util::BodyExt::collect(reply.into_body()).await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
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
    let wish = |method: Method, path: &str| Wish::of(&method, path);
    let expected: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("/stats/summary", &["stats"] as &[&str]),
        ("/metrics", &["metrics"]),
        ("/metrics/cadvisor", &["metrics"]),
        ("/metricsx", &["proxy"]),
        ("/logs/syslog", &["log"]),
        ("/checkpoint/a/b/c", &["checkpoint"]),
        ("/statusz", &["statusz"]),
        ("/flagz", &["configz"]),
        ("/pods", &["pods", "proxy"]),
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
