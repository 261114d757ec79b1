//! Which persistent volume a claim is bound to: volumes lie in the pod's directory under that name. It stays so as long as a pod uses
//! the claim, so each is asked for once a pod; another claim of that name is another pod's.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;

/// How long all questions together may take: nothing is counted before.
const LIMIT: Duration = Duration::from_secs(2);
/// Answers that are kept.
const MAX_KEPT: usize = 4096;
/// Questions at a time.
const AT_ONCE: usize = 32;

/// A pod's UID, and the claim's name.
type Key = (String, String);

/// Answers so far.
#[derive(Debug, Default)]
pub(super) struct Bound(Mutex<HashMap<Key, String>>);

/// A volume of a pod that is a claim's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClaimVolume {
    /// In the pod's spec.
    pub(super) name: String,
    pub(super) claim: String,
    /// Whose directory has its name; none where that could not be found out.
    pub(super) persistent_volume: Option<String>,
}

/// Those of one pod.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    uid: String,
    namespace: String,
    pub(super) volumes: Vec<ClaimVolume>,
}

impl Claims {
    /// The volumes of a pod that are claims', also those that the pod itself has made.
    pub(super) fn of(pod: &Pod) -> Self {
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            volumes: volumes(pod).collect(),
        }
    }

    fn key(&self, volume: &ClaimVolume) -> Key {
        (self.uid.clone(), volume.claim.clone())
    }
}

/// Whether a pod has a volume that is a claim's.
pub(super) fn has_any(pod: &Pod) -> bool {
    volumes(pod).next().is_some()
}

fn volumes(pod: &Pod) -> impl Iterator<Item = ClaimVolume> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().filter_map(|spec| spec.volumes.as_ref()).flatten();
    volumes.filter_map(move |volume| {
        let claim = match (&volume.persistent_volume_claim, &volume.ephemeral) {
            (Some(source), _) => source.claim_name.clone(),
            (None, Some(_)) => format!("{pod_name}-{}", volume.name),
            (None, None) => return None,
        };
        Some(ClaimVolume { name: volume.name.clone(), claim, persistent_volume: None })
    })
}

impl Bound {
    /// Looks up what is not known yet of all these pods, for at most [`LIMIT`] in all.
    pub(super) async fn resolve(&self, client: Option<&kube::Client>, pods: &mut [Claims]) {
        self.fill(pods);
        if let Some(client) = client {
            let unknown = pods.iter().flat_map(|pod| {
                let unknown = pod.volumes.iter().filter(|volume| volume.persistent_volume.is_none());
                unknown.map(|volume| (pod.key(volume), pod.namespace.clone()))
            });
            let unknown: Vec<_> = unknown.collect();
            let asked = stream::iter(unknown).for_each_concurrent(AT_ONCE, |(key, namespace)| async move {
                let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
                let claim = claims.get(&key.1).await.ok().and_then(|claim| claim.spec?.volume_name);
                if let Some(bound) = claim.filter(|name| !name.is_empty()) {
                    self.learn(key, bound);
                }
            });
            // What has not been answered is asked again the next time.
            let _ = tokio::time::timeout(LIMIT, asked).await;
            self.fill(pods);
        }
    }

    /// Forgets what was asked for other pods than these.
    pub(super) fn keep(&self, uids: &[&str]) {
        let uids: HashSet<&str> = uids.iter().copied().collect();
        self.known().retain(|(uid, _), _| uids.contains(uid.as_str()));
    }

    fn fill(&self, pods: &mut [Claims]) {
        let known = self.known();
        for pod in pods {
            for at in 0..pod.volumes.len() {
                pod.volumes[at].persistent_volume = known.get(&pod.key(&pod.volumes[at])).cloned();
            }
        }
    }

    fn learn(&self, key: Key, bound: String) {
        let mut known = self.known();
        if known.len() >= MAX_KEPT {
            known.clear();
        }
        known.insert(key, bound);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers with the volume that a claim is bound to; a claim named `slow` never is answered.
    fn client(volume: &'static str) -> kube::Client {
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| async move {
            if request.uri().path().ends_with("/slow") {
                std::future::pending::<()>().await;
            }
            let claim = serde_json::json!({"metadata": {"name": "c"}, "spec": {"volumeName": volume}});
            let body = kube::client::Body::from(claim.to_string().into_bytes());
            Ok::<_, std::convert::Infallible>(http::Response::new(body))
        });
        kube::Client::new(service, "default")
    }

    fn claims(uid: &str, names: &[&str]) -> Claims {
        let volume = |name: &&str| ClaimVolume {
            name: (*name).to_owned(),
            claim: (*name).to_owned(),
            persistent_volume: None,
        };
        Claims { uid: uid.into(), namespace: "ns".into(), volumes: names.iter().map(volume).collect() }
    }

    fn bound(pods: &[Claims]) -> Vec<Option<&str>> {
        pods.iter().flat_map(|pod| &pod.volumes).map(|volume| volume.persistent_volume.as_deref()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn claims_that_are_not_answered_cost_one_limit_in_all_and_hold_up_no_others() {
        let mut pods = [claims("u", &["slow", "a"]), claims("v", &["slow", "b"])];
        let begun = tokio::time::Instant::now();
        Bound::default().resolve(Some(&client("pv-1")), &mut pods).await;
        assert_eq!(bound(&pods), [None, Some("pv-1"), None, Some("pv-1")]);
        let took = begun.elapsed();
        assert!((LIMIT..LIMIT * 2).contains(&took), "{took:?}");
    }

    #[tokio::test]
    async fn a_claim_is_asked_for_once_a_pod_and_anew_for_the_next_pod() {
        let known = Bound::default();
        let resolved = async |uid: &str, volume: &'static str| {
            let mut pods = [claims(uid, &["data"])];
            known.resolve(Some(&client(volume)), &mut pods).await;
            bound(&pods)[0].map(str::to_owned)
        };
        assert_eq!(resolved("u", "pv-1").await.as_deref(), Some("pv-1"));
        assert_eq!(resolved("u", "pv-2").await.as_deref(), Some("pv-1"));
        assert_eq!(resolved("v", "pv-2").await.as_deref(), Some("pv-2"));
        known.keep(&["v"]);
        assert_eq!(known.known().len(), 1, "the claim of a pod that is gone is forgotten");
    }

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
        let found: Vec<_> =
            Claims::of(&pod).volumes.into_iter().map(|volume| (volume.name, volume.claim)).collect();
        assert_eq!(found, [("a".into(), "data".into()), ("b".into(), "p-b".into())]);
    }
}
