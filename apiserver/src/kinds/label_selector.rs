//! Label selectors as they stand in objects: `matchLabels` and `matchExpressions`, all of which must hold.

use serde_json::Value;

use super::field::{FieldError, Path};
use super::values::{entries, items, string};
use super::{metadata, names};

/// Whether a selector selects an object by its labels. One that is empty selects everything; what is no selector that could have
/// been written selects nothing.
pub(crate) fn selects(selector: &Value, object: &Value) -> bool {
    let label =
        |key: &str| object.pointer("/metadata/labels").and_then(|l| l.get(key)).and_then(Value::as_str);
    let holds = |expression: &Value| {
        let value = label(string(expression, "key"));
        let listed = || items(expression, "values").iter().any(|v| v.as_str() == value);
        match string(expression, "operator") {
            "In" => value.is_some() && listed(),
            "NotIn" => value.is_none() || !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    selector.is_object()
        && entries(selector, "matchLabels").all(|(key, value)| label(key) == value.as_str())
        && items(selector, "matchExpressions").iter().all(holds)
}

/// Everything that may be wrong with a selector.
pub(crate) fn validate(selector: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    metadata::labels(selector.get("matchLabels"), &path.child("matchLabels"), errors);
    for (index, expression) in items(selector, "matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let (key, operator) = (string(expression, "key"), string(expression, "operator"));
        let values = items(expression, "values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&path.child("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            unknown => {
                let detail = "not a valid selector operator";
                errors.push(FieldError::invalid(&path.child("operator"), unknown, detail));
            }
        }
        errors.extend(
            names::qualified_name(key).iter().map(|p| FieldError::invalid(&path.child("key"), key, p)),
        );
        for (index, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            let path = path.child("values").index(index);
            errors.extend(names::label_value(value).iter().map(|p| FieldError::invalid(&path, value, p)));
        }
    }
}
