//! What kinds of objects there are, and everything that is particular to one of them.
//!
//! An object is a `serde_json::Value` tree. A [`Kind`] describes one resource: its names, scope, verbs and sub-resources, the
//! name of its schema ([`crate::schema`]), its table columns ([`crate::table`]), and its [`Behaviour`]: hooks for defaults,
//! validation, what an update may change, admission and deletion. All generic rules (metadata, generation, the split of
//! spec and status) are methods of `Kind` which call the hooks. Another kind is one descriptor in a file below `kinds/`
//! and its line in [`all`].
//!
//! The order for a write is:
//!
//! ```text
//! create  decode -> check (schema) -> prepare_create -> defaults -> admit_create -> validate_create -> store
//! update  decode -> check (schema) -> prepare_update (and defaults) -> admit_update -> validate_update -> permit_update -> store
//! patch   current in the request's version -> patch::apply -> check -> as update
//! delete  deletion(object, requested grace) says what happens
//! ```
//!
//! The fields that the request path fills in itself: `metadata.{uid,creationTimestamp,resourceVersion,namespace}`, and the
//! name from `generateName` (after `prepare_create`, before `validate_create`).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use crate::schema;
use crate::selector::FieldSelector;
use crate::table::Columns;

pub(crate) mod bindings;
pub(crate) mod certificatesigningrequests;
pub(crate) mod configmaps;
pub(crate) mod endpoints;
pub(crate) mod endpointslices;
pub(crate) mod events;
pub(crate) mod field;
pub(crate) mod label_selector;
pub(crate) mod leases;
pub(crate) mod metadata;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod namespaces;
pub(crate) mod nodes;
pub(crate) mod persistentvolumeclaims;
pub(crate) mod persistentvolumes;
pub(crate) mod poddisruptionbudgets;
pub(crate) mod pods;
pub(crate) mod priorityclasses;
pub(crate) mod rbac;
pub(crate) mod reviews;
pub(crate) mod runtimeclasses;
pub(crate) mod secrets;
pub(crate) mod serviceaccounts;
pub(crate) mod services;
pub(crate) mod storageclasses;
pub(crate) mod values;

pub(crate) use field::{FieldError, causes, invalid_message};

/// Whether objects live in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Namespaced,
    Cluster,
}

/// The verbs of a full resource, as discovery lists them.
pub(crate) const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// The verbs of a resource that is only a question or a command.
pub(crate) const CREATE_ONLY: &[&str] = &["create"];

/// A type that travels in a body, with the name of its schema.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    /// Adds the type and what it consists of to a generator, and gives its name, as `io.k8s.api.core.v1.Pod`.
    pub(crate) define: fn(&mut SchemaGenerator) -> String,
}

/// The [`Body::define`] of a `k8s-openapi` type.
pub(crate) fn define<T: JsonSchema>(generator: &mut SchemaGenerator) -> String {
    generator.subschema_for::<T>();
    T::schema_name().into_owned()
}

impl Body {
    /// `v1` or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        api_version(self.group, self.version)
    }

    /// Checks a body against the schema, as [`Kind::check`] does.
    pub(crate) fn check(&self, object: &mut Value) -> Result<Vec<String>, schema::DecodeError> {
        schema::check(self, object)
    }
}

/// A sub-resource: a [`Part`] of the object, or something that the request path does itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subresource {
    pub(crate) name: &'static str,
    /// What is sent to it. For a part of the object this is the kind itself.
    pub(crate) body: Body,
    pub(crate) verbs: &'static [&'static str],
}

/// The `define` of what is written as a query only, and has no schema.
fn undefined(_: &mut SchemaGenerator) -> String {
    String::new()
}

impl Subresource {
    /// One that streams: nothing is sent to it but options in the query.
    const fn stream(name: &'static str, options: &'static str) -> Self {
        let body = Body { group: "", version: "v1", kind: options, define: undefined };
        Self { name, body, verbs: &["create", "get"] }
    }

    /// One behind which there is something else.
    const fn proxy(options: &'static str) -> Self {
        let verbs = &["create", "delete", "get", "patch", "update"];
        Self { verbs, ..Self::stream("proxy", options) }
    }

    /// Whether it is a connection: there is no object to send or to get.
    pub(crate) fn connects(&self) -> bool {
        matches!(self.name, "exec" | "attach" | "portforward" | "proxy")
    }
}

/// Where objects of a kind are kept.
#[derive(Clone, Copy)]
pub(crate) enum Storage {
    /// Under the kind's own group and plural.
    Own,
    /// As objects of another kind (`events.k8s.io` events are core events). Both functions rewrite the object in place,
    /// `apiVersion` included.
    As { kind: fn() -> &'static Kind, from_storage: fn(&mut Value), to_storage: fn(&mut Value) },
    /// Nowhere: a question or a command.
    None,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "Own",
            Self::As { .. } => "As",
            Self::None => "None",
        })
    }
}

/// Which part of an object an update may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The resource itself: the status stays as it was, if the kind has a status sub-resource.
    Main,
    /// `/status`: the spec stays as it was.
    Status,
    /// `/ephemeralcontainers` of a pod: everything but `spec.ephemeralContainers` stays as it was.
    EphemeralContainers,
    /// `/resize` of a pod: everything but processor and memory of the pod and its containers stays as it was.
    Resize,
    /// `/approval` of a certificate signing request: everything but the decision stays as it was.
    Approval,
}

impl Part {
    /// What a request to this sub-resource, or to the resource itself, reads and writes; `None` for a sub-resource that is a
    /// question or a command.
    pub(crate) fn of(subresource: Option<&str>) -> Option<Self> {
        match subresource {
            None => Some(Self::Main),
            Some("status") => Some(Self::Status),
            Some("ephemeralcontainers") => Some(Self::EphemeralContainers),
            Some("resize") => Some(Self::Resize),
            Some("approval") => Some(Self::Approval),
            Some(_) => None,
        }
    }
}

/// What a delete request does to an object that has no finalizers left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// It goes at once.
    Now,
    /// It is marked with `deletionTimestamp` = now + this and `deletionGracePeriodSeconds` = this many seconds, and goes when
    /// a delete with grace 0 comes. A later request may only shorten the period.
    Grace(i64),
    /// It stays: 403 Forbidden with this reason.
    Never(&'static str),
    /// A namespace: marked, phase `Terminating`, then its contents are deleted, then `spec.finalizers` emptied, then it goes.
    Contents,
}

/// What admission may look at besides the object.
pub(crate) trait Cluster {
    fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// All objects of a kind, in all namespaces.
    fn list(&self, kind: &Kind) -> Vec<Arc<Value>>;
    /// The range that service addresses come from: first address and prefix length.
    fn service_range(&self) -> (std::net::Ipv4Addr, u8);
    /// Whether an admission plugin of upstream's that can be switched off is on.
    fn admits(&self, _plugin: &str) -> bool {
        true
    }
}

/// Why admission refuses an object.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmissionError {
    /// 403 Forbidden. The message is what follows `pods "x" is forbidden: `.
    #[error("{0}")]
    Forbidden(String),
    /// 422 Invalid.
    #[error("{0}")]
    Invalid(FieldError),
}

/// What is particular to one kind. Every method has the answer of a plain kind.
pub(crate) trait Behaviour: Send + Sync + fmt::Debug {
    /// Fills in what a client may leave out. Runs on every write and must be idempotent.
    fn defaults(&self, _object: &mut Value) {}

    /// Sets the fields that a client may not choose at creation, such as the first status.
    fn prepare_create(&self, _object: &mut Value) {}

    /// Whether a client may give a status when it creates an object of a kind that has a status sub-resource.
    fn status_at_creation(&self) -> bool {
        false
    }

    /// Restores the fields that this kind's updates may not touch, beyond the generic split of spec and status.
    fn prepare_update(&self, _new: &mut Value, _old: &Value, _part: Part) {}

    /// Looks at other objects: priority classes, runtime classes, free addresses.
    fn admit_create(&self, _object: &mut Value, _cluster: &dyn Cluster) -> Result<(), AdmissionError> {
        Ok(())
    }

    /// The same for an update of the main part.
    fn admit_update(
        &self,
        _new: &mut Value,
        _old: &Value,
        _cluster: &dyn Cluster,
    ) -> Result<(), AdmissionError> {
        Ok(())
    }

    /// Looks at other objects once a change of any part has been found valid.
    fn permit_update(
        &self,
        _new: &Value,
        _old: &Value,
        _part: Part,
        _cluster: &dyn Cluster,
    ) -> Result<(), AdmissionError> {
        Ok(())
    }

    /// Everything but `metadata`, for a new object.
    fn validate(&self, _object: &Value, _errors: &mut Vec<FieldError>) {}

    /// Everything but `metadata`, for a changed object. A plain kind checks the new object as if it were created.
    fn validate_update(&self, new: &Value, _old: &Value, part: Part, errors: &mut Vec<FieldError>) {
        if part == Part::Main {
            self.validate(new, errors);
        }
    }

    /// The value of a field that a field selector may name, beyond `metadata.name` and `metadata.namespace`. `None` for a
    /// field that is not selectable; a selectable field which the object lacks is an empty string.
    fn field<'a>(&self, _object: &'a Value, _field: &str) -> Option<Cow<'a, str>> {
        None
    }

    /// What a delete does. `requested` is `gracePeriodSeconds` of the request, never negative.
    fn deletion(&self, _object: &Value, _requested: Option<i64>) -> Deletion {
        Deletion::Now
    }
}

/// A kind without any rules of its own.
#[derive(Debug)]
pub(crate) struct Plain;

impl Behaviour for Plain {}

/// The rule that names of a kind follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameRule {
    /// A lowercase RFC 1123 subdomain: at most 253 bytes.
    Subdomain,
    /// A lowercase RFC 1123 label: at most 63 bytes.
    Label,
    /// A lowercase RFC 1035 label: starts with a letter.
    Label1035,
    /// A single path segment: no `/`, no `%`, not `.` or `..`.
    PathSegment,
}

/// One resource, see the module's page.
#[derive(Debug)]
pub(crate) struct Kind {
    /// The type of the objects.
    pub(crate) body: Body,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) scope: Scope,
    pub(crate) verbs: &'static [&'static str],
    pub(crate) subresources: &'static [Subresource],
    pub(crate) storage: Storage,
    pub(crate) name_rule: NameRule,
    /// Whether `metadata.generation` counts changes of the spec.
    pub(crate) generation: bool,
    pub(crate) behaviour: &'static dyn Behaviour,
    pub(crate) columns: Columns,
}

impl Kind {
    /// `v1` or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        self.body.api_version()
    }

    /// `pods`, or `leases.coordination.k8s.io`: as messages name a resource.
    pub(crate) fn qualified_resource(&self) -> String {
        qualified(self.plural, self.body.group)
    }

    pub(crate) fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    pub(crate) fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    pub(crate) fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// The types of what is sent to it and to its sub-resources.
    pub(crate) fn bodies(&'static self) -> impl Iterator<Item = &'static Body> {
        let parts = self.subresources.iter().filter(|sub| !sub.connects()).map(|sub| &sub.body);
        std::iter::once(&self.body).chain(parts)
    }

    /// The kind whose storage holds the objects; `None` if there is no storage.
    pub(crate) fn stored(&'static self) -> Option<&'static Kind> {
        match self.storage {
            Storage::Own => Some(self),
            Storage::As { kind, .. } => Some(kind()),
            Storage::None => None,
        }
    }

    /// Rewrites a stored object into this kind's version. A plain kind's objects are stored as they are.
    pub(crate) fn take_from_storage(&self, object: &mut Value) {
        if let Storage::As { from_storage, .. } = self.storage {
            from_storage(object);
        }
    }

    /// The opposite of [`Kind::take_from_storage`]. Comes last before the store.
    pub(crate) fn to_storage(&self, object: &mut Value) {
        if let Storage::As { to_storage, .. } = self.storage {
            to_storage(object);
        }
    }

    /// Checks `apiVersion`, `kind` and all types against the schema, and normalises the object: missing `apiVersion` and
    /// `kind` are filled in, nulls go, quantities become canonical. `Ok` lists what a strict client would be refused for
    /// (`unknown field "spec.foo"`); the object keeps those fields. See [`schema::strict_error`].
    pub(crate) fn check(&self, object: &mut Value) -> Result<Vec<String>, schema::DecodeError> {
        self.body.check(object)
    }

    /// Sets what a client may not choose at creation: first status, generation, no deletion time.
    pub(crate) fn prepare_create(&self, object: &mut Value) {
        metadata::prepare_create(self, object);
        self.behaviour.prepare_create(object);
    }

    pub(crate) fn defaults(&self, object: &mut Value) {
        self.behaviour.defaults(object);
    }

    /// Admission that needs other objects; between defaults and validation.
    pub(crate) fn admit_create(
        &self,
        object: &mut Value,
        cluster: &dyn Cluster,
    ) -> Result<(), AdmissionError> {
        self.behaviour.admit_create(object, cluster)
    }

    /// The same for an update of the main part.
    pub(crate) fn admit_update(
        &self,
        new: &mut Value,
        old: &Value,
        cluster: &dyn Cluster,
    ) -> Result<(), AdmissionError> {
        self.behaviour.admit_update(new, old, cluster)
    }

    /// Metadata and the kind's own rules. An empty list means valid.
    pub(crate) fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        metadata::validate(self, object, &mut errors);
        self.behaviour.validate(object, &mut errors);
        errors
    }

    /// Puts back what an update of this part may not change (status or spec, uid, creation and deletion time), fills in
    /// defaults, and counts the generation. A `uid` or `resourceVersion` that differs is a conflict, which the request path has
    /// found before.
    pub(crate) fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        metadata::prepare_update(self, new, old, part);
        self.behaviour.prepare_update(new, old, part);
        // What a client leaves out and gets back is no change.
        self.behaviour.defaults(new);
        metadata::count_generation(self, new, old);
    }

    /// Metadata, what is immutable, and the kind's own rules.
    pub(crate) fn validate_update(&self, new: &Value, old: &Value, part: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        metadata::validate(self, new, &mut errors);
        metadata::validate_update(new, old, &mut errors);
        self.behaviour.validate_update(new, old, part, &mut errors);
        errors
    }

    /// Admission that needs other objects and comes after validation.
    pub(crate) fn permit_update(
        &self,
        new: &Value,
        old: &Value,
        part: Part,
        cluster: &dyn Cluster,
    ) -> Result<(), AdmissionError> {
        self.behaviour.permit_update(new, old, part, cluster)
    }

    pub(crate) fn deletion(&self, object: &Value, requested: Option<i64>) -> Deletion {
        self.behaviour.deletion(object, requested)
    }

    /// The value of a selectable field; `None` if the field is not selectable.
    pub(crate) fn field<'a>(&self, object: &'a Value, field: &str) -> Option<Cow<'a, str>> {
        match field {
            "metadata.name" => Some(text(object, "/metadata/name").into()),
            "metadata.namespace" if self.namespaced() => Some(text(object, "/metadata/namespace").into()),
            other => self.behaviour.field(object, other),
        }
    }

    /// Whether the kind can be selected by all fields that the selector names; else the first that it cannot.
    /// The message of the 400: `field label not supported: spec.foo`.
    pub(crate) fn check_fields(&self, selector: &FieldSelector) -> Result<(), UnsupportedField> {
        match selector.fields().find(|f| self.field(&Value::Null, f).is_none()) {
            Some(field) => Err(UnsupportedField(field.to_owned())),
            None => Ok(()),
        }
    }

    pub(crate) fn matches_fields(&self, selector: &FieldSelector, object: &Value) -> bool {
        selector.matches(|field| self.field(object, field))
    }
}

/// A field selector names a field that cannot be selected by.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("field label not supported: {0}")]
pub(crate) struct UnsupportedField(String);

static ALL: &[&Kind] = &[
    &bindings::BINDINGS,
    &configmaps::CONFIGMAPS,
    &endpoints::ENDPOINTS,
    &events::EVENTS,
    &namespaces::NAMESPACES,
    &nodes::NODES,
    &persistentvolumeclaims::PERSISTENTVOLUMECLAIMS,
    &persistentvolumes::PERSISTENTVOLUMES,
    &pods::PODS,
    &secrets::SECRETS,
    &serviceaccounts::SERVICEACCOUNTS,
    &services::SERVICES,
    &reviews::SELFSUBJECTREVIEWS,
    &reviews::TOKENREVIEWS,
    &reviews::LOCALSUBJECTACCESSREVIEWS,
    &reviews::SELFSUBJECTACCESSREVIEWS,
    &reviews::SELFSUBJECTRULESREVIEWS,
    &reviews::SUBJECTACCESSREVIEWS,
    &certificatesigningrequests::CERTIFICATESIGNINGREQUESTS,
    &leases::LEASES,
    &endpointslices::ENDPOINTSLICES,
    &events::EVENTS_V1,
    &runtimeclasses::RUNTIMECLASSES,
    &poddisruptionbudgets::PODDISRUPTIONBUDGETS,
    &rbac::CLUSTERROLEBINDINGS,
    &rbac::CLUSTERROLES,
    &rbac::ROLEBINDINGS,
    &rbac::ROLES,
    &priorityclasses::PRIORITYCLASSES,
    &storageclasses::STORAGECLASSES,
    &metrics::NODE_METRICS,
    &metrics::POD_METRICS,
];

/// All kinds, in the order in which discovery lists them: core first, a group's kinds together.
pub(crate) fn all() -> &'static [&'static Kind] {
    ALL
}

/// The types of everything that may be sent, each once.
pub(crate) fn bodies() -> Vec<Body> {
    let mut bodies: Vec<Body> = Vec::new();
    let sent = all().iter().flat_map(|k| k.bodies());
    for body in sent {
        if !bodies.iter().any(|b| (b.group, b.version, b.kind) == (body.group, body.version, body.kind)) {
            bodies.push(*body);
        }
    }
    bodies
}

/// The kind of a request's path. The group of core kinds is the empty string.
pub(crate) fn lookup(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    all().iter().copied().find(|k| k.body.group == group && k.body.version == version && k.plural == plural)
}

/// Groups with their versions, in discovery order; core is `("", ["v1"])`.
pub(crate) fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&'static str, Vec<&'static str>)> = Vec::new();
    for kind in all() {
        match groups.iter_mut().find(|(group, _)| *group == kind.body.group) {
            Some((_, versions)) if versions.contains(&kind.body.version) => {}
            Some((_, versions)) => versions.push(kind.body.version),
            None => groups.push((kind.body.group, vec![kind.body.version])),
        }
    }
    groups
}

fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// A string at a JSON pointer; empty where there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}
