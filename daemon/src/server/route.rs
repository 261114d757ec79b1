//! Requests to answers (behaviour.md 35). What is served is the table of [`endpoint`](super::endpoint).

use std::path::PathBuf;

use http::{Method, StatusCode};
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;

use super::endpoint::{self, DEBUGGING_OFF, Door, Endpoint, Found, Needs, Off, Target};
use super::reply::{self, Reply};
use super::{
    Asked, Context, checkpoint, container_logs, debug, healthz, node_logs, running_pods, stats, streaming,
    zpages,
};
use crate::metrics::{log_usage, node_page};

/// The answer to somebody who may have it; `found` is the endpoint of the request's path.
pub(super) async fn answer(context: &Context, door: Door, found: Option<Found>, asked: Asked) -> Reply {
    // The healthz port has its checks and nothing else.
    let found = found.filter(|found| door != Door::Healthz || found.endpoint.target.is_health());
    let Some(found) = found else {
        let is_off = Needs::Announced.off(&context.config, door).is_some()
            && endpoint::is_announced(asked.uri().path());
        return if is_off && door != Door::Healthz { disabled(DEBUGGING_OFF) } else { reply::not_found() };
    };
    match found.endpoint.needs.off(&context.config, door) {
        Some(Off::Absent) => return reply::not_found(),
        Some(Off::Disabled(why)) => return disabled(why),
        None => {}
    }
    if found.lacks_slash {
        return reply::with_slash(asked.uri());
    }
    let endpoint = found.endpoint;
    if !endpoint.methods.contains(&asked.method().as_str()) {
        return wrong_method(endpoint);
    }
    let query = asked.uri().query().unwrap_or_default();
    let (namespace, pod) = (found.value("namespace"), found.value("pod"));
    match endpoint.target {
        Target::Healthz => healthz::all(context, door, query),
        Target::HealthzPart => healthz::one(context, door, found.value("check")),
        Target::Overview => reply::json(&context.overview.now().await),
        Target::Pods => reply::json(&List::<Pod> { items: context.pods.pods(), ..List::default() }),
        Target::RunningPods => running_pods::answer(context).await,
        Target::Metrics => reply::metrics(metrics(context).await),
        Target::Slis if *asked.method() == Method::DELETE => reset(context, door),
        Target::Slis => reply::metrics(context.metrics.slis().text()),
        Target::Cadvisor => stats::cadvisor(context).await,
        Target::Resource => stats::resource(context).await,
        Target::Stats => stats::summary(context, found.value("path"), query).await,
        Target::Probes => reply::metrics(Ok(context.probing.text())),
        Target::Configz => reply::json(&context.config.to_configz()),
        Target::Statusz => zpages::statusz(context, asked.headers()),
        Target::Flagz => zpages::flagz(context, asked.headers()),
        Target::ContainerLogs => {
            container_logs::answer(context, namespace, pod, found.value("container"), query).await
        }
        Target::Checkpoint => {
            checkpoint::answer(context, namespace, pod, found.value("container"), query).await
        }
        Target::Profile => debug::profile(found.value("profile")),
        Target::Verbosity => debug::verbosity(asked).await,
        Target::Logs => {
            node_logs::answer(context, found.value("path"), asked.uri().query(), asked.headers()).await
        }
        Target::Exec => streaming::exec(context, &found, asked).await,
        Target::Attach => streaming::attach(context, &found, asked).await,
        Target::PortForward => streaming::port_forward(context, &found, asked).await,
        Target::Run => streaming::run(context, &found, asked.uri()).await,
    }
}

/// What was counted, and what the logs take now.
async fn metrics(context: &Context) -> Result<String, prometheus::Error> {
    let page = node_page::text(&context.usage.sources().node_name, &context.pods.running_pods());
    let (pods, pod_logs) = (context.pods.pods(), PathBuf::from(&context.config.pod_logs_dir));
    let logs = tokio::task::spawn_blocking(move || log_usage::text(&pods, &pod_logs)).await;
    let logs = logs.map_err(|error| prometheus::Error::Msg(error.to_string()))??;
    Ok(context.metrics.text()? + &page + &logs + &stats::volumes(context).await)
}

/// In the words of Go's server.
fn disabled(why: &str) -> Reply {
    reply::error(StatusCode::METHOD_NOT_ALLOWED, why)
}

/// In the words of go-restful, and for the flags in a kubelet's own.
fn wrong_method(endpoint: &Endpoint) -> Reply {
    if endpoint.target == Target::Verbosity {
        return reply::text(StatusCode::NOT_ACCEPTABLE, "unsupported http method");
    }
    reply::wrong_method(endpoint.methods)
}

/// Has the series of the health checks begin anew. What is open to everybody is not changed by everybody.
fn reset(context: &Context, door: Door) -> Reply {
    if door == Door::ReadOnly {
        return reply::wrong_method(&["GET", "HEAD"]);
    }
    context.metrics.slis().reset();
    reply::text(StatusCode::OK, "metrics reset\n")
}

#[cfg(test)]
mod tests;
