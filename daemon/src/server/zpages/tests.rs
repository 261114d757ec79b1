use super::*;

#[test]
fn people_get_text_and_programs_the_object_that_they_name() {
    let json = |version| Some(Form::Json(version));
    for (accept, form) in [
        ("", Some(Form::Text)),
        ("text/plain", Some(Form::Text)),
        ("*/*", Some(Form::Text)),
        ("text/html, application/xhtml+xml, */*;q=0.8", Some(Form::Text)),
        ("application/json;g=config.k8s.io;v=v1beta1;as=Statusz", json("v1beta1")),
        ("application/json; as=Statusz; v=v1alpha1; g=config.k8s.io, text/plain", json("v1alpha1")),
        ("application/json", None),
        ("application/json, text/plain", Some(Form::Text)),
        ("application/json;g=config.k8s.io;v=v1beta1;as=Flagz", None),
        ("application/json;g=config.k8s.io;v=v7;as=Statusz", None),
        ("application/vnd.kubernetes.protobuf;g=config.k8s.io;v=v1beta1;as=Statusz", None),
        ("text/plain;g=config.k8s.io;v=v1beta1;as=Statusz", None),
        ("text/html", None),
        (";;=,", None),
    ] {
        assert_eq!(negotiate(accept, "Statusz"), form, "{accept}");
    }
}

#[test]
fn whatever_is_accepted_there_is_an_answer() {
    bolero::check!().for_each(|input: &[u8]| {
        negotiate(&String::from_utf8_lossy(input), "Flagz");
    });
}

#[test]
fn the_emulated_version_has_no_patch() {
    assert_eq!(emulated(), "1.36");
}
