//! Random writes against a model, with watchers that join, resume, lag and select.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::store::Record;

/// Everything that ever happened, kept for ever.
#[derive(Default)]
struct Model {
    objects: BTreeMap<Arc<str>, Record>,
    changes: Vec<Change>,
}

impl Model {
    fn revision(&self) -> u64 {
        self.changes.last().map_or(0, |c| c.revision)
    }

    /// Creates, changes or deletes a key. Revisions have gaps.
    fn write(&mut self, key: &str, red: bool, delete: bool, gap: u64) -> Change {
        let revision = self.revision() + 1 + gap;
        let key: Arc<str> = key.into();
        let before = self.objects.get(&key).cloned();
        let after = (!(delete && before.is_some())).then(|| Record {
            value: serde_json::to_vec(&json!({"metadata": {"labels": {"red": red}}, "at": revision}))
                .unwrap()
                .into(),
            mod_revision: revision,
            create_revision: before.as_ref().map_or(revision, |b| b.create_revision),
        });
        match &after {
            Some(record) => self.objects.insert(key.clone(), record.clone()),
            None => self.objects.remove(&key),
        };
        let change = Change { revision, key, before, after };
        self.changes.push(change.clone());
        change
    }

    fn at(&self, revision: u64, prefix: &str) -> BTreeMap<Arc<str>, u64> {
        let mut objects = BTreeMap::new();
        for change in self.changes.iter().filter(|c| c.revision <= revision && c.key.starts_with(prefix)) {
            match &change.after {
                Some(record) => objects.insert(change.key.clone(), record.mod_revision),
                None => objects.remove(&change.key),
            };
        }
        objects
    }

    fn red_at(&self, revision: u64, prefix: &str) -> BTreeMap<Arc<str>, u64> {
        let mut objects = self.at(revision, prefix);
        objects.retain(|key, at| {
            let change = self.changes.iter().find(|c| c.key == *key && c.revision == *at).unwrap();
            red(&serde_json::from_slice(&change.after.as_ref().unwrap().value).unwrap())
        });
        objects
    }
}

fn red(object: &Value) -> bool {
    object["metadata"]["labels"]["red"] == true
}

/// A client: what it believes exists, in all and of those that its selector accepts.
struct Client {
    prefix: &'static str,
    position: u64,
    all: BTreeMap<Arc<str>, u64>,
    red: BTreeMap<Arc<str>, u64>,
}

impl Client {
    fn list(state: &State, prefix: &'static str) -> Self {
        let objects = state.objects(prefix, None);
        let all = objects.iter().map(|o| (o.key().clone(), o.revision())).collect();
        let red =
            objects.iter().filter(|o| red(&o.value())).map(|o| (o.key().clone(), o.revision())).collect();
        Self { prefix, position: state.revision(), all, red }
    }

    /// Takes some events; a client that is told 410 lists again, which it may be only if it was behind.
    fn pull(&mut self, state: &State, model: &Model, limit: usize) {
        let (events, position) = match state.pull(self.prefix, self.position, limit) {
            Ok(pulled) => pulled,
            Err(floor) => {
                assert!(self.position < floor);
                let missed = |c: &&Change| c.revision > self.position && c.revision <= floor;
                assert!(model.changes.iter().find(missed).is_some(), "410 only if an event is gone");
                *self = Self::list(state, self.prefix);
                return;
            }
        };
        let expected: Vec<u64> = model
            .changes
            .iter()
            .filter(|c| {
                c.revision > self.position && c.revision <= position && c.key.starts_with(self.prefix)
            })
            .map(|c| c.revision)
            .collect();
        let told: Vec<u64> = events.iter().map(|e| e.revision()).collect();
        assert_eq!(told, expected, "each event once and in order");
        assert!(events.len() < limit || position <= state.revision());
        for event in &events {
            follow(&mut self.all, &event.seen_by_all());
            if let Some(sight) = event.seen_by(red) {
                follow(&mut self.red, &sight);
            }
        }
        self.position = position;
        assert_eq!(self.all, model.at(position, self.prefix));
        assert_eq!(self.red, model.red_at(position, self.prefix));
    }
}

/// What a client does with an event, with the checks that a strict one makes.
fn follow(view: &mut BTreeMap<Arc<str>, u64>, sight: &crate::cache::Sight) {
    let key = sight.object.key().clone();
    match sight.kind {
        EventKind::Added => assert!(view.insert(key, sight.object.revision()).is_none(), "added twice"),
        EventKind::Modified => {
            assert!(view.insert(key, sight.object.revision()).is_some(), "modified, but unknown")
        }
        EventKind::Deleted => assert!(view.remove(&key).is_some(), "deleted, but unknown"),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(usize, bool, bool, u64)>),
    Join(usize),
    Pull { client: usize, limit: usize },
    ListAt { back: u64, prefix: usize },
    Restart { kept: usize },
}

const PREFIXES: [&str; 4] = ["pods/", "pods/a/", "nodes/", "leases/"];
const KEYS: [&str; 6] = ["pods/a/1", "pods/a/2", "pods/b/1", "nodes/1", "nodes/2", "leases/x/1"];

fn step() -> impl Strategy<Value = Step> {
    let write = (0..KEYS.len(), any::<bool>(), proptest::bool::weighted(0.3), 0..3_u64);
    prop_oneof![
        4 => proptest::collection::vec(write, 1..5).prop_map(Step::Commit),
        1 => (0..PREFIXES.len()).prop_map(Step::Join),
        4 => (0..8_usize, 1..6_usize).prop_map(|(client, limit)| Step::Pull { client, limit }),
        2 => (0..20_u64, 0..PREFIXES.len()).prop_map(|(back, prefix)| Step::ListAt { back, prefix }),
        1 => (0..12_usize).prop_map(|kept| Step::Restart { kept }),
    ]
}

proptest! {
    #[test]
    fn clients_see_exactly_what_happened(
        events in 1..12_usize,
        bytes in 1000..40_000_usize,
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let limits = Limits { events, bytes };
        let mut state = State::new(limits);
        let mut model = Model::default();
        let mut clients: Vec<Client> = Vec::new();
        for step in steps {
            match step {
                Step::Commit(writes) => {
                    let changes = writes.into_iter().map(|(key, red, del, gap)| model.write(KEYS[key], red, del, gap));
                    state.apply(changes.collect());
                }
                Step::Join(prefix) => clients.push(Client::list(&state, PREFIXES[prefix])),
                Step::Pull { client, limit } if !clients.is_empty() => {
                    let client = client % clients.len();
                    clients[client].pull(&state, &model, limit);
                }
                Step::Pull { .. } => {}
                Step::ListAt { back, prefix } => {
                    let revision = model.revision().saturating_sub(back);
                    match state.objects_at(PREFIXES[prefix], None, revision) {
                        Ok(objects) => {
                            let found: BTreeMap<_, _> = objects.iter().map(|o| (o.key().clone(), o.revision())).collect();
                            prop_assert_eq!(found, model.at(revision, PREFIXES[prefix]));
                            prop_assert!(objects.is_sorted_by_key(|o| o.key().clone()));
                        }
                        Err(floor) => prop_assert!(revision < floor && floor <= model.revision()),
                    }
                }
                // Another process, or a store that lost track: the clients stay where they are.
                Step::Restart { kept } => {
                    let split = model.changes.len().saturating_sub(kept);
                    let floor = split.checked_sub(1).map_or(0, |last| model.changes[last].revision);
                    let content = Content {
                        revision: model.revision(),
                        records: model.objects.clone().into_iter().collect(),
                        floor,
                        changes: model.changes[split..].to_vec(),
                    };
                    if kept % 2 == 0 {
                        state = State::new(limits);
                    }
                    state.load(content);
                }
            }
            let size: usize = state.resources.values().map(|r| r.window.events.len()).sum();
            prop_assert!(size <= events * state.resources.len());
        }
        for mut client in clients {
            // A client that goes on ends with the truth.
            while client.position < state.revision() {
                client.pull(&state, &model, 3);
            }
            prop_assert_eq!(client.all, model.at(model.revision(), client.prefix));
        }
    }
}

#[test]
fn a_window_is_bounded_by_bytes_but_keeps_the_last_event() {
    let mut state = State::new(Limits { events: 100, bytes: 4000 });
    let mut model = Model::default();
    for _ in 0..50 {
        let change = model.write("pods/a/1", true, false, 0);
        state.apply(vec![change]);
    }
    let window = &state.resources["pods"].window;
    assert!(window.bytes <= 4000 && window.events.len() > 1, "{} bytes", window.bytes);
    let large = Record { value: vec![b' '; 9000].into(), mod_revision: 51, create_revision: 51 };
    state.apply(vec![Change { revision: 51, key: "pods/a/2".into(), before: None, after: Some(large) }]);
    assert_eq!(state.pull("pods/", 50, 10).unwrap().0.len(), 1);
}

#[test]
fn only_the_watchers_of_a_resource_are_woken_and_once_per_commit() {
    let mut state = State::new(Limits::default());
    let mut model = Model::default();
    let (mut pods, mut nodes) = (state.subscribe("pods/"), state.subscribe("nodes/"));
    pods.mark_unchanged();
    nodes.mark_unchanged();
    let changes = vec![model.write("pods/a/1", true, false, 0), model.write("pods/b/1", true, false, 0)];
    let wakes = state.apply(changes);
    assert_eq!(wakes.0.len(), 1);
    wakes.wake(2);
    assert!(pods.has_changed().unwrap());
    assert!(!nodes.has_changed().unwrap());
}
