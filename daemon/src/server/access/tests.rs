use std::collections::BTreeMap;

use cri_client::Timeouts;
use http::header::AUTHORIZATION;
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::kubeconfig::fake;
use crate::metrics::Metrics;
use crate::pods::Shown;
use crate::server::endpoint::{self, ENDPOINTS};
use crate::server::listen::respond;
use crate::server::{Asked, Context};

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
            sessions: crate::server::streaming::Sessions::default(),
        };
        Self { context, asked }
    }

    async fn code(&self, user: Option<&User>, token: Option<&str>, method: &Method, path: &str) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let asked = request.body(Asked::default().into_body()).unwrap();
        respond(&self.context, user, asked).await.status().as_u16()
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
    ("/metrics/slis", "/metrics/slis", &["GET", "HEAD", "DELETE"], METRICS, 404),
    ("/metrics/cadvisor", "/metrics/cadvisor", READ, METRICS, 404),
    ("/metrics/resource", "/metrics/resource", READ, METRICS, 404),
    ("/metrics/probes", "/metrics/probes", READ, METRICS, 404),
    ("/stats/{path*}", "/stats/summary", BOTH, &["stats"], 404),
    ("/runningpods/", "/runningpods/", &["GET"], PODS, 404),
    ("/containerLogs/{namespace}/{pod}/{container}", "/containerLogs/ns/none/c", &["GET"], PROXY, 404),
    ("/exec/{namespace}/{pod}/{container}", "/exec/ns/none/c", BOTH, PROXY, 404),
    ("/exec/{namespace}/{pod}/{uid}/{container}", "/exec/ns/none/1/c", BOTH, PROXY, 404),
    ("/attach/{namespace}/{pod}/{container}", "/attach/ns/none/c", BOTH, PROXY, 404),
    ("/attach/{namespace}/{pod}/{uid}/{container}", "/attach/ns/none/1/c", BOTH, PROXY, 404),
    ("/run/{namespace}/{pod}/{container}", "/run/ns/none/c", &["POST"], PROXY, 404),
    ("/run/{namespace}/{pod}/{uid}/{container}", "/run/ns/none/1/c", &["POST"], PROXY, 404),
    ("/portForward/{namespace}/{pod}", "/portForward/ns/none", BOTH, PROXY, 404),
    ("/portForward/{namespace}/{pod}/{uid}", "/portForward/ns/none/1", BOTH, PROXY, 404),
    ("/logs/{path*}", "/logs/no/such/file", &["GET"], &["log"], 404),
    ("/checkpoint/{namespace}/{pod}/{container}", "/checkpoint/ns/none/c", &["POST"], &["checkpoint"], 404),
    ("/configz", "/configz", READ, &["configz", "proxy"], 200),
    ("/statusz", "/statusz", READ, &["statusz"], 404),
    ("/flagz", "/flagz", READ, &["configz"], 404),
    ("/debug/pprof/{profile*}", "/debug/pprof/no-such-profile", &["GET"], PROXY, 404),
    ("/debug/flags/v", "/debug/flags/v", &["PUT"], PROXY, 404),
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

#[tokio::test]
async fn a_refusal_names_the_user_and_what_was_wanted() {
    let world = World::new(|_| {});
    let said = async |path: &str, name: &str| {
        let asked = Request::get(path).body(Asked::default().into_body()).unwrap();
        let reply = respond(&world.context, Some(&certificate(name)), asked).await;
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
