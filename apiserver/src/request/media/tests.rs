//! Formats are negotiated as clients expect.

use super::{Accepted, Form, body_syntax, wants_aggregated_discovery};
use crate::schema::{Format, Syntax};

fn accepted(header: &str) -> Option<(Form, Format)> {
    Accepted::negotiate(Some(header)).ok().map(|a| (a.form, a.format))
}

#[test]
fn the_best_form_that_there_is_is_taken() {
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
    assert_eq!(accepted(table), Some((Form::Table, Format::Json)));
    assert_eq!(
        accepted("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"),
        Some((Form::Metadata, Format::Json))
    );
    assert_eq!(
        accepted("application/vnd.kubernetes.protobuf,application/json"),
        Some((Form::Object, Format::Json))
    );
    assert_eq!(accepted("application/json;q=0.1, application/yaml"), Some((Form::Object, Format::Yaml)));
    assert_eq!(accepted("*/*"), Some((Form::Object, Format::Json)));
    assert_eq!(accepted(""), Some((Form::Object, Format::Json)));
    for nothing in [
        "application/vnd.kubernetes.protobuf",
        "text/html",
        "application/json;q=0",
        "application/json;as=Picture;v=v1;g=meta.k8s.io",
    ] {
        assert_eq!(accepted(nothing), None, "{nothing}");
    }
}

#[test]
fn a_body_without_a_type_is_json_and_an_unknown_one_is_refused() {
    assert_eq!(body_syntax(None).unwrap(), Syntax::Json);
    assert_eq!(body_syntax(Some("application/json; charset=utf-8")).unwrap(), Syntax::Json);
    assert_eq!(body_syntax(Some("application/vnd.kubernetes.protobuf")).unwrap(), Syntax::Protobuf);
    assert_eq!(body_syntax(Some("text/plain")).unwrap_err().code, 415);
}

#[test]
fn aggregated_discovery_is_given_to_who_prefers_it() {
    let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    assert!(wants_aggregated_discovery(Some(kubectl)));
    assert!(!wants_aggregated_discovery(Some("application/json")));
    assert!(!wants_aggregated_discovery(None));
}

#[test]
fn no_header_makes_negotiation_panic() {
    bolero::check!().with_type::<String>().for_each(|header: &String| {
        let _ = Accepted::negotiate(Some(header));
        super::wants_aggregated_discovery(Some(header));
        super::wants_open_api_protobuf(Some(header));
        let _ = body_syntax(Some(header));
    });
}
