//! `pods/eviction`: a delete that asks first. There are no disruption budgets yet that could say no.

use serde_json::Value;

use crate::answer::{Answer, Content};
use crate::api::{Api, Call, Received};
use crate::authorize::restrict_node;
use crate::kinds::pods::EVICTION;
use crate::kinds::text;
use crate::request::options::{DeleteOptions, WriteOptions};
use crate::status::{ApiError, success};
use crate::verbs::{delete::delete_one, read_body};

pub(crate) async fn evict(api: &Api, call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let checked = read_body(&EVICTION, body, options.field_validation)?;
    if text(&checked.value, "/metadata/name") != call.name() {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut delete = match checked.value.get("deleteOptions") {
        Some(given @ Value::Object(_)) => DeleteOptions::of_body(given)?,
        _ => DeleteOptions::default(),
    };
    delete.dry_run |= options.dry_run;
    let pod = api.stored(call.kind, call.namespace(), call.name()).await?.value();
    restrict_node(&call.user, "create", call.kind.plural, Some("eviction"), &pod)
        .map_err(|why| ApiError::forbidden(call.kind, call.name(), &why))?;
    delete_one(api, &call.user, call.kind, call.namespace(), call.name(), &delete).await?;
    Ok(Answer { code: 201, content: Content::Plain(success(201)), warnings: checked.warnings })
}
