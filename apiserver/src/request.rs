//! What a request asks for: path, query, options and media types, read without looking at any object.
//!
//! [`Target`] is the path, [`Query`] the raw parameters, [`options`] their meaning, [`media`] the negotiation of formats.

use percent_encoding::percent_decode_str;

pub(crate) mod media;
pub(crate) mod options;
mod query;

pub(crate) use query::{Query, QueryError};

/// Longest path with its query that is read, in bytes.
pub(crate) const URI_LIMIT_BYTES: usize = 128 * 1024;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A resource, whether it exists or not.
    Resource(ResourcePath),
    /// `/version`, `/healthz`, discovery, and everything unknown.
    Other,
}

/// A path below `/api/VERSION` or `/apis/GROUP/VERSION`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    /// Empty for core.
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    /// The plural name.
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    /// What follows `/proxy`, as it was sent; it begins with a slash. Empty for everything else.
    pub(crate) rest: String,
}

/// The path cannot be decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path is not valid UTF-8, is empty in places, or has more parts than any resource")]
pub(crate) struct PathError;

impl Target {
    /// Reads a path. Segments are decoded after they have been split, so that a name may contain an encoded slash.
    pub(crate) fn parse(path: &str) -> Result<Self, PathError> {
        let (path, proxied) = split_proxied(path);
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments = path
            .split('/')
            .map(|s| percent_decode_str(s).decode_utf8().map(|s| s.into_owned()).map_err(|_| PathError))
            .collect::<Result<Vec<String>, _>>()?;
        let mut segments = segments.into_iter();
        let group = match segments.next().as_deref() {
            Some("api") => Some(String::new()),
            Some("apis") => segments.next(),
            _ => return Ok(Self::Other),
        };
        let (Some(group), Some(version), Some(first)) = (group, segments.next(), segments.next()) else {
            return Ok(Self::Other);
        };
        let mut target = ResourcePath { group, version, rest: proxied.to_owned(), ..ResourcePath::default() };
        let rest: Vec<String> = segments.collect();
        if rest.iter().any(String::is_empty) || first.is_empty() {
            return Err(PathError);
        }
        target.fill(first, rest)?;
        Ok(Self::Resource(target))
    }
}

/// Sub-resources of namespaces; any other word after a namespace's name is a resource in it.
const NAMESPACE_SUBRESOURCES: &[&str] = &["status", "finalize"];

/// The sub-resource below which everything belongs to somebody else.
const PROXY: &str = "proxy";

/// Splits a path behind the sub-resource `proxy`; what follows may have any form.
fn split_proxied(path: &str) -> (&str, &str) {
    let segments: Vec<&str> = path.splitn(9, '/').collect();
    let proxy = match segments.as_slice() {
        ["", "api", _, "namespaces", _, _, _, PROXY, ..] => 7,
        ["", "api", _, first, _, PROXY, ..] if *first != "namespaces" => 5,
        _ => return (path, ""),
    };
    let length = segments[..=proxy].iter().map(|segment| segment.len() + 1).sum::<usize>() - 1;
    path.split_at(length)
}

impl ResourcePath {
    fn fill(&mut self, first: String, rest: Vec<String>) -> Result<(), PathError> {
        let mut rest = rest.into_iter();
        self.resource = first;
        self.name = rest.next();
        let third = rest.next();
        if self.resource == "namespaces" {
            match third {
                Some(word) if !NAMESPACE_SUBRESOURCES.contains(&word.as_str()) => {
                    self.namespace = self.name.take();
                    self.resource = word;
                    self.name = rest.next();
                    self.subresource = rest.next();
                }
                // A namespace is looked at as if it were in itself, as upstream does for authorization.
                third => self.subresource = third,
            }
        } else {
            self.subresource = third;
        }
        if rest.next().is_some() { Err(PathError) } else { Ok(()) }
    }
}

/// A verb of the API, as authorization and discovery name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
}

impl Verb {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
        }
    }

    /// The verb of a method on a resource; `None` for a method that resources do not have.
    pub(crate) fn of(method: &http::Method, named: bool, watch: bool) -> Option<Self> {
        use http::Method;
        Some(match (method, named) {
            (&Method::GET | &Method::HEAD, _) if watch => Self::Watch,
            (&Method::GET | &Method::HEAD, true) => Self::Get,
            (&Method::GET | &Method::HEAD, false) => Self::List,
            (&Method::POST, _) => Self::Create,
            (&Method::PUT, _) => Self::Update,
            (&Method::PATCH, _) => Self::Patch,
            (&Method::DELETE, true) => Self::Delete,
            (&Method::DELETE, false) => Self::DeleteCollection,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
