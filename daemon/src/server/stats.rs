//! `/stats/summary`, `/metrics/resource` and `/metrics/cadvisor`: what is in use, read when it is asked for (behaviour.md 35.11, 44).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Context;
use super::reply::{self, Reply};
use crate::usage::cadvisor::Scrape;
use crate::usage::summary::{self, Extent};
use crate::usage::{DISK_FRESH, FRESH, resource, volume_stats};

/// How long an answer waits for the disk to be counted anew; then it has what was counted before.
const DISK_PATIENCE: Duration = Duration::from_secs(5);

/// `/stats/summary`; other paths below `/stats` are gone.
pub(super) async fn summary(context: &Context, path: &str, query: &str) -> Reply {
    if path.trim_end_matches('/') != "summary" {
        return reply::not_found();
    }
    let wanted = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "only_cpu_and_memory");
    let extent = match wanted.as_ref().map(|(_, value)| value.as_ref()) {
        Some("true" | "True" | "TRUE" | "1" | "t" | "T") => Extent::CpuAndMemory,
        _ => Extent::Whole,
    };
    let usage = &context.usage;
    let pods = match extent {
        Extent::CpuAndMemory => usage.pods(FRESH).await,
        Extent::Whole => match timeout(DISK_PATIENCE, usage.pods_and_disk(FRESH, DISK_FRESH, None)).await {
            Ok(pods) => pods,
            Err(_) => usage.pods(FRESH).await,
        },
    };
    let node = match extent {
        Extent::CpuAndMemory => usage.node(FRESH).await,
        Extent::Whole => Arc::new(usage.node_and_images(FRESH).await),
    };
    reply::json(&summary::of(&usage.sources().node_name, &node, &pods, extent))
}

/// `/metrics/resource`.
pub(super) async fn resource(context: &Context) -> Reply {
    let (node, pods) = (context.usage.node(FRESH).await, context.usage.pods(FRESH).await);
    let has_failed = node.group.cpu.is_none();
    reply::metrics(Ok(resource::text(&node, &pods, has_failed)))
}

/// `/metrics/cadvisor`, written as the caller takes it.
pub(super) async fn cadvisor(context: &Context) -> Reply {
    let usage = &context.usage;
    let (node, pods) = (usage.node(FRESH).await, usage.pods(FRESH).await);
    let scrape = Scrape::new(node, pods, usage.sources().machine.clone());
    reply::metrics_stream(futures::stream::iter(scrape))
}

/// The part of `/metrics` that is about claims; nothing is read where no pod has one.
pub(super) async fn volumes(context: &Context) -> String {
    let usage = &context.usage;
    if !usage.has_claims() {
        return String::new();
    }
    let pods = match timeout(DISK_PATIENCE, usage.pods_and_disk(FRESH, DISK_FRESH, None)).await {
        Ok(pods) => pods,
        Err(_) => usage.pods(FRESH).await,
    };
    volume_stats::text(&pods)
}
