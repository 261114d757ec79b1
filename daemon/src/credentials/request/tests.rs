use serde_json::json;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use super::*;

fn address(kind: &str, address: &str) -> NodeAddress {
    NodeAddress { type_: kind.to_owned(), address: address.to_owned() }
}

fn der(object: &CertificateSigningRequest) -> Vec<u8> {
    use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
    CertificateSigningRequestDer::from_pem_slice(&object.spec.request.0).unwrap().to_vec()
}

#[test]
fn a_client_request_has_the_subject_signer_and_usages_of_a_kubelet() {
    let key = KeyPair::generate().unwrap();
    let object = Wanted::client("n1").object(&key).unwrap();
    assert_eq!(object.spec.signer_name, "kubernetes.io/kube-apiserver-client-kubelet");
    assert_eq!(object.spec.usages.clone().unwrap(), ["digital signature", "client auth"]);
    let der = der(&object);
    let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
    let subject = &request.certification_request_info.subject;
    assert_eq!(subject.iter_common_name().next().unwrap().as_str().unwrap(), "system:node:n1");
    assert_eq!(
        subject.iter_organization().map(|o| o.as_str().unwrap()).collect::<Vec<_>>(),
        ["system:nodes"]
    );
    assert_eq!(subject.iter().count(), 2);
    assert!(request.requested_extensions().is_none_or(|mut extensions| extensions.next().is_none()));
}

#[test]
fn the_same_key_and_wish_make_the_same_name_and_others_another() {
    let (one, two) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let client = Wanted::client("n1");
    let name = client.request_name(&one);
    assert!(name.starts_with("node-csr-") && name.len() == "node-csr-".len() + 43, "{name}");
    let again = KeyPair::from_pem(&one.serialize_pem()).unwrap();
    assert_eq!(client.request_name(&again), name);
    assert_ne!(client.request_name(&two), name);
    assert_ne!(Wanted::client("n2").request_name(&one), name);
    let serving = |ip| Wanted::serving("n1", &[address("InternalIP", ip)]).unwrap().request_name(&one);
    assert_ne!(serving("192.0.2.1"), serving("192.0.2.2"));
}

#[test]
fn a_serving_request_names_all_addresses_and_waits_for_one_that_is_an_ip() {
    assert_eq!(Wanted::serving("n1", &[address("Hostname", "n1")]), None);
    let addresses =
        [address("InternalIP", "192.0.2.7"), address("Hostname", "n1"), address("InternalIP", "2001:DB8::7")];
    let wanted = Wanted::serving("n1", &addresses).unwrap();
    assert_eq!(wanted.names, ["192.0.2.7", "2001:db8::7", "n1"]);
    let object = wanted.object(&KeyPair::generate().unwrap()).unwrap();
    assert_eq!(object.spec.signer_name, "kubernetes.io/kubelet-serving");
    assert_eq!(object.spec.usages.clone().unwrap(), ["digital signature", "server auth"]);
    let der = der(&object);
    let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
    let names: Vec<String> = request
        .requested_extensions()
        .unwrap()
        .filter_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        })
        .flatten()
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => format!("{} bytes", bytes.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["4 bytes", "16 bytes", "n1"]);
}

#[test]
fn answers_are_told_apart_by_their_conditions() {
    let of = |status: serde_json::Value| {
        let object =
            json!({ "metadata": {}, "spec": { "request": "", "signerName": "s" }, "status": status });
        Answer::of(&serde_json::from_value(object).unwrap())
    };
    let condition =
        |kind: &str| json!({ "type": kind, "status": "True", "reason": "Why", "message": "because\nso" });
    assert_eq!(of(json!({})), Answer::Pending);
    assert_eq!(of(json!({ "certificate": "cGVt" })), Answer::Pending, "nobody has approved it");
    assert_eq!(of(json!({ "conditions": [condition("Approved")] })), Answer::Approved);
    let both = json!({ "conditions": [condition("Approved")], "certificate": "cGVt" });
    assert_eq!(of(both), Answer::Issued(b"pem".to_vec()));
    let denied = json!({ "conditions": [condition("Approved"), condition("Denied")], "certificate": "cGVt" });
    assert_eq!(of(denied), Answer::Denied("Why: because so".to_owned()));
    let failed = json!({ "conditions": [condition("Approved"), condition("Failed")] });
    assert_eq!(of(failed), Answer::Failed("Why: because so".to_owned()));
    let off = json!({ "conditions": [{ "type": "Denied", "status": "False" }] });
    assert_eq!(of(off), Answer::Pending);
}
