//! The definitions of version 2 in the protobuf form of the gnostic project (`openapi.v2.Document`), the only one that kubectl reads:
//! to check a manifest whose kind the server does not know, and for `explain --output plaintext-openapiv2`. Paths are left out.

use serde_json::{Map, Value};

/// Fields of `Document`.
const SWAGGER: u32 = 1;
const INFO: u32 = 2;
const DEFINITIONS: u32 = 9;
/// Fields of `Info`.
const TITLE: u32 = 1;
const VERSION: u32 = 2;
/// Maps are lists of pairs, in a message of their own.
const PAIR: u32 = 1;
const PAIR_NAME: u32 = 1;
const PAIR_VALUE: u32 = 2;
/// Fields of `Schema`.
const REFERENCE: u32 = 1;
const FORMAT: u32 = 2;
const DESCRIPTION: u32 = 4;
const REQUIRED: u32 = 19;
const ADDITIONAL_PROPERTIES: u32 = 21;
const TYPE: u32 = 22;
const ITEMS: u32 = 23;
const PROPERTIES: u32 = 25;
const EXTENSION: u32 = 31;
/// The only field of the messages that wrap a schema or a list of texts.
const WRAPPED: u32 = 1;
/// The field of `Any` that holds any value as YAML, and so as JSON.
const ANY_YAML: u32 = 2;

/// Encodes a document with these definitions.
pub(super) fn document(title: &str, version: &str, definitions: &Map<String, Value>) -> Vec<u8> {
    let mut info = Message::default();
    info.text(TITLE, title);
    info.text(VERSION, version);
    let mut document = Message::default();
    document.text(SWAGGER, "2.0");
    document.message(INFO, &info);
    document.message(DEFINITIONS, &schemas(definitions));
    document.0
}

/// Schemas by name.
fn schemas(named: &Map<String, Value>) -> Message {
    let mut all = Message::default();
    for (name, value) in named {
        let mut pair = Message::default();
        pair.text(PAIR_NAME, name);
        pair.message(PAIR_VALUE, &schema(value));
        all.message(PAIR, &pair);
    }
    all
}

fn schema(value: &Value) -> Message {
    let mut schema = Message::default();
    for (name, value) in value.as_object().into_iter().flatten() {
        match (name.as_str(), value) {
            ("$ref", Value::String(text)) => schema.text(REFERENCE, text),
            ("format", Value::String(text)) => schema.text(FORMAT, text),
            ("description", Value::String(text)) => schema.text(DESCRIPTION, text),
            ("type", Value::String(text)) => {
                let mut types = Message::default();
                types.text(WRAPPED, text);
                schema.message(TYPE, &types);
            }
            ("required", Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).for_each(|name| schema.text(REQUIRED, name));
            }
            ("properties", Value::Object(properties)) => schema.message(PROPERTIES, &schemas(properties)),
            ("items", Value::Object(_)) => schema.message(ITEMS, &wrapped(value)),
            ("additionalProperties", Value::Object(_)) => {
                schema.message(ADDITIONAL_PROPERTIES, &wrapped(value));
            }
            (name, value) if name.starts_with("x-") => {
                let mut any = Message::default();
                any.text(ANY_YAML, &value.to_string());
                let mut pair = Message::default();
                pair.text(PAIR_NAME, name);
                pair.message(PAIR_VALUE, &any);
                schema.message(EXTENSION, &pair);
            }
            _ => {}
        }
    }
    schema
}

fn wrapped(value: &Value) -> Message {
    let mut message = Message::default();
    message.message(WRAPPED, &schema(value));
    message
}

/// A message as it is on the wire.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u32, message: &Self) {
        self.bytes(field, &message.0);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        const LENGTH_DELIMITED: u64 = 2;
        self.varint(u64::from(field) << 3 | LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
