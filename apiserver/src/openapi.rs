//! The OpenAPI documents that clients ask for: version 3 by group, and version 2 as a whole.
//!
//! They are built from the same schemas as [`crate::schema`], with the merge facts of `schema/lists.rs`. Their texts are large, so
//! nothing is kept: a document is made when it is asked for. Paths have as many details as kubectl looks at: the
//! operations with their kind, `fieldValidation` and `dryRun` among the parameters, the content types of patches.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::kinds::{self, Body, Kind};
use crate::schema;

mod operations;
mod protobuf;
mod schemas;

/// The two versions differ in where definitions stand and in small things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference_prefix(self) -> &'static str {
        match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        }
    }
}

fn base_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The answer to `/openapi/v3`: where the documents are. An address changes with its document, so that clients may keep
/// what they have read.
pub(crate) fn v3_index() -> Value {
    static HASHES: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    let hashes = HASHES.get_or_init(|| {
        let mut hashes = BTreeMap::new();
        for (group, versions) in kinds::groups() {
            for version in versions {
                let document = v3_document(group, version).unwrap_or_default();
                let hash: String =
                    Sha256::digest(&document).iter().map(|byte| format!("{byte:02X}")).collect();
                hashes.insert(base_path(group, version), hash);
            }
        }
        hashes
    });
    let paths: Map<String, Value> = hashes
        .iter()
        .map(|(path, hash)| {
            (path.clone(), json!({ "serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}") }))
        })
        .collect();
    json!({ "paths": paths })
}

/// The version 3 document of one group and version, as JSON; `None` if there is no such group.
pub(crate) fn v3_document(group: &str, version: &str) -> Option<Vec<u8>> {
    let kinds = of_group(group, version);
    if kinds.is_empty() {
        return None;
    }
    let bodies = bodies(&kinds);
    let document = json!({
        "openapi": "3.0.0",
        "info": { "title": "Kubernetes", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths(&kinds, Dialect::V3),
        "components": { "schemas": schemas::definitions(&bodies, Dialect::V3) },
    });
    Some(document.to_string().into_bytes())
}

/// The version 2 document of everything, as JSON.
pub(crate) fn v2_document() -> Vec<u8> {
    let kinds: Vec<&'static Kind> = kinds::all().to_vec();
    let document = json!({
        "swagger": "2.0",
        "info": { "title": "Kubernetes", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths(&kinds, Dialect::V2),
        "definitions": schemas::definitions(&bodies(&kinds), Dialect::V2),
    });
    document.to_string().into_bytes()
}

/// The version 2 definitions of everything, in protobuf.
pub(crate) fn v2_protobuf() -> Vec<u8> {
    let definitions = schemas::definitions(&bodies(kinds::all()), Dialect::V2);
    protobuf::document("Kubernetes", env!("CARGO_PKG_VERSION"), &definitions)
}

fn of_group(group: &str, version: &str) -> Vec<&'static Kind> {
    kinds::all().iter().copied().filter(|k| k.body.group == group && k.body.version == version).collect()
}

fn bodies(kinds: &[&'static Kind]) -> Vec<Body> {
    kinds.iter().flat_map(|kind| kind.bodies()).copied().collect()
}

fn paths(kinds: &[&'static Kind], dialect: Dialect) -> Map<String, Value> {
    let mut names: BTreeMap<(&str, &str, &str), String> = BTreeMap::new();
    let bodies = bodies(kinds);
    let (_, definitions) = schema::generator(&bodies);
    for (body, name) in bodies.iter().zip(definitions) {
        names.insert((body.group, body.version, body.kind), name);
    }
    let reference = |body: &Body| {
        let name = names.get(&(body.group, body.version, body.kind)).map_or("", String::as_str);
        json!({ "$ref": format!("{}{name}", dialect.reference_prefix()) })
    };
    kinds.iter().flat_map(|kind| operations::paths(kind, dialect, &reference)).collect()
}

#[cfg(test)]
mod tests;
