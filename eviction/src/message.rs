//! What is told of an eviction: a kubelet's words, and after them why it was this pod (behaviour.md 29.14).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use podspec::Quantity;

use crate::observation::{Left, quantity};
use crate::pods::Candidate;
use crate::ranking::Ranked;
use crate::signal::{Resource, Signal};
use crate::threshold::Threshold;

/// Pods of the ranking that are named.
const NAMED: usize = 5;
/// Bytes that the whole text may have: an event has room for 1,024.
const MOST: usize = 1_000;

/// What is put into the event and the pod's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The message.
    pub message: String,
    /// The event's annotations.
    pub annotations: BTreeMap<String, String>,
}

/// Tells of the eviction of the pod at `chosen` of `ranking`, because `threshold` was met with so much left.
pub(crate) fn told(
    threshold: &Threshold,
    left: Option<Left>,
    pods: &[Candidate],
    ranking: &[Ranked],
    chosen: usize,
) -> Told {
    let signal = threshold.signal;
    let resource = signal.resource();
    let mut message = format!("The node was low on resource: {}. ", resource.name());
    if let Some(left) = left {
        message.push_str(&measured(threshold, left));
    }
    let mut offending = Vec::new();
    let mut usages = Vec::new();
    let victim = ranking.get(chosen).and_then(|ranked| pods.get(ranked.index));
    if let Some((pod, usage)) = victim.and_then(|pod| Some((pod, pod.usage.as_ref()?))) {
        for container in &pod.containers {
            let used = usage.containers.get(&container.name).and_then(|used| used.told(resource));
            let request = container.request(resource);
            let Some(used) = used.map(Quantity::from_bytes).filter(|used| *used > request) else {
                continue;
            };
            let _ = write!(
                message,
                "Container {} was using {used}, request is {request}, has larger consumption of {}. ",
                container.name,
                resource.name()
            );
            offending.push(container.name.clone());
            usages.push(used.to_string());
        }
    }
    let annotations = [
        ("offending_containers", offending.join(",")),
        ("offending_containers_usage", usages.join(",")),
        ("starved_resource", resource.name().to_owned()),
    ];
    let why = why(signal, pods, ranking, chosen, MOST.saturating_sub(message.len()));
    message.push_str(&why);
    Told { message, annotations: annotations.map(|(name, value)| (name.to_owned(), value)).into() }
}

fn measured(threshold: &Threshold, left: Left) -> String {
    if threshold.signal == Signal::MemoryUnstalled {
        let stalled = |unstalled: u64| left.capacity.saturating_sub(unstalled) as f64 / 100.0;
        let most = stalled(threshold.amount.of(left.capacity));
        return format!(
            "Work waited for memory {:.2} % of the time, threshold {most:.2} %. ",
            stalled(left.available)
        );
    }
    let least = threshold.told(left.capacity);
    let available = quantity(threshold.signal, left.available);
    format!("Threshold quantity: {least}, available: {available}. ")
}

/// Which threshold, who was ranked, and why this one; nothing where there is no room for any of it.
fn why(signal: Signal, pods: &[Candidate], ranking: &[Ranked], chosen: usize, room: usize) -> String {
    let exempt = if chosen == 0 { String::new() } else { format!(", {chosen} before it critical") };
    let head = format!("By {signal}, of {} pods ranked{exempt}: ", ranking.len());
    let mut text = head;
    let mut named = 0;
    for ranked in ranking.iter().skip(chosen).take(NAMED) {
        let Some(pod) = pods.get(ranked.index) else { continue };
        let part = format!("{}{}", if named == 0 { "" } else { "; " }, line(signal.resource(), pod, ranked));
        // What follows at most: "; 4294967295 more. "
        if text.len() + part.len() + 20 > room {
            break;
        }
        text.push_str(&part);
        named += 1;
    }
    if named == 0 {
        return String::new();
    }
    let more = ranking.len().saturating_sub(chosen + named);
    if more > 0 {
        let _ = write!(text, "; {more} more");
    }
    text.push_str(". ");
    text
}

fn line(resource: Resource, pod: &Candidate, ranked: &Ranked) -> String {
    let amount = |value: u64| match resource {
        Resource::Memory | Resource::Storage => mebibytes(value),
        Resource::Inodes | Resource::Pids => value.to_string(),
    };
    let used = match ranked.used {
        None => "usage unknown".to_owned(),
        Some(used) if resource == Resource::Pids => format!("{used} processes"),
        Some(used) => format!("uses {} of {} requested", amount(used), amount(ranked.request)),
    };
    let critical = if pod.critical { ", critical" } else { "" };
    format!("{} {used}, priority {}{critical}", pod.name, ranked.priority)
}

/// As a person would read it.
fn mebibytes(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        1..1_048_576 => format!("{}Ki", bytes.div_ceil(1024)),
        _ => format!("{}Mi", bytes.div_ceil(1 << 20)),
    }
}

#[cfg(test)]
mod tests;
