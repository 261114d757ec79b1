//! From bytes to a tree, with the duplicate fields that a plain parser would swallow.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{DecodeError, protobuf};

/// The syntax of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Yaml,
}

/// The syntax of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Json,
    Yaml,
    Protobuf,
}

/// A body that was read. Of duplicate fields the last stands.
#[derive(Debug, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    /// Complaints for strict validation: `duplicate field "spec.containers[0].image"`.
    pub(crate) duplicates: Vec<String>,
}

/// Reads one document. The request path bounds its size, the parsers its depth.
pub(crate) fn decode(body: &[u8], syntax: Syntax) -> Result<Decoded, DecodeError> {
    let tree: Tree = match syntax {
        Syntax::Json => {
            serde_json::from_slice(body).map_err(|e| DecodeError::Syntax(format!("json: {e}")))?
        }
        Syntax::Yaml => {
            let mut options = serde_saphyr::Options::default();
            // A mode of 0644 is octal, as kubectl takes it.
            options.legacy_octal_numbers = true;
            options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::PassThrough;
            serde_saphyr::from_slice_with_options(body, options)
                .map_err(|e| DecodeError::Syntax(format!("yaml: {}", e.without_snippet())))?
        }
        Syntax::Protobuf => Tree::leaf(protobuf::decode(body)?),
    };
    let duplicates = tree.duplicates.iter().map(|path| format!("duplicate field \"{path}\"")).collect();
    Ok(Decoded { value: tree.value, duplicates })
}

/// How many duplicate fields are reported; the others stay unsaid.
const DUPLICATES_LIMIT: usize = 100;

/// A value and the paths of its duplicate fields, relative to it.
struct Tree {
    value: Value,
    duplicates: Vec<String>,
}

impl Tree {
    fn leaf(value: impl Into<Value>) -> Self {
        Self { value: value.into(), duplicates: Vec::new() }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

/// Hands the paths of a child's duplicates up, below `step`.
fn adopt(duplicates: &mut Vec<String>, step: &str, child: Vec<String>) {
    for path in child {
        if duplicates.len() < DUPLICATES_LIMIT {
            let dot = if path.starts_with('[') { "" } else { "." };
            duplicates.push(format!("{step}{dot}{path}"));
        }
    }
}

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::leaf(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::leaf(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        Tree::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::leaf(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::leaf(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::leaf(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Tree, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number that is not finite"))?;
        Ok(Tree::leaf(Value::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::leaf(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Tree, E> {
        Ok(Tree::leaf(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
        let (mut items, mut duplicates) = (Vec::new(), Vec::new());
        while let Some(item) = seq.next_element::<Tree>()? {
            adopt(&mut duplicates, &format!("[{}]", items.len()), item.duplicates);
            items.push(item.value);
        }
        Ok(Tree { value: Value::Array(items), duplicates })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree, A::Error> {
        let (mut map, mut duplicates) = (Map::new(), Vec::new());
        while let Some(key) = access.next_key::<Key>()? {
            let item: Tree = access.next_value()?;
            adopt(&mut duplicates, &key.0, item.duplicates);
            if map.contains_key(&key.0) && duplicates.len() < DUPLICATES_LIMIT {
                duplicates.push(key.0.clone());
            }
            map.insert(key.0, item.value);
        }
        Ok(Tree { value: Value::Object(map), duplicates })
    }
}

/// A map's key; YAML allows more than strings, and Kubernetes takes scalars as their text.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Tree::deserialize(deserializer)?.value {
            Value::String(text) => Ok(Self(text)),
            Value::Array(_) | Value::Object(_) => Err(D::Error::custom("a field's name must be a string")),
            scalar => Ok(Self(scalar.to_string())),
        }
    }
}
