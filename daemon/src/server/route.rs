//! Requests to answers (behaviour.md 35). What is served is the table of [`endpoint`](super::endpoint).

use http::StatusCode;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Pod;

use super::endpoint::{self, DEBUGGING_OFF, Endpoint, Found, Off, Target};
use super::reply::{self, Reply};
use super::{Asked, Context, container_logs, streaming};

/// The answer to somebody who may have it; `found` is the endpoint of the request's path.
pub(super) async fn answer(context: &Context, found: Option<Found>, asked: Asked) -> Reply {
    let Some(found) = found else {
        let is_off = !context.config.enable_debugging_handlers && endpoint::is_announced(asked.uri().path());
        return if is_off { disabled(DEBUGGING_OFF) } else { reply::not_found() };
    };
    match found.endpoint.needs.off(&context.config) {
        Some(Off::Absent) => return reply::not_found(),
        Some(Off::Disabled(why)) => return disabled(why),
        None => {}
    }
    if found.lacks_slash {
        return reply::with_slash(asked.uri());
    }
    if !found.endpoint.methods.contains(&asked.method().as_str()) {
        return wrong_method(found.endpoint);
    }
    match found.endpoint.target {
        Target::Healthz | Target::HealthzPart => reply::text(StatusCode::OK, "ok"),
        Target::Pods => reply::json(&List::<Pod> { items: context.pods.pods(), ..List::default() }),
        Target::Metrics => reply::metrics(context.metrics.text()),
        Target::Configz => reply::json(&context.config.to_configz()),
        Target::ContainerLogs => {
            let (namespace, pod) = (found.value("namespace"), found.value("pod"));
            let query = asked.uri().query().unwrap_or_default();
            container_logs::answer(context, namespace, pod, found.value("container"), query).await
        }
        Target::Exec => streaming::exec(context, &found, asked).await,
        Target::Attach => streaming::attach(context, &found, asked).await,
        Target::PortForward => streaming::port_forward(context, &found, asked).await,
        Target::Run => streaming::run(context, &found, asked.uri()).await,
        _ => reply::not_found(),
    }
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

#[cfg(test)]
mod tests;
