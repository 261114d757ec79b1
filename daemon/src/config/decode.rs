//! Typed decoding of a JSON value, where an error says which field it is about.
//!
//! serde's own deserializer of `serde_json::Value` tells what is wrong but not where; this one carries the path along and
//! attaches it to the first error on the way out.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor};
use serde_json::Value;

/// A field that does not have the type or name that the configuration has there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub(crate) struct DecodeError {
    /// Dotted path; empty for the document itself.
    pub(crate) field: String,
    pub(crate) message: String,
    located: bool,
}

impl DecodeError {
    fn at(mut self, field: &str) -> Self {
        if !self.located {
            field.clone_into(&mut self.field);
            self.located = true;
        }
        self
    }
}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { field: String::new(), message: message.to_string(), located: false }
    }
}

/// Decodes `value` as a `T`; nulls count as absent, as they do in the kubelet.
pub(crate) fn decode<T: DeserializeOwned>(value: &Value) -> Result<T, DecodeError> {
    T::deserialize(Reader { value, field: String::new() })
}

struct Reader<'a> {
    value: &'a Value,
    field: String,
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Array(items) => {
                visitor.visit_seq(Items { items: items.iter(), field: &self.field, index: 0 })
            }
            Value::Object(fields) => {
                visitor.visit_map(Fields { fields: fields.iter(), field: &self.field, value: None })
            }
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::String(value) => visitor.visit_str(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (_, _, Some(value)) => visitor.visit_f64(value),
                _ => Err(de::Error::custom("a number that fits no type")),
            },
        }
        .map_err(|error| error.at(&self.field))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value {
            Value::String(variant) => visitor.visit_enum(variant.as_str().into_deserializer()),
            _ => Err(de::Error::custom("expected a string")),
        }
        .map_err(|error: DecodeError| error.at(&self.field))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Value>,
    field: &'a str,
    index: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(value) = self.items.next() else { return Ok(None) };
        let field = format!("{}[{}]", self.field, self.index);
        self.index += 1;
        seed.deserialize(Reader { value, field }).map(Some)
    }
}

struct Fields<'a> {
    fields: serde_json::map::Iter<'a>,
    field: &'a str,
    value: Option<(String, &'a Value)>,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some((key, value)) = self.fields.by_ref().find(|(_, value)| !value.is_null()) else {
            return Ok(None);
        };
        let field = if self.field.is_empty() { key.clone() } else { format!("{}.{key}", self.field) };
        let key = seed
            .deserialize(key.as_str().into_deserializer())
            .map_err(|error: DecodeError| error.at(&field))?;
        self.value = Some((field, value));
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let (field, value) =
            self.value.take().ok_or_else(|| de::Error::custom("a value was asked for before its key"))?;
        seed.deserialize(Reader { value, field })
    }
}

#[cfg(test)]
mod tests;
