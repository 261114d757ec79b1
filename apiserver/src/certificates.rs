//! What becomes of certificate signing requests: approved, signed, cleared away.
//!
//! ```text
//! request ──may its maker? its form?──> Approved ──signer's form?──> certificate ──> gone after an hour
//!    │                                     └──> Failed
//!    └── pending: for whoever has the right to approve; gone after a day
//! ```
//!
//! [`forms`] is what a signer asks of a request, [`cleaning`] how long requests stay.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::answer::Content;
use crate::api::{Api, in_form_of, prefix, timestamp};
use crate::authenticate::User;
use crate::authorize::{Attributes, On};
use crate::cache::Object;
use crate::controller::{self, Again};
use crate::kinds::certificatesigningrequests::CERTIFICATESIGNINGREQUESTS;
use crate::kinds::nodes::NODES;
use crate::kinds::rbac::{CLUSTERROLEBINDINGS, CLUSTERROLES};
use crate::kinds::values::{child, items, number, string};
use crate::kinds::{Cluster, text};
use crate::pki::request::Requested;
use crate::status::ApiError;
use crate::store::WriteError;
use crate::verbs::update::store;

mod cleaning;
mod forms;

use forms::{CLIENT, CLIENT_KUBELET, KUBELET_SERVING, usages_of};

/// How often it is looked whether requests have stayed long enough.
const CLEAN_EVERY: Duration = Duration::from_secs(10 * 60);

/// How requests are dealt with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Longest lifetime of a certificate.
    pub(crate) duration: Duration,
    /// Whether serving certificates of nodes are approved without a person, if their names are the node's addresses.
    pub(crate) approve_serving: bool,
}

/// Deals with requests until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    // Roles say whose requests are approved, nodes have the addresses that a serving certificate may name.
    let kinds = [&CERTIFICATESIGNINGREQUESTS, &CLUSTERROLEBINDINGS, &CLUSTERROLES, &NODES];
    controller::run(&api, "certificate signing requests", &kinds, || pass(&api)).await;
}

async fn pass(api: &Api) -> Result<Again, ApiError> {
    let now = Timestamp::now();
    let requests = api.cache.list_cached(&prefix(&CERTIFICATESIGNINGREQUESTS, ""));
    let again = if requests.is_empty() { Again::OnChange } else { Again::After(CLEAN_EVERY) };
    for object in requests {
        let request = in_form_of(&CERTIFICATESIGNINGREQUESTS, &object);
        let name = text(&request, "/metadata/name").to_owned();
        let written = if cleaning::is_due(&request, now) {
            api.cache.delete(object.key(), object.revision()).await.map(drop)
        } else {
            let changed = advance(api, &request, now);
            match changed {
                Some(changed) => write(api, &object, changed).await.map(drop),
                None => Ok(()),
            }
        };
        match written {
            // Somebody else was quicker, which is a change.
            Ok(()) | Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => {}
            Err(error) => return Err(ApiError::of_write(error, &CERTIFICATESIGNINGREQUESTS, &name)),
        }
    }
    Ok(again)
}

async fn write(api: &Api, object: &Object, changed: Value) -> Result<Content, WriteError> {
    store(api, &CERTIFICATESIGNINGREQUESTS, object, changed).await
}

/// The request one step further, if it can go one.
fn advance(api: &Api, request: &Value, now: Timestamp) -> Option<Value> {
    let has = |kind: &str| condition(request, kind).is_some();
    if has("Denied") || has("Failed") || !text(request, "/status/certificate").is_empty() {
        return None;
    }
    if has("Approved") { issue(api, request, now) } else { approve(api, request, now) }
}

fn condition<'a>(request: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = items(request.get("status").unwrap_or(&Value::Null), "conditions");
    conditions.iter().find(|c| string(c, "type") == kind)
}

/// The PKCS#10 in a request; it was checked when the request was made.
fn requested(request: &Value) -> Option<Requested> {
    Requested::read(&STANDARD.decode(text(request, "/spec/request")).ok()?).ok()
}

/// Whether a request wants its holder to be in a group. One that cannot be read wants nothing.
pub(crate) fn asks_for_group(request: &Value, group: &str) -> bool {
    requested(request).is_some_and(|r| r.organizations.iter().any(|o| o == group))
}

/// Who made a request.
fn maker(request: &Value) -> User {
    let spec = request.get("spec").unwrap_or(&Value::Null);
    let texts = |list: &[Value]| list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let extra = crate::kinds::values::entries(spec, "extra")
        .map(|(key, values)| (key.clone(), texts(values.as_array().map_or(&[], Vec::as_slice))))
        .collect();
    User {
        name: string(spec, "username").to_owned(),
        uid: string(spec, "uid").to_owned(),
        groups: texts(items(spec, "groups")),
        extra,
    }
}

fn approve(api: &Api, request: &Value, now: Timestamp) -> Option<Value> {
    let asked = requested(request)?;
    let usages = usages_of(request);
    let maker = maker(request);
    let may = |subresource: &str| {
        let on = On::Resource {
            group: "certificates.k8s.io",
            resource: "certificatesigningrequests",
            subresource: Some(subresource),
            namespace: "",
            name: "",
        };
        api.authorizer.allows(&maker, &Attributes { verb: "create", on, fields: None })
    };
    let message = match text(request, "/spec/signerName") {
        CLIENT_KUBELET if forms::client_kubelet(&asked, &usages).is_ok() => {
            if maker.name == asked.common_name && may("selfnodeclient") {
                "Auto approving self kubelet client certificate after SubjectAccessReview."
            } else if may("nodeclient") {
                "Auto approving kubelet client certificate after SubjectAccessReview."
            } else {
                return None;
            }
        }
        KUBELET_SERVING if api.certificates.approve_serving => {
            forms::kubelet_serving(&asked, &usages).ok()?;
            let name = crate::authorize::node_of(&maker).filter(|_| maker.name == asked.common_name)?;
            let node = api.get(&NODES, "", name)?;
            if !forms::names_are_addresses_of(&asked, &node) {
                return None;
            }
            "Auto approving kubelet serving certificate: its names are the node's own addresses."
        }
        _ => return None,
    };
    tracing::info!(request = text(request, "/metadata/name"), user = maker.name, "approved");
    Some(with_condition(request, "Approved", "AutoApproved", message, now))
}

fn issue(api: &Api, request: &Value, now: Timestamp) -> Option<Value> {
    let signer = text(request, "/spec/signerName");
    if ![CLIENT, CLIENT_KUBELET, KUBELET_SERVING].contains(&signer) {
        return None;
    }
    match certificate(api, request, signer, now) {
        Ok(pem) => {
            tracing::info!(request = text(request, "/metadata/name"), signer, "signed");
            let mut issued = request.clone();
            child(&mut issued, "status").insert("certificate".to_owned(), STANDARD.encode(pem).into());
            Some(issued)
        }
        Err(why) => {
            tracing::warn!(request = text(request, "/metadata/name"), signer, why, "not signed");
            Some(with_condition(request, "Failed", "SignerValidationFailure", &why, now))
        }
    }
}

fn certificate(api: &Api, request: &Value, signer: &str, now: Timestamp) -> Result<String, String> {
    let asked = requested(request).ok_or("the request cannot be read")?;
    let usages = usages_of(request);
    match signer {
        CLIENT_KUBELET => forms::client_kubelet(&asked, &usages)?,
        KUBELET_SERVING => forms::kubelet_serving(&asked, &usages)?,
        _ => forms::client(&usages)?,
    }
    let wanted = request.get("spec").and_then(|s| number(s, "expirationSeconds"));
    let wanted = wanted.and_then(|s| u64::try_from(s).ok()).map_or(Duration::MAX, Duration::from_secs);
    let lifetime = wanted.min(api.certificates.duration);
    api.pki.sign(&asked, &usages, lifetime, now).map_err(|error| error.to_string())
}

fn with_condition(request: &Value, kind: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let now = timestamp(now);
    let condition = json!({
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
    });
    let mut changed = request.clone();
    let conditions = child(&mut changed, "status").entry("conditions").or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.push(condition);
    }
    changed
}
