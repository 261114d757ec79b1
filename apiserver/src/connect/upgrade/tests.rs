//! A kubelet's refusals in kubectl's words.

use super::of_kubelet;

#[test]
fn a_kubelets_refusal_keeps_its_code_and_its_words() {
    let told = |code, text: &str| {
        let error = of_kubelet(code, text);
        (error.code, error.reason, error.message)
    };
    assert_eq!(
        told(404, "pod does not exist"),
        (404, "NotFound", "unable to upgrade connection: pod does not exist".to_owned())
    );
    let status = r#"{"kind":"Status","message":"no such container"}"#;
    assert_eq!(
        told(500, status),
        (500, "InternalError", "unable to upgrade connection: no such container".to_owned())
    );
    assert_eq!(told(418, "").0, 418);
    // A client that was told 401 would think that it is meant.
    assert_eq!(
        told(403, "Forbidden"),
        (
            500,
            "InternalError",
            "Internal error occurred: the node refused this server's certificate: Forbidden".to_owned()
        )
    );
}
