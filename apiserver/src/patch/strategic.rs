//! Strategic merge patches: objects merge field by field, lists by the strategy and key of their field.
//!
//! Directives in a patch:
//!
//! | where | directive | meaning |
//! |---|---|---|
//! | object | `$patch: replace` / `delete` | the object becomes the patch / nothing |
//! | item of a list | `$patch: delete` | the item with this key goes |
//! | item of a list | `$patch: replace` | the list becomes the other items |
//! | object | `$retainKeys: [a, b]` | all other fields of the original go first |
//! | beside a list `f` | `$setElementOrder/f: [...]` | the order of the result |
//! | beside a list `f` | `$deleteFromPrimitiveList/f: [...]` | these scalars go |
//!
//! A null deletes a field. Null and directives never reach the result.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{PatchError, order};
use crate::schema::lists::ListKind;
use crate::schema::{ObjectId, Shape, Types};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_SCALARS: &str = "$deleteFromPrimitiveList/";

/// Applies a patch to an object of type `root`; without a type all lists are replaced.
pub(super) fn apply(
    types: &Types,
    root: Option<ObjectId>,
    patch: &Value,
    current: &Value,
) -> Result<Value, PatchError> {
    let (Value::Object(patch), Value::Object(current)) = (patch, current) else {
        return Err(PatchError::Malformed(
            "error decoding patch: a strategic merge patch must be an object".to_owned(),
        ));
    };
    let shape = root.map_or(Shape::Any, Shape::Object);
    let merged = Merge { types, path: String::new() }.object(&shape, current.clone(), patch)?;
    Ok(Value::Object(merged))
}

struct Merge<'a> {
    types: &'a Types,
    /// Where the merge is, for messages.
    path: String,
}

type Fields = Map<String, Value>;

impl Merge<'_> {
    fn malformed(&self, problem: &str) -> PatchError {
        let place = if self.path.is_empty() { "the object" } else { &self.path };
        PatchError::Malformed(format!("invalid strategic merge patch at {place}: {problem}"))
    }

    /// Runs `step` with the path extended.
    fn at<T>(
        &mut self,
        step: &str,
        run: impl FnOnce(&mut Self) -> Result<T, PatchError>,
    ) -> Result<T, PatchError> {
        let length = self.path.len();
        if length > 0 && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        let result = run(self);
        self.path.truncate(length);
        result
    }

    /// The type and list strategy of a field.
    fn field(&self, shape: &Shape, name: &str) -> (Shape, Option<&'static ListKind>) {
        match shape {
            Shape::Object(id) => match self.types.object(*id).field(name) {
                Some(field) => (field.shape.clone(), field.list),
                None => (Shape::Any, None),
            },
            Shape::Map(item) => ((**item).clone(), None),
            _ => (Shape::Any, None),
        }
    }

    fn object(&mut self, shape: &Shape, mut original: Fields, patch: &Fields) -> Result<Fields, PatchError> {
        match patch.get(DIRECTIVE).map(|d| d.as_str().unwrap_or("")) {
            None | Some("merge") => {}
            Some("replace") => original.clear(),
            Some("delete") => return Ok(Fields::new()),
            Some(other) => return Err(self.malformed(&format!("unknown patch type \"{other}\""))),
        }
        if let Some(kept) = patch.get(RETAIN_KEYS) {
            self.retain_keys(&mut original, kept, patch)?;
        }
        for (name, value) in patch {
            if let Some(list) = name.strip_prefix(DELETE_SCALARS) {
                self.at(list, |merge| merge.delete_scalars(original.get_mut(list), value))?;
            } else if name.strip_prefix(SET_ORDER).is_some_and(|list| patch.contains_key(list))
                || matches!(name.as_str(), DIRECTIVE | RETAIN_KEYS)
            {
                // The order is applied with its list.
            } else if let Some(list) = name.strip_prefix(SET_ORDER) {
                let (_, kind) = self.field(shape, list);
                self.at(list, |merge| merge.reorder(kind, original.get_mut(list), value))?;
            } else {
                let order = patch.get(&format!("{SET_ORDER}{name}"));
                let merged = self
                    .at(name, |merge| merge.field_value(shape, name, original.remove(name), value, order))?;
                if let Some(merged) = merged {
                    original.insert(name.clone(), merged);
                }
            }
        }
        Ok(original)
    }

    /// The new value of a field; `None` if it goes.
    fn field_value(
        &mut self,
        holder: &Shape,
        name: &str,
        original: Option<Value>,
        patch: &Value,
        order: Option<&Value>,
    ) -> Result<Option<Value>, PatchError> {
        let (shape, list) = self.field(holder, name);
        Ok(match (patch, original) {
            (Value::Null, _) => None,
            (Value::Object(patch), original) => {
                let original =
                    if let Some(Value::Object(fields)) = original { fields } else { Fields::new() };
                Some(Value::Object(self.object(&shape, original, patch)?))
            }
            (Value::Array(patch), original) => {
                let item = if let Shape::List(item) = &shape { (**item).clone() } else { Shape::Any };
                let original = if let Some(Value::Array(items)) = original { items } else { Vec::new() };
                Some(Value::Array(match list.filter(|l| l.merges) {
                    Some(kind) => self.list(kind, &item, original, patch, order)?,
                    None => self.items(&item, patch)?,
                }))
            }
            (scalar, _) => Some(scalar.clone()),
        })
    }

    fn retain_keys(&self, original: &mut Fields, kept: &Value, patch: &Fields) -> Result<(), PatchError> {
        let Some(kept) = kept.as_array() else {
            return Err(self.malformed("$retainKeys must be a list"));
        };
        let kept: HashSet<&str> = kept.iter().filter_map(Value::as_str).collect();
        let is_kept = |name: &str| kept.contains(name);
        if let Some(stray) = patch.keys().find(|k| !k.starts_with('$') && !is_kept(k) && !patch[*k].is_null())
        {
            return Err(self.malformed(&format!("\"{stray}\" is in the patch but not in $retainKeys")));
        }
        original.retain(|name, _| is_kept(name));
        Ok(())
    }

    /// Items that are taken over as they are, without directives.
    fn items(&mut self, shape: &Shape, patch: &[Value]) -> Result<Vec<Value>, PatchError> {
        let mut items = Vec::with_capacity(patch.len());
        for (index, item) in patch.iter().enumerate() {
            items.push(match item {
                Value::Object(fields) if fields.contains_key(DIRECTIVE) => continue,
                Value::Object(fields) => {
                    let fields =
                        self.at(&format!("[{index}]"), |merge| merge.object(shape, Fields::new(), fields))?;
                    Value::Object(fields)
                }
                other => other.clone(),
            });
        }
        Ok(items)
    }

    fn list(
        &mut self,
        kind: &ListKind,
        shape: &Shape,
        original: Vec<Value>,
        patch: &[Value],
        order: Option<&Value>,
    ) -> Result<Vec<Value>, PatchError> {
        let key = kind.patch_key;
        let merged = if key.is_empty() {
            self.set(&original, patch)?
        } else if patch.iter().any(|p| directive(p) == Some("replace")) {
            return self.items(shape, patch);
        } else {
            self.by_key(key, shape, &original, patch)?
        };
        let lead: Vec<Value> = match order {
            Some(order) => self.order(key, order, patch)?,
            None => patch.iter().filter(|p| directive(p) != Some("delete")).cloned().collect(),
        };
        Ok(order::arrange(merged, &lead, &original, key))
    }

    /// Scalars that are not there yet are added.
    fn set(&self, original: &[Value], patch: &[Value]) -> Result<Vec<Value>, PatchError> {
        if patch.iter().any(|p| p.is_object() || p.is_array()) {
            return Err(self.malformed("the list holds scalars only"));
        }
        let mut seen = HashSet::with_capacity(original.len() + patch.len());
        Ok(original.iter().chain(patch).filter(|item| seen.insert(*item)).cloned().collect())
    }

    /// Items with the same key merge, others are added; those marked so are deleted first.
    fn by_key(
        &mut self,
        key: &str,
        shape: &Shape,
        original: &[Value],
        patch: &[Value],
    ) -> Result<Vec<Value>, PatchError> {
        let mut deleted = HashSet::new();
        for (index, item) in patch.iter().enumerate() {
            let problem = match (item.get(key), directive(item)) {
                (None, _) => format!("the item does not contain declared merge key: {key}"),
                (Some(value), Some("delete")) => {
                    deleted.insert(value);
                    continue;
                }
                (Some(_), None | Some("merge")) => continue,
                (Some(_), Some(other)) => format!("unknown patch type \"{other}\""),
            };
            return self.at(&format!("[{index}]"), |merge| Err(merge.malformed(&problem)));
        }
        let is_kept = |item: &&Value| item.get(key).is_none_or(|value| !deleted.contains(value));
        let mut merged: Vec<Value> = original.iter().filter(is_kept).cloned().collect();
        let mut places: HashMap<Value, usize> = HashMap::with_capacity(merged.len());
        for (place, item) in merged.iter().enumerate() {
            if let Some(value) = item.get(key) {
                places.entry(value.clone()).or_insert(place);
            }
        }
        for (index, item) in patch.iter().enumerate() {
            let (Some(value), Some(fields)) = (item.get(key), item.as_object()) else { continue };
            if directive(item) == Some("delete") {
                continue;
            }
            let place = places.get(value).copied();
            let before = match place {
                Some(place) => merged[place].as_object().cloned().unwrap_or_default(),
                None => Fields::new(),
            };
            let after = self.at(&format!("[{index}]"), |merge| merge.object(shape, before, fields))?;
            match place {
                Some(place) => merged[place] = Value::Object(after),
                None => {
                    places.insert(value.clone(), merged.len());
                    merged.push(Value::Object(after));
                }
            }
        }
        Ok(merged)
    }

    fn delete_scalars(&self, list: Option<&mut Value>, deleted: &Value) -> Result<(), PatchError> {
        let Some(deleted) = deleted.as_array().filter(|d| !d.iter().any(|v| v.is_object() || v.is_array()))
        else {
            return Err(self.malformed("$deleteFromPrimitiveList must be a list of scalars"));
        };
        let deleted: HashSet<&Value> = deleted.iter().collect();
        if let Some(Value::Array(items)) = list {
            items.retain(|item| !deleted.contains(item));
        }
        Ok(())
    }

    /// Only the order changes.
    fn reorder(
        &self,
        kind: Option<&'static ListKind>,
        list: Option<&mut Value>,
        order: &Value,
    ) -> Result<(), PatchError> {
        let Some(kind) = kind.filter(|k| k.merges) else {
            return Err(self.malformed("$setElementOrder is for lists that merge"));
        };
        let lead = self.order(kind.patch_key, order, &[])?;
        if let Some(Value::Array(items)) = list {
            let before = std::mem::take(items);
            *items = order::arrange(before.clone(), &lead, &before, kind.patch_key);
        }
        Ok(())
    }

    /// The items of `$setElementOrder`, which must agree with the patch's own items.
    fn order(&self, key: &str, order: &Value, patch: &[Value]) -> Result<Vec<Value>, PatchError> {
        let Some(order) = order.as_array() else {
            return Err(self.malformed("$setElementOrder must be a list"));
        };
        let mut from = 0;
        for item in patch.iter().filter(|p| directive(p) != Some("delete")) {
            let rest = order.get(from..).unwrap_or(&[]);
            match rest.iter().position(|o| order::identity(o, key) == order::identity(item, key)) {
                Some(place) => from += place + 1,
                None => {
                    return Err(
                        self.malformed("the order in patch list doesn't match the $setElementOrder list")
                    );
                }
            }
        }
        Ok(order.clone())
    }
}

/// The `$patch` of an item.
fn directive(item: &Value) -> Option<&str> {
    item.get(DIRECTIVE).and_then(Value::as_str)
}
