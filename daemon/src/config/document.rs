//! YAML or JSON text as a tree that remembers the line of every value, so that an error found after merging and
//! defaulting can still name the file and line that caused it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

/// The kubelet's limit for a manifest; no configuration comes near it.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 10 << 20;

/// Where a value came from: a line of a file, or a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `line` counts from one.
    File { path: Arc<PathBuf>, line: u64 },
    /// The flag's name with its dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The origins of all fields, by their path in dotted form (`authentication.x509.clientCAFile`, `clusterDNS[0]`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// The origin of `field`, or of the nearest enclosing field that has one.
    pub(crate) fn of(&self, field: &str) -> Option<&Origin> {
        let mut path = field;
        loop {
            if let Some(origin) = self.0.get(path) {
                return Some(origin);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Takes over what a later source sets. A list is replaced as a whole, so the old elements' origins go first.
    pub(crate) fn overlay(&mut self, later: Origins) {
        for path in later.0.keys() {
            let below = format!("{path}[");
            self.0.retain(|known, _| !known.starts_with(&below));
        }
        self.0.extend(later.0);
    }

    /// Drops what is known about `field` and everything in it.
    pub(crate) fn forget(&mut self, field: &str) {
        self.0.retain(|known, _| {
            !known.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
    }

    pub(crate) fn set(&mut self, field: &str, origin: Origin) {
        self.0.insert(field.to_owned(), origin);
    }
}

/// One parsed document: the plain value, and where each of its fields stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) origins: Origins,
}

/// The text is not one well-formed document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParseError {
    #[error("{path}: larger than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge { path: String },
    #[error("{path}:{line}: {message}")]
    Syntax { path: String, line: u64, message: String },
}

/// Parses `text`; `path` only names it in messages.
pub(crate) fn parse(text: &str, path: &Path) -> Result<Document, ParseError> {
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(ParseError::TooLarge { path: path.display().to_string() });
    }
    let mut options = serde_saphyr::Options::default();
    // A mode of 0644 is octal to everybody who writes a manifest, as it is to a kubelet.
    options.legacy_octal_numbers = true;
    let tree: Spanned<Node> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| ParseError::Syntax {
            path: path.display().to_string(),
            line: error.location().map_or(1, |location| location.line()),
            message: first_line(&error.without_snippet().to_string()),
        })?;
    let path = Arc::new(path.to_path_buf());
    let mut origins = Origins::default();
    let value = flatten(tree.value, &mut String::new(), &path, &mut origins);
    Ok(Document { value, origins })
}

/// The parser's text ends with a picture of the line or a repetition of the position; the first line says it all.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Fields(Vec<(Spanned<String>, Spanned<Node>)>),
}

fn flatten(node: Node, field: &mut String, path: &Arc<PathBuf>, origins: &mut Origins) -> Value {
    let origin = |line: u64| Origin::File { path: Arc::clone(path), line };
    match node {
        Node::Scalar(value) => value,
        Node::List(items) => {
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.into_iter().enumerate() {
                let length = field.len();
                field.push_str(&format!("[{index}]"));
                origins.set(field, origin(item.referenced.line()));
                list.push(flatten(item.value, field, path, origins));
                field.truncate(length);
            }
            Value::Array(list)
        }
        Node::Fields(fields) => {
            let mut object = Map::new();
            for (key, item) in fields {
                let length = field.len();
                if !field.is_empty() {
                    field.push('.');
                }
                field.push_str(&key.value);
                origins.set(field, origin(key.referenced.line()));
                let value = flatten(item.value, field, path, origins);
                object.insert(key.value, value);
                field.truncate(length);
            }
            Value::Object(object)
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a scalar, a list or fields")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        serde_json::Number::from_f64(value)
            .map(|number| Node::Scalar(Value::Number(number)))
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Scalar(Value::String(value)))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = access.next_entry()? {
            fields.push(entry);
        }
        Ok(Node::Fields(fields))
    }
}

#[cfg(test)]
mod tests;
