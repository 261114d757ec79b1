use super::*;

fn file(text: &str) -> File {
    File { bytes: text.as_bytes().to_vec(), mode: 0o644, owner: None }
}

#[test]
fn row_20_4_paths_that_lead_out_or_could_be_the_writers_own_are_refused() {
    let long = "a/".repeat(2100);
    let name = "n".repeat(256);
    for (path, why) in [
        ("", "invalid path: must not be empty"),
        ("/a", "invalid path: must be relative path: /a"),
        ("a/../b", "invalid path: must not contain '..': a/../b"),
        ("..", "invalid path: must not contain '..': .."),
        ("..data", "invalid path: must not start with '..': ..data"),
        ("..x/y", "invalid path: must not start with '..': ..x/y"),
        (&long, "invalid path: must be less than or equal to 4096 characters"),
        (&name, "invalid path: filenames must be less than or equal to 255 characters"),
    ] {
        let error = Payload::default().add(path, file("x")).expect_err(path);
        assert_eq!(error.to_string(), why);
    }
    let mut payload = Payload::default();
    for path in ["a..b", "x/..y", "./c//d", ".hidden"] {
        payload.add(path, file(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
    let paths: Vec<&str> = payload.files().map(|(path, _)| path).collect();
    assert_eq!(paths, [".hidden", "a..b", "c/d", "x/..y"]);
}

#[test]
fn a_file_is_no_directory_of_another_one() {
    let mut payload = Payload::default();
    payload.add("a/b", file("1")).expect("added");
    assert!(payload.add("a", file("2")).is_err());
    assert!(payload.add("a/b/c", file("3")).is_err());
    payload.add("a-b", file("4")).expect("another name");
    payload.add("a/c", file("5")).expect("beside it");
    payload.add("a/b", file("6")).expect("the later one counts");
    assert_eq!(payload.files().find(|(path, _)| *path == "a/b").expect("there").1.bytes, b"6");
}

#[test]
fn row_20_5_items_choose_keys_paths_and_modes() {
    let content = [("a", b"1".as_slice()), ("b", b"2")];
    let item = |key: &str, path: &str, mode| KeyToPath { key: key.to_owned(), path: path.to_owned(), mode };
    let all = keyed(content.into_iter(), None, 0o400, false).expect("files");
    assert_eq!(all.files().map(|(p, f)| (p, f.mode)).collect::<Vec<_>>(), [("a", 0o400), ("b", 0o400)]);
    let items = [item("b", "x/y", Some(0o600)), item("b", "z", None)];
    let some = keyed(content.into_iter(), Some(&items), 0o644, false).expect("files");
    assert_eq!(some.files().map(|(p, f)| (p, f.mode)).collect::<Vec<_>>(), [("x/y", 0o600), ("z", 0o644)]);
    let gone = [item("c", "c", None), item("a", "a", None)];
    let error = keyed(content.into_iter(), Some(&gone), 0o644, false).expect_err("no such key");
    assert_eq!(error, KeyError::Missing(MissingKey("c".to_owned())));
    let left = keyed(content.into_iter(), Some(&gone), 0o644, true).expect("it is optional");
    assert_eq!(left.files().count(), 1);
    let out = keyed(content.into_iter(), Some(&[item("a", "../a", None)]), 0o644, true);
    assert!(matches!(out, Err(KeyError::Path(_))));
}

#[test]
fn any_path_is_refused_or_stays_below_the_volume() {
    bolero::check!().with_type::<String>().for_each(|path| {
        let mut payload = Payload::default();
        if payload.add(path, file("x")).is_ok() {
            let (path, _) = payload.files().next().expect("one file");
            let parts: Vec<&str> = path.split('/').collect();
            assert!(!parts[0].starts_with(".."));
            assert!(
                parts
                    .iter()
                    .all(|part| !part.is_empty() && *part != "." && *part != ".." && part.len() <= 255)
            );
        }
    });
}

#[test]
fn no_content_is_in_a_debug_text() {
    let text = format!("{:?}", file("hunter2"));
    assert!(!text.contains("hunter2") && !text.contains("104"), "{text}");
}
