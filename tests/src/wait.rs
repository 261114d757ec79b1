//! Waiting for something that can be looked at but does not tell.

use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

const PERIOD: Duration = Duration::from_millis(50);

/// It did not come about in time.
#[derive(Debug, Error)]
#[error("waited {limit:?} for {what}; last seen: {last}")]
pub struct WaitError {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub limit: Duration,
    /// What there was instead.
    pub last: String,
}

/// What one look showed.
#[derive(Clone, Debug)]
pub enum Look<T> {
    /// What was waited for.
    There(T),
    /// Something else: this.
    NotYet(String),
}

/// Looks until it is there. A look that takes longer than the limit is given up too.
///
/// # Errors
/// After `limit`, with what was seen last.
pub async fn until<T, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> Result<T, WaitError>
where
    F: Future<Output = Look<T>>,
{
    let end = Instant::now() + limit;
    let mut last = "nothing".to_owned();
    loop {
        match tokio::time::timeout_at(end, look()).await {
            Ok(Look::There(value)) => return Ok(value),
            Ok(Look::NotYet(seen)) => last = seen,
            Err(_) => last.push_str(" (and a look that did not end)"),
        }
        if Instant::now() + PERIOD >= end {
            return Err(WaitError { what: what.to_owned(), limit, last });
        }
        tokio::time::sleep(PERIOD).await;
    }
}
