use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn files() -> (tempfile::TempDir, CgroupFiles) {
    let dir = tempfile::tempdir().unwrap();
    let files = CgroupFiles::open(dir.path()).unwrap();
    (dir, files)
}

#[test]
fn directories_are_made_listed_and_removed_innermost_first() {
    let (dir, files) = files();
    for path in ["/a", "/a/b", "/a/c", "/a/b/d", "/a/b/d"] {
        files.make(path).unwrap();
    }
    fs::write(dir.path().join("a/cgroup.events"), "populated 0\n").unwrap();
    assert_eq!(files.children("/a").unwrap(), ["b", "c"]);
    let below = files.below("/a").unwrap();
    assert_eq!(below, ["b/d", "c", "b"]);
    assert!(files.remove("/a/b").unwrap_err().is_busy());
    for path in below {
        files.remove(&format!("/a/{path}")).unwrap();
    }
    assert!(files.children("/a").unwrap().is_empty());
    files.remove("/a/b").unwrap();
    assert!(!files.exists("/a/b").unwrap() && files.exists("/a").unwrap());
}

#[test]
fn an_error_names_what_was_done_and_to_which_file() {
    let (dir, files) = files();
    files.make("/a").unwrap();
    let error = files.write("/a", "memory.max", "1").unwrap_err();
    let path = dir.path().join("a/memory.max");
    assert!(error.is_gone());
    assert!(error.to_string().starts_with(&format!("opening {}: No such file", path.display())), "{error}");
    let error = files.make("/x/y").unwrap_err();
    assert!(error.to_string().contains("/x"), "{error}");
    assert_eq!(files.read_if_there("/a", "memory.max").unwrap(), None);
    assert_eq!(files.read_if_there("/x", "memory.max").unwrap(), None);
}

#[test]
fn no_link_and_no_dots_lead_out_of_the_hierarchy() {
    let (dir, files) = files();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("memory.max"), "max").unwrap();
    symlink(outside.path(), dir.path().join("out")).unwrap();
    files.make("/a").unwrap();
    symlink(outside.path().join("memory.max"), dir.path().join("a/memory.max")).unwrap();
    for (cgroup, file) in [("/out", "memory.max"), ("/a", "memory.max"), ("/a/..", "x")] {
        assert!(files.write(cgroup, file, "1").is_err(), "{cgroup}/{file}");
        assert!(files.read(cgroup, file).is_err(), "{cgroup}/{file}");
    }
    assert!(files.make("/out/x").is_err());
    assert_eq!(fs::read(outside.path().join("memory.max")).unwrap(), b"max");
    assert_eq!(files.children("/").unwrap(), ["a"], "a link is no cgroup");
}

#[test]
fn what_is_mounted_is_told() {
    let (dir, _) = files();
    assert!(matches!(mount_at(dir.path()).unwrap(), Mount::Other(_)));
    assert!(mount_at(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
}
