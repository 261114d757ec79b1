//! Which persistent volume a claim is bound to: volumes lie in the pod's directory under that name. Once bound it stays so, so each
//! is asked for once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Answers that are kept.
const MAX_KEPT: usize = 4096;

/// Answers so far.
#[derive(Debug, Default)]
pub(super) struct Bound(Mutex<HashMap<(String, String), String>>);

/// A volume of a pod that is a claim's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClaimVolume {
    /// In the pod's spec.
    pub(super) name: String,
    pub(super) claim: String,
    /// Whose directory has its name; none where that could not be found out.
    pub(super) persistent_volume: Option<String>,
}

/// The volumes of a pod that are claims', also those that the pod itself has made.
pub(super) fn of(pod: &Pod) -> Vec<ClaimVolume> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().filter_map(|spec| spec.volumes.as_ref()).flatten();
    let claim = |volume: &k8s_openapi::api::core::v1::Volume| {
        let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => source.claim_name.clone(),
            (None, Some(_)) => format!("{pod_name}-{}", volume.name),
            (None, None) => return None,
        };
        Some(ClaimVolume { name: volume.name.clone(), claim, persistent_volume: None })
    };
    volumes.filter_map(claim).collect()
}

impl Bound {
    /// Looks up what is not known yet.
    pub(super) async fn resolve(
        &self,
        client: Option<&kube::Client>,
        namespace: &str,
        volumes: &mut [ClaimVolume],
    ) {
        for volume in volumes {
            let key = (namespace.to_owned(), volume.claim.clone());
            volume.persistent_volume = self.with(|known| known.get(&key).cloned());
            let (None, Some(client)) = (&volume.persistent_volume, client) else { continue };
            let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
            let Ok(Ok(claim)) = tokio::time::timeout(LIMIT, claims.get(&volume.claim)).await else {
                continue;
            };
            let bound = claim.spec.and_then(|spec| spec.volume_name).filter(|name| !name.is_empty());
            if let Some(bound) = &bound {
                self.with(|known| {
                    if known.len() >= MAX_KEPT {
                        known.clear();
                    }
                    known.insert(key, bound.clone())
                });
            }
            volume.persistent_volume = bound;
        }
    }

    fn with<T>(&self, use_known: impl FnOnce(&mut HashMap<(String, String), String>) -> T) -> T {
        use_known(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_the_pod_makes_for_itself_has_both_names() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [], "volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "b", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
                {"name": "c", "emptyDir": {}},
            ]},
        }))
        .unwrap();
        let found: Vec<_> = of(&pod).into_iter().map(|volume| (volume.name, volume.claim)).collect();
        assert_eq!(found, [("a".into(), "data".into()), ("b".into(), "p-b".into())]);
    }
}
