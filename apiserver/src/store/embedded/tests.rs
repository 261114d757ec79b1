use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use super::*;
use crate::store::{Change, Content};

mod disk;

fn json(text: &str) -> Bytes {
    Bytes::from(format!("{{\"metadata\":{{\"name\":\"{text}\"}}}}"))
}

/// What a sink was told.
#[derive(Default)]
struct Told {
    content: Mutex<Option<Content>>,
    changes: Mutex<Vec<Change>>,
}

impl Sink for Told {
    fn load(&self, content: Content) {
        *self.content.lock().unwrap() = Some(content);
    }

    fn apply(&self, changes: Vec<Change>) {
        self.changes.lock().unwrap().extend(changes);
    }
}

#[tokio::test]
async fn a_key_is_created_once_and_written_only_at_the_expected_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(&dir.path().join("store.redb")).unwrap();

    let created = store.create("pods/default/a", json("1")).await.unwrap();
    assert_eq!((created.mod_revision, created.create_revision), (1, 1));
    let again = store.create("pods/default/a", json("2")).await.unwrap_err();
    assert!(matches!(again, WriteError::AlreadyExists { current, .. } if current == created));

    let updated = store.update("pods/default/a", json("3"), 1).await.unwrap();
    assert_eq!((updated.mod_revision, updated.create_revision), (2, 1));
    let late = store.update("pods/default/a", json("4"), 1).await.unwrap_err();
    assert!(matches!(late, WriteError::Conflict { expected: 1, current, .. } if current == updated));
    let late = store.delete("pods/default/a", 1).await.unwrap_err();
    assert!(matches!(late, WriteError::Conflict { expected: 1, .. }));

    assert_eq!(store.delete("pods/default/a", 2).await.unwrap(), 3);
    assert!(matches!(store.delete("pods/default/a", 2).await.unwrap_err(), WriteError::NotFound { .. }));
    assert!(matches!(
        store.update("pods/default/a", json("5"), 2).await.unwrap_err(),
        WriteError::NotFound { .. }
    ));
    assert_eq!(store.get("pods/default/a").await.unwrap(), None);
    assert_eq!(store.create("pods/default/a", json("6")).await.unwrap().create_revision, 4);
    assert_eq!(store.revision().await.unwrap(), 4);
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(&dir.path().join("store.redb")).unwrap();
    let refused = store.create("pods/a", Bytes::from(vec![b' '; VALUE_LIMIT_BYTES + 1])).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "writing pods/a: 1572865 bytes are more than the 1572864 that are stored"
    );
    let refused = store.create(&"k".repeat(KEY_LIMIT_BYTES + 1), json("a")).await.unwrap_err();
    assert!(matches!(refused, WriteError::TooLarge { limit: KEY_LIMIT_BYTES, .. }));
    store.create(&"k".repeat(KEY_LIMIT_BYTES), Bytes::from(vec![b' '; VALUE_LIMIT_BYTES])).await.unwrap();
}

#[tokio::test]
async fn concurrent_writes_of_one_key_take_effect_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&dir.path().join("store.redb")).unwrap());
    store.create("leases/a", json("0")).await.unwrap();
    let attempts = (0..32).map(|i| {
        let store = store.clone();
        async move { store.update("leases/a", json(&i.to_string()), 1).await }
    });
    let answers = futures::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 1);
    assert!(
        answers
            .iter()
            .filter_map(|a| a.as_ref().err())
            .all(|e| matches!(e, WriteError::Conflict { current, .. } if current.mod_revision == 2))
    );
}

#[tokio::test]
async fn a_list_can_be_cut_and_taken_at_an_earlier_revision() {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(&dir.path().join("store.redb")).unwrap();
    for name in ["a", "b", "c"] {
        store.create(&format!("pods/{name}"), json(name)).await.unwrap();
    }
    store.create("podsets/x", json("x")).await.unwrap();
    store.delete("pods/b", 2).await.unwrap();
    let keys = async |range: Range| {
        let page = store.list(range).await.unwrap();
        (page.records.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>(), page.more, page.revision)
    };
    let pods = Range { prefix: "pods/".to_owned(), ..Range::default() };
    assert_eq!(keys(pods.clone()).await, (vec!["pods/a".to_owned(), "pods/c".to_owned()], false, 5));
    assert_eq!(keys(Range { limit: 1, ..pods.clone() }).await, (vec!["pods/a".to_owned()], true, 5));
    assert_eq!(
        keys(Range { start_after: Some("pods/a".to_owned()), revision: Some(4), ..pods.clone() }).await,
        (vec!["pods/b".to_owned(), "pods/c".to_owned()], false, 4)
    );
    let future = store.list(Range { revision: Some(9), ..pods }).await.unwrap_err();
    assert!(matches!(future, ReadError::Future { requested: 9, current: 5 }));
}

#[tokio::test]
async fn everything_is_there_after_reopening_with_the_changes_that_led_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let told = Arc::new(Told::default());
    {
        let store = Embedded::open(&path).unwrap();
        store.attach(told.clone()).await.unwrap();
        store.create("pods/a", json("1")).await.unwrap();
        store.update("pods/a", json("2"), 1).await.unwrap();
        store.create("nodes/n", json("3")).await.unwrap();
        store.delete("pods/a", 2).await.unwrap();
    }
    let again = Arc::new(Told::default());
    let store = Embedded::open(&path).unwrap();
    assert_eq!(store.revision().await.unwrap(), 4);
    store.attach(again.clone()).await.unwrap();
    let content = again.content.lock().unwrap().take().unwrap();
    assert_eq!((content.revision, content.floor), (4, 0));
    assert_eq!(content.records.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["nodes/n"]);
    assert_eq!(content.changes, *told.changes.lock().unwrap());
    assert_eq!(store.create("pods/a", json("4")).await.unwrap().mod_revision, 5);
}

#[tokio::test]
async fn the_changes_that_are_kept_are_bounded_and_the_floor_says_where_they_begin() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    {
        let store = Arc::new(Embedded::open(&path).unwrap());
        // Many at a time, so that they share commits.
        for round in 0..20_u64 {
            let writes = (0..250_u64).map(|i| {
                let store = store.clone();
                async move { store.create(&format!("events/{round}-{i}"), json("x")).await }
            });
            for answer in futures::future::join_all(writes).await {
                answer.unwrap();
            }
        }
    }
    let told = Arc::new(Told::default());
    let store = Embedded::open(&path).unwrap();
    store.attach(told.clone()).await.unwrap();
    let content = told.content.lock().unwrap().take().unwrap();
    assert_eq!(content.records.len(), 5000);
    assert_eq!((content.revision, content.floor, content.changes.len()), (5000, 904, 4096));
    assert_eq!(content.changes.first().map(|c| c.revision), Some(905));
    let old = store.list(Range { revision: Some(903), ..Range::default() }).await.unwrap_err();
    assert!(matches!(old, ReadError::Compacted { requested: 903, floor: 904 }));
}

#[tokio::test]
async fn the_file_is_only_for_its_owner_also_when_it_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    drop(Embedded::open(&path).unwrap());
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(Embedded::open(&path).unwrap());
    assert_eq!(mode(), 0o600);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let _store = Embedded::open(&path).unwrap();
    let refused = Embedded::open(&path).unwrap_err();
    assert_eq!(refused.to_string(), format!("opening the store {}: another process uses it", path.display()));
}

#[tokio::test]
async fn a_newer_format_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    drop(Embedded::open(&path).unwrap());
    {
        let database = redb::Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let table = redb::TableDefinition::<&str, u64>::new("meta");
        transaction.open_table(table).unwrap().insert("format", 7).unwrap();
        transaction.commit().unwrap();
    }
    let refused = Embedded::open(&path).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 7, supported: 1, .. }), "{refused}");
}

#[test]
fn a_damaged_file_is_named_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    {
        let store = Embedded::open(&path).unwrap();
        runtime.block_on(async {
            for i in 0..200 {
                store.create(&format!("pods/{i}"), json(&"x".repeat(500))).await.unwrap();
            }
        });
    }
    let whole = std::fs::read(&path).unwrap();
    let needle = b"xxxxxxxxxxxxxxxx";
    let value = whole.windows(needle.len()).rposition(|w| w == needle).unwrap();
    let mut flipped = whole.clone();
    // Every copy of the text, also in pages that are free by now.
    for at in 0..=value {
        if &whole[at..at + needle.len()] == needle {
            flipped[at] = b'y';
        }
    }
    let damages: [(&str, Vec<u8>); 5] = [
        ("emptied", Vec::new()),
        ("not a store", b"#!/bin/sh\necho hello\n".repeat(1000)),
        ("cut off", whole[..whole.len() / 2].to_vec()),
        ("zeroed header", [vec![0; 4096], whole[4096..].to_vec()].concat()),
        ("flipped bits in the objects", flipped),
    ];
    for (damage, bytes) in damages {
        std::fs::write(&path, &bytes).unwrap();
        let refused = Embedded::open(&path).expect_err(damage);
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{damage}: {refused:?}");
        assert!(refused.to_string().contains(&path.display().to_string()), "{damage}: {refused}");
        assert!(path.exists(), "{damage}");
    }
    std::fs::write(&path, &whole).unwrap();
    let store = Embedded::open(&path).unwrap();
    assert_eq!(runtime.block_on(store.list(Range::default())).unwrap().records.len(), 200);
}

/// Names the store's file for the process that is to be killed.
const VICTIM: &str = "NODELET_TEST_STORE";
/// Rounds of the kill test; more can be asked for.
const ROUNDS: &str = "NODELET_TEST_KILLS";

/// The process that is killed: eight writers that say what was acknowledged. Does nothing in an ordinary test run.
#[test]
fn victim_of_the_kill_test() {
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = Arc::new(Embedded::open(Path::new(&path)).unwrap());
    let start = runtime.block_on(store.revision()).unwrap();
    runtime.block_on(futures::future::join_all((0..8_u64).map(|writer| {
        let store = store.clone();
        async move {
            let key = format!("pods/{writer}");
            let mut current = store.get(&key).await.unwrap();
            for i in 0_u64.. {
                let value = json(&format!("{start}-{i}"));
                let record = match &current {
                    None => store.create(&key, value).await.unwrap(),
                    Some(record) => store.update(&key, value, record.mod_revision).await.unwrap(),
                };
                // One write call, so that lines are whole.
                let line = format!("ack {writer} {start}-{i} {}\n", record.mod_revision);
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                std::io::stdout().flush().unwrap();
                current = Some(record);
            }
        }
    })));
}

#[test]
fn no_acknowledged_write_is_lost_and_no_revision_repeats_over_kills() {
    let rounds: u64 = std::env::var(ROUNDS).ok().and_then(|r| r.parse().ok()).unwrap_or(12);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let mut last: BTreeMap<String, (String, u64)> = BTreeMap::new();
    let mut highest = 0;
    let mut acknowledged = 0;
    for round in 0..rounds {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "--test-threads=1",
                "store::embedded::tests::victim_of_the_kill_test",
            ])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(victim.stdout.take().unwrap());
        // Killed in the middle of the work, each time after another number of acknowledgements.
        let enough = 20 + round * 37 % 300;
        let mut seen = 0;
        let mut line = String::new();
        let mut killed = false;
        loop {
            line.clear();
            if output.read_line(&mut line).unwrap() == 0 {
                break;
            }
            // What the test harness prints may stand before the first acknowledgement on its line.
            let Some(ack) = line.find("ack ").filter(|_| line.ends_with('\n')) else { continue };
            let words: Vec<&str> = line[ack..].split_whitespace().collect();
            let revision: u64 = words[3].parse().unwrap();
            let before = last.insert(format!("pods/{}", words[1]), (words[2].to_owned(), revision));
            assert!(before.is_none_or(|(_, before)| before < revision), "revisions of a key only grow");
            highest = highest.max(revision);
            seen += 1;
            if seen >= enough && !killed {
                victim.kill().unwrap();
                killed = true;
            }
        }
        victim.wait().unwrap();
        assert!(killed, "the victim ended by itself: {line}");
        acknowledged += seen;

        let store = Embedded::open(&path).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let told = Arc::new(Told::default());
        runtime.block_on(store.attach(told.clone())).unwrap();
        let content = told.content.lock().unwrap().take().unwrap();
        assert!(content.revision >= highest, "the revision went back: {} < {highest}", content.revision);
        for (key, (text, revision)) in &last {
            let record = runtime.block_on(store.get(key)).unwrap().expect("an acknowledged key is there");
            // A write that was not acknowledged may be there too.
            assert!(record.mod_revision >= *revision, "{key}: {record:?} is older than {revision}");
            if record.mod_revision == *revision {
                assert_eq!(record.value, json(text), "{key}");
            }
        }
        let revisions: Vec<u64> = content.changes.iter().map(|c| c.revision).collect();
        assert!(revisions.windows(2).all(|w| w[0] < w[1]), "each change has its own revision");
        highest = highest.max(content.revision);
    }
    assert!(acknowledged >= rounds * 20);
}
