//! Certificates are kept as long as they serve, and issued again when they do not.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use super::{Inspected, Pki, Subject};

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn what_was_issued_is_signed_kept_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    let subject = Subject::new("system:node:n", &["system:nodes"]);
    let issued = pki.client("n", &subject).unwrap();
    let found = Inspected::read(&issued.certificate_pem).unwrap();
    assert_eq!(found.subject, subject);
    assert!(Inspected::signed_by(&issued.certificate_pem, pki.ca_pem()));
    for file in ["ca.key", "n.key"] {
        let mode = std::fs::metadata(dir.path().join("pki").join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let again = Pki::open(dir.path()).unwrap();
    assert_eq!(again.ca_pem(), pki.ca_pem());
    assert_eq!(again.client("n", &subject).unwrap().certificate_pem, issued.certificate_pem);
}

#[test]
fn a_serving_certificate_follows_its_names() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    let wanted = names(&["localhost", "127.0.0.1", "::1"]);
    let first = pki.server(&wanted).unwrap();
    assert_eq!(Inspected::read(&first.certificate_pem).unwrap().names, wanted);
    let more = names(&["localhost", "127.0.0.1", "::1", "10.0.0.1"]);
    let second = pki.server(&more).unwrap();
    assert_ne!(second.certificate_pem, first.certificate_pem);
    assert!(pki.server(&names(&["näme"])).is_err());
}

#[test]
fn a_pair_that_does_not_belong_together_is_issued_again_and_a_lost_authority_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    let subject = Subject::new("admin", &["system:masters"]);
    let first = pki.client("admin", &subject).unwrap();
    let other = pki.client("other", &subject).unwrap();
    std::fs::write(dir.path().join("pki/admin.key"), &other.key_pem).unwrap();
    assert_ne!(pki.client("admin", &subject).unwrap().certificate_pem, first.certificate_pem);
    std::fs::remove_file(dir.path().join("pki/ca.key")).unwrap();
    let error = Pki::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("ca.key") && error.contains("its key does not"), "{error}");
}
