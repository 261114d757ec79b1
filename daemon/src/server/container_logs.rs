//! `/containerLogs/NAMESPACE/POD/CONTAINER`: which log is meant, and what of it is wanted (behaviour.md 35.9, 38.4 to 38.6).

mod choose;
mod query;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use streams::logs::{LogOptions, LogReader};

use self::choose::Run;
use super::Context;
use super::reply::{self, Reply};
use crate::cause::chain;
use crate::pods::{Running, Shown};
use crate::runtime::log_files;

/// A runtime that hangs does not hold up a log.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn answer(
    context: &Context,
    namespace: &str,
    name: &str,
    container: &str,
    query: &str,
) -> Reply {
    let may_select = context.config.gate("PodLogsQuerySplitStreams");
    let wanted = match query::parse(query, may_select) {
        Ok(wanted) => wanted,
        Err(error) => {
            tracing::debug!(?error, "a request for a log is refused");
            return reply::text(error.status(), error.to_string());
        }
    };
    let Some(pod) = context.pods.find(namespace, name) else {
        return reply::text(StatusCode::NOT_FOUND, format!("pod {name:?} does not exist"));
    };
    if !super::container::exists(&pod, container) {
        let why = format!("container {container:?} not found in pod {name:?}");
        return reply::text(StatusCode::NOT_FOUND, why);
    }
    let status = pod.status.clone().unwrap_or_default();
    let run = match choose::run(name, &status, container, wanted.previous) {
        Ok(run) => run,
        Err(why) => return reply::text(StatusCode::BAD_REQUEST, why),
    };
    let reader = match open(context, &pod, container, &run, &wanted.options).await {
        Ok(reader) => reader,
        Err(why) => {
            tracing::debug!(why, "a log cannot be read");
            let why = format!("unable to retrieve container logs for {}", run.full_id);
            return reply::text(StatusCode::BAD_REQUEST, why);
        }
    };
    let (uid, id) = (pod.metadata.uid.unwrap_or_default(), run.id().to_owned());
    let output = reader.into_stream(ended(context.pods.clone(), uid, id));
    let label = format!("{namespace}/{name}/{container}");
    // The answer has begun: what breaks now can only be logged.
    reply::stream(output.filter_map(move |chunk| {
        let chunk = chunk.inspect_err(|error| tracing::warn!(log = label, "{}", chain(error)));
        std::future::ready(chunk.ok())
    }))
}

/// The runtime knows where the log is. Where it has lost the container, or is away, the log may be there all the same: the link to it
/// bears the container's id, and its name is the number of the run.
async fn open(
    context: &Context,
    pod: &Pod,
    container: &str,
    run: &Run,
    options: &LogOptions,
) -> Result<LogReader, String> {
    let mut why = match tokio::time::timeout(RUNTIME_PATIENCE, context.cri.container_status(run.id())).await {
        Ok(Ok(status)) => match LogReader::open(Path::new(&status.log_path), options).await {
            Ok(reader) => return Ok(reader),
            Err(error) => chain(&error),
        },
        Ok(Err(error)) => chain(&error),
        Err(_) => format!("no answer of the runtime in {RUNTIME_PATIENCE:?}"),
    };
    for path in left(&context.config.pod_logs_dir, pod, container, run) {
        match LogReader::open(&path, options).await {
            Ok(reader) => return Ok(reader),
            Err(error) => why = format!("{why}; {}", chain(&error)),
        }
    }
    Err(why)
}

/// Where the log of a container is that the runtime has lost, the best guess first.
fn left(pod_logs: &str, pod: &Pod, container: &str, run: &Run) -> Vec<PathBuf> {
    let part = |s: &Option<String>| s.clone().unwrap_or_default();
    let (name, namespace) = (part(&pod.metadata.name), part(&pod.metadata.namespace));
    let link = log_files::link(&log_files::links_dir(pod_logs), &name, &namespace, container, run.id());
    // Beside its target are the rotated files.
    let linked = std::fs::read_link(link).ok();
    let dir = Path::new(pod_logs).join(podspec::log_dir_name(pod)).join(container);
    linked.into_iter().chain(run.restart_count.map(|count| dir.join(format!("{count}.log")))).collect()
}

/// Resolves when the container runs no more, or its pod is gone.
async fn ended(pods: Shown, uid: String, id: String) {
    if let Some(mut running) = pods.running(&uid) {
        // An error means that the pod is gone.
        let runs = |all: &Option<Vec<Running>>| all.as_ref().is_none_or(|all| all.iter().any(|r| r.id == id));
        let _ = running.wait_for(|all| !runs(all)).await;
    }
}
