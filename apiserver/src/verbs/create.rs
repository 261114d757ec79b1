//! create.

use jiff::Timestamp;
use serde_json::Value;

use super::{read_body, settle_namespace};
use crate::accounts;
use crate::admission::{self, Operation, Write};
use crate::answer::{Answer, Content};
use crate::api::{Api, Call, Received, key, timestamp};
use crate::kinds::metadata;
use crate::kinds::namespaces::NAMESPACES;
use crate::kinds::pods::ACCOUNTS_PLUGIN;
use crate::kinds::{Cluster, Kind, text};
use crate::random;
use crate::request::options::WriteOptions;
use crate::status::ApiError;
use crate::store::WriteError;

/// How many random names are tried.
const NAME_ATTEMPTS: usize = 8;

pub(crate) async fn create(api: &Api, call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let checked = read_body(&call.kind.body, body, options.field_validation)?;
    let mut object = checked.value;
    settle_namespace(call, &mut object)?;
    if !text(&object, "/metadata/resourceVersion").is_empty() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    admission::sign_by(&call.user, call.kind, &mut object);
    let write = Write {
        user: &call.user,
        kind: call.kind,
        subresource: None,
        name: text(&object, "/metadata/name"),
        operation: Operation::Create(&object),
    };
    admission::admit(api, &write)?;
    if call.kind.plural == "pods" && api.admits(ACCOUNTS_PLUGIN) && !options.dry_run {
        // Refusals are for the pod itself to meet.
        let _ = accounts::default_account(api, call.namespace()).await;
    }
    let content = insert(api, call.kind, object, options.dry_run).await?;
    Ok(Answer { code: 201, content, warnings: checked.warnings })
}

/// Stores a new object whose types have been checked and whose namespace is settled.
pub(crate) async fn insert(
    api: &Api,
    kind: &'static Kind,
    mut object: Value,
    dry_run: bool,
) -> Result<Content, ApiError> {
    let _gate = api.namespace_gate.read().await;
    if kind.namespaced() {
        check_namespace(api, kind, &object)?;
    }
    kind.prepare_create(&mut object);
    kind.defaults(&mut object);
    let fields = metadata::of(&mut object);
    fields.insert("uid".to_owned(), random::uid().into());
    fields.insert("creationTimestamp".to_owned(), timestamp(Timestamp::now()).into());

    let prefix = text(&object, "/metadata/generateName").to_owned();
    let generated = text(&object, "/metadata/name").is_empty() && !prefix.is_empty();
    let mut attempts = if generated { NAME_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let mut candidate = object.clone();
        if generated {
            metadata::of(&mut candidate).insert("name".to_owned(), random::name(&prefix).into());
        }
        match insert_named(api, kind, candidate, dry_run).await {
            Err(refusal) if refusal.reason == "AlreadyExists" && generated => {
                if attempts == 0 {
                    let name = refusal.details.as_ref().map_or("", |d| text(d, "/name"));
                    return Err(ApiError::generated_name_exists(kind, name));
                }
            }
            other => return other,
        }
    }
}

async fn insert_named(
    api: &Api,
    kind: &'static Kind,
    mut object: Value,
    dry_run: bool,
) -> Result<Content, ApiError> {
    let name = text(&object, "/metadata/name").to_owned();
    let key = key(kind, text(&object, "/metadata/namespace"), &name);
    // What admission looks at must not change until the object is stored: two services must not get the same address.
    let _allocation = api.allocation(kind).await;
    kind.admit_create(&mut object, api).map_err(|error| ApiError::of_admission(error, kind, &name))?;
    let errors = kind.validate_create(&object);
    if !errors.is_empty() {
        return Err(ApiError::invalid(kind, &name, &errors));
    }
    if dry_run {
        return match api.cache.get(&key).await? {
            Some(_) => Err(ApiError::already_exists(kind, &name)),
            None => Ok(Content::Object(object)),
        };
    }
    kind.to_storage(&mut object);
    match api.cache.create(&key, object).await {
        Ok(stored) => Ok(Content::Stored(stored)),
        Err(error @ WriteError::AlreadyExists { .. }) => Err(match api.cache.get(&key).await? {
            Some(current) if !text(&current.value(), "/metadata/deletionTimestamp").is_empty() => {
                let mut refusal = ApiError::of_write(error, kind, &name);
                refusal.message = format!("object is being deleted: {}", refusal.message);
                refusal
            }
            _ => ApiError::of_write(error, kind, &name),
        }),
        Err(error) => Err(ApiError::of_write(error, kind, &name)),
    }
}

/// Nothing is created in a namespace that does not exist or goes away.
fn check_namespace(api: &Api, kind: &Kind, object: &Value) -> Result<(), ApiError> {
    let namespace = text(object, "/metadata/namespace");
    let Some(found) = api.get(&NAMESPACES, "", namespace) else {
        return Err(ApiError::not_found(&NAMESPACES, namespace));
    };
    if text(&found, "/metadata/deletionTimestamp").is_empty() {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut refusal = ApiError::forbidden(kind, text(object, "/metadata/name"), &why);
    if let Some(details) = &mut refusal.details {
        let message = format!("namespace {namespace} is being terminated");
        details["causes"] = serde_json::json!([{ "reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace" }]);
    }
    Err(refusal)
}
