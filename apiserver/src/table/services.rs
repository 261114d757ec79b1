//! Rows of services.

use jiff::Timestamp;
use serde_json::Value;

use super::{AGE, Column, Columns, NAME, cells};
use crate::kinds::text;
use crate::kinds::values::{items, number, string};

pub(crate) const COLUMNS: Columns = Columns {
    definitions: &[
        NAME,
        Column::text("Type", "How the service is reached."),
        Column::text("Cluster-IP", "The service's address within the cluster."),
        Column::text("External-IP", "The addresses for the outside."),
        Column::text("Port(s)", "The ports of the service, with the nodes' ports where there are any."),
        AGE,
        Column::wide("Selector", "The labels of the pods behind the service."),
    ],
    cells: row,
};

fn row(service: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        cells::name(service),
        text(service, "/spec/type").into(),
        cells::text_or(service, "/spec/clusterIP", cells::NONE).into(),
        external(service).into(),
        ports(service).into(),
        cells::age(service, now),
        cells::labels(service.pointer("/spec/selector")).into(),
    ]
}

fn external(service: &Value) -> String {
    let mut addresses: Vec<&str> =
        cells::list(service, "/spec/externalIPs").iter().filter_map(Value::as_str).collect();
    match text(service, "/spec/type") {
        "ExternalName" => return text(service, "/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = cells::list(service, "/status/loadBalancer/ingress");
            let given = ingress.iter().map(|i| match string(i, "ip") {
                "" => string(i, "hostname"),
                ip => ip,
            });
            addresses.splice(0..0, given);
            if addresses.is_empty() {
                return "<pending>".to_owned();
            }
        }
        _ => {}
    }
    if addresses.is_empty() { cells::NONE.to_owned() } else { addresses.join(",") }
}

fn ports(service: &Value) -> String {
    let spec = service.get("spec").unwrap_or(&Value::Null);
    let ports: Vec<String> = items(spec, "ports")
        .iter()
        .map(|p| {
            let (port, protocol) = (number(p, "port").unwrap_or(0), string(p, "protocol"));
            match number(p, "nodePort") {
                Some(node) if node > 0 => format!("{port}:{node}/{protocol}"),
                _ => format!("{port}/{protocol}"),
            }
        })
        .collect();
    if ports.is_empty() { cells::NONE.to_owned() } else { ports.join(",") }
}
