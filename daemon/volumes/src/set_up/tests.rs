use std::os::unix::fs::MetadataExt;

use super::*;
use crate::alone::alone;
use crate::payload::File;

fn dirs() -> (tempfile::TempDir, PodDirs) {
    let root = tempfile::tempdir().expect("a directory");
    let dirs = PodDirs::new(root.path()).expect("made");
    dirs.prepare("u").expect("prepared");
    (root, dirs)
}

fn volume(name: &str, content: Content) -> Volume {
    Volume { name: name.to_owned(), content }
}

fn files(kind: Files, text: &str, mode: u32, owner: Option<u32>) -> Volume {
    let mut payload = Payload::default();
    payload.add("key", File { bytes: text.as_bytes().to_vec(), mode, owner }).expect("a path");
    volume("v", Content::Files(kind, Some(payload)))
}

fn owned(group: u32) -> Setting {
    Setting { ownership: Some(Ownership { group, only_on_mismatch: true }), memory_bytes: 1 << 20 }
}

fn shown(path: &Path) -> (u32, u32, u32) {
    let found = fs::metadata(path).expect("there");
    (found.uid(), found.gid(), found.mode() & 0o7777)
}

fn in_memory(path: &Path) -> bool {
    mounts::is_mount_point(path).expect("looked")
}

#[test]
fn rows_20_3_and_20_5_each_kind_has_its_place_and_all_but_config_maps_are_in_memory() {
    alone(
        "set_up::tests::rows_20_3_and_20_5_each_kind_has_its_place_and_all_but_config_maps_are_in_memory",
        || {
            let (root, dirs) = dirs();
            for (kind, name, memory) in [
                (Files::ConfigMap, "configmap", false),
                (Files::Secret, "secret", true),
                (Files::DownwardApi, "downward-api", true),
                (Files::Projected, "projected", true),
            ] {
                let volume = files(kind, "x", 0o400, None);
                dirs.set_up("u", &volume, &Setting { ownership: None, memory_bytes: 1 << 20 }).expect("made");
                let path = root.path().join(format!("pods/u/volumes/kubernetes.io~{name}/v"));
                assert_eq!(dirs.volume_path("u", &volume).expect("a path"), path);
                assert_eq!(in_memory(&path), memory, "{name}");
                assert_eq!(shown(&path.join("key")), (0, 0, 0o400), "{name}");
                assert_eq!(shown(&path).2 & 0o777, 0o777, "{name}");
                assert!(volume.is_read_only());
            }
            let mounts = mounts::below(root.path()).expect("read").len();
            dirs.set_up("u", &files(Files::Secret, "y", 0o400, None), &Setting::default())
                .expect("made again");
            assert_eq!(mounts::below(root.path()).expect("read").len(), mounts);
            let unknown = volume("v", Content::Files(Files::Secret, None));
            dirs.set_up("u", &unknown, &Setting::default()).expect("what was written stays");
            let never = volume("other", Content::Files(Files::Secret, None));
            assert!(matches!(dirs.set_up("u", &never, &Setting::default()), Err(SetUpError::NothingWritten)));
            dirs.tear_down("u").expect("torn down");
            assert!(mounts::below(root.path()).expect("read").is_empty());
        },
    );
}

#[test]
fn row_20_11_a_token_is_read_by_its_user_and_by_the_group_where_there_is_one() {
    alone("set_up::tests::row_20_11_a_token_is_read_by_its_user_and_by_the_group_where_there_is_one", || {
        let (_root, dirs) = dirs();
        let token = files(Files::Projected, "t", 0o600, Some(1000));
        dirs.set_up("u", &token, &Setting::default()).expect("made");
        let key = dirs.volume_path("u", &token).expect("a path").join("key");
        assert_eq!(shown(&key), (1000, 0, 0o600));
        let token = files(Files::Projected, "t2", 0o600, None);
        dirs.set_up("u", &token, &owned(4321)).expect("made");
        assert_eq!(shown(&key), (0, 4321, 0o640));
        dirs.tear_down("u").expect("torn down");
    });
}

#[test]
fn rows_20_14_and_20_15_an_empty_directory_is_made_once_and_given_to_the_group() {
    alone(
        "set_up::tests::rows_20_14_and_20_15_an_empty_directory_is_made_once_and_given_to_the_group",
        || {
            let (root, dirs) = dirs();
            let disk = volume("disk", Content::EmptyDir(Medium::Disk));
            let memory = volume("memory", Content::EmptyDir(Medium::Memory { size: 1 << 20 }));
            let plain = volume("plain", Content::EmptyDir(Medium::Disk));
            for volume in [&disk, &memory] {
                dirs.set_up("u", volume, &owned(4321)).expect("made");
                let path = dirs.volume_path("u", volume).expect("a path");
                let (_, group, mode) = shown(&path);
                assert_eq!((group, mode & 0o2777), (4321, 0o2777));
                // The containers' own from now on.
                fs::write(path.join("file"), "x").expect("written");
                std::os::unix::fs::chown(path.join("file"), None, Some(7)).expect("changed");
                dirs.set_up("u", volume, &owned(4321)).expect("made again");
                assert_eq!(shown(&path.join("file")).1, 7);
            }
            dirs.set_up("u", &plain, &Setting::default()).expect("made");
            assert_eq!(shown(&dirs.volume_path("u", &plain).expect("a path")), (0, 0, 0o777));
            assert!(in_memory(&dirs.volume_path("u", &memory).expect("a path")));
            assert!(root.path().join("pods/u/plugins/kubernetes.io~empty-dir/disk/ready").exists());
            let size =
                nix::sys::statvfs::statvfs(&dirs.volume_path("u", &memory).expect("a path")).expect("told");
            assert_eq!(size.blocks() * size.fragment_size(), 1 << 20);
            dirs.tear_down("u").expect("torn down");
        },
    );
}

#[test]
fn row_20_23_a_local_volume_is_bound_and_belongs_to_the_group_of_its_first_user() {
    alone(
        "set_up::tests::row_20_23_a_local_volume_is_bound_and_belongs_to_the_group_of_its_first_user",
        || {
            let (root, dirs) = dirs();
            dirs.prepare("w").expect("prepared");
            let source = root.path().join("disk");
            let local = |read_only| {
                let path = source.display().to_string();
                volume("pv", Content::Local { path, read_only })
            };
            let missing = dirs.set_up("u", &local(false), &Setting::default()).expect_err("there is none");
            assert_eq!(
                missing.to_string(),
                format!("path {:?} does not exist", source.display().to_string())
            );
            fs::create_dir(&source).expect("made");
            fs::write(source.join("file"), "x").expect("written");
            dirs.set_up("u", &local(false), &owned(11)).expect("made");
            let path = dirs.volume_path("u", &local(false)).expect("a path");
            assert_eq!(path, root.path().join("pods/u/volumes/kubernetes.io~local-volume/pv"));
            assert_eq!(shown(&path.join("file")).1, 11);
            dirs.set_up("w", &local(true), &owned(12)).expect("made");
            assert_eq!(shown(&source.join("file")).1, 11, "another pod uses it");
            let second = dirs.volume_path("w", &local(true)).expect("a path");
            assert!(fs::write(second.join("file"), "y").is_err(), "it is read-only there");
            fs::write(path.join("file"), "y").expect("and not here");
            dirs.tear_down("u").expect("torn down");
            dirs.tear_down("w").expect("torn down");
            assert_eq!(fs::read_to_string(source.join("file")).expect("kept"), "y");
        },
    );
}

#[test]
fn row_20_20_a_volume_whose_mounts_are_to_be_known_becomes_a_shared_one() {
    alone("set_up::tests::row_20_20_a_volume_whose_mounts_are_to_be_known_becomes_a_shared_one", || {
        let (root, dirs) = dirs();
        let disk = volume("disk", Content::EmptyDir(Medium::Disk));
        dirs.set_up("u", &disk, &Setting::default()).expect("made");
        for _ in 0..2 {
            dirs.share("u", &disk).expect("shared");
            let path = dirs.volume_path("u", &disk).expect("a path");
            let table = procfs::process::Process::myself().expect("me").mountinfo().expect("read");
            let found: Vec<_> = table.into_iter().filter(|m| m.mount_point == path).collect();
            assert_eq!(found.len(), 1);
            assert!(
                found[0].opt_fields.iter().any(|f| matches!(f, procfs::process::MountOptFields::Shared(_)))
            );
        }
        dirs.set_up("u", &disk, &Setting::default()).expect("made again");
        dirs.tear_down("u").expect("torn down");
        assert!(mounts::below(root.path()).expect("read").is_empty());
    });
}

#[test]
fn names_that_lead_out_of_the_directory_are_refused() {
    let (_root, dirs) = dirs();
    for name in ["", "..", "a/b", "a\0b"] {
        let volume = volume(name, Content::EmptyDir(Medium::Disk));
        assert!(dirs.set_up("u", &volume, &Setting::default()).is_err(), "{name:?}");
        assert!(dirs.sub_path("u", (name, Path::new("/tmp")), ("c", 0), "x").is_err(), "{name:?}");
    }
}
