//! What a request wants, in the words of a review (behaviour.md 36.6, 36.7).

use http::Method;

use crate::server::endpoint::Endpoint;

/// A verb on the node, and the sub-resources of which one is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) verb: &'static str,
    /// Asked for in this order.
    pub(crate) subresources: &'static [&'static str],
}

impl Wish {
    /// Of a path without an endpoint nothing is told but to those who may do everything.
    pub(in crate::server) fn of(method: &Method, endpoint: Option<&Endpoint>) -> Self {
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "get",
        };
        Self { verb, subresources: endpoint.map_or(&["proxy"], |endpoint| endpoint.subresources) }
    }
}
