use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn text_of(mut log: LogFile) -> String {
    let mut block = vec![0; 1000];
    let read = log.read(&mut block, log.start).expect("read");
    String::from_utf8_lossy(&block[..read]).into_owned()
}

fn text_after(path: &Path, current: &LogFile) -> Option<(String, bool)> {
    let next = successor(path, &mut current.place.clone(), current.plain()).expect("looked")?;
    Some((text_of(next.log), next.is_rotated))
}

/// As the rotation does it.
fn compress(path: &Path) -> PathBuf {
    let plain = File::open(path).expect("opened");
    let to = PathBuf::from(format!("{}.gz", path.display()));
    let mut encoder = GzEncoder::new(File::create(&to).expect("made"), Compression::fast());
    encoder.write_all(io::read_to_string(&plain).expect("read").as_bytes()).expect("written");
    let file = encoder.finish().expect("finished");
    file.set_modified(plain.metadata().and_then(|m| m.modified()).expect("a time")).expect("set");
    fs::remove_file(path).expect("removed");
    to
}

/// Times of files have the grain of a timer's tick.
fn set_time(path: &Path, second: u64) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(second);
    OpenOptions::new().append(true).open(path).and_then(|f| f.set_modified(time)).expect("set");
}

#[test]
fn a_file_may_have_lines_that_are_a_little_later_than_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("0.log");
    fs::write(&path, "a line of 51.000001").expect("written");
    set_time(&path, 50);
    let file = open(&path).expect("opened");
    assert_eq!([51, 52].map(|second| file.is_before(second)), [false, true]);
}

#[test]
fn the_next_file_is_found_from_any_of_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("0.log");
    let file = |name: &str| dir.path().join(name);
    fs::write(&path, "first").expect("written");
    set_time(&path, 1);
    let first = open(&path).expect("opened");
    assert_eq!(text_after(&path, &first), None);
    fs::rename(&path, file("0.log.20261123-000001")).expect("renamed");
    assert_eq!(text_after(&path, &first), None, "the runtime has not opened the next file yet");
    fs::write(&path, "second").expect("written");
    set_time(&path, 2);
    assert_eq!(text_after(&path, &first), Some(("second".into(), false)));
    fs::rename(&path, file("0.log.20261123-000002")).expect("renamed");
    fs::write(file("0.log.20261123-000003.tmp"), "half").expect("written");
    fs::write(&path, "third").expect("written");
    set_time(&path, 3);
    assert_eq!(text_after(&path, &first), Some(("second".into(), true)));
    fs::remove_file(file("0.log.20261123-000001")).expect("removed");
    assert_eq!(text_after(&path, &first), Some(("second".into(), true)), "the own file may be gone");
    fs::remove_file(&path).expect("removed");
    assert_eq!(text_after(&path, &first), Some(("second".into(), true)), "and the newest, too");
}

#[test]
fn compressed_files_are_next_like_plain_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("0.log");
    let rotate = |number: u64, text: &str| {
        fs::write(&path, text).expect("written");
        set_time(&path, number);
        let to = dir.path().join(format!("0.log.20261123-00000{number}"));
        fs::rename(&path, &to).expect("renamed");
        to
    };
    fs::write(&path, "one").expect("written");
    let first = open(&path).expect("opened");
    let one = rotate(1, "one");
    let two = rotate(2, "two");
    let three = rotate(3, "three");
    let _current = fs::write(&path, "four").map(|()| set_time(&path, 4));
    compress(&one);
    let two = compress(&two);
    // By its time: the reader has not seen that its file was renamed.
    assert_eq!(text_after(&path, &first), Some(("two".into(), true)));
    let mut place = first.place.clone();
    let second = successor(&path, &mut place, first.plain()).expect("looked").expect("there").log;
    assert!(second.plain().is_none());
    assert_eq!(text_after(&path, &second), Some(("three".into(), true)));
    // One that is there in both forms is read once.
    let text = fs::read(&two).expect("read");
    let three = compress(&three);
    fs::write(dir.path().join("0.log.20261123-000003"), "three").expect("written");
    let third = successor(&path, &mut second.place.clone(), None).expect("looked").expect("there").log;
    fs::remove_file(dir.path().join("0.log.20261123-000003")).expect("removed");
    assert_eq!(text_after(&path, &third), Some(("four".into(), false)));
    assert!(fs::exists(&three).expect("looked") && text == fs::read(&two).expect("read"));
}

#[test]
fn a_log_that_is_just_being_rotated_is_the_newest_rotated_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("0.log");
    assert_eq!(open(&path).expect_err("missing").kind(), io::ErrorKind::NotFound);
    fs::write(dir.path().join("0.log.20261123-000001"), "old").expect("written");
    fs::write(dir.path().join("0.log.20261123-000002"), "new").expect("written");
    let newest = open(&path).expect("opened");
    fs::write(&path, "next").expect("written");
    assert_eq!(text_after(&path, &newest), Some(("next".into(), false)));
    assert_eq!(text_of(newest), "new");
}

#[test]
fn earlier_files_come_in_their_order_whatever_their_form() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("0.log");
    for number in 1..=4 {
        fs::write(dir.path().join(format!("0.log.20261123-00000{number}")), format!("{number}"))
            .expect("written");
    }
    compress(&dir.path().join("0.log.20261123-000001"));
    compress(&dir.path().join("0.log.20261123-000002"));
    fs::write(&path, "now").expect("written");
    let current = open(&path).expect("opened");
    let texts = |current: &LogFile| -> Vec<String> {
        before(&path, current).expect("listed").map(|log| text_of(log.expect("opened"))).collect()
    };
    assert_eq!(texts(&current), ["4", "3", "2", "1"]);
    // It is rotated after it was opened.
    fs::rename(&path, dir.path().join("0.log.20261123-000005")).expect("renamed");
    fs::write(dir.path().join("0.log.20261123-000006"), "later").expect("written");
    assert_eq!(texts(&current), ["4", "3", "2", "1"]);
}

#[test]
fn the_last_lines_of_a_compressed_file_are_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("0.log.1");
    for (text, count, expected, missing) in [
        ("a\nb\nc\n", 2, "b\nc\n", 0),
        ("a\nb\nc", 2, "b\nc", 0),
        ("a\nb\n", 5, "a\nb\n", 3),
        ("a\n", 0, "", 0),
        ("", 3, "", 3),
    ] {
        fs::write(&path, text).expect("written");
        let file = open_file(&compress(&path)).expect("opened");
        let mut log = LogFile::new(file, Some("1"), Form::Compressed).expect("a file");
        assert_eq!(log.keep_last(count).expect("counted"), missing, "{text:?}");
        assert_eq!(text_of(log), expected, "{text:?}");
    }
}

#[test]
fn a_pipe_in_place_of_a_log_is_refused_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("0.log");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("made");
    assert!(open(&path).is_err());
}
