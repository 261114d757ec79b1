//! Discovery: which groups, versions, resources and verbs there are, in the old and in the aggregated form, and OpenAPI.

use http::header::{ETAG, VARY};
use http::{HeaderValue, Response};
use serde_json::{Value, json};

use crate::answer::{Body, encode, response, whole};
use crate::kinds::{self, Kind, Storage};
use crate::openapi;
use crate::request::Query;
use crate::request::media::{Accepted, wants_aggregated_discovery, wants_open_api_protobuf};
use crate::service::document;
use crate::status::ApiError;
use crate::tokens::discovery::{CONFIGURATION, KEYS};

/// How version 2 is named in protobuf; older clients write the dot as `@`.
const OPEN_API_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Answers a path of discovery; anything else does not exist.
pub(crate) fn serve(path: &str, query: &Query, accept: Option<&str>) -> Result<Response<Body>, ApiError> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let found = match segments.as_slice() {
        [""] => Some(paths()),
        ["api"] if wants_aggregated_discovery(accept) => return Ok(aggregated(|group| group.is_empty())),
        ["apis"] if wants_aggregated_discovery(accept) => return Ok(aggregated(|group| !group.is_empty())),
        ["api"] => Some(legacy_versions()),
        ["apis"] => Some(group_list()),
        ["api", version] => resource_list("", version),
        ["apis", name] => groups().into_iter().find(|(group, _)| group == name).map(|(g, v)| group(g, &v)),
        ["apis", group, version] => resource_list(group, version),
        ["openapi", "v3"] => Some(openapi::v3_index()),
        ["openapi", "v2"] if wants_open_api_protobuf(accept) => {
            return Ok(cacheable(openapi::v2_protobuf(), OPEN_API_PROTOBUF));
        }
        ["openapi", "v2"] => return open_api(Some(openapi::v2_document()), accept),
        ["openapi", "v3", "api", version] => return open_api(openapi::v3_document("", version), accept),
        ["openapi", "v3", "apis", group, version] => {
            return open_api(openapi::v3_document(group, version), accept);
        }
        _ => None,
    };
    found.map(|value| document(&value, query)).ok_or_else(ApiError::no_such_resource)
}

/// A document of OpenAPI in JSON; version 3 has no other form, and clients that insist on protobuf are told.
fn open_api(document: Option<Vec<u8>>, accept: Option<&str>) -> Result<Response<Body>, ApiError> {
    let document = document.ok_or_else(ApiError::no_such_resource)?;
    if Accepted::negotiate(accept).is_err() {
        return Err(ApiError::not_acceptable("application/json"));
    }
    Ok(cacheable(document, "application/json"))
}

fn cacheable(document: Vec<u8>, media: &'static str) -> Response<Body> {
    let etag = etag(&document);
    let mut response = response(200, whole(document), media);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    kinds::groups()
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn kinds_of(group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
    kinds::all().iter().copied().filter(move |k| k.body.group == group && k.body.version == version)
}

fn paths() -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in groups().iter().filter(|(g, _)| !g.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    paths.extend(
        [CONFIGURATION, "/healthz", "/livez", "/openapi/v2", "/openapi/v3", KEYS, "/readyz", "/version"]
            .map(str::to_owned),
    );
    json!({ "paths": paths })
}

fn legacy_versions() -> Value {
    json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] })
}

fn group(name: &str, versions: &[&str]) -> Value {
    let version = |v: &&str| json!({ "groupVersion": group_version(name, v), "version": v });
    let preferred = versions.first().map(version);
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": name,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": preferred,
    })
}

fn group_list() -> Value {
    let named = groups().into_iter().filter(|(name, _)| !name.is_empty());
    let groups: Vec<Value> = named
        .map(|(name, versions)| {
            let mut group = group(name, &versions);
            if let Some(fields) = group.as_object_mut() {
                fields.remove("kind");
                fields.remove("apiVersion");
            }
            group
        })
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

/// The legacy list of a group version; `None` if there is none.
fn resource_list(group: &str, version: &str) -> Option<Value> {
    let mut resources = Vec::new();
    for kind in kinds_of(group, version) {
        let mut resource = json!({
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced(),
            "kind": kind.body.kind,
            "verbs": kind.verbs,
        });
        if !kind.short_names.is_empty() {
            resource["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            resource["categories"] = json!(kind.categories);
        }
        if !matches!(kind.storage, Storage::None) {
            // Clients use it to tell which resources share their storage.
            resource["storageVersionHash"] = storage_hash(kind).into();
        }
        resources.push(resource);
        for sub in kind.subresources {
            let mut resource = json!({
                "name": format!("{}/{}", kind.plural, sub.name),
                "singularName": "",
                "namespaced": kind.namespaced(),
                "kind": sub.body.kind,
                "verbs": sub.verbs,
            });
            if (sub.body.group, sub.body.version) != (group, version) {
                resource["group"] = sub.body.group.into();
                resource["version"] = sub.body.version.into();
            }
            resources.push(resource);
        }
    }
    if resources.is_empty() {
        return None;
    }
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version(group, version),
        "resources": resources,
    }))
}

/// A hash of where a kind is stored, in upstream's form.
fn storage_hash(kind: &'static Kind) -> String {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let stored = kind.stored().unwrap_or(kind);
    let text = format!("{}/{}/{}", stored.body.group, stored.body.version, stored.body.kind);
    base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text)[..8])
}

/// The aggregated form: all groups that `wanted` accepts, in one document.
fn aggregated(wanted: impl Fn(&str) -> bool) -> Response<Body> {
    let items: Vec<Value> = groups()
        .into_iter()
        .filter(|(group, _)| wanted(group))
        .map(|(group, versions)| {
            let versions: Vec<Value> =
                versions.iter().map(|version| aggregated_version(group, version)).collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
            json!({ "metadata": metadata, "versions": versions })
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    let bytes = encode(&list, Accepted::JSON);
    let etag = etag(&bytes);
    let mut response = response(200, whole(bytes), AGGREGATED);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// A strong validator of a document.
pub(crate) fn etag(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let digest: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02X}")).collect();
    format!("\"{digest}\"")
}

fn aggregated_version(group: &str, version: &str) -> Value {
    let resources: Vec<Value> = kinds_of(group, version)
        .map(|kind| {
            let scope = if kind.namespaced() { "Namespaced" } else { "Cluster" };
            let response_kind =
                |body: &kinds::Body| json!({ "group": body.group, "version": body.version, "kind": body.kind });
            let mut resource = json!({
                "resource": kind.plural,
                "responseKind": response_kind(&kind.body),
                "scope": scope,
                "singularResource": kind.singular,
                "verbs": kind.verbs,
            });
            if !kind.short_names.is_empty() {
                resource["shortNames"] = json!(kind.short_names);
            }
            if !kind.categories.is_empty() {
                resource["categories"] = json!(kind.categories);
            }
            if !kind.subresources.is_empty() {
                let subresources = kind.subresources.iter().map(|sub| {
                    json!({ "subresource": sub.name, "responseKind": response_kind(&sub.body), "verbs": sub.verbs })
                });
                resource["subresources"] = subresources.collect();
            }
            resource
        })
        .collect();
    json!({ "version": version, "freshness": "Current", "resources": resources })
}

#[cfg(test)]
mod tests;
