//! What the signers of a cluster ask of a request (as upstream).

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::kinds::values::{items, string};
use crate::pki::request::Requested;

/// Certificates of users, which a person approves.
pub(super) const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Certificates with which nodes introduce themselves.
pub(super) const CLIENT_KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Certificates with which nodes serve.
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";

const USER_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";

/// What a certificate is to be used for.
pub(super) fn usages_of(request: &Value) -> Vec<&str> {
    let spec = request.get("spec").unwrap_or(&Value::Null);
    items(spec, "usages").iter().filter_map(Value::as_str).collect()
}

type Verdict = Result<(), &'static str>;

/// Names a node and nothing else, in a subject that says nothing more.
fn of_a_node(asked: &Requested) -> Verdict {
    if asked.organizations != [GROUP] {
        return Err("subject organization is not system:nodes");
    }
    if !asked.common_name.starts_with(USER_PREFIX) {
        return Err("subject common name does not begin with system:node:");
    }
    if asked.common_name.len() == USER_PREFIX.len() {
        return Err("subject common name does not name a node");
    }
    if asked.more_subject {
        return Err("subject has more than a common name and an organization");
    }
    Ok(())
}

fn no_odd_names(asked: &Requested) -> Verdict {
    if asked.emails > 0 {
        return Err("Email subjectAltNames are not allowed");
    }
    if asked.uris > 0 {
        return Err("URI subjectAltNames are not allowed");
    }
    if asked.other_names > 0 {
        return Err("subjectAltNames other than DNS names and IPs are not allowed");
    }
    Ok(())
}

/// The usages are these two, or these two and the one that RSA keys need.
fn are(usages: &[&str], purpose: &str) -> bool {
    let usages: BTreeSet<&str> = usages.iter().copied().collect();
    let mut expected = BTreeSet::from(["digital signature", purpose]);
    let without_rsa = usages == expected;
    expected.insert("key encipherment");
    without_rsa || usages == expected
}

pub(super) fn client_kubelet(asked: &Requested, usages: &[&str]) -> Verdict {
    of_a_node(asked)?;
    if !asked.dns_names.is_empty() {
        return Err("DNS subjectAltNames are not allowed");
    }
    if !asked.addresses.is_empty() {
        return Err("IP subjectAltNames are not allowed");
    }
    no_odd_names(asked)?;
    if are(usages, "client auth") {
        Ok(())
    } else {
        Err("usages did not match [client auth digital signature key encipherment]")
    }
}

pub(super) fn kubelet_serving(asked: &Requested, usages: &[&str]) -> Verdict {
    of_a_node(asked)?;
    if asked.dns_names.is_empty() && asked.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required");
    }
    no_odd_names(asked)?;
    if are(usages, "server auth") {
        Ok(())
    } else {
        Err("usages did not match [digital signature key encipherment server auth]")
    }
}

/// Clients of the API server: a signature is enough to introduce oneself.
pub(super) fn client(usages: &[&str]) -> Verdict {
    const ALLOWED: &[&str] = &["digital signature", "key encipherment", "client auth"];
    if !usages.contains(&"client auth") {
        return Err("expected usage \"client auth\" in the request");
    }
    if usages.iter().all(|usage| ALLOWED.contains(usage)) {
        Ok(())
    } else {
        Err("usages other than digital signature, key encipherment and client auth are not supported")
    }
}

/// Whether a node's object has every name and address of the request.
pub(super) fn names_are_addresses_of(asked: &Requested, node: &Value) -> bool {
    let addresses = items(node.get("status").unwrap_or(&Value::Null), "addresses");
    let has = |kinds: &[&str], fits: &dyn Fn(&str) -> bool| {
        let of_kind = |a: &&Value| kinds.contains(&string(a, "type"));
        addresses.iter().filter(of_kind).any(|a| fits(string(a, "address")))
    };
    let named = |name: &String| {
        has(&["Hostname", "InternalDNS", "ExternalDNS"], &|known| known.eq_ignore_ascii_case(name))
    };
    let addressed = |address: &IpAddr| {
        has(&["InternalIP", "ExternalIP"], &|known| known.parse::<IpAddr>().is_ok_and(|k| k == *address))
    };
    asked.dns_names.iter().all(named) && asked.addresses.iter().all(addressed)
}

#[cfg(test)]
mod tests;
