//! Each signer signs what has its form.

use serde_json::json;

use super::{client, client_kubelet, kubelet_serving, names_are_addresses_of};
use crate::pki::request::Requested;

fn node(adjust: impl FnOnce(&mut Requested)) -> Requested {
    let mut asked = Requested {
        common_name: "system:node:n".to_owned(),
        organizations: vec!["system:nodes".to_owned()],
        ..Requested::default()
    };
    adjust(&mut asked);
    asked
}

const CLIENT: &[&str] = &["digital signature", "client auth"];
const SERVING: &[&str] = &["digital signature", "server auth"];

#[test]
fn a_client_certificate_names_a_node_and_nothing_else() {
    assert_eq!(client_kubelet(&node(|_| ()), CLIENT), Ok(()));
    assert_eq!(
        client_kubelet(&node(|_| ()), &["client auth", "key encipherment", "digital signature"]),
        Ok(())
    );
    let refused: [(Requested, &[&str]); 13] = [
        (node(|a| a.common_name = "system:node:".to_owned()), CLIENT),
        (node(|a| a.common_name = "n".to_owned()), CLIENT),
        (node(|a| a.organizations.clear()), CLIENT),
        (node(|a| a.organizations = vec!["system:masters".to_owned()]), CLIENT),
        (node(|a| a.organizations.push("system:masters".to_owned())), CLIENT),
        (node(|a| a.more_subject = true), CLIENT),
        (node(|a| a.dns_names = vec!["n".to_owned()]), CLIENT),
        (node(|a| a.addresses = vec!["192.0.2.1".parse().unwrap()]), CLIENT),
        (node(|a| a.emails = 1), CLIENT),
        (node(|a| a.uris = 1), CLIENT),
        (node(|a| a.other_names = 1), CLIENT),
        (node(|_| ()), SERVING),
        (node(|_| ()), &["digital signature", "client auth", "server auth"]),
    ];
    for (asked, usages) in refused {
        assert!(client_kubelet(&asked, usages).is_err(), "{asked:?} {usages:?}");
    }
    assert!(client_kubelet(&node(|_| ()), &["client auth"]).is_err());
}

#[test]
fn a_serving_certificate_has_names_and_addresses_only() {
    let named = |adjust: fn(&mut Requested)| {
        node(|a| {
            a.dns_names = vec!["n".to_owned()];
            adjust(a);
        })
    };
    assert_eq!(kubelet_serving(&named(|_| ()), SERVING), Ok(()));
    assert_eq!(
        kubelet_serving(&named(|_| ()), &["key encipherment", "server auth", "digital signature"]),
        Ok(())
    );
    assert_eq!(kubelet_serving(&node(|_| ()), SERVING), Err("DNS or IP subjectAltName is required"));
    assert_eq!(
        kubelet_serving(&named(|a| a.emails = 1), SERVING),
        Err("Email subjectAltNames are not allowed")
    );
    assert_eq!(kubelet_serving(&named(|a| a.uris = 1), SERVING), Err("URI subjectAltNames are not allowed"));
    assert!(kubelet_serving(&named(|a| a.other_names = 1), SERVING).is_err());
    assert!(kubelet_serving(&named(|_| ()), CLIENT).is_err());
    assert!(kubelet_serving(&named(|a| a.organizations.clear()), SERVING).is_err());
}

#[test]
fn the_names_of_a_serving_certificate_are_the_nodes_own() {
    let object = json!({ "status": { "addresses": [
        { "type": "InternalIP", "address": "192.0.2.1" },
        { "type": "InternalIP", "address": "2001:db8:0::1" },
        { "type": "Hostname", "address": "n" },
    ] } });
    let fits = |names: &[&str], addresses: &[&str]| {
        let asked = node(|a| {
            a.dns_names = names.iter().map(|n| (*n).to_owned()).collect();
            a.addresses = addresses.iter().map(|n| n.parse().unwrap()).collect();
        });
        names_are_addresses_of(&asked, &object)
    };
    assert!(fits(&["n"], &["192.0.2.1", "2001:db8::1"]) && fits(&["N"], &[]) && fits(&[], &["192.0.2.1"]));
    assert!(!fits(&["m"], &[]) && !fits(&["n", "m"], &[]) && !fits(&["n"], &["192.0.2.2"]));
    assert!(!fits(&["192.0.2.1"], &[]), "an address is no name");
    assert!(!names_are_addresses_of(&node(|a| a.dns_names = vec!["n".to_owned()]), &json!({})));
}

#[test]
fn users_ask_for_client_certificates() {
    assert_eq!(client(CLIENT), Ok(()));
    assert!(client(SERVING).is_err() && client(&["client auth", "server auth"]).is_err());
}
