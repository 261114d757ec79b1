//! Who may use port 10250, and for what (behaviour.md 36).
//!
//! ```text
//! request ──caller──> certificate ───────────────────┐
//!                     token ──TokenReview, cached──> user ──wish──> SubjectAccessReview, cached ──> yes or no
//!                     neither ──anonymous, if so set─┘
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `caller` | certificate and header as a user or a token |
//! | `wish` | method and endpoint as a verb and sub-resources |
//! | `reviews` | the questions to the API server |
//! | `cache` | answers for as long as they count |

mod cache;
mod caller;
mod reviews;
mod wish;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use kube::Client;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use self::cache::Cache;
pub(super) use self::caller::User;
use self::reviews::Reviews;
pub(super) use self::wish::Wish;
use super::reply::{self, Reply};
use crate::cause::chain;
use crate::config::Config;

/// The mode of `authorization` that asks nobody.
const ALWAYS_ALLOW: &str = "AlwaysAllow";
/// That a token is nobody's counts no longer than this.
const REFUSED_MOST: Duration = Duration::from_secs(10);

/// A token's digest: tokens themselves are not kept.
type TokenDigest = [u8; 32];
type Question = (User, &'static str, &'static str);

/// Decides about requests; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Access(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Arc<Config>,
    reviews: Reviews,
    users: Mutex<Cache<TokenDigest, Option<User>>>,
    rights: Mutex<Cache<Question, bool>>,
}

impl Access {
    /// Without a client nobody's token is known, and only `AlwaysAllow` lets anybody do anything.
    pub(super) fn new(config: Arc<Config>, client: Option<Client>, node: String) -> Self {
        let reviews = Reviews::new(client, node);
        let (users, rights) = (Mutex::new(Cache::new()), Mutex::new(Cache::new()));
        Self(Arc::new(Inner { config, reviews, users, rights }))
    }

    /// Whom a connection's certificate names. It was checked in the handshake.
    pub(super) fn of_certificate(certificates: Option<&[CertificateDer<'_>]>) -> Option<User> {
        User::of_certificate(certificates)
    }

    /// The user who may do this.
    ///
    /// # Errors
    /// The refusal that is sent back.
    pub(super) async fn check(
        &self,
        certificate: Option<&User>,
        wish: Wish,
        headers: &HeaderMap,
    ) -> Result<User, Reply> {
        let user = match (certificate, caller::token(headers)) {
            (Some(user), _) => Some(user.clone()),
            (None, Some(token)) => self.of_token(token).await,
            (None, None) if self.0.config.authentication.anonymous.enabled => Some(User::anonymous()),
            (None, None) => None,
        };
        let user = user.ok_or_else(|| reply::text(StatusCode::UNAUTHORIZED, "Unauthorized"))?;
        self.may(&user, wish).await?;
        Ok(user)
    }

    async fn of_token(&self, token: &str) -> Option<User> {
        let webhook = &self.0.config.authentication.webhook;
        if !webhook.enabled {
            return None;
        }
        let digest: TokenDigest = Sha256::digest(token).into();
        let users = || self.0.users.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = users().get(&digest, Instant::now()) {
            return known;
        }
        match self.0.reviews.user(token).await {
            Ok(user) => {
                let most = webhook.cache_ttl.to_std();
                let time = if user.is_some() { most } else { most.min(REFUSED_MOST) };
                users().keep(digest, user.clone(), time, Instant::now());
                user
            }
            // Without its answer nobody is let in, and the next caller asks again.
            Err(error) => {
                tracing::warn!(error = chain(&error), "a caller's token cannot be reviewed");
                None
            }
        }
    }

    async fn may(&self, user: &User, wish: Wish) -> Result<(), Reply> {
        let authorization = &self.0.config.authorization;
        if authorization.mode == ALWAYS_ALLOW {
            return Ok(());
        }
        let (name, verb) = (&user.name, wish.verb);
        for subresource in wish.subresources {
            match self.is_allowed(user, verb, subresource).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(
                        user = name,
                        verb,
                        subresource,
                        error = chain(&error),
                        "a caller's rights cannot be reviewed"
                    );
                    let why = format!(
                        "Authorization error (user={name}, verb={verb}, resource=nodes, subresource={subresource})"
                    );
                    return Err(reply::text(StatusCode::INTERNAL_SERVER_ERROR, why));
                }
            }
        }
        let subresources = wish.subresources.join(" ");
        let why =
            format!("Forbidden (user={name}, verb={verb}, resource=nodes, subresource(s)=[{subresources}])");
        Err(reply::text(StatusCode::FORBIDDEN, why))
    }

    async fn is_allowed(
        &self,
        user: &User,
        verb: &'static str,
        subresource: &'static str,
    ) -> Result<bool, reviews::ReviewError> {
        let question = (user.clone(), verb, subresource);
        let rights = || self.0.rights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = rights().get(&question, Instant::now()) {
            return Ok(known);
        }
        let is_allowed = self.0.reviews.is_allowed(user, verb, subresource).await?;
        let webhook = &self.0.config.authorization.webhook;
        let time = if is_allowed { webhook.cache_authorized_ttl } else { webhook.cache_unauthorized_ttl };
        rights().keep(question, is_allowed, time.to_std(), Instant::now());
        Ok(is_allowed)
    }
}

#[cfg(test)]
mod tests;
