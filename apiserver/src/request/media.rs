//! Content negotiation: what the body is written in, and what the client wants back.

use crate::schema::{Format, Syntax};
use crate::status::ApiError;

/// Longest `Accept` header that is read, in bytes, and most alternatives in it.
const ACCEPT_LIMIT_BYTES: usize = 8 * 1024;
const ALTERNATIVES_LIMIT: usize = 64;

/// The shape of the objects in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Object,
    /// `meta.k8s.io/v1 Table`.
    Table,
    /// `meta.k8s.io/v1 PartialObjectMetadata`, or the list of them.
    Metadata,
}

/// What a response is to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) form: Form,
    pub(crate) format: Format,
    /// Indented JSON.
    pub(crate) pretty: bool,
}

pub(crate) const OUTPUT_TYPES: &str = "application/json, application/yaml";
pub(crate) const INPUT_TYPES: &str =
    "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// One alternative of an `Accept` header.
struct Alternative<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// Thousandths.
    quality: u32,
}

impl<'a> Alternative<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let mut quality = 1000;
        let mut parameters = Vec::new();
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if name == "q" {
                quality = value.parse::<f32>().map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u32);
            } else {
                parameters.push((name, value));
            }
        }
        Self { media, parameters, quality }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    fn format(&self) -> Option<Format> {
        match self.media {
            "application/json" | "application/*" | "*/*" => Some(Format::Json),
            "application/yaml" => Some(Format::Yaml),
            _ => None,
        }
    }
}

/// Alternatives, best first; equal ones in their order.
fn alternatives(accept: &str) -> Vec<Alternative<'_>> {
    let mut list: Vec<_> = accept.split(',').take(ALTERNATIVES_LIMIT).map(Alternative::parse).collect();
    list.retain(|a| a.quality > 0);
    list.sort_by_key(|a| std::cmp::Reverse(a.quality));
    list
}

impl Accepted {
    /// Plain JSON, for errors that come before anything could be negotiated.
    pub(crate) const JSON: Self = Self { form: Form::Object, format: Format::Json, pretty: false };

    /// What to answer a request for objects with. An absent header accepts everything.
    pub(crate) fn negotiate(accept: Option<&str>) -> Result<Self, ApiError> {
        let accept = accept.filter(|a| !a.trim().is_empty()).unwrap_or("application/json");
        if accept.len() > ACCEPT_LIMIT_BYTES {
            return Err(ApiError::not_acceptable(OUTPUT_TYPES));
        }
        for alternative in alternatives(accept) {
            let Some(format) = alternative.format() else { continue };
            let form =
                match (alternative.parameter("as"), alternative.parameter("g"), alternative.parameter("v")) {
                    (None, None, None) => Form::Object,
                    (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Form::Table,
                    (
                        Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
                        Some("meta.k8s.io"),
                        Some("v1"),
                    ) => Form::Metadata,
                    _ => continue,
                };
            return Ok(Self { form, format, pretty: alternative.parameter("pretty") == Some("1") });
        }
        Err(ApiError::not_acceptable(OUTPUT_TYPES))
    }

    /// The format of an error, whatever was asked for.
    pub(crate) fn negotiate_error(accept: Option<&str>) -> Self {
        match Self::negotiate(accept) {
            Ok(accepted) => Self { form: Form::Object, ..accepted },
            Err(_) => Self::JSON,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self.format {
            Format::Json => "application/json",
            Format::Yaml => "application/yaml",
        }
    }
}

/// Whether the client wants discovery in the aggregated form.
pub(crate) fn wants_aggregated_discovery(accept: Option<&str>) -> bool {
    let Some(accept) = accept.filter(|a| a.len() <= ACCEPT_LIMIT_BYTES) else { return false };
    let best = alternatives(accept).into_iter().find_map(|a| {
        a.format()?;
        match (a.parameter("as"), a.parameter("g"), a.parameter("v")) {
            (None, None, None) => Some(false),
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => Some(true),
            _ => None,
        }
    });
    best == Some(true)
}

/// Whether the client wants version 2 of OpenAPI in protobuf: nothing that it likes better is JSON.
pub(crate) fn wants_open_api_protobuf(accept: Option<&str>) -> bool {
    let Some(accept) = accept.filter(|a| a.len() <= ACCEPT_LIMIT_BYTES) else { return false };
    let protobuf = |a: &Alternative<'_>| {
        a.media.starts_with("application/com.github.proto-openapi.spec.v2") && a.media.ends_with("+protobuf")
    };
    alternatives(accept).iter().find(|a| protobuf(a) || a.format().is_some()).is_some_and(protobuf)
}

/// The format of a body. A body without a type is JSON, as upstream takes it.
pub(crate) fn body_syntax(content_type: Option<&str>) -> Result<Syntax, ApiError> {
    match media_type(content_type.unwrap_or("")) {
        "" | "application/json" => Ok(Syntax::Json),
        "application/yaml" => Ok(Syntax::Yaml),
        "application/vnd.kubernetes.protobuf" => Ok(Syntax::Protobuf),
        _ => Err(ApiError::unsupported_media_type(INPUT_TYPES)),
    }
}

/// A header's media type without parameters.
pub(crate) fn media_type(header: &str) -> &str {
    header.split(';').next().unwrap_or("").trim()
}

#[cfg(test)]
mod tests;
