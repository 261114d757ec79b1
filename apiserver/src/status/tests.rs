//! Refusals look as upstream's do.

use serde_json::json;

use super::ApiError;
use crate::kinds::FieldError;
use crate::kinds::field::Path;
use crate::kinds::leases::LEASES;
use crate::kinds::pods::PODS;

#[test]
fn a_refusal_says_what_about_which_object_and_why() {
    assert_eq!(
        ApiError::not_found(&PODS, "p").to_object(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404,
            "message": "pods \"p\" not found", "details": { "name": "p", "kind": "pods" },
        })
    );
    let message = |error: ApiError| error.to_object()["message"].as_str().unwrap().to_owned();
    assert_eq!(message(ApiError::not_found(&LEASES, "l")), "leases.coordination.k8s.io \"l\" not found");
    assert_eq!(
        message(ApiError::modified(&PODS, "p")),
        "Operation cannot be fulfilled on pods \"p\": the object has been modified; please apply your changes to the latest version and try again"
    );
}

#[test]
fn each_wrong_field_is_a_cause() {
    let errors = [
        FieldError::required(&Path::new("spec").child("containers"), ""),
        FieldError::forbidden(&Path::new("x"), "no"),
    ];
    let object = ApiError::invalid(&PODS, "p", &errors).to_object();
    assert_eq!(
        object["message"],
        "Pod \"p\" is invalid: [spec.containers: Required value, x: Forbidden: no]"
    );
    assert_eq!(
        object["details"]["causes"][0],
        json!({ "reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers" })
    );
}
