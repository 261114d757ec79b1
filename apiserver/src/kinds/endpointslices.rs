//! Endpoint slices: the addresses behind a service, in parts.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use super::field::{FieldError, Path};
use super::values::{items, number};
use super::{ALL_VERBS, Behaviour, Body, Kind, NameRule, Part, Scope, Storage, define, text};
use crate::table::{AGE, Column, Columns, NAME, cells};

pub(crate) static ENDPOINTSLICES: Kind = Kind {
    body: Body {
        group: "discovery.k8s.io",
        version: "v1",
        kind: "EndpointSlice",
        define: define::<EndpointSlice>,
    },
    plural: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: true,
    behaviour: &Slices,
    columns: Columns {
        definitions: &[
            NAME,
            Column::text("AddressType", "What the addresses are: IPv4, IPv6 or names."),
            Column::text("Ports", "The ports, the first three of them."),
            Column::text("Endpoints", "The addresses, the first three of them."),
            AGE,
        ],
        cells: |slice, now| {
            vec![
                cells::name(slice),
                text(slice, "/addressType").into(),
                ports(slice).into(),
                addresses(slice).into(),
                cells::age(slice, now),
            ]
        },
    },
};

const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
/// As upstream.
const ENDPOINTS_LIMIT: usize = 1000;
/// How many of a list a row shows.
const SHOWN: usize = 3;

#[derive(Debug)]
struct Slices;

impl Behaviour for Slices {
    fn validate(&self, slice: &Value, errors: &mut Vec<FieldError>) {
        let kind = text(slice, "/addressType");
        let path = Path::new("addressType");
        if kind.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if !ADDRESS_TYPES.contains(&kind) {
            errors.push(FieldError::not_supported(&path, kind, ADDRESS_TYPES));
        }
        let (endpoints, path) = (items(slice, "endpoints"), Path::new("endpoints"));
        if endpoints.len() > ENDPOINTS_LIMIT {
            errors.push(FieldError::too_many(&path, endpoints.len(), ENDPOINTS_LIMIT));
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            if items(endpoint, "addresses").is_empty() {
                let detail = "must contain at least 1 address";
                errors.push(FieldError::required(&path.index(index).child("addresses"), detail));
            }
        }
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part, errors: &mut Vec<FieldError>) {
        let kind = text(new, "/addressType");
        if kind != text(old, "/addressType") {
            errors.push(FieldError::invalid(&Path::new("addressType"), kind, "field is immutable"));
        }
        self.validate(new, errors);
    }
}

fn shown(all: &[String], nothing: &str) -> String {
    match all.len() {
        0 => nothing.to_owned(),
        n if n > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), n - SHOWN),
        _ => all.join(","),
    }
}

fn ports(slice: &Value) -> String {
    let one = |port: &Value| match number(port, "port") {
        Some(number) => number.to_string(),
        None => "*".to_owned(),
    };
    shown(&items(slice, "ports").iter().map(one).collect::<Vec<_>>(), "<unset>")
}

fn addresses(slice: &Value) -> String {
    let endpoints = items(slice, "endpoints").iter();
    let all = endpoints.flat_map(|e| items(e, "addresses")).filter_map(Value::as_str).map(str::to_owned);
    shown(&all.collect::<Vec<_>>(), "<unset>")
}
