//! `serviceaccounts/NAME/token`: makes a token.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::claims::{Bound, Claims, Reference};
use super::{Issuer, Settings};
use crate::admission::{self, Operation, Write};
use crate::answer::{Answer, Content};
use crate::api::{Api, Call, Received, timestamp};
use crate::kinds::field::Path;
use crate::kinds::nodes::NODES;
use crate::kinds::pods::PODS;
use crate::kinds::secrets::SECRETS;
use crate::kinds::serviceaccounts::{SERVICEACCOUNTS, TOKEN_REQUEST};
use crate::kinds::values::{child, default, items, number, string};
use crate::kinds::{Cluster, FieldError, Kind, metadata, text};
use crate::request::options::WriteOptions;
use crate::status::ApiError;
use crate::verbs::{read_body, settle_namespace};

/// Shortest, longest and usual lifetime, in seconds (as upstream).
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
const USUAL: i64 = 3600;
/// The lifetime that admission asks for in the usual token of a pod: by it such a token is known.
pub(crate) const POD_SECONDS: i64 = 3607;
/// How long such a token is accepted: programs that read their token once are given a year to learn better.
const EXTENDED: i64 = 365 * 24 * 60 * 60;

pub(crate) async fn create(api: &Api, call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let checked = read_body(&TOKEN_REQUEST, body, options.field_validation)?;
    let (mut request, mut warnings) = (checked.value, checked.warnings);
    let (name, issuer) = (call.name(), &api.issuer);
    settle_namespace(call, &mut request)?;
    let given = text(&request, "/metadata/name");
    if !given.is_empty() && given != name {
        let path = Path::new("metadata").child("name");
        let error = FieldError::invalid(&path, given, "must match the service account name if specified");
        return Err(invalid(name, &[error]));
    }
    metadata::of(&mut request).insert("name".to_owned(), name.into());
    default(child(&mut request, "spec"), "expirationSeconds", USUAL);
    let (user, kind, subresource) = (&call.user, call.kind, call.subresource());
    let operation = Operation::Create(&request);
    admission::admit(api, &Write { user, kind, subresource, name, operation })?;
    let account = api.stored(&SERVICEACCOUNTS, call.namespace(), name).await?.value();
    if items(&request["spec"], "audiences").is_empty() {
        request["spec"]["audiences"] = json!(issuer.settings.audiences);
    }
    let now = Timestamp::now();
    check(expiration(&request))?;
    let bound = bound(&request, call.namespace(), api)?;
    warnings.extend(shorten(&mut request, &issuer.settings));
    let claims = claims(&request, &account, bound, &issuer.settings, now);
    let token = sign(issuer, &claims)?;
    let seconds = SignedDuration::from_secs(expiration(&request));
    let fields = metadata::of(&mut request);
    fields.insert("creationTimestamp".to_owned(), timestamp(now).into());
    let expires = timestamp(now.saturating_add(seconds).unwrap_or(now));
    request["status"] = json!({ "token": token, "expirationTimestamp": expires });
    Ok(Answer { code: 201, content: Content::Plain(request), warnings })
}

fn invalid(name: &str, errors: &[FieldError]) -> ApiError {
    ApiError::invalid_kind(TOKEN_REQUEST.group, TOKEN_REQUEST.kind, name, errors)
}

fn expiration(request: &Value) -> i64 {
    number(&request["spec"], "expirationSeconds").unwrap_or(USUAL)
}

fn sign(issuer: &Issuer, claims: &Claims) -> Result<String, ApiError> {
    issuer.key.sign(&claims.written()).map_err(ApiError::internal)
}

/// Keeps to the longest lifetime of the server's settings; the warning that this makes.
fn shorten(request: &mut Value, settings: &Settings) -> Option<String> {
    let (asked, longest) = (expiration(request), settings.longest?);
    if asked <= longest {
        return None;
    }
    request["spec"]["expirationSeconds"] = longest.into();
    Some(format!("requested expiration of {asked} seconds shortened to {longest} seconds"))
}

/// Refuses a lifetime that is out of bounds.
fn check(seconds: i64) -> Result<(), ApiError> {
    let detail = match seconds {
        i64::MIN..SHORTEST => Some("may not specify a duration less than 10 minutes"),
        SHORTEST..=LONGEST => None,
        _ => Some("may not specify a duration larger than 2^32 seconds"),
    };
    let path = Path::new("spec").child("expirationSeconds");
    detail.map_or(Ok(()), |detail| Err(invalid("", &[FieldError::invalid(&path, seconds, detail)])))
}

/// What a token is to say.
fn claims(request: &Value, account: &Value, bound: Bound, settings: &Settings, now: Timestamp) -> Claims {
    let seconds = expiration(request);
    let audiences: Vec<String> =
        items(&request["spec"], "audiences").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let ours = audiences.iter().all(|a| settings.audiences.contains(a));
    let usual = seconds == POD_SECONDS && ours && matches!(bound, Bound::Pod(..));
    let lifetime = if settings.extend && usual { (EXTENDED, Some(POD_SECONDS)) } else { (seconds, None) };
    Claims::new(account, bound, &settings.issuer, audiences, lifetime, now)
}

/// The object that the token is to be bound to, which must be there.
fn bound(request: &Value, namespace: &str, cluster: &dyn Cluster) -> Result<Bound, ApiError> {
    let Some(wanted) = request.pointer("/spec/boundObjectRef").filter(|r| r.is_object()) else {
        return Ok(Bound::Nothing);
    };
    let name = string(wanted, "name");
    let get = |kind: &Kind, namespace: &str, name: &str| {
        cluster.get(kind, namespace, name).ok_or_else(|| ApiError::not_found(kind, name))
    };
    let (version, kind) = (string(wanted, "apiVersion"), string(wanted, "kind"));
    let (found, bound) = match (version, kind) {
        ("v1" | "", "Pod") => {
            let pod = get(&PODS, namespace, name)?;
            let account = text(request, "/metadata/name");
            if text(&pod, "/spec/serviceAccountName") != account {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount \"{account}\" to pod running with different serviceaccount name."
                )));
            }
            let node = Some(text(&pod, "/spec/nodeName")).filter(|n| !n.is_empty()).map(|node| {
                let nameless = || Reference { name: node.to_owned(), uid: String::new() };
                cluster.get(&NODES, "", node).map_or_else(nameless, |found| Reference::to(&found))
            });
            let bound = Bound::Pod(Reference::to(&pod), node);
            (pod, bound)
        }
        ("v1" | "", "Secret") => {
            let secret = get(&SECRETS, namespace, name)?;
            let bound = Bound::Secret(Reference::to(&secret));
            (secret, bound)
        }
        ("v1" | "", "Node") => {
            let node = get(&NODES, "", name)?;
            let bound = Bound::Node(Reference::to(&node));
            (node, bound)
        }
        _ => {
            let message = format!("cannot bind token to object of type {version}, Kind={kind}");
            return Err(ApiError::bad_request(message));
        }
    };
    let (asked, uid) = (string(wanted, "uid"), text(&found, "/metadata/uid"));
    if !asked.is_empty() && asked != uid {
        let why = format!(
            "the UID in the bound object reference ({asked}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        let mut refusal = ApiError::conflict(&SERVICEACCOUNTS, name, &why);
        refusal.message = format!("Operation cannot be fulfilled on {kind} \"{name}\": {why}");
        refusal.details = Some(json!({ "name": name, "kind": kind }));
        return Err(refusal);
    }
    Ok(bound)
}

#[cfg(test)]
mod tests;
