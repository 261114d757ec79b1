//! Bootstrap tokens: secrets of type `bootstrap.kubernetes.io/token` with which a new node introduces itself.
//!
//! As upstream, such a secret is not checked when it is written: one that is not in order is no token. A token is what stands in
//! the secret at the moment, so that a deleted or expired one is refused at once; [`run`] only tidies up.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use crate::api::{Api, key, prefix};
use crate::authenticate::{User, hash};
use crate::cache::Object;
use crate::controller::{self, Again};
use crate::kinds::secrets::SECRETS;
use crate::kinds::text;
use crate::status::ApiError;
use crate::store::WriteError;

pub(crate) const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// Tokens of any other namespace are none.
pub(crate) const NAMESPACE: &str = "kube-system";
const SECRET_PREFIX: &str = "bootstrap-token-";
const USER_PREFIX: &str = "system:bootstrap:";
const GROUP: &str = "system:bootstrappers";
const GROUP_PREFIX: &str = "system:bootstrappers:";
/// Longest name of an extra group behind its prefix.
const GROUP_LIMIT: usize = 256;
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

/// The two parts of `abcdef.0123456789abcdef`.
pub(crate) fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let fits = |part: &str, length| {
        part.len() == length && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    (fits(id, ID_LENGTH) && fits(secret, SECRET_LENGTH)).then_some((id, secret))
}

/// A secret that holds a token, in order as far as it has been looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenSecret<'a>(&'a Value);

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    Authentication,
    Signing,
}

impl<'a> TokenSecret<'a> {
    /// `None` for a secret of another type, or one that is being deleted.
    pub(crate) fn of(secret: &'a Value) -> Option<Self> {
        let lives = text(secret, "/metadata/deletionTimestamp").is_empty();
        (lives && text(secret, "/type") == SECRET_TYPE).then_some(Self(secret))
    }

    /// An entry; empty where there is none, or where it is no text.
    fn entry(&self, name: &str) -> String {
        let encoded = self.0.get("data").and_then(|d| d.get(name)).and_then(Value::as_str).unwrap_or("");
        STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    }

    /// The token's public part, if the secret has the name that belongs to it.
    pub(crate) fn id(&self) -> Option<String> {
        let id = self.entry("token-id");
        let named = text(self.0, "/metadata/name").strip_prefix(SECRET_PREFIX) == Some(id.as_str());
        (named && !id.is_empty()).then_some(id)
    }

    pub(crate) fn secret(&self) -> Option<String> {
        Some(self.entry("token-secret")).filter(|s| !s.is_empty())
    }

    pub(crate) fn is_for(&self, usage: Usage) -> bool {
        let entry = match usage {
            Usage::Authentication => "usage-bootstrap-authentication",
            Usage::Signing => "usage-bootstrap-signing",
        };
        self.entry(entry) == "true"
    }

    /// When it expires; `None` for never. What is no time has expired long ago.
    pub(crate) fn expires(&self) -> Option<Timestamp> {
        match self.entry("expiration").as_str() {
            "" => None,
            time => Some(time.parse().unwrap_or(Timestamp::MIN)),
        }
    }

    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires().is_some_and(|end| end <= now)
    }

    /// The groups of who shows the token, sorted; `None` if one is not allowed to stand there.
    fn groups(&self) -> Option<Vec<String>> {
        let mut groups = vec![GROUP.to_owned()];
        let extra = self.entry("auth-extra-groups");
        if !extra.is_empty() {
            for group in extra.split(',') {
                groups.push(
                    group.strip_prefix(GROUP_PREFIX).filter(|g| is_group(g)).map(|_| group.to_owned())?,
                );
            }
        }
        groups.sort_unstable();
        groups.dedup();
        Some(groups)
    }
}

fn is_group(name: &str) -> bool {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= GROUP_LIMIT
        && name.bytes().all(|c| plain(c) || matches!(c, b':' | b'-'))
        && name.bytes().last().is_some_and(plain)
}

/// Whose token it is, if it is a bootstrap token that is good for authentication. `secret_of` finds a secret of the namespace by its
/// name.
pub(crate) fn user_of(
    token: &str,
    secret_of: impl FnOnce(&str) -> Option<Arc<Value>>,
    now: Timestamp,
) -> Option<User> {
    let (id, secret) = parse(token)?;
    let stored = secret_of(&format!("{SECRET_PREFIX}{id}"))?;
    let stored = TokenSecret::of(&stored)?;
    if hash(&stored.secret()?) != hash(secret) || stored.id()? != id {
        return None;
    }
    if stored.has_expired(now) || !stored.is_for(Usage::Authentication) {
        return None;
    }
    Some(User::authenticated(format!("{USER_PREFIX}{id}"), String::new(), stored.groups()?))
}

/// Whose token it is, by the secrets as they are now.
pub(crate) fn authenticate(api: &Api, token: &str) -> Option<User> {
    let secret_of = |name: &str| api.cache.get_cached(&key(&SECRETS, NAMESPACE, name)).map(|o| o.value());
    user_of(token, secret_of, Timestamp::now())
}

/// All secrets that may hold a token. Others are not parsed.
pub(crate) fn candidates(api: &Api) -> Vec<Arc<Object>> {
    api.cache.list_cached(&format!("{}{SECRET_PREFIX}", prefix(&SECRETS, NAMESPACE)))
}

/// Removes expired tokens, until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    controller::run(&api, "expired bootstrap tokens", &[&SECRETS], || clean(&api)).await;
}

async fn clean(api: &Api) -> Result<Again, ApiError> {
    let now = Timestamp::now();
    let mut again = Again::OnChange;
    for object in candidates(api) {
        let value = object.value();
        let Some(end) = TokenSecret::of(&value).and_then(|secret| secret.expires()) else { continue };
        if end > now {
            let seconds = end.as_second().saturating_sub(now.as_second()).max(0).unsigned_abs() + 1;
            again = again.and(Again::After(Duration::from_secs(seconds)));
            continue;
        }
        match api.cache.delete(object.key(), object.revision()).await {
            Ok(_) => {
                tracing::info!(secret = text(&value, "/metadata/name"), "removed an expired bootstrap token")
            }
            // Written or removed meanwhile, which is a change.
            Err(WriteError::Conflict { .. } | WriteError::NotFound { .. }) => {}
            Err(error) => {
                return Err(ApiError::of_write(error, &SECRETS, text(&value, "/metadata/name")));
            }
        }
    }
    Ok(again)
}

#[cfg(test)]
mod tests;
