//! The documents of OpenID Connect by which programs find the key that signs tokens. As upstream, every service account may read
//! them (`system:service-account-issuer-discovery`).

use http::header::CACHE_CONTROL;
use http::{HeaderValue, Response};
use serde_json::json;

use super::key::ALGORITHM;
use crate::answer::{Body, response, whole};
use crate::api::Api;

pub(crate) const CONFIGURATION: &str = "/.well-known/openid-configuration";
pub(crate) const KEYS: &str = "/openid/v1/jwks";

/// The document at a path, if there is one.
pub(crate) fn serve(api: &Api, path: &str) -> Option<Response<Body>> {
    let (document, media) = match path {
        CONFIGURATION => {
            let configuration = json!({
                "issuer": api.issuer.settings.issuer,
                "jwks_uri": format!("{}{KEYS}", api.endpoint),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
            });
            (configuration, "application/json")
        }
        KEYS => (json!({ "keys": [api.issuer.key.public()] }), "application/jwk-set+json"),
        _ => return None,
    };
    let mut response = response(200, whole(document.to_string()), media);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Some(response)
}
