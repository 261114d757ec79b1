//! Lists: which revision they show, pages, and the token that continues one.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::object::Object;
use super::{Cache, FRESHNESS_TIMEOUT};
use crate::store::{KEY_LIMIT_BYTES, ReadError};

/// What to list.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// `pods/` or `pods/default/`.
    pub prefix: String,
    /// At most so many objects; 0 for all.
    pub limit: usize,
    pub at: ReadAt,
}

/// The revision that a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadAt {
    /// No `resourceVersion`: all that was acknowledged before the request.
    Latest,
    /// `resourceVersion=0`: whatever is at hand.
    Any,
    /// `resourceVersion=N` (`resourceVersionMatch=NotOlderThan`).
    NotOlderThan(u64),
    /// `resourceVersion=N` with `resourceVersionMatch=Exact`.
    Exact(u64),
    /// `continue=TOKEN`.
    Continue(Continue),
}

/// A consistent list or a page of one.
#[derive(Debug)]
pub struct Listing {
    /// `metadata.resourceVersion` of the list.
    pub revision: u64,
    /// In key order.
    pub objects: Vec<Arc<Object>>,
    /// `metadata.continue`, if the limit left objects out.
    pub next: Option<String>,
    /// `metadata.remainingItemCount`: how many were left out, if there is no filter.
    pub remaining: Option<u64>,
}

/// Where a list goes on: the content of a `continue` token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continue {
    /// The revision of the first page; `None` to go on with whatever is there now.
    revision: Option<u64>,
    /// The last key of the page before, without the prefix.
    after: String,
}

/// A `continue` token that this server has not made. A 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("continue key is not valid: {0}")]
pub struct ContinueError(&'static str);

/// As upstream's, so that nothing but the encoding is ours.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

const TOKEN_VERSION: &str = "meta.k8s.io/v1";
/// The `rv` of a token that goes on with whatever is there.
const INCONSISTENT: i64 = -1;

impl Continue {
    pub fn parse(token: &str) -> Result<Self, ContinueError> {
        if token.len() > 2 * KEY_LIMIT_BYTES + 256 {
            return Err(ContinueError("it is too long"));
        }
        let json = URL_SAFE_NO_PAD
            .decode(token.trim_end_matches('='))
            .map_err(|_| ContinueError("it is not base64"))?;
        let token: Token =
            serde_json::from_slice(&json).map_err(|_| ContinueError("it has an unknown form"))?;
        if token.v != TOKEN_VERSION {
            return Err(ContinueError("server does not recognize this encoded version"));
        }
        if token.start.is_empty() {
            return Err(ContinueError("it has no start key"));
        }
        let revision = match token.rv {
            INCONSISTENT => None,
            rv => Some(
                u64::try_from(rv)
                    .ok()
                    .filter(|rv| *rv > 0)
                    .ok_or(ContinueError("incorrect resource version"))?,
            ),
        };
        Ok(Self { revision, after: token.start })
    }

    fn encode(&self) -> String {
        let rv = self.revision.map_or(INCONSISTENT, |r| i64::try_from(r).unwrap_or(i64::MAX));
        let token = Token { v: TOKEN_VERSION.to_owned(), rv, start: self.after.clone() };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("two strings and a number can be written"))
    }
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// 410 Expired: an exact revision that is no longer known.
    #[error("The resourceVersion for the provided list is too old.")]
    Expired { requested: u64, floor: u64 },
    /// 410 Expired: `fresh` goes into the status's `metadata.continue`; with it a client gets the rest as it is now.
    #[error(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list."
    )]
    ContinueExpired { fresh: String },
    /// 504 Timeout with cause `ResourceVersionTooLarge` and `retryAfterSeconds: 1`.
    #[error("Too large resource version: {requested}, current: {current}")]
    TooLarge { requested: u64, current: u64 },
    #[error(transparent)]
    Failed(#[from] ReadError),
}

pub(super) async fn list(
    cache: &Cache,
    query: &ListQuery,
    filter: Option<&(dyn Fn(&Value) -> bool + Sync)>,
) -> Result<Listing, ListError> {
    let at_least = match &query.at {
        ReadAt::Latest => cache.catch_up().await?,
        ReadAt::Any => 0,
        ReadAt::NotOlderThan(revision) | ReadAt::Exact(revision) => *revision,
        ReadAt::Continue(token) => token.revision.unwrap_or(0),
    };
    cache
        .wait_for(at_least, FRESHNESS_TIMEOUT)
        .await
        .map_err(|current| ListError::TooLarge { requested: at_least, current })?;

    let (exact, after) = match &query.at {
        ReadAt::Latest | ReadAt::Any | ReadAt::NotOlderThan(_) => (None, None),
        ReadAt::Exact(revision) => (Some(*revision), None),
        ReadAt::Continue(token) => (token.revision, Some(format!("{}{}", query.prefix, token.after))),
    };
    let (revision, objects) = {
        let state = cache.state.read();
        match exact {
            None => (state.revision(), state.objects(&query.prefix, after.as_deref())),
            Some(revision) => {
                let objects = state.objects_at(&query.prefix, after.as_deref(), revision).map_err(
                    |floor| match &query.at {
                        ReadAt::Continue(token) => {
                            let fresh = Continue { revision: None, after: token.after.clone() };
                            ListError::ContinueExpired { fresh: fresh.encode() }
                        }
                        _ => ListError::Expired { requested: revision, floor },
                    },
                )?;
                (revision, objects)
            }
        }
    };
    Ok(page(&query.prefix, query.limit, revision, objects, filter))
}

/// Cuts a snapshot into the page that was asked for.
fn page(
    prefix: &str,
    limit: usize,
    revision: u64,
    mut objects: Vec<Arc<Object>>,
    filter: Option<&(dyn Fn(&Value) -> bool + Sync)>,
) -> Listing {
    let total = objects.len();
    if let Some(filter) = filter {
        // One more than the limit tells whether there is a next page.
        let wanted = if limit == 0 { usize::MAX } else { limit.saturating_add(1) };
        objects = objects.into_iter().filter(|o| filter(&o.value())).take(wanted).collect();
    }
    if limit == 0 || objects.len() <= limit {
        return Listing { revision, objects, next: None, remaining: None };
    }
    objects.truncate(limit);
    let next = objects.last().map(|last| {
        let after = last.key().strip_prefix(prefix).unwrap_or(last.key()).to_owned();
        Continue { revision: Some(revision), after }.encode()
    });
    let remaining = filter.is_none().then(|| (total - limit) as u64);
    Listing { revision, objects, next, remaining }
}

#[cfg(test)]
mod tests;
