use std::os::unix::fs::PermissionsExt as _;

use jiff::ToSpan as _;

use super::super::identity::tests::{issue, usual};
use super::*;

fn identity(name: &str) -> Identity {
    let (certificate, key) = issue(name, &[], usual());
    Identity::read(certificate.as_bytes(), key.as_bytes()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_certificate_is_put_into_use_by_a_link_and_nobody_else_can_read_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("pki");
    let store = Store::new(&dir, CLIENT);
    assert!(store.load().unwrap().is_none());
    let at: Timestamp = "2026-03-01T02:03:04Z".parse().unwrap();
    store.put(&identity("one"), at).unwrap();
    let file = dir.join("kubelet-client-2026-03-01-02-03-04.pem");
    assert_eq!(fs::read_link(dir.join("kubelet-client-current.pem")).unwrap(), file);
    assert_eq!((mode(&dir), mode(&file)), (0o700, 0o600));
    store.put(&identity("two"), at + 1.second()).unwrap();
    assert_eq!(store.load().unwrap().unwrap().common_name, "two");
    let text = fs::read_to_string(store.current()).unwrap();
    assert!(
        text.starts_with("-----BEGIN CERTIFICATE-----") && text.contains("PRIVATE KEY"),
        "as a kubelet has it"
    );
}

#[test]
fn three_certificates_stay_and_other_files_are_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path(), CLIENT);
    fs::write(root.path().join("kubelet-client-mine.pem"), "x").unwrap();
    fs::write(root.path().join("kubelet-server-2020-01-01-00-00-00.pem"), "x").unwrap();
    let at: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    for second in 0..6 {
        store.put(&identity("n"), at + second.seconds()).unwrap();
    }
    let mut names: Vec<String> =
        fs::read_dir(root.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "kubelet-client-2026-03-01-00-00-03.pem",
            "kubelet-client-2026-03-01-00-00-04.pem",
            "kubelet-client-2026-03-01-00-00-05.pem",
            "kubelet-client-current.pem",
            "kubelet-client-mine.pem",
            "kubelet-server-2020-01-01-00-00-00.pem",
        ]
    );
}

#[test]
fn a_key_waits_over_restarts_until_its_certificate_is_there() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path(), CLIENT);
    let key = store.key().unwrap().serialize_pem();
    let file = root.path().join("kubelet-client.key.tmp");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(Store::new(root.path(), CLIENT).key().unwrap().serialize_pem(), key);
    store.put(&identity("n"), Timestamp::now()).unwrap();
    assert!(!file.exists());
    assert_ne!(store.key().unwrap().serialize_pem(), key);
    fs::write(&file, "cut o").unwrap();
    store.key().unwrap();
    assert!(fs::read_to_string(&file).unwrap().contains("PRIVATE KEY"), "a damaged key is made anew");
}

#[test]
fn a_damaged_certificate_is_an_error_with_its_path() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::new(root.path(), SERVER);
    fs::write(store.current(), "no pem").unwrap();
    let error = store.load().unwrap_err().to_string();
    assert!(error.contains("kubelet-server-current.pem: holds no certificate"), "{error}");
}

#[test]
fn a_secret_is_written_over_what_others_left_in_its_place_with_its_own_rights() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("kubelet.conf");
    fs::write(root.path().join("kubelet.conf.new"), "left").unwrap();
    fs::set_permissions(root.path().join("kubelet.conf.new"), fs::Permissions::from_mode(0o666)).unwrap();
    write_secret(&path, b"secret").unwrap();
    assert_eq!((mode(&path), fs::read_to_string(&path).unwrap().as_str()), (0o600, "secret"));
}
