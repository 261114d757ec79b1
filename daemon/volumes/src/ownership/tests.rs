use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

const GROUP: u32 = 4321;

fn ownership(only_on_mismatch: bool) -> Ownership {
    Ownership { group: GROUP, only_on_mismatch }
}

/// A tree with a file, a directory with a file in it, a program, and a link to a file outside of it.
fn tree() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let root = tempfile::tempdir().expect("a directory");
    let (tree, outside) = (root.path().join("tree"), root.path().join("outside"));
    fs::create_dir_all(tree.join("dir")).expect("made");
    for (path, mode) in [
        (tree.join("file"), 0o600),
        (tree.join("dir/inner"), 0o644),
        (tree.join("program"), 0o755),
        (outside.clone(), 0o600),
    ] {
        fs::write(&path, "x").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
    }
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).expect("set");
    symlink(&outside, tree.join("link")).expect("linked");
    (root, tree, outside)
}

fn shown(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).expect("there");
    (found.gid(), found.mode() & 0o7777)
}

#[test]
fn the_group_gets_everything_but_what_links_lead_to() {
    let (_root, tree, outside) = tree();
    let before = shown(&outside);
    give(&tree, ownership(false), false).expect("given");
    assert_eq!(shown(&tree), (GROUP, 0o2775));
    assert_eq!(shown(&tree.join("dir")), (GROUP, 0o2775));
    assert_eq!(shown(&tree.join("file")), (GROUP, 0o660));
    assert_eq!(shown(&tree.join("dir/inner")), (GROUP, 0o664));
    assert_eq!(shown(&tree.join("program")), (GROUP, 0o775));
    assert_eq!(shown(&tree.join("link")).0, GROUP);
    assert_eq!(shown(&outside), before);
}

#[test]
fn files_that_nobody_may_write_can_be_read_by_the_group() {
    let (_root, tree, _) = tree();
    give(&tree, ownership(false), true).expect("given");
    assert_eq!(shown(&tree.join("file")), (GROUP, 0o640));
    assert_eq!(shown(&tree), (GROUP, 0o2755));
}

#[test]
fn on_a_mismatch_of_the_root_alone_everything_is_changed() {
    let (_root, tree, _) = tree();
    give(&tree, ownership(true), false).expect("given");
    assert_eq!(shown(&tree.join("file")), (GROUP, 0o660));
    let file = tree.join("file");
    std::os::unix::fs::chown(&file, None, Some(7)).expect("changed");
    give(&tree, ownership(true), false).expect("given");
    assert_eq!(shown(&file).0, 7, "the root is right");
    give(&tree, ownership(false), false).expect("given");
    assert_eq!(shown(&file).0, GROUP);
    for wrong in [0o2745, 0o775] {
        std::os::unix::fs::chown(&file, None, Some(7)).expect("changed");
        fs::set_permissions(&tree, fs::Permissions::from_mode(wrong)).expect("set");
        give(&tree, ownership(true), false).expect("given");
        assert_eq!(shown(&file).0, GROUP, "{wrong:o}");
    }
}

#[test]
fn what_is_mounted_further_below_is_not_entered() {
    crate::alone::alone("ownership::tests::what_is_mounted_further_below_is_not_entered", || {
        let (root, tree, outside) = tree();
        let other = root.path().join("other");
        fs::create_dir(&other).expect("made");
        fs::write(other.join("file"), "x").expect("written");
        crate::mounts::bind(&other, &tree.join("dir"), false).expect("bound");
        give(&tree, ownership(false), false).expect("given");
        assert_eq!(shown(&tree.join("file")).0, GROUP);
        assert_ne!(shown(&other.join("file")).0, GROUP);
        assert_ne!(shown(&outside).0, GROUP);
    });
}
