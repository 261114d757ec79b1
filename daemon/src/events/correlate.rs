//! Which API object an occurrence becomes: a new event, or a higher count of a known one. Pure.
//!
//! The same three steps as client-go's correlator, with its figures: similar events are combined (more than 10 that differ
//! only in their message within 10 minutes), identical ones counted, and each object may cause only so many (a bucket of
//! 25, one more each 5 minutes).

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use tokio::time::Instant;

use super::Occurrence;

const SIMILAR_MOST: usize = 10;
const SIMILAR_WINDOW: Duration = Duration::from_secs(600);
const SPAM_BURST: f64 = 25.0;
const SPAM_PER_SECOND: f64 = 1.0 / 300.0;
/// Entries in each of the three tables. client-go keeps 4096; a node has at most some hundred pods that speak at once.
const REMEMBERED: usize = 1_024;
const MESSAGE_BYTES: usize = 1_024;

/// What is to be written: `event` as a whole when it is new, its count, time and message when the API has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    pub(super) event: Box<Event>,
    pub(super) exists: bool,
}

/// Stands for an object, or for an event of one, however long its words are: two hashes with secret keys, so that no two that anybody can
/// think of are taken for one. Pods come and go, and the words of a thousand of their events would be a megabyte.
type Digest = [u64; 2];

#[derive(Debug)]
struct Seen {
    /// What its name ends with; before that stands the object's.
    suffix: i64,
    count: i32,
    first: Timestamp,
    at: Instant,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// In place, as all that these tables hold: small pieces that outlive their pods would keep whole pages of the heap.
#[derive(Debug)]
struct Messages {
    distinct: [u64; SIMILAR_MOST],
    known: usize,
    at: Instant,
}

/// See the module's page.
#[derive(Debug)]
pub(super) struct Correlator {
    node_name: String,
    keys: [RandomState; 2],
    /// By object.
    buckets: HashMap<Digest, Bucket>,
    /// By what identifies events that differ in their message only.
    messages: HashMap<Digest, Messages>,
    /// By event.
    seen: HashMap<Digest, Seen>,
    last_name: i64,
}

impl Correlator {
    pub(super) fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            keys: [RandomState::new(), RandomState::new()],
            buckets: HashMap::new(),
            messages: HashMap::new(),
            seen: HashMap::new(),
            last_name: 0,
        }
    }

    /// The write that `occurrence` asks for; `None` when its object has had too many.
    pub(super) fn observe(&mut self, mut occurrence: Occurrence, now: Instant) -> Option<Write> {
        truncate(&mut occurrence.message);
        let object = self.digest(&object_key(&occurrence.object));
        if !self.admit(object, now) {
            return None;
        }
        let similar = self.digest(&(object, occurrence.warning, &occurrence.reason));
        let key = if self.is_one_of_many(similar, &occurrence.message, now) {
            occurrence.message = format!("(combined from similar events): {}", occurrence.message);
            truncate(&mut occurrence.message);
            self.digest(&(similar, None::<&str>))
        } else {
            self.digest(&(similar, Some(occurrence.message.as_str())))
        };
        if let Some(seen) = self.seen.get_mut(&key) {
            seen.count = seen.count.saturating_add(1);
            seen.at = now;
            let (suffix, count, first) = (seen.suffix, seen.count, seen.first);
            return Some(Write { event: self.event(occurrence, suffix, count, first), exists: true });
        }
        self.last_name = i64::try_from(occurrence.at.as_nanosecond()).unwrap_or(0).max(self.last_name + 1);
        let (suffix, first) = (self.last_name, occurrence.at);
        forget_oldest(&mut self.seen, |seen| seen.at);
        self.seen.insert(key, Seen { suffix, count: 1, first, at: now });
        Some(Write { event: self.event(occurrence, suffix, 1, first), exists: false })
    }

    fn digest(&self, of: &impl Hash) -> Digest {
        self.keys.each_ref().map(|key| key.hash_one(of))
    }

    fn admit(&mut self, object: Digest, now: Instant) -> bool {
        if !self.buckets.contains_key(&object) {
            forget_oldest(&mut self.buckets, |bucket| bucket.at);
        }
        let bucket = self.buckets.entry(object).or_insert(Bucket { tokens: SPAM_BURST, at: now });
        let refill = now.duration_since(bucket.at).as_secs_f64() * SPAM_PER_SECOND;
        bucket.tokens = (bucket.tokens + refill).min(SPAM_BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    fn is_one_of_many(&mut self, similar: Digest, message: &str, now: Instant) -> bool {
        let hash = self.keys[0].hash_one(message);
        if !self.messages.contains_key(&similar) {
            forget_oldest(&mut self.messages, |messages| messages.at);
        }
        let messages = self.messages.entry(similar).or_insert(Messages {
            distinct: [0; SIMILAR_MOST],
            known: 0,
            at: now,
        });
        if now.duration_since(messages.at) > SIMILAR_WINDOW {
            messages.known = 0;
        }
        messages.at = now;
        if messages.distinct[..messages.known].contains(&hash) {
            return false;
        }
        let Some(free) = messages.distinct.get_mut(messages.known) else { return true };
        *free = hash;
        messages.known += 1;
        false
    }

    /// The object as a kubelet's is, field for field.
    fn event(&self, occurrence: Occurrence, suffix: i64, count: i32, first: Timestamp) -> Box<Event> {
        let Occurrence { object, warning, reason, message, at, annotations } = occurrence;
        let name = format!("{}.{suffix:x}", object.name.as_deref().unwrap_or_default());
        let namespace = object.namespace.clone().filter(|namespace| !namespace.is_empty());
        Box::new(Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
                annotations: (!annotations.is_empty()).then_some(annotations),
                ..ObjectMeta::default()
            },
            count: Some(count),
            first_timestamp: Some(Time(whole_seconds(first))),
            last_timestamp: Some(Time(whole_seconds(at))),
            involved_object: object,
            message: Some(message),
            reason: Some(reason),
            type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(self.node_name.clone()),
            }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.node_name.clone()),
            ..Event::default()
        })
    }
}

/// `metav1.Time` has whole seconds on the wire.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn truncate(message: &mut String) {
    if message.len() > MESSAGE_BYTES {
        let end = message.floor_char_boundary(MESSAGE_BYTES - 3);
        message.truncate(end);
        message.push_str("...");
    }
}

/// What identifies an object.
fn object_key(object: &ObjectReference) -> [&str; 5] {
    [&object.kind, &object.namespace, &object.name, &object.uid, &object.field_path]
        .map(|part| part.as_deref().unwrap_or_default())
}

/// Makes room for one more: the tables are small, so looking through all of one is cheaper than keeping an order.
fn forget_oldest<V>(table: &mut HashMap<Digest, V>, at: impl Fn(&V) -> Instant) {
    if table.len() < REMEMBERED {
        return;
    }
    if let Some(oldest) = table.iter().min_by_key(|(_, value)| at(value)).map(|(key, _)| *key) {
        table.remove(&oldest);
    }
}
