//! What every namespace has: the service account `default`, and a config map with the authority's certificate, by which programs in
//! pods know this server. Both come again when they are deleted; the config map also when it is changed.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::api::{Api, in_form_of, key, prefix};
use crate::controller::{self, Again};
use crate::kinds::configmaps::CONFIGMAPS;
use crate::kinds::namespaces::NAMESPACES;
use crate::kinds::pods::{DEFAULT_ACCOUNT, ROOT_CERTIFICATE};
use crate::kinds::serviceaccounts::SERVICEACCOUNTS;
use crate::kinds::values::as_object;
use crate::kinds::{Kind, metadata, text};
use crate::status::ApiError;
use crate::store::WriteError;
use crate::verbs::create::insert;
use crate::verbs::update::store;

const DESCRIPTION: &str = "kubernetes.io/description";
const ABOUT: &str = "The certificate by which programs in pods know the API server. Nothing else is to be trusted because of it.";
/// After a pass there is a pause of this many times what it took.
const PAUSES: u32 = 4;

/// Keeps both there until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    let kinds = [&NAMESPACES, &SERVICEACCOUNTS, &CONFIGMAPS];
    controller::run(&api, "default accounts and root certificates", &kinds, async || {
        let began = Instant::now();
        let again = pass(&api).await;
        sleep(began.elapsed() * PAUSES).await;
        again
    })
    .await;
}

/// Makes what is missing in all namespaces.
pub(crate) async fn pass(api: &Api) -> Result<Again, ApiError> {
    for object in api.cache.list_cached(&prefix(&NAMESPACES, "")) {
        let namespace = object.value();
        if text(&namespace, "/metadata/deletionTimestamp").is_empty() {
            let name = text(&namespace, "/metadata/name");
            default_account(api, name).await?;
            root_certificate(api, name).await?;
        }
    }
    Ok(Again::OnChange)
}

/// Makes the account `default` of a namespace if it is missing: a pod that is created at once does not have to wait for the next pass.
pub(crate) async fn default_account(api: &Api, namespace: &str) -> Result<(), ApiError> {
    if api.cache.get_cached(&key(&SERVICEACCOUNTS, namespace, DEFAULT_ACCOUNT)).is_some() {
        return Ok(());
    }
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": DEFAULT_ACCOUNT, "namespace": namespace },
    });
    made(api, &SERVICEACCOUNTS, account).await
}

async fn root_certificate(api: &Api, namespace: &str) -> Result<(), ApiError> {
    let Some(current) = api.cache.get_cached(&key(&CONFIGMAPS, namespace, ROOT_CERTIFICATE)) else {
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": ROOT_CERTIFICATE,
                "namespace": namespace,
                "annotations": { DESCRIPTION: ABOUT },
            },
            "data": content(api),
        });
        return made(api, &CONFIGMAPS, map).await;
    };
    let mut map = in_form_of(&CONFIGMAPS, &current);
    if !restore(&mut map, &content(api)) {
        return Ok(());
    }
    match store(api, &CONFIGMAPS, &current, map).await {
        // Somebody else was quicker, which is a change.
        Ok(_) | Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => Ok(()),
        Err(error) => Err(ApiError::of_write(error, &CONFIGMAPS, ROOT_CERTIFICATE)),
    }
}

fn content(api: &Api) -> Value {
    json!({ "ca.crt": api.pki.ca_pem() })
}

/// Puts the content back; says whether anything had been changed.
fn restore(map: &mut Value, content: &Value) -> bool {
    if map.get("data") == Some(content) && map.get("binaryData").is_none() {
        return false;
    }
    let fields = as_object(map);
    fields.insert("data".to_owned(), content.clone());
    fields.remove("binaryData");
    // Who has made it immutable has changed it too.
    fields.remove("immutable");
    metadata::of(map)
        .entry("annotations")
        .or_insert_with(|| json!({}))
        .as_object_mut()
        .map(|all| all.insert(DESCRIPTION.to_owned(), ABOUT.into()));
    true
}

async fn made(api: &Api, kind: &'static Kind, object: Value) -> Result<(), ApiError> {
    match insert(api, kind, object, false).await {
        Ok(_) => Ok(()),
        // Somebody else was quicker, or the namespace is on its way out.
        Err(refusal) if matches!(refusal.code, 403 | 404 | 409) => Ok(()),
        Err(refusal) => Err(refusal),
    }
}

#[cfg(test)]
mod tests;
