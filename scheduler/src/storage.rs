//! What the scheduler keeps of volumes, claims and classes, and which volumes a pod gets on which node. Pure.
//!
//! ```text
//! claim bound ─────────────────────────> the node has to fit its volume
//! claim waits for its first consumer ──> a volume that fits claim and node is chosen, and told when the pod is bound
//! any other claim ─────────────────────> the pod waits
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr as _;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelector, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use podspec::Quantity;

use crate::node::NodeInfo;
use crate::plugins::matches_term;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";

/// Namespace and name of a claim.
pub(crate) type ClaimKey = (Arc<str>, Arc<str>);

/// A claim that a pod has by one of its volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: Arc<str>,
    /// Whether the claim is made for the pod.
    pub(crate) ephemeral: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VolumeInfo {
    pub(crate) name: Arc<str>,
    pub(crate) version: Arc<str>,
    capacity: Option<Quantity>,
    modes: BTreeSet<String>,
    kind: String,
    class: String,
    labels: BTreeMap<String, String>,
    affinity: Option<NodeSelector>,
    /// Free, and not on its way out.
    available: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClaimInfo {
    pub(crate) key: ClaimKey,
    pub(crate) uid: Arc<str>,
    /// The volume that it has or names; empty for none.
    volume: Arc<str>,
    bound: bool,
    lost: bool,
    deleting: bool,
    class: String,
    request: Option<Quantity>,
    modes: BTreeSet<String>,
    kind: String,
    selector: Option<LabelSelector>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClassInfo {
    pub(crate) name: Arc<str>,
    /// Whether its claims wait for their first consumer.
    waits: bool,
}

fn text(value: Option<&String>) -> Arc<str> {
    value.map_or("", String::as_str).into()
}

fn set(list: Option<&Vec<String>>) -> BTreeSet<String> {
    list.into_iter().flatten().cloned().collect()
}

fn kind(mode: Option<&String>) -> String {
    mode.filter(|m| !m.is_empty()).map_or("Filesystem", String::as_str).to_owned()
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a String> {
    metadata.annotations.as_ref()?.get(key)
}

fn class(metadata: &ObjectMeta, name: Option<&String>) -> String {
    annotation(metadata, CLASS_ANNOTATION).or(name).cloned().unwrap_or_default()
}

impl VolumeInfo {
    pub(crate) fn of(volume: &PersistentVolume) -> Self {
        let spec = volume.spec.as_ref();
        let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref());
        let capacity = spec.and_then(|s| s.capacity.as_ref()?.get("storage"));
        let free = spec.is_some_and(|s| s.claim_ref.is_none()) && phase == Some("Available");
        Self {
            name: text(volume.metadata.name.as_ref()),
            version: text(volume.metadata.resource_version.as_ref()),
            capacity: capacity.and_then(|q| Quantity::from_str(&q.0).ok()),
            modes: set(spec.and_then(|s| s.access_modes.as_ref())),
            kind: kind(spec.and_then(|s| s.volume_mode.as_ref())),
            class: class(&volume.metadata, spec.and_then(|s| s.storage_class_name.as_ref())),
            labels: volume.metadata.labels.clone().unwrap_or_default(),
            affinity: spec.and_then(|s| s.node_affinity.as_ref()?.required.clone()),
            available: free && volume.metadata.deletion_timestamp.is_none(),
        }
    }

    /// Whether the volume can be had on the node.
    fn reaches(&self, node: &NodeInfo) -> bool {
        let terms = self.affinity.as_ref().map(|affinity| &affinity.node_selector_terms);
        terms.is_none_or(|terms| terms.iter().any(|term| matches_term(term, node)))
    }

    fn fits(&self, claim: &ClaimInfo) -> bool {
        self.available
            && self.class == claim.class
            && self.kind == claim.kind
            && self.modes.is_superset(&claim.modes)
            && claim.request.as_ref().is_none_or(|r| self.capacity.as_ref().is_some_and(|c| c >= r))
            && claim.selector.as_ref().is_none_or(|selector| selects(selector, &self.labels))
    }
}

impl ClaimInfo {
    pub(crate) fn of(claim: &PersistentVolumeClaim) -> Self {
        let spec = claim.spec.as_ref();
        let volume = text(spec.and_then(|s| s.volume_name.as_ref()));
        let request = spec.and_then(|s| s.resources.as_ref()?.requests.as_ref()?.get("storage"));
        let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
        Self {
            key: (text(claim.metadata.namespace.as_ref()), text(claim.metadata.name.as_ref())),
            uid: text(claim.metadata.uid.as_ref()),
            bound: !volume.is_empty() && annotation(&claim.metadata, BIND_COMPLETED).is_some(),
            volume,
            lost: phase == Some("Lost"),
            deleting: claim.metadata.deletion_timestamp.is_some(),
            class: class(&claim.metadata, spec.and_then(|s| s.storage_class_name.as_ref())),
            request: request.and_then(|q| Quantity::from_str(&q.0).ok()),
            modes: set(spec.and_then(|s| s.access_modes.as_ref())),
            kind: kind(spec.and_then(|s| s.volume_mode.as_ref())),
            selector: spec.and_then(|s| s.selector.clone()),
        }
    }
}

impl ClassInfo {
    pub(crate) fn of(class: &StorageClass) -> Self {
        let waits = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
        Self { name: text(class.metadata.name.as_ref()), waits }
    }
}

fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let plain = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    plain
        && selector.match_expressions.iter().flatten().all(|expression| {
            let value = labels.get(&expression.key);
            let listed = || expression.values.iter().flatten().any(|v| Some(v) == value);
            match expression.operator.as_str() {
                "In" => value.is_some() && listed(),
                "NotIn" => value.is_none() || !listed(),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

/// A volume that a claim is to get with its pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pick {
    pub(crate) volume: Arc<str>,
    /// The version of the volume that was looked at.
    pub(crate) version: Arc<str>,
    pub(crate) claim: ClaimKey,
    pub(crate) claim_uid: Arc<str>,
}

/// All that there is.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    volumes: Option<BTreeMap<Arc<str>, VolumeInfo>>,
    claims: Option<HashMap<ClaimKey, ClaimInfo>>,
    classes: Option<HashMap<Arc<str>, ClassInfo>>,
    /// Volumes that pods get which are being bound, by the pods' UIDs.
    picked: HashMap<Arc<str>, Vec<Arc<str>>>,
}

impl Storage {
    /// Whether all lists are there; pods with claims wait for them.
    pub(crate) fn listed(&self) -> bool {
        self.volumes.is_some() && self.claims.is_some() && self.classes.is_some()
    }

    pub(crate) fn set_volumes(&mut self, all: Vec<VolumeInfo>) {
        self.volumes = Some(all.into_iter().map(|v| (v.name.clone(), v)).collect());
    }

    pub(crate) fn set_claims(&mut self, all: Vec<ClaimInfo>) {
        self.claims = Some(all.into_iter().map(|c| (c.key.clone(), c)).collect());
    }

    pub(crate) fn set_classes(&mut self, all: Vec<ClassInfo>) {
        self.classes = Some(all.into_iter().map(|c| (c.name.clone(), c)).collect());
    }

    pub(crate) fn volume(&mut self, name: Arc<str>, volume: Option<VolumeInfo>) {
        put(self.volumes.get_or_insert_default(), name, volume);
    }

    pub(crate) fn claim(&mut self, key: ClaimKey, claim: Option<ClaimInfo>) {
        let claims = self.claims.get_or_insert_default();
        match claim {
            Some(claim) => claims.insert(key, claim),
            None => claims.remove(&key),
        };
    }

    pub(crate) fn class(&mut self, name: Arc<str>, class: Option<ClassInfo>) {
        let classes = self.classes.get_or_insert_default();
        match class {
            Some(class) => classes.insert(name, class),
            None => classes.remove(&name),
        };
    }

    /// While a pod is being bound, its volumes are nobody else's.
    pub(crate) fn pick(&mut self, pod: &Arc<str>, picks: &[Pick]) {
        if !picks.is_empty() {
            self.picked.insert(pod.clone(), picks.iter().map(|pick| pick.volume.clone()).collect());
        }
    }

    /// The binding of a pod has ended, whichever way.
    pub(crate) fn release(&mut self, pod: &Arc<str>) {
        self.picked.remove(pod);
    }

    /// What the claims of a pod mean for its place, or why it can have none.
    pub(crate) fn of_pod(&self, namespace: &Arc<str>, wanted: &[Wanted]) -> Result<PodVolumes<'_>, String> {
        let mut volumes = PodVolumes { storage: Some(self), bound: Vec::new(), waiting: Vec::new() };
        let mut immediate = false;
        for Wanted { name, ephemeral } in wanted {
            let found = self.claims.as_ref().and_then(|all| all.get(&(namespace.clone(), name.clone())));
            let Some(claim) = found else {
                return Err(if *ephemeral {
                    format!(
                        "waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\""
                    )
                } else {
                    format!("persistentvolumeclaim \"{name}\" not found")
                });
            };
            if claim.lost {
                let volume = &claim.volume;
                return Err(format!(
                    "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
                ));
            }
            if claim.deleting {
                return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
            }
            let class = self.classes.as_ref().and_then(|all| all.get(claim.class.as_str()));
            if claim.bound {
                volumes.bound.push(claim);
            } else if claim.volume.is_empty() && class.is_some_and(|class| class.waits) {
                volumes.waiting.push(claim);
            } else {
                immediate = true;
            }
        }
        if immediate {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        Ok(volumes)
    }
}

fn put<V>(map: &mut BTreeMap<Arc<str>, V>, key: Arc<str>, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

/// The claims of one pod.
#[derive(Debug)]
pub(crate) struct PodVolumes<'a> {
    storage: Option<&'a Storage>,
    bound: Vec<&'a ClaimInfo>,
    waiting: Vec<&'a ClaimInfo>,
}

/// Why a node cannot have a pod with its volumes, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Objection {
    NoVolume,
    WrongNode,
    NothingToBind,
}

impl Objection {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NoVolume => "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
            Self::WrongNode => "node(s) didn't match PersistentVolume's node affinity",
            Self::NothingToBind => "node(s) didn't find available persistent volumes to bind",
        }
    }
}

impl<'a> PodVolumes<'a> {
    /// Of a pod without claims.
    pub(crate) const NONE: PodVolumes<'static> =
        PodVolumes { storage: None, bound: Vec::new(), waiting: Vec::new() };

    fn volumes(&self) -> impl Iterator<Item = &'a VolumeInfo> {
        self.storage.and_then(|s| s.volumes.as_ref()).into_iter().flat_map(BTreeMap::values)
    }

    /// The volumes that the pod's claims get on a node.
    pub(crate) fn on(&self, node: &NodeInfo) -> Result<Vec<Pick>, Objection> {
        for claim in &self.bound {
            let volume = self.volumes().find(|volume| volume.name == claim.volume);
            match volume {
                None => return Err(Objection::NoVolume),
                Some(volume) if !volume.reaches(node) => return Err(Objection::WrongNode),
                Some(_) => {}
            }
        }
        let taken = |name: &Arc<str>| {
            self.storage.is_some_and(|s| s.picked.values().flatten().any(|picked| picked == name))
        };
        let mut picks: Vec<Pick> = Vec::new();
        for claim in &self.waiting {
            let free = self.volumes().filter(|volume| {
                volume.fits(claim)
                    && volume.reaches(node)
                    && !taken(&volume.name)
                    && !picks.iter().any(|pick| pick.volume == volume.name)
            });
            let smallest = free.min_by(|a, b| a.capacity.cmp(&b.capacity)).ok_or(Objection::NothingToBind)?;
            picks.push(Pick {
                volume: smallest.name.clone(),
                version: smallest.version.clone(),
                claim: claim.key.clone(),
                claim_uid: claim.uid.clone(),
            });
        }
        Ok(picks)
    }
}

#[cfg(test)]
mod tests;
