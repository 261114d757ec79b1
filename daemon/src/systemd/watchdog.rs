//! Feeds systemd's watchdog as long as the daemon is well (behaviour.md 42.7).

use std::time::Duration;

use sd_notify::NotifyState;
use thiserror::Error;
use tokio::sync::watch;

use super::tell;
use crate::health::Verdict;
use crate::stop::stopped;

/// A shorter one leaves no time for anything else.
const SHORTEST: Duration = Duration::from_secs(1);

/// The watchdog cannot be fed in time.
#[derive(Debug, Error)]
#[error("systemd's watchdog expects a sign of life each {0:?}; WatchdogSec must be more than {SHORTEST:?}")]
pub struct WatchdogError(Duration);

/// How often the watchdog is to be fed: half of what systemd allows. `None` where there is none.
///
/// # Errors
/// It would have to be fed all the time.
pub(crate) fn period() -> Result<Option<Duration>, WatchdogError> {
    half(sd_notify::watchdog_enabled())
}

fn half(allowed: Option<Duration>) -> Result<Option<Duration>, WatchdogError> {
    match allowed {
        Some(allowed) if allowed <= SHORTEST => Err(WatchdogError(allowed)),
        allowed => Ok(allowed.map(|allowed| allowed / 2)),
    }
}

/// Feeds the watchdog at each look that finds the daemon well, until `stop`.
pub(crate) async fn run(mut verdicts: watch::Receiver<Verdict>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            // Cancel-safe: a level.
            () = stopped(&mut stop) => return,
            // Cancel-safe: a look that is lost here is followed by the next one.
            changed = verdicts.changed() => if changed.is_err() { return },
        }
        match *verdicts.borrow_and_update() {
            Ok(()) => tell(&[NotifyState::Watchdog, NotifyState::Status("Running")]),
            Err(ill) => tell(&[NotifyState::Status(&format!("Not well: {ill}"))]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_at_half_of_what_systemd_allows_and_not_at_all_without() {
        assert!(half(None).is_ok_and(|period| period.is_none()));
        assert!(
            half(Some(Duration::from_secs(60))).is_ok_and(|period| period == Some(Duration::from_secs(30)))
        );
        assert!(half(Some(Duration::from_secs(1))).is_err());
    }
}
