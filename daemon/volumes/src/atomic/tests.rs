use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;
use crate::payload::File;

fn payload(files: &[(&str, &str)]) -> Payload {
    let mut payload = Payload::default();
    for (path, text) in files {
        let file = File { bytes: text.as_bytes().to_vec(), mode: 0o640, owner: None };
        payload.add(path, file).expect("a path");
    }
    payload
}

fn nothing(_: &Path) -> io::Result<()> {
    Ok(())
}

/// What a container finds: every file by its path, links followed, the writer's own names left out.
fn seen(dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![(dir.to_owned(), String::new())];
    while let Some((dir, prefix)) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("listed") {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name");
            if prefix.is_empty() && name.starts_with("..") {
                continue;
            }
            let path = format!("{prefix}{name}");
            if fs::metadata(entry.path()).is_ok_and(|m| m.is_dir()) {
                dirs.push((entry.path(), format!("{path}/")));
            } else {
                found.insert(path, fs::read_to_string(entry.path()).expect("read"));
            }
        }
    }
    found
}

fn wanted(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// The writer's own names.
fn own(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("listed").map(|e| e.expect("an entry").file_name());
    let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    names.retain(|name| name.starts_with(".."));
    names.sort();
    names
}

#[test]
fn row_20_4_the_layout_is_a_kubelets() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let files = [("a", "1"), ("sub/b", "2")];
    assert!(write(dir, &payload(&files), &nothing).expect("written"));
    assert_eq!(seen(dir), wanted(&files));
    assert_eq!(fs::read_link(dir.join("a")).expect("a link"), Path::new("..data/a"));
    assert_eq!(fs::read_link(dir.join("sub")).expect("a link"), Path::new("..data/sub"));
    let data = fs::read_link(dir.join("..data")).expect("a link");
    let name = data.to_str().expect("a name");
    let (time, number) = name.split_once('.').and_then(|_| name.rsplit_once('.')).expect("time and number");
    assert!(time.len() == 21 && time.starts_with("..2") && number.parse::<u64>().is_ok(), "{name}");
    assert_eq!(fs::metadata(dir.join(&data)).expect("there").mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(dir.join("a")).expect("there").mode() & 0o7777, 0o640);
    assert_eq!(own(dir).len(), 2);
}

#[test]
fn nothing_is_written_where_the_content_is_equal_and_what_is_gone_loses_its_link() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let files = [("a", "1"), ("b/c", "2")];
    assert!(write(dir, &payload(&files), &nothing).expect("written"));
    let inode = fs::metadata(dir.join("a")).expect("there").ino();
    assert!(!write(dir, &payload(&files), &nothing).expect("written"));
    assert_eq!(fs::metadata(dir.join("a")).expect("there").ino(), inode);
    assert!(write(dir, &payload(&[("a", "1")]), &nothing).expect("written"), "one less is a change");
    assert_eq!(seen(dir), wanted(&[("a", "1")]));
    assert!(write(dir, &Payload::default(), &nothing).expect("written"));
    assert_eq!(seen(dir), BTreeMap::new());
    assert!(is_written(dir));
}

#[test]
fn what_is_not_the_writers_own_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    fs::write(dir.join("stranger"), "s").expect("written");
    symlink("/etc/passwd", dir.join("link")).expect("linked");
    write(dir, &payload(&[("a", "1")]), &nothing).expect("written");
    write(dir, &payload(&[("b", "2")]), &nothing).expect("written");
    assert!(dir.join("stranger").exists() && fs::read_link(dir.join("link")).is_ok());
    assert!(fs::symlink_metadata(dir.join("a")).is_err());
}

#[test]
fn a_writer_that_is_killed_at_any_step_leaves_the_old_or_the_new_and_the_next_one_clears_up() {
    let steps =
        [Step::Made, Step::Written, Step::Prepared, Step::Linked, Step::Switched, Step::Shown, Step::Cleared];
    let (old, new) = ([("a", "old"), ("gone", "old")], [("a", "new"), ("come", "new")]);
    for first in steps {
        for second in steps {
            let dir = tempfile::tempdir().expect("a directory");
            let dir = dir.path();
            write(dir, &payload(&old), &nothing).expect("written");
            for (content, last) in [(&new, first), (&old, second)] {
                let mut go_on = |step| step != last;
                write_with(dir, &payload(content), &nothing, &mut go_on).expect("written");
                let data = dir.join("..data");
                let all: Vec<String> = fs::read_dir(&data)
                    .expect("there is always a content")
                    .map(|e| fs::read_to_string(e.expect("an entry").path()).expect("read"))
                    .collect();
                assert!(all.len() == 2 && all[0] == all[1], "a mix after {last:?}: {all:?}");
            }
            write(dir, &payload(&new), &nothing).expect("written");
            assert_eq!(seen(dir), wanted(&new), "after {first:?} and {second:?}");
            assert_eq!(own(dir).len(), 2, "after {first:?} and {second:?}: {:?}", own(dir));
        }
    }
}

#[test]
fn a_failure_to_give_the_owners_leaves_the_old_content() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    write(dir, &payload(&[("a", "old")]), &nothing).expect("written");
    let refuse = |_: &Path| Err(io::Error::from(io::ErrorKind::PermissionDenied));
    let error = write(dir, &payload(&[("a", "new")]), &refuse).expect_err("refused");
    assert!(error.to_string().starts_with("giving the owners to "), "{error}");
    assert_eq!(seen(dir), wanted(&[("a", "old")]));
}

#[test]
fn a_reader_never_sees_a_mix() {
    let dir = tempfile::tempdir().expect("a directory");
    let dir = dir.path();
    let content = |n: usize| {
        let text = n.to_string();
        payload(&[("a", &text), ("b/c", &text), ("d", &text)])
    };
    write(dir, &content(0), &nothing).expect("written");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut whole = 0;
                    while !over.load(Ordering::Relaxed) {
                        // As a program reads that wants files of one content: through one opened directory.
                        let data = fs::read_link(dir.join(DATA)).expect("never without");
                        let read = |path| fs::read_to_string(dir.join(&data).join(path));
                        if let (Ok(a), Ok(b), Ok(d)) = (read("a"), read("b/c"), read("d")) {
                            assert!(a == b && b == d, "{a} {b} {d}");
                            whole += 1;
                        }
                        match fs::read_to_string(dir.join("a")) {
                            Ok(a) => assert!(!a.is_empty()),
                            // Whoever is on the way into a content while it is replaced may find it gone; the name leads on.
                            Err(error) => {
                                let now = fs::read_link(dir.join(DATA)).expect("never without");
                                assert_ne!(now, data, "a name is never missing: {error}");
                            }
                        }
                    }
                    whole
                })
            })
            .collect();
        for n in 1..200 {
            write(dir, &content(n), &nothing).expect("written");
        }
        over.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().expect("no mix") > 0);
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn after_any_row_of_contents_the_last_one_is_there_and_nothing_else(
        contents in proptest::collection::vec(
            proptest::collection::btree_map("[a-c](/[a-c])?", "[x-z]{0,2}", 0..4), 1..5)
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let mut last = Payload::default();
        for content in &contents {
            let mut payload = Payload::default();
            for (path, text) in content {
                let file = File { bytes: text.as_bytes().to_vec(), mode: 0o600, owner: None };
                // A file and a directory of the same name: the first counts.
                let _ = payload.add(path, file);
            }
            write(dir.path(), &payload, &nothing).expect("written");
            last = payload;
        }
        let expected: BTreeMap<String, String> = last
            .files()
            .map(|(path, file)| (path.to_owned(), String::from_utf8_lossy(&file.bytes).into_owned()))
            .collect();
        prop_assert_eq!(seen(dir.path()), expected);
        prop_assert_eq!(own(dir.path()).len(), 2);
    }
}
