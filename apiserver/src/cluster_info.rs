//! The config map `cluster-info`: how a new node, which knows a bootstrap token and nothing else, finds out that it talks to the right
//! cluster. Everybody may read it; the signature with the token ([`jws`]) is what makes it worth something.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::api::{Api, in_form_of, key};
use crate::bootstrap_tokens::{TokenSecret, Usage, candidates};
use crate::controller::{self, Again};
use crate::kinds::configmaps::CONFIGMAPS;
use crate::kinds::secrets::SECRETS;
use crate::kinds::values::child;
use crate::status::ApiError;
use crate::store::WriteError;
use crate::verbs::create::insert;
use crate::verbs::update::store;

mod jws;

pub(crate) const NAMESPACE: &str = "kube-public";
pub(crate) const NAME: &str = "cluster-info";
const KUBECONFIG: &str = "kubeconfig";
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

/// Keeps the config map signed with every token that may sign, until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    controller::run(&api, "the config map cluster-info", &[&SECRETS, &CONFIGMAPS], || sign(&api)).await;
}

/// The kubeconfig without users that a new node begins with, in the form that kubeadm gives it.
pub(crate) fn kubeconfig(server: &str, ca_pem: &str) -> String {
    let cluster = json!({ "certificate-authority-data": STANDARD.encode(ca_pem), "server": server });
    // JSON strings are YAML strings.
    let field = |name: &str| cluster[name].to_string();
    format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: {}\n  name: \"\"\ncontexts: null\ncurrent-context: \"\"\nkind: Config\nusers: null\n",
        field("certificate-authority-data"),
        field("server"),
    )
}

async fn sign(api: &Api) -> Result<Again, ApiError> {
    let now = Timestamp::now();
    let Some(current) = api.cache.get_cached(&key(&CONFIGMAPS, NAMESPACE, NAME)) else {
        let data = json!({ KUBECONFIG: kubeconfig(&api.endpoint, api.pki.ca_pem()) });
        let metadata = json!({ "name": NAME, "namespace": NAMESPACE });
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data });
        return match insert(api, &CONFIGMAPS, map, false).await {
            // Its coming is a change, after which it is signed. The namespace may be on its way.
            Ok(_) => Ok(Again::OnChange),
            Err(refusal) if refusal.reason == "AlreadyExists" => Ok(Again::OnChange),
            Err(refusal) => Err(refusal),
        };
    };
    let mut map = in_form_of(&CONFIGMAPS, &current);
    let (tokens, again) = signing_tokens(api, now);
    let data = child(&mut map, "data");
    if !resign(data, &tokens) {
        return Ok(again);
    }
    match store(api, &CONFIGMAPS, &current, map).await {
        // Somebody else was quicker, which is a change.
        Ok(_) | Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => Ok(again),
        Err(error) => Err(ApiError::of_write(error, &CONFIGMAPS, NAME)),
    }
}

/// The tokens that sign, by their public part, and when the next of them expires.
fn signing_tokens(api: &Api, now: Timestamp) -> (BTreeMap<String, String>, Again) {
    let mut again = Again::OnChange;
    let mut tokens = BTreeMap::new();
    for object in candidates(api) {
        let value = object.value();
        let Some(secret) = TokenSecret::of(&value) else { continue };
        if secret.has_expired(now) || !secret.is_for(Usage::Signing) {
            continue;
        }
        if let (Some(id), Some(key)) = (secret.id(), secret.secret()) {
            tokens.insert(id, key);
        }
        if let Some(end) = secret.expires() {
            let seconds = end.as_second().saturating_sub(now.as_second()).max(0).unsigned_abs() + 1;
            again = again.and(Again::After(Duration::from_secs(seconds)));
        }
    }
    (tokens, again)
}

/// Puts the signatures of these tokens, and of no others, beside the kubeconfig; says whether anything changed.
fn resign(data: &mut Map<String, Value>, tokens: &BTreeMap<String, String>) -> bool {
    let before = data.clone();
    data.retain(|entry, _| !entry.starts_with(SIGNATURE_PREFIX));
    if let Some(content) = data.get(KUBECONFIG).and_then(Value::as_str).map(str::to_owned) {
        for (id, secret) in tokens {
            data.insert(format!("{SIGNATURE_PREFIX}{id}"), jws::sign(id, secret, &content).into());
        }
    }
    *data != before
}

#[cfg(test)]
mod tests;
