//! Tokens of service accounts: JSON web tokens that this server signs and believes, for as long as the account and the object that a
//! token is bound to are there.
//!
//! ```text
//! serviceaccounts/NAME/token ──request──> claims ──key──> token
//! Authorization: Bearer, TokenReview ──key──> claims ──objects as they are now──> user
//! anybody with a token ──discovery──> the public key, for programs that check tokens themselves
//! ```
//!
//! [`key`] signs and checks signatures, [`claims`] is what a token says and whether that still holds (pure), [`request`] the
//! sub-resource, [`discovery`] the documents of OpenID Connect.

use jiff::Timestamp;

use crate::api::Api;
use crate::authenticate::User;

pub(crate) mod claims;
pub(crate) mod discovery;
pub(crate) mod key;
pub(crate) mod request;

use claims::Claims;
use key::SigningKey;

/// How tokens are made, and what they are accepted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// `iss` of every token.
    pub(crate) issuer: String,
    /// Whom tokens are for that say nothing else; this server accepts tokens for any of them.
    pub(crate) audiences: Vec<String>,
    /// Whether the usual token of a pod is accepted for a year, though it says that it is to be replaced within the hour.
    pub(crate) extend: bool,
    /// Longest lifetime, in seconds.
    pub(crate) longest: Option<i64>,
}

/// Who makes and accepts tokens.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) key: SigningKey,
    pub(crate) settings: Settings,
}

/// A user whose token is good, with those of the audiences asked for that the token is meant for.
pub(crate) type Accepted = (User, Vec<String>);

/// Whose token it is. `None` for what is no token of this issuer's; the error is why one of them is not accepted.
pub(crate) fn authenticate(api: &Api, token: &str, wanted: &[String]) -> Option<Result<Accepted, String>> {
    let issuer = &api.issuer;
    let claims = Claims::read(&issuer.key.verify(token)?)?;
    if claims.issuer != issuer.settings.issuer {
        return None;
    }
    let accepted = || {
        let audiences = claims.audiences_among(wanted)?;
        Ok((claims.user(api, Timestamp::now())?, audiences))
    };
    Some(accepted())
}
