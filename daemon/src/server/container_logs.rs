//! `/containerLogs/NAMESPACE/POD/CONTAINER`: which log is meant, and what of it is wanted (behaviour.md 35.9, 38.4 to 38.6).

mod choose;
mod query;
#[cfg(test)]
mod tests;

use std::path::Path;

use futures::StreamExt;
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use streams::logs::LogReader;

use super::Context;
use super::reply::{self, Reply};
use crate::cause::chain;
use crate::pods::Shown;

pub(super) async fn answer(
    context: &Context,
    namespace: &str,
    name: &str,
    container: &str,
    query: &str,
) -> Reply {
    let wanted = match query::parse(query) {
        Ok(wanted) => wanted,
        Err(error) => return reply::text(error.status(), format!("{error}\n")),
    };
    let Some(pod) = context.pods.find(namespace, name) else {
        return reply::text(StatusCode::NOT_FOUND, format!("pod {name:?} does not exist\n"));
    };
    if !has_container(&pod, container) {
        return reply::text(
            StatusCode::NOT_FOUND,
            format!("container {container:?} not found in pod {name:?}\n"),
        );
    }
    let status = pod.status.clone().unwrap_or_default();
    let id = match choose::container_id(name, &status, container, wanted.previous) {
        Ok(id) => id,
        Err(why) => return reply::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    };
    let path = match context.cri.container_status(&id).await {
        Ok(status) => status.log_path,
        Err(error) => {
            let why = format!(
                "the container runtime does not know the log of container {container:?}: {}\n",
                chain(&error)
            );
            return reply::text(StatusCode::BAD_REQUEST, why);
        }
    };
    let reader = match LogReader::open(Path::new(&path), &wanted.options).await {
        Ok(reader) => reader,
        Err(error) => {
            let why = format!("the log of container {container:?} cannot be read: {}\n", chain(&error));
            return reply::text(StatusCode::BAD_REQUEST, why);
        }
    };
    let uid = pod.metadata.uid.unwrap_or_default();
    let output = reader.into_stream(ended(context.pods.clone(), uid, id));
    let label = format!("{namespace}/{name}/{container}");
    // The answer has begun: what breaks now can only be logged.
    reply::stream(output.filter_map(move |chunk| {
        let chunk = chunk.inspect_err(|error| tracing::warn!(log = label, "{}", chain(error)));
        std::future::ready(chunk.ok())
    }))
}

/// Of any kind.
pub(super) fn has_container(pod: &Pod, name: &str) -> bool {
    pod.spec.as_ref().is_some_and(|spec| {
        let init = spec.init_containers.iter().flatten().map(|c| &c.name);
        let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| &c.name);
        spec.containers.iter().map(|c| &c.name).chain(init).chain(ephemeral).any(|n| n == name)
    })
}

/// Resolves when the container runs no more, or its pod is gone.
async fn ended(pods: Shown, uid: String, id: String) {
    if let Some(mut running) = pods.running(&uid) {
        // An error means that the pod is gone.
        let _ = running.wait_for(|ids| !ids.contains(&id)).await;
    }
}
