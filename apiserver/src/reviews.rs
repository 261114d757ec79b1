//! Reviews: who am I, whose token is this, may I, may somebody, what may I.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::answer::{Answer, Content};
use crate::api::{Api, Call, Received};
use crate::authenticate::User;
use crate::authorize::rules::Rule;
use crate::authorize::{Attributes, MASTERS, On, node_of};
use crate::kinds::field::Path;
use crate::kinds::values::{entries, items, string};
use crate::kinds::{FieldError, text};
use crate::request::options::WriteOptions;
use crate::status::ApiError;
use crate::verbs::{read_body, settle_namespace};

/// Answers a review of any kind.
pub(crate) fn review(api: &Api, call: &Call, body: &Received) -> Result<Answer, ApiError> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let checked = read_body(&call.kind.body, body, options.field_validation)?;
    let mut review = checked.value;
    let status = match call.kind.plural {
        "selfsubjectreviews" => json!({ "userInfo": call.user.to_object() }),
        "tokenreviews" => token(api, &review)?,
        "selfsubjectrulesreviews" => rules(api, call, &review)?,
        "selfsubjectaccessreviews" => access(api, call, &call.user, &review)?,
        "localsubjectaccessreviews" => {
            settle_namespace(call, &mut review)?;
            let asked = text(&review, "/spec/resourceAttributes/namespace");
            if asked != call.namespace() {
                let path = Path::new("spec").child("resourceAttributes").child("namespace");
                let detail = "must match metadata.namespace";
                return Err(ApiError::invalid(call.kind, "", &[FieldError::invalid(&path, asked, detail)]));
            }
            access(api, call, &subject(call, &review)?, &review)?
        }
        _ => access(api, call, &subject(call, &review)?, &review)?,
    };
    review["status"] = status;
    Ok(Answer { code: 201, content: Content::Plain(review), warnings: checked.warnings })
}

/// Whom a review asks about.
fn subject(call: &Call, review: &Value) -> Result<User, ApiError> {
    let spec = review.get("spec").unwrap_or(&Value::Null);
    let texts = |list: &[Value]| -> Vec<String> {
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let (name, groups) = (string(spec, "user"), texts(items(spec, "groups")));
    if name.is_empty() && groups.is_empty() {
        let detail = "at least one of user or group must be specified";
        let path = Path::new("spec").child("user");
        return Err(ApiError::invalid(call.kind, "", &[FieldError::invalid(&path, name, detail)]));
    }
    let extra: BTreeMap<String, Vec<String>> = entries(spec, "extra")
        .map(|(key, values)| (key.clone(), texts(values.as_array().map_or(&[], Vec::as_slice))))
        .collect();
    Ok(User { name: name.to_owned(), uid: string(spec, "uid").to_owned(), groups, extra })
}

fn access(api: &Api, call: &Call, user: &User, review: &Value) -> Result<Value, ApiError> {
    let spec = review.get("spec").unwrap_or(&Value::Null);
    let on_resource = spec.get("resourceAttributes").filter(|a| a.is_object());
    let on_path = spec.get("nonResourceAttributes").filter(|a| a.is_object());
    let (verb, on) = match (on_resource, on_path) {
        (Some(asked), None) => {
            let on = On::Resource {
                group: string(asked, "group"),
                resource: string(asked, "resource"),
                subresource: Some(string(asked, "subresource")).filter(|s| !s.is_empty()),
                namespace: string(asked, "namespace"),
                name: string(asked, "name"),
            };
            (string(asked, "verb"), on)
        }
        (None, Some(asked)) => (string(asked, "verb"), On::Path(string(asked, "path"))),
        (both, _) => {
            let path = Path::new("spec").child("resourceAttributes");
            let shown = both.unwrap_or(&Value::Null);
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            return Err(ApiError::invalid(call.kind, "", &[FieldError::invalid(&path, shown, detail)]));
        }
    };
    let decision = api.authorizer.decide(user, &Attributes { verb, on, fields: None });
    let mut status = json!({ "allowed": decision.allowed });
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    Ok(status)
}

fn token(api: &Api, review: &Value) -> Result<Value, ApiError> {
    let token = text(review, "/spec/token");
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let asked = items(review.get("spec").unwrap_or(&Value::Null), "audiences");
    let asked: Vec<String> = asked.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let wanted = if asked.is_empty() { &api.issuer.settings.audiences } else { &asked };
    Ok(match api.user_of_token(token, wanted) {
        Ok((user, audiences)) => {
            json!({ "authenticated": true, "user": user.to_object(), "audiences": audiences })
        }
        Err(why) => json!({ "user": {}, "error": why }),
    })
}

fn rules(api: &Api, call: &Call, review: &Value) -> Result<Value, ApiError> {
    let namespace = text(review, "/spec/namespace");
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let all = || vec!["*".to_owned()];
    let held = if call.user.in_group(MASTERS) {
        vec![
            Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
            Rule { verbs: all(), paths: all(), ..Rule::default() },
        ]
    } else {
        api.authorizer.policy().rules_of(&call.user, namespace)
    };
    let resources: Vec<Value> = held
        .iter()
        .filter(|rule| !rule.resources.is_empty())
        .map(|rule| {
            let mut shown =
                json!({ "verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources });
            if !rule.names.is_empty() {
                shown["resourceNames"] = json!(rule.names);
            }
            shown
        })
        .collect();
    let paths: Vec<Value> = held
        .iter()
        .filter(|rule| !rule.paths.is_empty())
        .map(|rule| json!({ "verbs": rule.verbs, "nonResourceURLs": rule.paths }))
        .collect();
    let mut status = json!({ "resourceRules": resources, "nonResourceRules": paths, "incomplete": false });
    if node_of(&call.user).is_some() {
        status["incomplete"] = true.into();
        status["evaluationError"] = "node authorizer does not support user rule resolution".into();
    }
    Ok(status)
}
