//! The variables that tell a container where services are (behaviour.md 16.9).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use serde::{Deserialize, Serialize};

/// The service that every container is told of, and where it is.
const MASTER: (&str, &str) = ("default", "kubernetes");

/// What variables are made of; of services without a cluster address there are none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceAddress {
    ip: String,
    ports: Vec<Port>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Port {
    name: String,
    number: i32,
    /// Lower case.
    protocol: String,
}

impl ServiceAddress {
    /// Of a service that has an address of the cluster and ports.
    pub(crate) fn of(service: &Service) -> Option<Self> {
        let spec = service.spec.as_ref()?;
        let ip = spec.cluster_ip.clone().filter(|ip| !ip.is_empty() && ip != "None")?;
        let ports = spec.ports.iter().flatten().map(|port| Port {
            name: port.name.clone().unwrap_or_default(),
            number: port.port,
            protocol: port.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP").to_lowercase(),
        });
        let ports: Vec<Port> = ports.collect();
        (!ports.is_empty()).then_some(Self { ip, ports })
    }
}

/// Services by namespace and name.
pub(crate) type Services = BTreeMap<(String, String), ServiceAddress>;

/// The variables of a pod in `namespace`; without `links` it is told of the API server only. A service `kubernetes` of the
/// namespace's own goes before that.
pub(super) fn variables(services: &Services, namespace: &str, links: bool) -> BTreeMap<String, String> {
    let (of, name) = MASTER;
    let master = services.get(&(of.to_owned(), name.to_owned())).map(|service| (name, service));
    let mut named: BTreeMap<&str, &ServiceAddress> = master.into_iter().collect();
    if links {
        let from = services.range((namespace.to_owned(), String::new())..);
        let own = from.take_while(|((of, _), _)| of == namespace);
        named.extend(own.map(|((_, name), service)| (name.as_str(), service)));
    }
    let mut all = BTreeMap::new();
    for (name, service) in named {
        add(name, service, &mut all);
    }
    all
}

fn add(service: &str, ServiceAddress { ip, ports }: &ServiceAddress, all: &mut BTreeMap<String, String>) {
    let prefix = variable_name(service);
    let mut set = |name: String, value: String| drop(all.insert(name, value));
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    set(format!("{prefix}_SERVICE_HOST"), ip.clone());
    if let Some(first) = ports.first() {
        set(format!("{prefix}_SERVICE_PORT"), first.number.to_string());
        set(format!("{prefix}_PORT"), format!("{}://{host}:{}", first.protocol, first.number));
    }
    for Port { name, number, protocol } in ports {
        if !name.is_empty() {
            set(format!("{prefix}_SERVICE_PORT_{}", variable_name(name)), number.to_string());
        }
        let port = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        set(format!("{port}_PROTO"), protocol.clone());
        set(format!("{port}_PORT"), number.to_string());
        set(format!("{port}_ADDR"), ip.clone());
        set(port, format!("{protocol}://{host}:{number}"));
    }
}

fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests;
