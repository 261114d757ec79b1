use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::alone::alone;

/// A volume, a directory outside of it, and a place to mount on.
fn node() -> (tempfile::TempDir, PathBuf, PathBuf, PathBuf) {
    let root = tempfile::tempdir().expect("a directory");
    let path = |name: &str| root.path().join(name);
    let (volume, outside, place) = (path("volume"), path("outside"), path("place"));
    fs::create_dir(&volume).expect("made");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("secret"), "s").expect("written");
    (root, volume, outside, place)
}

fn is(path: &Path, other: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).expect("there");
    id(path) == id(other)
}

#[test]
fn a_part_that_is_missing_is_made_with_the_volumes_mode() {
    alone("sub_path::tests::a_part_that_is_missing_is_made_with_the_volumes_mode", || {
        let (_root, volume, _, place) = node();
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o2777)).expect("set");
        bind(&volume, "a/b", &place).expect("bound");
        assert!(is(&volume.join("a/b"), &place));
        for made in ["a", "a/b"] {
            assert_eq!(fs::metadata(volume.join(made)).expect("there").mode() & 0o7777, 0o2777);
        }
        let mounts = crate::mounts::below(&place).expect("read").len();
        bind(&volume, "a/b", &place).expect("bound again");
        assert_eq!(crate::mounts::below(&place).expect("read").len(), mounts, "nothing is mounted twice");
        // Another directory of that name, or a file: as after a change of a config map.
        fs::rename(volume.join("a/b"), volume.join("a/old")).expect("renamed");
        fs::write(volume.join("a/b"), "file").expect("written");
        bind(&volume, "a/b", &place).expect("bound");
        assert!(is(&volume.join("a/b"), &place));
        assert_eq!(crate::mounts::below(&place).expect("read").len(), mounts);
    });
}

#[test]
fn nothing_leads_out_of_the_volume() {
    alone("sub_path::tests::nothing_leads_out_of_the_volume", || {
        let (_root, volume, outside, place) = node();
        fs::create_dir(volume.join("inner")).expect("made");
        symlink(&outside, volume.join("absolute")).expect("linked");
        symlink("../outside", volume.join("upwards")).expect("linked");
        symlink("inner", volume.join("beneath")).expect("linked");
        symlink("/proc/self/root", volume.join("magic")).expect("linked");
        symlink("loop", volume.join("loop")).expect("linked");
        for path in
            ["absolute", "upwards", "absolute/secret", "upwards/new", "magic/etc", "loop", "absolute/new/dir"]
        {
            let error = bind(&volume, path, &place).expect_err(path);
            assert!(matches!(error, SubPathError::Outside { .. }), "{path}: {error}");
        }
        assert_eq!(fs::read_dir(&outside).expect("listed").count(), 1, "nothing was made outside");
        assert!(matches!(bind(&volume, "/etc", &place), Err(SubPathError::Absolute(_))));
        assert!(matches!(bind(&volume, "inner/../..", &place), Err(SubPathError::Upwards(_))));
        bind(&volume, "beneath", &place).expect("a link that stays inside is followed, as config maps need");
        assert!(is(&volume.join("inner"), &place));
        bind(&volume, "beneath/deeper", &place).expect_err("nothing is made behind a link");
    });
}

#[test]
fn a_link_that_is_swapped_in_meanwhile_leads_nowhere() {
    alone("sub_path::tests::a_link_that_is_swapped_in_meanwhile_leads_nowhere", || {
        let (_root, volume, outside, place) = node();
        fs::create_dir_all(volume.join("part/inner")).expect("made");
        symlink(&outside, volume.join("link")).expect("linked");
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The container: exchanges the directory for a link as fast as it can.
                let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                while !over.load(Ordering::Relaxed) {
                    nix::fcntl::renameat2(
                        nix::fcntl::AT_FDCWD,
                        &volume.join("part"),
                        nix::fcntl::AT_FDCWD,
                        &volume.join("link"),
                        flags,
                    )
                    .expect("exchanged");
                }
            });
            let (mut bound, mut refused) = (0, 0);
            for round in 0..20_000 {
                let path = if round % 2 == 0 { "part" } else { "part/inner" };
                match bind(&volume, path, &place) {
                    Ok(()) => {
                        assert!(!is(&place, &outside), "it leads outside");
                        assert!(!place.join("secret").exists());
                        bound += 1;
                    }
                    Err(_) => refused += 1,
                }
                if bound > 200 && refused > 200 {
                    break;
                }
            }
            over.store(true, Ordering::Relaxed);
            assert!(bound > 0);
        });
        assert_eq!(fs::read_dir(&outside).expect("listed").count(), 1, "nothing was made outside");
    });
}
