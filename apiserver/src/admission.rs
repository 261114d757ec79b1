//! What a caller may do to an object, beyond having the right to write objects of its kind: nodes write what is theirs
//! ([`nodes`]), nobody gives away rights that he lacks ([`roles`]), and signers have permissions of their own ([`signers`]).
//!
//! Comes after the caller was authorized and the object was read, before it is stored.

use serde_json::Value;

use crate::api::Api;
use crate::authenticate::User;
use crate::authorize::{Attributes, MASTERS, On};
use crate::kinds::{Kind, text};
use crate::status::ApiError;

mod nodes;
mod roles;
mod signers;

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    Create(&'a Value),
    Update { old: &'a Value, new: &'a Value },
    Delete(&'a Value),
}

/// A write that is to be let through.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Write<'a> {
    pub(crate) user: &'a User,
    pub(crate) kind: &'a Kind,
    pub(crate) subresource: Option<&'a str>,
    /// In the path; empty where a new object brings it.
    pub(crate) name: &'a str,
    pub(crate) operation: Operation<'a>,
}

impl Write<'_> {
    fn forbidden(&self, why: &str) -> ApiError {
        ApiError::forbidden(self.kind, self.name, why)
    }
}

/// Lets a write through, or says why not.
pub(crate) fn admit(api: &Api, write: &Write<'_>) -> Result<(), ApiError> {
    if write.user.in_group(MASTERS) {
        return Ok(());
    }
    let may_ask = |audience: &str| {
        let Operation::Create(request) = write.operation else { return false };
        let (namespace, name) = (text(request, "/metadata/namespace"), write.name);
        let on = On::Resource { group: "", resource: audience, subresource: None, namespace, name };
        let verb = "request-serviceaccounts-token-audience";
        api.authorizer.allows(write.user, &Attributes { verb, on, fields: None })
    };
    nodes::restrict(write, api, &may_ask)?;
    roles::confirm(write, &api.authorizer)?;
    signers::confirm(write, &api.authorizer)
}

/// Completes a new object with who makes it.
pub(crate) fn sign_by(user: &User, kind: &Kind, object: &mut Value) {
    if kind.plural == "certificatesigningrequests" {
        signers::sign_by(user, object);
    }
}
