//! `selfsubjectaccessreviews`: may I?

use serde_json::{Value, json};

use crate::answer::{Answer, Content};
use crate::api::{Call, Received};
use crate::authorize::{Attributes, On, allows};
use crate::kinds::text;
use crate::request::options::WriteOptions;
use crate::status::ApiError;
use crate::verbs::read_body;

pub(crate) fn review(call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let checked = read_body(&call.kind.body, body, options.field_validation)?;
    let mut review = checked.value;
    let attribute = |name: &str| text(&review, &format!("/spec/resourceAttributes/{name}"));
    let subresource = attribute("subresource");
    let on = match review.pointer("/spec/resourceAttributes") {
        Some(Value::Object(_)) => On::Resource {
            group: attribute("group"),
            resource: attribute("resource"),
            subresource: Some(subresource).filter(|s| !s.is_empty()),
            namespace: attribute("namespace"),
            name: attribute("name"),
        },
        _ => On::Path(text(&review, "/spec/nonResourceAttributes/path")),
    };
    let verb = match on {
        On::Resource { .. } => attribute("verb"),
        On::Path(_) => text(&review, "/spec/nonResourceAttributes/verb"),
    };
    let allowed = allows(&call.user, &Attributes { verb, on });
    review["status"] = json!({ "allowed": allowed });
    Ok(Answer { code: 201, content: Content::Plain(review), warnings: checked.warnings })
}
