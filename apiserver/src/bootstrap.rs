//! The objects that every cluster has from its first start.

use std::net::{Ipv4Addr, SocketAddr};

use futures::{TryStreamExt as _, stream};
use serde_json::{Value, json};

use crate::accounts;
use crate::aggregation;
use crate::api::{Api, in_form_of, key};
use crate::authorize::rules::Rule;
use crate::cache::Object;
use crate::kinds::configmaps::CONFIGMAPS;
use crate::kinds::endpoints::ENDPOINTS;
use crate::kinds::endpointslices::ENDPOINTSLICES;
use crate::kinds::values::{as_object, items};
use crate::kinds::{Kind, namespaces::NAMESPACES, priorityclasses, services::SERVICES, text};
use crate::service::VERSION;
use crate::status::ApiError;
use crate::verbs::create::insert;
use crate::verbs::update::store;

mod kubeadm;
mod roles;

const FIRST_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates what is missing. What exists stays as it is.
pub(crate) async fn bootstrap(api: &Api, address: SocketAddr) -> Result<(), ApiError> {
    first_namespaces(api).await?;
    accounts::pass(api).await?;
    // Side by side, so that they share commits.
    stream::iter(roles::all().into_iter().map(Ok))
        .try_for_each_concurrent(None, |(kind, object)| ensure_rights(api, kind, object))
        .await?;
    // Before anybody is served, roles that are made of others have their rules.
    aggregation::pass(api).await?;
    for map in kubeadm::config_maps(&api.endpoint, api.service_range, VERSION) {
        ensure(api, &CONFIGMAPS, map).await?;
    }
    for class in priorityclasses::system_objects() {
        ensure(api, &priorityclasses::PRIORITYCLASSES, class).await?;
    }
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "clusterIP": first_address(api.service_range).to_string(),
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": address.port() }],
        },
    });
    ensure(api, &SERVICES, service).await?;
    own_address(api, address).await
}

/// The endpoints of the service `kubernetes`: this server. What stands there from an earlier start is replaced.
async fn own_address(api: &Api, address: SocketAddr) -> Result<(), ApiError> {
    let metadata = |labels: Value| json!({ "name": "kubernetes", "namespace": "default", "labels": labels });
    let port = json!({ "name": "https", "port": address.port(), "protocol": "TCP" });
    let ip = address.ip().to_string();
    let endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": metadata(json!({ "endpointslice.kubernetes.io/skip-mirror": "true" })),
        "subsets": [{ "addresses": [{ "ip": ip }], "ports": [port] }],
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata(json!({ "kubernetes.io/service-name": "kubernetes" })),
        "addressType": if address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [ip], "conditions": { "ready": true } }],
        "ports": [port],
    });
    for (kind, wanted, fields) in [
        (&ENDPOINTS, endpoints, &["subsets"][..]),
        (&ENDPOINTSLICES, slice, &["addressType", "endpoints", "ports"]),
    ] {
        let Some(current) = api.cache.get(&key(kind, "default", "kubernetes")).await? else {
            ensure(api, kind, wanted).await?;
            continue;
        };
        let mut found = in_form_of(kind, &current);
        for field in fields {
            found[*field] = wanted[*field].clone();
        }
        let stored = store(api, kind, &current, found).await;
        stored.map_err(|e| ApiError::of_write(e, kind, "kubernetes"))?;
    }
    Ok(())
}

/// Creates those of the first namespaces that are missing: nodes would lose their leases with `kube-node-lease`.
pub(crate) async fn first_namespaces(api: &Api) -> Result<(), ApiError> {
    for name in FIRST_NAMESPACES {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        ensure(api, &NAMESPACES, namespace).await?;
    }
    Ok(())
}

/// The address of the service `kubernetes`.
pub(crate) fn first_address((base, length): (Ipv4Addr, u8)) -> Ipv4Addr {
    let host_bits = 32_u32.saturating_sub(u32::from(length));
    let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
    Ipv4Addr::from((u32::from(base) & mask).saturating_add(1))
}

async fn ensure(api: &Api, kind: &'static Kind, mut object: Value) -> Result<(), ApiError> {
    // Written by this program: what the check complains about would be a mistake in this file.
    kind.check(&mut object).map_err(ApiError::internal)?;
    let (namespace, name) = (text(&object, "/metadata/namespace"), text(&object, "/metadata/name"));
    if api.cache.get(&key(kind, namespace, name)).await?.is_some() {
        return Ok(());
    }
    insert(api, kind, object, false).await.map(|_| ())
}

/// The same for a role or a binding. One that exists gets the rights and subjects that it lacks, unless it says that it is not to be
/// touched (as upstream): a newer server may need more than the one that made it.
async fn ensure_rights(api: &Api, kind: &'static Kind, object: Value) -> Result<(), ApiError> {
    let (namespace, name) = (text(&object, "/metadata/namespace"), text(&object, "/metadata/name"));
    let Some(current) = api.cache.get(&key(kind, namespace, name)).await? else {
        return ensure(api, kind, object).await;
    };
    let found = in_form_of(kind, &current);
    let marked =
        |o: &Value| o.pointer("/metadata/annotations").is_some_and(|a| a[roles::AUTOUPDATE] == "true");
    if !marked(&object) || !marked(&found) {
        return Ok(());
    }
    complete(api, kind, &current, found, &object).await
}

async fn complete(
    api: &Api,
    kind: &'static Kind,
    current: &Object,
    mut found: Value,
    wanted: &Value,
) -> Result<(), ApiError> {
    let held = Rule::all_of(&found);
    let covered = |rule: &&Value| Rule::of(rule).atoms().all(|atom| held.iter().any(|h| h.covers(&atom)));
    let rules: Vec<Value> = items(wanted, "rules").iter().filter(|rule| !covered(rule)).cloned().collect();
    let subjects = items(&found, "subjects");
    let missing: Vec<Value> =
        items(wanted, "subjects").iter().filter(|subject| !subjects.contains(subject)).cloned().collect();
    if rules.is_empty() && missing.is_empty() {
        return Ok(());
    }
    for (field, added) in [("rules", rules), ("subjects", missing)] {
        if !added.is_empty() {
            let all: Vec<Value> = items(&found, field).iter().cloned().chain(added).collect();
            as_object(&mut found).insert(field.to_owned(), all.into());
        }
    }
    let name = text(wanted, "/metadata/name");
    store(api, kind, current, found).await.map(drop).map_err(|e| ApiError::of_write(e, kind, name))
}

#[cfg(test)]
mod tests;
