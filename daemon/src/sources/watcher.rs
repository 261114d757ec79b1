//! List and watch of one kind, resumed for ever.
//!
//! ```text
//!            list ok                     410, bad answer
//! Listing ─────────────> Watching(rv) ─────────────────────> Listing
//!    ^ │ error: back-off       │ ^ stream ended: watch again from rv
//!    └─┘                       └─┘ error: back-off, then watch again from rv
//! ```

use std::fmt;
use std::time::Duration;

use kube::api::{Api, ListParams, WatchParams};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::{Backoff, random};
use super::events::{Event, EventError, Events};
use crate::cause::chain;

const LIST_TIMEOUT: Duration = Duration::from_secs(60);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MOST: Duration = Duration::from_secs(5);
/// The server ends each watch after this to four thirds of it, so that load spreads again; a connection on which
/// nothing came for longer is dead.
const WATCH_SECONDS: f64 = 215.0;
const IDLE_MARGIN: Duration = Duration::from_secs(10);

/// What happened to the objects.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change<K> {
    /// Everything that there is.
    Listed(Vec<K>),
    Applied(K),
    Deleted(K),
}

/// See the module's page.
pub(crate) struct Watcher<K> {
    api: Api<K>,
    field_selector: String,
    /// For the log.
    what: &'static str,
    version: Option<String>,
    events: Option<(Events<K>, Duration)>,
    backoff: Backoff,
    /// When the next attempt may begin, after one that failed.
    rest_until: Option<Instant>,
    failing: bool,
    /// Whether failures are told by somebody else.
    quiet: bool,
}

impl<K> fmt::Debug for Watcher<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("what", &self.what)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl<K> Watcher<K>
where
    K: Clone + DeserializeOwned + fmt::Debug + kube::Resource + Send + 'static,
{
    pub(crate) fn new(api: Api<K>, field_selector: String, what: &'static str) -> Self {
        let backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        Self {
            api,
            field_selector,
            what,
            version: None,
            events: None,
            backoff,
            rest_until: None,
            failing: false,
            quiet: false,
        }
    }

    /// Leaves it to the caller to tell of failures.
    pub(crate) fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// The next change. Cancel-safe: a list that was under way is made again, a watch goes on where it was.
    pub(crate) async fn next(&mut self) -> Change<K> {
        loop {
            // A failure was told by then.
            if let Ok(change) = self.try_next().await {
                return change;
            }
        }
    }

    /// The next change, or why there is none: then the next call waits a while before it tries again. Cancel-safe as
    /// [`Watcher::next`].
    pub(crate) async fn try_next(&mut self) -> Result<Change<K>, WatchError> {
        if let Some(at) = self.rest_until {
            sleep_until(at).await;
            self.rest_until = None;
        }
        loop {
            match self.attempt().await {
                Ok(Some(change)) => {
                    if self.failing && !self.quiet {
                        tracing::info!(what = self.what, "the API server answers again");
                    }
                    self.failing = false;
                    self.backoff.reset();
                    return Ok(change);
                }
                Ok(None) => {}
                Err(error) => {
                    self.events = None;
                    if !self.failing && !self.quiet {
                        tracing::warn!(
                            what = self.what,
                            error = chain(&error),
                            "list and watch failed; tried again until it works"
                        );
                    }
                    self.failing = true;
                    self.rest_until = Some(Instant::now() + self.backoff.delay());
                    return Err(error);
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<Option<Change<K>>, WatchError> {
        let Some(version) = self.version.clone() else { return self.list().await.map(Some) };
        let Some((events, idle)) = &mut self.events else {
            let seconds = (WATCH_SECONDS * (1.0 + random() / 3.0)) as u32;
            let params = WatchParams::default().fields(&self.field_selector).timeout(seconds);
            let (client, path) = (self.api.clone().into_client(), self.api.resource_url());
            let opened = timeout(LIST_TIMEOUT, Events::open(&client, path, &params, &version));
            let events = match opened.await.map_err(|_| WatchError::NoAnswer)? {
                Ok(events) => events,
                Err(error) => return self.lost(error),
            };
            self.events = Some((events, Duration::from_secs(seconds.into()) + IDLE_MARGIN));
            return Ok(None);
        };
        let event = timeout(*idle, events.next()).await.map_err(|_| WatchError::NoAnswer)?;
        let (change, object) = match event {
            None => {
                self.events = None;
                // A server that ends each watch at once must not be asked in a loop.
                sleep(self.backoff.delay()).await;
                return Ok(None);
            }
            Some(Err(error)) => return self.lost(error),
            Some(Ok(Event::Error(status))) => return self.lost(EventError::Refused(status)),
            Some(Ok(Event::Bookmark(version))) => {
                self.backoff.reset();
                self.version = Some(version);
                return Ok(None);
            }
            Some(Ok(Event::Applied(object))) => (Change::Applied as fn(K) -> Change<K>, object),
            Some(Ok(Event::Deleted(object))) => (Change::Deleted as fn(K) -> Change<K>, object),
        };
        self.version = object.meta().resource_version.clone().or(self.version.take());
        Ok(Some(change(stripped(object))))
    }

    /// After a failed watch: what the server has forgotten, or what it cannot say, is listed anew.
    fn lost(&mut self, error: EventError) -> Result<Option<Change<K>>, WatchError> {
        self.events = None;
        if !matches!(error, EventError::Call(_)) {
            self.version = None;
        }
        if matches!(&error, EventError::Refused(status) if status.code == 410) {
            tracing::debug!(what = self.what, "the watch is too old; listing again");
            return Ok(None);
        }
        Err(error.into())
    }

    async fn list(&mut self) -> Result<Change<K>, WatchError> {
        let params = ListParams::default().fields(&self.field_selector);
        let list =
            timeout(LIST_TIMEOUT, self.api.list(&params)).await.map_err(|_| WatchError::NoAnswer)??;
        self.version = list.metadata.resource_version.filter(|version| !version.is_empty());
        if self.version.is_none() {
            return Err(WatchError::NoVersion);
        }
        Ok(Change::Listed(list.items.into_iter().map(stripped).collect()))
    }
}

/// Field ownership is large and nobody here reads it.
fn stripped<K: kube::Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// Why there is no change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    #[error("the API server did not answer in time")]
    NoAnswer,
    #[error("the list has no resourceVersion")]
    NoVersion,
    #[error(transparent)]
    List(#[from] kube::Error),
    #[error(transparent)]
    Watch(#[from] EventError),
}

impl WatchError {
    /// What the API server said where it refuses for want of rights.
    pub(crate) fn forbidden(&self) -> Option<&str> {
        match self {
            Self::List(kube::Error::Api(status)) if status.code == 403 => Some(&status.message),
            Self::Watch(EventError::Refused(status)) if status.code == 403 => Some(&status.message),
            _ => None,
        }
    }
}
