//! What nodes and pods use, as `kubectl top` and autoscalers ask for it. Nothing of it is stored; the answers are [`crate::metrics`]'s.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::schemars::{Schema, SchemaGenerator};
use serde_json::{Value, json};

use super::{Body, Kind, NameRule, Plain, Scope, Storage};
use crate::table::NAME_AND_AGE;

pub(crate) const GROUP: &str = "metrics.k8s.io";
const READ: &[&str] = &["get", "list"];

const fn measured(kind: &'static str, plural: &'static str, scope: Scope, body: Body) -> Kind {
    Kind {
        body: Body { kind, ..body },
        plural,
        singular: "",
        short_names: &[],
        categories: &[],
        scope,
        verbs: READ,
        subresources: &[],
        storage: Storage::None,
        name_rule: NameRule::PathSegment,
        generation: false,
        behaviour: &Plain,
        columns: NAME_AND_AGE,
    }
}

pub(crate) static NODE_METRICS: Kind = measured(
    "NodeMetrics",
    "nodes",
    Scope::Cluster,
    Body { group: GROUP, version: "v1beta1", kind: "", define: define_node },
);

pub(crate) static POD_METRICS: Kind = measured(
    "PodMetrics",
    "pods",
    Scope::Namespaced,
    Body { group: GROUP, version: "v1beta1", kind: "", define: define_pod },
);

fn define_node(generator: &mut SchemaGenerator) -> String {
    define(generator, "NodeMetrics", "Resource usage of a node over a window.", "usage", usage())
}

fn define_pod(generator: &mut SchemaGenerator) -> String {
    let container = json!({
        "type": "object",
        "required": ["name", "usage"],
        "properties": { "name": { "type": "string" }, "usage": usage() },
    });
    let containers = json!({ "type": "array", "items": container });
    define(
        generator,
        "PodMetrics",
        "Resource usage of a pod's containers over a window.",
        "containers",
        containers,
    )
}

fn usage() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "string" } })
}

/// These types are none of `k8s-openapi`'s.
fn define(generator: &mut SchemaGenerator, kind: &str, about: &str, field: &str, figures: Value) -> String {
    let metadata = generator.subschema_for::<ObjectMeta>();
    let name = format!("io.k8s.metrics.pkg.apis.metrics.v1beta1.{kind}");
    let schema = json!({
        "description": about,
        "type": "object",
        "required": ["timestamp", "window", field],
        "properties": {
            "apiVersion": { "type": "string" },
            "kind": { "type": "string" },
            "metadata": metadata,
            "timestamp": { "type": "string", "format": "date-time" },
            "window": { "type": "string" },
            field: figures,
        },
    });
    if let Ok(schema) = Schema::try_from(schema) {
        generator.definitions_mut().insert(name.clone(), schema.into());
    }
    name
}
