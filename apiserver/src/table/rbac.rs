//! The tables of roles and bindings.

use serde_json::Value;

use super::{AGE, Column, Columns, NAME, cells};
use crate::kinds::text;

pub(crate) const ROLE_COLUMNS: Columns = Columns {
    definitions: &[
        NAME,
        Column { kind: "date", ..Column::text("Created At", "When the object was created on the server.") },
    ],
    cells: |role, _| vec![cells::name(role), text(role, "/metadata/creationTimestamp").into()],
};

pub(crate) const BINDING_COLUMNS: Columns = Columns {
    definitions: &[
        NAME,
        Column::text("Role", "The role that the binding gives."),
        AGE,
        Column::wide("Users", "The users that it is given to."),
        Column::wide("Groups", "The groups that it is given to."),
        Column::wide("ServiceAccounts", "The service accounts that it is given to."),
    ],
    cells: |binding, now| {
        let role = format!("{}/{}", text(binding, "/roleRef/kind"), text(binding, "/roleRef/name"));
        vec![
            cells::name(binding),
            role.into(),
            cells::age(binding, now),
            subjects(binding, "User").into(),
            subjects(binding, "Group").into(),
            subjects(binding, "ServiceAccount").into(),
        ]
    },
};

fn subjects(binding: &Value, kind: &str) -> String {
    let of_kind = cells::list(binding, "/subjects").iter().filter(|s| text(s, "/kind") == kind);
    let names: Vec<String> = of_kind
        .map(|subject| match text(subject, "/namespace") {
            "" => text(subject, "/name").to_owned(),
            namespace => format!("{namespace}/{}", text(subject, "/name")),
        })
        .collect();
    names.join(", ")
}
