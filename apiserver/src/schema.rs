//! The types of all bodies: which fields there are, what they hold, and how lists merge.
//!
//! The facts come from `k8s-openapi`'s schemas, compiled once, when first needed, into a small tree without the texts; sub-types
//! are shared by index. How lists merge is not in those schemas: it stands in `schema/lists.rs`. [`decode`] reads JSON and
//! YAML and reports duplicate fields, [`check`] compares an object with its type, normalises it, and reports unknown fields;
//! strategic merge patches ([`crate::patch`]) and OpenAPI documents ([`crate::openapi`]) use the same tree and table.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use k8s_openapi::schemars::SchemaGenerator;
use k8s_openapi::schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::kinds::{self, Body};

mod check;
mod decode;
mod formats;
pub(crate) mod lists;
mod protobuf;

pub(crate) use check::check;
pub(crate) use decode::{Format, Syntax, decode};
use lists::ListKind;

/// A body that cannot be an object of its kind; a 400 whose message is [`DecodeError::message`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("{0}")]
    Syntax(String),
    #[error(transparent)]
    Type(#[from] check::TypeError),
    #[error(transparent)]
    Metadata(#[from] check::MetadataError),
}

impl DecodeError {
    /// The whole message of the 400.
    pub(crate) fn message(&self, body: &Body) -> String {
        match self {
            Self::Metadata(error) => error.to_string(),
            other => cannot_be_handled(body, other),
        }
    }
}

/// The message of a 400, for a body that cannot be decoded and for what strict validation refuses.
pub(crate) fn cannot_be_handled(body: &Body, error: &dyn fmt::Display) -> String {
    format!("{} in version \"{}\" cannot be handled as a {}: {error}", body.kind, body.version, body.kind)
}

/// The message for what only strict field validation refuses.
pub(crate) fn strict_error(complaints: &[String]) -> String {
    format!("strict decoding error: {}", complaints.join(", "))
}

/// A type. Numbers are whole unless they are `Number`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Any JSON value.
    Any,
    Boolean,
    Int32,
    Int64,
    Number,
    Text,
    /// RFC 3339 to the second.
    Time,
    /// RFC 3339 to the microsecond.
    MicroTime,
    /// Base64.
    Bytes,
    IntOrString,
    Quantity,
    List(Box<Shape>),
    Map(Box<Shape>),
    Object(ObjectId),
}

/// The index of an [`Object`] in [`Types`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ObjectId(u16);

/// A structure with named fields.
#[derive(Debug)]
pub(crate) struct Object {
    /// The definition's name, as `io.k8s.api.core.v1.PodSpec`.
    pub(crate) name: Box<str>,
    /// Sorted by name.
    fields: Box<[Field]>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Box<str>,
    pub(crate) shape: Shape,
    /// How the list merges; `None` for what is no list, and for lists that a patch replaces.
    pub(crate) list: Option<&'static ListKind>,
}

impl Object {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|f| (*f.name).cmp(name)).ok().map(|i| &self.fields[i])
    }

    #[cfg(test)]
    fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|f| &*f.name)
    }

    /// The name as Go prints the type: `v1.PodSpec`.
    pub(crate) fn go_name(&self) -> &str {
        let last = self.name.rfind('.').unwrap_or(0);
        let start = self.name[..last].rfind('.').map_or(0, |dot| dot + 1);
        &self.name[start..]
    }

    /// `PodSpec`.
    pub(crate) fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }
}

/// All types.
#[derive(Debug)]
pub(crate) struct Types {
    objects: Vec<Object>,
    /// By group, version and kind.
    roots: HashMap<(&'static str, &'static str, &'static str), ObjectId>,
}

impl Types {
    pub(crate) fn object(&self, id: ObjectId) -> &Object {
        &self.objects[usize::from(id.0)]
    }

    /// The type of an object that names its own kind. Options may come under any group's version.
    fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Object> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let (group, version) = if kind == "DeleteOptions" { ("", "v1") } else { (group, version) };
        self.roots.get(&(group, version, kind)).map(|id| self.object(*id))
    }

    #[cfg(test)]
    fn all(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(|o| !o.fields.is_empty())
    }

    /// The type of a body, if it is known.
    pub(crate) fn root(&self, body: &Body) -> Option<ObjectId> {
        self.roots.get(&(body.group, body.version, body.kind)).copied()
    }
}

/// The compiled types.
pub(crate) fn types() -> &'static Types {
    static TYPES: LazyLock<Types> = LazyLock::new(compile);
    &TYPES
}

/// Where a definition is referred to in generated schemas.
pub(crate) const REFERENCE_PREFIX: &str = "#/definitions/";

/// A generator that has seen the bodies of all kinds of `bodies`, and the definition of each.
pub(crate) fn generator(bodies: &[Body]) -> (SchemaGenerator, Vec<String>) {
    let settings = SchemaSettings::draft07().with(|s| s.definitions_path = "/definitions".into());
    let mut generator = settings.into_generator();
    let names = bodies.iter().map(|body| (body.define)(&mut generator)).collect();
    (generator, names)
}

fn compile() -> Types {
    let bodies = kinds::bodies();
    let (mut generator, names) = generator(&bodies);
    let definitions = generator.take_definitions(false);
    let ids: HashMap<&str, ObjectId> =
        definitions.keys().enumerate().map(|(i, name)| (name.as_str(), ObjectId(i as u16))).collect();
    let shapes = Compiler { ids: &ids, definitions: &definitions };
    let objects = definitions.iter().map(|(name, schema)| shapes.object(name, schema)).collect();
    let roots = bodies
        .iter()
        .zip(&names)
        .filter_map(|(b, name)| Some(((b.group, b.version, b.kind), *ids.get(name.as_str())?)))
        .collect();
    Types { objects, roots }
}

struct Compiler<'a> {
    ids: &'a HashMap<&'a str, ObjectId>,
    definitions: &'a serde_json::Map<String, Value>,
}

impl Compiler<'_> {
    fn object(&self, name: &str, schema: &Value) -> Object {
        let mut fields: Vec<Field> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(field, schema)| Field {
                name: field.as_str().into(),
                shape: self.shape(schema),
                list: lists::of(name, field),
            })
            .collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        Object { name: name.into(), fields: fields.into() }
    }

    fn shape(&self, schema: &Value) -> Shape {
        if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix(REFERENCE_PREFIX)) {
            return self.reference(name);
        }
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("boolean"), _) => Shape::Boolean,
            (Some("integer"), Some("int32")) => Shape::Int32,
            (Some("integer"), _) => Shape::Int64,
            (Some("number"), _) => Shape::Number,
            (Some("string"), Some("date-time")) => Shape::Time,
            (Some("string"), Some("byte")) => Shape::Bytes,
            (Some("string"), _) => Shape::Text,
            (Some("array"), _) => Shape::List(Box::new(self.shape(&schema["items"]))),
            (Some("object"), _) if schema["additionalProperties"].is_object() => {
                Shape::Map(Box::new(self.shape(&schema["additionalProperties"])))
            }
            _ => Shape::Any,
        }
    }

    /// A definition with fields is an object; others (times, quantities) are what their own schema says.
    fn reference(&self, name: &str) -> Shape {
        let short = name.rsplit('.').next().unwrap_or(name);
        match short {
            "Quantity" => return Shape::Quantity,
            "IntOrString" => return Shape::IntOrString,
            "MicroTime" => return Shape::MicroTime,
            _ => {}
        }
        match (self.definitions.get(name), self.ids.get(name)) {
            (Some(schema), Some(&id)) if schema["properties"].is_object() => Shape::Object(id),
            (Some(schema), _) => self.shape(schema),
            (None, _) => Shape::Any,
        }
    }
}

#[cfg(test)]
mod tests;
