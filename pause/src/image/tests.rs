use std::collections::BTreeMap;
use std::io::Read;

use super::*;

fn unpack(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("read");
        files.insert(path, bytes);
    }
    files
}

#[test]
fn every_blob_is_where_its_digest_says_and_the_index_names_the_image() {
    let image = Image::new("nodelet.dev/x:1")
        .file("bin/a", 0o755, b"a".to_vec())
        .link("bin/b", "a")
        .command(["/bin/a"]);
    let files = unpack(&image.archive().expect("written"));
    for (path, bytes) in files.iter().filter(|(p, b)| p.starts_with("blobs/sha256/") && !b.is_empty()) {
        assert_eq!(path.strip_prefix("blobs/sha256/"), Some(hex(bytes).as_str()));
    }
    let index: serde_json::Value = serde_json::from_slice(&files["index.json"]).expect("JSON");
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "nodelet.dev/x:1");
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "1");
}

#[test]
fn the_same_files_give_the_same_bytes_in_any_order() {
    let a =
        Image::new("x:1").file("a/b", 0o644, vec![1]).file("c", 0o644, vec![2]).archive().expect("written");
    let b =
        Image::new("x:1").file("c", 0o644, vec![2]).file("a/b", 0o644, vec![1]).archive().expect("written");
    assert_eq!(a, b);
}

#[test]
fn paths_that_lead_out_of_the_image_or_come_twice_are_refused() {
    for path in ["", "/a", "../a", "a/../b", "a//b", "a/."] {
        let outcome = Image::new("x:1").file(path, 0o644, vec![]).archive();
        assert!(matches!(outcome, Err(ImageError::Path { .. })), "{path:?}");
    }
    let twice = Image::new("x:1").file("a", 0o644, vec![]).link("a", "b").archive();
    assert!(matches!(twice, Err(ImageError::Duplicate { .. })));
}
