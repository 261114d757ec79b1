//! Endpoints: the addresses behind a service.

use k8s_openapi::api::core::v1::Endpoints;
use serde_json::Value;

use super::values::{items, number, string};
use super::{ALL_VERBS, Body, Kind, NameRule, Plain, Scope, Storage, define};
use crate::table::{AGE, Column, Columns, NAME, cells};

pub(crate) static ENDPOINTS: Kind = Kind {
    body: Body { group: "", version: "v1", kind: "Endpoints", define: define::<Endpoints> },
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: ALL_VERBS,
    subresources: &[],
    storage: Storage::Own,
    name_rule: NameRule::Subdomain,
    generation: false,
    behaviour: &Plain,
    columns: Columns {
        definitions: &[
            NAME,
            Column::text("Endpoints", "The addresses and ports that are ready, the first three of them."),
            AGE,
        ],
        cells: |object, now| vec![cells::name(object), addresses(object).into(), cells::age(object, now)],
    },
};

/// How many addresses a row shows.
const SHOWN: usize = 3;

fn addresses(object: &Value) -> String {
    let mut all = Vec::new();
    for subset in items(object, "subsets") {
        let ports = items(subset, "ports");
        for address in items(subset, "addresses") {
            let ip = string(address, "ip");
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|p| format!("{ip}:{}", number(p, "port").unwrap_or(0))));
        }
    }
    match all.len() {
        0 => cells::NONE.to_owned(),
        n if n > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), n - SHOWN),
        _ => all.join(","),
    }
}
