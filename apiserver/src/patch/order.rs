//! The order of a merged list: the patch's order for what it names, the original's for the rest, interleaved as the original was.

use serde_json::Value;

/// What makes an item the same as another: the value of its key, or itself in a list of scalars.
pub(super) fn identity<'a>(item: &'a Value, key: &str) -> Option<&'a Value> {
    if key.is_empty() { Some(item) } else { item.get(key) }
}

fn place(list: &[Value], item: &Value, key: &str) -> Option<usize> {
    let wanted = identity(item, key);
    list.iter().position(|other| identity(other, key) == wanted)
}

/// Arranges `merged`. Items of `lead` keep its order among themselves, all others that of `original`; one of the others comes before
/// one of the first wherever `original` had it so.
pub(super) fn arrange(merged: Vec<Value>, lead: &[Value], original: &[Value], key: &str) -> Vec<Value> {
    let (mut first, mut rest): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|item| place(lead, item, key).is_some());
    first.sort_by_key(|item| place(lead, item, key));
    rest.sort_by_key(|item| place(original, item, key).unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(first.len() + rest.len());
    let mut rest = rest.into_iter().peekable();
    for item in first {
        let limit = place(original, &item, key);
        while let Some(other) = rest.peek() {
            match (place(original, other, key), limit) {
                (Some(other), Some(limit)) if other < limit => arranged.extend(rest.next()),
                _ => break,
            }
        }
        arranged.push(item);
    }
    arranged.extend(rest);
    arranged
}
