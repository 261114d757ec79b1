//! Paths of port 10250 to answers (behaviour.md 35).

use http::{Method, StatusCode, Uri};
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;
use percent_encoding::percent_decode_str;

use super::reply::{self, Reply};
use super::{Context, container_logs};

const DEBUGGING_OFF: &str = "Debug endpoints are disabled.\n";

pub(super) async fn answer(context: &Context, method: &Method, uri: &Uri) -> Reply {
    let segments: Option<Vec<String>> = uri.path().split('/').skip(1).map(decoded).collect();
    let Some(segments) = segments else {
        return reply::text(StatusCode::BAD_REQUEST, "the path is no UTF-8 text\n");
    };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if !matches!(*method, Method::GET | Method::HEAD) {
        return reply::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed\n");
    }
    match segments.as_slice() {
        ["healthz"] | ["healthz", "ping" | "log" | "syncloop"] => reply::text(StatusCode::OK, "ok"),
        ["pods"] | ["pods", ""] => {
            reply::json(&List::<Pod> { items: context.pods.pods(), ..List::default() })
        }
        ["metrics"] => reply::metrics(context.metrics.text()),
        ["metrics", "probes"] => reply::metrics(Ok(context.probing.text())),
        ["configz"] => reply::json(&context.config.to_configz()),
        ["containerLogs", ..] if !context.config.enable_debugging_handlers => {
            reply::text(StatusCode::METHOD_NOT_ALLOWED, DEBUGGING_OFF)
        }
        ["containerLogs", namespace, pod, container] => {
            container_logs::answer(context, namespace, pod, container, uri.query().unwrap_or_default()).await
        }
        _ => reply::text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn decoded(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests;
