//! Compares an object with its type: wrong types are errors, unknown fields are complaints; the rest is normalised.

use serde_json::{Map, Value};

use super::{DecodeError, Object, ObjectId, Shape, Types, formats, types};
use crate::kinds::Body;

/// A field that cannot hold what was sent, in the words of Go's decoder, with the whole path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TypeError {
    #[error("json: cannot unmarshal {found} into Go struct field {holder}.{path} of type {expected}")]
    Mismatch { found: String, holder: String, path: String, expected: String },
    #[error("json: cannot unmarshal {found} into Go value of type {expected}")]
    Root { found: String, expected: String },
    #[error("{path}: {problem}")]
    Format { path: String, problem: String },
}

/// `apiVersion` or `kind` are not those of the request's path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("the API version in the data ({found}) does not match the expected API version ({expected})")]
    Version { found: String, expected: String },
    #[error("{found} in version \"{version}\" cannot be handled as a {expected}: unknown conversion")]
    Kind { found: String, expected: &'static str, version: &'static str },
}

/// How many complaints are reported; the others stay unsaid.
const COMPLAINTS_LIMIT: usize = 100;

/// See [`crate::kinds::Kind::check`].
pub(crate) fn check(body: &Body, object: &mut Value) -> Result<Vec<String>, DecodeError> {
    let types = types();
    let Some(root) = types.root(body) else {
        return Err(DecodeError::Syntax(format!("no type is known for {}", body.kind)));
    };
    let mut checker = Checker { types, path: String::new(), complaints: Vec::new() };
    let Value::Object(fields) = object else {
        let expected = types.object(root).go_name().to_owned();
        return Err(TypeError::Root { found: found(object, false), expected }.into());
    };
    checker.object(root, fields)?;
    identify(body, fields)?;
    Ok(checker.complaints)
}

/// Checks or fills in `apiVersion` and `kind`.
fn identify(body: &Body, fields: &mut Map<String, Value>) -> Result<(), MetadataError> {
    let expected = body.api_version();
    match fields.get("apiVersion").and_then(Value::as_str) {
        Some(found) if !found.is_empty() && found != expected => {
            return Err(MetadataError::Version { found: found.to_owned(), expected });
        }
        _ => fields.insert("apiVersion".to_owned(), expected.into()),
    };
    match fields.get("kind").and_then(Value::as_str) {
        Some(found) if !found.is_empty() && found != body.kind => {
            return Err(MetadataError::Kind {
                found: found.to_owned(),
                expected: body.kind,
                version: body.version,
            });
        }
        _ => fields.insert("kind".to_owned(), body.kind.into()),
    };
    Ok(())
}

struct Checker<'a> {
    types: &'a Types,
    /// Where the checker is; grows and shrinks with the descent.
    path: String,
    complaints: Vec<String>,
}

impl Checker<'_> {
    fn object(&mut self, id: ObjectId, fields: &mut Map<String, Value>) -> Result<(), TypeError> {
        let object = self.types.object(id);
        let length = self.path.len();
        let mut nulls = Vec::new();
        for (name, value) in fields.iter_mut() {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(name);
            match object.field(name) {
                Some(_) if value.is_null() => nulls.push(name.clone()),
                Some(field) => self.value(&field.shape, value, object)?,
                None if self.complaints.len() < COMPLAINTS_LIMIT => {
                    self.complaints.push(format!("unknown field \"{}\"", self.path));
                }
                None => {}
            }
            self.path.truncate(length);
        }
        // Null stands for "not given" wherever a field is typed.
        for name in nulls {
            fields.remove(&name);
        }
        Ok(())
    }

    fn value(&mut self, shape: &Shape, value: &mut Value, holder: &Object) -> Result<(), TypeError> {
        match (shape, &mut *value) {
            (Shape::Any, _) | (Shape::Boolean, Value::Bool(_)) | (Shape::Text, Value::String(_)) => Ok(()),
            (Shape::Number, Value::Number(_)) | (Shape::IntOrString, Value::String(_)) => Ok(()),
            (Shape::Int32 | Shape::IntOrString, Value::Number(n))
                if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) =>
            {
                Ok(())
            }
            (Shape::Int64, Value::Number(n)) if n.is_i64() => Ok(()),
            (Shape::Time, Value::String(text)) => self.rewrite(text, formats::time),
            (Shape::MicroTime, Value::String(text)) => self.rewrite(text, formats::micro_time),
            (Shape::Bytes, Value::String(text)) => self.rewrite(text, formats::base64),
            (Shape::Quantity, Value::String(text)) => self.rewrite(text, formats::quantity),
            (Shape::Quantity, Value::Number(number)) => {
                let mut text = number.to_string();
                self.rewrite(&mut text, formats::quantity)?;
                *value = Value::String(text);
                Ok(())
            }
            (Shape::List(item), Value::Array(items)) => self.list(item, items, holder),
            (Shape::Map(item), Value::Object(entries)) => self.map(item, entries, holder),
            (Shape::Object(id), Value::Object(fields)) => self.object(*id, fields),
            _ => Err(self.mismatch(shape, value, holder)),
        }
    }

    fn rewrite(
        &self,
        text: &mut String,
        normal: fn(&str) -> Result<Option<String>, String>,
    ) -> Result<(), TypeError> {
        match normal(text) {
            Ok(None) => Ok(()),
            Ok(Some(other)) => {
                *text = other;
                Ok(())
            }
            Err(problem) => Err(TypeError::Format { path: self.path.clone(), problem }),
        }
    }

    fn list(&mut self, item: &Shape, items: &mut [Value], holder: &Object) -> Result<(), TypeError> {
        let length = self.path.len();
        for (index, value) in items.iter_mut().enumerate() {
            if value.is_null() {
                *value = zero(item);
            }
            self.path.push_str(&format!("[{index}]"));
            self.value(item, value, holder)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn map(
        &mut self,
        item: &Shape,
        entries: &mut Map<String, Value>,
        holder: &Object,
    ) -> Result<(), TypeError> {
        let length = self.path.len();
        for (key, value) in entries.iter_mut() {
            if value.is_null() {
                *value = zero(item);
            }
            self.path.push('.');
            self.path.push_str(key);
            self.value(item, value, holder)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn mismatch(&self, shape: &Shape, value: &Value, holder: &Object) -> TypeError {
        let whole_number_wanted = matches!(shape, Shape::Int32 | Shape::Int64 | Shape::IntOrString);
        TypeError::Mismatch {
            found: found(value, whole_number_wanted),
            holder: holder.short_name().to_owned(),
            path: self.path.clone(),
            expected: go_type(shape, self.types),
        }
    }
}

/// What null stands for as an item of a list or map.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::Text | Shape::Bytes => Value::from(""),
        Shape::Boolean => Value::from(false),
        Shape::Int32 | Shape::Int64 | Shape::Number | Shape::IntOrString => Value::from(0),
        Shape::Quantity => Value::from("0"),
        Shape::List(_) => Value::Array(Vec::new()),
        Shape::Map(_) | Shape::Object(_) => Value::Object(Map::new()),
        Shape::Any | Shape::Time | Shape::MicroTime => Value::Null,
    }
}

/// A value as Go's decoder names it.
fn found(value: &Value, exact_number: bool) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(n) if exact_number => format!("number {n}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

fn go_type(shape: &Shape, types: &Types) -> String {
    match shape {
        Shape::Any => "interface {}".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::Int32 => "int32".to_owned(),
        Shape::Int64 => "int64".to_owned(),
        Shape::Number => "float64".to_owned(),
        Shape::Text => "string".to_owned(),
        Shape::Time => "v1.Time".to_owned(),
        Shape::MicroTime => "v1.MicroTime".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::IntOrString => "intstr.IntOrString".to_owned(),
        Shape::Quantity => "resource.Quantity".to_owned(),
        Shape::List(item) => format!("[]{}", go_type(item, types)),
        Shape::Map(item) => format!("map[string]{}", go_type(item, types)),
        Shape::Object(id) => types.object(*id).go_name().to_owned(),
    }
}
