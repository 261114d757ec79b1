//! The serving certificate while the daemon runs, where `serverTLSBootstrap` is set: for the node's addresses, asked for
//! again when these change, renewed in time. behaviour.md 34.3.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::ask::ask;
use super::plan::{Serving, plan_serving};
use super::request::Wanted;
use super::store::Store;
use crate::cause::chain;
use crate::metrics::Metrics;
use crate::node::NodeReceiver;
use crate::sources::backoff::Backoff;
use crate::stop::stopped;

/// The clock may jump, the file may go.
const LOOK_EVERY: Duration = Duration::from_secs(60);
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MOST: Duration = Duration::from_secs(300);

/// Runs until `stop`; `renewed` is told of each new certificate in `store`.
pub(crate) async fn run(
    client: kube::Client,
    store: Store,
    node_name: String,
    node: NodeReceiver,
    renewed: Arc<Notify>,
    metrics: Metrics,
    mut stop: watch::Receiver<bool>,
) {
    tokio::select! {
        // Cancel-safe: a level.
        () = stopped(&mut stop) => {}
        // Cut off only when the daemon ends; the next one goes on with the same key.
        () = keep(client, &store, &node_name, node, &renewed, &metrics) => {}
    }
}

async fn keep(
    client: kube::Client,
    store: &Store,
    node_name: &str,
    mut node: NodeReceiver,
    renewed: &Notify,
    metrics: &Metrics,
) {
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
    loop {
        let addresses =
            node.borrow_and_update().as_ref().map(|view| view.addresses.clone()).unwrap_or_default();
        let wanted = Wanted::serving(node_name, &addresses);
        let due = wanted.as_ref().and_then(|wanted| is_due(store, &wanted.names));
        let wait = match (wanted, due) {
            (Some(wanted), Some(why)) => {
                let before = store.load().ok().flatten();
                tracing::info!(why, names = wanted.names.join(", "), "asking for a serving certificate");
                let asked = async {
                    tokio::select! {
                        // Cancel-safe: the key stays, and the request is found again.
                        outcome = ask(client.clone(), store, &wanted, "the node's client certificate") => Some(outcome),
                        () = other_addresses(node.clone(), node_name, &wanted) => None,
                    }
                };
                match asked.await {
                    Some(Ok(identity)) => {
                        tracing::info!(until = %identity.validity.not_after, "there is a new serving certificate");
                        if let Some(before) = before {
                            let age = Timestamp::now().duration_since(before.validity.not_before);
                            metrics.serving_certificate_rotated(age.try_into().unwrap_or_default());
                        }
                        renewed.notify_one();
                        backoff.reset();
                        continue;
                    }
                    Some(Err(error)) => {
                        let delay = backoff.delay();
                        let (error, again_seconds) = (chain(&error), delay.as_secs());
                        metrics.serving_certificate_failed();
                        tracing::warn!(
                            error,
                            again_seconds,
                            "no serving certificate could be had; tried again"
                        );
                        delay
                    }
                    None => continue,
                }
            }
            _ => LOOK_EVERY,
        };
        // Other addresses end the wait.
        if let Ok(Err(_)) = timeout(wait, node.changed()).await {
            // Nobody tells of addresses any more: the daemon ends.
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Why a certificate is asked for now, if one is.
fn is_due(store: &Store, names: &[String]) -> Option<String> {
    let held = store.load().unwrap_or_else(|error| {
        tracing::warn!(error = chain(&error), "the kept serving certificate cannot be used");
        None
    });
    let held = held.as_ref().map(|held| (held.validity, held.spread, held.names.as_slice()));
    match plan_serving(held, names, Timestamp::now()) {
        Serving::Ask { why } => Some(why),
        Serving::Keep { .. } => None,
    }
}

/// Until the node has other addresses than those that were asked for.
async fn other_addresses(mut node: NodeReceiver, node_name: &str, wanted: &Wanted) {
    let changed = node.wait_for(|view| {
        let addresses = view.as_ref().map(|view| view.addresses.as_slice()).unwrap_or_default();
        Wanted::serving(node_name, addresses).is_some_and(|now| now != *wanted)
    });
    if changed.await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
