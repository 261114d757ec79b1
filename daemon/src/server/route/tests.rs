use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method};
use serde_json::Value;

use super::*;
use crate::config::Config;
use crate::server::tests::{ask, asked, context, text};

fn open(configure: impl FnOnce(&mut Config)) -> Context {
    context(None, |config| {
        config.authentication.anonymous.enabled = true;
        config.authorization.mode = "AlwaysAllow".to_owned();
        configure(config);
    })
}

async fn get(context: &Context, door: Door, path: &str) -> (u16, String) {
    let reply = ask(context, door, None, asked(&Method::GET, path)).await;
    (reply.status().as_u16(), text(reply).await)
}

#[tokio::test]
async fn metrics_are_read_as_text_and_nothing_else_is_done_to_them() {
    let context = open(|_| {});
    context.metrics.orphan_found();
    let reply = ask(&context, Door::ReadWrite, None, asked(&Method::GET, "/metrics")).await;
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let all = text(reply).await;
    assert!(all.contains("\nkubelet_orphaned_runtime_pods_total 1\n"), "{all}");
    let reply = ask(&context, Door::ReadWrite, None, asked(&Method::GET, "/metrics/probes")).await;
    assert_eq!(reply.status(), StatusCode::OK);
    assert_eq!(reply.headers()[CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let reply = ask(&context, Door::ReadWrite, None, asked(&method, "/metrics")).await;
        assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(reply.headers()[ALLOW], "GET, HEAD");
    }
}

#[tokio::test]
async fn switched_off_debugging_is_said_or_leaves_nothing() {
    let context = open(|config| config.enable_debugging_handlers = false);
    let door = Door::ReadWrite;
    for path in [
        "/run/a/b/c",
        "/exec/a/b/c",
        "/exec/whatever",
        "/attach/a/b/c",
        "/portForward/a/b",
        "/containerLogs/a/b/c",
        "/runningpods/",
        "/debug/pprof/heap",
        "/logs/",
    ] {
        for method in [Method::GET, Method::POST] {
            let reply = ask(&context, door, None, asked(&method, path)).await;
            assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(text(reply).await, "Debug endpoints are disabled.\n", "{method} {path}");
        }
    }
    for path in ["/configz", "/statusz", "/flagz", "/checkpoint/a/b/c", "/debug/flags/v"] {
        assert_eq!(get(&context, door, path).await, (404, "404 page not found\n".to_owned()), "{path}");
    }
    for path in ["/pods", "/healthz", "/metrics", "/metrics/slis", "/metrics/probes"] {
        assert_eq!(get(&context, door, path).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn single_handlers_and_gates_are_switched_off_alone() {
    let context = open(|config| {
        config.enable_system_log_handler = false;
        config.enable_profiling_handler = false;
        config.enable_debug_flags_handler = false;
        for gate in ["ComponentStatusz", "ComponentFlagz", "ContainerCheckpoint"] {
            config.feature_gates.insert(gate.to_owned(), false);
        }
    });
    let door = Door::ReadWrite;
    for (path, text) in [
        ("/logs/syslog", "logs endpoint is disabled.\n"),
        ("/debug/pprof/", "profiling endpoint is disabled.\n"),
        ("/debug/flags/v", "flags endpoint is disabled.\n"),
    ] {
        assert_eq!(get(&context, door, path).await, (405, text.to_owned()), "{path}");
    }
    for path in ["/statusz", "/flagz", "/checkpoint/a/b/c"] {
        assert_eq!(get(&context, door, path).await.0, 404, "{path}");
    }
    assert_eq!(get(&context, door, "/configz").await.0, 200);
}

#[tokio::test]
async fn the_read_only_port_has_health_pods_and_metrics_and_changes_nothing() {
    let context = context(None, |_| {});
    let door = Door::ReadOnly;
    let served = [
        "/healthz",
        "/healthz/syncloop",
        "/pods",
        "/pods/",
        "/metrics",
        "/metrics/cadvisor",
        "/metrics/probes",
        "/metrics/resource",
        "/metrics/slis",
        "/stats/summary",
    ];
    for path in served {
        assert_eq!(get(&context, door, path).await.0, 200, "{path}");
    }
    for endpoint in endpoint::ENDPOINTS {
        let path = endpoint.path.replace(['{', '}', '*'], "");
        let (code, _) = get(&context, door, &path).await;
        let expected: &[u16] = match endpoint.needs {
            Needs::Nothing => &[200, 404],
            Needs::Announced | Needs::SystemLog | Needs::Profiling => &[405],
            Needs::Debugging | Needs::Gate(_) | Needs::DebugFlags => &[404],
        };
        assert!(expected.contains(&code), "{path} was answered with {code}");
        assert!(code != 200 || served.iter().any(|served| path == *served), "{path} is open to everybody");
    }
    let reset = ask(&context, door, None, asked(&Method::DELETE, "/metrics/slis")).await;
    assert_eq!(reset.status(), StatusCode::METHOD_NOT_ALLOWED);
    let context = open(|_| {});
    let reset = ask(&context, Door::ReadWrite, None, asked(&Method::DELETE, "/metrics/slis")).await;
    assert_eq!(text(reset).await, "metrics reset\n");
}

#[tokio::test]
async fn the_healthz_port_has_nothing_else() {
    let context = open(|_| {});
    assert_eq!(get(&context, Door::Healthz, "/healthz/ping").await.0, 200);
    for path in ["/pods", "/metrics", "/exec/a/b/c", "/exec/x", "/logs", "/"] {
        assert_eq!(get(&context, Door::Healthz, path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let context = open(|_| {});
    for (method, path, status, allow) in [
        (Method::POST, "/pods", 405, "GET"),
        (Method::PATCH, "/exec/a/b/c", 405, "GET, POST"),
        (Method::GET, "/run/a/b/c", 405, "POST"),
        (Method::DELETE, "/metrics/cadvisor", 405, "GET, HEAD"),
    ] {
        let reply = ask(&context, Door::ReadWrite, None, asked(&method, path)).await;
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()[ALLOW]),
            (status, &HeaderValue::from_static(allow))
        );
        assert_eq!(text(reply).await, "405: Method Not Allowed");
    }
    let reply = ask(&context, Door::ReadWrite, None, asked(&Method::GET, "/debug/flags/v")).await;
    assert_eq!((reply.status().as_u16(), text(reply).await.as_str()), (406, "unsupported http method"));
}

#[tokio::test]
async fn a_path_without_its_last_slash_is_sent_on() {
    let context = open(|_| {});
    for (path, to) in [("/runningpods", "/runningpods/"), ("/logs?query=kubelet", "/logs/?query=kubelet")] {
        let reply = ask(&context, Door::ReadWrite, None, asked(&Method::GET, path)).await;
        assert_eq!(reply.status(), StatusCode::MOVED_PERMANENTLY);
        assert_eq!(reply.headers()[LOCATION], to);
    }
}

#[tokio::test]
async fn pages_about_the_program_are_text_or_json() {
    let context = open(|config| {
        config.static_pod_url_header.insert("Authorization".to_owned(), vec!["secret".to_owned()]);
    });
    let door = Door::ReadWrite;
    let (code, page) = get(&context, door, "/statusz").await;
    assert!(code == 200 && page.starts_with("\nkubelet statusz\nWarning: "), "{page}");
    assert!(page.contains("\nStarted: Tue Nov 14 22:13:20 UTC 2023\n"), "{page}");
    assert!(
        page.contains("Paths: /attach /checkpoint /configz /containerLogs /debug /exec /flagz /healthz"),
        "{page}"
    );
    assert_eq!(get(&context, door, "/flagz").await.1.lines().last(), Some("v=2"));

    let mut request = asked(&Method::GET, "/flagz");
    request
        .headers_mut()
        .insert(ACCEPT, HeaderValue::from_static("application/json;g=config.k8s.io;v=v1beta1;as=Flagz"));
    let reply = ask(&context, door, None, request).await;
    assert_eq!(reply.headers()[CONTENT_TYPE], "application/json");
    let flagz: Value = serde_json::from_str(&text(reply).await).unwrap();
    assert_eq!((&flagz["kind"], &flagz["apiVersion"]), (&"Flagz".into(), &"config.k8s.io/v1beta1".into()));
    assert_eq!(flagz["flags"]["v"], "2");

    let mut request = asked(&Method::GET, "/statusz");
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/xml"));
    let reply = ask(&context, door, None, request).await;
    assert_eq!(reply.status(), StatusCode::NOT_ACCEPTABLE);

    let (_, configz) = get(&context, door, "/configz").await;
    assert!(configz.contains("<masked>") && !configz.contains("secret"), "{configz}");
}

#[tokio::test]
async fn profiles_of_go_are_unknown_and_the_command_line_is_not() {
    let context = open(|_| {});
    let door = Door::ReadWrite;
    assert_eq!(get(&context, door, "/debug/pprof/").await.0, 200);
    assert!(get(&context, door, "/debug/pprof/cmdline").await.1.contains("nodelet"));
    for name in ["heap", "profile?seconds=1", "goroutine", "trace"] {
        let path = format!("/debug/pprof/{name}");
        assert_eq!(get(&context, door, &path).await, (404, "Unknown profile\n".to_owned()));
    }
}
