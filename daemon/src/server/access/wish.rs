//! What a request wants, in the words of a review (behaviour.md 36.6, 36.7).

use http::Method;

/// A verb on the node, and the sub-resources of which one is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) verb: &'static str,
    /// Asked for in this order.
    pub(crate) subresources: &'static [&'static str],
}

impl Wish {
    /// `path` is that of the request, without its query.
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let verb = match *method {
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "get",
        };
        let subresources: &[&str] = match path.trim_start_matches('/').split('/').next().unwrap_or_default() {
            "stats" => &["stats"],
            "metrics" => &["metrics"],
            "logs" => &["log"],
            "checkpoint" => &["checkpoint"],
            "statusz" => &["statusz"],
            "flagz" => &["configz"],
            "pods" | "runningpods" => &["pods", "proxy"],
            "healthz" => &["healthz", "proxy"],
            "configz" => &["configz", "proxy"],
            _ => &["proxy"],
        };
        Self { verb, subresources }
    }
}
