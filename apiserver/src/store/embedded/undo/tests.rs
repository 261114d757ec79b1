use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::operation::Operation;
use super::*;

fn record(text: &str, mod_revision: u64, create_revision: u64) -> Record {
    Record { value: Bytes::copy_from_slice(text.as_bytes()), mod_revision, create_revision }
}

#[test]
fn an_entry_is_read_as_it_was_written() {
    for before in [None, Some(record("{\"a\":\"ü\"}", 7, 3))] {
        for after in [None, Some(record("{}", 9, 3))] {
            let change = Change {
                revision: 9,
                key: "pods/default/a".into(),
                before: before.clone(),
                after: after.clone(),
            };
            let undo = Undo::decode(9, &Undo::encode(&change)).unwrap();
            assert_eq!(
                undo,
                Undo { revision: 9, key: change.key, before: before.clone(), deleted: after.is_none() }
            );
        }
    }
}

#[test]
fn objects_that_contradict_the_changes_are_damage() {
    let entry = Undo { revision: 5, key: "pods/a".into(), before: None, deleted: false };
    assert!(rebuild(vec![entry.clone()], |_| None).is_err());
    assert!(rebuild(vec![entry.clone()], |_| Some(record("{}", 4, 4))).is_err());
    assert!(rebuild(vec![entry], |_| Some(record("{}", 5, 5))).is_ok());
}

#[test]
fn only_as_many_entries_are_kept_as_the_bounds_allow() {
    let mut kept = Kept::default();
    for revision in 1..=KEPT_CHANGES as u64 {
        kept.add(revision, 100);
    }
    assert_eq!(kept.prune(), None);
    kept.add(5000, 100);
    assert_eq!(kept.prune(), Some(1));
    assert_eq!(kept.prune(), None);
    kept.add(5001, KEPT_BYTES);
    let mut pruned = 0;
    while kept.prune().is_some() {
        pruned += 1;
    }
    assert_eq!(pruned, KEPT_CHANGES, "all but the large one");
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Undo::decode(1, &bytes);
        let _ = decode_record(&bytes);
    }

    /// Any sequence of writes, rebuilt from what is stored of it.
    #[test]
    fn rebuilt_changes_are_the_changes_that_were_made(steps in proptest::collection::vec((0_u8..4, any::<bool>()), 0..40)) {
        let mut objects: BTreeMap<Arc<str>, Record> = BTreeMap::new();
        let mut made = Vec::new();
        let mut stored = Vec::new();
        for (key, delete) in steps {
            let revision = made.len() as u64 + 1;
            let key: Arc<str> = format!("pods/{key}").into();
            let value = Bytes::from(format!("{{\"r\":{revision}}}"));
            let current = objects.get(&key).cloned();
            let operation = match &current {
                None => Operation::Create(value),
                Some(record) if delete => Operation::Delete { expected: record.mod_revision },
                Some(record) => Operation::Update { value, expected: record.mod_revision },
            };
            let change = operation.change(&key, current, revision).unwrap();
            match &change.after {
                Some(record) => objects.insert(key, record.clone()),
                None => objects.remove(&key),
            };
            stored.push(Undo::decode(revision, &Undo::encode(&change)).unwrap());
            made.push(change);
        }
        prop_assert_eq!(rebuild(stored, |key| objects.get(key).cloned()).unwrap(), made);
    }
}
