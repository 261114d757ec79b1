use std::path::PathBuf;

use super::*;
use crate::alone::alone;
use crate::mounts::{below, bind, mount_nodev};

/// A pod's directory with a volume on the disk, one in memory, one bound from `outside`, and a part of the first.
fn pod(root: &Path) -> (PathBuf, PathBuf) {
    let (pod, outside) = (root.join("pods/u"), root.join("outside"));
    let volumes = pod.join("volumes");
    for dir in ["kubernetes.io~empty-dir/disk/a/b", "kubernetes.io~secret/s", "kubernetes.io~local-volume/pv"]
    {
        fs::create_dir_all(volumes.join(dir)).expect("made");
    }
    fs::create_dir_all(pod.join("volume-subpaths/disk/c/0")).expect("made");
    fs::create_dir_all(pod.join("containers/c")).expect("made");
    fs::create_dir_all(&outside).expect("made");
    fs::write(outside.join("kept"), "x").expect("written");
    fs::write(volumes.join("kubernetes.io~empty-dir/disk/a/b/file"), "x").expect("written");
    std::os::unix::fs::symlink(&outside, volumes.join("kubernetes.io~empty-dir/disk/link")).expect("linked");
    mount_nodev("tmpfs", &volumes.join("kubernetes.io~secret/s"), "size=65536").expect("mounted");
    fs::write(volumes.join("kubernetes.io~secret/s/key"), "x").expect("written");
    bind(&outside, &volumes.join("kubernetes.io~local-volume/pv"), false).expect("bound");
    bind(&volumes.join("kubernetes.io~empty-dir/disk/a"), &pod.join("volume-subpaths/disk/c/0"), false)
        .expect("bound");
    (pod, outside)
}

fn is_gone(pod: &Path) {
    assert!(below(pod).expect("read").is_empty());
    for dir in DIRS {
        let left = fs::read_dir(pod.join(dir)).map(|entries| entries.count()).unwrap_or(0);
        assert_eq!(left, 0, "{dir}");
    }
}

#[test]
fn everything_is_unmounted_and_removed_and_nothing_behind_mounts_and_links() {
    alone("teardown::tests::everything_is_unmounted_and_removed_and_nothing_behind_mounts_and_links", || {
        let root = tempfile::tempdir().expect("a directory");
        let (pod, outside) = pod(root.path());
        tear_down(&pod).expect("torn down");
        is_gone(&pod);
        assert!(outside.join("kept").exists());
        assert!(pod.join("containers/c").is_dir(), "only the volumes");
        tear_down(&pod).expect("torn down twice");
        tear_down(&root.path().join("pods/unknown")).expect("a pod that had none");
    });
}

#[test]
fn a_mount_that_somebody_still_uses_and_one_over_another_go_all_the_same() {
    alone("teardown::tests::a_mount_that_somebody_still_uses_and_one_over_another_go_all_the_same", || {
        let root = tempfile::tempdir().expect("a directory");
        let (pod, outside) = pod(root.path());
        let secret = pod.join("volumes/kubernetes.io~secret/s");
        let held = fs::File::open(secret.join("key")).expect("opened");
        // Over the volume, and inside of it, as a container with Bidirectional propagation could.
        mount_nodev("tmpfs", &pod.join("volumes/kubernetes.io~local-volume/pv"), "size=65536")
            .expect("mounted");
        mount_nodev("tmpfs", &pod.join("volumes/kubernetes.io~empty-dir/disk/a/b"), "size=65536")
            .expect("mounted");
        tear_down(&pod).expect("torn down");
        is_gone(&pod);
        assert!(outside.join("kept").exists());
        drop(held);
    });
}

#[test]
fn a_teardown_that_was_cut_off_anywhere_is_finished_by_the_next_one() {
    alone("teardown::tests::a_teardown_that_was_cut_off_anywhere_is_finished_by_the_next_one", || {
        let root = tempfile::tempdir().expect("a directory");
        for cut in 0..4 {
            let dir = root.path().join(cut.to_string());
            let (pod, outside) = pod(&dir);
            // What a killed daemon has done up to then.
            for place in below(&pod).expect("read").iter().take(cut) {
                crate::mounts::unmount(place).expect("unmounted");
            }
            tear_down(&pod).expect("torn down");
            is_gone(&pod);
            assert!(outside.join("kept").exists());
        }
    });
}

#[test]
fn what_cannot_be_removed_holds_up_nothing_else_and_is_told() {
    alone("teardown::tests::what_cannot_be_removed_holds_up_nothing_else_and_is_told", || {
        let root = tempfile::tempdir().expect("a directory");
        let (pod, _) = pod(root.path());
        // A mount that this process may not undo: its place is in a read-only file system of another one.
        let disk = pod.join("volumes/kubernetes.io~empty-dir/disk");
        let stuck = disk.join("stuck");
        fs::create_dir(&stuck).expect("made");
        fs::write(stuck.join("file"), "x").expect("written");
        let status = std::process::Command::new("chattr").arg("+i").arg(&stuck).status();
        if !status.is_ok_and(|status| status.success()) {
            println!("this file system knows no immutable directories");
            tear_down(&pod).expect("torn down");
            return;
        }
        let error = tear_down(&pod).expect_err("one is left");
        assert!(error.problems.iter().any(|line| line.contains("stuck")), "{error}");
        assert!(below(&pod).expect("read").is_empty());
        assert!(!pod.join("volumes/kubernetes.io~secret/s").exists());
        assert!(!disk.join("a").exists());
        std::process::Command::new("chattr").arg("-i").arg(&stuck).status().expect("changed");
        tear_down(&pod).expect("torn down");
        is_gone(&pod);
    });
}

#[test]
fn a_mount_that_appears_after_the_look_at_the_table_is_not_entered() {
    alone("teardown::tests::a_mount_that_appears_after_the_look_at_the_table_is_not_entered", || {
        let root = tempfile::tempdir().expect("a directory");
        let (tree, outside) = (root.path().join("tree"), root.path().join("outside"));
        fs::create_dir_all(tree.join("dir")).expect("made");
        fs::create_dir(&outside).expect("made");
        fs::write(outside.join("kept"), "x").expect("written");
        bind(&outside, &tree.join("dir"), false).expect("bound");
        let error = remove_tree(&tree).expect_err("it is mounted");
        assert!(error.to_string().contains("is still mounted"), "{error}");
        let error = crate::remove::remove_unproven(&tree).expect_err("it is mounted");
        assert!(error.to_string().contains("is a mount"), "{error}");
        assert!(outside.join("kept").exists());
    });
}
