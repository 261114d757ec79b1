//! The order of a merged list: the patch's order for what it names, the original's for the rest, interleaved as the original was.

use std::collections::HashMap;

use serde_json::Value;

/// What makes an item the same as another: the value of its key, or itself in a list of scalars.
pub(super) fn identity<'a>(item: &'a Value, key: &str) -> Option<&'a Value> {
    if key.is_empty() { Some(item) } else { item.get(key) }
}

/// Where the items of a list stand; of several with the same identity the first.
struct Places<'a> {
    places: HashMap<&'a Value, usize>,
    key: &'a str,
}

impl<'a> Places<'a> {
    fn of(list: &'a [Value], key: &'a str) -> Self {
        let mut places = HashMap::with_capacity(list.len());
        for (place, item) in list.iter().enumerate() {
            if let Some(identity) = identity(item, key) {
                places.entry(identity).or_insert(place);
            }
        }
        Self { places, key }
    }

    fn get(&self, item: &Value) -> Option<usize> {
        self.places.get(identity(item, self.key)?).copied()
    }
}

/// Arranges `merged`. Items of `lead` keep its order among themselves, all others that of `original`; one of the others comes before
/// one of the first wherever `original` had it so.
pub(super) fn arrange(merged: Vec<Value>, lead: &[Value], original: &[Value], key: &str) -> Vec<Value> {
    let (lead, original) = (Places::of(lead, key), Places::of(original, key));
    let (mut first, mut rest): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|item| lead.get(item).is_some());
    first.sort_by_key(|item| lead.get(item));
    rest.sort_by_key(|item| original.get(item).unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(first.len() + rest.len());
    let mut rest = rest.into_iter().peekable();
    for item in first {
        let limit = original.get(&item);
        while let Some(other) = rest.peek() {
            match (original.get(other), limit) {
                (Some(other), Some(limit)) if other < limit => arranged.extend(rest.next()),
                _ => break,
            }
        }
        arranged.push(item);
    }
    arranged.extend(rest);
    arranged
}
