//! Acting as somebody else (`kubectl --as`), for who has the right `impersonate` on what he wants to be.

use std::collections::BTreeMap;

use http::HeaderMap;
use percent_encoding::percent_decode_str;

use crate::authenticate::{ANONYMOUS, User};
use crate::authorize::{Attributes, Authorizer, On};
use crate::status::ApiError;

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA_PREFIX: &str = "impersonate-extra-";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Who the request is to be looked at as: the caller, unless the headers say somebody else.
pub(crate) fn impersonate(
    caller: User,
    headers: &HeaderMap,
    authorizer: &Authorizer,
) -> Result<User, ApiError> {
    let Some(wanted) = wanted(headers)? else { return Ok(caller) };
    let may = |group: &str, resource: &str, subresource: Option<&str>, namespace: &str, name: &str| {
        let on = On::Resource { group, resource, subresource, namespace, name };
        authorizer.authorize(&caller, &Attributes { verb: "impersonate", on, fields: None })
    };
    match service_account(&wanted.name) {
        Some((namespace, name)) => may("", "serviceaccounts", None, namespace, name)?,
        None => may("", "users", None, "", &wanted.name)?,
    }
    for group in &wanted.groups {
        may("", "groups", None, "", group)?;
    }
    for (key, values) in &wanted.extra {
        for value in values {
            may(AUTHENTICATION, "userextras", Some(key), "", value)?;
        }
    }
    if !wanted.uid.is_empty() {
        may(AUTHENTICATION, "uids", None, "", &wanted.uid)?;
    }
    let User { name, uid, mut groups, extra } = wanted;
    if name == ANONYMOUS {
        return Ok(User::anonymous());
    }
    if let (Some((namespace, _)), true) = (service_account(&name), groups.is_empty()) {
        groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
    }
    Ok(User { extra, ..User::authenticated(name, uid, groups) })
}

fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':').filter(|(n, a)| !n.is_empty() && !a.is_empty())
}

/// What the headers ask for; the groups are those that they name.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, ApiError> {
    let all = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect()
    };
    let one = |name: &str| all(name).into_iter().next().unwrap_or_default();
    let (name, uid, groups) = (one(USER), one(UID), all(GROUP));
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in headers.keys() {
        if let Some(encoded) = key.as_str().strip_prefix(EXTRA_PREFIX) {
            let decoded = percent_decode_str(encoded).decode_utf8_lossy().to_lowercase();
            extra.entry(decoded).or_default().extend(all(key.as_str()));
        }
    }
    if name.is_empty() {
        if uid.is_empty() && groups.is_empty() && extra.is_empty() {
            return Ok(None);
        }
        let message = "requested impersonation without impersonating a user";
        return Err(ApiError::internal(message));
    }
    Ok(Some(User { name, uid, groups, extra }))
}

#[cfg(test)]
mod tests;
