//! `/checkpoint/NAMESPACE/POD/CONTAINER`: has the runtime write down a running container (behaviour.md 35.14).

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::reply::{self, Reply};
use super::{Context, container};
use crate::cause::chain;

/// Below the root directory.
const DIRECTORY: &str = "checkpoints";
/// Nobody waits longer, whatever was asked for.
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) async fn answer(
    context: &Context,
    namespace: &str,
    name: &str,
    container: &str,
    query: &str,
) -> Reply {
    let Some(pod) = context.pods.find(namespace, name) else {
        return reply::text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    if !container::exists(&pod, container) {
        return reply::text(StatusCode::NOT_FOUND, format!("container {container} does not exist"));
    }
    let limit = match limit(query) {
        Ok(limit) => limit,
        Err(why) => return reply::text(StatusCode::NOT_FOUND, why),
    };
    match write(context, &pod, container, limit).await {
        Ok(path) => reply::json(&json!({ "items": [path] })),
        Err(why) => reply::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("checkpointing of {namespace}/{name}/{container} failed ({why})"),
        ),
    }
}

/// The last `timeout`, in seconds; zero and none stand for the runtime's own.
fn limit(query: &str) -> Result<Option<i64>, &'static str> {
    let last = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "timeout").last();
    match last.map(|(_, value)| value.parse()) {
        None | Some(Ok(0)) => Ok(None),
        Some(Ok(seconds)) => Ok(Some(seconds)),
        Some(Err(_)) => Err("cannot parse value of timeout parameter"),
    }
}

/// The file that the runtime has written.
async fn write(context: &Context, pod: &Pod, container: &str, limit: Option<i64>) -> Result<String, String> {
    let limit = match limit.map(u64::try_from) {
        None => None,
        Some(Ok(seconds)) => Some(Duration::from_secs(seconds).min(LONGEST)),
        Some(Err(_)) => return Err("CheckpointContainer requires the timeout value to be > 0".to_owned()),
    };
    let id = container::running(pod, container).ok_or_else(|| format!("container {container} not found"))?;
    let directory = context.about.root_dir.join(DIRECTORY);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(|error| format!("making {}: {error}", directory.display()))?;
    let path = file(&directory, pod, container, Timestamp::now());
    context.cri.checkpoint_container(&id, path.clone(), limit).await.map_err(|error| chain(&error))?;
    Ok(path)
}

/// Names of pods, namespaces and containers have no slash, so that the file stays in its directory.
fn file(directory: &Path, pod: &Pod, container: &str, now: Timestamp) -> String {
    let (name, namespace) = (pod.metadata.name.as_deref(), pod.metadata.namespace.as_deref());
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let name = format!(
        "checkpoint-{}_{}-{container}-{time}.tar",
        name.unwrap_or_default(),
        namespace.unwrap_or_default()
    );
    directory.join(name).display().to_string()
}

#[cfg(test)]
mod tests;
