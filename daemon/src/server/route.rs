//! Paths of port 10250 to answers (behaviour.md 35).

use std::path::PathBuf;

use http::{Method, StatusCode, Uri};
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;
use percent_encoding::percent_decode_str;

use super::reply::{self, Reply};
use super::{Context, container_logs};
use crate::metrics::log_usage;

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
        ["metrics"] => reply::metrics(metrics(context).await),
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

/// What was counted, and what the logs take now.
async fn metrics(context: &Context) -> Result<String, prometheus::Error> {
    let (pods, pod_logs) = (context.pods.pods(), PathBuf::from(&context.config.pod_logs_dir));
    let logs = tokio::task::spawn_blocking(move || log_usage::text(&pods, &pod_logs)).await;
    let logs = logs.map_err(|error| prometheus::Error::Msg(error.to_string()))??;
    Ok(context.metrics.text()? + &logs)
}

fn decoded(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests;
