//! The client certificate while the daemon runs: looked at each few seconds, asked for, renewed, put into use.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::ask::{AskError, ask};
use super::identity::Identity;
use super::plan::{Held, Situation, Step, plan};
use super::request::Wanted;
use super::store::{Store, write_secret};
use crate::cause::chain;
use crate::kubeconfig::{self, Access, Clients, KubeconfigError, LineError, Link, Reach};
use crate::metrics::Metrics;
use crate::sources::backoff::Backoff;
use crate::stop::stopped;

const RETRY_MOST: Duration = Duration::from_secs(300);

/// The node cannot prove who it is.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Nothing on this machine leads to a certificate.
    #[error("{why}; {}", advice(bootstrap.as_deref()))]
    Stuck {
        /// What is wrong with what is there.
        why: String,
        /// `--bootstrap-kubeconfig`.
        bootstrap: Option<PathBuf>,
    },
    /// A kubeconfig cannot be used.
    #[error(transparent)]
    Kubeconfig(#[from] KubeconfigError),
    /// The API server cannot be called with what a kubeconfig says.
    #[error("kubeconfig {path}", path = path.display())]
    Client {
        /// The kubeconfig.
        path: PathBuf,
        /// Why.
        source: LineError,
    },
}

fn advice(bootstrap: Option<&Path>) -> String {
    match bootstrap {
        Some(path) => {
            format!("a new one can be had with a bootstrap token in {}, which does not exist", path.display())
        }
        None => "a new one can be had with a bootstrap token and --bootstrap-kubeconfig".to_owned(),
    }
}

/// What the credentials depend on.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `--kubeconfig`.
    pub(crate) kubeconfig: PathBuf,
    /// `--bootstrap-kubeconfig`.
    pub(crate) bootstrap: Option<PathBuf>,
    /// Of the client certificate.
    pub(crate) store: Store,
    pub(crate) node_name: String,
    /// `rotateCertificates`.
    pub(crate) rotates: bool,
    pub(crate) pace: Pace,
    pub(crate) metrics: Metrics,
}

/// How fast the keeper goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How often files and clock are looked at. A clock that jumps is found by it too.
    pub(crate) look_every: Duration,
    /// Before the second attempt at a certificate; each one after waits twice as long, up to five minutes.
    pub(crate) retry_first: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { look_every: Duration::from_secs(10), retry_first: Duration::from_secs(2) }
    }
}

/// Keeps the certificate good and the clients connected with it.
pub(crate) struct Keeper {
    settings: Settings,
    general: Link,
    node: Link,
    reach: Reach,
    client: kube::Client,
    /// What the files were when they were last read.
    known: Option<Known>,
    complaint: String,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What the files say.
struct Known {
    stamps: Vec<Stamp>,
    held: Held,
    access: Access,
    identity: Option<Identity>,
    /// Connections are made with it.
    in_use: bool,
}

/// Identity of a file's content, as far as it can be had without reading; links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp(PathBuf, Option<(u64, u64, i64, i64)>);

impl Stamp {
    fn of(path: &Path) -> Self {
        let stamp = fs::metadata(path).ok().map(|m| (m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        Self(path.to_owned(), stamp)
    }
}

/// Looks at what is there and makes the clients; no call is made. While there is no certificate, their calls wait a little and fail.
///
/// # Errors
/// There is nothing to call the API server with, and nothing to get it with.
pub(crate) async fn open(
    settings: Settings,
    node_timeout: Duration,
) -> Result<(Clients, Keeper), CredentialsError> {
    let (work, reach) = (settings.metrics.work(), Reach::default());
    let link = || Link::new(work.clone(), reach.clone());
    let (general, node) = (link(), link());
    let client = general.client();
    let clients = Clients {
        general: client.clone(),
        node: node.client(),
        seats: general.seats(),
        node_timeout,
        reach: reach.clone(),
    };
    let mut keeper = Keeper { settings, general, node, reach, client, known: None, complaint: String::new() };
    match keeper.look().await? {
        Step::Stuck { why } => {
            return Err(CredentialsError::Stuck { why, bootstrap: keeper.settings.bootstrap });
        }
        Step::Bootstrap { .. } => {
            // What cannot be read now would be found out only by the log.
            if let Some(path) = &keeper.settings.bootstrap {
                kubeconfig::read(path).await?;
            }
        }
        _ => {}
    }
    Ok((clients, keeper))
}

type Attempt = Pin<Box<dyn Future<Output = Result<Identity, AskError>> + Send>>;

impl Keeper {
    /// Runs until `stop`.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::new(self.settings.pace.retry_first, RETRY_MOST);
        let mut attempt: Option<(bool, Attempt)> = None;
        let mut not_before = Instant::now();
        loop {
            let step = self.look().await.unwrap_or_else(|error| Step::Distrust { why: chain(&error) });
            let wanted = match &step {
                Step::Renew => Some(false),
                Step::Bootstrap { .. } => Some(true),
                _ => None,
            };
            self.tell(&step);
            // What is under way for another reason is no longer wanted.
            attempt = attempt.filter(|(bootstrap, _)| Some(*bootstrap) == wanted);
            if let (None, Some(bootstrap)) = (&attempt, wanted)
                && Instant::now() >= not_before
            {
                attempt = Some((bootstrap, self.attempt(bootstrap)));
            }
            let next = Instant::now() + self.settings.pace.look_every;
            let next = if attempt.is_none() && wanted.is_some() { next.min(not_before) } else { next };
            let outcome = async {
                match &mut attempt {
                    Some((_, attempt)) => attempt.await,
                    None => std::future::pending().await,
                }
            };
            let outcome = tokio::select! {
                // Cancel-safe: a level.
                () = stopped(&mut stop) => return,
                // Cancel-safe: only a time.
                () = sleep_until(next) => continue,
                // Cancel-safe: the attempt is kept and goes on.
                outcome = outcome => outcome,
            };
            let bootstrap = attempt.take().is_some_and(|(bootstrap, _)| bootstrap);
            match outcome.map_err(|error| chain(&error)).and_then(|identity| self.take(&identity, bootstrap))
            {
                Ok(()) => {
                    backoff.reset();
                    not_before = Instant::now();
                }
                Err(error) => {
                    let delay = backoff.delay();
                    not_before = Instant::now() + delay;
                    let again_seconds = delay.as_secs();
                    self.settings.metrics.client_certificate_failed();
                    tracing::warn!(error, again_seconds, "no client certificate could be had; tried again");
                }
            }
        }
    }

    /// Says what cannot be helped here, once each.
    fn tell(&mut self, step: &Step) {
        let (why, text) = match step {
            Step::Bootstrap { why } => {
                (why, "asking for a first client certificate with the bootstrap token")
            }
            Step::Distrust { why } => (why, "the client certificate is doubtful"),
            Step::Stuck { why } => {
                (why, "the API server cannot be called: start again with a bootstrap token")
            }
            Step::Keep { .. } | Step::Renew => return self.complaint.clear(),
        };
        // The clock in it moves on.
        let kind: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
        if self.complaint != kind {
            tracing::warn!(why, "{text}");
            self.complaint = kind;
        }
    }

    /// What is to be done now; connections are made anew where the files are not what they were made of.
    async fn look(&mut self) -> Result<Step, CredentialsError> {
        let can_bootstrap = self.settings.bootstrap.as_ref().is_some_and(|path| path.exists());
        let rotates = self.settings.rotates;
        let decide = |held| plan(&Situation { held, can_bootstrap, rotates }, Timestamp::now());
        if self
            .known
            .as_ref()
            .is_none_or(|known| known.stamps.iter().any(|stamp| Stamp::of(&stamp.0) != *stamp))
        {
            match self.read().await {
                Ok(known) => self.known = Some(known),
                Err(KubeconfigError::Read { path, source }) if source.kind() == io::ErrorKind::NotFound => {
                    return Ok(decide(Held::Nothing(format!(
                        "the kubeconfig {} does not exist",
                        path.display()
                    ))));
                }
                Err(error) if can_bootstrap => return Ok(decide(Held::Nothing(chain(&error)))),
                Err(error) => return Err(error.into()),
            }
        }
        let Some(known) = &mut self.known else { return Ok(decide(Held::Token)) };
        let step = decide(known.held.clone());
        let useless = matches!(step, Step::Bootstrap { .. } | Step::Stuck { .. });
        if !useless && !known.in_use {
            let path = &self.settings.kubeconfig;
            let line = || {
                let line = known.access.line(known.identity.as_ref());
                line.map_err(|source| CredentialsError::Client { path: path.clone(), source })
            };
            self.general.set(line()?);
            self.node.set(line()?);
            self.reach.points_to(known.access.server());
            known.in_use = true;
            let until = known.identity.as_ref().map(|identity| identity.validity.not_after);
            self.settings.metrics.client_certificate(until);
            tracing::info!(
                server = known.access.server(),
                "new connections to the API server are made with what is there now"
            );
        }
        Ok(step)
    }

    /// Reads the kubeconfig and the store.
    async fn read(&self) -> Result<Known, KubeconfigError> {
        let path = &self.settings.kubeconfig;
        // Looked at before they are read: what changes meanwhile is read again.
        let mut stamps = vec![Stamp::of(path), Stamp::of(&self.settings.store.current())];
        let access = kubeconfig::read(path).await?;
        stamps.extend(access.files.iter().map(|file| Stamp::of(file)));
        let (identity, provisional) = self.identity(&access);
        let held = identity.as_ref().map_or(Held::Token, |identity| Held::Certificate {
            validity: identity.validity,
            spread: identity.spread,
            provisional,
        });
        Ok(Known { stamps, held, access, identity, in_use: false })
    }

    /// The kubeconfig's identity or the store's, whichever lasts longer, and whether it is one that the node did not ask for itself.
    fn identity(&self, access: &Access) -> (Option<Identity>, bool) {
        let Some(given) = access.identity.clone() else { return (None, false) };
        if !self.settings.rotates {
            return (Some(given), false);
        }
        match self.settings.store.load() {
            Ok(Some(stored)) if stored.validity.not_after >= given.validity.not_after => {
                (Some(stored), false)
            }
            Ok(_) => (Some(given), true),
            Err(error) => {
                tracing::warn!(error = chain(&error), "the kept client certificate cannot be used");
                (Some(given), true)
            }
        }
    }

    fn attempt(&self, bootstrap: bool) -> Attempt {
        let (settings, client) = (self.settings.clone(), self.client.clone());
        Box::pin(async move {
            let wanted = Wanted::client(&settings.node_name);
            let Some(path) = settings.bootstrap.filter(|_| bootstrap) else {
                return ask(client, &settings.store, &wanted, "the node's client certificate").await;
            };
            // Read for each attempt, so that a token that was replaced is found.
            let access = kubeconfig::read(&path).await.map_err(|error| AskError::Away(chain(&error)))?;
            let client = access.client().map_err(|error| AskError::Away(chain(&error)))?;
            ask(client, &settings.store, &wanted, &format!("the token in {}", path.display())).await
        })
    }

    /// After a certificate was put into the store.
    fn take(&self, identity: &Identity, bootstrap: bool) -> Result<(), String> {
        tracing::info!(
            user = identity.common_name,
            until = %identity.validity.not_after,
            "there is a new client certificate"
        );
        if !bootstrap {
            return Ok(());
        }
        let path = &self.settings.kubeconfig;
        let Some(from) = &self.settings.bootstrap else { return Ok(()) };
        write_kubeconfig(path, from, &self.settings.store.current())
    }
}

/// A kubeconfig as a kubelet writes it: the cluster of `from`, and the certificate file for certificate and key.
fn write_kubeconfig(path: &Path, from: &Path, certificate: &Path) -> Result<(), String> {
    let text = kubeconfig::with_certificate(from, certificate).map_err(|error| chain(&error))?;
    let written = || {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        write_secret(path, text.as_bytes())
    };
    written().map_err(|error| format!("writing {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
