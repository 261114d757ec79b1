//! Tells the runtime which addresses are the node's for its pods (behaviour.md 32.22), for networks that are made from that.

use std::time::Duration;

use cri_client::Client;
use tokio::sync::watch;
use tokio::time::sleep;

use super::NodeReceiver;
use super::facts::changed;
use crate::sources::backoff::Backoff;
use crate::stop::stopped;

const FIRST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(30);

/// Follows the node's object; `standalone` counts where there is none. Until `stop`.
pub(crate) async fn run(
    client: Client,
    mut node: Option<NodeReceiver>,
    standalone: String,
    mut stop: watch::Receiver<bool>,
) {
    let mut told = String::new();
    let mut backoff = Backoff::new(FIRST, MOST);
    loop {
        let wanted = match &mut node {
            Some(node) => node.borrow_and_update().as_ref().map(|view| view.pod_cidrs.join(",")),
            None => Some(standalone.clone()),
        };
        // What is taken back leaves the runtime as it is: pods have these addresses.
        let wanted = wanted.filter(|wanted| !wanted.is_empty() && *wanted != told);
        let mut again = None;
        if let Some(wanted) = wanted {
            match client.update_runtime_config(wanted.clone()).await {
                Ok(()) => {
                    tracing::info!(pod_cidr = wanted, "the runtime knows the addresses of the pods");
                    told = wanted;
                    backoff.reset();
                }
                Err(error) => {
                    tracing::warn!(pod_cidr = wanted, %error, "the runtime was not told the addresses of the pods; tried again");
                    again = Some(backoff.delay());
                }
            }
        }
        tokio::select! {
            // Cancel-safe: a level.
            () = stopped(&mut stop) => return,
            // Cancel-safe: a level.
            () = changed(&mut node) => {}
            // Cancel-safe: only a time.
            () = sleep(again.unwrap_or(Duration::MAX)), if again.is_some() => {}
        }
    }
}

#[cfg(test)]
mod tests;
