//! How lists merge: the facts that upstream keeps in the tags of its Go types.
//!
//! Strategic merge patches use `patch_key` and `retain_keys`, server-side apply `list_type`. A list that is not here is replaced
//! as a whole by both.

/// What server-side apply takes a list for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListType {
    Atomic,
    Set,
    Map(&'static [&'static str]),
}

/// One list field (or map, for `retain_keys` of its items).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListKind {
    /// The definition's name without the package: `PodSpec`.
    object: &'static str,
    field: &'static str,
    /// Whether a strategic merge patch merges the list. If not it is replaced.
    pub(crate) merges: bool,
    /// The key that objects of the list merge by; empty for a list of scalars, which merges as a set.
    pub(crate) patch_key: &'static str,
    /// Whether `$retainKeys` belongs to the items: the fields of a one-of.
    pub(crate) retain_keys: bool,
    pub(crate) list_type: ListType,
}

impl ListKind {
    /// The `x-kubernetes-patch-strategy` of the field.
    pub(crate) fn strategy(&self) -> Option<&'static str> {
        match (self.merges, self.retain_keys) {
            (true, true) => Some("merge,retainKeys"),
            (true, false) => Some("merge"),
            (false, true) => Some("retainKeys"),
            (false, false) => None,
        }
    }
}

const fn by_key(
    object: &'static str,
    field: &'static str,
    key: &'static str,
    keys: &'static [&'static str],
) -> ListKind {
    ListKind {
        object,
        field,
        merges: true,
        patch_key: key,
        retain_keys: false,
        list_type: ListType::Map(keys),
    }
}

/// Merges by key in a patch, and is atomic for server-side apply.
const fn patch_only(object: &'static str, field: &'static str, key: &'static str) -> ListKind {
    ListKind { object, field, merges: true, patch_key: key, retain_keys: false, list_type: ListType::Atomic }
}

/// Replaced by a patch, and a map for server-side apply.
const fn apply_only(object: &'static str, field: &'static str, keys: &'static [&'static str]) -> ListKind {
    ListKind {
        object,
        field,
        merges: false,
        patch_key: "",
        retain_keys: false,
        list_type: ListType::Map(keys),
    }
}

const fn set(object: &'static str, field: &'static str, merges: bool) -> ListKind {
    ListKind { object, field, merges, patch_key: "", retain_keys: false, list_type: ListType::Set }
}

const fn atomic(object: &'static str, field: &'static str) -> ListKind {
    ListKind { object, field, merges: false, patch_key: "", retain_keys: false, list_type: ListType::Atomic }
}

const PORT: &[&str] = &["containerPort", "protocol"];

/// Sorted by nothing: looked up only while the types are compiled.
const LISTS: &[ListKind] = &[
    // metadata
    by_key("ObjectMeta", "ownerReferences", "uid", &["uid"]),
    set("ObjectMeta", "finalizers", true),
    // pods
    by_key("PodSpec", "containers", "name", &["name"]),
    by_key("PodSpec", "initContainers", "name", &["name"]),
    by_key("PodSpec", "ephemeralContainers", "name", &["name"]),
    by_key("PodSpec", "hostAliases", "ip", &["ip"]),
    by_key("PodSpec", "imagePullSecrets", "name", &["name"]),
    by_key("PodSpec", "schedulingGates", "name", &["name"]),
    by_key("PodSpec", "topologySpreadConstraints", "topologyKey", &["topologyKey", "whenUnsatisfiable"]),
    ListKind { retain_keys: true, ..by_key("PodSpec", "volumes", "name", &["name"]) },
    ListKind { retain_keys: true, ..by_key("PodSpec", "resourceClaims", "name", &["name"]) },
    atomic("PodSpec", "tolerations"),
    by_key("Container", "env", "name", &["name"]),
    by_key("Container", "ports", "containerPort", PORT),
    by_key("Container", "volumeDevices", "devicePath", &["devicePath"]),
    by_key("Container", "volumeMounts", "mountPath", &["mountPath"]),
    by_key("EphemeralContainer", "env", "name", &["name"]),
    by_key("EphemeralContainer", "ports", "containerPort", PORT),
    by_key("EphemeralContainer", "volumeDevices", "devicePath", &["devicePath"]),
    by_key("EphemeralContainer", "volumeMounts", "mountPath", &["mountPath"]),
    apply_only("ResourceRequirements", "claims", &["name"]),
    set("ContainerRestartRuleOnExitCodes", "values", false),
    patch_only("PodStatus", "podIPs", "ip").with_map(&["ip"]),
    patch_only("PodStatus", "hostIPs", "ip"),
    by_key("PodStatus", "conditions", "type", &["type"]),
    ListKind { retain_keys: true, ..by_key("PodStatus", "resourceClaimStatuses", "name", &["name"]) },
    by_key("ContainerStatus", "volumeMounts", "mountPath", &["mountPath"]),
    by_key("ContainerStatus", "allocatedResourcesStatus", "name", &["name"]),
    apply_only("ResourceStatus", "resources", &["resourceID"]),
    // nodes
    set("NodeSpec", "podCIDRs", true),
    by_key("NodeStatus", "addresses", "type", &["type"]),
    by_key("NodeStatus", "conditions", "type", &["type"]),
    // the rest
    apply_only("CertificateSigningRequestStatus", "conditions", &["type"]),
    by_key("NamespaceStatus", "conditions", "type", &["type"]),
    by_key("PodDisruptionBudgetStatus", "conditions", "type", &["type"]),
    patch_only("ServiceAccount", "secrets", "name").with_map(&["name"]),
    by_key("ServiceSpec", "ports", "port", &["port", "protocol"]),
    by_key("ServiceStatus", "conditions", "type", &["type"]),
    by_key("PersistentVolumeClaimStatus", "conditions", "type", &["type"]),
];

impl ListKind {
    const fn with_map(self, keys: &'static [&'static str]) -> Self {
        Self { list_type: ListType::Map(keys), ..self }
    }
}

/// What is known of a list field; `object` is the definition's whole name.
pub(crate) fn of(object: &str, field: &str) -> Option<&'static ListKind> {
    let short = object.rsplit('.').next().unwrap_or(object);
    LISTS.iter().find(|l| l.object == short && l.field == field)
}

/// Maps that server-side apply takes as a whole: `x-kubernetes-map-type: atomic`.
const ATOMIC_OBJECTS: &[&str] = &[
    "ConfigMapKeySelector",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "ResourceFieldSelector",
    "SecretKeySelector",
    "SecretReference",
    "TopologySelectorTerm",
    "TypedLocalObjectReference",
];

/// Whether an object type is taken as a whole by server-side apply.
pub(crate) fn is_atomic_object(object: &str) -> bool {
    let short = object.rsplit('.').next().unwrap_or(object);
    ATOMIC_OBJECTS.contains(&short)
}

/// Fields that are string maps and are taken as a whole by server-side apply.
pub(crate) fn is_atomic_map(object: &str, field: &str) -> bool {
    let short = object.rsplit('.').next().unwrap_or(object);
    matches!(
        (short, field),
        ("PodSpec" | "Scheduling", "nodeSelector")
            | ("ServiceSpec" | "ReplicationControllerSpec", "selector")
    )
}
