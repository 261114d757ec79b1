//! Whether a pod may use an image that is on the node already. behaviour.md 14.6.
//!
//! ```text
//! policy exempts the image ──────────────────────────────────────────> usable
//! no record, or a damaged one, or none for this repository ──────────> to be pulled
//! pulled without a secret, or with the node's own credentials ───────> usable
//! pulled with a secret ──> the pod has it, or one of the same content ─> usable
//! pulled for a service account ──> the pod's is the same ────────────> usable
//!                          else ───────────────────────────────────────> to be pulled
//! ```

use thiserror::Error;

use super::records::{Known, PullCredentials, PullSecret, PulledWith};
use super::reference::repository;

/// `imagePullCredentialsVerificationPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    NeverVerify,
    /// What was there before this daemon pulled it is everybody's.
    NeverVerifyPreloadedImages,
    NeverVerifyAllowlistedImages(Vec<Pattern>),
    AlwaysVerify,
}

/// An entry of `preloadedImagesVerificationAllowlist`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// A repository's full name.
    Repository(String),
    /// All whose names begin so; ends with a slash.
    Below(String),
}

/// An entry of the allowlist that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{pattern:?} {why}")]
pub(crate) struct PatternError {
    pattern: String,
    why: &'static str,
}

impl Pattern {
    fn parse(pattern: &str) -> Result<Self, PatternError> {
        let wrong = |why| Err(PatternError { pattern: pattern.to_owned(), why });
        let (name, below) = match pattern.strip_suffix("/*") {
            Some(name) => (name, true),
            None => (pattern, false),
        };
        if pattern.trim() != pattern {
            return wrong("has blanks around it");
        }
        if name.is_empty() {
            return wrong("names no registry");
        }
        if name.contains('*') {
            return wrong("has a * elsewhere than at its end after a slash");
        }
        if below {
            return Ok(Self::Below(format!("{name}/")));
        }
        match podspec::normalized_image(name) {
            Ok(_) if repository(name) == name => Ok(Self::Repository(name.to_owned())),
            Ok(_) => {
                wrong("is not the full name of a repository, with its registry and without tag and digest")
            }
            Err(_) => wrong("is no name of an image"),
        }
    }

    fn fits(&self, repository: &str) -> bool {
        match self {
            Self::Repository(name) => repository == name,
            Self::Below(prefix) => repository.starts_with(prefix),
        }
    }
}

/// What is wrong with an entry of the allowlist.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), PatternError> {
    Pattern::parse(pattern).map(drop)
}

/// What becomes of an image that is on the node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    Usable,
    /// As if it were not there.
    ToBePulled,
    /// Usable for those who have one of these.
    With(&'a PullCredentials),
}

impl Policy {
    /// The policy of this name; the configuration knows no others.
    pub(super) fn new(name: &str, allowlist: &[String]) -> Result<Self, PatternError> {
        Ok(match name {
            "NeverVerify" => Self::NeverVerify,
            "NeverVerifyAllowlistedImages" => {
                let patterns = allowlist.iter().map(|pattern| Pattern::parse(pattern));
                Self::NeverVerifyAllowlistedImages(patterns.collect::<Result<_, _>>()?)
            }
            "AlwaysVerify" => Self::AlwaysVerify,
            _ => Self::NeverVerifyPreloadedImages,
        })
    }

    /// Decides for a repository (its full name) by what is known of the image.
    pub(super) fn verdict<'a>(&self, repository: &str, known: &'a Known) -> Verdict<'a> {
        let exempt = match self {
            Self::NeverVerify => true,
            Self::NeverVerifyPreloadedImages => matches!(known, Known::Nothing),
            Self::NeverVerifyAllowlistedImages(patterns) => patterns.iter().any(|p| p.fits(repository)),
            Self::AlwaysVerify => false,
        };
        if exempt {
            return Verdict::Usable;
        }
        let Known::Pulled(record) = known else { return Verdict::ToBePulled };
        match record.credential_mapping.get(repository) {
            Some(with) if with.node_pods_accessible => Verdict::Usable,
            Some(with)
                if !with.kubernetes_secrets.is_empty() || !with.kubernetes_service_accounts.is_empty() =>
            {
                Verdict::With(with)
            }
            _ => Verdict::ToBePulled,
        }
    }
}

/// The first of what the pod has that is one of the known: the same secret, or one of the same content, or the same account.
pub(super) fn presented<'a>(known: &PullCredentials, of_pod: &'a [PulledWith]) -> Option<&'a PulledWith> {
    let same = |a: &PullSecret, b: &PullSecret| {
        a.is_same_object(b) || (!a.credential_hash.is_empty() && a.credential_hash == b.credential_hash)
    };
    of_pod.iter().find(|shown| match shown {
        PulledWith::Secret(secret) => known.kubernetes_secrets.iter().any(|known| same(known, secret)),
        PulledWith::Account(account) => known.kubernetes_service_accounts.contains(account),
        PulledWith::NodeAccess | PulledWith::Unknown => false,
    })
}

#[cfg(test)]
mod tests;
