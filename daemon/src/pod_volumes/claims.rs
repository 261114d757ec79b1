//! Persistent volume claims, and what they are bound to (behaviour.md 20.21, 20.23).
//!
//! Both objects are read each time that a pod's volumes are made: a node may only get them, not watch them. Of the kinds of
//! persistent volumes those that lie on the node itself are carried out.

use std::time::Duration;

use k8s_openapi::api::core::v1::NodeSelector;
use lifecycle::Facts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::time::timeout;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a claim gives no volume, in a kubelet's words.
#[derive(Debug, Error)]
pub(super) enum ClaimError {
    #[error("failed to fetch PVC from API server: {0}")]
    Claim(String),
    #[error("PVC is being deleted")]
    Leaving,
    #[error("PVC is not bound")]
    NotBound,
    #[error("PVC has empty pvc.Spec.VolumeName")]
    NoVolume,
    #[error("block volumes are not supported by this version of nodelet")]
    Block,
    #[error("failed to fetch PV {0} from API server: {1}")]
    Volume(String, String),
    #[error(
        "found PV object {0:?} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to a claim"
    )]
    Unclaimed(String),
    #[error(
        "found PV object {volume:?} but its pv.Spec.ClaimRef.UID {theirs:?} does not point to claim.UID {ours:?}"
    )]
    OtherClaim { volume: String, theirs: String, ours: String },
    #[error("PV {volume} is of a kind that is not supported by this version of nodelet: {kind}")]
    Kind { volume: String, kind: String },
    #[error("PV {volume} may not be used on this node")]
    NotHere { volume: String },
}

/// Where a persistent volume lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    HostPath { path: String, kind: String },
    Local { path: String },
}

/// What a claim is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    /// The persistent volume's name.
    pub(super) volume: String,
    pub(super) lies: Lies,
}

pub(super) struct Claims {
    client: Option<kube::Client>,
}

#[derive(Deserialize)]
struct Object<S, T> {
    metadata: Metadata,
    spec: S,
    status: Option<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    uid: String,
    deletion_timestamp: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSpec {
    #[serde(default)]
    volume_name: String,
    volume_mode: Option<String>,
}

#[derive(Deserialize)]
struct Phase {
    #[serde(default)]
    phase: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeSpec {
    claim_ref: Option<ClaimRef>,
    node_affinity: Option<Affinity>,
    host_path: Option<HostPath>,
    local: Option<HostPath>,
    /// The kinds that are not carried out are told by their name.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
struct ClaimRef {
    #[serde(default)]
    uid: String,
}

#[derive(Deserialize)]
struct Affinity {
    required: Option<NodeSelector>,
}

#[derive(Deserialize)]
struct HostPath {
    path: String,
    #[serde(rename = "type")]
    kind: Option<String>,
}

impl Claims {
    /// Without a client nothing can be claimed.
    pub(super) fn new(client: Option<kube::Client>) -> Self {
        Self { client }
    }

    /// What the claim is bound to, where it may be used on this node.
    pub(super) async fn bound(
        &self,
        namespace: &str,
        claim: &str,
        node: &Facts,
    ) -> Result<Bound, ClaimError> {
        let path =
            format!("/api/v1/namespaces/{}/persistentvolumeclaims/{}", escaped(namespace), escaped(claim));
        let claim: Object<ClaimSpec, Phase> = self.get(&path).await.map_err(ClaimError::Claim)?;
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(ClaimError::Leaving);
        }
        if claim.status.is_none_or(|status| status.phase != "Bound") {
            return Err(ClaimError::NotBound);
        }
        if claim.spec.volume_mode.as_deref() == Some("Block") {
            return Err(ClaimError::Block);
        }
        let volume = claim.spec.volume_name;
        if volume.is_empty() {
            return Err(ClaimError::NoVolume);
        }
        let path = format!("/api/v1/persistentvolumes/{}", escaped(&volume));
        let found: Result<Object<VolumeSpec, Phase>, String> = self.get(&path).await;
        let found = found.map_err(|error| ClaimError::Volume(volume.clone(), error))?.spec;
        match found.claim_ref {
            None => return Err(ClaimError::Unclaimed(volume)),
            Some(theirs) if theirs.uid != claim.metadata.uid => {
                return Err(ClaimError::OtherClaim { volume, theirs: theirs.uid, ours: claim.metadata.uid });
            }
            Some(_) => {}
        }
        let required = found.node_affinity.and_then(|affinity| affinity.required);
        if required.is_some_and(|terms| !podspec::node_selector_holds(&terms, &node.name, &node.labels)) {
            return Err(ClaimError::NotHere { volume });
        }
        let lies = match (found.host_path, found.local) {
            (Some(path), _) => Lies::HostPath { path: path.path, kind: path.kind.unwrap_or_default() },
            (None, Some(local)) => Lies::Local { path: local.path },
            (None, None) => {
                let kinds = ["csi", "nfs", "iscsi", "fc", "flexVolume", "rbd", "cephfs"];
                let kind = kinds.into_iter().find(|kind| found.others.contains_key(*kind));
                return Err(ClaimError::Kind { volume, kind: kind.unwrap_or("unknown").to_owned() });
            }
        };
        Ok(Bound { volume, lies })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let client = self.client.clone().ok_or("this node has no API server")?;
        let request = http::Request::get(path).body(Vec::new()).map_err(|e| e.to_string())?;
        let text = match timeout(LIMIT, client.request_text(request)).await {
            Ok(Ok(text)) => text,
            Ok(Err(kube::Error::Api(status))) => return Err(status.message.clone()),
            Ok(Err(error)) => return Err(crate::cause::chain(&error)),
            Err(_) => return Err(format!("no answer in {LIMIT:?}")),
        };
        serde_json::from_str(&text).map_err(|e| format!("the answer cannot be read: {e}"))
    }
}

/// The name becomes a part of the request's path.
fn escaped(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%2D", "-")
        .replace("%2E", ".")
}

#[cfg(test)]
mod tests;
