//! The task that owns the correlator and the backlog and writes events to the API server.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::Occurrence;
use super::backlog::Backlog;
use super::correlate::{Correlator, Write};
use crate::cause::chain;

const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(10);
/// An event waits so long: what it tells of is written as a status at the same time, and that goes first.
const YIELD: Duration = Duration::from_millis(50);
/// How long what is left may take when the daemon ends.
const FLUSH: Duration = Duration::from_millis(500);

/// `eventRecordQPS` and `eventBurst`. behaviour.md 43.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Zero is unlimited.
    pub per_second: u32,
    pub burst: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { per_second: 50, burst: 100 }
    }
}

/// See the module's page.
pub struct Sender {
    client: Option<kube::Client>,
    occurrences: mpsc::Receiver<Occurrence>,
    lost: Arc<AtomicU64>,
    correlator: Correlator,
    backlog: Backlog,
    rates: Rates,
    /// Calls that may be made at once, refilled by time.
    tokens: f64,
    tokens_at: Instant,
    retry: Duration,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("backlog", &self.backlog).finish_non_exhaustive()
    }
}

/// What became of a call.
enum Outcome {
    Written,
    /// The API server will never take it.
    Refused(String),
    /// It was to be counted up and is gone: it is to be made anew.
    Gone,
    Later(String),
}

type Call = Pin<Box<dyn Future<Output = (Write, Outcome)> + Send>>;

impl Sender {
    pub(super) fn new(
        client: Option<kube::Client>,
        node_name: &str,
        rates: Rates,
        occurrences: mpsc::Receiver<Occurrence>,
        lost: Arc<AtomicU64>,
    ) -> Self {
        Self {
            client,
            occurrences,
            lost,
            correlator: Correlator::new(node_name),
            backlog: Backlog::default(),
            rates,
            tokens: f64::from(rates.burst),
            tokens_at: Instant::now(),
            retry: Duration::ZERO,
        }
    }

    /// Sends until `stop` or until all recorders are gone, then what is left as far as it goes quickly.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut call: Option<Call> = None;
        let mut not_before = Instant::now();
        loop {
            let now = Instant::now();
            if call.is_none()
                && not_before <= now
                && let Some(client) = self.client.clone()
                && !self.backlog.is_empty()
            {
                match self.take_token(now) {
                    Ok(()) => call = self.backlog.pop().map(|write| send(client, write)),
                    Err(at) => not_before = at,
                }
            }
            tokio::select! {
                // Cancel-safe: a level.
                _ = stop.wait_for(|stop| *stop) => break,
                // Cancel-safe: receiving takes nothing until it returns.
                occurrence = self.occurrences.recv() => match occurrence {
                    Some(occurrence) => {
                        if self.backlog.is_empty() {
                            not_before = not_before.max(Instant::now() + YIELD);
                        }
                        self.take(occurrence);
                    }
                    None => break,
                },
                // Cancel-safe: the call lives outside of the select.
                (write, outcome) = answered(&mut call) => {
                    call = None;
                    not_before = Instant::now() + self.settle(write, outcome);
                }
                // Cancel-safe: only a time.
                () = sleep_until(not_before), if call.is_none() && !self.backlog.is_empty() && not_before > now => {}
            }
        }
        let _ = timeout(FLUSH, self.flush(call)).await;
    }

    fn take(&mut self, occurrence: Occurrence) {
        if self.client.is_none() {
            return;
        }
        if let Some(write) = self.correlator.observe(occurrence, Instant::now()) {
            self.backlog.push(write);
        }
    }

    /// Follows up a call; the answer is how long to wait before the next one.
    fn settle(&mut self, mut write: Write, outcome: Outcome) -> Duration {
        match outcome {
            Outcome::Written => {
                self.retry = Duration::ZERO;
                let dropped = self.backlog.take_dropped() + self.lost.swap(0, Ordering::Relaxed);
                if dropped > 0 {
                    tracing::warn!(dropped, "events were dropped because too many waited for the API server");
                }
            }
            Outcome::Refused(error) => {
                self.retry = Duration::ZERO;
                tracing::warn!(
                    error,
                    reason = write.event.reason,
                    "the API server refuses an event; it is dropped"
                );
            }
            Outcome::Gone => {
                write.exists = false;
                self.backlog.put_back(write);
            }
            Outcome::Later(error) => {
                if self.retry.is_zero() {
                    tracing::warn!(error, "an event could not be sent; events are kept and sent later");
                }
                self.retry = (self.retry * 2).clamp(RETRY_FIRST, RETRY_MOST);
                self.backlog.put_back(write);
            }
        }
        self.retry
    }

    /// Takes the right to make one call, or tells when there will be one.
    fn take_token(&mut self, now: Instant) -> Result<(), Instant> {
        let per_second = f64::from(self.rates.per_second);
        if per_second == 0.0 {
            return Ok(());
        }
        let refill = now.duration_since(self.tokens_at).as_secs_f64() * per_second;
        self.tokens = (self.tokens + refill).min(f64::from(self.rates.burst.max(1)));
        self.tokens_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(now + Duration::from_secs_f64((1.0 - self.tokens) / per_second))
    }

    async fn flush(&mut self, call: Option<Call>) {
        if let Some(call) = call {
            call.await;
        }
        while let Ok(occurrence) = self.occurrences.try_recv() {
            self.take(occurrence);
        }
        let Some(client) = self.client.clone() else { return };
        while let Some(write) = self.backlog.pop() {
            send(client.clone(), write).await;
        }
    }
}

/// The answer to the call under way; waits for ever when there is none.
async fn answered(call: &mut Option<Call>) -> (Write, Outcome) {
    match call {
        Some(call) => call.await,
        None => std::future::pending().await,
    }
}

fn send(client: kube::Client, write: Write) -> Call {
    Box::pin(async move {
        let namespace = write.event.metadata.namespace.as_deref().unwrap_or("default");
        let name = write.event.metadata.name.as_deref().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client, namespace);
        let answer = if write.exists {
            let patch = json!({
                "count": write.event.count,
                "lastTimestamp": write.event.last_timestamp,
                "message": write.event.message,
                "involvedObject": {"resourceVersion": write.event.involved_object.resource_version},
            });
            timeout(CALL_TIMEOUT, api.patch(name, &PatchParams::default(), &Patch::Strategic(patch))).await
        } else {
            timeout(CALL_TIMEOUT, api.create(&PostParams::default(), &write.event)).await
        };
        let outcome = match answer {
            Ok(Ok(_)) => Outcome::Written,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 && write.exists => Outcome::Gone,
            // A creation whose answer was lost.
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => Outcome::Written,
            Ok(Err(kube::Error::Api(status))) if status.code < 500 && status.code != 429 => {
                Outcome::Refused(status.message)
            }
            Ok(Err(error)) => Outcome::Later(chain(&error)),
            Err(_) => Outcome::Later(format!("no answer in {CALL_TIMEOUT:?}")),
        };
        (write, outcome)
    })
}
