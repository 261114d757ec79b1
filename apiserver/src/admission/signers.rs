//! Certificate signing requests: who makes one is written into it, and approving and signing need a permission on the signer.

use serde_json::Value;

use super::{Operation, Write};
use crate::authenticate::User;
use crate::authorize::{Attributes, Authorizer, On};
use crate::kinds::text;
use crate::kinds::values::child;
use crate::status::ApiError;

const GROUP: &str = "certificates.k8s.io";

/// Writes into a new request who makes it.
pub(super) fn sign_by(user: &User, request: &mut Value) {
    let Value::Object(who) = user.to_object() else { return };
    let spec = child(request, "spec");
    for field in ["username", "uid", "groups", "extra"] {
        match who.get(field) {
            Some(value) => spec.insert(field.to_owned(), value.clone()),
            None => spec.remove(field),
        };
    }
}

/// Refuses an approval or a signature by who has no permission on the signer.
pub(super) fn confirm(write: &Write<'_>, authorizer: &Authorizer) -> Result<(), ApiError> {
    if (write.kind.body.group, write.kind.plural) != (GROUP, "certificatesigningrequests") {
        return Ok(());
    }
    let Operation::Update { old, new } = write.operation else { return masters(write) };
    let verb = match write.subresource {
        Some("approval") => "approve",
        Some("status") if old.get("status") != new.get("status") => "sign",
        _ => return Ok(()),
    };
    let signer = text(old, "/spec/signerName");
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    let may = |name: &str| {
        let on = On::Resource { group: GROUP, resource: "signers", subresource: None, namespace: "", name };
        authorizer.allows(write.user, &Attributes { verb, on, fields: None })
    };
    if may(signer) || may(&format!("{domain}/*")) {
        return Ok(());
    }
    Err(write.forbidden(&format!("user not permitted to {verb} requests with signerName \"{signer}\"")))
}

/// A client certificate that makes its holder `system:masters` is not asked for (as upstream's CertificateSubjectRestriction).
fn masters(write: &Write<'_>) -> Result<(), ApiError> {
    let Operation::Create(request) = write.operation else { return Ok(()) };
    if text(request, "/spec/signerName") != "kubernetes.io/kube-apiserver-client" {
        return Ok(());
    }
    if crate::certificates::asks_for_group(request, "system:masters") {
        let why =
            "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed";
        return Err(ApiError::forbidden(write.kind, text(request, "/metadata/name"), why));
    }
    Ok(())
}
