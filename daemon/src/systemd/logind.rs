//! Delays a shutdown of the machine until the pods have ended: the part that talks to logind over the system's bus.
//!
//! What is to be done when is decided by [`Inhibitor`]. A bus that is lost is tried again each second; meanwhile a shutdown
//! that has begun goes on, and the lock stays held, as it is a file and not a connection. A logind that ends is asked again when it
//! is back: one that was killed has forgotten the shutdown, and says nothing of that.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use zbus::zvariant::{OwnedFd, OwnedValue};
use zbus::{Connection, MatchRule, MessageStream, connection, message};

use super::inhibitor::{Effect, Inhibitor, Input};
use crate::cause::chain;
use crate::events::Recorder;
use crate::metrics::Metrics;
use crate::pods::Publisher;
use crate::stop::stopped;

const LOGIN: &str = "org.freedesktop.login1";
const LOGIN_PATH: &str = "/org/freedesktop/login1";
const LOGIN_MANAGER: &str = "org.freedesktop.login1.Manager";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const SYSTEMD_PATH: &str = "/org/freedesktop/systemd1";
const SYSTEMD_MANAGER: &str = "org.freedesktop.systemd1.Manager";
const BUS: &str = "org.freedesktop.DBus";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A kubelet's: whoever goes from one to the other has one file.
const DROP_IN: &str = "/etc/systemd/logind.conf.d/99-kubelet.conf";
const SIGHUP: i32 = 1;
/// Of each call.
const DEADLINE: Duration = Duration::from_secs(10);
/// behaviour.md 42.2.
const RECONNECT: Duration = Duration::from_secs(1);
const READS: u32 = 5;
const READ_WAIT: Duration = Duration::from_millis(100);

/// Why logind cannot be talked to.
#[derive(Debug, Error)]
enum LogindError {
    #[error("{0}")]
    Call(&'static str, #[source] Box<zbus::Error>),
    #[error("{0}: no answer in {DEADLINE:?}")]
    Late(&'static str),
    #[error("{operation} {path}", path = path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("logind waits {longest:?} for its locks although {DROP_IN} asks for {wanted:?}")]
    Short { longest: Duration, wanted: Duration },
}

/// The parts that are told of a shutdown, and those that it waits for.
#[derive(Debug)]
pub(crate) struct Shutdown {
    /// All that the pods may take.
    pub(crate) grace: Duration,
    /// Goes up when the machine goes down, and down when it stays up after all.
    pub(crate) down: watch::Sender<bool>,
    /// Counts up when all pods have ended, or have had their time.
    pub(crate) over: watch::Receiver<u64>,
    pub(crate) publisher: Publisher,
    pub(crate) recorder: Recorder,
    pub(crate) metrics: Metrics,
}

/// Makes a connection.
type Connect = Box<dyn Fn() -> BoxFuture<'static, zbus::Result<Connection>> + Send + Sync>;

/// Where logind is.
struct Place {
    connect: Connect,
    drop_in: PathBuf,
}

/// A connection on which logind tells of shutdowns.
#[derive(Debug)]
struct Logind {
    connection: Connection,
    signals: MessageStream,
    /// Who has logind's name on the bus.
    owners: MessageStream,
}

/// Runs until `stop`, which gives the lock back too.
pub(crate) async fn run(shutdown: Shutdown, stop: watch::Receiver<bool>) {
    let connect: Connect = Box::new(|| Box::pin(async { connection::Builder::system()?.build().await }));
    Box::pin(follow(shutdown, Place { connect, drop_in: PathBuf::from(DROP_IN) }, stop)).await;
}

async fn follow(mut shutdown: Shutdown, place: Place, mut stop: watch::Receiver<bool>) {
    let mut inhibitor = Inhibitor::new(shutdown.grace);
    let mut lock: Option<OwnedFd> = None;
    let mut link: Option<Logind> = None;
    let mut reaching = reach(&place, Duration::ZERO);
    let mut flushing: Option<BoxFuture<'static, ()>> = None;
    let mut said = false;
    loop {
        let wake = inhibitor.next_wake();
        let input = tokio::select! {
            // What logind says comes before what follows from what it said earlier.
            biased;
            // Cancel-safe: a level.
            () = stopped(&mut stop) => return,
            // Cancel-safe: a signal leaves the stream only when it is returned here.
            down = prepared(&mut link), if link.is_some() => match down {
                Some(down) => Input::Prepare(down),
                None => {
                    tracing::warn!("logind is lost; tried again until it is back");
                    link = None;
                    reaching = reach(&place, RECONNECT);
                    continue;
                }
            },
            // Cancel-safe: the future stays in `reaching` until it is done.
            reached = &mut reaching, if link.is_none() => match reached {
                Ok((logind, input)) => {
                    link = Some(logind);
                    said = false;
                    input
                }
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(error = chain(&error), "a shutdown would not wait for the pods; tried again");
                    }
                    reaching = reach(&place, RECONNECT);
                    continue;
                }
            },
            // Cancel-safe: a level.
            Ok(()) = shutdown.over.changed() => Input::Over,
            // Cancel-safe: the future stays in `flushing` until it is done.
            () = done(&mut flushing), if flushing.is_some() => {
                flushing = None;
                Input::Flushed
            }
            // Cancel-safe: only a time.
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => Input::Tick,
        };
        let mut effects = inhibitor.step(input, Instant::now());
        while !effects.is_empty() {
            let mut next = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Raise(wanted) => {
                        if let Some(logind) = &link
                            && let Err(error) = logind.raise(&place.drop_in, wanted).await
                        {
                            tracing::warn!(error = chain(&error), "a shutdown may not wait for all pods");
                        }
                        next.extend(inhibitor.step(Input::Raised, Instant::now()));
                    }
                    Effect::Inhibit => {
                        if let Some(logind) = &link {
                            match logind.inhibit().await {
                                Ok(taken) => drop(lock.replace(taken)),
                                Err(error) => {
                                    tracing::warn!(
                                        error = chain(&error),
                                        "a shutdown would not wait for the pods"
                                    );
                                }
                            }
                        }
                    }
                    Effect::Release => {
                        drop(lock.take());
                        shutdown.metrics.shutdown_ended();
                        tracing::info!("the pods have ended, or have had their time: the node may go down");
                    }
                    Effect::Down(down) => shutdown.turn(down),
                    Effect::Flush => flushing = Some(Box::pin(shutdown.publisher.clone().flushed())),
                }
            }
            effects = next;
        }
    }
}

impl Shutdown {
    fn turn(&self, down: bool) {
        let what = if down { "event" } else { "cancellation" };
        self.recorder.node_event(false, "Shutdown", format!("Shutdown manager detected shutdown {what}"));
        if down {
            self.metrics.shutdown_began();
        }
        self.down.send_replace(down);
    }
}

/// Connects after `delay`; gives what logind says of itself, too. Signals are received from before that on.
fn reach(place: &Place, delay: Duration) -> BoxFuture<'static, Result<(Logind, Input), LogindError>> {
    let connection = (place.connect)();
    Box::pin(async move {
        sleep(delay).await;
        let connection = in_time("reaching the system's bus", connection).await?;
        let listen = async {
            let rule = MatchRule::builder()
                .msg_type(message::Type::Signal)
                .sender(LOGIN)?
                .interface(LOGIN_MANAGER)?
                .member("PrepareForShutdown")?
                .build();
            let signals = MessageStream::for_match_rule(rule, &connection, None).await?;
            let rule = MatchRule::builder()
                .msg_type(message::Type::Signal)
                .sender(BUS)?
                .interface(BUS)?
                .member("NameOwnerChanged")?
                .arg(0, LOGIN)?
                .build();
            Ok((signals, MessageStream::for_match_rule(rule, &connection, None).await?))
        };
        let (signals, owners) = in_time("listening to logind", listen).await?;
        let logind = Logind { connection, signals, owners };
        let longest = logind.longest().await?;
        let down = logind.property("PreparingForShutdown").await?;
        let down = bool::try_from(down)
            .map_err(|e| LogindError::Call("reading PreparingForShutdown", Box::new(e.into())))?;
        Ok((logind, Input::Reached { longest, down }))
    })
}

impl Logind {
    async fn property(&self, name: &'static str) -> Result<OwnedValue, LogindError> {
        let body = (LOGIN_MANAGER, name);
        let call = self.connection.call_method(Some(LOGIN), LOGIN_PATH, Some(PROPERTIES), "Get", &body);
        in_time("asking logind for its state", async { call.await?.body().deserialize() }).await
    }

    /// How long a lock delays a shutdown.
    async fn longest(&self) -> Result<Duration, LogindError> {
        let micros = self.property("InhibitDelayMaxUSec").await?;
        let micros = u64::try_from(micros)
            .map_err(|e| LogindError::Call("reading InhibitDelayMaxUSec", Box::new(e.into())))?;
        Ok(Duration::from_micros(micros))
    }

    async fn inhibit(&self) -> Result<OwnedFd, LogindError> {
        let body = ("shutdown", "nodelet", "Pods end in order before the node goes down", "delay");
        let call =
            self.connection.call_method(Some(LOGIN), LOGIN_PATH, Some(LOGIN_MANAGER), "Inhibit", &body);
        in_time("taking the lock of logind", async { call.await?.body().deserialize() }).await
    }

    /// Writes the drop-in, and has logind read it.
    async fn raise(&self, drop_in: &Path, wanted: Duration) -> Result<(), LogindError> {
        write_drop_in(drop_in, wanted)?;
        let body = ("systemd-logind.service", "all", SIGHUP);
        let call = self.connection.call_method(
            Some(SYSTEMD),
            SYSTEMD_PATH,
            Some(SYSTEMD_MANAGER),
            "KillUnit",
            &body,
        );
        in_time("having logind read its configuration", async { call.await.map(drop) }).await?;
        let mut wait = READ_WAIT;
        let mut longest = self.longest().await?;
        for _ in 1..READS {
            if longest >= wanted {
                break;
            }
            sleep(wait).await;
            wait *= 2;
            longest = self.longest().await?;
        }
        if longest < wanted {
            return Err(LogindError::Short { longest, wanted });
        }
        tracing::info!("a shutdown waits up to {longest:?} for the pods");
        Ok(())
    }
}

/// The next word of logind; `None` when the connection is lost, or logind has ended.
async fn prepared(link: &mut Option<Logind>) -> Option<bool> {
    let logind = link.as_mut()?;
    loop {
        tokio::select! {
            // What logind has said before it ended comes first.
            biased;
            // Cancel-safe: streams.
            signal = logind.signals.next() => match signal? {
                Ok(signal) => match signal.body().deserialize() {
                    Ok(down) => return Some(down),
                    Err(error) => tracing::warn!(%error, "logind says something else than it should"),
                },
                Err(_) => return None,
            },
            change = logind.owners.next() => {
                let change = change?.ok()?;
                // One that only comes was asked for by the first call.
                if change.body().deserialize::<(String, String, String)>().is_ok_and(|(_, old, _)| !old.is_empty()) {
                    return None;
                }
            }
        }
    }
}

fn write_drop_in(path: &Path, wanted: Duration) -> Result<(), LogindError> {
    let failed = |operation: &'static str, path: &Path| {
        let path = path.to_path_buf();
        move |source| LogindError::File { operation, path, source }
    };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed("making", dir))?;
    }
    // logind has whole seconds.
    let seconds = wanted.as_secs() + u64::from(wanted.subsec_nanos() > 0);
    let text = format!(
        "# nodelet: pods get this long to end before the node goes down.\n[Login]\nInhibitDelayMaxSec={seconds}\n"
    );
    let fresh = path.with_extension("conf.new");
    fs::write(&fresh, text).map_err(failed("writing", &fresh))?;
    // Whoever asks systemd-analyze what logind does is not always root.
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o644)).map_err(failed("opening up", &fresh))?;
    fs::rename(&fresh, path).map_err(failed("putting in place", path))
}

async fn in_time<T>(
    what: &'static str,
    call: impl Future<Output = zbus::Result<T>>,
) -> Result<T, LogindError> {
    match timeout(DEADLINE, call).await {
        Ok(done) => done.map_err(|error| LogindError::Call(what, Box::new(error))),
        Err(_) => Err(LogindError::Late(what)),
    }
}

async fn done(future: &mut Option<BoxFuture<'static, ()>>) {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
