//! The kubelet's own configuration: `KubeletConfiguration` of `kubelet.config.k8s.io/v1beta1` from a file, drop-ins and flags.
//!
//! ```text
//! file, drop-ins ──document──> tree with lines ─┐
//! flags ──────────flags──────> overlay ─────────┴─load──> merged ──decode──> Config ──validate──> Loaded
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `document` | YAML and JSON text, and the line of every field |
//! | `load` | order of sources, merging, defaults that depend on other fields |
//! | `decode` | typed decoding with field paths in errors |
//! | `settings`, `groups` | the fields, their defaults, and which of them have an effect |
//! | `gates` | feature gates |
//! | `duration` | Go's durations |
//! | `validate` | what may be combined, what is refused, what is warned about |
//! | `machine` | checks of the machine before anything starts (swap, cgroup version, kernel tunables) |
//!
//! A configuration that cannot be used ends the process with exit code 2 and one line for each wrong field, with file and line.

mod decode;
mod document;
mod duration;
pub mod gates;
mod groups;
mod load;
pub mod machine;
mod settings;
mod validate;

pub(crate) use document::Document;
pub use document::Origin;
pub use duration::{GoDuration, ParseDurationError};
pub use groups::{
    AnonymousAuthentication, Authentication, Authorization, CrashLoopBackOff, Logging, MemoryReservation,
    MemorySwap, NodeTaint, PriorityShutdown, Tracing, UserNamespaces, VModule, WebhookAuthentication,
    WebhookAuthorization, X509Authentication,
};
pub use load::{ConfigError, Loaded, Problem};
pub(crate) use load::{FlagValue, load};
pub use settings::Config;
pub(crate) use validate::cpu_set_size;

/// Exit code for a configuration or command line that cannot be used.
pub const EXIT_BAD_CONFIGURATION: u8 = 2;

impl Config {
    /// Whether a feature gate is on.
    #[must_use]
    pub fn gate(&self, name: &str) -> bool {
        gates::enabled(&self.feature_gates, name)
    }

    /// What `/configz` shows: the effective configuration with its kind and version, without secrets. behaviour.md 35.13.
    #[must_use]
    pub fn to_configz(&self) -> serde_json::Value {
        let mut fields =
            serde_json::to_value(self).expect("all fields have plain JSON forms and maps have text keys");
        if let Some(headers) = fields.get_mut("staticPodURLHeader").and_then(|v| v.as_object_mut()) {
            headers.values_mut().for_each(|values| *values = serde_json::json!(["<masked>"]));
        }
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("kind".to_owned(), load::KIND.into());
            fields.insert("apiVersion".to_owned(), load::API_VERSION.into());
        }
        serde_json::json!({ "kubeletconfig": fields })
    }
}

/// Text of another kind of file, with the lines of its fields: kubeconfigs and manifests are read as strictly.
pub(crate) fn parse_document(text: &str, path: &std::path::Path) -> Result<Document, String> {
    document::parse(text, path).map_err(|error| error.to_string())
}

/// A parsed document as a `T`; the error is the field and what is wrong with it.
pub(crate) fn decode_document<T: serde::de::DeserializeOwned>(
    document: &Document,
) -> Result<T, (String, String)> {
    decode::decode(&document.value).map_err(|error| (error.field, error.message))
}
