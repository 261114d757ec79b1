//! The server-side `Table` form of objects: what `kubectl get` shows.
//!
//! A kind has [`Columns`]: their definitions, and a function from an object to its cells. The functions of the larger kinds stand
//! below `table/`.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kinds::Kind;

pub(crate) mod cells;
pub(crate) mod certificates;
pub(crate) mod events;
pub(crate) mod nodes;
pub(crate) mod pods;
pub(crate) mod rbac;
pub(crate) mod services;
pub(crate) mod volumes;

/// One column. Those with a priority above 0 appear in wide output only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// An OpenAPI type: `string`, `integer`, `date`.
    pub(crate) kind: &'static str,
    pub(crate) format: &'static str,
    pub(crate) description: &'static str,
    pub(crate) priority: u8,
}

impl Column {
    pub(crate) const fn text(name: &'static str, description: &'static str) -> Self {
        Self { name, kind: "string", format: "", description, priority: 0 }
    }

    pub(crate) const fn wide(name: &'static str, description: &'static str) -> Self {
        Self { priority: 1, ..Self::text(name, description) }
    }

    pub(crate) const fn number(name: &'static str, description: &'static str) -> Self {
        Self { kind: "integer", ..Self::text(name, description) }
    }
}

/// The first column of nearly every table.
pub(crate) const NAME: Column = Column {
    format: "name",
    ..Column::text(
        "Name",
        "Name must be unique within a namespace. It is the primary key of the object and is chosen at creation, or made from generateName.",
    )
};

/// The age column.
pub(crate) const AGE: Column = Column::text(
    "Age",
    "The time since the object was created on the server, in the two largest units that matter.",
);

/// How a kind's objects become rows. `cells` gives one value for each of `definitions`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Columns {
    pub(crate) definitions: &'static [Column],
    pub(crate) cells: fn(&Value, Timestamp) -> Vec<Value>,
}

/// Name and age, for kinds that have nothing more to show.
pub(crate) const NAME_AND_AGE: Columns = Columns {
    definitions: &[NAME, AGE],
    cells: |object, now| vec![cells::name(object), cells::age(object, now)],
};

/// How much of the object a row carries: the `includeObject` parameter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

impl Include {
    /// Reads the parameter; empty is the default.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// The `Table` of some objects, with `metadata` as the list's (or, for a single object, just its `resourceVersion`). A watch sends
/// one object at a time, and the column definitions only with the first: `headers`.
pub(crate) fn table<'a>(
    kind: &Kind,
    objects: impl IntoIterator<Item = &'a Value>,
    metadata: Value,
    include: Include,
    headers: bool,
    now: Timestamp,
) -> Value {
    let definitions: Vec<Value> =
        if headers { kind.columns.definitions.iter().map(definition).collect() } else { Vec::new() };
    let rows: Vec<Value> = objects.into_iter().map(|object| row(kind, object, include, now)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

fn row(kind: &Kind, object: &Value, include: Include, now: Timestamp) -> Value {
    let mut row = json!({ "cells": (kind.columns.cells)(object, now) });
    match include {
        Include::None => {}
        Include::Object => row["object"] = object.clone(),
        Include::Metadata => {
            row["object"] = json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object.get("metadata").cloned().unwrap_or_default(),
            });
        }
    }
    row
}

#[cfg(test)]
mod tests;
