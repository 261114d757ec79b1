//! Which container of a pod a request means.

use serde_json::Value;

use crate::kinds::text;
use crate::kinds::values::items;
use crate::status::ApiError;

/// Containers of all kinds, in the order in which refusals list them.
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// The container that was asked for, or the only one. The server does not look at annotations: that is kubectl's.
pub(crate) fn choose(pod: &Value, asked: Option<&str>) -> Result<String, ApiError> {
    let name = text(pod, "/metadata/name");
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let all = || LISTS.iter().flat_map(|list| items(spec, list)).map(|container| text(container, "/name"));
    match asked {
        Some(asked) if all().any(|name| name == asked) => Ok(asked.to_owned()),
        Some(asked) => Err(ApiError::bad_request(format!("container {asked} is not valid for pod {name}"))),
        None => match items(spec, "containers") {
            [only] => Ok(text(only, "/name").to_owned()),
            [] => Err(ApiError::bad_request(format!("a container name must be specified for pod {name}"))),
            _ => {
                // As Go prints a list of strings.
                let choices = all().collect::<Vec<_>>().join(" ");
                Err(ApiError::bad_request(format!(
                    "a container name must be specified for pod {name}, choose one of: [{choices}]"
                )))
            }
        },
    }
}

#[cfg(test)]
mod tests;
