use super::*;

#[test]
fn a_link_in_the_place_of_a_tree_is_removed_and_not_followed() {
    let root = tempfile::tempdir().expect("a directory");
    let outside = root.path().join("outside");
    fs::create_dir_all(&outside).expect("made");
    fs::write(outside.join("kept"), "x").expect("written");
    let link = root.path().join("link");
    for target in [&outside, &root.path().join("nowhere")] {
        std::os::unix::fs::symlink(target, &link).expect("linked");
        remove_tree(&link).expect("removed");
        assert!(fs::symlink_metadata(&link).is_err());
    }
    assert!(outside.join("kept").exists());
    fs::write(&link, "a file").expect("written");
    remove_tree(&link).expect("removed");
    remove_tree(&link).expect("removed twice");
}

#[test]
fn what_is_mounted_below_a_path_is_known() {
    let mounted = mounts::below(Path::new("/proc")).expect("read");
    assert!(mounted.contains(&PathBuf::from("/proc")), "{mounted:?}");
    let root = tempfile::tempdir().expect("a directory");
    assert!(mounts::below(root.path()).expect("read").is_empty());
}

#[test]
fn a_link_out_of_the_tree_is_removed_and_not_followed() {
    let root = tempfile::tempdir().expect("a directory");
    let outside = root.path().join("outside");
    let tree = root.path().join("tree/sub");
    fs::create_dir_all(&outside).expect("made");
    fs::create_dir_all(&tree).expect("made");
    fs::write(outside.join("kept"), "x").expect("written");
    std::os::unix::fs::symlink(&outside, tree.join("link")).expect("linked");
    remove_tree(&root.path().join("tree")).expect("removed");
    assert!(outside.join("kept").exists());
    assert!(!root.path().join("tree").exists());
}

#[test]
fn a_tree_that_is_deeper_than_descriptors_go_is_removed() {
    let root = tempfile::tempdir().expect("a directory");
    let tree = root.path().join("tree");
    fs::create_dir(&tree).expect("made");
    // Longer than a path can be: made step by step, as a container could.
    let mut at = beneath::open_dir(&tree).expect("opened");
    let name = OsStr::new("a-directory-with-a-long-name");
    for _ in 0..1000 {
        nix::sys::stat::mkdirat(&at, name, nix::sys::stat::Mode::S_IRWXU).expect("made");
        nix::sys::stat::mkdirat(&at, "beside", nix::sys::stat::Mode::S_IRWXU).expect("made");
        at = beneath::open(&at, Path::new(name), OFlag::O_RDONLY, beneath::Links::Refused).expect("opened");
    }
    remove_tree(&tree).expect("removed");
    assert!(!tree.exists());
}

#[test]
fn names_that_are_no_text_are_removed() {
    let root = tempfile::tempdir().expect("a directory");
    let tree = root.path().join("tree");
    fs::create_dir_all(tree.join(OsStr::from_bytes(b"\xff\xfe"))).expect("made");
    fs::write(tree.join(OsStr::from_bytes(b"\xff")), "").expect("written");
    remove_tree(&tree).expect("removed");
    assert!(!tree.exists());
}
