//! The node's heartbeat: a lease renewed each quarter of its duration, on the node's own connection. behaviour.md 33.1.
//!
//! ```text
//! Unknown ──GET──> Held(version) ──PUT ok──> Held(new version)
//!    │ 404: POST        │ conflict, 404, error: Unknown
//! ```

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::NodeView;
use crate::cause::chain;
use crate::sources::backoff::random;

pub const NAMESPACE: &str = "kube-node-lease";
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MOST: Duration = Duration::from_secs(7);
/// How far a renewal may come late, so that a thousand nodes do not renew at once.
const JITTER: f64 = 0.04;

/// Renews the lease until `stop`.
pub async fn run(
    client: kube::Client,
    node_name: String,
    duration_seconds: i32,
    call_timeout: Duration,
    node: watch::Receiver<Option<Arc<NodeView>>>,
    mut stop: watch::Receiver<bool>,
) {
    let api: Api<Lease> = Api::namespaced(client, NAMESPACE);
    let interval = Duration::from_secs(u64::try_from(duration_seconds).unwrap_or(40)).mul_f64(0.25);
    let mut held: Option<Lease> = None;
    let mut retry = RETRY_FIRST;
    let mut failing = false;
    loop {
        let owner = node.borrow().clone();
        let renewed = tokio::select! {
            // Cancel-safe: a level.
            _ = stop.wait_for(|stop| *stop) => return,
            // Cut off only when the daemon ends.
            renewed = timeout(call_timeout, renew(&api, &node_name, duration_seconds, owner.as_deref(), held.take())) => renewed,
        };
        let wait = match renewed.unwrap_or_else(|_| Err(format!("no answer in {call_timeout:?}"))) {
            Ok(lease) => {
                if failing {
                    tracing::info!(node = node_name, "the node's lease is renewed again");
                }
                failing = false;
                retry = RETRY_FIRST;
                held = Some(lease);
                interval.mul_f64(1.0 + JITTER * random())
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(
                        node = node_name,
                        error,
                        "the node's lease could not be renewed; tried again"
                    );
                }
                failing = true;
                let wait = retry;
                retry = (retry * 2).min(RETRY_MOST);
                wait
            }
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            // Cancel-safe: only a time.
            () = sleep(wait) => {}
        }
    }
}

/// One renewal: an update of the lease that is held, or, when none is known, of the one that is there or a new one.
async fn renew(
    api: &Api<Lease>,
    node_name: &str,
    duration_seconds: i32,
    node: Option<&NodeView>,
    held: Option<Lease>,
) -> Result<Lease, String> {
    let found = match held {
        Some(lease) => Some(lease),
        None => api.get_opt(node_name).await.map_err(|error| chain(&error))?,
    };
    let now = MicroTime(Timestamp::now());
    let Some(found) = found else {
        let lease = renewed(Lease::default(), node_name, duration_seconds, node, now);
        return api.create(&PostParams::default(), &lease).await.map_err(|error| chain(&error));
    };
    let lease = renewed(found, node_name, duration_seconds, node, now);
    api.replace(node_name, &PostParams::default(), &lease).await.map_err(|error| chain(&error))
}

/// `lease` held by this node as of `now`; owned by the node object as soon as that is known.
fn renewed(
    mut lease: Lease,
    node_name: &str,
    duration_seconds: i32,
    node: Option<&NodeView>,
    now: MicroTime,
) -> Lease {
    let metadata: &mut ObjectMeta = &mut lease.metadata;
    metadata.name = Some(node_name.to_owned());
    metadata.namespace = Some(NAMESPACE.to_owned());
    metadata.managed_fields = None;
    if let Some(node) = node
        && metadata
            .owner_references
            .as_ref()
            .is_none_or(|owners| owners.iter().all(|owner| owner.uid != node.uid))
    {
        metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node.name.clone(),
            uid: node.uid.clone(),
            ..OwnerReference::default()
        }]);
    }
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(node_name.to_owned()),
        lease_duration_seconds: Some(duration_seconds),
        renew_time: Some(now),
        ..lease.spec.unwrap_or_default()
    });
    lease
}

#[cfg(test)]
mod tests;
