//! `tokenAttributes` of a plugin: which tokens and which annotations of service accounts it gets. behaviour.md 14.5.

use std::collections::BTreeSet;

use serde::Deserialize;

const MAX_PREFIX: usize = 253;
const MAX_NAME: usize = 63;

/// As in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct FileTokenAttributes {
    #[serde(default)]
    service_account_token_audience: String,
    #[serde(default)]
    cache_type: String,
    require_service_account: Option<bool>,
    #[serde(default)]
    required_service_account_annotation_keys: Vec<String>,
    #[serde(default)]
    optional_service_account_annotation_keys: Vec<String>,
}

/// For whom credentials that a token has brought may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheType {
    /// For nobody without the same token, and so for the same pod only.
    Token,
    /// For each pod of the account.
    ServiceAccount,
}

/// What was asked for, and makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenAttributes {
    pub(super) audience: String,
    pub(super) cache_type: CacheType,
    /// Whether pods without an account get nothing of the plugin.
    pub(super) require_account: bool,
    /// Accounts without one of these get nothing of the plugin.
    pub(super) required_annotations: Vec<String>,
    pub(super) optional_annotations: Vec<String>,
}

impl FileTokenAttributes {
    /// The attributes, or the field and what is wrong with it. `plugin_version` is of requests to the plugin, `config_version` of the
    /// file.
    pub(super) fn check(
        self,
        plugin_version: &str,
        config_version: &str,
        allowed: bool,
    ) -> Result<TokenAttributes, String> {
        if !allowed {
            return Err(
                "tokenAttributes: needs the feature gate KubeletServiceAccountTokenForCredentialProviders"
                    .to_owned(),
            );
        }
        for (what, version) in [("plugin", plugin_version), ("file", config_version)] {
            if !version.ends_with("/v1") {
                return Err(format!(
                    "tokenAttributes: the {what} has apiVersion {version:?}, and only v1 has them"
                ));
            }
        }
        let wrong = |field: &str, why: String| Err(format!("tokenAttributes.{field}: {why}"));
        if self.service_account_token_audience.is_empty() {
            return wrong("serviceAccountTokenAudience", "is not set".to_owned());
        }
        let Some(require_account) = self.require_service_account else {
            return wrong("requireServiceAccount", "is not set".to_owned());
        };
        let cache_type = match self.cache_type.as_str() {
            "Token" => CacheType::Token,
            "ServiceAccount" => CacheType::ServiceAccount,
            "" => return wrong("cacheType", "is not set; ServiceAccount and Token are known".to_owned()),
            other => {
                return wrong("cacheType", format!("{other:?} is not known; ServiceAccount and Token are"));
            }
        };
        let (required, optional) =
            (self.required_service_account_annotation_keys, self.optional_service_account_annotation_keys);
        if !require_account && !required.is_empty() {
            let why = "requireServiceAccount cannot be false beside it".to_owned();
            return wrong("requiredServiceAccountAnnotationKeys", why);
        }
        for (field, keys) in [
            ("requiredServiceAccountAnnotationKeys", &required),
            ("optionalServiceAccountAnnotationKeys", &optional),
        ] {
            let mut seen = BTreeSet::new();
            for key in keys {
                if !is_annotation_key(key) {
                    return wrong(field, format!("{key:?} cannot be the key of an annotation"));
                }
                if !seen.insert(key) {
                    return wrong(field, format!("{key:?} is there twice"));
                }
            }
        }
        if let Some(key) = required.iter().find(|key| optional.contains(key)) {
            return Err(format!("tokenAttributes: annotation {key:?} cannot be both required and optional"));
        }
        Ok(TokenAttributes {
            audience: self.service_account_token_audience,
            cache_type,
            require_account,
            required_annotations: required,
            optional_annotations: optional,
        })
    }
}

/// `name` or `prefix/name`; the prefix is a DNS subdomain. Case does not count.
fn is_annotation_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    prefix.is_none_or(is_subdomain) && is_part(name, MAX_NAME, b"-_.")
}

fn is_subdomain(prefix: &str) -> bool {
    prefix.len() <= MAX_PREFIX && prefix.split('.').all(|label| is_part(label, MAX_PREFIX, b"-"))
}

/// Letters, digits and, between them, others.
fn is_part(text: &str, longest: usize, others: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let ends =
        [bytes.first(), bytes.last()].into_iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric));
    ends && bytes.len() <= longest && bytes.iter().all(|b| b.is_ascii_alphanumeric() || others.contains(b))
}
