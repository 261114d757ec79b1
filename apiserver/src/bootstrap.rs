//! The objects that every cluster has from its first start.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::api::{Api, key};
use crate::kinds::{Kind, namespaces::NAMESPACES, priorityclasses, services::SERVICES, text};
use crate::status::ApiError;
use crate::verbs::create::insert;

const FIRST_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates what is missing. What exists stays as it is.
pub(crate) async fn bootstrap(api: &Api, port: u16) -> Result<(), ApiError> {
    first_namespaces(api).await?;
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
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": port }],
        },
    });
    ensure(api, &SERVICES, service).await
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

#[cfg(test)]
mod tests;
