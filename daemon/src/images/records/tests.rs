use std::os::unix::fs::PermissionsExt as _;

use super::*;

const IMAGE: &str = "quay.test/app:1";
const ID: &str = "sha256:1234";

fn records() -> (tempfile::TempDir, Records) {
    let root = tempfile::tempdir().expect("a directory");
    let records = Records::new(root.path()).expect("made");
    (root, records)
}

fn files(root: &tempfile::TempDir, dir: &str) -> Vec<String> {
    let dir = root.path().join("image_manager").join(dir);
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn secret() -> PulledWith {
    PulledWith::Secret(PullSecret { uid: "u".into(), name: "s".into(), ..PullSecret::default() })
}

fn runtime_image(id: &str, tags: &[&str], digests: &[&str]) -> Image {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Image { id: id.into(), repo_tags: names(tags), repo_digests: names(digests), ..Image::default() }
}

#[test]
fn a_pull_leaves_a_record_under_the_names_that_a_kubelet_gives() {
    let (root, records) = records();
    for dir in ["image_manager", "image_manager/pulling", "image_manager/pulled"] {
        let mode = fs::metadata(root.path().join(dir)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{dir}");
    }
    // SHA-256 of "repo.repo/test/test:v1".
    let image = "repo.repo/test/test:v1";
    let pulling = records.begin(image).expect("begun");
    let name = "sha256-ee81caca15454863449fb55a1d942904d56d5ed9f9b20a7cb3453944ea2c7e11";
    assert_eq!(files(&root, "pulling"), [name]);
    let mode =
        fs::metadata(root.path().join("image_manager/pulling").join(name)).expect("there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert!(matches!(records.known(image, ID), Known::Begun));
    pulling.pulled("testimageref", &PulledWith::NodeAccess).expect("recorded");
    assert_eq!(files(&root, "pulling"), [""; 0]);
    // SHA-256 of "testimageref".
    let name = "sha256-b3c0cc4278800b03a308ceb2611161430df571ca733122f0a40ac8b9792a9064";
    assert_eq!(files(&root, "pulled"), [name]);
    let Known::Pulled(record) = records.known(image, "testimageref") else { panic!("no record") };
    assert!(record.credential_mapping["repo.repo/test/test"].node_pods_accessible);
    assert!(matches!(records.known(image, "another"), Known::Nothing));
}

#[test]
fn a_pull_that_brought_nothing_leaves_nothing_and_one_that_was_given_up_is_remembered() {
    let (root, records) = records();
    records.begin(IMAGE).expect("begun").failed().expect("ended");
    assert_eq!(files(&root, "pulling"), [""; 0]);
    drop(records.begin(IMAGE).expect("begun"));
    assert!(matches!(records.known(IMAGE, ID), Known::Begun));
    // Also by the next daemon, until a pull has shown more.
    let next = Records::new(root.path()).expect("made");
    assert!(matches!(next.known(IMAGE, ID), Known::Begun));
    next.begin(IMAGE).expect("begun").pulled(ID, &secret()).expect("recorded");
    assert!(matches!(next.known(IMAGE, ID), Known::Pulled(_)));
    assert_eq!(files(&root, "pulling"), [""; 0]);
}

#[test]
fn of_two_pulls_of_one_image_the_last_to_end_clears_up() {
    let (root, records) = records();
    let first = records.begin(IMAGE).expect("begun");
    let second = records.begin(IMAGE).expect("begun");
    first.pulled(ID, &secret()).expect("recorded");
    assert_eq!(files(&root, "pulling").len(), 1);
    second.failed().expect("ended");
    assert_eq!(files(&root, "pulling"), [""; 0]);
}

#[test]
fn who_may_not_pull_an_image_does_not_make_it_everybodys() {
    let (root, records) = records();
    // Given up before the other began, or while it was under way: the image may have come all the same.
    drop(records.begin(IMAGE).expect("begun"));
    records.begin(IMAGE).expect("begun").failed().expect("ended");
    assert!(matches!(records.known(IMAGE, ID), Known::Begun));
    records.begin(IMAGE).expect("begun").pulled(ID, &secret()).expect("recorded");
    assert_eq!(files(&root, "pulling"), [""; 0]);
    let refused = records.begin(IMAGE).expect("begun");
    drop(records.begin(IMAGE).expect("begun"));
    refused.failed().expect("ended");
    assert!(matches!(records.known(IMAGE, "another"), Known::Begun));
}

#[test]
fn damage_is_told_and_the_next_pull_repairs_it() {
    let (root, records) = records();
    records.begin(IMAGE).expect("begun").pulled(ID, &PulledWith::NodeAccess).expect("recorded");
    let path = root.path().join("image_manager/pulled").join(&files(&root, "pulled")[0]);
    let good = fs::read(&path).expect("read");
    for bytes in [b"".to_vec(), good[..good.len() / 2].to_vec(), b"\0\0\0".to_vec()] {
        fs::write(&path, bytes).expect("damaged");
        assert!(matches!(records.known(IMAGE, ID), Known::Damaged));
    }
    records.begin(IMAGE).expect("begun").pulled(ID, &secret()).expect("recorded");
    assert!(matches!(records.known(IMAGE, ID), Known::Pulled(_)));
    // A file in the place of another's says nothing.
    let other = String::from_utf8(good).expect("text").replace(ID, "sha256:5678");
    fs::write(&path, other).expect("moved");
    assert!(matches!(records.known(IMAGE, ID), Known::Nothing));
}

#[test]
fn after_a_start_interrupted_pulls_are_settled_and_records_of_images_that_are_gone_go() {
    let (root, records) = records();
    for image in ["busybox", "quay.test/app@sha256:aa", "quay.test/absent:1"] {
        drop(records.begin(image).expect("begun"));
    }
    let still = records.begin("quay.test/still:1").expect("begun");
    records.begin("quay.test/gone:1").expect("begun").pulled("gone", &secret()).expect("recorded");
    records.begin("quay.test/kept:1").expect("begun").pulled("kept", &secret()).expect("recorded");
    let images = [
        runtime_image("busybox-id", &["docker.io/library/busybox:latest"], &[]),
        runtime_image("app-id", &[], &["quay.test/app@sha256:aa"]),
        runtime_image("kept", &["quay.test/kept:1"], &[]),
    ];
    let later = Timestamp::now() + jiff::SignedDuration::from_secs(1);
    records.settle(&images, later).expect("settled");
    assert_eq!(files(&root, "pulling").len(), 1, "one is still under way");
    for (image, id) in [("busybox", "busybox-id"), ("quay.test/other-tag", "app-id")] {
        let Known::Pulled(record) = records.known(image, id) else { panic!("{image} has no record") };
        assert!(record.credential_mapping.is_empty());
    }
    assert!(matches!(records.known("quay.test/kept:1", "kept"), Known::Pulled(_)));
    assert!(matches!(records.known("quay.test/gone:1", "gone"), Known::Nothing));
    still.failed().expect("ended");
    // What was pulled after the images were listed is not on the list, and stays.
    records.begin("quay.test/new:1").expect("begun").pulled("new", &secret()).expect("recorded");
    records.settle(&images, Timestamp::now() - jiff::SignedDuration::from_secs(60)).expect("settled");
    assert!(matches!(records.known("quay.test/new:1", "new"), Known::Pulled(_)));
}
