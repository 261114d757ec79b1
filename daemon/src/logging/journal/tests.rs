use std::collections::BTreeMap;

use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

struct Setup {
    reader: UnixDatagram,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    Setup { reader: UnixDatagram::bind(&path).unwrap(), path, _dir: dir }
}

impl Setup {
    fn log(&self, say: impl FnOnce()) {
        let journal = Journal::at(self.path.clone()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), say);
    }

    /// The next entry, as the journal would understand it.
    fn entry(&self) -> BTreeMap<String, String> {
        self.reader.set_nonblocking(true).unwrap();
        let mut bytes = vec![0; 2 * ENTRY_BYTES];
        let length = self.reader.recv(&mut bytes).expect("an entry");
        let mut rest = &bytes[..length];
        let mut entry = BTreeMap::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|b| matches!(b, b'=' | b'\n')).expect("a name");
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            let (value, after) = if rest[end] == b'=' {
                let length = rest[end..].iter().position(|b| *b == b'\n').expect("an end");
                (&rest[end + 1..end + length], &rest[end + length + 1..])
            } else {
                let start = end + 9;
                let length = u64::from_le_bytes(rest[end + 1..start].try_into().unwrap()) as usize;
                assert_eq!(rest[start + length], b'\n');
                (&rest[start..start + length], &rest[start + length + 1..])
            };
            entry.insert(name, String::from_utf8(value.to_vec()).unwrap());
            rest = after;
        }
        entry
    }
}

#[test]
fn each_field_is_a_field_of_the_entry_and_stands_in_the_message() {
    let journal = setup();
    journal.log(|| {
        let name = "web";
        tracing::warn!(pod = %format_args!("default/{name}"), uid = "u-1", container = name, attempt = 3, "it {}", "ended");
    });
    let entry = journal.entry();
    let field = |name: &str| entry.get(name).map(String::as_str);
    assert_eq!(field("POD"), Some("default/web"));
    assert_eq!(field("UID"), Some("u-1"));
    assert_eq!(field("CONTAINER"), Some("web"));
    assert_eq!(field("ATTEMPT"), Some("3"));
    assert_eq!(field("PRIORITY"), Some("4"));
    assert_eq!(field("SYSLOG_IDENTIFIER"), Some("nodelet"));
    assert_eq!(field("MESSAGE"), Some("it ended pod=default/web uid=\"u-1\" container=\"web\" attempt=3"));
}

#[test]
fn a_value_of_several_lines_makes_no_fields_of_its_own() {
    let journal = setup();
    journal.log(|| tracing::info!(error = %"a\nPRIORITY=0\nb", "two\nlines"));
    let entry = journal.entry();
    assert_eq!(entry["ERROR"], "a\nPRIORITY=0\nb");
    assert_eq!(entry["MESSAGE"], "two\nlines error=a\nPRIORITY=0\nb");
    assert_eq!(entry["PRIORITY"], "6");
}

#[test]
fn what_is_too_long_is_cut_between_characters() {
    let journal = setup();
    let long = "ä".repeat(VALUE_BYTES);
    journal.log(|| tracing::info!(a = %long, b = %long, c = %long, d = %long, e = %long, f = %long, g = %long, "{long}"));
    let entry = journal.entry();
    assert!(entry["MESSAGE"].len() <= VALUE_BYTES && entry["A"].len() <= VALUE_BYTES);
    assert!(entry.len() < 4 + 7, "not all have room");
}

#[test]
fn what_the_journal_does_not_take_is_counted_and_holds_up_nobody() {
    let journal = setup();
    let away = journal.path.with_extension("away");
    journal.log(|| {
        std::fs::rename(&journal.path, &away).unwrap();
        tracing::info!("one");
        tracing::info!("two");
        std::fs::rename(&away, &journal.path).unwrap();
        tracing::info!("three");
    });
    assert!(journal.entry()["MESSAGE"].starts_with("2 entries of the log were lost"));
    assert_eq!(journal.entry()["MESSAGE"], "three");
}
