//! What `resourceFieldRef` says about a container's resources (behaviour.md 16.6).

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use thiserror::Error;

use crate::containers::containers;
use crate::quantity::Quantity;
use crate::resources::{ResourceList, list};

/// Why a selector has no value, in a kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ResourceFieldError {
    /// The pod has no such container.
    #[error("container {0} not found")]
    NoContainer(String),
    /// Neither a limit nor a request, or of something else.
    #[error("Unsupported container resource : {0}")]
    Resource(String),
    /// Not a number that can divide.
    #[error("nothing can be divided by {0:?}")]
    Divisor(String),
}

/// The value of `selector`, which stands at `own` unless it names another container of `pod`: rounded up to whole divisors. A limit
/// that is not given is the pod's own, or else what the node gives to pods (`allocatable`); a request is then 0.
///
/// # Errors
/// The selector names nothing that has a value.
pub fn resource_field(
    selector: &ResourceFieldSelector,
    pod: &Pod,
    own: &Container,
    allocatable: &ResourceList,
) -> Result<String, ResourceFieldError> {
    let container = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
        None => own,
        Some(name) => {
            let mut all = pod.spec.iter().flat_map(containers).map(|(_, c)| c);
            all.find(|c| c.name == name).ok_or_else(|| ResourceFieldError::NoContainer(name.to_owned()))?
        }
    };
    let unsupported = || ResourceFieldError::Resource(selector.resource.clone());
    let (kind, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let is_known = matches!(name, "cpu" | "memory" | "ephemeral-storage");
    if !is_known && !name.starts_with("hugepages-") {
        return Err(unsupported());
    }
    let resources = container.resources.as_ref();
    let amount = match kind {
        "limits" => {
            let own = list(resources.and_then(|r| r.limits.as_ref())).get(name).copied();
            // Huge pages are never more than were asked for.
            own.filter(|amount| !amount.is_zero())
                .or_else(|| is_known.then(|| default(pod, name, allocatable))?)
        }
        "requests" => list(resources.and_then(|r| r.requests.as_ref())).get(name).copied(),
        _ => return Err(unsupported()),
    };
    // Processor time may be divided by thousandths; everything else is whole.
    let unit = if name == "cpu" { Quantity::milli_value } else { Quantity::value };
    let divisor = match &selector.divisor {
        None => unit(&Quantity::from_units(1)),
        Some(text) => match text.0.parse::<Quantity>() {
            Ok(divisor) if divisor.is_zero() => unit(&Quantity::from_units(1)),
            Ok(divisor) if unit(&divisor) > 0 => unit(&divisor),
            _ => return Err(ResourceFieldError::Divisor(text.0.clone())),
        },
    };
    let (amount, divisor) = (i128::from(amount.map_or(0, |a| unit(&a))), i128::from(divisor));
    Ok((amount.div_euclid(divisor) + i128::from(amount.rem_euclid(divisor) != 0)).to_string())
}

/// What stands for a limit that is not given.
fn default(pod: &Pod, name: &str, allocatable: &ResourceList) -> Option<Quantity> {
    let level = pod.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.limits.as_ref());
    list(level).get(name).or_else(|| allocatable.get(name)).copied()
}

#[cfg(test)]
mod tests;
