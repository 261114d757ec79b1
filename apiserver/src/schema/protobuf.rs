//! Bodies in the protobuf form, which typed Go clients send (`kubectl create namespace`, say): read into the same trees as JSON.
//!
//! What a field holds is known from the schemas; only its number is not, and stands in `numbers.txt`. What the form cannot tell apart is
//! taken as JSON would have it: empty texts and times count as absent, because Go writes them for every field that is no
//! pointer.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{DecodeError, Object, Shape, types};

/// What every body of this form begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Messages may be nested so deep; the deepest type of the API needs far less.
const DEPTH_LIMIT: u32 = 32;

/// Where a field of a message stands in its object.
#[derive(Debug)]
enum Place {
    Field(&'static str),
    /// The fields of this type are the object's own.
    Inline(&'static str),
}

type Numbers = HashMap<&'static str, HashMap<u32, Place>>;

fn numbers() -> &'static Numbers {
    static NUMBERS: LazyLock<Numbers> = LazyLock::new(|| {
        let lines = include_str!("numbers.txt").lines().filter(|l| !l.starts_with('#'));
        lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, fields)| (name, fields_of(fields)))
            .collect()
    });
    &NUMBERS
}

fn fields_of(text: &'static str) -> HashMap<u32, Place> {
    let field = |part: &'static str| {
        let (number, name) = part.split_once('=')?;
        let place = name.strip_prefix('>').map_or(Place::Field(name), Place::Inline);
        Some((number.parse().ok()?, place))
    };
    text.split(' ').filter_map(field).collect()
}

/// Reads a body.
pub(super) fn decode(body: &[u8]) -> Result<Value, DecodeError> {
    let syntax = |why: &str| DecodeError::Syntax(format!("protobuf: {why}"));
    let envelope = body.strip_prefix(MAGIC).ok_or_else(|| syntax("the body does not begin as one"))?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(envelope) {
        match field.map_err(syntax)? {
            (1, Wire::Bytes(meta)) => {
                for field in Fields(meta) {
                    match field.map_err(syntax)? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text).map_err(syntax)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text).map_err(syntax)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            (3, Wire::Bytes(encoding)) if !encoding.is_empty() => {
                return Err(syntax("the content is encoded"));
            }
            _ => {}
        }
    }
    let object = types().of_kind(&api_version, &kind);
    let object = object.ok_or_else(|| syntax(&format!("no type {kind} of {api_version} is known here")))?;
    let mut fields = Map::new();
    message(raw, object, &object.name, &mut fields, DEPTH_LIMIT).map_err(syntax)?;
    fields.insert("apiVersion".to_owned(), api_version.into());
    fields.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(fields))
}

type Outcome<T> = Result<T, &'static str>;

/// Adds the fields of a message of type `numbered` to `into`, an object of type `object`.
fn message(
    bytes: &[u8],
    object: &Object,
    numbered: &str,
    into: &mut Map<String, Value>,
    depth: u32,
) -> Outcome<()> {
    let depth = depth.checked_sub(1).ok_or("messages are nested too deep")?;
    let Some(places) = numbers().get(numbered) else { return Err("a type has no field numbers here") };
    for field in Fields(bytes) {
        let (number, wire) = field?;
        match places.get(&number) {
            Some(Place::Inline(name)) => message(wire.bytes()?, object, name, into, depth)?,
            Some(Place::Field(name)) => {
                if let Some(field) = object.field(name) {
                    add(name, &field.shape, wire, into, depth)?;
                }
            }
            // Of a later version: as unknown as a field of JSON that Go does not have.
            None => {}
        }
    }
    Ok(())
}

fn add(name: &str, shape: &Shape, wire: Wire<'_>, into: &mut Map<String, Value>, depth: u32) -> Outcome<()> {
    match shape {
        Shape::List(item) => {
            let list = into.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let (Value::Array(items), Some(value)) = (list, value(item, wire, depth)?) {
                items.push(value);
            }
        }
        Shape::Map(item) => {
            let (mut key, mut found) = (String::new(), None);
            for field in Fields(wire.bytes()?) {
                match field? {
                    (1, Wire::Bytes(text)) => key = utf8(text)?,
                    (2, wire) => found = Some(wire),
                    _ => {}
                }
            }
            let found = found.unwrap_or(Wire::Bytes(&[]));
            let value = value(item, found, depth)?.unwrap_or(Value::Null);
            let map = into.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, value);
            }
        }
        _ => match value(shape, wire, depth)? {
            Some(Value::String(text)) if text.is_empty() => {}
            Some(value) => {
                into.insert(name.to_owned(), value);
            }
            None => {}
        },
    }
    Ok(())
}

/// One value; `None` where there is nothing to say.
fn value(shape: &Shape, wire: Wire<'_>, depth: u32) -> Outcome<Option<Value>> {
    Ok(Some(match shape {
        Shape::Boolean => (wire.varint()? != 0).into(),
        Shape::Int32 | Shape::Int64 => wire.varint()?.cast_signed().into(),
        Shape::Number => match wire {
            Wire::Fixed64(bits) => f64::from_bits(bits).into(),
            _ => return Err("a number is not of eight bytes"),
        },
        Shape::Text => utf8(wire.bytes()?)?.into(),
        Shape::Bytes => STANDARD.encode(wire.bytes()?).into(),
        Shape::Time => return time(wire.bytes()?, 0),
        Shape::MicroTime => return time(wire.bytes()?, 6),
        Shape::Quantity => match field(wire.bytes()?, 1)? {
            Some(Wire::Bytes(text)) => utf8(text)?.into(),
            _ => "0".into(),
        },
        Shape::IntOrString => int_or_string(wire.bytes()?)?,
        Shape::Object(id) => {
            let object = types().object(*id);
            let mut fields = Map::new();
            message(wire.bytes()?, object, &object.name, &mut fields, depth)?;
            Value::Object(fields)
        }
        // Managed fields, which are not kept.
        Shape::Any => return Ok(None),
        // Go has no map of lists in this form: the list is a message of its own, as `ExtraValue`.
        Shape::List(item) => {
            let mut items = Vec::new();
            let depth = depth.checked_sub(1).ok_or("messages are nested too deep")?;
            for field in Fields(wire.bytes()?) {
                if let (1, wire) = field? {
                    items.extend(value(item, wire, depth)?);
                }
            }
            items.into()
        }
        Shape::Map(_) => return Err("a list of maps"),
    }))
}

fn time(bytes: &[u8], digits: u8) -> Outcome<Option<Value>> {
    let number = |n| Ok::<i64, &str>(field(bytes, n)?.map_or(Ok(0), Wire::varint)?.cast_signed());
    let (seconds, nanos) = (number(1)?, number(2)?);
    if seconds == 0 && nanos == 0 {
        return Ok(None);
    }
    let nanos = i32::try_from(nanos).map_err(|_| "a time that there is not")?;
    let time = Timestamp::new(seconds, nanos).map_err(|_| "a time that there is not")?;
    Ok(Some(format!("{time:.*}", usize::from(digits)).into()))
}

fn int_or_string(bytes: &[u8]) -> Outcome<Value> {
    const IS_TEXT: u64 = 1;
    let kind = field(bytes, 1)?.map_or(Ok(0), Wire::varint)?;
    if kind == IS_TEXT {
        return Ok(field(bytes, 3)?.map_or(Ok(String::new()), |w| utf8(w.bytes()?))?.into());
    }
    Ok(field(bytes, 2)?.map_or(Ok(0), Wire::varint)?.cast_signed().into())
}

/// The last field of this number.
fn field(bytes: &[u8], wanted: u32) -> Outcome<Option<Wire<'_>>> {
    let mut found = None;
    for field in Fields(bytes) {
        let (number, wire) = field?;
        if number == wanted {
            found = Some(wire);
        }
    }
    Ok(found)
}

fn utf8(bytes: &[u8]) -> Outcome<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| "a text that is no UTF-8")
}

/// A field's value as it stands on the wire.
#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    fn bytes(self) -> Outcome<&'a [u8]> {
        if let Self::Bytes(bytes) = self {
            Ok(bytes)
        } else {
            Err("a field is not of the form that its type has")
        }
    }

    fn varint(self) -> Outcome<u64> {
        if let Self::Varint(value) = self {
            Ok(value)
        } else {
            Err("a field is not of the form that its type has")
        }
    }
}

/// The fields of a message, with their numbers; ends after an error.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Outcome<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or("it ends in the middle of a number")?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is longer than ten bytes")
    }

    fn bytes(&mut self, length: u64) -> Outcome<&'a [u8]> {
        let length = usize::try_from(length).map_err(|_| "a field is longer than the body")?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or("a field is longer than the body")?;
        self.0 = rest;
        Ok(bytes)
    }

    fn read(&mut self) -> Outcome<(u32, Wire<'a>)> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| "a field's number is too large")?;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => {
                let bytes = self.bytes(8)?.try_into().map_err(|_| "a field is longer than the body")?;
                Wire::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.bytes(length)?)
            }
            5 => {
                self.bytes(4)?;
                Wire::Fixed32
            }
            _ => return Err("a field of an unknown form"),
        };
        Ok((number, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Outcome<(u32, Wire<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests;
